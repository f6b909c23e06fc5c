/* SPDX-License-Identifier: Apache-2.0 */
/* conv2d: attributes, their checks, shapes and cost; and the folding of a batch-norm into a convolution. */
#include "ops/conv2d/conv2d.h"

#include <math.h>

#include "core/error.h"

void ful_conv2d_defaults(ful_conv2d_attr *attr)
{
    *attr = (ful_conv2d_attr){.kernel_h = 3,
                              .kernel_w = 3,
                              .stride_h = 1,
                              .stride_w = 1,
                              .dilation_h = 1,
                              .dilation_w = 1,
                              .groups = 1,
                              .init = FUL_INIT_HE_NORMAL,
                              .gain = 1.0f};
}

enum { SIDE_MAX = 1 << 16 }; /* of anything that is given: keeps all sums below in range */

/* One axis: out = (in + 2 pad - effective kernel) / stride + 1, rounded down. */
static ful_status axis_out(const char *type, const char *name, char axis, int in, int kernel, int stride, int pad, int dilation,
                           int *out)
{
    FUL_FAIL_IF(kernel < 1 || kernel > SIDE_MAX, FUL_ERR_ARG, "cannot build %s '%s' with kernel_%c=%d: it must be in 1..%d",
                type, name, axis, kernel, SIDE_MAX);
    FUL_FAIL_IF(stride < 1 || stride > SIDE_MAX, FUL_ERR_ARG, "cannot build %s '%s' with stride_%c=%d: it must be in 1..%d",
                type, name, axis, stride, SIDE_MAX);
    FUL_FAIL_IF(dilation < 1 || dilation > SIDE_MAX, FUL_ERR_ARG,
                "cannot build %s '%s' with dilation_%c=%d: it must be in 1..%d", type, name, axis, dilation, SIDE_MAX);
    const int64_t reach = (int64_t)(kernel - 1) * dilation + 1;
    FUL_FAIL_IF(pad < 0 || pad >= reach, FUL_ERR_ARG,
                "cannot build %s '%s' with pad_%c=%d: it must be at least 0 and below the dilated kernel's %lld", type, name,
                axis, pad, (long long)reach);
    FUL_FAIL_IF(
        in + 2 * (int64_t)pad < reach, FUL_ERR_ARG,
        "cannot build %s '%s' with kernel_%c=%d, dilation_%c=%d on an input of %d + 2*%d: the dilated kernel of %lld must fit",
        type, name, axis, kernel, axis, dilation, in, pad, (long long)reach);
    *out = (int)((in + 2 * (int64_t)pad - reach) / stride) + 1;
    return FUL_OK;
}

ful_status ful__conv2d_shape(const char *type, const char *name, const ful_conv2d_attr *a, ful_shape x, ful_shape *y_out)
{
    FUL_FAIL_IF(a->out_channels < 1, FUL_ERR_ARG, "cannot build %s '%s' with out_channels=%d: it must be at least 1", type,
                name, a->out_channels);
    FUL_FAIL_IF(a->groups < 1 || x.c % a->groups != 0 || a->out_channels % a->groups != 0, FUL_ERR_ARG,
                "cannot build %s '%s' with groups=%d, in_channels=%d, out_channels=%d: groups must divide both channel counts",
                type, name, a->groups, x.c, a->out_channels);
    FUL_FAIL_IF(!isfinite(a->gain) || a->gain < 0, FUL_ERR_ARG, "cannot build %s '%s' with gain=%g: it must be finite and >= 0",
                type, name, (double)a->gain);
    ful_shape y = {.c = a->out_channels};
    FUL_TRY(axis_out(type, name, 'h', x.h, a->kernel_h, a->stride_h, a->pad_h, a->dilation_h, &y.h));
    FUL_TRY(axis_out(type, name, 'w', x.w, a->kernel_w, a->stride_w, a->pad_w, a->dilation_w, &y.w));
    FUL_FAIL_IF((int64_t)y.h * y.w > INT32_MAX / y.c, FUL_ERR_ARG,
                "cannot build %s '%s' with an output of %d x %d x %d: the product must be below 2^31", type, name, y.h, y.w,
                y.c);
    *y_out = y;
    return FUL_OK;
}

ful_status ful__conv2d_describe(ful__op *op, const ful_conv2d_attr *a)
{
    FUL_TRY(ful__conv2d_shape(op->type->name, op->name, a, op->x[0], &op->y));
    const int64_t shape[4] = {a->out_channels, op->x[0].c / a->groups, a->kernel_h, a->kernel_w};
    const int64_t taps = shape[1] * shape[2] * shape[3];
    FUL_TRY(ful__op_add_param(op, "weight", 4, shape, a->init, a->gain, taps, true, true));
    op->cost.macs = ful__count(op->y) * taps;
    return a->bias ? ful__op_add_param(op, "bias", 1, shape, FUL_INIT_ZEROS, 1.0f, taps, true, false) : FUL_OK;
}

void ful__fold_batchnorm(const ful_conv2d_attr *attr, int in_channels, const float *w, const float *bias, const float *gamma,
                         const float *beta, const float *mean, const float *var, float eps, float *w_out, float *b_out)
{
    const int64_t taps = (int64_t)(in_channels / attr->groups) * attr->kernel_h * attr->kernel_w;
    for (int o = 0; o < attr->out_channels; o++) {
        const double scale = gamma[o] / sqrt((double)var[o] + eps);
        for (int64_t i = 0; i < taps; i++) w_out[o * taps + i] = (float)(w[o * taps + i] * scale);
        b_out[o] = (float)(beta[o] + ((bias ? bias[o] : 0.0) - mean[o]) * scale);
    }
}
