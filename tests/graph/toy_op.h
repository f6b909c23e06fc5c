/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An elementwise op for tests of the planner, with every combination of needs. It is unforgiving: what it was not promised it
 * destroys.
 *
 *   y = a*x0 + b*x1 + w    (w: one trainable value an op, optional)
 *   dx0 = a*dy + (x0 if it reads x0) + (y if it reads y) + saved,  dx1 likewise with b and x1
 *
 * Where writing over an input is not allowed, forward fills y with NaN before it reads x (and backward dx before dy). Saved
 * memory is written in full and checked in full, scratch is filled with NaN.
 */
#ifndef FUL_TESTS_GRAPH_TOY_OP_H
#define FUL_TESTS_GRAPH_TOY_OP_H

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "ops/op.h"

typedef struct toy_attr {
    int n_x;
    ful__need need;
    bool trainable;
    float a, b;
    int layout; /* 0: any, 1: NHWC, 2: blocked */
} toy_attr;

typedef struct toy {
    ful__op base;
    toy_attr attr;
} toy;

extern const ful__op_type toy_type;

static ful_status toy_create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    toy *t = NULL;
    const toy_attr *a = attr;
    FUL_FAIL_IF(n_x != a->n_x, FUL_ERR_ARG, "cannot build toy '%s' with %d inputs: it takes %d", name, n_x, a->n_x);
    FUL_TRY(ful__calloc(&t, 1, sizeof *t, "a toy"));
    t->attr = *a;
    ful_status status = ful__op_init(&t->base, &toy_type, name, x, n_x);
    if (status == FUL_OK && a->trainable)
        status = ful__op_add_param(&t->base, "weight", 1, (const int64_t[]){1}, FUL_INIT_ONES, 1, 1, true, false);
    if (status != FUL_OK) {
        ful__op_deinit(&t->base);
        ful__free(t);
        return status;
    }
    *out = &t->base;
    return FUL_OK;
}

static void toy_layouts(ful__op *op)
{
    const int want = ((toy *)op)->attr.layout;
    ful__op_layouts_same(op);
    if (want == 0 || op->y.c % ful__block() != 0) return;
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = (ful__layout)(want - 1);
    op->y_layout = (ful__layout)(want - 1);
}

static ful_status toy_plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    op->need = ((toy *)op)->attr.need;
    return FUL_OK;
}

static unsigned char toy_mark(const ful__op *op, size_t i)
{
    return (unsigned char)(strlen(op->name) + (unsigned char)op->name[strlen(op->name) - 1] + i);
}

static void toy_spoil(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) x[i] = NAN;
}

static void toy_spoil_scratch(const ful__op *op, const ful__run *r)
{
    const size_t bytes = (size_t)r->n * op->need.scratch_per_image + op->need.scratch_fixed;
    if (bytes) memset(r->scratch, 0xff, bytes);
}

static ful_status toy_forward(ful__op *op, const ful__run *r)
{
    const toy *t = (const toy *)op;
    const int64_t count = r->n * ful__count(op->y);
    const size_t saved = (size_t)r->n * op->need.saved_per_image + op->need.saved_fixed;
    const bool twice = op->n_x > 1 && r->x[0] == r->x[1]; /* no op promises to survive y over an input it has twice */
    const bool over = !twice && ((op->need.inplace && r->y == r->x[0]) || (op->need.inplace_1 && r->y == r->x[1]));
    if (!over) toy_spoil(r->y, count);
    toy_spoil_scratch(op, r);
    if (r->train)
        for (size_t i = 0; i < saved; i++) ((unsigned char *)r->saved)[i] = toy_mark(op, i);
    for (int64_t i = 0; i < count; i++) {
        float v = t->attr.a * r->x[0][i] + (t->attr.trainable ? r->w[0][0] : 0.0f);
        if (op->n_x > 1) v += t->attr.b * r->x[1][i];
        r->y[i] = v;
    }
    if (r->counters) r->counters->macs += count;
    return FUL_OK;
}

static ful_status toy_backward(ful__op *op, const ful__run *r)
{
    const toy *t = (const toy *)op;
    const int64_t count = r->n * ful__count(op->y);
    const size_t saved = (size_t)r->n * op->need.saved_per_image + op->need.saved_fixed;
    toy_spoil_scratch(op, r);
    for (size_t i = 0; i < saved; i++)
        FUL_FAIL_IF(((unsigned char *)r->saved)[i] != toy_mark(op, i), FUL_ERR_INTERNAL,
                    "cannot go back through '%s': byte %zu of what it saved was overwritten", op->name, i);
    if (r->dx[0] && !(op->need.inplace_dx && r->dx[0] == r->dy)) toy_spoil(r->dx[0], count);
    if (r->dx[1] && !(op->need.inplace_dx_1 && r->dx[1] == r->dy)) toy_spoil(r->dx[1], count);
    for (int64_t i = 0; i < count; i++) {
        const float dy = r->dy[i], y = op->need.backward_y ? r->y[i] : 0.0f;
        const float x0 = op->need.backward_x & 1u ? r->x[0][i] : 0.0f, x1 = op->need.backward_x & 2u ? r->x[1][i] : 0.0f;
        if (t->attr.trainable) r->dw[0][0] += dy;
        if (r->dx[0]) r->dx[0][i] = t->attr.a * dy + 0.125f * x0 + 0.0625f * y;
        if (r->dx[1]) r->dx[1][i] = t->attr.b * dy + 0.125f * x1 + 0.03125f * y;
    }
    return FUL_OK;
}

static void toy_destroy(ful__op *op)
{
    ful__op_deinit(op);
    ful__free(op);
}

const ful__op_type toy_type = {.name = "toy",
                               .create = toy_create,
                               .layouts = toy_layouts,
                               .plan = toy_plan,
                               .forward = toy_forward,
                               .backward = toy_backward,
                               .destroy = toy_destroy};

#endif
