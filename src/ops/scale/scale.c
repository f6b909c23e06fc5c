/* SPDX-License-Identifier: Apache-2.0 */
/* y = w[c] * x with learnable w that starts at `value`, or y = value * x. */
#include <math.h>

#include "ops/common.h"
#include "ops/scale/scale.h"
#include "ops/slabs.h"

#define SIMD_KERNELS "ops/scale/scale_kernels.h"
#include "ops/simd_levels.h"

typedef struct scale_op {
    ful__op base;
    ful_scale_attr attr;
    int block;
} scale_op;

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    scale_op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a scale"));
    op->attr = *(const ful_scale_attr *)attr;
    ful_status status = ful__op_init(&op->base, &ful__op_scale, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(&op->base, 1);
    if (status == FUL_OK && !isfinite(op->attr.value))
        status = ful__fail(FUL_ERR_ARG, "cannot build scale '%s' with value=%g: it must be finite", name,
                           (double)op->attr.value);
    const int64_t c = op->base.x[0].c;
    if (status == FUL_OK && op->attr.learnable)
        status = ful__op_add_param(&op->base, "weight", 1, &c, FUL_INIT_ONES, op->attr.value, 0, true, false);
    return ful__op_made(&op->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    scale_op *s = (scale_op *)op;
    s->block = ful__block();
    const bool learns = train && s->attr.learnable;
    const size_t c = (size_t)op->x[0].c;
    op->need = (ful__need){.inplace = !learns, .inplace_dx = train, .backward_x = learns};
    op->need.scratch_fixed = learns ? ful__chunks_bound(n_max * ful__count(op->x[0])) * c * sizeof(double) : c * sizeof(float);
    return FUL_OK;
}

typedef struct scale_pass {
    const scale_kernels *kernels;
    const ful__run *run;
    const float *w;
    double *sums; /* [chunks][c], NULL where nothing is learned */
    ful__slabs slabs;
    ful__cut cut;
    int c;
} scale_pass;

/* Scratch holds the constant once a channel, so that one kernel does both, or else the sums of the chunks. */
static scale_pass begin(const ful__op *op, const ful__run *run)
{
    const scale_op *s = (const scale_op *)op;
    scale_pass p = {.kernels = SIMD_PICK(kernels), .run = run, .c = op->x[0].c};
    p.slabs = ful__slabs_of(op->x[0], op->x_layout[0], s->block, run->n);
    p.cut = ful__cut_of(&p.slabs);
    if (s->attr.learnable) {
        p.w = run->w[0];
        p.sums = run->scratch;
        return p;
    }
    float *w = run->scratch;
    for (int j = 0; j < p.c; j++) w[j] = s->attr.value;
    p.w = w;
    return p;
}

static void forward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const scale_pass *p = ctx;
    const ful__chunk k = ful__chunk_of(&p->slabs, p->cut, chunk);
    for (int64_t i = k.image; i < k.image_end; i++)
        for (int g = 0; g < p->slabs.groups; g++) {
            const int64_t at = ful__slab_at(&p->slabs, i, g, k.row);
            p->kernels->forward(p->run->x[0] + at, k.row_end - k.row, p->slabs.width, p->w + g * p->slabs.width,
                                p->run->y + at);
        }
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    scale_pass p = begin(op, run);
    ful__parallel_for(ful__cut_chunks(p.cut), forward_piece, &p);
    return FUL_OK;
}

static void backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const scale_pass *p = ctx;
    const ful__run *run = p->run;
    const ful__chunk k = ful__chunk_of(&p->slabs, p->cut, chunk);
    double *sums = p->sums ? p->sums + chunk * p->c : NULL;
    for (int j = 0; sums && j < p->c; j++) sums[j] = 0;
    for (int64_t i = k.image; i < k.image_end; i++)
        for (int g = 0; g < p->slabs.groups; g++)
            for (int64_t row = k.row; row < k.row_end; row += FUL__SCALE_ROWS) {
                const int64_t rows = k.row_end - row < FUL__SCALE_ROWS ? k.row_end - row : FUL__SCALE_ROWS;
                const int64_t at = ful__slab_at(&p->slabs, i, g, row), channel = (int64_t)g * p->slabs.width;
                p->kernels->backward(sums ? run->x[0] + at : NULL, run->dy + at, rows, p->slabs.width, p->w + channel,
                                     run->dx[0] ? run->dx[0] + at : NULL, sums ? sums + channel : NULL);
            }
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    scale_pass p = begin(op, run);
    const int64_t chunks = ful__cut_chunks(p.cut);
    ful__parallel_for(chunks, backward_piece, &p);
    for (int j = 0; p.sums && j < p.c; j++) {
        double sum = 0;
        for (int64_t k = 0; k < chunks; k++) sum += p.sums[k * p.c + j];
        run->dw[0][j] += (float)sum;
    }
    return FUL_OK;
}

const ful__op_type ful__op_scale = {.name = "scale",
                                    .create = create,
                                    .layouts = ful__op_layouts_same,
                                    .plan = plan,
                                    .forward = forward,
                                    .backward = backward,
                                    .destroy = ful__op_free};
