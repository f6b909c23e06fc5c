/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How tokens reach their experts and come back.
 *
 *   pair   (token t, slot i): t's i-th choice. A kept pair owns one row.
 *   row    experts' rows lie one expert after the other, within an expert in token order: offset[e] .. offset[e+1].
 *
 * Everything works row by row or token by token, each in one fixed order, so a token's result depends on nothing but its own
 * rows.
 */
#ifndef FUL_MOE_DISPATCH_H
#define FUL_MOE_DISPATCH_H

#include <stdint.h>

typedef struct ful__dispatch {
    int64_t t;
    int k, e;
    int64_t rows;    /* kept pairs */
    int64_t *offset; /* [e+1] */
    uint32_t *pair;  /* [rows] t*k + i of the pair that owns the row */
    uint32_t *token; /* [rows] its t: the gather index */
    int32_t *row;    /* [t][k] the pair's row, -1 where dropped */
} ful__dispatch;

/* Fills d's arrays (its t, k, e are set) from the route; kept NULL: nothing dropped; counts[e] kept pairs of each expert. */
void ful__dispatch_plan(ful__dispatch *d, const int32_t *expert, const uint8_t *kept, const int64_t *counts);

/* out[r] = x[index[r]] for rows of `width` floats. */
void ful__gather(const float *x, const uint32_t *index, int64_t rows, int64_t width, float *out);

/* y_t = (..(x_t + g_t0 o_t0) + ..) + g_t,k-1 o_t,k-1, every product and sum rounded: with E = 1 and gate 1 exactly x + o. y may
 * be x. x NULL: without it. */
void ful__combine(const ful__dispatch *d, const float *gate, int64_t width, const float *x, const float *o, float *y);

/* do_r = g dy_t for every row; dgate_ti = <dy_t, o_ti>, 0 where dropped. */
void ful__combine_backward(const ful__dispatch *d, const float *gate, int64_t width, const float *dy, const float *o,
                           float *d_o, float *dgate);

/* dx_t = (..(dy_t + dx_rows_t0) + ..) + dx_rows_t,k-1: the residual path and the experts'. dx may be dy. dy
 * NULL: without it. */
void ful__dispatch_backward(const ful__dispatch *d, int64_t width, const float *dy, const float *dx_rows, float *dx);

#endif
