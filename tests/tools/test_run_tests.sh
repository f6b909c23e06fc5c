#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/run_tests counts single cases, crashes, skips and empty runs as it says, and its last line is the count.
set -eu

root=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# expect "LAST LINE" STATUS: of a run over the tests in $tree/CTestTestfile.cmake.
expect() {
    status=0
    "$root/tools/run_tests" "$tree" >"$tree/out" 2>&1 || status=$?
    last=$(tail -n 1 "$tree/out")
    [ "$last" = "$1" ] && [ $status = "$2" ] || { cat "$tree/out"; echo "wanted '$1' and status $2, not $status"; exit 1; }
}
test_is() { echo "add_test($1 sh -c [[$2]])" >>"$tree/CTestTestfile.cmake"; }

: >"$tree/CTestTestfile.cmake"
expect "0 passed, 0 failed" 1

test_is plain 'true'
test_is cmocka 'echo "[  PASSED  ] 7 test(s)."'
expect "8 passed, 0 failed" 0

test_is skips 'echo "SKIPPED it: /no/data is missing"; echo "[  PASSED  ] 2 test(s)."; echo "[  SKIPPED ] 1 test(s), listed below:"'
echo 'add_test(all_skipped sh -c "exit 77") 
set_tests_properties(all_skipped PROPERTIES SKIP_RETURN_CODE 77)' >>"$tree/CTestTestfile.cmake"
expect "10 passed, 0 failed" 0
grep -q '^SKIPPED it: /no/data is missing$' "$tree/out"
grep -q '^SKIPPED all_skipped$' "$tree/out"
grep -q '^2 SKIPPED$' "$tree/out"

test_is two_fail 'echo "[  PASSED  ] 3 test(s)."; echo "[  FAILED  ] 2 test(s), listed below:"; exit 2'
expect "13 passed, 2 failed" 1
grep -q '^FAILED two_fail$' "$tree/out"

test_is crashes 'echo "[  PASSED  ] 5 test(s)."; kill -SEGV $$'
test_is leaks 'echo "[  PASSED  ] 4 test(s)."; exit 23'
echo 'add_test(absent /no/such/program)' >>"$tree/CTestTestfile.cmake"
expect "22 passed, 5 failed" 1
