/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: y[t][out] = x[t][in] W^T + b at every position t of every image, on our own GEMM. The packed copies are W^T for
 * forward and W for the gradient of x; training with few rows does without them.
 */
#include <math.h>

#include "core/parallel.h"
#include "ops/common.h"
#include "ops/gemm.h"

typedef struct linear_op {
    ful__op base;
    ful_linear_attr attr;
    bool packs; /* by plan: W serves many rows, or many runs */
} linear_op;

void ful_linear_defaults(ful_linear_attr *attr)
{
    *attr = (ful_linear_attr){.bias = true, .init = FUL_INIT_LECUN_NORMAL, .gain = 1.0f};
}

static ful_status describe(ful__op *op, const ful_linear_attr *a)
{
    const int64_t positions = (int64_t)op->x[0].h * op->x[0].w, in = op->x[0].c;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(a->out_features < 1, FUL_ERR_ARG, "cannot build linear '%s' with out_features=%d: it must be at least 1",
                op->name, a->out_features);
    FUL_FAIL_IF(positions > INT32_MAX / a->out_features, FUL_ERR_ARG,
                "cannot build linear '%s' with out_features=%d on %lld positions: the product must be below 2^31", op->name,
                a->out_features, (long long)positions);
    FUL_FAIL_IF(!isfinite(a->gain) || a->gain < 0, FUL_ERR_ARG,
                "cannot build linear '%s' with gain=%g: it must be finite and >= 0", op->name, (double)a->gain);
    const int64_t shape[2] = {a->out_features, in};
    op->y.c = a->out_features;
    op->cost.macs = positions * in * a->out_features;
    FUL_TRY(ful__op_add_param(op, "weight", 2, shape, a->init, a->gain, in, true, true));
    return a->bias ? ful__op_add_param(op, "bias", 1, shape, FUL_INIT_ZEROS, 1.0f, in, true, false) : FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    linear_op *op;
    *out = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a linear layer"));
    op->attr = *(const ful_linear_attr *)attr;
    ful_status status = ful__op_init(&op->base, &ful__op_linear, name, x, n_x);
    if (status == FUL_OK) status = describe(&op->base, &op->attr);
    return ful__op_made(&op->base, status, out);
}

/* Floats of the packed W^T; W for backward lies behind them. */
static size_t packed_forward(const ful__op *op)
{
    return ful__align64(ful__gemm_packed_floats(op->x[0].c, op->y.c) * sizeof(float)) / sizeof(float);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    linear_op *l = (linear_op *)op;
    const int in = op->x[0].c, out = op->y.c;
    const int64_t rows = (int64_t)n_max * op->x[0].h * op->x[0].w;
    l->packs = !train || ful__gemm_should_pack(rows);
    op->need = (ful__need){.packed = l->packs ? packed_forward(op) * sizeof(float) : 0};
    if (!train) return FUL_OK;
    if (l->packs) op->need.packed += ful__gemm_packed_floats(out, in) * sizeof(float);
    op->need.scratch_fixed = ful__gemm_tn_scratch_floats(rows, out, in) * sizeof(float);
    op->need.backward_x = 1u;
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

/* Runs the product; packed: where the packed copy of its B lies. */
static void multiply(const linear_op *l, const ful__run *run, ful__gemm_job job, float *packed)
{
    packing p = {packed, &job};
    if (l->packs && run->repack)
        ful__parallel_for((ful__gemm_panels(job.n) + PANELS_A_CHUNK - 1) / PANELS_A_CHUNK, pack_chunk, &p);
    if (l->packs) job.b_packed = packed;
    ful__gemm_grouped(&job, 1);
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const linear_op *l = (linear_op *)op;
    const int in = op->x[0].c, out = op->y.c;
    const ful__gemm_job job = {.m = (int64_t)run->n * op->x[0].h * op->x[0].w,
                               .n = out,
                               .k = in,
                               .a = run->x[0],
                               .a_rs = in,
                               .a_cs = 1,
                               .b = run->w[0],
                               .b_rs = 1,
                               .b_cs = in,
                               .c = run->y,
                               .ldc = out,
                               .bias = l->attr.bias ? run->w[1] : NULL};
    multiply(l, run, job, run->packed);
    if (run->counters) run->counters->macs += job.m * job.n * job.k;
    return FUL_OK;
}

static void backward_x(const linear_op *l, const ful__run *run, int64_t rows)
{
    const int in = l->base.x[0].c, out = l->base.y.c;
    const ful__gemm_job job = {.m = rows,
                               .n = in,
                               .k = out,
                               .a = run->dy,
                               .a_rs = out,
                               .a_cs = 1,
                               .b = run->w[0],
                               .b_rs = in,
                               .b_cs = 1,
                               .c = run->dx[0],
                               .ldc = in};
    multiply(l, run, job, l->packs ? (float *)run->packed + packed_forward(&l->base) : NULL);
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    const linear_op *l = (linear_op *)op;
    const int in = op->x[0].c, out = op->y.c;
    const int64_t rows = (int64_t)run->n * op->x[0].h * op->x[0].w;
    float *dw = run->dw ? run->dw[0] : NULL, *db = run->dw && l->attr.bias ? run->dw[1] : NULL;
    if (run->dx[0]) backward_x(l, run, rows);
    if (dw) {
        const ful__gemm_tn_job job = {.rows = rows,
                                      .m = out,
                                      .n = in,
                                      .a = run->dy,
                                      .lda = out,
                                      .b = run->x[0],
                                      .ldb = in,
                                      .c = dw,
                                      .ldc = in,
                                      .a_sums = db};
        ful__gemm_tn_grouped(&job, 1, run->scratch);
    } else if (db) {
        ful__column_sums(run->dy, rows, out, out, db);
    }
    return FUL_OK;
}

const ful__op_type ful__op_linear = {.name = "linear",
                                     .create = create,
                                     .layouts = ful__op_layouts_plain,
                                     .plan = plan,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = ful__op_free};
