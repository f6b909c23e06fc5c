#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/check_layers accepts arrows that run down and finds each that runs up, and headers that do not stand alone.
set -eu

root=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/include/fulcrum"
for layer in core ops graph moe nets data train study cli; do mkdir -p "$tree/src/$layer"; done

# says LAYER TARGET ok|breach: a source in LAYER that includes TARGET.
says() {
    printf '#include %s\n' "$2" >"$tree/src/$1/x.c"
    if "$root/tools/check_layers" "$tree" >"$tree/out" 2>&1; then found=ok; else found=breach; fi
    rm "$tree/src/$1/x.c"
    [ "$found" = "$3" ] || { echo "$1 includes $2: $found, wanted $3"; cat "$tree/out"; exit 1; }
}

echo 'static inline int f(void) { return 0; }' >"$tree/include/fulcrum/good.h"
says ops '"core/mem.h"' ok
says ops '"ops/op.h"' ok
says ops '"moe/moe.h"' breach
says core '"ops/op.h"' breach
says data '"core/mem.h"' ok
says data '"ops/op.h"' breach
says moe '"data/set.h"' breach
says train '"data/set.h"' ok
says study '"data/set.h"' ok
says graph '"train/x.h"' breach
says cli '<fulcrum/core.h>' ok
says cli '"cli/x.h"' ok
says cli '"core/mem.h"' breach
says ops '"../moe/moe.h"' breach
mkdir "$tree/src/shed"
says shed '"core/mem.h"' breach
echo 'size_t f(void);' >"$tree/include/fulcrum/bad.h"
says ops '"core/mem.h"' breach
echo 'int f(void *class_);  int new;' >"$tree/include/fulcrum/bad.h" # C, but not C++
says ops '"core/mem.h"' breach
