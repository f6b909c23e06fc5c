/* SPDX-License-Identifier: Apache-2.0 */
/* y = x at one position: a class token out of all tokens. */
#include <string.h>

#include "core/parallel.h"
#include "ops/common.h"

typedef struct take_op {
    ful__op base;
    int64_t position;
} take_op;

static ful_status describe(take_op *t, const ful_take_attr *a)
{
    ful__op *op = &t->base;
    const int64_t positions = (int64_t)op->x[0].h * op->x[0].w;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(a->position < 0 || a->position >= positions, FUL_ERR_ARG,
                "cannot build take '%s' with position=%d: there are %lld, from 0 on", op->name, a->position,
                (long long)positions);
    t->position = a->position;
    op->y = (ful_shape){1, 1, op->x[0].c};
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    take_op *t = NULL;
    FUL_TRY(ful__calloc(&t, 1, sizeof *t, "a take"));
    ful_status status = ful__op_init(&t->base, &ful__op_take, name, x, n_x);
    if (status == FUL_OK) status = describe(t, attr);
    return ful__op_made(&t->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    op->need = (ful__need){0};
    return FUL_OK;
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const int64_t c = op->y.c, image = ful__count(op->x[0]), at = ((const take_op *)op)->position * c;
    for (int64_t i = 0; i < run->n; i++) memcpy(run->y + i * c, run->x[0] + i * image + at, (size_t)c * sizeof(float));
    return FUL_OK;
}

typedef struct spread {
    const float *dy;
    float *dx;
    int64_t c, image, at;
} spread;

static void spread_image(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const spread *s = ctx;
    float *dx = s->dx + i * s->image;
    memset(dx, 0, (size_t)s->image * sizeof(float));
    memcpy(dx + s->at, s->dy + i * s->c, (size_t)s->c * sizeof(float));
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    spread s = {run->dy, run->dx[0], op->y.c, ful__count(op->x[0]), ((const take_op *)op)->position * op->y.c};
    if (s.dx) ful__parallel_for(run->n, spread_image, &s);
    return FUL_OK;
}

const ful__op_type ful__op_take = {.name = "take",
                                   .create = create,
                                   .layouts = ful__op_layouts_plain,
                                   .plan = plan,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = ful__op_free};
