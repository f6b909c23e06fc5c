/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The micro-kernels: one tile of C, at most mr x nr, over a block of k, from strips of A and B that lie k-major. A kernel
 * starts each element's chain from 0, from the bias or from C, and goes on with one fused multiply-add for each p in ascending
 * order: a further k block that starts from C continues the same chain, so the way k is cut does not show in the bits.
 */
#ifndef FUL_OPS_GEMM_LEVEL_H
#define FUL_OPS_GEMM_LEVEL_H

#include <stdint.h>

enum {
    FUL__GEMM_KC = 192,    /* longest block of k: a panel of B and a tile of A are in the L1 cache together */
    FUL__GEMM_MR_MAX = 14, /* of all levels */
    FUL__GEMM_NR_MAX = 32,
    FUL__GEMM_LINE = 16, /* floats of a line of the caches */
    FUL__GEMM_LANES = 16 /* floats from k to k of a tile of A; lines that a transposition takes at most */
};

typedef enum ful__gemm_start { FUL__GEMM_FROM_ZERO, FUL__GEMM_FROM_BIAS, FUL__GEMM_FROM_C } ful__gemm_start;

typedef struct ful__gemm_tile {
    int rows, cols; /* 1..mr, 1..nr */
    int64_t k;
    const float *a; /* [k][LANES] */
    const float *b; /* [k][nr], b_stride from k to k */
    int64_t b_stride;
    float *c;
    int64_t ldc;
    ful__gemm_start start;
    const float *bias; /* [cols] */
    /* What comes next and is brought into the L2 cache meanwhile, a line at next_c + next_c_at[p] and one at next_b +
     * next_b_at[p] with each of the first `fetches` steps p (any addresses): a later tile of C, whose lines are listed first,
     * and a share of the next panel of B. */
    int64_t fetches; /* at most k */
    const float *next_c, *next_b;
    const int64_t *next_c_at, *next_b_at; /* [fetches, at least lines of a tile], [fetches] */
} ful__gemm_tile;

typedef struct ful__gemm_level {
    const char *name;
    int mr, nr;
    void (*run)(const ful__gemm_tile *tile);
    /* to[p*stride + i] = line[i][p], i < count, p < k; 0 for count <= i < lanes (a divisor of nr) */
    int lanes;
    void (*transpose)(float *to, int64_t stride, const float *const *line, int count, int64_t k);
} ful__gemm_level;

extern const ful__gemm_level ful__gemm_scalar;
#if defined(__x86_64__)
extern const ful__gemm_level ful__gemm_avx2, ful__gemm_avx512;
#endif
const ful__gemm_level *ful__gemm_level_now(void); /* by ful_cpu_flags() */

#endif
