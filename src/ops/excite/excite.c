/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = x0 * x1, where x1 has one value for each channel of an image: the scaling at the end of a squeeze-and-excitation (Hu et
 * al. 2018). x0 [h][w][c] in any layout, x1 [c]. Backward: dx0 = dy x1, dx1 = sum over the positions of dy x0, each image by
 * itself.
 */
#include "ops/common.h"
#include "ops/scale/scale.h"
#include "ops/slabs.h"

#define SIMD_KERNELS "ops/scale/scale_kernels.h"
#include "ops/simd_levels.h"

typedef struct excite_op {
    ful__op base;
    int block;
} excite_op;

static ful_status check(const ful__op *op)
{
    FUL_FAIL_IF(op->n_x != 2, FUL_ERR_ARG, "cannot build excite '%s' with %d inputs: it takes 2", op->name, op->n_x);
    FUL_FAIL_IF(op->x[1].h != 1 || op->x[1].w != 1 || op->x[1].c != op->x[0].c, FUL_ERR_ARG,
                "cannot build excite '%s' of %dx%dx%d with factors of %dx%dx%d: they must be 1x1x%d, one a channel", op->name,
                op->x[0].h, op->x[0].w, op->x[0].c, op->x[1].h, op->x[1].w, op->x[1].c, op->x[0].c);
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    (void)attr;
    excite_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "an excitation"));
    ful_status status = ful__op_init(&op->base, &ful__op_excite, name, x, n_x);
    if (status == FUL_OK) status = check(&op->base);
    return ful__op_made(&op->base, status, out);
}

static void layouts(ful__op *op)
{
    if (op->x[0].c % ful__block() != 0) op->x_layout[0] = FUL__NHWC;
    op->y_layout = op->x_layout[0];
    op->x_layout[1] = FUL__NHWC;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    ((excite_op *)op)->block = ful__block();
    op->need = (ful__need){.inplace = !train, .inplace_dx = train, .backward_x = train ? 3 : 0};
    if (train) op->need.scratch_per_image = (size_t)op->x[0].c * sizeof(double);
    return FUL_OK;
}

typedef struct excite_pass {
    const scale_kernels *kernels;
    const ful__run *run;
    ful__slabs slabs;
    double *sums; /* [n][c] of dx1 */
} excite_pass;

static excite_pass begin(const ful__op *op, const ful__run *run)
{
    const ful__slabs slabs = ful__slabs_per_image(op->x[0], op->x_layout[0], ((const excite_op *)op)->block, run->n);
    return (excite_pass){SIMD_PICK(kernels), run, slabs, run->scratch};
}

static void forward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const excite_pass *p = ctx;
    const ful__slabs *s = &p->slabs;
    int64_t slab, end;
    for (ful__slab_share(s, chunk, &slab, &end); slab < end; slab++) {
        const int64_t at = slab * s->rows * s->width;
        p->kernels->forward(p->run->x[0] + at, s->rows, s->width, p->run->x[1] + slab * s->width, p->run->y + at);
    }
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    excite_pass p = begin(op, run);
    ful__parallel_for(ful__slab_chunks(&p.slabs), forward_piece, &p);
    return FUL_OK;
}

static void backward_slab(const excite_pass *p, int64_t slab)
{
    const ful__slabs *s = &p->slabs;
    const ful__run *run = p->run;
    const int64_t channel = slab * s->width;
    double *sums = run->dx[1] ? p->sums + channel : NULL;
    for (int j = 0; sums && j < s->width; j++) sums[j] = 0;
    for (int64_t row = 0; row < s->rows; row += FUL__SCALE_ROWS) {
        const int64_t rows = s->rows - row < FUL__SCALE_ROWS ? s->rows - row : FUL__SCALE_ROWS;
        const int64_t at = (slab * s->rows + row) * s->width;
        p->kernels->backward(run->x[0] + at, run->dy + at, rows, s->width, run->x[1] + channel,
                             run->dx[0] ? run->dx[0] + at : NULL, sums);
    }
    for (int j = 0; sums && j < s->width; j++) run->dx[1][channel + j] = (float)sums[j];
}

static void backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const excite_pass *p = ctx;
    int64_t slab, end;
    for (ful__slab_share(&p->slabs, chunk, &slab, &end); slab < end; slab++) backward_slab(p, slab);
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    excite_pass p = begin(op, run);
    if (run->dx[0] || run->dx[1]) ful__parallel_for(ful__slab_chunks(&p.slabs), backward_piece, &p);
    return FUL_OK;
}

const ful__op_type ful__op_excite = {.name = "excite",
                                     .create = create,
                                     .layouts = layouts,
                                     .plan = plan,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = ful__op_free};
