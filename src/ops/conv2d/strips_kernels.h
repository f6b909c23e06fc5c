/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of strips.c for one CPU level. A block of output channels is one vector, at the base level two. */
#include "ops/simd_epilogue.h"

enum { FN(BLOCK) = LANES == 16 ? 16 : 8, FN(PARTS) = FN(BLOCK) / LANES };

/* Pixels of a tile beside two blocks of output channels and beside one. */
enum { FN(PIXELS_2) = LANES == 16 ? 8 : LANES == 8 ? 6 : 2, FN(PIXELS_1) = LANES == 4 ? 4 : 8 };

/* One value of every pixel times its row of the weights; next: what is fetched meanwhile. */
INLINE void FN(strips_step)(const float *const *v, int64_t at, const float *from, const float *next, vf *sum, const int R,
                            const int V)
{
    vf w[2 * FN(PARTS)];
#pragma GCC unroll 4
    for (int n = 0; n < V; n += LINE / LANES) __builtin_prefetch(next + n * LANES);
#pragma GCC unroll 4
    for (int n = 0; n < V; n++) w[n] = vload(from + n * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        const vf a = vset(v[r][at]);
#pragma GCC unroll 4
        for (int n = 0; n < V; n++) sum[r * V + n] = vfma(a, w[n], sum[r * V + n]);
    }
}

/* Where vector n of a pixel lies in y. */
INLINE int64_t FN(strips_at)(int64_t block, int64_t pixel, const int n)
{
    return pixel + n / FN(PARTS) * block + n % FN(PARTS) * LANES;
}

/* R pixels times N blocks of output channels. */
INLINE void FN(strips_tile)(const strips_product *p, const strips_part *part, const int32_t *v_at, const int32_t *y_at,
                            const int R, const int N)
{
    const int V = N * FN(PARTS), length = p->length;
    const int64_t y_block = p->y_block, next_step = part->next_step;
    float *y = p->y;
    const float *v[STRIPS_PIXELS], *from = part->w, *next = part->next;
    vf sum[STRIPS_PIXELS * 2 * FN(PARTS)], bias[2 * FN(PARTS)] = {0};
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        v[r] = p->v + v_at[r];
        __asm__("" : "+r"(v[r])); /* one address, not p->v and a distance: those would not all fit the registers */
    }
    if (p->bias)
#pragma GCC unroll 4
        for (int n = 0; n < V; n++) bias[n] = vload(p->bias + n * LANES);
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) sum[i] = part->begins ? bias[i % V] : vload(part->sums + i * LANES);
    for (const int32_t *run = part->run_at, *end = run + part->runs; run < end; run++) {
        int64_t at = *run;
#pragma GCC unroll 4
        for (int c = 0; c < length; c++, at++, from += V * LANES, next += next_step)
            FN(strips_step)(v, at, from, next, sum, R, V);
    }
    if (!part->ends) {
#pragma GCC unroll 32
        for (int i = 0; i < R * V; i++) vstore(part->sums + i * LANES, sum[i]);
        return;
    }
    if (p->residual)
#pragma GCC unroll 32
        for (int i = 0; i < R * V; i++) sum[i] += vload(p->residual + FN(strips_at)(y_block, y_at[i / V], i % V));
    FN(activate)(p->act, sum, R * V);
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) vstore(y + FN(strips_at)(y_block, y_at[i / V], i % V), sum[i]);
}

#define STRIPS_CASE(R, N) \
    case R: FN(strips_tile)(p, part, v_at, y_at, R, N); return;

TARGET static void FN(strips_tile_1)(const strips_product *p, const strips_part *part, const int32_t *v_at, const int32_t *y_at,
                                     int pixels)
{
    switch (pixels) {
        STRIPS_CASE(1, 1)
        STRIPS_CASE(2, 1)
        STRIPS_CASE(3, 1)
#if LANES >= 8
        STRIPS_CASE(4, 1)
        STRIPS_CASE(5, 1)
        STRIPS_CASE(6, 1)
        STRIPS_CASE(7, 1)
#endif
    default: FN(strips_tile)(p, part, v_at, y_at, FN(PIXELS_1), 1);
    }
}

TARGET static void FN(strips_tile_2)(const strips_product *p, const strips_part *part, const int32_t *v_at, const int32_t *y_at,
                                     int pixels)
{
    switch (pixels) {
        STRIPS_CASE(1, 2)
#if LANES >= 8
        STRIPS_CASE(2, 2)
        STRIPS_CASE(3, 2)
        STRIPS_CASE(4, 2)
        STRIPS_CASE(5, 2)
#endif
#if LANES == 16
        STRIPS_CASE(6, 2)
        STRIPS_CASE(7, 2)
#endif
    default: FN(strips_tile)(p, part, v_at, y_at, FN(PIXELS_2), 2);
    }
}

/*
 * Pixels in tiles of nearly equal size. Where these are few and a panel of weights is long, some runs of all tiles at a time:
 * the tiles then meet the same weights in a near cache, and all of them, not the first alone, fetch the next ones.
 */
TARGET static void FN(strips_multiply)(const strips_product *p)
{
    const int most = p->group == 2 ? FN(PIXELS_2) : FN(PIXELS_1), tiles = (p->pixels + most - 1) / most;
    const int64_t step = (int64_t)p->group * FN(BLOCK), floats = p->runs * (int64_t)p->length * step;
    const int64_t long_parts = floats / PART_FLOATS < p->runs ? floats / PART_FLOATS : p->runs;
    const int64_t parts = tiles > 1 && tiles <= PART_TILES && long_parts > 1 ? long_parts : 1;
    _Alignas(64) float sums[PART_TILES * STRIPS_PIXELS * 2 * FN(BLOCK)];
    strips_part part = {.next_step = parts > 1 ? (step + tiles - 1) / tiles : step};
    for (int64_t k = 0; k < parts; k++) {
        int64_t run, run_end;
        ful__share(p->runs, parts, k, &run, &run_end);
        part.begins = k == 0;
        part.ends = k + 1 >= parts;
        part.run_at = p->run_at + run;
        part.runs = (int)(run_end - run);
        part.w = p->w + run * p->length * step;
        for (int i = 0, at = 0; i < tiles; i++) {
            const int pixels = (p->pixels - at) / (tiles - i);
            const int64_t length = (run_end - run) * p->length;
            part.next = part.w + (parts > 1 ? (length + i * length / tiles) * step : AHEAD * step);
            part.sums = sums + i * STRIPS_PIXELS * 2 * FN(BLOCK);
            if (p->group == 2)
                FN(strips_tile_2)(p, &part, p->v_at + at, p->y_at + at, pixels);
            else
                FN(strips_tile_1)(p, &part, p->v_at + at, p->y_at + at, pixels);
            at += pixels;
        }
    }
}

/* R values of a run of every pixel, times N blocks of dy. */
INLINE void FN(strips_outer)(const strips_product *p, int64_t at, float *dw, const int R, const int N)
{
    const int V = N * FN(PARTS);
    const float *v = p->v + at, *dy = p->dy;
    const int64_t block = p->y_block;
    vf sum[STRIPS_PIXELS * 2 * FN(PARTS)];
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) sum[i] = (vf){0};
    for (int q = 0; q < p->pixels; q++) {
        const float *a = v + p->v_at[q], *e = dy + p->y_at[q];
        vf w[2 * FN(PARTS)];
#pragma GCC unroll 4
        for (int n = 0; n < V; n++) w[n] = vload(e + n / FN(PARTS) * block + n % FN(PARTS) * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const vf one = vset(a[r]);
#pragma GCC unroll 4
            for (int n = 0; n < V; n++) sum[r * V + n] = vfma(one, w[n], sum[r * V + n]);
        }
    }
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) vstore(dw + i * LANES, vload(dw + i * LANES) + sum[i]);
}

#define STRIPS_OUTER(R, N) \
    case R: FN(strips_outer)(p, at, dw, R, N); return;

TARGET static void FN(strips_outer_1)(const strips_product *p, int64_t at, float *dw, int rows)
{
    switch (rows) {
        STRIPS_OUTER(1, 1)
        STRIPS_OUTER(2, 1)
        STRIPS_OUTER(3, 1)
#if LANES >= 8
        STRIPS_OUTER(4, 1)
        STRIPS_OUTER(5, 1)
        STRIPS_OUTER(6, 1)
        STRIPS_OUTER(7, 1)
#endif
    default: FN(strips_outer)(p, at, dw, FN(PIXELS_1), 1);
    }
}

TARGET static void FN(strips_outer_2)(const strips_product *p, int64_t at, float *dw, int rows)
{
    switch (rows) {
        STRIPS_OUTER(1, 2)
#if LANES >= 8
        STRIPS_OUTER(2, 2)
        STRIPS_OUTER(3, 2)
        STRIPS_OUTER(4, 2)
        STRIPS_OUTER(5, 2)
#endif
#if LANES == 16
        STRIPS_OUTER(6, 2)
        STRIPS_OUTER(7, 2)
#endif
    default: FN(strips_outer)(p, at, dw, FN(PIXELS_2), 2);
    }
}

/* Runs in parts of nearly equal size. */
TARGET static void FN(strips_weigh)(const strips_product *p)
{
    const int most = p->group == 2 ? FN(PIXELS_2) : FN(PIXELS_1), parts = (p->length + most - 1) / most;
    float *dw = p->dw;
    for (int run = 0; run < p->runs; run++)
        for (int i = 0, c = 0; i < parts; i++) {
            const int rows = (p->length - c) / (parts - i);
            if (p->group == 2)
                FN(strips_outer_2)(p, p->run_at[run] + c, dw, rows);
            else
                FN(strips_outer_1)(p, p->run_at[run] + c, dw, rows);
            c += rows;
            dw += rows * p->group * FN(BLOCK);
        }
}

/* `count` floats between `left` and `right` zeros; out has room for a vector more. */
TARGET static void FN(strips_copy)(const float *x, int64_t left, int64_t count, int64_t right, float *out)
{
    const vf zero = {0};
    int64_t i;
    for (i = 0; i < left; i += LANES) vstore(out + i, zero);
    out += left;
    for (i = 0; i + LANES <= count; i += LANES) vstore(out + i, vload(x + i));
    for (; i < count; i++) out[i] = x[i];
    out += count;
    for (i = 0; i < right; i += LANES) vstore(out + i, zero);
}

static const strips_kernels FN(kernels) = {FN(strips_multiply), FN(strips_weigh), FN(strips_copy)};
