/* SPDX-License-Identifier: Apache-2.0 */
/* Columns times weights. y may be x, dx may be dy. Compiled once a CPU level. */
#include "ops/simd_strips.h"

INLINE void FN(forward_strip)(const float *x, int64_t rows, int width, const float *w, float *y, const int nv, const int tail)
{
    vf scale[4];
    FN(channels)(scale, w, nv, tail);
    for (int64_t at = 0; at < rows * width; at += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vput(y + at + v * LANES, vget(x + at + v * LANES, tail) * scale[v], tail);
}

static TARGET void FN(forward)(const float *x, int64_t rows, int width, const float *w, float *y)
{
    int col = 0;
    for (; col + 4 * LANES <= width; col += 4 * LANES) FN(forward_strip)(x + col, rows, width, w + col, y + col, 4, 0);
    for (; col + LANES <= width; col += LANES) FN(forward_strip)(x + col, rows, width, w + col, y + col, 1, 0);
    if (col < width) FN(forward_strip)(x + col, rows, width, w + col, y + col, 1, width - col);
}

INLINE void FN(backward_strip)(const float *x, const float *dy, int64_t rows, int width, const float *w, float *dx, double *dw,
                               int col, const int nv, const int tail)
{
    vf scale[4], sum[4] = {{0}};
    FN(channels)(scale, w + col, nv, tail);
    for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t at = r * width + col + v * LANES;
            const vf g = vget(dy + at, tail);
            if (dw) sum[v] += g * vget(x + at, tail);
            if (dx) vput(dx + at, g * scale[v], tail);
        }
    if (dw) FN(flush)(dw + col, sum, nv, 1, tail);
}

static TARGET void FN(backward)(const float *x, const float *dy, int64_t rows, int width, const float *w, float *dx, double *dw)
{
    int col = 0;
    for (; col + 4 * LANES <= width; col += 4 * LANES) FN(backward_strip)(x, dy, rows, width, w, dx, dw, col, 4, 0);
    for (; col + LANES <= width; col += LANES) FN(backward_strip)(x, dy, rows, width, w, dx, dw, col, 1, 0);
    if (col < width) FN(backward_strip)(x, dy, rows, width, w, dx, dw, col, 1, width - col);
}

static const scale_kernels FN(kernels) = {FN(forward), FN(backward)};
