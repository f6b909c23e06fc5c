/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution of one map [h][w][B] of B channels, LANES of them at a time: what depthwise_rows.h does not do.
 * Compiled once a CPU level.
 *
 * The rows of the source that an output row needs stand in a ring of K rows in the first-level cache, with zeros where the
 * padding would be. So the inner loops know no borders. Each vector of the ring serves up
 * to K taps of up to PIXELS outputs, whose sums stay in registers.
 */
#include "ops/simd_epilogue.h"

enum { FN(BLOCK) = LANES == 16 ? 16 : 8, FN(PIXELS) = LANES >= 8 ? 8 : 4 };

/* Where the source and the output of a walk lie for one tile of output columns. With gaps (up U = 2) the ring keeps the source
 * without them, and tiles begin at even columns. */
typedef struct FN(ring) {
    vf cell[DW_KERNEL_MAX][DW_CELLS];
    int next;        /* first row of the source that is not in it yet */
    int first, last; /* columns of the source that the tile reads: [first, last) */
    int at;          /* the cell of column `first` */
} FN(ring);

INLINE void FN(ring_start)(FN(ring) * ring, const dw_walk *w, int out, int count, const int K, const int S, const int U)
{
    const int begin = U == 2 ? out / 2 - w->pad_w / 2 : out * S - w->pad_w; /* column of the source in cell 0 */
    const int cells = U == 2 ? (count + 1) / 2 + K / 2 : (count - 1) * S + K;
    ring->next = 0;
    ring->first = begin <= 0 ? 0 : begin;
    ring->last = begin + cells < w->src_w ? begin + cells : w->src_w;
    ring->at = ring->first - begin;
    const int inside = ring->at + ring->last - ring->first;
    for (int k = 0; k < K; k++)
        for (int i = 0; i < cells; i++)
            if (i < ring->at || i >= inside) ring->cell[k][i] = (vf){0};
}

/* Brings in the source's rows up to `row`. */
INLINE void FN(ring_fill)(FN(ring) * ring, const dw_walk *w, const float *src, int row, const int K)
{
    const int last = row < w->src_h - 1 ? row : w->src_h - 1;
    for (; ring->next <= last; ring->next++) {
        vf *to = ring->cell[ring->next % K] + ring->at;
        const float *from = src + ((int64_t)ring->next * w->src_w + ring->first) * FN(BLOCK);
        const int count = ring->last - ring->first;
        for (int i = 0; i < count; i++) {
            to[i] = vload(from + i * FN(BLOCK));
            __builtin_prefetch(from + i * FN(BLOCK) + DW_AHEAD);
        }
    }
}

/* The rows of the ring that output row `out` reads, and the row of the kernel each meets; returns how many there are. */
INLINE int FN(ring_rows)(FN(ring) * ring, const dw_walk *w, const float *src, int out, const vf **rows, int *taps, const int K,
                         const int S, const int U)
{
    const int top = out * S - w->pad_h;
    int count = 0;
    FN(ring_fill)(ring, w, src, (top + K - 1) / U, K);
    for (int k = 0; k < K; k++) {
        const int row = top + k;
        if (row < 0 || row % U != 0 || row / U >= w->src_h) continue;
        rows[count] = ring->cell[row / U % K];
        taps[count++] = k;
    }
    return count;
}

/* Output columns a tile can have. */
INLINE int FN(tile)(const dw_walk *w, const int K, const int S, const int U)
{
    const int most = U == 2 ? 2 * (DW_CELLS - K) : (DW_CELLS - K) / S + 1;
    return w->out_w < most ? w->out_w : most;
}

/* out[i] = act(start + sum over the rows r and kx of rows[r][(at + i) S + kx] * weights[taps[r]][kx]), i < N; to far as well,
 * past the caches, where it is not NULL. */
INLINE void FN(pixels)(const vf *const *rows, const int *taps, int n_rows, const float *weights, vf start, float *out,
                       float *far, int at, const int N, const int K, const int S, ful_act act)
{
    vf sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) sum[i] = start;
    for (int r = 0; r < n_rows; r++) {
        const vf *x = rows[r] + at * S;
        const float *w = weights + taps[r] * K * FN(BLOCK);
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) {
            const vf tap = vload(w + kx * FN(BLOCK));
#pragma GCC unroll 8
            for (int i = 0; i < N; i++) sum[i] = vfma(x[i * S + kx], tap, sum[i]);
        }
    }
    FN(activate)(act, sum, N);
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstore(out + (at + i) * FN(BLOCK), sum[i]);
    if (!far) return;
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstream(far + (at + i) * FN(BLOCK), sum[i]);
}

/* A row of `count` outputs. */
INLINE void FN(slide_row)(const vf *const *rows, const int *taps, int n_rows, const float *weights, vf start, float *out,
                          float *far, int count, const int K, const int S, ful_act act)
{
    int i = 0;
    for (; i + FN(PIXELS) <= count; i += FN(PIXELS))
        FN(pixels)(rows, taps, n_rows, weights, start, out, far, i, FN(PIXELS), K, S, act);
    for (; i + 4 <= count; i += 4) FN(pixels)(rows, taps, n_rows, weights, start, out, far, i, 4, K, S, act);
    for (; i < count; i++) FN(pixels)(rows, taps, n_rows, weights, start, out, far, i, 1, K, S, act);
}

/* The same with gaps between the source's columns: output 2 j meets the taps E, E + 2, … and output 2 j + 1 the others, from
 * cell j on and from cell j + 1 - E on. E: 1 where the padding is odd. */
INLINE void FN(pixels_up)(const vf *const *rows, const int *taps, int n_rows, const float *weights, float *out, float *far,
                          int pair, const int N, const int K, const int E)
{
    vf sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) sum[i] = (vf){0};
    for (int r = 0; r < n_rows; r++) {
        const vf *x = rows[r] + pair;
        const float *w = weights + taps[r] * K * FN(BLOCK);
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) {
            const vf tap = vload(w + kx * FN(BLOCK));
            const int odd = (kx + E) % 2, from = odd ? (kx + 1 - E) / 2 : (kx - E) / 2;
#pragma GCC unroll 8
            for (int i = odd; i < N; i += 2) sum[i] = vfma(x[i / 2 + from], tap, sum[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstore(out + (2 * pair + i) * FN(BLOCK), sum[i]);
    if (!far) return;
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) vstream(far + (2 * pair + i) * FN(BLOCK), sum[i]);
}

INLINE void FN(slide_row_up)(const vf *const *rows, const int *taps, int n_rows, const float *weights, float *out, float *far,
                             int count, const int K, const int E)
{
    int i = 0;
    for (; i + 8 <= count; i += 8) FN(pixels_up)(rows, taps, n_rows, weights, out, far, i / 2, 8, K, E);
    for (; i + 2 <= count; i += 2) FN(pixels_up)(rows, taps, n_rows, weights, out, far, i / 2, 2, K, E);
    if (i < count) FN(pixels_up)(rows, taps, n_rows, weights, out, far, i / 2, 1, K, E);
}

INLINE void FN(slide_tiles)(const dw_walk *w, const float *src, const float *weights, vf start, float *out, float *far,
                            const int K, const int S, const int U, const int E, ful_act act)
{
    FN(ring) ring;
    const vf *rows[DW_KERNEL_MAX];
    int taps[DW_KERNEL_MAX];
    const int tile = FN(tile)(w, K, S, U);
    for (int x = 0; x < w->out_w; x += tile) {
        const int count = w->out_w - x < tile ? w->out_w - x : tile;
        FN(ring_start)(&ring, w, x, count, K, S, U);
        for (int y = 0; y < w->out_h; y++) {
            const int n_rows = FN(ring_rows)(&ring, w, src, y, rows, taps, K, S, U);
            const int64_t at = ((int64_t)y * w->out_w + x) * FN(BLOCK);
            float *to_far = far ? far + at : NULL;
            if (U == 2)
                FN(slide_row_up)(rows, taps, n_rows, weights, out + at, to_far, count, K, E);
            else
                FN(slide_row)(rows, taps, n_rows, weights, start, out + at, to_far, count, K, S, act);
        }
    }
}

/* A small map stands in the first-level cache as a whole, its padding around it: the board. */
INLINE bool FN(board_fits)(const dw_walk *w, const int K, const int S)
{
    return (int64_t)((w->out_w - 1) * S + K) * ((w->out_h - 1) * S + K) <= DW_BOARD;
}

INLINE void FN(board_fill)(vf *cell, const dw_walk *w, const float *src, const int K, const int S)
{
    const int width = (w->out_w - 1) * S + K, height = (w->out_h - 1) * S + K;
    const int first = w->pad_w, last = w->src_w + first < width ? w->src_w + first : width; /* cells of a row of the source */
    for (int y = 0; y < height; y++, cell += width) {
        const int row = y - w->pad_h;
        const bool empty = row < 0 || row >= w->src_h;
        for (int x = 0; x < (empty ? width : first); x++) cell[x] = (vf){0};
        if (empty) continue;
        const float *from = src + (int64_t)row * w->src_w * FN(BLOCK);
        for (int x = first; x < last; x++, from += FN(BLOCK)) cell[x] = vload(from);
        for (int x = last; x < width; x++) cell[x] = (vf){0};
    }
}

INLINE void FN(slide_board)(const dw_walk *w, const float *src, const float *weights, vf start, float *out, float *far,
                            const int K, const int S, ful_act act)
{
    vf cell[DW_BOARD];
    static const int taps[DW_KERNEL_MAX] = {0, 1, 2, 3, 4, 5, 6};
    const int width = (w->out_w - 1) * S + K;
    FN(board_fill)(cell, w, src, K, S);
    for (int y = 0; y < w->out_h; y++) {
        const vf *rows[DW_KERNEL_MAX];
        const int64_t at = (int64_t)y * w->out_w * FN(BLOCK);
#pragma GCC unroll 8
        for (int k = 0; k < K; k++) rows[k] = cell + (y * S + k) * width;
        FN(slide_row)(rows, taps, K, weights, start, out + at, far ? far + at : NULL, w->out_w, K, S, act);
    }
}

INLINE void FN(slide_map)(const dw_walk *w, const float *src, const float *weights, const float *bias, float *out, float *far,
                          const int K, const int S)
{
    const vf start = bias ? vload(bias) : (vf){0};
    if (FN(board_fits)(w, K, S))
        FN(slide_board)(w, src, weights, start, out, far, K, S, w->act);
    else
        FN(slide_tiles)(w, src, weights, start, out, far, K, S, 1, 0, w->act);
}

/* dx of a stride: no bias, no activation. */
INLINE void FN(slide_map_up)(const dw_walk *w, const float *src, const float *weights, float *out, float *far, const int K)
{
    if (w->pad_w % 2)
        FN(slide_tiles)(w, src, weights, (vf){0}, out, far, K, 1, 2, 1, FUL_ACT_NONE);
    else
        FN(slide_tiles)(w, src, weights, (vf){0}, out, far, K, 1, 2, 0, FUL_ACT_NONE);
}

/* sum[kx] += sum over i of x[i S + kx] * dy[i]: even and odd pixels apart, which hides the latency of the addition. */
INLINE void FN(weigh_row)(const vf *x, const float *dy, int count, float *sum, const int K, const int S)
{
    vf even[DW_KERNEL_MAX], odd[DW_KERNEL_MAX];
#pragma GCC unroll 8
    for (int kx = 0; kx < K; kx++) {
        even[kx] = vload(sum + kx * FN(BLOCK));
        odd[kx] = (vf){0};
    }
    int i = 0;
    for (; i + 4 <= count; i += 4)
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++) {
            const vf g = vload(dy + (i + j) * FN(BLOCK));
#pragma GCC unroll 8
            for (int kx = 0; kx < K; kx++) {
                vf *s = j % 2 ? &odd[kx] : &even[kx];
                *s = vfma(x[(i + j) * S + kx], g, *s);
            }
        }
    for (; i < count; i++) {
        const vf g = vload(dy + i * FN(BLOCK));
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) even[kx] = vfma(x[i * S + kx], g, even[kx]);
    }
#pragma GCC unroll 8
    for (int kx = 0; kx < K; kx++) vstore(sum + kx * FN(BLOCK), even[kx] + odd[kx]);
}

INLINE void FN(weigh_tiles)(const dw_walk *w, const float *x, const float *dy, float *sum, const int K, const int S)
{
    FN(ring) ring;
    const vf *rows[DW_KERNEL_MAX];
    int taps[DW_KERNEL_MAX];
    const int tile = FN(tile)(w, K, S, 1);
    for (int at = 0; at < w->out_w; at += tile) {
        const int count = w->out_w - at < tile ? w->out_w - at : tile;
        FN(ring_start)(&ring, w, at, count, K, S, 1);
        for (int y = 0; y < w->out_h; y++) {
            const int n_rows = FN(ring_rows)(&ring, w, x, y, rows, taps, K, S, 1);
            const float *g = dy + ((int64_t)y * w->out_w + at) * FN(BLOCK);
            for (int r = 0; r < n_rows; r++) FN(weigh_row)(rows[r], g, count, sum + taps[r] * K * FN(BLOCK), K, S);
        }
    }
}

INLINE void FN(weigh_board)(const dw_walk *w, const float *x, const float *dy, float *sum, const int K, const int S)
{
    vf cell[DW_BOARD];
    const int width = (w->out_w - 1) * S + K;
    FN(board_fill)(cell, w, x, K, S);
    for (int k = 0; k < K; k++) {
        vf total[DW_KERNEL_MAX], other[DW_KERNEL_MAX];
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) total[kx] = other[kx] = (vf){0};
        for (int y = 0; y < w->out_h; y++) {
            const vf *row = cell + (y * S + k) * width;
            const float *g = dy + (int64_t)y * w->out_w * FN(BLOCK);
            int i = 0;
            for (; i + 2 <= w->out_w; i += 2, g += 2 * FN(BLOCK)) {
                const vf even = vload(g), odd = vload(g + FN(BLOCK));
#pragma GCC unroll 8
                for (int kx = 0; kx < K; kx++) {
                    total[kx] = vfma(row[i * S + kx], even, total[kx]);
                    other[kx] = vfma(row[(i + 1) * S + kx], odd, other[kx]);
                }
            }
            if (i == w->out_w) continue;
            const vf even = vload(g);
#pragma GCC unroll 8
            for (int kx = 0; kx < K; kx++) total[kx] = vfma(row[i * S + kx], even, total[kx]);
        }
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) {
            float *to = sum + (k * K + kx) * FN(BLOCK);
            vstore(to, vload(to) + (total[kx] + other[kx]));
        }
    }
}

/* The columns low … high - 1 of one pixel, whose first column is x. */
INLINE void FN(weigh_pixel)(const float *x, int64_t pitch, const float *dy, vf *sum, const int low, const int high, const int R)
{
    const vf g = vload(dy);
#pragma GCC unroll 9
    for (int k = 0; k < 3 * R; k++)
        if (k % 3 >= low && k % 3 < high) sum[k] = vfma(vload(x + k / 3 * pitch + k % 3 * FN(BLOCK)), g, sum[k]);
}

/* Sends for S*S*n pixels of x, those that n of dy are the first to meet, DW_AHEAD before their use: three rows at once are more
 * than the hardware makes out. */
INLINE const float *FN(weigh_fetch)(const float *ahead, const int n, const int S)
{
#pragma GCC unroll 8
    for (int i = 0; i < S * S * n * FN(BLOCK); i += 16) __builtin_prefetch(ahead + i);
    return ahead + S * S * n * FN(BLOCK);
}

/* Two pixels: a column that both read is loaded once. */
INLINE void FN(weigh_pair)(const float *x, int64_t pitch, const float *dy, vf *sum, const int R, const int S)
{
    const vf g = vload(dy), next = vload(dy + FN(BLOCK));
#pragma GCC unroll 3
    for (int r = 0; r < R; r++)
#pragma GCC unroll 5
        for (int j = 0; j < S + 3; j++) {
            const vf column = vload(x + r * pitch + j * FN(BLOCK));
            if (j < 3) sum[r * 3 + j] = vfma(column, g, sum[r * 3 + j]);
            if (j >= S) sum[r * 3 + j - S] = vfma(column, next, sum[r * 3 + j - S]);
        }
}

/*
 * The smallest kernel's sums all stay in registers, and x is read where it lies. R: the rows of x there are for a row of dy, x
 * the first of them, sum that of the tap it meets. All columns are there, but for the first of the first pixel where `left`
 * says so, the last of the last where `right` does.
 */
INLINE void FN(weigh_inside)(const dw_walk *w, const float *x, const float *dy, int first, int end, bool left, bool right,
                             float *sum, const int R, const int S)
{
    const int64_t pitch = (int64_t)w->src_w * FN(BLOCK);
    const float *from = x + ((int64_t)first * S - w->pad_w) * FN(BLOCK), *g = dy + (int64_t)first * FN(BLOCK);
    const float *ahead = FN(weigh_fetch)(from + DW_AHEAD, 2, S);
    vf s[9];
#pragma GCC unroll 9
    for (int k = 0; k < 3 * R; k++) s[k] = vload(sum + k * FN(BLOCK));
    if (left) FN(weigh_pixel)(from, pitch, g, s, 1, 3, R);
    if (left) from += S * FN(BLOCK), g += FN(BLOCK);
    int i = first + left;
    for (; i + 2 <= end - right; i += 2, from += 2 * S * FN(BLOCK), g += 2 * FN(BLOCK)) {
        ahead = FN(weigh_fetch)(ahead, 2, S);
        FN(weigh_pair)(from, pitch, g, s, R, S);
        __asm__ volatile("" ::: "memory"); /* else columns are carried over to the next pair, on the stack */
    }
    for (; i < end - right; i++, from += S * FN(BLOCK), g += FN(BLOCK)) FN(weigh_pixel)(from, pitch, g, s, 0, 3, R);
    if (right) FN(weigh_pixel)(from, pitch, g, s, 0, 2, R);
#pragma GCC unroll 9
    for (int k = 0; k < 3 * R; k++) vstore(sum + k * FN(BLOCK), s[k]);
}

/* One pixel that lacks whatever columns. */
INLINE void FN(weigh_edge)(const dw_walk *w, const float *x, const float *dy, int i, float *sum, const int R, const int S)
{
    const int at = i * S - w->pad_w;
    const vf g = vload(dy + i * FN(BLOCK));
    for (int k = 0; k < 3 * R; k++) {
        const int column = at + k % 3;
        if (column < 0 || column >= w->src_w) continue;
        float *to = sum + k * FN(BLOCK);
        vstore(to, vfma(vload(x + ((int64_t)(k / 3) * w->src_w + column) * FN(BLOCK)), g, vload(to)));
    }
}

INLINE void FN(weigh_line)(const dw_walk *w, const float *x, const float *dy, float *sum, const int R, const int S)
{
    int first = (w->pad_w + S - 1) / S, end = w->src_w + w->pad_w >= 3 ? (w->src_w + w->pad_w - 3) / S + 1 : 0;
    if (first > w->out_w) first = w->out_w;
    if (end > w->out_w) end = w->out_w;
    if (end < first) end = first;
    const bool inside = first < end, left = inside && first == 1 && w->pad_w == 1;
    const bool right = inside && end == w->out_w - 1 && end * S - w->pad_w + 2 == w->src_w;
    first -= left;
    end += right;
    for (int i = 0; i < first; i++) FN(weigh_edge)(w, x, dy, i, sum, R, S);
    if (inside) FN(weigh_inside)(w, x, dy, first, end, left, right, sum, R, S);
    for (int i = end; i < w->out_w; i++) FN(weigh_edge)(w, x, dy, i, sum, R, S);
}

INLINE void FN(weigh_three)(const dw_walk *w, const float *x, const float *dy, float *sum, const int S)
{
    const int64_t pitch = (int64_t)w->src_w * FN(BLOCK);
    for (int y = 0; y < w->out_h; y++, dy += (int64_t)w->out_w * FN(BLOCK)) {
        const int top = y * S - w->pad_h, skip = top < 0 ? -top : 0, end = w->src_h - top < 3 ? w->src_h - top : 3;
        const float *from = x + (top + skip) * pitch;
        float *to = sum + skip * 3 * FN(BLOCK);
        if (end - skip == 3)
            FN(weigh_line)(w, from, dy, to, 3, S);
        else if (end - skip == 2)
            FN(weigh_line)(w, from, dy, to, 2, S);
        else if (end - skip == 1)
            FN(weigh_line)(w, from, dy, to, 1, S);
    }
}

INLINE void FN(weigh_map)(const dw_walk *w, const float *x, const float *dy, float *sum, const int K, const int S)
{
    if (K == 3)
        FN(weigh_three)(w, x, dy, sum, S);
    else if (FN(board_fits)(w, K, S))
        FN(weigh_board)(w, x, dy, sum, K, S);
    else
        FN(weigh_tiles)(w, x, dy, sum, K, S);
}

/* Every lane of a block: the base level takes it in parts. */
#define FOR_PARTS for (int part = 0; part < FN(BLOCK); part += LANES)

INLINE void FN(slide_block)(const dw_walk *w, const float *src, const float *weights, const float *bias, float *out, float *far,
                            const int K, const int S)
{
    FOR_PARTS FN(slide_map)(w, src + part, weights + part, bias ? bias + part : NULL, out + part, far ? far + part : NULL, K,
                            S);
}

INLINE void FN(slide_block_up)(const dw_walk *w, const float *src, const float *weights, float *out, float *far, const int K)
{
    FOR_PARTS FN(slide_map_up)(w, src + part, weights + part, out + part, far ? far + part : NULL, K);
}

static TARGET void FN(slide)(const dw_walk *w, const float *src, const float *weights, const float *bias, float *out,
                             float *far)
{
    if (w->up == 2 && w->kernel == 3)
        FN(slide_block_up)(w, src, weights, out, far, 3);
    else if (w->up == 2)
        FN(slide_block_up)(w, src, weights, out, far, 5);
    else
        FN(slide_block)(w, src, weights, bias, out, far, 7, 1);
    if (far) vfence();
}

INLINE void FN(weigh_block)(const dw_walk *w, const float *x, const float *dy, float *sum, const int K, const int S)
{
    FOR_PARTS FN(weigh_map)(w, x + part, dy + part, sum + part, K, S);
}

static TARGET void FN(weigh)(const dw_walk *w, const float *x, const float *dy, float *sum)
{
    if (w->kernel == 3 && w->step == 1)
        FN(weigh_block)(w, x, dy, sum, 3, 1);
    else if (w->kernel == 3)
        FN(weigh_block)(w, x, dy, sum, 3, 2);
    else if (w->kernel == 7)
        FN(weigh_block)(w, x, dy, sum, 7, 1);
    else if (w->step == 1)
        FN(weigh_block)(w, x, dy, sum, 5, 1);
    else
        FN(weigh_block)(w, x, dy, sum, 5, 2);
}

/* sum += the sum of dy over its pixels */
static TARGET void FN(total)(const float *dy, int64_t pixels, float *sum)
{
    FOR_PARTS
    {
        vf s = {0};
        for (int64_t i = 0; i < pixels; i++) s += vload(dy + part + i * FN(BLOCK));
        vstore(sum + part, vload(sum + part) + s);
    }
}

#undef FOR_PARTS

static const dw_kernels FN(kernels) = {FN(slide), FN(weigh), FN(total)};
