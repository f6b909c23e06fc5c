/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Some rows of a depthwise convolution of one map [h][w][B] of B = ful__block() channels, read where it lies: square kernels of
 * 3 or 5, stride 1 or 2, any padding. Each output's bits depend on where it lies alone, not on which rows are asked for.
 */
#ifndef FUL_OPS_CONV2D_DEPTHWISE_ROWS_H
#define FUL_OPS_CONV2D_DEPTHWISE_ROWS_H

#include <fulcrum/ops.h>
#include <stdbool.h>
#include <stdint.h>

enum { FUL__ROWS_KERNEL_MAX = 5 };

/* Rows first … end - 1 of the output, the first of them at out. */
typedef struct ful__depthwise_rows {
    const float *x, *w, *bias; /* the map; [k*k][B]; [B], NULL: 0 */
    float *out;
    float *far;      /* stored here as well, past the caches, whole vectors aligned; NULL: not */
    int64_t x_pitch; /* floats between rows of x */
    int x_h, x_w, y_w, first, end, kernel, stride, pad_h, pad_w;
    ful_act act; /* none, or one that ful__act_fuses */
} ful__depthwise_rows;

/* Of the CPU level in force. */
typedef void (*ful__depthwise_rows_fn)(const ful__depthwise_rows *p);
ful__depthwise_rows_fn ful__depthwise_rows_convolve(void);

#endif
