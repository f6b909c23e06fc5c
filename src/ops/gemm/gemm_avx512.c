/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 micro-kernel: up to 14 rows x 32 columns, so that 28 sums, 2 columns of B and one value of A fill 31 of the 32
 * registers and 28 independent chains hide the latency of 2 x 4 fused multiply-adds.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "ops/gemm/gemm_level.h"

enum { MR = 14, NR = 32 };

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

/* One line of code for each row. R is a constant wherever tile_avx512 is inlined, so rows beyond it vanish. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

#define DECLARE(i)   __m512 l##i = zero, r##i = zero;
#define FROM_BIAS(i) l##i = bias_l, r##i = bias_r;
#define FROM_C(i)                                                     \
    if (R > i) {                                                      \
        l##i = _mm512_maskz_loadu_ps(mask_l, t->c + i * t->ldc);      \
        r##i = _mm512_maskz_loadu_ps(mask_r, t->c + i * t->ldc + 16); \
    }
#define STEP(i)                                             \
    if (R > i) {                                            \
        const __m512 v = _mm512_set1_ps(a[i * row_stride]); \
        l##i = _mm512_fmadd_ps(v, b_l, l##i);               \
        r##i = _mm512_fmadd_ps(v, b_r, r##i);               \
    }
#define TO_C(i)                                                      \
    if (R > i) {                                                     \
        _mm512_mask_storeu_ps(t->c + i * t->ldc, mask_l, l##i);      \
        _mm512_mask_storeu_ps(t->c + i * t->ldc + 16, mask_r, r##i); \
    }

/* The first n of 16 lanes; none for n <= 0. */
AVX512 static inline __mmask16 lanes(int n)
{
    if (n <= 0) return 0;
    return (__mmask16)((1u << (n < 16 ? n : 16)) - 1u);
}

AVX512 static inline __attribute__((always_inline)) void tile_avx512(const ful__gemm_tile *t, const int R,
                                                                     const int64_t row_stride, const int64_t k_stride)
{
    const __mmask16 mask_l = lanes(t->cols), mask_r = lanes(t->cols - 16);
    const __m512 zero = _mm512_setzero_ps();
    EACH_ROW(DECLARE)
    if (t->start == FUL__GEMM_FROM_C) {
        EACH_ROW(FROM_C)
    } else if (t->start == FUL__GEMM_FROM_BIAS) {
        const __m512 bias_l = _mm512_maskz_loadu_ps(mask_l, t->bias), bias_r = _mm512_maskz_loadu_ps(mask_r, t->bias + 16);
        EACH_ROW(FROM_BIAS)
    }
    const float *a = t->a, *b = t->b;
    for (int64_t p = 0; p < t->k; p++, a += k_stride, b += NR) {
        const __m512 b_l = _mm512_loadu_ps(b), b_r = _mm512_loadu_ps(b + 16);
        EACH_ROW(STEP)
    }
    EACH_ROW(TO_C)
}

#define CASE(n) \
    case n: tile_avx512(t, n, row_stride, k_stride); break;

AVX512 static inline __attribute__((always_inline)) void any_rows(const ful__gemm_tile *t, const int64_t row_stride,
                                                                  const int64_t k_stride)
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
    default: tile_avx512(t, MR, row_stride, k_stride);
    }
}

AVX512 static void nn_avx512(const ful__gemm_tile *t)
{
    any_rows(t, FUL__GEMM_A_STRIDE, 1);
}

AVX512 static void tn_avx512(const ful__gemm_tile *t)
{
    any_rows(t, 1, FUL__GEMM_TN_STRIDE);
}

const ful__gemm_level ful__gemm_avx512 = {.name = "avx512", .mr = MR, .nr = NR, .nn = nn_avx512, .tn = tn_avx512};

#else
typedef int ful__gemm_avx512_is_x86_only;
#endif
