/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Positions and channels change places: x [h*w][c] of an image becomes y [c][h*w]. A linear layer behind it mixes positions
 * instead of channels (MLP-Mixer, Tolstikhin et al. 2021). The positions of y, as many as x has channels, are given a height
 * and a width, so that a second one gives the map back. Backward is the same the other way round.
 */
#include "core/parallel.h"
#include "ops/common.h"

typedef void (*transpose_fn)(const float *x, int64_t rows, int64_t cols, int64_t row, int64_t row_end, float *y);

#define SIMD_KERNELS "ops/transpose/transpose_kernels.h"
#include "ops/simd_levels.h"

static ful_status describe(ful__op *op, const ful_transpose_attr *a)
{
    const ful_shape x = op->x[0];
    FUL_TRY(ful__op_takes(op, 1));
    const int h = a->h == 0 && a->w == 0 ? 1 : a->h, w = a->h == 0 && a->w == 0 ? x.c : a->w;
    FUL_FAIL_IF(h < 1 || w < 1 || (int64_t)h * w != x.c, FUL_ERR_ARG,
                "cannot build transpose '%s' with h=%d, w=%d on %d channels: these become the positions, so h*w must be %d",
                op->name, a->h, a->w, x.c, x.c);
    op->y = (ful_shape){h, w, x.h * x.w};
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    ful__op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a transpose"));
    ful_status status = ful__op_init(op, &ful__op_transpose, name, x, n_x);
    if (status == FUL_OK) status = describe(op, attr);
    return ful__op_made(op, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    op->need = (ful__need){0};
    return FUL_OK;
}

/* Of each image a matrix [rows][cols], in shares of its rows. */
typedef struct transpose_pass {
    const transpose_fn *kernel;
    const float *x;
    float *y;
    int64_t rows, cols, shares;
} transpose_pass;

enum { ROWS_A_SHARE = 64 };

static void piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const transpose_pass *p = ctx;
    const int64_t at = i / p->shares * p->rows * p->cols, row = i % p->shares * ROWS_A_SHARE;
    const int64_t end = row + ROWS_A_SHARE < p->rows ? row + ROWS_A_SHARE : p->rows;
    (*p->kernel)(p->x + at, p->rows, p->cols, row, end, p->y + at);
}

static void transpose(const float *x, int64_t n, int64_t rows, int64_t cols, float *y)
{
    transpose_pass p = {SIMD_PICK(kernel), x, y, rows, cols, (rows + ROWS_A_SHARE - 1) / ROWS_A_SHARE};
    ful__parallel_for(n * p.shares, piece, &p);
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    transpose(run->x[0], run->n, op->y.c, op->x[0].c, run->y);
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->dx[0]) transpose(run->dy, run->n, op->x[0].c, op->y.c, run->dx[0]);
    return FUL_OK;
}

const ful__op_type ful__op_transpose = {.name = "transpose",
                                        .create = create,
                                        .layouts = ful__op_layouts_plain,
                                        .plan = plan,
                                        .forward = forward,
                                        .backward = backward,
                                        .destroy = ful__op_free};
