/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   scratch  for each piece: v | m [rows][B]
 *
 * Pieces share the blocks of output channels. Each lays out all the patches itself: that is a small part of the work, and saves
 * the threads from waiting for each other once more.
 */
#include "ops/conv2d/patches.h"

#include <string.h>

#include <fulcrum/core.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/conv2d/blocked.h"

enum { ROWS_MAX = 264 };

static int round_up(int rows)
{
    return (rows + FUL__BLOCKED_ROWS - 1) / FUL__BLOCKED_ROWS * FUL__BLOCKED_ROWS;
}

static int taps_of(const ful__patches *plan)
{
    return plan->attr.kernel_h * plan->attr.kernel_w;
}

bool ful__patches_applies(const ful_conv2d_attr *a, ful_shape x, ful_shape y, int n_max)
{
    return (ful_cpu_flags() & (FUL_CPU_AVX2 | FUL_CPU_AVX512)) != 0 && a->groups == 1 && x.c % ful__block() == 0 &&
           y.c % ful__block() == 0 && (int64_t)n_max * y.h * y.w <= ROWS_MAX &&
           (int64_t)x.c * a->kernel_h * a->kernel_w < 1 << 20;
}

ful__patches ful__patches_plan(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, int n_max)
{
    return (ful__patches){.attr = *attr, .x = x, .y = y, .rows_max = round_up(n_max * y.h * y.w), .pieces = ful_threads_get()};
}

size_t ful__patches_packed_bytes(const ful__patches *plan)
{
    return (size_t)taps_of(plan) * (size_t)plan->x.c * (size_t)plan->y.c * sizeof(float);
}

/* Floats of a piece. */
static size_t piece_floats(const ful__patches *plan)
{
    return (size_t)plan->rows_max * ((size_t)taps_of(plan) * (size_t)plan->x.c + (size_t)ful__block());
}

size_t ful__patches_scratch_bytes(const ful__patches *plan)
{
    return (size_t)plan->pieces * piece_floats(plan) * sizeof(float);
}

int64_t ful__patches_macs(const ful__patches *plan)
{
    return (int64_t)plan->y.h * plan->y.w * taps_of(plan) * plan->x.c * plan->y.c;
}

const char *ful__patches_kernel(void)
{
    return ful__block() == FUL__BLOCK_MAX ? "patches_avx512" : "patches_avx2";
}

/* Weights ---------------------------------------------------------------------------------------------------------------- */

typedef struct packing {
    const ful__patches *plan;
    const float *w;
    float *packed;
} packing;

static void pack_block(void *ctx, int64_t b, int thread)
{
    (void)thread;
    const packing *p = ctx;
    const int64_t block = ful__block(), in = p->plan->x.c, taps = taps_of(p->plan);
    float *to = p->packed + b * taps * in * block;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t c = 0; c < in; c++, to += block)
            for (int64_t i = 0; i < block; i++) to[i] = p->w[((b * block + i) * in + c) * taps + tap];
}

void ful__patches_pack(const ful__patches *plan, const float *w, float *packed)
{
    packing p = {plan, w, packed};
    ful__parallel_for(plan->y.c / ful__block(), pack_block, &p);
}

/* Run -------------------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const ful__patches *plan;
    const ful__conv_run *run;
    ful__blocked_fn product;
    int64_t block;
    int rows, pieces;
} pass;

/* v of one tap and one channel block: a row for each output pixel, zeros where the tap lies outside the image. */
static void take_tap(const pass *p, int ky, int kx, int64_t channel_block, float *v)
{
    const ful_conv2d_attr *a = &p->plan->attr;
    const ful_shape x = p->plan->x, y = p->plan->y;
    const size_t bytes = (size_t)p->block * sizeof(float);
    for (int n = 0; n < p->run->n; n++) {
        const float *plane = p->run->x + (n * (x.c / p->block) + channel_block) * x.h * x.w * p->block;
        for (int oy = 0; oy < y.h; oy++) {
            const int iy = oy * a->stride_h - a->pad_h + ky * a->dilation_h;
            for (int ox = 0; ox < y.w; ox++, v += p->block) {
                const int ix = ox * a->stride_w - a->pad_w + kx * a->dilation_w;
                if (iy >= 0 && iy < x.h && ix >= 0 && ix < x.w)
                    memcpy(v, plane + ((int64_t)iy * x.w + ix) * p->block, bytes);
                else
                    memset(v, 0, bytes);
            }
        }
    }
}

static void take_patches(const pass *p, float *v)
{
    for (int ky = 0; ky < p->plan->attr.kernel_h; ky++)
        for (int kx = 0; kx < p->plan->attr.kernel_w; kx++)
            for (int64_t b = 0; b < p->plan->x.c / p->block; b++, v += p->plan->rows_max * p->block) take_tap(p, ky, kx, b, v);
}

/* Block b of y from the rows of its product. */
static void give_block(const pass *p, int64_t b, const float *m)
{
    const ful__conv_run *run = p->run;
    const int64_t pixels = (int64_t)p->plan->y.h * p->plan->y.w, blocks = p->plan->y.c / p->block;
    for (int64_t n = 0; n < run->n; n++) {
        const int64_t plane = (n * blocks + b) * pixels * p->block, end = plane + pixels * p->block;
        for (int64_t at = plane; at < end; at += p->block, m += p->block)
            for (int64_t i = 0; i < p->block; i++) {
                const float value = run->bias ? m[i] + run->bias[b * p->block + i] : m[i];
                run->y[at + i] = run->residual ? value + run->residual[at + i] : value;
            }
        ful__act_forward(run->act, run->y + plane, run->y + plane, end - plane);
    }
}

static void apply_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const ful__patches *plan = p->plan;
    const int64_t depth = (int64_t)taps_of(plan) * plan->x.c;
    float *v = (float *)p->run->scratch + (size_t)piece * piece_floats(plan), *m = v + plan->rows_max * depth;
    int64_t begin, end;
    ful__share(plan->y.c / p->block, p->pieces, piece, &begin, &end);
    take_patches(p, v);
    for (int64_t b = begin; b < end; b++) {
        const ful__blocked_product one = {.v = v,
                                          .w = p->run->packed + b * depth * p->block,
                                          .m = m,
                                          .v_block = plan->rows_max * p->block,
                                          .blocks = (int)(depth / p->block),
                                          .rows = p->rows,
                                          .group = 1};
        p->product(&one);
        give_block(p, b, m);
    }
}

void ful__patches_apply(const ful__patches *plan, const ful__conv_run *run)
{
    pass p = {.plan = plan, .run = run, .product = ful__blocked_multiply(), .block = ful__block()};
    p.rows = run->n * plan->y.h * plan->y.w;
    const int64_t blocks = plan->y.c / p.block;
    p.pieces = ful__parallel_active() ? 1 : plan->pieces < blocks ? plan->pieces : (int)blocks;
    ful__parallel_for(p.pieces, apply_piece, &p);
}
