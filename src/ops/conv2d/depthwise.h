/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution (one input and one output channel a group) in the blocked layout, square kernels of 3 or 5 and
 * stride 1 or 2, or of 7 and stride 1: all three passes, bound by memory rather than by arithmetic. conv2d_cpu.c sends here
 * what fits, the rest to oneDNN.
 */
#ifndef FUL_OPS_CONV2D_DEPTHWISE_H
#define FUL_OPS_CONV2D_DEPTHWISE_H

#include "ops/op.h"

/* Holds no tensors; of a fixed size, so that an op has it as a member. */
typedef struct ful__depthwise {
    ful_shape x, y;
    int kernel, stride, pad_h, pad_w;
    int block;   /* channels of a block, as planned */
    ful_act act; /* forward: y = act(conv + bias) */
    bool train;
    int near; /* threads that have maps in scratch */
} ful__depthwise;

/* Whether these kernels take a convolution, in the blocked layout. */
bool ful__depthwise_fits(const ful_conv2d_attr *attr, ful_shape x);
void ful__depthwise_init(ful__depthwise *d, const ful_conv2d_attr *attr, ful_shape x, ful_shape y, ful_act act, bool train);
/* packed, scratch_fixed */
void ful__depthwise_need(const ful__depthwise *d, ful__need *need);
int64_t ful__depthwise_macs(const ful__depthwise *d); /* of one image, from the loops that run */
const char *ful__depthwise_kernels(const ful__depthwise *d);

/* [c][taps] to [c/B][taps][B], B = block; turn: the taps in reverse, for dx. */
void ful__depthwise_pack(const float *w, int channels, int taps, int block, bool turn, float *packed);

/* The run of a conv2d: w[0] [c][1][k][k], w[1] the bias where has_bias says so, likewise dw. */
void ful__depthwise_forward(const ful__depthwise *d, const ful__run *run, bool has_bias);
void ful__depthwise_backward(const ful__depthwise *d, const ful__run *run, bool has_bias);

#endif
