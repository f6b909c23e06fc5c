#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the program as each cases/NAME.cmd says (one shell line, $F is the program, $T a temporary folder) and compares exit code, standard output and standard
# error with cases/NAME.out. UPDATE=1 writes the files instead; look at the difference before committing it.
# usage: snapshots.sh PROGRAM
set -u
F=$(realpath "$1")
cases=$(dirname "$(realpath "$0")")/cases
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export F T XDG_CACHE_HOME="$T/cache" LC_ALL=C
passed=0
failed=0
cd "$T" || exit 1
for cmd in "$cases"/*.cmd; do
    name=$(basename "$cmd" .cmd)
    rm -rf "$T"/*
    sh "$cmd" >"$T/.out" 2>"$T/.err" </dev/null
    code=$?
    { echo "exit $code"; echo "--- stdout"; cat "$T/.out"; echo "--- stderr"; cat "$T/.err"; } | sed "s|$T|TMP|g; s|$F|fulcrum|g" >"$T/.got"
    if [ "${UPDATE:-0}" = 1 ]; then
        cp "$T/.got" "$cases/$name.out"
        passed=$((passed + 1))
    elif diff -u "$cases/$name.out" "$T/.got" >"$T/.diff"; then
        passed=$((passed + 1))
    else
        echo "[  FAILED  ] $name"
        cat "$T/.diff"
        failed=$((failed + 1))
    fi
done
echo "[  PASSED  ] $passed test(s)."
[ "$failed" = 0 ] && exit 0
echo "[  FAILED  ] $failed test(s)"
exit 1
