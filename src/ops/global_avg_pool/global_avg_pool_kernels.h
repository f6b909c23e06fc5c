/* SPDX-License-Identifier: Apache-2.0 */
/* The mean of the rows of a matrix, and its gradient. Compiled once a CPU level. */
#include "ops/simd_strips.h"

/* y[j] = sum over rows of x[row][j] / rows; sums of 1,024 rows, then sums of those. */
INLINE void FN(mean_strip)(const float *x, int64_t rows, int width, float *y, const int nv, const int unroll, const int tail)
{
    vf total[4] = {{0}};
    for (int64_t begin = 0; begin < rows; begin += 1024) {
        const int64_t end = rows - begin < 1024 ? rows : begin + 1024;
        vf sum[4] = {{0}};
        int64_t r = begin;
        for (; r + unroll <= end; r += unroll)
#pragma GCC unroll 4
            for (int k = 0; k < nv * unroll; k++) sum[k] += vget(x + (r + k / nv) * width + k % nv * LANES, tail);
        for (; r < end; r++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[v] += vget(x + r * width + v * LANES, tail);
        FN(fold)(sum, nv, unroll);
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) total[v] += sum[v];
    }
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) vput(y + v * LANES, total[v] / (float)rows, tail);
}

static TARGET void FN(forward)(const float *x, int64_t rows, int width, float *y)
{
    int col = 0;
    for (; col + 4 * LANES <= width; col += 4 * LANES) FN(mean_strip)(x + col, rows, width, y + col, 4, 1, 0);
    for (; col + 2 * LANES <= width; col += 2 * LANES) FN(mean_strip)(x + col, rows, width, y + col, 2, 2, 0);
    for (; col + LANES <= width; col += LANES) FN(mean_strip)(x + col, rows, width, y + col, 1, 4, 0);
    if (col < width) FN(mean_strip)(x + col, rows, width, y + col, 1, 1, width - col);
}

/* dx[row][j] = dy[j] / rows */
INLINE void FN(spread_strip)(const float *dy, int64_t rows, int width, float *dx, const int nv, const int tail)
{
    vf g[4];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) g[v] = vget(dy + v * LANES, tail) / (float)rows;
    for (int64_t r = 0; r < rows; r++, dx += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vput(dx + v * LANES, g[v], tail);
}

static TARGET void FN(backward)(const float *dy, int64_t rows, int width, float *dx)
{
    int col = 0;
    for (; col + 4 * LANES <= width; col += 4 * LANES) FN(spread_strip)(dy + col, rows, width, dx + col, 4, 0);
    for (; col + LANES <= width; col += LANES) FN(spread_strip)(dy + col, rows, width, dx + col, 1, 0);
    if (col < width) FN(spread_strip)(dy + col, rows, width, dx + col, 1, width - col);
}

static const gap_kernels FN(kernels) = {FN(forward), FN(backward)};
