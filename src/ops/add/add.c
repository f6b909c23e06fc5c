/* SPDX-License-Identifier: Apache-2.0 */
/* y = x0 + x1, in any layout. Both gradients are dy: the graph may let all three be one buffer, and then nothing is copied. */
#include "ops/common.h"
#include "ops/slabs.h"

typedef void (*add_fn)(const float *a, const float *b, float *y, int64_t count, bool stream);

#define SIMD_KERNELS "ops/add/add_kernels.h"
#include "ops/simd_levels.h"

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    (void)attr;
    ful__op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "an addition"));
    ful_status status = ful__op_init(op, &ful__op_add, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(op, 2);
    return ful__op_made(op, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    op->need = (ful__need){.inplace = true, .inplace_1 = true, .inplace_dx = train, .inplace_dx_1 = train};
    return FUL_OK;
}

typedef struct add_pass {
    const add_fn *kernel;
    const float *a, *b;
    float *y;
    int64_t count;
    bool stream;
} add_pass;

static void add_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const add_pass *p = ctx;
    const int64_t at = i * FUL__PIECE;
    (*p->kernel)(p->a + at, p->b + at, p->y + at, ful__piece_length(p->count, i), p->stream);
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    add_pass p = {SIMD_PICK(kernel), run->x[0], run->x[1], run->y, run->n * ful__count(op->y), false};
    p.stream = p.y != p.a && p.y != p.b && ful__worth_streaming(p.y, p.count, FUL__PIECE);
    ful__parallel_for(ful__pieces(p.count), add_piece, &p);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    for (int i = 0; i < 2; i++)
        if (run->dx[i]) ful__copy_floats(run->dy, run->dx[i], run->n * ful__count(op->y));
    return FUL_OK;
}

const ful__op_type ful__op_add = {.name = "add",
                                  .create = create,
                                  .layouts = ful__op_layouts_same,
                                  .plan = plan,
                                  .forward = forward,
                                  .backward = backward,
                                  .destroy = ful__op_free};
