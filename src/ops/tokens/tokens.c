/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patches to tokens: the positions of a map in rows, a class token before them where wanted, and what says where each is added
 * to it: learned values, one vector a token, or sin-cos values of a patch's row and column (0 for the class token).
 */
#include "ops/tokens/tokens.h"

#include <string.h>

#include "core/parallel.h"
#include "ops/common.h"
#include "ops/gemm.h"

typedef struct tokens_op {
    ful__op base;
    ful_tokens_attr attr;
    float *sincos;        /* [t][d], owned */
    int cls, pos;         /* parameters, -1: there is none */
    int64_t width, image; /* floats of a token; of the tokens of an image */
} tokens_op;

static void destroy(ful__op *op)
{
    if (op) ful__free(((tokens_op *)op)->sincos);
    ful__op_free(op);
}

static ful_status make_sincos(tokens_op *t)
{
    const ful_shape x = t->base.x[0];
    FUL_FAIL_IF(x.c % 4 != 0 || x.c < 8, FUL_ERR_ARG,
                "cannot build tokens '%s' with positions=sincos on %d channels: they must be a multiple of 4, and at least 8",
                t->base.name, x.c);
    FUL_TRY(ful__calloc(&t->sincos, (size_t)t->image, sizeof *t->sincos, "the positions of tokens"));
    float *at = t->sincos + (t->attr.class_token ? x.c : 0);
    for (int row = 0; row < x.h; row++)
        for (int col = 0; col < x.w; col++)
            for (int c = 0; c < x.c; c++) *at++ = (float)ful__sincos_position(x.c, row, col, c);
    return FUL_OK;
}

static ful_status describe(tokens_op *t)
{
    ful__op *op = &t->base;
    const ful_shape x = op->x[0];
    const int64_t count = (int64_t)x.h * x.w + t->attr.class_token;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(count * x.c > INT32_MAX, FUL_ERR_ARG, "cannot build tokens '%s' of %lld x %d values: at most 2^31-1", op->name,
                (long long)count, x.c);
    FUL_FAIL_IF(t->attr.positions < FUL_POSITIONS_NONE || t->attr.positions > FUL_POSITIONS_SINCOS, FUL_ERR_ARG,
                "cannot build tokens '%s' with positions=%d: none, learned or sincos", op->name, (int)t->attr.positions);
    op->y = (ful_shape){1, (int)count, x.c};
    t->width = x.c;
    t->image = count * x.c;
    t->cls = t->pos = -1;
    if (t->attr.class_token) {
        t->cls = op->n_params;
        FUL_TRY(ful__op_add_param(op, "cls", 1, &t->width, FUL_INIT_ZEROS, 1, 0, true, false));
    }
    if (t->attr.positions == FUL_POSITIONS_SINCOS) return make_sincos(t);
    if (t->attr.positions == FUL_POSITIONS_NONE) return FUL_OK;
    t->pos = op->n_params;
    return ful__op_add_param(op, "pos", 2, (int64_t[]){count, x.c}, FUL_INIT_TRUNC_NORMAL, 0.02f, 0, true, false);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    tokens_op *t = NULL;
    FUL_TRY(ful__calloc(&t, 1, sizeof *t, "tokens"));
    t->attr = *(const ful_tokens_attr *)attr;
    ful_status status = ful__op_init(&t->base, &ful__op_tokens, name, x, n_x);
    if (status == FUL_OK) status = describe(t);
    if (status != FUL_OK) ful__free(t->sincos);
    return ful__op_made(&t->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    const bool same = !((const tokens_op *)op)->attr.class_token;
    op->need = (ful__need){.inplace = same, .inplace_dx = same};
    return FUL_OK;
}

typedef struct pass {
    const tokens_op *t;
    const float *from, *cls, *pos;
    float *to;
} pass;

static void forward_image(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const int64_t first = p->cls ? p->t->width : 0, rest = p->t->image - first;
    const float *x = p->from + i * rest;
    float *y = p->to + i * p->t->image;
    if (first) memcpy(y, p->cls, (size_t)first * sizeof(float));
    if (x != y) memcpy(y + first, x, (size_t)rest * sizeof(float));
    for (int64_t j = 0; p->pos && j < p->t->image; j++) y[j] += p->pos[j];
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const tokens_op *t = (const tokens_op *)op;
    pass p = {.t = t, .from = run->x[0], .to = run->y, .pos = t->pos >= 0 ? run->w[t->pos] : t->sincos};
    if (t->cls >= 0) p.cls = run->w[t->cls];
    ful__parallel_for(run->n, forward_image, &p);
    return FUL_OK;
}

static void backward_image(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const int64_t first = p->t->cls >= 0 ? p->t->width : 0, rest = p->t->image - first;
    const float *dy = p->from + i * p->t->image + first;
    float *dx = p->to + i * rest;
    if (dx != dy) memcpy(dx, dy, (size_t)rest * sizeof(float));
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    const tokens_op *t = (const tokens_op *)op;
    float *dcls = t->cls >= 0 && run->dw ? run->dw[t->cls] : NULL, *dpos = t->pos >= 0 && run->dw ? run->dw[t->pos] : NULL;
    pass p = {.t = t, .from = run->dy, .to = run->dx[0]};
    if (dcls) ful__column_sums(run->dy, run->n, t->width, t->image, dcls);
    if (dpos) ful__column_sums(run->dy, run->n, t->image, t->image, dpos);
    if (p.to) ful__parallel_for(run->n, backward_image, &p);
    return FUL_OK;
}

const ful__op_type ful__op_tokens = {.name = "tokens",
                                     .create = create,
                                     .layouts = ful__op_layouts_plain,
                                     .plan = plan,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = destroy};
