/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference of each operation, in double and as plain as the formula, by which tests/ops/opcheck judges the fast version
 * and takes finite differences. Each op supplies src/ops/<op>/<op>_ref.c with two functions and lists them in ref.c.
 *
 * Images are NHWC doubles, whatever layout the fast version uses. A reference keeps nothing between forward and backward:
 * backward computes again from x and w what it needs. Draws (dropout) are the fast version's own, keyed by seed, step and row,
 * so both drop the same values.
 */
#ifndef FUL_OPS_REF_H
#define FUL_OPS_REF_H

#include "ops/op.h"

typedef struct ful__ref {
    const ful__op *op; /* shapes and parameters, as create made them */
    const void *attr;  /* what create was given */
    int n;
    bool train;
    uint64_t seed, step;
    const uint32_t *row; /* NULL: 0..n-1 */
    const double *x[FUL__X_MAX];
    double *y; /* forward: written. backward: what forward wrote */
    const double *dy;
    double *dx[FUL__X_MAX]; /* backward: overwritten */
    double *const *w;       /* one array a parameter; forward in training updates buffers (running statistics) */
    double *const *dw;      /* backward ADDS; NULL where not trainable */
} ful__ref;

typedef void (*ful__ref_fn)(const ful__ref *ref);

/* name: of the op type. backward may be NULL (conv_fused, separable). NULL when an op has none. */
typedef struct ful__ref_entry {
    const char *op;
    ful__ref_fn forward, backward;
} ful__ref_entry;
const ful__ref_entry *ful__ref_find(const char *op);

#define FUL__REF_DECLARE(op)                      \
    void ful__##op##_fwd__ref(const ful__ref *r); \
    void ful__##op##_bwd__ref(const ful__ref *r)

FUL__REF_DECLARE(conv2d);
FUL__REF_DECLARE(linear);
FUL__REF_DECLARE(reorder);
FUL__REF_DECLARE(batchnorm);
FUL__REF_DECLARE(layernorm);
FUL__REF_DECLARE(act);
FUL__REF_DECLARE(add);
FUL__REF_DECLARE(global_avg_pool);
FUL__REF_DECLARE(pool);
FUL__REF_DECLARE(flatten);
FUL__REF_DECLARE(dropout);
FUL__REF_DECLARE(scale);
FUL__REF_DECLARE(attention);
FUL__REF_DECLARE(absorbed_attention);
FUL__REF_DECLARE(tokens);
FUL__REF_DECLARE(take);
FUL__REF_DECLARE(excite);
FUL__REF_DECLARE(transpose);
FUL__REF_DECLARE(mlp);
void ful__conv_fused_fwd__ref(const ful__ref *r);
void ful__separable_fwd__ref(const ful__ref *r);

/* One value, and its slope. */
double ful__act_value__ref(ful_act act, double x);
double ful__act_slope__ref(ful_act act, double x);

#endif
