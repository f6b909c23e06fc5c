/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the blocked product (blocked.h) for one CPU level. A block of channels is one vector, at the base level two. */
#include "ops/simd_epilogue.h"

enum { FN(BLOCK) = LANES == 16 ? 16 : 8, FN(PARTS) = FN(BLOCK) / LANES };

/* Of sum i: where it lies in m, if blocks of m are `block` floats apart. */
INLINE int64_t FN(product_at)(int64_t block, const int i, const int V)
{
    return i % V / FN(PARTS) * block + i / V * FN(BLOCK) + i % FN(PARTS) * LANES;
}

/* R rows, N blocks of m: their sums stay in registers, one value of v spread over the lanes at a time. */
INLINE void FN(product_rows)(const ful__blocked_product *p, const float *v, float *m, const int R, const int N)
{
    const int V = N * FN(PARTS);
    const int64_t v_block = p->v_block, m_block = p->m_block;
    const float *from = p->w, *residual = p->residual, *const v_first = v;
    vf sum[PRODUCT_SUMS], w[2 * FN(PARTS)] = {0};
    if (p->bias)
#pragma GCC unroll 4
        for (int n = 0; n < V; n++) w[n] = vload(p->bias + n * LANES);
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) sum[i] = w[i % V];
    for (int block = 0; block < p->blocks; block++, v += v_block) {
#pragma GCC unroll 4
        for (int c = 0; c < FN(BLOCK); c++, from += V * LANES) {
#pragma GCC unroll 4
            for (int n = 0; n < V; n += LINE / LANES) __builtin_prefetch(from + (AHEAD * V + n) * LANES);
#pragma GCC unroll 4
            for (int n = 0; n < V; n++) w[n] = vload(from + n * LANES);
#pragma GCC unroll 32
            for (int r = 0; r < R; r++) {
                const vf a = vset(v[r * FN(BLOCK) + c]);
#pragma GCC unroll 4
                for (int n = 0; n < V; n++) sum[r * V + n] = vfma(a, w[n], sum[r * V + n]);
            }
        }
    }
    if (residual)
#pragma GCC unroll 32
        for (int i = 0; i < R * V; i++) sum[i] += vload(residual + (m - p->m) + FN(product_at)(m_block, i, V));
    FN(activate)(p->act, sum, R * V);
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) vstore(m + FN(product_at)(m_block, i, V), sum[i]);
    if (!p->far) return;
    float *far = p->far + (v_first - p->v);
#pragma GCC unroll 32
    for (int i = 0; i < R * V; i++) vstream(far + FN(product_at)(p->far_block, i, V), sum[i]);
}

#define PRODUCT_CASE(R, N) \
    case R: FN(product_rows)(p, v, m, R, N); return;

TARGET static void FN(product_some_rows_1)(const ful__blocked_product *p, const float *v, float *m, int rows)
{
    switch (rows) {
        PRODUCT_CASE(1, 1)
        PRODUCT_CASE(2, 1)
        PRODUCT_CASE(3, 1)
#if LANES >= 8
        PRODUCT_CASE(4, 1)
        PRODUCT_CASE(5, 1)
        PRODUCT_CASE(6, 1)
        PRODUCT_CASE(7, 1)
        PRODUCT_CASE(8, 1)
        PRODUCT_CASE(9, 1)
        PRODUCT_CASE(10, 1)
        PRODUCT_CASE(11, 1)
#endif
#if LANES == 16
        PRODUCT_CASE(12, 1)
        PRODUCT_CASE(13, 1)
        PRODUCT_CASE(14, 1)
        PRODUCT_CASE(15, 1)
        PRODUCT_CASE(16, 1)
        PRODUCT_CASE(17, 1)
        PRODUCT_CASE(18, 1)
        PRODUCT_CASE(19, 1)
        PRODUCT_CASE(20, 1)
        PRODUCT_CASE(21, 1)
        PRODUCT_CASE(22, 1)
        PRODUCT_CASE(23, 1)
#endif
    default: FN(product_rows)(p, v, m, PRODUCT_SUMS / FN(PARTS), 1);
    }
}

TARGET static void FN(product_some_rows_2)(const ful__blocked_product *p, const float *v, float *m, int rows)
{
    switch (rows) {
        PRODUCT_CASE(1, 2)
#if LANES >= 8
        PRODUCT_CASE(2, 2)
        PRODUCT_CASE(3, 2)
        PRODUCT_CASE(4, 2)
        PRODUCT_CASE(5, 2)
#endif
#if LANES == 16
        PRODUCT_CASE(6, 2)
        PRODUCT_CASE(7, 2)
        PRODUCT_CASE(8, 2)
        PRODUCT_CASE(9, 2)
        PRODUCT_CASE(10, 2)
        PRODUCT_CASE(11, 2)
#endif
    default: FN(product_rows)(p, v, m, PRODUCT_SUMS / FN(PARTS) / 2, 2);
    }
}

/* Rows in tiles of nearly equal size. */
TARGET static void FN(multiply)(const ful__blocked_product *p)
{
    const int most = PRODUCT_SUMS / FN(PARTS) / p->group, tiles = (p->rows + most - 1) / most;
    for (int i = 0, r = 0; i < tiles; i++) {
        const int rows = (p->rows - r) / (tiles - i);
        const int64_t at = (int64_t)r * FN(BLOCK);
        if (p->group == 1)
            FN(product_some_rows_1)(p, p->v + at, p->m + at, rows);
        else
            FN(product_some_rows_2)(p, p->v + at, p->m + at, rows);
        r += rows;
    }
    if (p->far) vfence();
}

/* R rows and N blocks of columns of the outer product. */
INLINE void FN(outer_rows)(const ful__blocked_outer *p, const float *v, const float *e, float *out, const int R, const int N)
{
    vf sum[16];
#pragma GCC unroll 16
    for (int i = 0; i < R * N; i++) sum[i] = p->add ? vload(out + (i / N) * p->width + (i % N) * LANES) : (vf){0};
    for (int r = 0; r < p->rows; r++, v += LANES, e += LANES) {
        vf w[3];
#pragma GCC unroll 3
        for (int n = 0; n < N; n++) w[n] = vload(e + n * p->e_block);
#pragma GCC unroll 16
        for (int c = 0; c < R; c++) {
            const vf a = vset(v[c]);
#pragma GCC unroll 3
            for (int n = 0; n < N; n++) sum[c * N + n] = vfma(a, w[n], sum[c * N + n]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < R * N; i++) vstore(out + (i / N) * p->width + (i % N) * LANES, sum[i]);
}

/* All rows of N blocks of columns from block d on. */
INLINE void FN(outer_columns)(const ful__blocked_outer *p, int d, const int R, const int N)
{
    const float *e = p->e + d * p->e_block;
    for (int c = 0; c < p->v_blocks * LANES; c += R)
        FN(outer_rows)(p, p->v + c / LANES * p->v_block + c % LANES, e, p->out + c * p->width + d * LANES, R, N);
}

/* With 16 registers, three blocks of columns: twelve sums hide the latency of an addition, eight just about. */
TARGET static void FN(multiply_outer)(const ful__blocked_outer *p)
{
    int d = 0;
    for (int left = p->e_blocks; left > 0; left = p->e_blocks - d) {
        if (LANES == 8 && left >= 3 && left != 4) {
            FN(outer_columns)(p, d, OUTER_ROWS, 3);
            d += 3;
        } else if (left >= 2) {
            FN(outer_columns)(p, d, OUTER_ROWS, 2);
            d += 2;
        } else {
            FN(outer_columns)(p, d, OUTER_ROWS_1, 1);
            d += 1;
        }
    }
}
