#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_install.sh SOURCE BUILD COMPILER: installs into an empty folder, moves the tree (nothing in it may name its place), and builds
# and runs consumer.c against it: CMake package shared and static, pkg-config shared. Then the program and its man page.
set -eu

source=$1 build=$2 CC=$3
export CC
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
step() { echo "-- $*"; }

step install
DESTDIR=$stage/destdir cmake --install "$build" --prefix /opt/fulcrum >"$stage/install.log"
mv "$stage/destdir/opt/fulcrum" "$stage/moved"
prefix=$stage/moved
libdir=$(dirname "$(find "$prefix" -name 'libfulcrum.so')")
if grep -rlF -e "$source" -e "$build" -e "$stage/destdir" "$prefix/include" "$libdir/cmake" "$libdir/pkgconfig"; then
    echo "these installed files name the place they were built in"
    exit 1
fi

# All public headers, in one C file.
for header in "$prefix"/include/fulcrum/*.h; do echo "#include <fulcrum/${header##*/}>"; done >"$stage/all_headers.h"
[ "$(wc -l <"$stage/all_headers.h")" = "$(ls "$source"/include/fulcrum/*.h | wc -l)" ]
cp "$source/tests/install/consumer.c" "$stage"
mkdir "$stage/package"
cp "$source/tests/install/consumer.cmake" "$stage/package/CMakeLists.txt"

step "CMake package, shared and static"
cmake -S "$stage/package" -B "$stage/package/build" -DCMAKE_PREFIX_PATH="$prefix" -DCONSUMER="$stage/consumer.c" \
    -DVERSION="$("$prefix/bin/fulcrum" --version | sed -n '1s/.* //p')" >"$stage/cmake.log" || { cat "$stage/cmake.log"; exit 1; }
cmake --build "$stage/package/build" >"$stage/make.log" || { cat "$stage/make.log"; exit 1; }
"$stage/package/build/consumer_shared"
"$stage/package/build/consumer_static"

step pkg-config
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
$CC -std=c17 -Wall -Wextra -Werror "$stage/consumer.c" -o "$stage/consumer" $(pkg-config --cflags --libs fulcrum) -lm
LD_LIBRARY_PATH=$libdir "$stage/consumer"
pkg-config --static --libs fulcrum | grep -q -e -ldnnl

step "program and manual"
"$prefix/bin/fulcrum" --help >/dev/null
for page in "$prefix/share/man/man1/fulcrum.1" "$source/doc/fulcrum.1"; do [ -s "$page" ]; done
[ -s "$(find "$prefix/share/doc" -name LICENSE)" ]

# Nothing but the public names leaves the shared library.
step symbols
if command -v nm >/dev/null; then
    leaked=$(nm -D --defined-only "$libdir/libfulcrum.so" | awk '$2 ~ /[TDBRVW]/ && $3 !~ /^ful_[a-z]/ && $3 !~ /^ful__fault_/ {print $3}')
    [ -z "$leaked" ] || { echo "exported, but not public: $leaked"; exit 1; }
fi
