/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pointwise convolution (1x1, one group, no bias) in the blocked layout, for training: all three passes, some images at a time,
 * with the neighbours' work on their maps (op.h). Backward takes dx and dw of a map together, and reads x and dy where the
 * neighbours have just made them. conv2d_cpu.c sends here what fits, the rest to oneDNN.
 */
#ifndef FUL_OPS_CONV2D_POINTWISE_H
#define FUL_OPS_CONV2D_POINTWISE_H

#include "ops/op.h"

/* Holds no tensors; of a fixed size, so that an op has it as a member. */
typedef struct ful__pointwise {
    ful_shape x, y;
    int block; /* channels of a block, as planned */
    int n_max;
    bool train;
    int near; /* places for maps in scratch, one for each thread there was at planning */
} ful__pointwise;

/* Whether these kernels take a convolution, in the blocked layout. */
bool ful__pointwise_fits(const ful_conv2d_attr *attr, ful_shape x);
void ful__pointwise_init(ful__pointwise *d, ful_shape x, ful_shape y, int n_max, bool train);
/* packed, scratch_fixed, maps, again */
void ful__pointwise_need(const ful__pointwise *d, ful__need *need);
int64_t ful__pointwise_macs(const ful__pointwise *d); /* of one image, from the loops that run */
const char *ful__pointwise_kernels(const ful__pointwise *d);

/* The run of a conv2d: w[0] [out][in]. */
void ful__pointwise_forward(const ful__pointwise *d, const ful__run *run);
void ful__pointwise_backward(const ful__pointwise *d, const ful__run *run);

#endif
