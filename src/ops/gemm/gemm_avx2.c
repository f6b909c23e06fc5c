/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 + FMA micro-kernel: up to 6 rows x 16 columns; 12 sums, 2 columns of B and one value of A fill 15 of the 16 registers.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "ops/gemm/gemm_level.h"

enum { MR = 6, NR = 16 };

#define AVX2 __attribute__((target("avx2,fma")))

/* One line of code for each row. R is a constant wherever tile_avx2 is inlined, so rows beyond it vanish. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)

#define DECLARE(i)   __m256 l##i = zero, r##i = zero;
#define FROM_BIAS(i) l##i = bias_l, r##i = bias_r;
#define FROM_C(i)                                                 \
    if (R > i) {                                                  \
        l##i = _mm256_maskload_ps(t->c + i * t->ldc, mask_l);     \
        r##i = _mm256_maskload_ps(t->c + i * t->ldc + 8, mask_r); \
    }
#define STEP(i)                                      \
    if (R > i) {                                     \
        const __m256 v = _mm256_broadcast_ss(a + i); \
        l##i = _mm256_fmadd_ps(v, b_l, l##i);        \
        r##i = _mm256_fmadd_ps(v, b_r, r##i);        \
    }
/* A step of all rows. */
#define STEPS                                                            \
    const __m256 b_l = _mm256_loadu_ps(b), b_r = _mm256_loadu_ps(b + 8); \
    EACH_ROW(STEP)
/* A line of 64 bytes into the L2 cache. (A macro: compilers drop calls to a function that does nothing but prefetch.) */
#define FETCH(from) _mm_prefetch((const char *)(from), _MM_HINT_T1)
#define TO_C(i)                                                   \
    if (R > i) {                                                  \
        _mm256_maskstore_ps(t->c + i * t->ldc, mask_l, l##i);     \
        _mm256_maskstore_ps(t->c + i * t->ldc + 8, mask_r, r##i); \
    }

/* The first n of 8 lanes; none for n <= 0. */
AVX2 static inline __m256i lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Lines are fetched step by step, because a burst would hold up the loads of the steps. Inlined for each number of rows. */
AVX2 static inline __attribute__((always_inline)) void tile_avx2(const ful__gemm_tile *t, const int R)
{
    const __m256i mask_l = lanes(t->cols), mask_r = lanes(t->cols - 8);
    const __m256 zero = _mm256_setzero_ps();
    EACH_ROW(DECLARE)
    if (t->start == FUL__GEMM_FROM_C) {
        EACH_ROW(FROM_C)
        for (int64_t i = t->k; i < R; i++) FETCH(t->next_c + t->next_c_at[i]);
    } else if (t->start == FUL__GEMM_FROM_BIAS) {
        const __m256 bias_l = _mm256_maskload_ps(t->bias, mask_l), bias_r = _mm256_maskload_ps(t->bias + 8, mask_r);
        EACH_ROW(FROM_BIAS)
    }
    const float *a = t->a, *b = t->b;
    for (int64_t p = 0; p < t->fetches; p++, a += FUL__GEMM_LANES, b += t->b_stride) {
        FETCH(t->next_c + t->next_c_at[p]);
        FETCH(t->next_b + t->next_b_at[p]);
        STEPS
    }
    for (int64_t p = t->fetches; p < t->k; p++, a += FUL__GEMM_LANES, b += t->b_stride) {
        STEPS
    }
    EACH_ROW(TO_C)
}

#define CASE(n) \
    case n: tile_avx2(t, n); break;

AVX2 static void run_avx2(const ful__gemm_tile *t)
{
    switch (t->rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
    default: tile_avx2(t, MR);
    }
}

/* 8 x 8 in registers: pairs, then fours, then halves of a register change places. */
AVX2 static inline __attribute__((always_inline)) void square_avx2(__m256 x[8])
{
    __m256 y[8];
    for (int i = 0; i < 8; i += 2) {
        y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            const __m256d low = _mm256_castps_pd(y[i + j]), high = _mm256_castps_pd(y[i + j + 2]);
            x[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
            x[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
        }
    for (int j = 0; j < 4; j++) {
        const __m256 low = x[j], high = x[j + 4];
        x[j] = _mm256_permute2f128_ps(low, high, 0x20);
        x[j + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

AVX2 static void transpose_avx2(float *to, int64_t stride, const float *const *line, int count, int64_t k)
{
    for (int half = 0; half < 2; half++, to += 8, line += 8, count -= 8)
        for (int64_t p = 0; p < k; p += 8) {
            const int rows = k - p < 8 ? (int)(k - p) : 8;
            const __m256i there = lanes(rows);
            __m256 x[8];
            for (int i = 0; i < 8; i++) x[i] = i < count ? _mm256_maskload_ps(line[i] + p, there) : _mm256_setzero_ps();
            square_avx2(x);
            for (int i = 0; i < rows; i++) _mm256_storeu_ps(to + (p + i) * stride, x[i]);
        }
}

const ful__gemm_level ful__gemm_avx2 = {
    .name = "avx2", .mr = MR, .nr = NR, .run = run_avx2, .lanes = 16, .transpose = transpose_avx2};

#else
typedef int ful__gemm_avx2_is_x86_only;
#endif
