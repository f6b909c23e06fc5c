/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 micro-kernel: up to 14 rows x 32 columns, so that 28 sums, 2 columns of B and one value of A fill 31 of the 32
 * registers and 28 independent chains hide the latency of 2 x 4 fused multiply-adds.
 */
#if defined(__x86_64__)
#include "ops/gemm/gemm_level.h"
#include "ops/x86.h"

enum { MR = 14, NR = 32, STRIP = 16, VECTOR = 16, KC = 192, TILES = 20, FETCH_AHEAD = 12 };

#define TARGET FUL__AVX512
#include "ops/gemm/gemm_copies.h"

/* One line of code for each row. R is a constant wherever tile_avx512 is inlined, so rows beyond it vanish. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

#define DECLARE(i)   __m512 l##i = zero, r##i = zero;
#define FROM_BIAS(i) l##i = bias_l, r##i = bias_r;
#define FROM_C(i)                                                     \
    if (R > i) {                                                      \
        l##i = _mm512_maskz_loadu_ps(mask_l, t->c + i * t->ldc);      \
        r##i = _mm512_maskz_loadu_ps(mask_r, t->c + i * t->ldc + 16); \
    }
#define STEP(i)                                \
    if (R > i) {                               \
        const __m512 v = _mm512_set1_ps(a[i]); \
        l##i = _mm512_fmadd_ps(v, b_l, l##i);  \
        r##i = _mm512_fmadd_ps(v, b_r, r##i);  \
    }
/* A step of all rows; the tile of A, which may be longer than the L1 cache has room for, comes into it some steps ahead. */
#define STEPS                                                             \
    _mm_prefetch((const char *)(a + FETCH_AHEAD * STRIP), _MM_HINT_T0);   \
    const __m512 b_l = _mm512_loadu_ps(b), b_r = _mm512_loadu_ps(b + 16); \
    EACH_ROW(STEP)
#define COPY(p) _mm512_store_ps(copy + (p)*NR, b_l), _mm512_store_ps(copy + (p)*NR + 16, b_r)
/* A line of 64 bytes into the L2 cache. (A macro: compilers drop calls to a function that does nothing but prefetch.) */
#define FETCH(from) _mm_prefetch((const char *)(from), _MM_HINT_T1)
#define TO_C(i)                                                      \
    if (R > i) {                                                     \
        _mm512_mask_storeu_ps(t->c + i * t->ldc, mask_l, l##i);      \
        _mm512_mask_storeu_ps(t->c + i * t->ldc + 16, mask_r, r##i); \
    }

/* The first n of 16 lanes; none for n <= 0. */
TARGET static inline __mmask16 lanes(int n)
{
    if (n <= 0) return 0;
    return (__mmask16)((1u << (n < 16 ? n : 16)) - 1u);
}

/* Lines are fetched step by step, because a burst would hold up the loads of the steps. Inlined for each number of rows. */
TARGET static inline __attribute__((always_inline)) void tile_avx512(const ful__gemm_tile *t, const int R, const bool copies)
{
    const __mmask16 mask_l = lanes(t->cols), mask_r = lanes(t->cols - 16);
    const __m512 zero = _mm512_setzero_ps();
    EACH_ROW(DECLARE)
    if (t->start == FUL__GEMM_FROM_C) {
        EACH_ROW(FROM_C)
        for (int64_t i = t->k; i < 2 * R; i++) FETCH(t->next_c + t->next_c_at[i]);
    } else if (t->start == FUL__GEMM_FROM_BIAS) {
        const __m512 bias_l = _mm512_maskz_loadu_ps(mask_l, t->bias), bias_r = _mm512_maskz_loadu_ps(mask_r, t->bias + 16);
        EACH_ROW(FROM_BIAS)
    }
    const float *a = t->a, *b = t->b;
    float *copy = t->b_copy;
    const int64_t fetches = t->c_fetches > t->fetches ? t->c_fetches : t->fetches;
    for (int64_t p = 0; p < fetches; p++, a += STRIP, b += t->b_stride) {
        FETCH(t->next_c + t->next_c_at[p]);
        FETCH(t->next + t->next_at[p]);
        STEPS
        if (copies) COPY(p);
    }
    for (int64_t p = fetches; p < t->k; p++, a += STRIP, b += t->b_stride) {
        STEPS
        if (copies) COPY(p);
    }
    EACH_ROW(TO_C)
}

#define CASE(n) \
    case n: tile_avx512(t, n, copies); break;

TARGET static inline __attribute__((always_inline)) void run_rows(const ful__gemm_tile *t, const bool copies)
{
    switch (t->rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
    default: tile_avx512(t, MR, copies);
    }
}

TARGET static void run_tile(const ful__gemm_tile *t)
{
    if (t->b_copy)
        run_rows(t, true);
    else
        run_rows(t, false);
}

#include "ops/gemm/gemm_tiles.h"

/* 16 x 16 in registers: pairs, then fours, then quarters of a register change places. Unrolled, or x would lie in memory. */
TARGET static inline __attribute__((always_inline)) void square_avx512(__m512 x[16])
{
    __m512 y[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const __m512d low = _mm512_castps_pd(y[i + j]), high = _mm512_castps_pd(y[i + j + 2]);
            x[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            x[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
#pragma GCC unroll 2
    for (int i = 0; i < 16; i += 8)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            y[i + j] = _mm512_shuffle_f32x4(x[i + j], x[i + j + 4], 0x88);
            y[i + j + 4] = _mm512_shuffle_f32x4(x[i + j], x[i + j + 4], 0xdd);
        }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        x[j] = _mm512_shuffle_f32x4(y[j], y[j + 8], 0x88);
        x[j + 8] = _mm512_shuffle_f32x4(y[j], y[j + 8], 0xdd);
    }
}

TARGET static inline __attribute__((always_inline)) void squares_avx512(float *to, int64_t stride, const float *const *line,
                                                                        const int count, int64_t k)
{
    for (int64_t p = 0; p < k; p += 16, to += 16 * stride) {
        const int64_t left = k - p;
        const __mmask16 there = lanes(left < 16 ? (int)left : 16);
        __m512 x[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) x[i] = i < count ? _mm512_maskz_loadu_ps(there, line[i] + p) : _mm512_setzero_ps();
        square_avx512(x);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            if (i < left) _mm512_storeu_ps(to + i * stride, x[i]);
    }
}

TARGET static void transpose_avx512(float *to, int64_t stride, const float *const *line, int count, int64_t k)
{
    if (count == 16)
        squares_avx512(to, stride, line, 16, k);
    else
        squares_avx512(to, stride, line, count, k);
}

const ful__gemm_level ful__gemm_avx512 = {
    .name = "avx512",
    .mr = MR,
    .nr = NR,
    .strip = STRIP,
    .kc = KC,
    .tiles = TILES,
    .fetches_packed = true,
    .run = run_tiles,
    .lanes = 16,
    .transpose = transpose_avx512,
    .copy_panel = copy_panel,
    .copy_strips = copy_strips,
    .sum_strips = sum_strips,
};

#else
typedef int ful__gemm_avx512_is_x86_only;
#endif
