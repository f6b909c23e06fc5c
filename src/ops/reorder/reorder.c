/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reorder: y = x in another layout; dx = dy in the first one. Memory-bound: an image is cut into runs of pixels, and a run
 * moves whole blocks of 8 or 16 floats, reading and writing no cache line twice.
 */
#include "ops/reorder/reorder.h"

#include <string.h>

#include "core/parallel.h"
#include "ops/common.h"

enum { RUN_FLOATS = 1 << 14 }; /* of one chunk: 64 KiB read, 64 KiB written */

typedef struct job {
    const float *x;
    float *y;
    ful_shape shape;
    ful__strides from, to;
    int64_t pixels, runs, run_pixels; /* of one image */
    int block;
} job;

static job make_job(const float *x, float *y, ful_shape s)
{
    job j = {.x = x, .y = y, .shape = s, .pixels = (int64_t)s.h * s.w, .block = ful__block()};
    j.run_pixels = RUN_FLOATS / s.c > 0 ? RUN_FLOATS / s.c : 1;
    j.runs = (j.pixels + j.run_pixels - 1) / j.run_pixels;
    return j;
}

/* One run of pixels for all blocks of channels, B a constant where it is inlined. */
static inline __attribute__((always_inline)) void move_blocks(const job *j, const float *x, float *y, int64_t begin,
                                                              int64_t end, const int B)
{
    const int64_t blocks = j->shape.c / B;
    for (int64_t b = 0; b < blocks; b++) {
        const float *from = x + b * j->from.block;
        float *to = y + b * j->to.block;
        for (int64_t p = begin; p < end; p++) memcpy(to + p * j->to.pixel, from + p * j->from.pixel, (size_t)B * sizeof(float));
    }
}

static void move_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t image = chunk / j->runs * ful__count(j->shape);
    int64_t begin, end;
    ful__share(j->pixels, j->runs, chunk % j->runs, &begin, &end);
    if (j->block == 16)
        move_blocks(j, j->x + image, j->y + image, begin, end, 16);
    else
        move_blocks(j, j->x + image, j->y + image, begin, end, 8);
}

void ful__reorder(const float *x, ful__layout x_layout, float *y, ful__layout y_layout, int n, ful_shape s)
{
    job j = make_job(x, y, s);
    j.from = ful__strides_of(s, x_layout);
    j.to = ful__strides_of(s, y_layout);
    if (x_layout == y_layout || j.pixels == 1)
        ful__copy_floats(x, y, n * ful__count(s));
    else
        ful__parallel_for(n * j.runs, move_chunk, &j);
}

static void planes_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t image = chunk / j->runs * ful__count(j->shape);
    int64_t begin, end;
    ful__share(j->pixels, j->runs, chunk % j->runs, &begin, &end);
    const float *restrict x = j->x + image;
    float *restrict y = j->y + image;
    if (j->shape.c == 3) { /* colours: all three planes in one walk */
        for (int64_t p = begin; p < end; p++)
            for (int c = 0; c < 3; c++) y[c * j->pixels + p] = x[3 * p + c];
        return;
    }
    for (int c = 0; c < j->shape.c; c++)
        for (int64_t p = begin; p < end; p++) y[c * j->pixels + p] = x[p * j->shape.c + c];
}

void ful__reorder_to_planes(const float *x, float *y, int n, ful_shape s)
{
    job j = make_job(x, y, s);
    ful__parallel_for(n * j.runs, planes_chunk, &j);
}

/* The op ----------------------------------------------------------------------------------------------------------------- */

typedef struct reorder_op {
    ful__op base;
    ful__layout wanted;
} reorder_op;

static ful_status check(const ful__op *op, ful__layout wanted)
{
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(wanted == FUL__BLOCKED && op->y.c % ful__block() != 0, FUL_ERR_ARG,
                "cannot build reorder '%s' of %d channels to blocks of %d: the block must divide the channels", op->name,
                op->y.c, ful__block());
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    reorder_op *op;
    *out = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a reorder"));
    op->wanted = *(const ful__layout *)attr;
    ful_status status = ful__op_init(&op->base, &ful__op_reorder, name, x, n_x);
    if (status == FUL_OK) status = check(&op->base, op->wanted);
    return ful__op_made(&op->base, status, out);
}

static void layouts(ful__op *op)
{
    op->y_layout = ((reorder_op *)op)->wanted;
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
    ful__reorder(run->x[0], op->x_layout[0], run->y, op->y_layout, run->n, op->y);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->dx[0]) ful__reorder(run->dy, op->y_layout, run->dx[0], op->x_layout[0], run->n, op->y);
    return FUL_OK;
}

const ful__op_type ful__op_reorder = {.name = "reorder",
                                      .create = create,
                                      .layouts = layouts,
                                      .plan = plan,
                                      .forward = forward,
                                      .backward = backward,
                                      .destroy = ful__op_free};
