/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: y[t][out] = x[t][in] W^T + b at every position t of every image, on our own GEMM. The packed copies are W^T for
 * forward and W for the gradient of x; training with few rows does without them. Leading outputs that are made at the first
 * position alone (attr.lead) are products of their own.
 */
#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "ops/common.h"
#include "ops/gemm.h"

/* Some of the outputs, at all positions or, the leading ones, at the first of each image. */
typedef struct part {
    int first, count; /* outputs */
    int64_t rows;     /* of an image, `step` positions apart */
    int step;
} part;

typedef struct linear_op {
    ful__op base;
    ful_linear_attr attr;
    part parts[2];
    int n_parts;
    bool packs; /* by plan: W serves many rows, or many runs */
} linear_op;

void ful_linear_defaults(ful_linear_attr *attr)
{
    *attr = (ful_linear_attr){.bias = true, .init = FUL_INIT_LECUN_NORMAL, .gain = 1.0f};
}

static int64_t positions_of(const ful__op *op)
{
    return (int64_t)op->x[0].h * op->x[0].w;
}

static ful_status check(const ful__op *op, const ful_linear_attr *a)
{
    const int64_t positions = positions_of(op);
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(a->out_features < 1, FUL_ERR_ARG, "cannot build linear '%s' with out_features=%d: it must be at least 1",
                op->name, a->out_features);
    FUL_FAIL_IF(positions > INT32_MAX / a->out_features, FUL_ERR_ARG,
                "cannot build linear '%s' with out_features=%d on %lld positions: the product must be below 2^31", op->name,
                a->out_features, (long long)positions);
    FUL_FAIL_IF(!isfinite(a->gain) || a->gain < 0, FUL_ERR_ARG,
                "cannot build linear '%s' with gain=%g: it must be finite and >= 0", op->name, (double)a->gain);
    FUL_FAIL_IF(a->lead < 0 || a->lead >= a->out_features, FUL_ERR_ARG,
                "cannot build linear '%s' with lead=%d, out_features=%d: lead must be at least 0 and less than out_features",
                op->name, a->lead, a->out_features);
    return FUL_OK;
}

static void list_parts(linear_op *l)
{
    const ful_linear_attr *a = &l->attr;
    const int64_t positions = positions_of(&l->base);
    l->parts[l->n_parts++] = (part){.first = a->lead, .count = a->out_features - a->lead, .rows = positions, .step = 1};
    if (a->lead > 0) l->parts[l->n_parts++] = (part){.count = a->lead, .rows = 1, .step = (int)positions};
}

static ful_status describe(linear_op *l)
{
    ful__op *op = &l->base;
    const ful_linear_attr *a = &l->attr;
    FUL_TRY(check(op, a));
    list_parts(l);
    const int64_t in = op->x[0].c, shape[2] = {a->out_features, in};
    op->y.c = a->out_features;
    for (int i = 0; i < l->n_parts; i++) op->cost.macs += l->parts[i].rows * in * l->parts[i].count;
    FUL_TRY(ful__op_add_param(op, "weight", 2, shape, a->init, a->gain, in, true, true));
    return a->bias ? ful__op_add_param(op, "bias", 1, shape, FUL_INIT_ZEROS, 1.0f, in, true, false) : FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    linear_op *l;
    *out = NULL;
    FUL_TRY(ful__calloc(&l, 1, sizeof *l, "a linear layer"));
    l->attr = *(const ful_linear_attr *)attr;
    ful_status status = ful__op_init(&l->base, &ful__op_linear, name, x, n_x);
    if (status == FUL_OK) status = describe(l);
    return ful__op_made(&l->base, status, out);
}

static size_t aligned(size_t floats)
{
    return ful__align64(floats * sizeof(float)) / sizeof(float);
}

/* Floats of the packed W^T of the first parts; W of the first, for backward, lies behind them all. */
static size_t packed_forward(const linear_op *l, int parts)
{
    size_t floats = 0;
    for (int i = 0; i < parts; i++) floats += aligned(ful__gemm_packed_floats(l->base.x[0].c, l->parts[i].count));
    return floats;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    linear_op *l = (linear_op *)op;
    l->packs = !train || ful__gemm_should_pack(n_max * positions_of(op));
    op->need = (ful__need){.packed = l->packs ? packed_forward(l, l->n_parts) * sizeof(float) : 0, .backward_x = train};
    if (l->packs && train) op->need.packed += ful__gemm_packed_floats(l->parts[0].count, op->x[0].c) * sizeof(float);
    for (int i = 0; i < l->n_parts; i++) {
        const part *p = &l->parts[i];
        const size_t sums = ful__gemm_tn_scratch_floats(n_max * p->rows, p->count, op->x[0].c) * sizeof(float);
        if (train && sums > op->need.scratch_fixed) op->need.scratch_fixed = sums;
    }
    return FUL_OK;
}

/* Packing is shared out by a few panels of columns. */
typedef struct packing {
    float *to;
    const ful__gemm_job *job;
} packing;

enum { PANELS_A_CHUNK = 2 };

static void pack_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const packing *p = ctx;
    const int64_t panels = ful__gemm_panels(p->job->n), begin = chunk * PANELS_A_CHUNK;
    const int64_t end = begin + PANELS_A_CHUNK < panels ? begin + PANELS_A_CHUNK : panels;
    ful__gemm_pack(p->to, p->job->b, p->job->b_rs, p->job->b_cs, p->job->k, p->job->n, begin, end);
}

/* The job takes its B packed, where that pays; the copy lies behind those of so many parts. */
static void take_packed(const linear_op *l, const ful__run *run, ful__gemm_job *job, int parts)
{
    if (!l->packs) return;
    packing p = {(float *)run->packed + packed_forward(l, parts), job};
    if (run->repack) ful__parallel_for((ful__gemm_panels(job->n) + PANELS_A_CHUNK - 1) / PANELS_A_CHUNK, pack_chunk, &p);
    job->b_packed = p.to;
}

typedef struct clearing {
    float *y;
    int64_t positions, out;
    size_t bytes;
} clearing;

static void clear_image(void *ctx, int64_t image, int thread)
{
    (void)thread;
    const clearing *c = ctx;
    for (int64_t t = 1; t < c->positions; t++) memset(c->y + (image * c->positions + t) * c->out, 0, c->bytes);
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const linear_op *l = (linear_op *)op;
    const int in = op->x[0].c, out = op->y.c;
    for (int i = 0; i < l->n_parts; i++) {
        const part *p = &l->parts[i];
        ful__gemm_job job = {.m = run->n * p->rows,
                             .n = p->count,
                             .k = in,
                             .a = run->x[0],
                             .a_rs = (int64_t)p->step * in,
                             .a_cs = 1,
                             .b = run->w[0] + (int64_t)p->first * in,
                             .b_rs = 1,
                             .b_cs = in,
                             .c = run->y + p->first,
                             .ldc = (int64_t)p->step * out,
                             .bias = l->attr.bias ? run->w[1] + p->first : NULL};
        take_packed(l, run, &job, i);
        ful__gemm_grouped(&job, 1);
        if (run->counters) run->counters->macs += job.m * job.n * job.k;
    }
    clearing c = {run->y, positions_of(op), out, (size_t)l->attr.lead * sizeof(float)};
    if (c.bytes > 0) ful__parallel_for(run->n, clear_image, &c);
    return FUL_OK;
}

/* dx of what all positions have. */
static ful__gemm_job gradient_of_x(const linear_op *l, const ful__run *run)
{
    const int in = l->base.x[0].c, out = l->base.y.c;
    const part *p = &l->parts[0];
    return (ful__gemm_job){.m = run->n * p->rows,
                           .n = in,
                           .k = p->count,
                           .a = run->dy + p->first,
                           .a_rs = out,
                           .a_cs = 1,
                           .b = run->w[0] + (int64_t)p->first * in,
                           .b_rs = in,
                           .b_cs = 1,
                           .c = run->dx[0],
                           .ldc = in};
}

/* The first position of each image once more, with all of its outputs: one chain in ascending order. */
static void first_positions(const linear_op *l, const ful__run *run, ful__gemm_job job)
{
    const int64_t positions = l->parts[0].rows;
    job.m = run->n;
    job.k = l->base.y.c;
    job.a = run->dy;
    job.a_rs = positions * job.k;
    job.b_packed = NULL;
    job.b = run->w[0];
    job.ldc = positions * job.n;
    ful__gemm_grouped(&job, 1);
}

static ful__gemm_tn_job gradient_of_w(const linear_op *l, const ful__run *run, const part *p, float *dw, float *db)
{
    const int in = l->base.x[0].c, out = l->base.y.c;
    return (ful__gemm_tn_job){.rows = run->n * p->rows,
                              .m = p->count,
                              .n = in,
                              .a = run->dy + p->first,
                              .lda = (int64_t)p->step * out,
                              .b = run->x[0],
                              .ldb = (int64_t)p->step * in,
                              .c = dw + (int64_t)p->first * in,
                              .ldc = in,
                              .a_sums = db ? db + p->first : NULL};
}

/* What all positions have, dx and dW in one loop; then what the first of each image has besides. */
static ful_status backward(ful__op *op, const ful__run *run)
{
    const linear_op *l = (linear_op *)op;
    float *dw = run->dw ? run->dw[0] : NULL, *db = run->dw && l->attr.bias ? run->dw[1] : NULL;
    ful__gemm_job dx = {0};
    if (run->dx[0]) {
        dx = gradient_of_x(l, run);
        take_packed(l, run, &dx, l->n_parts);
    }
    for (int i = 0; i < l->n_parts; i++) {
        const part *p = &l->parts[i];
        const int products = i == 0 && run->dx[0], gradients = dw != NULL;
        ful__gemm_tn_job job = {0};
        if (gradients)
            job = gradient_of_w(l, run, p, dw, db);
        else if (db)
            ful__column_sums(run->dy + p->first, run->n * p->rows, p->count, (int64_t)p->step * op->y.c, db + p->first);
        ful__gemm_with_tn(&dx, products, &job, gradients, run->scratch);
    }
    if (run->dx[0] && l->attr.lead > 0) first_positions(l, run, dx);
    return FUL_OK;
}

const ful__op_type ful__op_linear = {.name = "linear",
                                     .create = create,
                                     .layouts = ful__op_layouts_plain,
                                     .plan = plan,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = ful__op_free};
