/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLPs of one shape, each with its own parameters and rows, all in one go: the MLP layer is one of them, a mixture's experts
 * are many.
 *
 *   forward    u = x W1^T + b1,  v = act(u),  o = v W2^T + b2
 *   gated      u = [a | g],      v = act(a) g                              (GLU variants, Shazeer 2020)
 *   backward   dv = do W2,  dW2 += do^T v,  db2 += sum do,  du = dv act'(u),  dW1 += du^T x,  db1 += sum du,  dx = du W1
 *
 * W1 [u][d], W2 [d][h], with u = h, gated 2h. Parameters of each in the order W1, b1, W2, b2.
 */
#ifndef FUL_OPS_MLPS_H
#define FUL_OPS_MLPS_H

#include "ops/gemm.h"

/* Numbers of rows that a run may have: of all MLPs together, and of one. Memory is laid out by these, not by the actual
 * numbers. */
typedef struct ful__rows_bound {
    int64_t all, one;
} ful__rows_bound;

enum { FUL__MLP_W1, FUL__MLP_B1, FUL__MLP_W2, FUL__MLP_B2, FUL__MLP_PARAMS };

typedef struct ful__mlps {
    int count;
    int64_t d, h;
    ful_act act;
    bool gated;
    /* by plan */
    bool train;
    ful__rows_bound most;      /* the largest run */
    ful__gemm_job *jobs;       /* [count], the caller's, as are the next two: work of a run */
    ful__gemm_tn_job *tn_jobs; /* [count] */
    int *active;               /* [count] MLPs to pack; the MLP of each job */
} ful__mlps;

typedef struct ful__mlps_run {
    ful__rows_bound bound;
    const int64_t *offset; /* [count+1] rows of MLP i: offset[i] .. offset[i+1] */
    const float *x;        /* input rows, row r at index[r] (at r when index is NULL) */
    const uint32_t *index;
    float *o;                    /* output rows, forward */
    const float *d_o;            /* backward: gradient of o */
    float *dx;                   /* backward: gradient of the input rows, written; NULL where nobody needs it; may be d_o */
    bool repack;                 /* weights changed since `packed` was written */
    float *const *w, *const *dw; /* of MLP 0's first parameter; MLP i's begin at i*FUL__MLP_PARAMS. dw: added to, may be NULL */
    void *saved, *scratch, *packed; /* 64-byte aligned */
    int64_t macs;                   /* forward: out, counted from the products that ran */
} ful__mlps_run;

/* Bytes of memory for runs of that bound: affine in the bound (but for rounding up to 64). */
size_t ful__mlps_saved_bytes(const ful__mlps *m, ful__rows_bound bound);
size_t ful__mlps_scratch_bytes(const ful__mlps *m, ful__rows_bound bound, bool backward);
size_t ful__mlps_packed_bytes(const ful__mlps *m);
/* Multiply-adds of one row. */
int64_t ful__mlps_macs(const ful__mlps *m);

void ful__mlps_forward(const ful__mlps *m, ful__mlps_run *run);
void ful__mlps_backward(const ful__mlps *m, const ful__mlps_run *run);

#endif
