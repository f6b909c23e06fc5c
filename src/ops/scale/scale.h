/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of a matrix [rows][width] times weights: what scale and excite are made of. */
#ifndef FUL_OPS_SCALE_H
#define FUL_OPS_SCALE_H

#include <stdint.h>

/* Sums in float go over at most this many rows, then in double. */
enum { FUL__SCALE_ROWS = 256 };

typedef struct scale_kernels {
    void (*forward)(const float *x, int64_t rows, int width, const float *w, float *y);
    /* dx = w dy unless dx is NULL; dw += sum over rows of dy x unless dw is NULL */
    void (*backward)(const float *x, const float *dy, int64_t rows, int width, const float *w, float *dx, double *dw);
} scale_kernels;

#endif
