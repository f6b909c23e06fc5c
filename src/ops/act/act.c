/* SPDX-License-Identifier: Apache-2.0 */
/* y = act(x), value by value, in any layout. The functions themselves: ops/act_math.h. */
#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/common.h"

typedef struct act_op {
    ful__op base;
    ful_act act;
} act_op;

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    act_op *a = NULL;
    FUL_TRY(ful__calloc(&a, 1, sizeof *a, "an activation"));
    a->act = *(const ful_act *)attr;
    ful_status status = ful__op_init(&a->base, &ful__op_act, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&a->base, 1);
    if (status == FUL_OK && (a->act < FUL_ACT_NONE || a->act > FUL__ACT_LAST))
        status = ful__fail(FUL_ERR_ARG,
                           "cannot build act '%s' with act=%d: it must be none, relu, gelu, silu, hard_swish, relu6 or "
                           "hard_sigmoid",
                           name, (int)a->act);
    return ful__op_made(&a->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    const ful_act act = ((const act_op *)op)->act;
    const bool needs_x = act != FUL_ACT_NONE && !ful__act_slope_of_y(act); /* else it can overwrite x in training */
    op->need = (ful__need){.inplace = !train || !needs_x};
    if (!train) return FUL_OK;
    op->need.backward_x = needs_x;
    op->need.backward_y = ful__act_slope_of_y(act);
    op->need.inplace_dx = true;
    return FUL_OK;
}

typedef struct act_pass {
    ful_act act;
    const float *x, *dy; /* x: of backward where the slope can be told from it, y */
    float *out;
    int64_t count;
} act_pass;

static void forward_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const act_pass *p = ctx;
    const int64_t at = i * FUL__PIECE;
    ful__act_forward(p->act, p->x + at, p->out + at, ful__piece_length(p->count, i));
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    act_pass p = {((const act_op *)op)->act, run->x[0], NULL, run->y, run->n * ful__count(op->y)};
    if (p.act == FUL_ACT_NONE)
        ful__copy_floats(p.x, p.out, p.count);
    else
        ful__parallel_for(ful__pieces(p.count), forward_piece, &p);
    return FUL_OK;
}

static void backward_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const act_pass *p = ctx;
    const int64_t at = i * FUL__PIECE;
    ful__act_backward(p->act, p->x + at, p->dy + at, p->out + at, ful__piece_length(p->count, i));
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    act_pass p = {((const act_op *)op)->act, run->x[0], run->dy, run->dx[0], run->n * ful__count(op->y)};
    if (!p.out) return FUL_OK;
    if (ful__act_slope_of_y(p.act)) p.x = run->y;
    if (p.act == FUL_ACT_NONE)
        ful__copy_floats(p.dy, p.out, p.count);
    else
        ful__parallel_for(ful__pieces(p.count), backward_piece, &p);
    return FUL_OK;
}

const ful__op_type ful__op_act = {.name = "act",
                                  .create = create,
                                  .layouts = ful__op_layouts_same,
                                  .plan = plan,
                                  .forward = forward,
                                  .backward = backward,
                                  .destroy = ful__op_free};
