/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What routers do to whole matrices of tokens: softmax and its relatives, transforms of the input, products with weights. No
 * row knows of another. Unless said, a call is serial, and callers cut tokens into chunks of FUL__ROWS_CHUNK for
 * ful__parallel_for. The same bits on every CPU level.
 */
#ifndef FUL_MOE_ROUTER_ROWS_H
#define FUL_MOE_ROUTER_ROWS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fulcrum/moe.h>

#include "core/parallel.h"

/* Chunks of tokens ---------------------------------------------------------------------------------------------------- */

enum { FUL__ROWS_CHUNK = 256 };

static inline int64_t ful__rows_chunks(int64_t t)
{
    return (t + FUL__ROWS_CHUNK - 1) / FUL__ROWS_CHUNK;
}

/* The first row of a chunk, and how many it has. */
static inline int64_t ful__rows_of(int64_t t, int64_t chunk, int64_t *begin_out)
{
    *begin_out = chunk * FUL__ROWS_CHUNK;
    return t - *begin_out < FUL__ROWS_CHUNK ? t - *begin_out : FUL__ROWS_CHUNK;
}

/* The lowest token that any chunk reports: the same whatever the threads do. -1 if none was. */
typedef struct ful__lowest {
    atomic_llong value;
} ful__lowest;

static inline void ful__lowest_init(ful__lowest *lowest)
{
    atomic_init(&lowest->value, INT64_MAX);
}

static inline void ful__lowest_keep(ful__lowest *lowest, int64_t token)
{
    long long seen = atomic_load(&lowest->value);
    while (token < seen && !atomic_compare_exchange_weak(&lowest->value, &seen, token)) {}
}

static inline int64_t ful__lowest_get(ful__lowest *lowest)
{
    const long long value = atomic_load(&lowest->value);
    return value == INT64_MAX ? -1 : value;
}

/* Scores -------------------------------------------------------------------------------------------------------------- */

/* y = e^x and y = ln x (x >= 2^-126, smaller counts as that); y may be x. Relative error about 1e-7. */
void ful__exp_array(const float *x, float *y, int64_t n);
void ful__log_array(const float *x, float *y, int64_t n);
float ful__exp(float x);
/* -sum of p ln p, 0 ln 0 = 0. */
double ful__entropy_sum(const float *p, int64_t n);

/* ful__top_k of some rows; false if one holds a NaN. */
bool ful__top_k_rows(const float *score, int64_t rows, int e, int k, int32_t *index_out, float *score_out);

/* prob = softmax of each row (may alias logits). Returns the first row that holds a NaN or infinity, -1 if none. */
int64_t ful__softmax_rows(const float *logits, int64_t rows, int n, float *prob);
/* Likewise prob = sigma(l)/Z, Z the row's sum of sigma(l) = 1/(1+e^-l), at least FUL__SIGMOID_LEAST. */
#define FUL__SIGMOID_LEAST 1e-20f
int64_t ful__sigmoid_rows(const float *logits, int64_t rows, int n, float *prob);

/* dl = p (a - sum_j a_j p_j), METHODS 0.2 row 1; dl may be a. */
void ful__softmax_rows_backward(const float *prob, const float *a, int64_t rows, int n, float *dl);

/* Router inputs ------------------------------------------------------------------------------------------------------- */

/*
 * u = x (raw), (x - mean)/sqrt(var + 1e-5) (layernorm, no affine), x/sqrt(|x|^2 + 1e-6) (l2); u must not be x.
 * stat [rows][2] keeps mean and 1/sqrt(…) for backward; dx ADDS.
 */
void ful__input_rows(ful_router_input kind, const float *x, int64_t rows, int d, float *u, float *stat);
void ful__input_rows_backward(ful_router_input kind, const float *x, const float *stat, const float *du, int64_t rows, int d,
                              float *dx);

/* Products, each a parallel loop -------------------------------------------------------------------------------------- */

/* y [t][n] = x [t][d] w^T; dx [t][d] (+)= dy [t][n] w; dw [n][d] += dy^T x, tokens ascending. */
void ful__project(const float *x, int64_t t, int d, int n, const float *w, float *packed, float *y);
void ful__project_back(const float *dy, int64_t t, int d, int n, const float *w, float *packed, float *dx, bool accumulate);
void ful__weight_gradient(const float *dy, const float *x, int64_t t, int d, int n, float *scratch, float *dw);
/* Floats of `packed` (either way) and of `scratch` (any t), each a multiple of 64 bytes. */
size_t ful__project_packed_floats(int d, int n);
size_t ful__weight_gradient_floats(int d, int n);

#endif
