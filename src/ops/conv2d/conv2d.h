/* SPDX-License-Identifier: Apache-2.0 */
/* What conv2d and conv_fused share. */
#ifndef FUL_OPS_CONV2D_H
#define FUL_OPS_CONV2D_H

#include "ops/op.h"

/* Checks the attributes against x and gives the shape of y. type: for messages. */
ful_status ful__conv2d_shape(const char *type, const char *name, const ful_conv2d_attr *attr, ful_shape x,
                             ful_shape *y_out) FUL_CHECK_RESULT;
/* Adds weight (and bias), sets y and the cost. */
ful_status ful__conv2d_describe(ful__op *op, const ful_conv2d_attr *attr) FUL_CHECK_RESULT;

/* What a planned convolution runs on, for people to read. */
const char *ful__conv2d_kernel(const ful__op *op);

/* The forward pass of our own kernels: y = act(conv(x) + bias + residual). bias and residual may be NULL, residual may be y;
 * packed: weights as the kernel's pack left them. */
typedef struct ful__conv_run {
    int n;
    const float *x, *packed, *bias, *residual;
    ful_act act; /* none, or one that ful__act_fuses */
    float *y;
    void *scratch;
} ful__conv_run;

#endif
