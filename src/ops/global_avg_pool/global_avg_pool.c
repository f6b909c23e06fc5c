/* SPDX-License-Identifier: Apache-2.0 */
/* y[c] = mean of x over the positions of an image: the same bits whatever else is in the batch. */
#include "ops/common.h"
#include "ops/slabs.h"

typedef struct gap_kernels {
    void (*forward)(const float *x, int64_t rows, int width, float *y);
    void (*backward)(const float *dy, int64_t rows, int width, float *dx);
} gap_kernels;

#define SIMD_KERNELS "ops/global_avg_pool/global_avg_pool_kernels.h"
#include "ops/simd_levels.h"

typedef struct gap_op {
    ful__op base;
    int block;
} gap_op;

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    (void)attr;
    gap_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a global average pool"));
    ful_status status = ful__op_init(&op->base, &ful__op_global_avg_pool, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&op->base, 1);
    if (status == FUL_OK) op->base.y = (ful_shape){1, 1, x[0].c};
    return ful__op_made(&op->base, status, out);
}

/* Any layout comes in; what comes out is the same in both. */
static void layouts(ful__op *op)
{
    ful__op_layouts_same(op);
    op->y_layout = FUL__NHWC;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    ((gap_op *)op)->block = ful__block();
    op->need = (ful__need){0};
    return FUL_OK;
}

typedef struct gap_pass {
    const gap_kernels *kernels;
    const ful__run *run;
    ful__slabs slabs;
} gap_pass;

static void forward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const gap_pass *p = ctx;
    const ful__slabs *s = &p->slabs;
    int64_t slab, end;
    for (ful__slab_share(s, chunk, &slab, &end); slab < end; slab++)
        p->kernels->forward(p->run->x[0] + slab * s->rows * s->width, s->rows, s->width, p->run->y + slab * s->width);
}

static void backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const gap_pass *p = ctx;
    const ful__slabs *s = &p->slabs;
    int64_t slab, end;
    for (ful__slab_share(s, chunk, &slab, &end); slab < end; slab++)
        p->kernels->backward(p->run->dy + slab * s->width, s->rows, s->width, p->run->dx[0] + slab * s->rows * s->width);
}

static gap_pass begin(const ful__op *op, const ful__run *run)
{
    return (gap_pass){SIMD_PICK(kernels), run,
                      ful__slabs_per_image(op->x[0], op->x_layout[0], ((const gap_op *)op)->block, run->n)};
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    gap_pass p = begin(op, run);
    ful__parallel_for(ful__slab_chunks(&p.slabs), forward_piece, &p);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    gap_pass p = begin(op, run);
    if (run->dx[0]) ful__parallel_for(ful__slab_chunks(&p.slabs), backward_piece, &p);
    return FUL_OK;
}

const ful__op_type ful__op_global_avg_pool = {.name = "global_avg_pool",
                                              .create = create,
                                              .layouts = layouts,
                                              .plan = plan,
                                              .forward = forward,
                                              .backward = backward,
                                              .destroy = ful__op_free};
