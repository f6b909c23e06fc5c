/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MLP layer of a transformer block at every position: y = fc2(act(fc1(x))), or gated y = fc2(act(a) g) with
 * [a | g] = fc1(x). One of the MLPs of mlps.h.
 */
#include "ops/act_math.h"
#include "ops/common.h"
#include "ops/mlp/mlps.h"

typedef struct mlp_op {
    ful__op base;
    ful__mlps mlps;
} mlp_op;

void ful_mlp_defaults(ful_mlp_attr *attr)
{
    *attr = (ful_mlp_attr){.act = FUL_ACT_GELU};
}

static ful_status describe(mlp_op *m, const ful_mlp_attr *a)
{
    ful__op *op = &m->base;
    const int64_t d = op->x[0].c, h = a->hidden, up = a->gated ? 2 * h : h;
    const int64_t positions = (int64_t)op->x[0].h * op->x[0].w;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(h < 1, FUL_ERR_ARG, "cannot build mlp '%s' with hidden=%d: it must be at least 1", op->name, a->hidden);
    FUL_FAIL_IF(positions > INT32_MAX / up, FUL_ERR_ARG,
                "cannot build mlp '%s' with hidden=%d on %lld positions: the product must be below 2^31", op->name, a->hidden,
                (long long)positions);
    FUL_FAIL_IF(a->act < FUL_ACT_NONE || a->act > FUL__ACT_LAST, FUL_ERR_ARG,
                "cannot build mlp '%s' with act=%d: it must be one of ful_act", op->name, (int)a->act);
    m->mlps = (ful__mlps){.count = 1, .d = d, .h = h, .act = a->act, .gated = a->gated};
    op->cost.macs = positions * ful__mlps_macs(&m->mlps);
    FUL_TRY(ful__op_add_param(op, "fc1.weight", 2, (int64_t[]){up, d}, FUL_INIT_LECUN_NORMAL, 1, d, true, true));
    FUL_TRY(ful__op_add_param(op, "fc1.bias", 1, &up, FUL_INIT_ZEROS, 1, d, true, false));
    FUL_TRY(ful__op_add_param(op, "fc2.weight", 2, (int64_t[]){d, h}, FUL_INIT_LECUN_NORMAL, 1, h, true, true));
    return ful__op_add_param(op, "fc2.bias", 1, &d, FUL_INIT_ZEROS, 1, h, true, false);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    mlp_op *m = NULL;
    FUL_TRY(ful__calloc(&m, 1, sizeof *m, "an MLP"));
    ful_status status = ful__op_init(&m->base, &ful__op_mlp, name, x, n_x);
    if (status == FUL_OK) status = describe(m, attr);
    return ful__op_made(&m->base, status, out);
}

static ful__rows_bound rows_of(const ful__op *op, int64_t n)
{
    const int64_t rows = n * op->x[0].h * op->x[0].w;
    return (ful__rows_bound){rows, rows};
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    mlp_op *m = (mlp_op *)op;
    m->mlps.train = train;
    m->mlps.most = rows_of(op, n_max);
    op->need = (ful__need){.packed = ful__mlps_packed_bytes(&m->mlps)};
    const ful__rows_bound none = {0, 0}, one = rows_of(op, 1); /* sizes are sums of roundings up, so n images take no more */
    op->need.saved_fixed = ful__mlps_saved_bytes(&m->mlps, none);
    op->need.saved_per_image = ful__mlps_saved_bytes(&m->mlps, one) - op->need.saved_fixed;
    for (int backward = 0; backward <= train; backward++) {
        const size_t fixed = ful__mlps_scratch_bytes(&m->mlps, none, backward);
        const size_t image = ful__mlps_scratch_bytes(&m->mlps, one, backward) - fixed;
        if (fixed > op->need.scratch_fixed) op->need.scratch_fixed = fixed;
        if (image > op->need.scratch_per_image) op->need.scratch_per_image = image;
    }
    if (!train) return FUL_OK;
    op->need.backward_x = 1;
    op->need.inplace_dx = true; /* dx comes last */
    return FUL_OK;
}

/* Everything of a run that forward and backward share. offset: room for two. */
static ful__mlps_run run_of(const ful__op *op, const ful__run *run, int64_t *offset)
{
    const ful__rows_bound bound = rows_of(op, run->n);
    offset[0] = 0;
    offset[1] = bound.all;
    return (ful__mlps_run){.bound = bound,
                           .offset = offset,
                           .x = run->x[0],
                           .repack = run->repack,
                           .w = run->w,
                           .dw = run->dw,
                           .saved = run->saved,
                           .scratch = run->scratch,
                           .packed = run->packed};
}

/* The one MLP with room for its work: several threads may run this op at once. */
typedef struct single {
    ful__mlps mlps;
    ful__gemm_job job;
    ful__gemm_tn_job tn_job;
    int active;
    int64_t offset[2];
} single;

static void single_init(single *s, const ful__op *op)
{
    s->mlps = ((const mlp_op *)op)->mlps;
    s->mlps.jobs = &s->job;
    s->mlps.tn_jobs = &s->tn_job;
    s->mlps.active = &s->active;
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    single s;
    single_init(&s, op);
    ful__mlps_run r = run_of(op, run, s.offset);
    r.o = run->y;
    ful__mlps_forward(&s.mlps, &r);
    if (run->counters) run->counters->macs += r.macs;
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    single s;
    single_init(&s, op);
    ful__mlps_run r = run_of(op, run, s.offset);
    r.d_o = run->dy;
    r.dx = run->dx[0];
    ful__mlps_backward(&s.mlps, &r);
    return FUL_OK;
}

const ful__op_type ful__op_mlp = {.name = "mlp",
                                  .create = create,
                                  .layouts = ful__op_layouts_plain,
                                  .plan = plan,
                                  .forward = forward,
                                  .backward = backward,
                                  .destroy = ful__op_free};
