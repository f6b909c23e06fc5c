/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the blocked product (blocked.h) for one CPU level; LANES is the channel block. */

/* R rows, N blocks of m: R N sums in registers, one value of v spread over the lanes at a time. */
INLINE void FN(product_rows)(const ful__blocked_product *p, const float *v, float *m, const int R, const int N)
{
    vf sum[PRODUCT_ROWS * 2];
    const float *from = p->w;
#pragma GCC unroll 32
    for (int i = 0; i < R * N; i++) sum[i] = (vf){0};
    for (int block = 0; block < p->blocks; block++, v += p->v_block) {
        for (int c = 0; c < LANES; c++, from += N * LANES) {
#pragma GCC unroll 2
            for (int n = 0; n < N; n++) __builtin_prefetch(from + (AHEAD * N + n) * LANES);
            vf w[2];
#pragma GCC unroll 2
            for (int n = 0; n < N; n++) w[n] = vload(from + n * LANES);
#pragma GCC unroll 32
            for (int r = 0; r < R; r++) {
                const vf a = vset(v[r * LANES + c]);
#pragma GCC unroll 2
                for (int n = 0; n < N; n++) sum[r * N + n] = vfma(a, w[n], sum[r * N + n]);
            }
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) vstore(m + n * p->m_block + r * LANES, sum[r * N + n]);
}

#define PRODUCT_CASE(R, N) \
    case R: FN(product_rows)(p, v, m, R, N); return;

TARGET static void FN(product_some_rows_1)(const ful__blocked_product *p, const float *v, float *m, int rows)
{
    switch ((rows + 3) / 4 * 4) {
        PRODUCT_CASE(4, 1)
        PRODUCT_CASE(8, 1)
#if LANES == 16
        PRODUCT_CASE(12, 1)
        PRODUCT_CASE(16, 1)
        PRODUCT_CASE(20, 1)
#endif
    default: FN(product_rows)(p, v, m, PRODUCT_ROWS, 1);
    }
}

TARGET static void FN(product_some_rows_2)(const ful__blocked_product *p, const float *v, float *m, int rows)
{
    switch ((rows + 1) / 2 * 2) {
        PRODUCT_CASE(2, 2)
        PRODUCT_CASE(4, 2)
#if LANES == 16
        PRODUCT_CASE(6, 2)
        PRODUCT_CASE(8, 2)
        PRODUCT_CASE(10, 2)
#endif
    default: FN(product_rows)(p, v, m, PRODUCT_ROWS / 2, 2);
    }
}

TARGET static void FN(multiply)(const ful__blocked_product *p)
{
    const int step = PRODUCT_ROWS / p->group;
    for (int r = 0; r < p->rows; r += step) {
        const int rows = p->rows - r < step ? p->rows - r : step;
        if (p->group == 1)
            FN(product_some_rows_1)(p, p->v + (int64_t)r * LANES, p->m + (int64_t)r * LANES, rows);
        else
            FN(product_some_rows_2)(p, p->v + (int64_t)r * LANES, p->m + (int64_t)r * LANES, rows);
    }
}
