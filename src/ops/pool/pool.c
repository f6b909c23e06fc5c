/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Max and average pooling over kernel x kernel windows. Padding never takes part: the maximum is over real pixels, the first in
 * row order on ties, and the average divides by their number; pad < kernel, so every window has one. A maximum remembers where
 * in its window it was found, for backward.
 */
#include "ops/common.h"
#include "ops/slabs.h"

/* One plane [h][w][width] -> [oh][ow][width] of one image and group; wide: places are uint16_t, not uint8_t. */
typedef struct pool_shape {
    int h, w, oh, ow, width;
    int kernel, stride, pad;
    bool wide;
} pool_shape;

typedef struct pool_kernels {
    void (*max_forward)(const pool_shape *s, const float *x, float *y, void *place); /* place may be NULL */
    void (*max_backward)(const pool_shape *s, const float *dy, const void *place, float *dx);
    void (*avg_forward)(const pool_shape *s, const float *x, float *y);
    void (*avg_backward)(const pool_shape *s, const float *dy, float *dx);
} pool_kernels;

/* The real pixels of the window at output (oy, ox): [y0, y1) x [x0, x1), and the window's own corner. */
typedef struct pool_window {
    int y0, y1, x0, x1, top, left;
} pool_window;

static inline pool_window window_at(const pool_shape *s, int oy, int ox)
{
    const int top = oy * s->stride - s->pad, left = ox * s->stride - s->pad;
    return (pool_window){.y0 = top < 0 ? 0 : top,
                         .y1 = top + s->kernel > s->h ? s->h : top + s->kernel,
                         .x0 = left < 0 ? 0 : left,
                         .x1 = left + s->kernel > s->w ? s->w : left + s->kernel,
                         .top = top,
                         .left = left};
}

#define SIMD_KERNELS "ops/pool/pool_kernels.h"
#include "ops/simd_levels.h"

enum { KERNEL_MAX = 255 }; /* so that a place fits 16 bits */

typedef struct pool_op {
    ful__op base;
    ful_pool_attr attr;
    int block;
} pool_op;

static ful_status check(const pool_op *op)
{
    const ful_pool_attr *a = &op->attr;
    const char *name = op->base.name;
    const ful_shape x = op->base.x[0];
    FUL_FAIL_IF(a->kind != FUL_POOL_MAX && a->kind != FUL_POOL_AVG, FUL_ERR_ARG,
                "cannot build pool '%s' with kind=%d: it must be max or avg", name, (int)a->kind);
    FUL_FAIL_IF(a->kernel < 1 || a->kernel > KERNEL_MAX, FUL_ERR_ARG,
                "cannot build pool '%s' with kernel=%d: kernel must be in 1..%d", name, a->kernel, KERNEL_MAX);
    FUL_FAIL_IF(a->stride < 1, FUL_ERR_ARG, "cannot build pool '%s' with stride=%d: stride must be at least 1", name,
                a->stride);
    FUL_FAIL_IF(
        a->pad < 0 || a->pad >= a->kernel, FUL_ERR_ARG,
        "cannot build pool '%s' with kernel=%d, pad=%d: pad must be in 0..kernel-1, or a window would hold padding only", name,
        a->kernel, a->pad);
    FUL_FAIL_IF(a->kernel > (int64_t)x.h + 2 * a->pad || a->kernel > (int64_t)x.w + 2 * a->pad, FUL_ERR_ARG,
                "cannot build pool '%s' with kernel=%d, input %dx%d, pad=%d: the window must fit into the padded input", name,
                a->kernel, x.h, x.w, a->pad);
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    pool_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a pool"));
    op->attr = *(const ful_pool_attr *)attr;
    ful_status status = ful__op_init(&op->base, &ful__op_pool, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&op->base, 1);
    if (status == FUL_OK) status = check(op);
    if (status == FUL_OK) {
        const ful_pool_attr *a = &op->attr;
        const int64_t spare = 2 * a->pad - a->kernel;
        op->base.y = (ful_shape){(int)((x[0].h + spare) / a->stride) + 1, (int)((x[0].w + spare) / a->stride) + 1, x[0].c};
    }
    return ful__op_made(&op->base, status, out);
}

static bool wide_places(const ful_pool_attr *attr)
{
    return attr->kernel * attr->kernel > UINT8_MAX + 1;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    pool_op *p = (pool_op *)op;
    p->block = ful__block();
    op->need = (ful__need){0};
    if (train && p->attr.kind == FUL_POOL_MAX)
        op->need.saved_per_image = (size_t)ful__count(op->y) * (wide_places(&p->attr) ? sizeof(uint16_t) : sizeof(uint8_t));
    return FUL_OK;
}

typedef struct pool_pass {
    const pool_kernels *kernels;
    const ful__run *run;
    ful__slabs slabs; /* of the input */
    pool_shape shape;
    bool max;
} pool_pass;

static pool_pass begin(const ful__op *op, const ful__run *run)
{
    const pool_op *p = (const pool_op *)op;
    const ful_pool_attr *a = &p->attr;
    /* Not ful__slabs_per_image, which takes a 1 x 1 image for plain: its output may be larger, and then is blocked. */
    const int width = op->x_layout[0] == FUL__BLOCKED ? p->block : op->x[0].c;
    const ful__slabs slabs = {
        .images = run->n, .rows = (int64_t)op->x[0].h * op->x[0].w, .groups = op->x[0].c / width, .width = width};
    pool_pass pass = {SIMD_PICK(kernels), run, slabs, {0}, a->kind == FUL_POOL_MAX};
    pass.shape = (pool_shape){op->x[0].h, op->x[0].w, op->y.h, op->y.w,       slabs.width,
                              a->kernel,  a->stride,  a->pad,  wide_places(a)};
    return pass;
}

/* Places of slab's output. */
static void *places(const pool_pass *p, int64_t values)
{
    if (!p->max || !p->run->train) return NULL;
    return (char *)p->run->saved + values * (int64_t)(p->shape.wide ? sizeof(uint16_t) : sizeof(uint8_t));
}

static void forward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const pool_pass *p = ctx;
    const int64_t in = p->slabs.rows * p->slabs.width, out = (int64_t)p->shape.oh * p->shape.ow * p->slabs.width;
    int64_t slab, end;
    for (ful__slab_share(&p->slabs, chunk, &slab, &end); slab < end; slab++) {
        const float *x = p->run->x[0] + slab * in;
        float *y = p->run->y + slab * out;
        if (p->max)
            p->kernels->max_forward(&p->shape, x, y, places(p, slab * out));
        else
            p->kernels->avg_forward(&p->shape, x, y);
    }
}

static void backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const pool_pass *p = ctx;
    const int64_t in = p->slabs.rows * p->slabs.width, out = (int64_t)p->shape.oh * p->shape.ow * p->slabs.width;
    int64_t slab, end;
    for (ful__slab_share(&p->slabs, chunk, &slab, &end); slab < end; slab++) {
        const float *dy = p->run->dy + slab * out;
        float *dx = p->run->dx[0] + slab * in;
        memset(dx, 0, (size_t)in * sizeof *dx);
        if (p->max)
            p->kernels->max_backward(&p->shape, dy, places(p, slab * out), dx);
        else
            p->kernels->avg_backward(&p->shape, dy, dx);
    }
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    pool_pass p = begin(op, run);
    ful__parallel_for(ful__slab_chunks(&p.slabs), forward_piece, &p);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    pool_pass p = begin(op, run);
    if (run->dx[0]) ful__parallel_for(ful__slab_chunks(&p.slabs), backward_piece, &p);
    return FUL_OK;
}

const ful__op_type ful__op_pool = {.name = "pool",
                                   .create = create,
                                   .layouts = ful__op_layouts_same,
                                   .plan = plan,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = ful__op_free};
