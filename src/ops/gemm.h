/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own float32 GEMM, for linear layers and experts. Why not a library's: an expert's share of the batch changes every step,
 * its weights are packed once a step and reused by many row blocks, groups of different sizes run in one parallel loop, and
 * every element of C is one chain of fused multiply-adds over k in ascending order, so a row's result does not depend on how
 * many rows there are, where it stands, how many threads run, or which micro-kernel handled the edge: bit-identical in any
 * batch. (The three CPU levels - scalar with fmaf, AVX2+FMA, AVX-512 - give the same bits.)
 *
 * C[m][n] (+)= A[m][k] * B[k][n]. A(i,p) = a[i*a_rs + p*a_cs] with one of the strides 1, B likewise. B is packed panel by panel
 * while the product runs; for many rows, or where one B serves many products, it pays to give it packed.
 */
#ifndef FUL_OPS_GEMM_H
#define FUL_OPS_GEMM_H

#include <fulcrum/ops.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Packed B: panels of NR columns, [n/NR][k][NR], the last padded with zeros; NR of the current CPU level. */
size_t ful__gemm_packed_floats(int64_t k, int64_t n);
/* B(p,j) = b[p*b_rs + j*b_cs], one of the strides 1. Packs panels [panel_begin, panel_end) so that the work can be shared; all
 * = 0..panels. */
int64_t ful__gemm_panels(int64_t n);
void ful__gemm_pack(float *packed, const float *b, int64_t b_rs, int64_t b_cs, int64_t k, int64_t n, int64_t panel_begin,
                    int64_t panel_end);
/* Whether packing B first pays for a single product of m rows. */
bool ful__gemm_should_pack(int64_t m);

/*
 * One product of a grouped call. Rows m may be 0. Per element, in this order: C_old if accumulate, otherwise bias[j] (0 when
 * NULL), starts the chain; then the k products; then an epilogue. Forward: act; slope, when not NULL, receives the slope of act
 * at the value before it. Backward: times that slope, which `times` holds, or which act has at the values of slope_of. (All of
 * the same ldc; at most one of the three.) row_index, when not NULL: row i of A is a + row_index[i]*a_rs (gather without a
 * copy; needs a_cs == 1).
 */
typedef struct ful__gemm_job {
    int64_t m, n, k;
    const float *a;
    int64_t a_rs, a_cs;
    const uint32_t *row_index;
    const float *b_packed; /* or NULL, and: */
    const float *b;
    int64_t b_rs, b_cs;
    float *c;
    int64_t ldc;
    const float *bias;
    int accumulate;
    ful_act act;
    float *slope;
    const float *times, *slope_of;
} ful__gemm_job;

/* Runs all jobs in one parallel loop over (job, row block, column block); serial inside a parallel piece. */
void ful__gemm_grouped(const ful__gemm_job *jobs, int n_jobs);
/* One small product by the calling thread alone, as it is. */
void ful__gemm_one(const ful__gemm_job *job);

/*
 * Weight gradients: C[m][n] += A^T B with the rows as the long k axis. Where C is small the rows are cut into pieces, whose
 * sums stand in scratch and are added in order; how they are cut depends on (rows, m, n) alone, so the bits do not depend on
 * threads.
 */
typedef struct ful__gemm_tn_job {
    int64_t rows, m, n; /* C[m][n] += sum_r A[r][m] * B[r][n], r ascending */
    const float *a;     /* [rows][m], row stride lda; rows via a_index when not NULL */
    int64_t lda;
    const uint32_t *a_index;
    const float *b; /* [rows][n], row stride ldb; rows via b_index when not NULL (experts read their tokens in place) */
    int64_t ldb;
    const uint32_t *b_index;
    float *c; /* [m][n], row stride ldc */
    int64_t ldc;
    float *a_sums; /* [m] a_sums[m] += sum_r A[r][m] (the bias gradient), when not NULL */
} ful__gemm_tn_job;
/* For one job of at most rows_max rows; add over the jobs. May be 0: scratch is then not touched. */
size_t ful__gemm_tn_scratch_floats(int64_t rows_max, int64_t m, int64_t n);
void ful__gemm_tn_grouped(const ful__gemm_tn_job *jobs, int n_jobs, float *scratch);
/* Both in one parallel loop, where neither waits for the other. */
void ful__gemm_with_tn(const ful__gemm_job *jobs, int n_jobs, const ful__gemm_tn_job *tn_jobs, int n_tn_jobs, float *scratch);

/* Column sums: out[j] += sum_r x[r][j], by 128 rows at a time, in order (bias gradients). */
void ful__column_sums(const float *x, int64_t rows, int64_t n, int64_t ldx, float *out);

#endif
