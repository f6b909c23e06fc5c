/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of depthwise_rows.h. Compiled once a CPU level.
 *
 * N outputs of a row at a time: of each source row, the columns they read are loaded once, and each meets all the taps that it
 * has a part in. Rows and columns beyond the map are left out; that depends on where an output lies alone, and so do its bits.
 */
#include "ops/simd_epilogue.h"

enum { FN(BLOCK) = LANES == 16 ? 16 : 8, FN(PIXELS) = LANES >= 8 ? 8 : 4 };

/* A row of outputs: the first source row that is there, the taps that meet it, and how many rows there are. */
typedef struct FN(rows_line) {
    const float *x, *w;
    int rows;
    vf start;
    float *out;
} FN(rows_line);

/* sum[i] += x[i S + kx] * tap[kx], of the columns `low` … `high` - 1. */
INLINE void FN(rows_add)(vf *sum, const float *x, const float *w, const int low, const int high, const int N, const int K,
                         const int S)
{
    vf tap[FUL__ROWS_KERNEL_MAX];
#pragma GCC unroll 8
    for (int kx = 0; kx < K; kx++) tap[kx] = vload(w + kx * FN(BLOCK));
#pragma GCC unroll 32
    for (int j = 0; j < (N - 1) * S + K; j++) {
        if (j < low || j >= high) continue;
        const vf column = vhold(vload(x + j * FN(BLOCK)));
#pragma GCC unroll 8
        for (int kx = K - 1; kx >= 0; kx--)
            if (j >= kx && (j - kx) % S == 0 && (j - kx) / S < N) sum[(j - kx) / S] = vfma(column, tap[kx], sum[(j - kx) / S]);
    }
}

/* Outputs at … at + N - 1, of whose columns `low` … `high` - 1 are there. */
INLINE void FN(rows_pixels)(const ful__depthwise_rows *p, const FN(rows_line) * line, int at, const int low, const int high,
                            const int N, const int K, const int S)
{
    const float *x = line->x + ((int64_t)at * S - p->pad_w) * FN(BLOCK), *w = line->w;
    vf sum[FN(PIXELS)];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) sum[i] = line->start;
    for (int ky = 0; ky < line->rows; ky++, x += p->x_pitch, w += K * FN(BLOCK)) FN(rows_add)(sum, x, w, low, high, N, K, S);
    float *out = line->out + (int64_t)at * FN(BLOCK);
    FN(activate)(p->act, sum, N);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstore(out + i * FN(BLOCK), sum[i]);
    if (!p->far) return;
    float *far = p->far + (out - p->out);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstream(far + i * FN(BLOCK), sum[i]);
}

/* … with `high` one of the three there can be with the usual padding K / 2, and so known to the compiler. */
INLINE bool FN(rows_known)(const ful__depthwise_rows *p, const FN(rows_line) * line, int at, const int low, int high,
                           const int N, const int K, const int S)
{
    const int columns = (N - 1) * S + K;
    if (high == columns)
        FN(rows_pixels)(p, line, at, low, columns, N, K, S);
    else if (high == columns - 1)
        FN(rows_pixels)(p, line, at, low, columns - 1, N, K, S);
    else if (K == 5 && high == columns - 2)
        FN(rows_pixels)(p, line, at, low, columns - 2, N, K, S);
    else
        return false;
    return true;
}

INLINE void FN(rows_some)(const ful__depthwise_rows *p, const FN(rows_line) * line, int at, const int N, const int K,
                          const int S)
{
    const int columns = (N - 1) * S + K, first = at * S - p->pad_w;
    const int low = first < 0 ? -first : 0, high = p->x_w - first < columns ? p->x_w - first : columns;
    if (N > 1 && low == 0 && FN(rows_known)(p, line, at, 0, high, N, K, S)) return;
    if (N > 1 && low == K / 2 && FN(rows_known)(p, line, at, K / 2, high, N, K, S)) return;
    for (int i = 0; i < N; i++) {
        const int skip = low > i * S ? low - i * S : 0, end = high - i * S < K ? high - i * S : K;
        FN(rows_pixels)(p, line, at + i, skip, end, 1, K, S);
    }
}

/* The last N of a row may be among those before: they come out the same again. */
INLINE void FN(rows_row)(const ful__depthwise_rows *p, const FN(rows_line) * line, const int N, const int K, const int S)
{
    for (int at = 0; at < p->y_w; at += N) FN(rows_some)(p, line, at + N <= p->y_w ? at : p->y_w - N, N, K, S);
}

INLINE void FN(rows_map)(const ful__depthwise_rows *p, int part, const int K, const int S)
{
    FN(rows_line) line = {.start = p->bias ? vload(p->bias + part) : (vf){0}};
    for (int y = p->first; y < p->end; y++) {
        const int64_t to = (int64_t)(y - p->first) * p->y_w * FN(BLOCK) + part;
        line.out = p->out + to;
        const int top = y * S - p->pad_h, skip = top < 0 ? -top : 0, end = p->x_h - top < K ? p->x_h - top : K;
        line.x = p->x + (top + skip) * p->x_pitch + part;
        line.w = p->w + (int64_t)skip * K * FN(BLOCK) + part;
        line.rows = end - skip;
        if (p->y_w >= FN(PIXELS))
            FN(rows_row)(p, &line, FN(PIXELS), K, S);
        else if (p->y_w >= FN(PIXELS) / 2)
            FN(rows_row)(p, &line, FN(PIXELS) / 2, K, S);
        else
            FN(rows_row)(p, &line, 1, K, S);
    }
}

/* Every lane of a block: the base level takes it in parts. */
static TARGET void FN(convolve)(const ful__depthwise_rows *p)
{
    for (int part = 0; part < FN(BLOCK); part += LANES) {
        if (p->kernel == 3 && p->stride == 1)
            FN(rows_map)(p, part, 3, 1);
        else if (p->kernel == 3)
            FN(rows_map)(p, part, 3, 2);
        else if (p->stride == 1)
            FN(rows_map)(p, part, 5, 1);
        else
            FN(rows_map)(p, part, 5, 2);
    }
    if (p->far) vfence();
}
