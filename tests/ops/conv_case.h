/* SPDX-License-Identifier: Apache-2.0 */
/* A convolution on one line, for the tables of conv2d and conv_fused; the zeros that are left out mean 1 (pads: 0). */
#ifndef FUL_TESTS_OPS_CONV_CASE_H
#define FUL_TESTS_OPS_CONV_CASE_H

#include <stdio.h>

#include "ops/opcheck.h"

typedef struct conv_case {
    ful_shape x;
    int out, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
    bool bias;
    int n_max;
    bool winograd, patches, strips;
} conv_case;

/* Each value carries the rounding of its whole tile. */
#define CONV_WINOGRAD_TOLERANCE 3e-5

static inline int conv_or_one(int value)
{
    return value ? value : 1;
}

static inline ful_conv2d_attr conv_attr(const conv_case *c)
{
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = c->out;
    a.kernel_h = c->kernel_h;
    a.kernel_w = c->kernel_w;
    a.stride_h = conv_or_one(c->stride_h);
    a.stride_w = conv_or_one(c->stride_w);
    a.pad_h = c->pad_h;
    a.pad_w = c->pad_w;
    a.dilation_h = conv_or_one(c->dilation_h);
    a.dilation_w = conv_or_one(c->dilation_w);
    a.groups = conv_or_one(c->groups);
    a.bias = c->bias;
    a.algorithm = c->winograd  ? FUL_CONV_WINOGRAD
                  : c->patches ? FUL_CONV_PATCHES
                  : c->strips  ? FUL_CONV_STRIPS
                               : FUL_CONV_DIRECT;
    return a;
}

static inline int conv_side(int in, int kernel, int stride, int pad, int dilation)
{
    return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

/* Shapes and cost that the op must find, from the definition. attr is borrowed. */
static inline check_case conv_expect(const conv_case *c, const ful_conv2d_attr *a)
{
    check_case out = {.x = {c->x}, .n_max = c->n_max};
    if (c->winograd) out.tolerance = CONV_WINOGRAD_TOLERANCE;
    out.y.h = conv_side(c->x.h, a->kernel_h, a->stride_h, a->pad_h, a->dilation_h);
    out.y.w = conv_side(c->x.w, a->kernel_w, a->stride_w, a->pad_w, a->dilation_w);
    out.y.c = a->out_channels;
    out.macs = (int64_t)out.y.h * out.y.w * out.y.c * (c->x.c / a->groups) * a->kernel_h * a->kernel_w;
    return out;
}

/* What may be fused into a convolution. */
static const ful_act conv_acts[] = {FUL_ACT_NONE, FUL_ACT_RELU, FUL_ACT_RELU6, FUL_ACT_HARD_SWISH};
enum { CONV_ACTS = sizeof conv_acts / sizeof *conv_acts };

/* relu6 cuts the sum of absolute values that the tolerance goes by, too: hundreds of them to 6. */
static inline double conv_tolerance(double tolerance, ful_act act)
{
    return act == FUL_ACT_RELU6 ? 30 * tolerance : tolerance;
}

static inline const char *conv_text(const ful_conv2d_attr *a, char text[112])
{
    snprintf(text, 112, "out %d kernel %dx%d stride %dx%d pad %dx%d dilation %dx%d groups %d%s%s", a->out_channels, a->kernel_h,
             a->kernel_w, a->stride_h, a->stride_w, a->pad_h, a->pad_w, a->dilation_h, a->dilation_w, a->groups,
             a->bias ? " bias" : "",
             a->algorithm == FUL_CONV_WINOGRAD  ? " winograd"
             : a->algorithm == FUL_CONV_PATCHES ? " patches"
             : a->algorithm == FUL_CONV_STRIPS  ? " strips"
                                                : "");
    return text;
}

#endif
