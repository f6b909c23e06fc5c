/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a gated MLP, row by row. */
#include "ops/mlp/glu.h"

#include "core/parallel.h"

typedef struct glu_kernels {
    void (*forward)(ful_act act, const float *u, int64_t h, float *v);
    void (*backward)(ful_act act, const float *u, const float *dv, int64_t h, float *du);
} glu_kernels;

#define SIMD_KERNELS "ops/mlp/glu_kernels.h"
#include "ops/simd_levels.h"

enum { ROWS_A_PIECE = 16 };

typedef struct glu_pass {
    const glu_kernels *kernels;
    ful_act act;
    const float *u, *dv;
    int64_t rows, h;
    float *out;
} glu_pass;

static int64_t pieces_of(const glu_pass *p)
{
    return (p->rows + ROWS_A_PIECE - 1) / ROWS_A_PIECE;
}

static int64_t end_of(const glu_pass *p, int64_t piece)
{
    const int64_t end = (piece + 1) * ROWS_A_PIECE;
    return end < p->rows ? end : p->rows;
}

static void forward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const glu_pass *p = ctx;
    for (int64_t r = piece * ROWS_A_PIECE; r < end_of(p, piece); r++)
        p->kernels->forward(p->act, p->u + r * 2 * p->h, p->h, p->out + r * p->h);
}

void ful__glu_forward(ful_act act, const float *u, int64_t rows, int64_t h, float *v)
{
    glu_pass p = {.kernels = SIMD_PICK(kernels), .act = act, .u = u, .rows = rows, .h = h, .out = v};
    ful__parallel_for(pieces_of(&p), forward_piece, &p);
}

static void backward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const glu_pass *p = ctx;
    for (int64_t r = piece * ROWS_A_PIECE; r < end_of(p, piece); r++)
        p->kernels->backward(p->act, p->u + r * 2 * p->h, p->dv + r * p->h, p->h, p->out + r * 2 * p->h);
}

void ful__glu_backward(ful_act act, const float *u, const float *dv, int64_t rows, int64_t h, float *du)
{
    glu_pass p = {.kernels = SIMD_PICK(kernels), .act = act, .u = u, .dv = dv, .rows = rows, .h = h, .out = du};
    ful__parallel_for(pieces_of(&p), backward_piece, &p);
}
