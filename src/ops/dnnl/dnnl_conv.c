/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A convolution on oneDNN. Weights are kept in the packed layouts that its primitives for n_max images like best, one for
 * forward and one for the gradient of x; every other n is made to use the same.
 *
 * An input whose channels do not fill a block (an image of 3 colours) comes as NHWC, but oneDNN is fast from NCHW to a blocked
 * output, and for the gradient of x from NHWC to NHWC: such a pass first copies one side into scratch ("staged").
 *
 *   packed   [w for forward][w for backward of x]     scratch   [scratchpad][dw packed][db][staged images …]
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/common.h"
#include "ops/dnnl/dnnl_api.h"
#include "ops/dnnl/dnnl_grad.h"
#include "ops/dnnl/dnnl_shim.h"
#include "ops/reorder/reorder.h"

struct ful__dnnl_conv {
    ful__dnnl_conv_spec spec;
    char name[FUL__OP_NAME_MAX];
    bool stage_x;                                 /* forward and dw: x from NHWC to NCHW */
    bool stage_dy;                                /* dx: dy from BLOCKED to NHWC */
    ful__md w_plain, w[FUL__DNNL_PASSES];         /* plain, and as each pass has it */
    size_t w_bytes[FUL__DNNL_PASSES];             /* of a packed copy; 0 where it is the plain layout */
    ful__dnnl_kernel *pack[FUL__DNNL_BWD_W];      /* plain -> w[pass] */
    ful__dnnl_grad grad;                          /* dw += w[BWD_W] */
    ful__dnnl_kernel **made[FUL__DNNL_PASSES][2]; /* [n], outside and inside parallel pieces */
    pthread_mutex_t lock;
    size_t room;         /* bytes of the scratchpad in scratch */
    size_t staged_bytes; /* of one image */
    int64_t macs;
};

/* Descriptors ------------------------------------------------------------------------------------------------------------ */

static dnnl_format_tag_t tag_of(ful__layout layout, bool staged)
{
    if (staged) return dnnl_nchw;
    if (layout == FUL__NHWC) return dnnl_nhwc;
    return ful__block() == 16 ? dnnl_nChw16c : dnnl_nChw8c;
}

static dnnl_status_t make_image_md(ful__md *out, int n, ful_shape s, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {n, s.c, s.h, s.w};
    return ful__md_make(out, 4, dims, tag);
}

/* [out][in/groups][kh][kw], or with an axis of groups in front. any: oneDNN's choice. */
static dnnl_status_t make_weight_md(ful__md *out, const ful__dnnl_conv_spec *s, bool any)
{
    const ful_conv2d_attr *a = &s->attr;
    if (a->groups == 1) {
        const dnnl_dims_t dims = {a->out_channels, s->x.c, a->kernel_h, a->kernel_w};
        return ful__md_make(out, 4, dims, any ? dnnl_format_tag_any : dnnl_oihw);
    }
    const dnnl_dims_t dims = {a->groups, a->out_channels / a->groups, s->x.c / a->groups, a->kernel_h, a->kernel_w};
    return ful__md_make(out, 5, dims, any ? dnnl_format_tag_any : dnnl_goihw);
}

/* The tensors one pass works on; whichever are made are freed by shapes_free. */
typedef struct shapes {
    ful__md x, w, b, y;
} shapes;

static void shapes_free(shapes *s)
{
    ful__md_free(&s->x);
    ful__md_free(&s->w);
    ful__md_free(&s->b);
    ful__md_free(&s->y);
}

/* alpha and beta of hardswish: version 3 asks for the slope and the middle of its sigmoid, version 2 has them built in. */
static dnnl_status_t append_act(dnnl_post_ops_t ops, ful_act act)
{
    switch (act) {
    case FUL_ACT_NONE: return dnnl_success;
    case FUL_ACT_RELU: return ful__dnnl_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
    case FUL_ACT_RELU6: return ful__dnnl_append_eltwise(ops, dnnl_eltwise_clip, 0.0f, 6.0f);
    case FUL_ACT_HARD_SWISH: return ful__dnnl_append_eltwise(ops, dnnl_eltwise_hardswish, 1.0f / 6.0f, 0.5f);
    default: return dnnl_invalid_arguments;
    }
}

static dnnl_status_t make_attr(dnnl_primitive_attr_t *out, bool sum, ful_act act)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && sum) status = ful__dnnl_append_sum(ops);
    if (status == dnnl_success) status = append_act(ops, act);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) (void)dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_prop_kind_t prop_of(const ful__dnnl_conv_spec *s, ful__dnnl_pass pass)
{
    if (pass == FUL__DNNL_BWD_X) return dnnl_backward_data;
    if (pass == FUL__DNNL_BWD_W) return dnnl_backward_weights;
    return s->train ? dnnl_forward_training : dnnl_forward_inference;
}

/* What oneDNN 2.6 gets wrong in 1x1 convolutions: its AVX2 kernel for the weight gradients may run for ever where it pads
 * channels to a block, and its SSE4.1 kernel adds the second part of a long sum to an output that it takes for aligned. */
static const char *avoided(const ful__dnnl_conv_spec *s, ful__dnnl_pass pass)
{
    enum { BLOCK = 8 };
    if (pass == FUL__DNNL_BWD_W && (s->x.c % BLOCK != 0 || s->y.c % BLOCK != 0)) return "jit_1x1:avx2";
    return pass == FUL__DNNL_FWD ? "jit_1x1:sse41" : NULL;
}

static dnnl_status_t make_pd(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, const shapes *s, dnnl_primitive_desc_t *out)
{
    const ful_conv2d_attr *a = &spec->attr;
    ful__dnnl_conv_desc d = {
        .prop = prop_of(spec, pass),
        .alg = dnnl_convolution_direct,
        .x = ful__md_see(&s->x),
        .w = ful__md_see(&s->w),
        .b = pass == FUL__DNNL_BWD_X ? NULL : ful__md_see(&s->b),
        .y = ful__md_see(&s->y),
        .strides = {a->stride_h, a->stride_w},
        .dilates = {a->dilation_h - 1, a->dilation_w - 1},
        .pad = {a->pad_h, a->pad_w},
        .avoid = avoided(spec, pass),
    };
    const bool forward = pass == FUL__DNNL_FWD;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t hint = NULL;
    *out = NULL;
    dnnl_status_t status = make_attr(&attr, forward && spec->sum, forward ? spec->act : FUL_ACT_NONE);
    if (status == dnnl_success && !forward) { /* the hint may use any weights: only shapes and the algorithm count */
        ful__dnnl_conv_desc f = d;
        shapes any = {0};
        status = make_weight_md(&any.w, spec, true);
        f.prop = dnnl_forward_training;
        f.avoid = NULL;
        f.b = ful__md_see(&s->b);
        f.w = ful__md_see(&any.w);
        if (status == dnnl_success) status = ful__dnnl_conv_pd(&hint, &f, NULL, NULL);
        shapes_free(&any);
    }
    if (status == dnnl_success) status = ful__dnnl_conv_pd(out, &d, attr, hint);
    if (hint) (void)dnnl_primitive_desc_destroy(hint);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Tensors for n images; w: the pinned layout, NULL for oneDNN's choice. */
static dnnl_status_t make_shapes(const ful__dnnl_conv_spec *spec, int n, dnnl_format_tag_t x_tag, dnnl_format_tag_t y_tag,
                                 ful__md_ref w, shapes *out)
{
    *out = (shapes){0};
    const dnnl_dims_t bias = {spec->attr.out_channels};
    dnnl_status_t status = make_image_md(&out->x, n, spec->x, x_tag);
    if (status == dnnl_success) status = make_image_md(&out->y, n, spec->y, y_tag);
    if (status == dnnl_success) status = w ? ful__md_copy(&out->w, w) : make_weight_md(&out->w, spec, true);
    if (status == dnnl_success && spec->attr.bias) status = ful__md_make(&out->b, 1, bias, dnnl_a);
    return status;
}

/* Layouts ---------------------------------------------------------------------------------------------------------------- */

/* Whether oneDNN has more than its reference for all passes (dx of a staged input is never wanted fast). */
static bool is_fast(const ful__dnnl_conv_spec *spec, ful__layout x, ful__layout y)
{
    const bool stage = x == FUL__NHWC && y == FUL__BLOCKED;
    shapes s;
    dnnl_status_t status = make_shapes(spec, 8, tag_of(x, stage), tag_of(y, false), NULL, &s);
    for (int pass = 0; pass < FUL__DNNL_PASSES && status == dnnl_success; pass++) {
        if (stage && pass == FUL__DNNL_BWD_X) continue;
        dnnl_primitive_desc_t pd = NULL;
        const char *impl = "ref";
        status = make_pd(spec, (ful__dnnl_pass)pass, &s, &pd);
        if (status == dnnl_success) status = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl);
        if (strncmp(impl, "ref", 3) == 0) status = dnnl_unimplemented;
        if (pd) (void)dnnl_primitive_desc_destroy(pd);
    }
    shapes_free(&s);
    return status == dnnl_success;
}

void ful__dnnl_conv_layouts(const ful__dnnl_conv_spec *spec, ful__layout *x_out, ful__layout *y_out)
{
    const bool block_x = spec->x.c % ful__block() == 0, block_y = spec->y.c % ful__block() == 0;
    *x_out = *y_out = FUL__NHWC;
    if (ful__dnnl_init() != FUL_OK || !block_y) return;
    const ful__layout x = block_x ? FUL__BLOCKED : FUL__NHWC;
    ful__dnnl_conv_spec train = *spec;
    train.train = true;
    ful__dnnl_use_threads();
    if (!is_fast(&train, x, FUL__BLOCKED)) return;
    *x_out = x;
    *y_out = FUL__BLOCKED;
}

/* Kernels ---------------------------------------------------------------------------------------------------------------- */

static const int args_of[FUL__DNNL_PASSES][4] = {
    {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
    {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, 0},
    {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_BIAS},
};

static ful_status make_kernel(const ful__dnnl_conv *c, ful__dnnl_pass pass, int n, ful__dnnl_kernel **out)
{
    const ful__dnnl_conv_spec *spec = &c->spec;
    const bool dx = pass == FUL__DNNL_BWD_X;
    const dnnl_format_tag_t x_tag = tag_of(spec->x_layout, c->stage_x && !dx);
    const dnnl_format_tag_t y_tag = tag_of(dx && c->stage_dy ? FUL__NHWC : spec->y_layout, false);
    shapes s;
    dnnl_primitive_desc_t pd = NULL;
    *out = NULL;
    dnnl_status_t status = make_shapes(spec, n, x_tag, y_tag, ful__md_see(&c->w[pass]), &s);
    if (status == dnnl_success) status = make_pd(spec, pass, &s, &pd);
    shapes_free(&s);
    FUL_TRY(ful__dnnl_check(status, "build conv2d", c->name));
    return ful__dnnl_kernel_create(pd, args_of[pass], !dx && spec->attr.bias ? 4 : 3, c->name, out);
}

/* The primitive for n images, made now if need be. */
static ful_status get_kernel(ful__dnnl_conv *c, ful__dnnl_pass pass, int n, ful__dnnl_kernel **out)
{
    pthread_mutex_lock(&c->lock);
    ful__dnnl_kernel **slot = &c->made[pass][ful__parallel_active() != 0][n];
    ful_status status = FUL_OK;
    if (!*slot) {
        ful__dnnl_use_threads();
        status = make_kernel(c, pass, n, slot);
    }
    *out = *slot;
    pthread_mutex_unlock(&c->lock);
    return status;
}

static bool has_pass(const ful__dnnl_conv *c, int pass)
{
    return c->spec.passes >> pass & 1u;
}

ful_status ful__dnnl_conv_prepare(ful__dnnl_conv *c, int n)
{
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) {
        ful__dnnl_kernel *k;
        if (!has_pass(c, pass)) continue;
        FUL_TRY(get_kernel(c, (ful__dnnl_pass)pass, n, &k));
        FUL_TRY(ful__dnnl_kernel_prepare(k, c->name));
    }
    return FUL_OK;
}

/* Life ------------------------------------------------------------------------------------------------------------------- */

/* The packed layout that the kernel for n_max has chosen is the one for all n. */
static ful_status pin_layout(ful__dnnl_conv *c, ful__dnnl_pass pass)
{
    enum { WEIGHTS = 1 };
    ful__dnnl_kernel *k;
    FUL_TRY(get_kernel(c, pass, c->spec.n_max, &k));
    FUL_TRY(ful__dnnl_check(ful__md_copy(&c->w[pass], ful__md_see(&k->md[WEIGHTS])), "build conv2d", c->name));
    if (k->scratch_bytes > c->room) c->room = k->scratch_bytes;
    return FUL_OK;
}

/* For forward and dx: a reorder from the plain weights, unless plain is what the kernel takes. */
static ful_status pin_weights(ful__dnnl_conv *c, ful__dnnl_pass pass)
{
    FUL_TRY(pin_layout(c, pass));
    const ful__md_ref plain = ful__md_see(&c->w_plain), packed = ful__md_see(&c->w[pass]);
    if (dnnl_memory_desc_equal(plain, packed)) return FUL_OK;
    c->w_bytes[pass] = ful__align64(dnnl_memory_desc_get_size(packed));
    dnnl_primitive_desc_t pd = NULL;
    FUL_TRY(ful__dnnl_check(ful__dnnl_reorder_pd(&pd, plain, packed), "pack the weights of conv2d", c->name));
    const int args[2] = {DNNL_ARG_FROM, DNNL_ARG_TO};
    FUL_TRY(ful__dnnl_kernel_create(pd, args, 2, c->name, &c->pack[pass]));
    if (c->pack[pass]->scratch_bytes > c->room) c->room = c->pack[pass]->scratch_bytes;
    return FUL_OK;
}

/* For dw: our own addition into the plain gradient, which must know how the packed one lies; else the plain layout is demanded.
 */
static ful_status pin_grad(ful__dnnl_conv *c)
{
    FUL_TRY(pin_layout(c, FUL__DNNL_BWD_W));
    ful__md *w = &c->w[FUL__DNNL_BWD_W];
    bool known = false;
    FUL_TRY(ful__dnnl_grad_init(&c->grad, ful__md_see(w), &known));
    if (!known) {
        ful__md_free(w);
        ful__dnnl_kernel_destroy(&c->made[FUL__DNNL_BWD_W][ful__parallel_active() != 0][c->spec.n_max]);
        FUL_TRY(ful__dnnl_check(ful__md_copy(w, ful__md_see(&c->w_plain)), "build conv2d", c->name));
        FUL_TRY(pin_layout(c, FUL__DNNL_BWD_W));
        FUL_TRY(ful__dnnl_grad_init(&c->grad, ful__md_see(w), &known));
    }
    c->w_bytes[FUL__DNNL_BWD_W] = ful__align64(dnnl_memory_desc_get_size(ful__md_see(w)));
    return FUL_OK;
}

/* Multiply-accumulates of one image from the dimensions of the primitive's own tensors: pixels of y times values of w. */
static int64_t count_macs(const ful__dnnl_kernel *forward)
{
    const dnnl_dim_t *y, *w;
    int64_t macs = 1;
    (void)ful__md_dims(ful__md_see(&forward->md[2]), &y);
    const int rank = ful__md_dims(ful__md_see(&forward->md[1]), &w);
    macs *= y[2] * y[3];
    for (int i = 0; i < rank; i++) macs *= w[i];
    return macs;
}

static ful_status build(ful__dnnl_conv *c)
{
    FUL_TRY(ful__dnnl_init());
    FUL_TRY(ful__dnnl_check(make_weight_md(&c->w_plain, &c->spec, false), "build conv2d", c->name));
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++)
        for (int active = 0; active < 2 && has_pass(c, pass); active++)
            FUL_TRY(ful__calloc(&c->made[pass][active], (size_t)c->spec.n_max + 1, sizeof(ful__dnnl_kernel *),
                                "a convolution's primitives"));
    if (has_pass(c, FUL__DNNL_FWD)) FUL_TRY(pin_weights(c, FUL__DNNL_FWD));
    if (has_pass(c, FUL__DNNL_BWD_X)) FUL_TRY(pin_weights(c, FUL__DNNL_BWD_X));
    if (has_pass(c, FUL__DNNL_BWD_W)) FUL_TRY(pin_grad(c));
    c->room = ful__align64(c->room);
    if (has_pass(c, FUL__DNNL_FWD)) c->macs = count_macs(c->made[FUL__DNNL_FWD][ful__parallel_active() != 0][c->spec.n_max]);
    return FUL_OK;
}

ful_status ful__dnnl_conv_create(const ful__dnnl_conv_spec *spec, ful__dnnl_conv **out)
{
    ful__dnnl_conv *c;
    *out = NULL;
    FUL_TRY(ful__calloc(&c, 1, sizeof *c, "a convolution"));
    pthread_mutex_init(&c->lock, NULL);
    c->spec = *spec;
    snprintf(c->name, sizeof c->name, "%s", spec->name);
    c->spec.name = c->name;
    if (c->spec.passes == 0) c->spec.passes = (1u << FUL__DNNL_PASSES) - 1;
    if (!c->spec.train) c->spec.passes &= 1u << FUL__DNNL_FWD;
    c->stage_x = c->stage_dy = spec->x_layout == FUL__NHWC && spec->y_layout == FUL__BLOCKED;
    if (c->stage_x) {
        const int64_t x = ful__count(spec->x), y = ful__count(spec->y);
        c->staged_bytes = (size_t)(spec->train && y > x ? y : x) * sizeof(float);
    }
    const ful_status status = build(c);
    if (status != FUL_OK) ful__dnnl_conv_destroy(&c);
    *out = c;
    return status;
}

void ful__dnnl_conv_destroy(ful__dnnl_conv **conv)
{
    ful__dnnl_conv *c = *conv;
    *conv = NULL;
    if (!c) return;
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) {
        for (int active = 0; active < 2; active++) {
            ful__dnnl_kernel **made = c->made[pass][active];
            for (int n = 0; made && n <= c->spec.n_max; n++) ful__dnnl_kernel_destroy(&made[n]);
            ful__free(made);
        }
        if (pass != FUL__DNNL_BWD_W) ful__dnnl_kernel_destroy(&c->pack[pass]);
        ful__md_free(&c->w[pass]);
    }
    ful__dnnl_grad_deinit(&c->grad);
    ful__md_free(&c->w_plain);
    pthread_mutex_destroy(&c->lock);
    ful__free(c);
}

/* Where things lie in scratch, in bytes. */
typedef struct places {
    size_t dw, db, staged;
} places;

static places places_of(const ful__dnnl_conv *c)
{
    places at = {.dw = c->room};
    at.db = at.dw + c->w_bytes[FUL__DNNL_BWD_W];
    at.staged = at.db + (c->spec.train ? ful__align64((size_t)c->spec.y.c * sizeof(float)) : 0);
    return at;
}

void ful__dnnl_conv_need(const ful__dnnl_conv *c, ful__need *need)
{
    need->packed = c->w_bytes[FUL__DNNL_FWD] + c->w_bytes[FUL__DNNL_BWD_X];
    need->scratch_fixed = places_of(c).staged;
    need->scratch_per_image = c->staged_bytes;
}

int64_t ful__dnnl_conv_macs(const ful__dnnl_conv *c)
{
    return c->macs;
}

const char *ful__dnnl_conv_kernel(const ful__dnnl_conv *c, ful__dnnl_pass pass)
{
    for (int active = 0; active < 2 && has_pass(c, pass); active++)
        if (c->made[pass][active][c->spec.n_max]) return c->made[pass][active][c->spec.n_max]->impl;
    return "";
}

/* Runs ------------------------------------------------------------------------------------------------------------------- */

static float *at_bytes(void *base, size_t offset)
{
    return (float *)(void *)((unsigned char *)base + offset);
}

/* *w_out: the weights as this pass wants them, refreshed if asked. */
static ful_status packed_weights(ful__dnnl_conv *c, ful__dnnl_pass pass, const ful__dnnl_conv_run *run, float **w_out)
{
    *w_out = (float *)(uintptr_t)run->w;
    if (c->w_bytes[pass] == 0) return FUL_OK;
    float *packed = at_bytes(run->packed, pass == FUL__DNNL_BWD_X ? c->w_bytes[FUL__DNNL_FWD] : 0);
    if (run->repack) {
        void *buffer[2] = {*w_out, packed};
        FUL_TRY(ful__dnnl_kernel_run(c->pack[pass], buffer, run->scratch, c->room, c->name));
    }
    *w_out = packed;
    return FUL_OK;
}

/* x as forward and dw want it. */
static const float *staged_x(const ful__dnnl_conv *c, const ful__dnnl_conv_run *run)
{
    if (!c->stage_x || c->spec.x.c == 1) return run->x;
    float *staged = at_bytes(run->scratch, places_of(c).staged);
    ful__reorder_to_planes(run->x, staged, run->n, c->spec.x);
    return staged;
}

ful_status ful__dnnl_conv_forward(ful__dnnl_conv *c, const ful__dnnl_conv_run *run)
{
    ful__dnnl_kernel *k;
    float *w;
    FUL_TRY(get_kernel(c, FUL__DNNL_FWD, run->n, &k));
    FUL_TRY(packed_weights(c, FUL__DNNL_FWD, run, &w));
    const float *x = staged_x(c, run);
    void *buffer[4] = {(void *)(uintptr_t)x, w, run->y, (void *)(uintptr_t)run->bias};
    return ful__dnnl_kernel_run(k, buffer, run->scratch, c->room, c->name);
}

static ful_status backward_x(ful__dnnl_conv *c, const ful__dnnl_conv_run *run)
{
    ful__dnnl_kernel *k;
    float *w;
    FUL_TRY(get_kernel(c, FUL__DNNL_BWD_X, run->n, &k));
    FUL_TRY(packed_weights(c, FUL__DNNL_BWD_X, run, &w));
    const float *dy = run->dy;
    if (c->stage_dy) {
        float *staged = at_bytes(run->scratch, places_of(c).staged);
        ful__reorder(dy, FUL__BLOCKED, staged, FUL__NHWC, run->n, c->spec.y);
        dy = staged;
    }
    void *buffer[3] = {run->dx, w, (void *)(uintptr_t)dy};
    return ful__dnnl_kernel_run(k, buffer, run->scratch, c->room, c->name);
}

static ful_status backward_w(ful__dnnl_conv *c, const ful__dnnl_conv_run *run)
{
    ful__dnnl_kernel *k;
    FUL_TRY(get_kernel(c, FUL__DNNL_BWD_W, run->n, &k));
    const places at = places_of(c);
    float *dw = at_bytes(run->scratch, at.dw), *db = at_bytes(run->scratch, at.db);
    void *buffer[4] = {(void *)(uintptr_t)staged_x(c, run), dw, (void *)(uintptr_t)run->dy, db};
    FUL_TRY(ful__dnnl_kernel_run(k, buffer, run->scratch, c->room, c->name));
    if (run->db) ful__add_floats(db, run->db, c->spec.y.c);
    if (run->dw) ful__dnnl_grad_add(&c->grad, dw, run->dw);
    return FUL_OK;
}

ful_status ful__dnnl_conv_backward(ful__dnnl_conv *c, const ful__dnnl_conv_run *run)
{
    if (run->dx) FUL_TRY(backward_x(c, run));
    if (run->dw || run->db) FUL_TRY(backward_w(c, run));
    return FUL_OK;
}
