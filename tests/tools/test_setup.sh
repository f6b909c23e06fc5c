#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/setup with a stand-in for dpkg-query, id, sudo and apt-get: quiet when all is there, installs as root or through sudo,
# prints the one line and exits 1 where neither works.
set -eu

root=$1
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
PATH=$bin:/usr/bin:/bin
export PATH BIN="$bin"
fake() { printf '#!/bin/sh\n%s\n' "$2" >"$bin/$1"; chmod +x "$bin/$1"; }
fail() { echo "$1"; cat "$bin/out"; exit 1; }

# run STATUS [PURPOSE]
run() {
    status=0
    rm -f "$bin/apt"
    "$root/tools/setup" "${2:-build}" >"$bin/out" 2>&1 </dev/null || status=$?
    [ $status = "$1" ] || fail "status $status, wanted $1"
}

fake dpkg-query 'echo "install ok installed"'
run 0
[ ! -s "$bin/out" ] || fail "not quiet though nothing is missing"
run 2 kitchen

fake dpkg-query 'case "$4" in libyaml-dev) echo "deinstall ok config-files" ;; cmake) exit 1 ;; *) echo "install ok installed" ;; esac'
fake apt-get 'echo "$*" >>"$BIN/apt"'
fake id 'echo 0'
run 0
grep -q 'install -y --no-install-recommends cmake libyaml-dev$' "$bin/apt" || fail "did not install what is missing"

fake id 'echo 1000'
fake sudo 'case "$1" in -n) exit 0 ;; *) echo sudo >>"$BIN/apt"; exec "$@" ;; esac'
run 0
grep -q '^sudo$' "$bin/apt" || fail "did not go through sudo"

fake sudo 'exit 1'
run 1
[ ! -e "$bin/apt" ] || fail "called apt without the right to"
[ "$(tail -n 1 "$bin/out")" = "su -c 'apt-get update && apt-get install -y --no-install-recommends cmake libyaml-dev'" ] || fail "not the line to run"

fake id 'echo 0'
fake apt-get 'echo "E: no network"; exit 100'
run 1
grep -q 'E: no network' "$bin/out" || fail "hides what apt said"
