/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The micro-kernels: one tile of C, at most mr x nr, over a block of k. A kernel starts each element's chain from 0, from the
 * bias or from C, and goes on with one fused multiply-add for each p in ascending order: a further k block that starts from C
 * continues the same chain, so the way k is cut does not show in the bits.
 */
#ifndef FUL_OPS_GEMM_LEVEL_H
#define FUL_OPS_GEMM_LEVEL_H

#include <stdint.h>

enum {
    FUL__GEMM_KC = 512, /* longest k block of a row-major A tile */
    FUL__GEMM_A_STRIDE = FUL__GEMM_KC +
                         16, /* floats from row to row of it: no power of two, so rows fall into different cache sets */
    FUL__GEMM_TN_KC = 128,   /* longest k block of an A tile that lies k-major */
    FUL__GEMM_MR_MAX = 14,
    FUL__GEMM_TN_STRIDE = 16 /* floats from k to k of it */
};

typedef enum ful__gemm_start { FUL__GEMM_FROM_ZERO, FUL__GEMM_FROM_BIAS, FUL__GEMM_FROM_C } ful__gemm_start;

typedef struct ful__gemm_tile {
    int rows, cols; /* 1..mr, 1..nr */
    int64_t k;
    const float *a; /* packed tile: [rows][A_STRIDE] for nn, [k][TN_STRIDE] for tn */
    const float *b; /* [k][nr] */
    float *c;
    int64_t ldc;
    ful__gemm_start start;
    const float *bias; /* [cols] */
} ful__gemm_tile;

typedef struct ful__gemm_level {
    const char *name;
    int mr, nr;
    void (*nn)(const ful__gemm_tile *tile);
    void (*tn)(const ful__gemm_tile *tile);
} ful__gemm_level;

extern const ful__gemm_level ful__gemm_scalar;
#if defined(__x86_64__)
extern const ful__gemm_level ful__gemm_avx2, ful__gemm_avx512;
#endif
const ful__gemm_level *ful__gemm_level_now(void); /* by ful_cpu_flags() */

static inline int64_t ful__divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t ful__at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Jobs of a group run in one loop over all their pieces: first[i] is the number of job i's first piece, so this is the last job
 * with first[i] <= piece, hence one that has pieces. */
enum { FUL__GEMM_JOBS_AT_ONCE = 256 };
static inline int ful__gemm_job_of(const int64_t *first, int n_jobs, int64_t piece)
{
    int lo = 0, hi = n_jobs - 1;
    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;
        if (first[mid] <= piece)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

#endif
