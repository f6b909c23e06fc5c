/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: y[r][o] = sum_i x[r][i] w[o][i] + b[o] for every row r = (image, position). Built on our own GEMM, so a row's bits do
 * not depend on its batch.
 */
#include <string.h>

#include "core/parallel.h"
#include "ops/common.h"
#include "ops/gemm.h"

typedef struct linear_op {
    ful__op base;
    ful_linear_attr attr;
    bool train;            /* planned for backward: W's own panels are packed too */
    size_t packed_forward; /* floats of W^T's panels; those of W (backward for x) follow */
} linear_op;

void ful_linear_defaults(ful_linear_attr *attr)
{
    *attr = (ful_linear_attr){.bias = true, .init = FUL_INIT_LECUN_NORMAL, .gain = 1.0f};
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    linear_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a linear layer"));
    op->attr = *(const ful_linear_attr *)attr;
    const ful_linear_attr *a = &op->attr;
    ful_status status = ful__op_init(&op->base, &ful__op_linear, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&op->base, 1);
    if (status == FUL_OK && a->out_features < 1)
        status = ful__fail(FUL_ERR_ARG, "cannot build linear '%s' with out_features=%d: it must be at least 1", name,
                           a->out_features);
    if (status == FUL_OK) {
        const int64_t in = x[0].c, out_features = a->out_features, shape[2] = {out_features, in};
        op->base.y.c = a->out_features;
        op->base.cost.macs = (int64_t)x[0].h * x[0].w * in * out_features;
        status = ful__op_add_param(&op->base, "weight", 2, shape, a->init, a->gain, in, true, true);
        if (status == FUL_OK && a->bias)
            status = ful__op_add_param(&op->base, "bias", 1, shape, FUL_INIT_ZEROS, 1.0f, in, true, false);
    }
    return ful__op_made(&op->base, status, out);
}

static int64_t rows_of(const ful__op *op, int n)
{
    return (int64_t)n * op->x[0].h * op->x[0].w;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    linear_op *l = (linear_op *)op;
    const int64_t in = op->x[0].c, out = op->y.c;
    l->train = train;
    l->packed_forward = ful__gemm_packed_floats(in, out);
    op->need = (ful__need){.backward_x = train};
    op->need.packed = (l->packed_forward + (train ? ful__gemm_packed_floats(out, in) : 0)) * sizeof(float);
    if (train) op->need.scratch_fixed = ful__gemm_tn_scratch_floats(rows_of(op, n_max), out, in) * sizeof(float);
    return FUL_OK;
}

/* ---- packing: both forms at once, panels shared out over the threads ---- */

typedef struct pack_pass {
    const float *w;
    float *forward, *backward;
    int64_t in, out;
} pack_pass;

static void pack_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const pack_pass *p = ctx;
    const int64_t first = ful__gemm_panels(p->out);
    if (chunk < first)
        ful__gemm_pack(p->forward, p->w, 1, p->in, p->in, p->out, chunk, chunk + 1);
    else
        ful__gemm_pack(p->backward, p->w, p->in, 1, p->out, p->in, chunk - first, chunk - first + 1);
}

static float *pack(const linear_op *l, const ful__run *run)
{
    float *packed = run->packed;
    if (!run->repack) return packed;
    pack_pass p = {
        .w = run->w[0], .forward = packed, .backward = packed + l->packed_forward, .in = l->base.x[0].c, .out = l->base.y.c};
    ful__parallel_for(ful__gemm_panels(p.out) + (l->train ? ful__gemm_panels(p.in) : 0), pack_piece, &p);
    return packed;
}

/* ---- passes ---- */

static ful_status forward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    const linear_op *l = (const linear_op *)op;
    const ful__gemm_job job = {.m = rows_of(op, run->n),
                               .n = op->y.c,
                               .k = op->x[0].c,
                               .a = run->x[0],
                               .a_rs = op->x[0].c,
                               .a_cs = 1,
                               .b_packed = pack(l, run),
                               .c = run->y,
                               .ldc = op->y.c,
                               .bias = l->attr.bias ? run->w[1] : NULL};
    ful__gemm_grouped(&job, 1);
    if (run->counters) run->counters->macs += job.m * job.n * job.k;
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    const linear_op *l = (const linear_op *)op;
    const int64_t rows = rows_of(op, run->n), in = op->x[0].c, out = op->y.c;
    if (run->dx[0]) {
        const ful__gemm_job job = {.m = rows,
                                   .n = in,
                                   .k = out,
                                   .a = run->dy,
                                   .a_rs = out,
                                   .a_cs = 1,
                                   .b_packed = (const float *)run->packed + l->packed_forward,
                                   .c = run->dx[0],
                                   .ldc = in};
        ful__gemm_grouped(&job, 1);
    }
    if (run->dw[0]) {
        const ful__gemm_tn_job job = {
            .rows = rows, .m = out, .n = in, .a = run->dy, .lda = out, .b = run->x[0], .ldb = in, .c = run->dw[0], .ldc = in};
        ful__gemm_tn_grouped(&job, 1, run->scratch);
    }
    if (l->attr.bias && run->dw[1]) ful__column_sums(run->dy, rows, out, out, run->dw[1]);
    return FUL_OK;
}

const ful__op_type ful__op_linear = {.name = "linear",
                                     .create = create,
                                     .layouts = ful__op_layouts_plain,
                                     .plan = plan,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = ful__op_free};
