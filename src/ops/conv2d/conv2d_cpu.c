/* SPDX-License-Identifier: Apache-2.0 */
/* conv2d and conv_fused: each pass on kernels of our own (depthwise, pointwise, Winograd, patches, strips) or on oneDNN. */
#include <stdio.h>

#include <fulcrum/core.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/common.h"
#include "ops/conv2d/choose.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/depthwise.h"
#include "ops/conv2d/patches.h"
#include "ops/conv2d/pointwise.h"
#include "ops/conv2d/strips.h"
#include "ops/conv2d/winograd.h"
#include "ops/dnnl/dnnl_shim.h"

typedef enum backend { ON_DNNL, ON_DEPTHWISE, ON_POINTWISE, ON_WINOGRAD, ON_PATCHES, ON_STRIPS } backend;

typedef struct conv_op {
    ful__op base;
    ful__conv_fused_attr attr;
    bool fused;
    bool add_apart; /* the residual (and the activation behind it) is not left to the convolution */
    /* by plan: */
    backend by[FUL__DNNL_PASSES]; /* of each pass */
    ful__dnnl_conv *dnnl;         /* NULL where no pass is on it */
    ful__depthwise depthwise;
    ful__pointwise pointwise;
    ful__winograd to_y, to_dx;
    bool dw_along; /* Winograd's dw with dx, map by map */
    ful__patches patches;
    ful__strips strips[FUL__DNNL_PASSES];
    size_t packed_at[2]; /* our packed weights of forward and of dx, in bytes */
    char kernels[256];
} conv_op;

static void destroy(ful__op *op)
{
    if (op) ful__dnnl_conv_destroy(&((conv_op *)op)->dnnl);
    ful__op_free(op);
}

static ful_status check_fused(const ful__op *op, const ful__conv_fused_attr *a)
{
    const ful_shape r = op->x[1], y = op->y;
    FUL_FAIL_IF(op->n_x != (a->residual ? 2 : 1), FUL_ERR_ARG,
                "cannot build conv_fused '%s' with %d inputs, residual=%d: it takes %d", op->name, op->n_x, a->residual,
                a->residual ? 2 : 1);
    FUL_FAIL_IF(!a->conv.bias, FUL_ERR_ARG, "cannot build conv_fused '%s' with bias=false: folding gives it one", op->name);
    FUL_FAIL_IF(a->act != FUL_ACT_NONE && !ful__act_fuses(a->act), FUL_ERR_ARG,
                "cannot build conv_fused '%s' with act=%d: it must be none, relu, relu6 or hard_swish", op->name, (int)a->act);
    FUL_FAIL_IF(a->residual && (r.h != y.h || r.w != y.w || r.c != y.c), FUL_ERR_ARG,
                "cannot build conv_fused '%s' with a residual of %dx%dx%d: it must have the output's shape %dx%dx%d", op->name,
                r.h, r.w, r.c, y.h, y.w, y.c);
    return FUL_OK;
}

static ful_status create(const ful__op_type *type, const char *name, const ful__conv_fused_attr *attr, const ful_shape *x,
                         int n_x, ful__op **out)
{
    conv_op *op;
    *out = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a convolution"));
    op->attr = *attr;
    op->fused = type == &ful__op_conv_fused;
    /* oneDNN's SSE4.1 kernels read the sum's operand as aligned vectors, which y need not be. */
    op->add_apart = attr->residual && (!(ful_cpu_flags() & FUL_CPU_AVX2) || ful__depthwise_fits(&attr->conv, x[0]));
    ful_status status = ful__op_init(&op->base, type, name, x, n_x);
    if (status == FUL_OK) status = ful__conv2d_describe(&op->base, &attr->conv);
    if (status == FUL_OK) status = op->fused ? check_fused(&op->base, attr) : ful__op_takes(&op->base, 1);
    return ful__op_made(&op->base, status, out);
}

static ful_status conv2d_create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    const ful__conv_fused_attr a = {.conv = *(const ful_conv2d_attr *)attr, .act = FUL_ACT_NONE};
    return create(&ful__op_conv2d, name, &a, x, n_x, out);
}

static ful_status conv_fused_create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    return create(&ful__op_conv_fused, name, attr, x, n_x, out);
}

static ful__dnnl_conv_spec spec_of(const conv_op *op, int n_max, bool train)
{
    return (ful__dnnl_conv_spec){.name = op->base.name,
                                 .attr = op->attr.conv,
                                 .x = op->base.x[0],
                                 .y = op->base.y,
                                 .x_layout = op->base.x_layout[0],
                                 .y_layout = op->base.y_layout,
                                 .sum = op->attr.residual && !op->add_apart,
                                 .act = op->add_apart ? FUL_ACT_NONE : op->attr.act,
                                 .train = train && !op->fused,
                                 .n_max = n_max};
}

/* The inference form goes where it is measured to be fastest. */
static bool pointwise(const conv_op *op)
{
    return !op->fused && ful__pointwise_fits(&op->attr.conv, op->base.x[0]);
}

static void layouts(ful__op *base)
{
    const ful__dnnl_conv_spec spec = spec_of((conv_op *)base, 1, false);
    if (ful__depthwise_fits(&spec.attr, base->x[0]) || pointwise((conv_op *)base))
        base->x_layout[0] = base->y_layout = FUL__BLOCKED;
    else if (!ful__conv_layouts(&spec, &base->x_layout[0], &base->y_layout))
        ful__dnnl_conv_layouts(&spec, &base->x_layout[0], &base->y_layout);
    base->x_layout[1] = base->y_layout;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static ful_status choose_backends(conv_op *op, const ful__dnnl_conv_spec *spec)
{
    const int n = op->base.n_likely ? op->base.n_likely : spec->n_max;
    const bool depthwise = ful__depthwise_fits(&spec->attr, spec->x) && spec->x_layout == FUL__BLOCKED;
    const bool ours = depthwise || (pointwise(op) && spec->x_layout == FUL__BLOCKED && spec->y_layout == FUL__BLOCKED);
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) {
        static const backend of[FUL__CONV_WAYS] = {ON_DNNL, ON_WINOGRAD, ON_PATCHES, ON_STRIPS};
        ful__conv_way way = FUL__CONV_DIRECT;
        if (!ours && (pass == FUL__DNNL_FWD || spec->train)) FUL_TRY(ful__conv_choose(spec, (ful__dnnl_pass)pass, n, &way));
        op->by[pass] = depthwise ? ON_DEPTHWISE : ours ? ON_POINTWISE : of[way];
    }
    return FUL_OK;
}

/* Adds what the passes on Winograd's algorithm need to what those on oneDNN do. */
static void plan_winograd(conv_op *op, int n_max, bool train)
{
    ful__need *need = &op->base.need;
    op->to_y = ful__winograd_plan(&op->attr.conv, op->base.x[0], op->base.y, false, n_max);
    op->to_dx = ful__winograd_plan(&op->attr.conv, op->base.x[0], op->base.y, true, n_max);
    const ful__winograd *plan[FUL__DNNL_PASSES] = {&op->to_y, &op->to_dx, &op->to_y};
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) {
        if (op->by[pass] != ON_WINOGRAD) continue;
        const bool dw = pass == FUL__DNNL_BWD_W;
        need->scratch_fixed = larger(need->scratch_fixed, ful__winograd_scratch_bytes(plan[pass], dw));
        if (dw) continue;
        op->packed_at[pass] = need->packed;
        need->packed += ful__align64(ful__winograd_packed_bytes(plan[pass]));
    }
    need->maps = train && op->by[FUL__DNNL_FWD] == ON_WINOGRAD && op->by[FUL__DNNL_BWD_X] == ON_WINOGRAD &&
                 ful__winograd_takes_maps(&op->to_y, n_max) && ful__winograd_takes_maps(&op->to_dx, n_max);
    op->dw_along = need->maps && !op->attr.conv.bias && op->by[FUL__DNNL_BWD_W] == ON_WINOGRAD &&
                   ful__winograd_grad_takes_maps(&op->to_y);
    if (op->dw_along)
        need->scratch_fixed = larger(need->scratch_fixed, ful__winograd_back_scratch_bytes(&op->to_dx, &op->to_y));
}

static void plan_patches(conv_op *op, int n_max)
{
    ful__need *need = &op->base.need;
    if (op->by[FUL__DNNL_FWD] != ON_PATCHES) return;
    op->patches = ful__patches_plan(&op->attr.conv, op->base.x[0], op->base.y, n_max);
    need->scratch_fixed = larger(need->scratch_fixed, ful__patches_scratch_bytes(&op->patches));
    op->packed_at[FUL__DNNL_FWD] = need->packed;
    need->packed += ful__align64(ful__patches_packed_bytes(&op->patches));
}

static void plan_strips(conv_op *op, int n_max)
{
    ful__need *need = &op->base.need;
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) {
        ful__strips *plan = &op->strips[pass];
        if (op->by[pass] != ON_STRIPS) continue;
        *plan = ful__strips_plan(&op->attr.conv, op->base.x[0], op->base.y, (ful__dnnl_pass)pass, n_max);
        need->scratch_fixed = larger(need->scratch_fixed, ful__strips_scratch_bytes(plan));
        if (pass == FUL__DNNL_BWD_W) continue;
        op->packed_at[pass] = need->packed;
        need->packed += ful__align64(ful__strips_packed_bytes(plan));
    }
}

static void name_kernels(conv_op *op, bool train)
{
    size_t length = 0;
    for (int pass = 0; pass < (train ? FUL__DNNL_PASSES : 1) && length < sizeof op->kernels; pass++) {
        const char *name = op->by[pass] == ON_WINOGRAD    ? ful__winograd_kernel()
                           : op->by[pass] == ON_PATCHES   ? ful__patches_kernel()
                           : op->by[pass] == ON_STRIPS    ? ful__strips_kernel()
                           : op->by[pass] == ON_DEPTHWISE ? ful__depthwise_kernels(&op->depthwise)
                           : op->by[pass] == ON_POINTWISE ? ful__pointwise_kernels(&op->pointwise)
                                                          : ful__dnnl_conv_kernel(op->dnnl, (ful__dnnl_pass)pass);
        length += (size_t)snprintf(op->kernels + length, sizeof op->kernels - length, length ? ", %s" : "%s", name);
        if (op->by[pass] == ON_DEPTHWISE || op->by[pass] == ON_POINTWISE) return; /* names all passes at once */
    }
}

static ful_status plan(ful__op *base, int n_max, bool train)
{
    conv_op *op = (conv_op *)base;
    ful__dnnl_conv_destroy(&op->dnnl); /* planned again */
    ful__dnnl_conv_spec spec = spec_of(op, n_max, train);
    base->need = (ful__need){0};
    FUL_TRY(choose_backends(op, &spec));
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++)
        if (op->by[pass] == ON_DNNL && (pass == FUL__DNNL_FWD || spec.train)) spec.passes |= 1u << pass;
    if (spec.passes) {
        FUL_TRY(ful__dnnl_conv_create(&spec, &op->dnnl));
        ful__dnnl_conv_need(op->dnnl, &base->need);
    }
    if (op->by[FUL__DNNL_FWD] == ON_DEPTHWISE) {
        ful__depthwise_init(&op->depthwise, &spec.attr, spec.x, spec.y, spec.act, spec.train);
        ful__depthwise_need(&op->depthwise, &base->need);
    } else if (op->by[FUL__DNNL_FWD] == ON_POINTWISE) {
        ful__pointwise_init(&op->pointwise, spec.x, spec.y, n_max, spec.train);
        ful__pointwise_need(&op->pointwise, &base->need);
    } else {
        plan_winograd(op, n_max, spec.train);
        plan_patches(op, n_max);
        plan_strips(op, n_max);
    }
    name_kernels(op, spec.train);
    base->need.library = op->by[FUL__DNNL_FWD] == ON_DNNL;
    base->need.backward_x = 1u;
    base->need.inplace_1 = op->attr.residual && !op->add_apart;
    return FUL_OK;
}

const char *ful__conv2d_kernel(const ful__op *op)
{
    return ((const conv_op *)op)->kernels;
}

static ful__dnnl_conv_run dnnl_run(const conv_op *op, const ful__run *run)
{
    ful__dnnl_conv_run r = {.n = run->n, .repack = run->repack, .packed = run->packed, .scratch = run->scratch};
    r.x = run->x[0];
    r.w = run->w[0];
    r.bias = op->attr.conv.bias ? run->w[1] : NULL;
    return r;
}

/* y = act(y + x1) */
typedef struct addition {
    const float *x;
    float *y;
    int64_t count;
    ful_act act;
} addition;

static void add_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const addition *a = ctx;
    const int64_t at = i * FUL__PIECE, length = ful__piece_length(a->count, i);
    for (int64_t j = at; j < at + length; j++) a->y[j] += a->x[j];
    ful__act_forward(a->act, a->y + at, a->y + at, length);
}

static void add_residual(const conv_op *op, const ful__run *run)
{
    addition a = {run->x[1], run->y, run->n * ful__count(op->base.y), op->attr.act};
    ful__parallel_for(ful__pieces(a.count), add_piece, &a);
}

static ful_status prepare(ful__op *base, int n)
{
    conv_op *op = (conv_op *)base;
    return op->dnnl ? ful__dnnl_conv_prepare(op->dnnl, n) : FUL_OK;
}

static float *our_packed(const conv_op *op, const ful__run *run, ful__dnnl_pass pass)
{
    return (float *)(void *)((unsigned char *)run->packed + op->packed_at[pass]);
}

static ful__conv_run forward_run(const conv_op *op, const ful__run *run)
{
    return (ful__conv_run){.n = run->n,
                           .x = run->x[0],
                           .packed = our_packed(op, run, FUL__DNNL_FWD),
                           .bias = op->attr.conv.bias ? run->w[1] : NULL,
                           .residual = op->attr.residual ? run->x[1] : NULL,
                           .act = op->attr.act,
                           .y = run->y,
                           .scratch = run->scratch};
}

/* With the neighbours' work on its maps, where there is some. */
static void apply_winograd(const ful__winograd *plan, const ful__conv_run *r, const ful__run *run)
{
    if (run->before || run->after)
        ful__winograd_apply_maps(plan, r, run->before, run->after);
    else
        ful__winograd_apply(plan, r);
}

static int64_t forward_winograd(const conv_op *op, const ful__run *run)
{
    const ful__conv_run r = forward_run(op, run);
    if (run->repack) ful__winograd_pack(&op->to_y, run->w[0], false, our_packed(op, run, FUL__DNNL_FWD));
    apply_winograd(&op->to_y, &r, run);
    return ful__winograd_macs(&op->to_y);
}

static int64_t forward_patches(const conv_op *op, const ful__run *run)
{
    const ful__conv_run r = forward_run(op, run);
    if (run->repack) ful__patches_pack(&op->patches, run->w[0], our_packed(op, run, FUL__DNNL_FWD));
    ful__patches_apply(&op->patches, &r);
    return ful__patches_macs(&op->patches);
}

static int64_t forward_strips(const conv_op *op, const ful__run *run)
{
    const ful__conv_run r = forward_run(op, run);
    if (run->repack) ful__strips_pack(&op->strips[FUL__DNNL_FWD], run->w[0], our_packed(op, run, FUL__DNNL_FWD));
    ful__strips_apply(&op->strips[FUL__DNNL_FWD], &r);
    return ful__strips_macs(&op->strips[FUL__DNNL_FWD]);
}

/* dx, and dw where that goes along. */
static void backward_winograd(const conv_op *op, const ful__run *run, float *dw)
{
    float *u = our_packed(op, run, FUL__DNNL_BWD_X);
    const ful__conv_run r = {.n = run->n, .x = run->dy, .packed = u, .y = run->dx[0], .scratch = run->scratch};
    if (run->repack && r.y) ful__winograd_pack(&op->to_dx, run->w[0], true, u);
    if (op->dw_along && dw)
        ful__winograd_back_maps(&op->to_dx, &op->to_y, &r, run->x[0], dw, run->before, run->after);
    else
        apply_winograd(&op->to_dx, &r, run);
}

static void backward_x_strips(const conv_op *op, const ful__run *run)
{
    float *w = our_packed(op, run, FUL__DNNL_BWD_X);
    const ful__conv_run r = {.n = run->n, .x = run->dy, .packed = w, .y = run->dx[0], .scratch = run->scratch};
    if (run->repack) ful__strips_pack(&op->strips[FUL__DNNL_BWD_X], run->w[0], w);
    ful__strips_apply(&op->strips[FUL__DNNL_BWD_X], &r);
}

static ful_status forward(ful__op *base, const ful__run *run)
{
    conv_op *op = (conv_op *)base;
    int64_t macs = 0;
    if (run->n == 0) return FUL_OK;
    switch (op->by[FUL__DNNL_FWD]) {
    case ON_WINOGRAD: macs = forward_winograd(op, run); break;
    case ON_PATCHES: macs = forward_patches(op, run); break;
    case ON_STRIPS: macs = forward_strips(op, run); break;
    case ON_DEPTHWISE:
        ful__depthwise_forward(&op->depthwise, run, op->attr.conv.bias);
        macs = ful__depthwise_macs(&op->depthwise);
        break;
    case ON_POINTWISE:
        ful__pointwise_forward(&op->pointwise, run);
        macs = ful__pointwise_macs(&op->pointwise);
        break;
    case ON_DNNL: {
        ful__dnnl_conv_run r = dnnl_run(op, run);
        r.y = run->y;
        if (op->attr.residual && !op->add_apart) ful__copy_floats(run->x[1], run->y, run->n * ful__count(base->y));
        FUL_TRY(ful__dnnl_conv_forward(op->dnnl, &r));
        macs = ful__dnnl_conv_macs(op->dnnl);
    }
    }
    if (op->add_apart) add_residual(op, run);
    if (run->counters) run->counters->macs += macs * run->n;
    return FUL_OK;
}

static ful_status backward(ful__op *base, const ful__run *run)
{
    conv_op *op = (conv_op *)base;
    if (run->n == 0) return FUL_OK;
    if (op->by[FUL__DNNL_FWD] == ON_DEPTHWISE) {
        ful__depthwise_backward(&op->depthwise, run, op->attr.conv.bias);
        return FUL_OK;
    }
    if (op->by[FUL__DNNL_FWD] == ON_POINTWISE) {
        ful__pointwise_backward(&op->pointwise, run);
        return FUL_OK;
    }
    ful__dnnl_conv_run r = dnnl_run(op, run);
    r.dy = run->dy;
    r.dx = run->dx[0];
    r.dw = run->dw ? run->dw[0] : NULL;
    r.db = run->dw && op->attr.conv.bias ? run->dw[1] : NULL;
    if ((r.dx || run->before || (op->dw_along && r.dw)) && op->by[FUL__DNNL_BWD_X] == ON_WINOGRAD) {
        backward_winograd(op, run, r.dw);
        r.dx = NULL;
        if (op->dw_along) r.dw = NULL;
    }
    if (r.dx && op->by[FUL__DNNL_BWD_X] == ON_STRIPS) {
        backward_x_strips(op, run);
        r.dx = NULL;
    }
    if (r.dw && op->by[FUL__DNNL_BWD_W] == ON_WINOGRAD) {
        ful__winograd_grad(&op->to_y, run->n, run->x[0], run->dy, r.dw, run->scratch);
        r.dw = NULL;
    }
    if (r.dw && op->by[FUL__DNNL_BWD_W] == ON_STRIPS) {
        ful__strips_grad(&op->strips[FUL__DNNL_BWD_W], run->n, run->x[0], run->dy, r.dw, run->scratch);
        r.dw = NULL;
    }
    return r.dx || r.dw || r.db ? ful__dnnl_conv_backward(op->dnnl, &r) : FUL_OK;
}

const ful__op_type ful__op_conv2d = {.name = "conv2d",
                                     .create = conv2d_create,
                                     .layouts = layouts,
                                     .plan = plan,
                                     .prepare = prepare,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = destroy,
                                     .kernel = ful__conv2d_kernel};
const ful__op_type ful__op_conv_fused = {.name = "conv_fused",
                                         .create = conv_fused_create,
                                         .layouts = layouts,
                                         .plan = plan,
                                         .forward = forward,
                                         .destroy = destroy,
                                         .kernel = ful__conv2d_kernel};
