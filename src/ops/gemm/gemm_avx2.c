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
#define STEP(i)                                                   \
    if (R > i) {                                                  \
        const __m256 v = _mm256_broadcast_ss(a + i * row_stride); \
        l##i = _mm256_fmadd_ps(v, b_l, l##i);                     \
        r##i = _mm256_fmadd_ps(v, b_r, r##i);                     \
    }
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

AVX2 static inline __attribute__((always_inline)) void tile_avx2(const ful__gemm_tile *t, const int R, const int64_t row_stride,
                                                                 const int64_t k_stride)
{
    const __m256i mask_l = lanes(t->cols), mask_r = lanes(t->cols - 8);
    const __m256 zero = _mm256_setzero_ps();
    EACH_ROW(DECLARE)
    if (t->start == FUL__GEMM_FROM_C) {
        EACH_ROW(FROM_C)
    } else if (t->start == FUL__GEMM_FROM_BIAS) {
        const __m256 bias_l = _mm256_maskload_ps(t->bias, mask_l), bias_r = _mm256_maskload_ps(t->bias + 8, mask_r);
        EACH_ROW(FROM_BIAS)
    }
    const float *a = t->a, *b = t->b;
    for (int64_t p = 0; p < t->k; p++, a += k_stride, b += NR) {
        const __m256 b_l = _mm256_loadu_ps(b), b_r = _mm256_loadu_ps(b + 8);
        EACH_ROW(STEP)
    }
    EACH_ROW(TO_C)
}

#define CASE(n) \
    case n: tile_avx2(t, n, row_stride, k_stride); break;

AVX2 static inline __attribute__((always_inline)) void any_rows(const ful__gemm_tile *t, const int64_t row_stride,
                                                                const int64_t k_stride)
{
    switch (t->rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
    default: tile_avx2(t, MR, row_stride, k_stride);
    }
}

AVX2 static void nn_avx2(const ful__gemm_tile *t)
{
    any_rows(t, FUL__GEMM_A_STRIDE, 1);
}

AVX2 static void tn_avx2(const ful__gemm_tile *t)
{
    any_rows(t, 1, FUL__GEMM_TN_STRIDE);
}

const ful__gemm_level ful__gemm_avx2 = {.name = "avx2", .mr = MR, .nr = NR, .nn = nn_avx2, .tn = tn_avx2};

#else
typedef int ful__gemm_avx2_is_x86_only;
#endif
