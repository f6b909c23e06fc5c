#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual page and the program's --help name the same commands and, in the part about each, the same options.
# usage: manual.sh PROGRAM PAGE
set -u
F=$1
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
sed 's/\\-/-/g; s/\\f[A-Z]/ /g' "$2" >"$T/page"
passed=0
failed=0

# check WHAT WANTED GOT: two sorted lists of words are the same
check() {
    if [ -s "$2" ] && cmp -s "$2" "$3"; then
        passed=$((passed + 1))
        return
    fi
    echo "[  FAILED  ] $1: < in --help, > in the manual page"
    diff "$2" "$3"
    failed=$((failed + 1))
}

# An option is listed where its line begins with a dash; it may stand in running text elsewhere.
page_options() { grep -E '^ *-' | grep -o -E -e '--[a-z][a-z-]*' | sort -u; }
help_options() { grep -E '^  (-.,|   ) --' | grep -o -E -e '--[a-z][a-z-]*' | sort -u; }
section() { awk -v from="$1" -v to="$2" '$0 ~ to { on = 0 } $0 == from { on = 1; next } on' "$T/page"; }

"$F" --help | sed -n 's/^  \([a-z][a-z]*\)  *[A-Z].*/\1/p' | sort >"$T/commands"
sed -n 's/^\.SS //p' "$T/page" | sort >"$T/sections"
check commands "$T/commands" "$T/sections"

# What every command's help ends with is said once, in OPTIONS.
{ "$F" doctor --help | help_options; echo --help; } | sort >"$T/shared"
section ".SH OPTIONS" "^[.]SH" | page_options >"$T/got"
check OPTIONS "$T/shared" "$T/got"

for command in $(cat "$T/commands"); do
    "$F" "$command" --help | help_options | comm -23 - "$T/shared" >"$T/wanted"
    section ".SS $command" "^[.]S[SH]" | page_options >"$T/got"
    echo . | tee -a "$T/wanted" >>"$T/got" # a command may have none of its own
    check "$command" "$T/wanted" "$T/got"
done
echo "[  PASSED  ] $passed test(s)."
[ "$failed" = 0 ] && exit 0
echo "[  FAILED  ] $failed test(s)"
exit 1
