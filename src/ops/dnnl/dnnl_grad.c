/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dw[g][o][i][tap] += packed[group_at[g] + out_at[o] + in_at[i] + tap_at[tap]], by squares of 16 x 16 channels, which are the
 * blocks of the packed layout: a square is read whole from one place and written to 16 runs. (oneDNN's own reorder walks this
 * with a cache miss a value, 20 times slower where out and in are 512.)
 */
#include "ops/dnnl/dnnl_grad.h"

#include "core/error.h"
#include "core/parallel.h"

enum { SQUARE = 16 };

static int64_t squares(int64_t channels)
{
    return (channels + SQUARE - 1) / SQUARE;
}

ful_status ful__dnnl_grad_init(ful__dnnl_grad *g, ful__md_ref md, bool *known)
{
    const dnnl_dim_t *dims;
    const int rank = ful__md_dims(md, &dims), axis = rank - 4; /* of the output channels */
    ful__md_blocks b;
    *known = ful__md_blocks_get(md, &b);
    if (!*known) return FUL_OK;
    *g = (ful__dnnl_grad){.groups = axis ? dims[0] : 1, .out = dims[axis], .in = dims[axis + 1]};
    g->taps = dims[axis + 2] * dims[axis + 3];
    FUL_TRY(ful__calloc(&g->group_at, (size_t)(g->groups + g->out + g->in + g->taps), sizeof *g->group_at,
                        "a convolution's weight layout"));
    g->out_at = g->group_at + g->groups;
    g->in_at = g->out_at + g->out;
    g->tap_at = g->in_at + g->in;
    for (int64_t i = 0; axis && i < g->groups; i++) g->group_at[i] = ful__md_place(&b, 0, i);
    for (int64_t i = 0; i < g->out; i++) g->out_at[i] = ful__md_place(&b, axis, i);
    for (int64_t i = 0; i < g->in; i++) g->in_at[i] = ful__md_place(&b, axis + 1, i);
    for (int64_t i = 0; i < g->taps; i++)
        g->tap_at[i] = ful__md_place(&b, axis + 2, i / dims[axis + 3]) + ful__md_place(&b, axis + 3, i % dims[axis + 3]);
    return FUL_OK;
}

void ful__dnnl_grad_deinit(ful__dnnl_grad *g)
{
    ful__free(g->group_at);
    *g = (ful__dnnl_grad){0};
}

typedef struct addition {
    const ful__dnnl_grad *g;
    const float *packed;
    float *dw;
} addition;

/* One square of one group. */
static void add_square(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const addition *a = ctx;
    const ful__dnnl_grad *g = a->g;
    const int64_t ins = squares(g->in), outs = squares(g->out);
    const int64_t group = chunk / (ins * outs), out = chunk / ins % outs * SQUARE, in = chunk % ins * SQUARE;
    const float *restrict from = a->packed + g->group_at[group];
    float *restrict to = a->dw + group * g->out * g->in * g->taps;
    for (int64_t o = out; o < out + SQUARE && o < g->out; o++)
        for (int64_t i = in; i < in + SQUARE && i < g->in; i++) {
            const float *restrict p = from + g->out_at[o] + g->in_at[i];
            float *restrict d = to + (o * g->in + i) * g->taps;
            for (int64_t t = 0; t < g->taps; t++) d[t] += p[g->tap_at[t]];
        }
}

void ful__dnnl_grad_add(const ful__dnnl_grad *g, const float *packed, float *dw)
{
    addition a = {g, packed, dw};
    ful__parallel_for(g->groups * squares(g->in) * squares(g->out), add_square, &a);
}
