/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropout (Srivastava et al. 2014): in training each value is dropped with probability p and otherwise multiplied by 1/(1-p).
 * With whole_image one draw decides for the image: stochastic depth (Huang et al. 2016). No mask is stored: backward draws
 * again. The draws depend on seed, step, name and the image's place in the batch alone, not on layout or threads.
 */
#include "ops/dropout/dropout.h"

#include <string.h>

#include "ops/common.h"
#include "ops/slabs.h"

/* What a kernel does of one image: groups [group, group_end) of `count` values whose strides are those of a layout. */
typedef struct dropout_job {
    const float *x;
    float *y;
    int64_t count, c;
    ful__strides strides;
    int block;
    ful__stream stream;
    uint64_t step, first_block;
    uint32_t threshold;
    float scale;
    int64_t group, group_end;
} dropout_job;

typedef void (*dropout_fn)(const dropout_job *job);

#define SIMD_KERNELS "ops/dropout/dropout_kernels.h"
#include "ops/simd_levels.h"

typedef struct dropout_op {
    ful__op base;
    ful_dropout_attr attr;
    int block;
    ful__strides strides;
} dropout_op;

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    dropout_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a dropout"));
    op->attr = *(const ful_dropout_attr *)attr;
    ful_status status = ful__op_init(&op->base, &ful__op_dropout, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&op->base, 1);
    if (status == FUL_OK && !(op->attr.p >= 0 && op->attr.p < 1))
        status = ful__fail(FUL_ERR_ARG, "cannot build dropout '%s' with p=%g: p must be at least 0 and below 1", name,
                           (double)op->attr.p);
    return ful__op_made(&op->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    dropout_op *d = (dropout_op *)op;
    d->block = ful__block();
    d->strides = ful__strides_of(op->y, op->y_layout);
    op->need = (ful__need){.inplace = true, .inplace_dx = train};
    return FUL_OK;
}

/* Pieces: so many groups of one image. */
enum { PIECE_GROUPS = FUL__PIECE / FUL__DROPOUT_GROUP };

typedef struct dropout_pass {
    const dropout_fn *kernel;
    const ful__run *run;
    const dropout_op *op;
    ful__stream stream;
    const float *x;
    float *y;
    int64_t count, groups, pieces; /* values, groups and pieces of an image */
} dropout_pass;

static uint64_t batch_row(const ful__run *run, int64_t image)
{
    return run->row ? run->row[image] : (uint64_t)image;
}

static void values_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const dropout_pass *p = ctx;
    const int64_t image = piece / p->pieces, at = image * p->count;
    dropout_job job = {.x = p->x + at, .y = p->y + at, .count = p->count, .c = p->op->base.y.c};
    job.strides = p->op->strides;
    job.block = p->op->block;
    job.stream = p->stream;
    job.step = p->run->step;
    job.first_block = ful__dropout_first_block(batch_row(p->run, image), p->count);
    job.threshold = ful__dropout_threshold(p->op->attr.p);
    job.scale = 1 / (1 - p->op->attr.p);
    job.group = piece % p->pieces * PIECE_GROUPS;
    job.group_end = job.group + PIECE_GROUPS < p->groups ? job.group + PIECE_GROUPS : p->groups;
    (*p->kernel)(&job);
}

static void images_piece(void *ctx, int64_t image, int thread)
{
    (void)thread;
    const dropout_pass *p = ctx;
    const float scale = 1 / (1 - p->op->attr.p), *x = p->x + image * p->count;
    float *y = p->y + image * p->count;
    if (ful__dropout_keeps_image(p->stream, p->run->step, batch_row(p->run, image), p->op->attr.p))
        for (int64_t i = 0; i < p->count; i++) y[i] = scale * x[i];
    else
        memset(y, 0, (size_t)p->count * sizeof *y);
}

static void drop(const ful__op *base, const ful__run *run, const float *x, float *y)
{
    const dropout_op *op = (const dropout_op *)base;
    const int64_t count = ful__count(base->y);
    if (!run->train || op->attr.p == 0) {
        ful__copy_floats(x, y, run->n * count);
        return;
    }
    dropout_pass p = {.kernel = SIMD_PICK(kernel), .run = run, .op = op, .x = x, .y = y, .count = count};
    p.stream = ful__stream_make(run->seed, "dropout", base->name);
    p.groups = (count + FUL__DROPOUT_GROUP - 1) / FUL__DROPOUT_GROUP;
    p.pieces = (p.groups + PIECE_GROUPS - 1) / PIECE_GROUPS;
    if (op->attr.whole_image)
        ful__parallel_for(run->n, images_piece, &p);
    else
        ful__parallel_for(run->n * p.pieces, values_piece, &p);
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    drop(op, run, run->x[0], run->y);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->dx[0]) drop(op, run, run->dy, run->dx[0]);
    return FUL_OK;
}

const ful__op_type ful__op_dropout = {.name = "dropout",
                                      .create = create,
                                      .layouts = ful__op_layouts_same,
                                      .plan = plan,
                                      .forward = forward,
                                      .backward = backward,
                                      .destroy = ful__op_free};
