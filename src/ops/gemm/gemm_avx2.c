/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX2 + FMA micro-kernel: up to 6 rows x 16 columns; 12 sums, 2 columns of B and one value of A fill 15 of the 16 registers.
 * A value of A is broadcast from memory wherever it lies, so rows that run along k need no packing where few panels meet them.
 */
#if defined(__x86_64__)
#include "ops/gemm/gemm_level.h"
#include "ops/x86.h"

enum { MR = 6, NR = 16, STRIP = 6, VECTOR = 8, KC = 256, TILES = 32 };

#define TARGET FUL__AVX2
#include "ops/gemm/gemm_copies.h"

/* One line of code for each row. R is a constant wherever tile_avx2 is inlined, so rows beyond it vanish. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)

#define DECLARE(i)                                                               \
    __m256 l##i = zero, r##i = zero;                                             \
    const float *a##i = R <= i ? NULL : t->a ? t->a + i : t->a_row[i]; /* [k] */ \
    float *c##i = t->c + i * t->ldc;
#define FROM_BIAS(i) l##i = bias_l, r##i = bias_r;
#define FROM_C(i)                         \
    if (R > i) {                          \
        l##i = _mm256_loadu_ps(c##i);     \
        r##i = _mm256_loadu_ps(c##i + 8); \
    }
#define FROM_C_PART(i)                               \
    if (R > i) {                                     \
        l##i = _mm256_maskload_ps(c##i, mask_l);     \
        r##i = _mm256_maskload_ps(c##i + 8, mask_r); \
    }
#define STEP(i)                                         \
    if (R > i) {                                        \
        const __m256 v = _mm256_broadcast_ss(a##i + q); \
        l##i = _mm256_fmadd_ps(v, b_l, l##i);           \
        r##i = _mm256_fmadd_ps(v, b_r, r##i);           \
    }
#define TO_C(i)                           \
    if (R > i) {                          \
        _mm256_storeu_ps(c##i, l##i);     \
        _mm256_storeu_ps(c##i + 8, r##i); \
    }
#define TO_C_PART(i)                                 \
    if (R > i) {                                     \
        _mm256_maskstore_ps(c##i, mask_l, l##i);     \
        _mm256_maskstore_ps(c##i + 8, mask_r, r##i); \
    }

/* The first n of 8 lanes; none for n <= 0. */
TARGET static inline __m256i lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Lines of 64 bytes: a few, all at once, because a fetch with each step costs more than it saves. By two. */
#define FETCH(line, level) _mm_prefetch((const char *)(line), level)
#define FETCH_ALL(from, at, count, level)      \
    for (int64_t p = 0; p < (count); p += 2) { \
        FETCH((from) + (at)[p], level);        \
        FETCH((from) + (at)[p + 1], level);    \
    }

/* Inlined for each number of rows. Masked moves of a part of a tile are much slower than plain ones. The steps are unrolled,
 * and b_step is a constant where it can be, because the processor has few instructions to spare beside the multiplications. */
TARGET static inline __attribute__((always_inline)) void tile_avx2(const ful__gemm_tile *t, const int R, const int64_t a_step,
                                                                   const int64_t b_step, const bool copies)
{
    const bool whole = t->cols == NR;
    const __m256i mask_l = lanes(t->cols), mask_r = lanes(t->cols - 8);
    const __m256 zero = _mm256_setzero_ps();
    EACH_ROW(DECLARE)
    FETCH_ALL(t->next_c, t->next_c_at, t->c_fetches, _MM_HINT_T0);
    FETCH_ALL(t->next, t->next_at, t->fetches, _MM_HINT_T1);
    if (t->start == FUL__GEMM_FROM_C && whole) {
        EACH_ROW(FROM_C)
    } else if (t->start == FUL__GEMM_FROM_C) {
        EACH_ROW(FROM_C_PART)
    } else if (t->start == FUL__GEMM_FROM_BIAS) {
        const __m256 bias_l = _mm256_maskload_ps(t->bias, mask_l), bias_r = _mm256_maskload_ps(t->bias + 8, mask_r);
        EACH_ROW(FROM_BIAS)
    }
    const float *b = t->b;
    float *copy = t->b_copy;
    const int64_t k = t->k;
#pragma GCC unroll 8
    for (int64_t p = 0, q = 0; p < k; p++, q += a_step, b += b_step) {
        const __m256 b_l = _mm256_loadu_ps(b), b_r = _mm256_loadu_ps(b + 8);
        if (copies) {
            _mm256_store_ps(copy + p * NR, b_l);
            _mm256_store_ps(copy + p * NR + 8, b_r);
        }
        EACH_ROW(STEP)
    }
    if (whole) {
        EACH_ROW(TO_C)
    } else {
        EACH_ROW(TO_C_PART)
    }
}

#define CASE(n) \
    case n: tile_avx2(t, n, a_step, b_step, copies); break;

TARGET static inline __attribute__((always_inline)) void run_rows(const ful__gemm_tile *t, const int64_t a_step,
                                                                  const int64_t b_step, const bool copies)
{
    switch (t->rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
    default: tile_avx2(t, MR, a_step, b_step, copies);
    }
}

TARGET static void run_tile(const ful__gemm_tile *t)
{
    if (t->b_copy)
        run_rows(t, t->a ? STRIP : 1, t->b_stride, true);
    else if (t->b_stride != NR)
        run_rows(t, t->a ? STRIP : 1, t->b_stride, false);
    else if (t->a)
        run_rows(t, STRIP, NR, false);
    else
        run_rows(t, 1, NR, false);
}

#include "ops/gemm/gemm_tiles.h"

/* 8 x 8 in registers: x[i] holds four steps of line i and of line i + 4, x[i + 4] the next four; pairs change places, then
 * pairs of pairs, and no half of a register crosses over. Unrolled, or x would lie in memory. */
TARGET static inline __attribute__((always_inline)) void square_avx2(const __m256 x[8], float *to, int64_t stride,
                                                                     const int steps)
{
    __m256 y[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 4) {
        const __m256 a = _mm256_unpacklo_ps(x[i], x[i + 1]), b = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
        const __m256 c = _mm256_unpackhi_ps(x[i], x[i + 1]), d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0));
        y[i + 1] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2));
        y[i + 2] = _mm256_shuffle_ps(c, d, _MM_SHUFFLE(1, 0, 1, 0));
        y[i + 3] = _mm256_shuffle_ps(c, d, _MM_SHUFFLE(3, 2, 3, 2));
    }
#pragma GCC unroll 8
    for (int i = 0; i < steps; i++) _mm256_storeu_ps(to + i * stride, y[i]);
}

/* Lines i and i + 4 from step p, `there` of the lines, and zeros for the others. */
TARGET static inline __attribute__((always_inline)) __m256 load_pair(const float *const *line, int i, int there, int64_t p)
{
    const __m128 low = i < there ? _mm_loadu_ps(line[i] + p) : _mm_setzero_ps();
    const __m128 high = i + 4 < there ? _mm_loadu_ps(line[i + 4] + p) : _mm_setzero_ps();
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

TARGET static inline __attribute__((always_inline)) int64_t squares_avx2(float *to, int64_t stride, const float *const *line,
                                                                         const int there, int64_t k)
{
    int64_t p = 0;
    for (; p + 8 <= k; p += 8, to += 8 * stride) {
        __m256 x[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) x[i] = load_pair(line, i % 4, there, p + i / 4 * 4);
        square_avx2(x, to, stride, 8);
    }
    return p;
}

TARGET static void transpose_avx2(float *to, int64_t stride, const float *const *line, int count, int64_t k)
{
    int64_t p = count == 8    ? squares_avx2(to, stride, line, 8, k)
                : count == MR ? squares_avx2(to, stride, line, MR, k)
                              : squares_avx2(to, stride, line, count, k);
    for (; p < k; p++)
        for (int i = 0; i < 8; i++) to[p * stride + i] = i < count ? line[i][p] : 0;
}

const ful__gemm_level ful__gemm_avx2 = {
    .name = "avx2",
    .mr = MR,
    .nr = NR,
    .strip = STRIP,
    .kc = KC,
    .tiles = TILES,
    .a_in_place = true,
    .run = run_tiles,
    .lanes = 8,
    .transpose = transpose_avx2,
    .copy_panel = copy_panel,
    .copy_strips = copy_strips,
    .sum_strips = sum_strips,
};

#else
typedef int ful__gemm_avx2_is_x86_only;
#endif
