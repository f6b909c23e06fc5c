/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both kinds of product (C = A B and C += A^T B) share: packing strips of an operand, and the loops around the
 * micro-kernel for one block of C, run by one thread.
 */
#ifndef FUL_OPS_GEMM_BLOCK_H
#define FUL_OPS_GEMM_BLOCK_H

#include <fulcrum/ops.h>
#include <stdbool.h>

#include "ops/gemm/gemm_level.h"

/* An operand: value (unit i, step p of k), where a unit is a row of A or a column of B. */
typedef struct ful__gemm_side {
    const float *x;
    int64_t ld;            /* floats from line to line */
    const uint32_t *index; /* line q lies at x + index[q]*ld, at x + q*ld when NULL */
    bool along_k;          /* lines are units: line(i)[p]; otherwise they are steps: line(p)[i] */
    int64_t units;         /* there are */
} ful__gemm_side;

/* to[p*width + i] = (unit + i, step + p) for i < count <= width, p < k; the lanes from count to width hold anything finite or
 * not, 0 where there are no such units. width: strip for a tile of A, nr for a panel of B. Where the level's lanes are more,
 * the last step is written on to so many. */
void ful__gemm_pack_strip(const ful__gemm_level *level, const ful__gemm_side *side, int64_t unit, int count, int64_t step,
                          int64_t k, float *to, int width);

/* C[m0..m1][n0..n1] (+)= A B over steps k0..k1. n0 is a multiple of nr. */
typedef struct ful__gemm_block {
    ful__gemm_side a, b;
    const float *b_packed; /* all of B in panels of b_k steps, used in place of b when not NULL */
    int64_t b_k;
    int64_t m0, m1, n0, n1, k0, k1;
    float *c; /* where C[0][0] is */
    int64_t ldc;
    ful__gemm_start start;
    const float *bias; /* [n] */
    /* The epilogue, of each tile of C while it is in the L1 cache; slope, times and slope_of as in ful__gemm_job. */
    ful_act act;
    float *slope;
    const float *times, *slope_of;
    float *a_sums; /* [m] a_sums[i] += sum over k of A(i, p), when not NULL */
} ful__gemm_block;

void ful__gemm_run_block(const ful__gemm_level *level, const ful__gemm_block *block);

/* How C is cut for at least `wanted` pieces, as far as it has that many tiles: by so many rows and columns that the least is
 * packed twice. b_weight: cost of packing B again, A's is 4. At least rows_least cuts of rows. */
typedef struct ful__gemm_cuts {
    int64_t m, n;
} ful__gemm_cuts;
ful__gemm_cuts ful__gemm_cut(const ful__gemm_level *level, int64_t m, int64_t n, int64_t wanted, int64_t rows_least,
                             int64_t b_weight);
/* The part of C that piece i of these cuts owns: whole tiles and panels. */
void ful__gemm_part(const ful__gemm_level *level, int64_t m, int64_t n, ful__gemm_cuts cuts, int64_t i, ful__gemm_block *out);

static inline int64_t ful__divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t ful__at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ful__at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
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

/* Pieces that a job should have of all those of a group, given the multiply-adds of both: a piece of any job is about as long
 * as another's. */
static inline int64_t ful__gemm_pieces_wanted(int64_t macs, int64_t macs_of_group, int threads, int pieces_a_thread)
{
    if (threads == 1 || macs_of_group == 0) return 1;
    return (int64_t)((double)macs * threads * pieces_a_thread / (double)macs_of_group + 0.5);
}

#endif
