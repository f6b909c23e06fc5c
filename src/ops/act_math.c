/* SPDX-License-Identifier: Apache-2.0 */
/* The array forms of act_math.h: whole vectors at the best level, what is left over one by one. */
#include "ops/act_math.h"

#include <fulcrum/core.h>

#include "ops/x86.h"

/* All whole vectors of the rows in one loop for each activation, so that its constants are loaded once and not for each row. */
#define NEXT_VECTOR(...)         \
    if ((i += WIDTH) == whole) { \
        i = 0;                   \
        rows--;                  \
        __VA_ARGS__;             \
    }
#define FORWARD_LOOP(name)                     \
    for (int64_t i = 0; rows > 0;) {           \
        STORE(y + i, LANE(name)(LOAD(x + i))); \
        NEXT_VECTOR(x += ld, y += ld)          \
    }                                          \
    break
#define BACKWARD_LOOP(name)                                            \
    for (int64_t i = 0; rows > 0;) {                                   \
        STORE(dx + i, LOAD(dy + i) * LANE(name##_slope)(LOAD(x + i))); \
        NEXT_VECTOR(x += ld, dy += ld, dx += ld)                       \
    }                                                                  \
    break
#define BOTH_LOOP(name)                                   \
    for (int64_t i = 0; rows > 0;) {                      \
        LANES_TYPE d;                                     \
        STORE(y + i, LANE(name##_both)(LOAD(x + i), &d)); \
        STORE(slope + i, d);                              \
        NEXT_VECTOR(x += ld, y += ld, slope += ld)        \
    }                                                     \
    break

/* All whole vectors of the rows, the first halves of some and then their second halves (act_lanes.h). */
#define GELU_LOOP(...)                                                                  \
    int64_t left = rows * (whole / WIDTH), row = 0, i = 0;                              \
    while (left > 0) {                                                                  \
        LANES_TYPE gauss[GELU_AT_ONCE], t[GELU_AT_ONCE];                                \
        const int count = left < GELU_AT_ONCE ? (int)left : GELU_AT_ONCE;               \
        int64_t row_first = row, i_first = i;                                           \
        for (int k = 0; k < count; k++) {                                               \
            const LANES_TYPE z = LANE(gelu_z)(LOAD(x + row_first + i_first));           \
            gauss[k] = LANE(normal_gauss)(z);                                           \
            t[k] = LANE(normal_t)(z);                                                   \
            GELU_NEXT(row_first, i_first)                                               \
        }                                                                               \
        for (int k = 0; k < count; k++) {                                               \
            LANES_TYPE d;                                                               \
            STORE(y + row + i, LANE(gelu_from)(LOAD(x + row + i), gauss[k], t[k], &d)); \
            __VA_ARGS__;                                                                \
            GELU_NEXT(row, i)                                                           \
        }                                                                               \
        left -= count;                                                                  \
    }
#define GELU_NEXT(row, i)        \
    if ((i += WIDTH) == whole) { \
        i = 0;                   \
        row += ld;               \
    }
enum { GELU_AT_ONCE = 48 };

/* Whole vectors, then what is left through a vector padded with zeros, so that a short row is not slow. */
#define DEFINE_ARRAYS(level, ATTR)                                                                                             \
    ATTR static void gelu_whole_##level(const float *x, float *y, int64_t ld, int64_t rows, int64_t whole)                     \
    {                                                                                                                          \
        GELU_LOOP();                                                                                                           \
    }                                                                                                                          \
    ATTR static void gelu_slope_whole_##level(const float *x, float *y, float *slope, int64_t ld, int64_t rows, int64_t whole, \
                                              bool past)                                                                       \
    {                                                                                                                          \
        if (past) {                                                                                                            \
            GELU_LOOP(STREAM(slope + row + i, d));                                                                             \
        } else {                                                                                                               \
            GELU_LOOP(STORE(slope + row + i, d));                                                                              \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void forward_whole_##level(ful_act act, const float *x, float *y, int64_t ld, int64_t rows, int64_t n)         \
    {                                                                                                                          \
        const int64_t whole = n - n % WIDTH;                                                                                   \
        if (whole == 0) return;                                                                                                \
        switch (act) {                                                                                                         \
        case FUL_ACT_RELU: FORWARD_LOOP(relu);                                                                                 \
        case FUL_ACT_GELU: gelu_whole_##level(x, y, ld, rows, whole); break;                                                   \
        case FUL_ACT_SILU: FORWARD_LOOP(silu);                                                                                 \
        case FUL_ACT_HARD_SWISH: FORWARD_LOOP(hard_swish);                                                                     \
        case FUL_ACT_RELU6: FORWARD_LOOP(relu6);                                                                               \
        case FUL_ACT_HARD_SIGMOID: FORWARD_LOOP(hard_sigmoid);                                                                 \
        default: break;                                                                                                        \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void backward_whole_##level(ful_act act, const float *x, const float *dy, float *dx, int64_t ld, int64_t rows, \
                                            int64_t n)                                                                         \
    {                                                                                                                          \
        const int64_t whole = n - n % WIDTH;                                                                                   \
        if (whole == 0) return;                                                                                                \
        switch (act) {                                                                                                         \
        case FUL_ACT_RELU: BACKWARD_LOOP(relu);                                                                                \
        case FUL_ACT_GELU: BACKWARD_LOOP(gelu);                                                                                \
        case FUL_ACT_SILU: BACKWARD_LOOP(silu);                                                                                \
        case FUL_ACT_HARD_SWISH: BACKWARD_LOOP(hard_swish);                                                                    \
        case FUL_ACT_RELU6: BACKWARD_LOOP(relu6);                                                                              \
        case FUL_ACT_HARD_SIGMOID: BACKWARD_LOOP(hard_sigmoid);                                                                \
        default: break;                                                                                                        \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void forward_##level(ful_act act, const float *x, float *y, int64_t ld, int64_t rows, int64_t n)               \
    {                                                                                                                          \
        const int64_t left = n % WIDTH;                                                                                        \
        forward_whole_##level(act, x, y, ld, rows, n);                                                                         \
        x += n - left;                                                                                                         \
        y += n - left;                                                                                                         \
        for (int64_t r = 0; left > 0 && r < rows; r++, x += ld, y += ld) {                                                     \
            float last[WIDTH] = {0};                                                                                           \
            memcpy(last, x, (size_t)left * sizeof *x);                                                                         \
            forward_whole_##level(act, last, last, WIDTH, 1, WIDTH);                                                           \
            memcpy(y, last, (size_t)left * sizeof *y);                                                                         \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void backward_##level(ful_act act, const float *x, const float *dy, float *dx, int64_t ld, int64_t rows,       \
                                      int64_t n)                                                                               \
    {                                                                                                                          \
        const int64_t left = n % WIDTH;                                                                                        \
        backward_whole_##level(act, x, dy, dx, ld, rows, n);                                                                   \
        x += n - left;                                                                                                         \
        dy += n - left;                                                                                                        \
        dx += n - left;                                                                                                        \
        for (int64_t r = 0; left > 0 && r < rows; r++, x += ld, dy += ld, dx += ld) {                                          \
            float last_x[WIDTH] = {0}, last[WIDTH] = {0};                                                                      \
            memcpy(last_x, x, (size_t)left * sizeof *x);                                                                       \
            memcpy(last, dy, (size_t)left * sizeof *dy);                                                                       \
            backward_whole_##level(act, last_x, last, last, WIDTH, 1, WIDTH);                                                  \
            memcpy(dx, last, (size_t)left * sizeof *dx);                                                                       \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void both_whole_##level(ful_act act, const float *x, float *y, float *slope, int64_t ld, int64_t rows,         \
                                        int64_t n, bool past)                                                                  \
    {                                                                                                                          \
        const int64_t whole = n - n % WIDTH;                                                                                   \
        if (whole == 0) return;                                                                                                \
        switch (act) {                                                                                                         \
        case FUL_ACT_RELU: BOTH_LOOP(relu);                                                                                    \
        case FUL_ACT_GELU: gelu_slope_whole_##level(x, y, slope, ld, rows, whole, past); break;                                \
        case FUL_ACT_SILU: BOTH_LOOP(silu);                                                                                    \
        case FUL_ACT_HARD_SWISH: BOTH_LOOP(hard_swish);                                                                        \
        case FUL_ACT_RELU6: BOTH_LOOP(relu6);                                                                                  \
        case FUL_ACT_HARD_SIGMOID: BOTH_LOOP(hard_sigmoid);                                                                    \
        default: break;                                                                                                        \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void both_##level(ful_act act, const float *x, float *y, float *slope, int64_t ld, int64_t rows, int64_t n,    \
                                  bool past)                                                                                   \
    {                                                                                                                          \
        const int64_t left = n % WIDTH;                                                                                        \
        both_whole_##level(act, x, y, slope, ld, rows, n, past);                                                               \
        x += n - left;                                                                                                         \
        y += n - left;                                                                                                         \
        slope += n - left;                                                                                                     \
        for (int64_t r = 0; left > 0 && r < rows; r++, x += ld, y += ld, slope += ld) {                                        \
            float last[WIDTH] = {0}, last_slope[WIDTH];                                                                        \
            memcpy(last, x, (size_t)left * sizeof *x);                                                                         \
            both_whole_##level(act, last, last, last_slope, WIDTH, 1, WIDTH, false);                                           \
            memcpy(y, last, (size_t)left * sizeof *y);                                                                         \
            memcpy(slope, last_slope, (size_t)left * sizeof *slope);                                                           \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void multiply_##level(float *x, const float *by, int64_t ld, int64_t rows, int64_t n)                          \
    {                                                                                                                          \
        for (int64_t r = 0; r < rows; r++, x += ld, by += ld) {                                                                \
            int64_t i = 0;                                                                                                     \
            for (; i + WIDTH <= n; i += WIDTH) STORE(x + i, LOAD(x + i) * LOAD(by + i));                                       \
            for (; i < n; i++) x[i] *= by[i];                                                                                  \
        }                                                                                                                      \
    }                                                                                                                          \
    ATTR static void exp_##level(const float *x, float shift, float *y, int64_t n)                                             \
    {                                                                                                                          \
        int64_t i = 0;                                                                                                         \
        for (; i + WIDTH <= n; i += WIDTH) STORE(y + i, LANE(exp)(LOAD(x + i) - shift));                                       \
        if (i == n) return;                                                                                                    \
        float last[WIDTH] = {0};                                                                                               \
        memcpy(last, x + i, (size_t)(n - i) * sizeof *x);                                                                      \
        STORE(last, LANE(exp)(LOAD(last) - shift));                                                                            \
        memcpy(y + i, last, (size_t)(n - i) * sizeof *y);                                                                      \
    }

#if defined(__x86_64__)

/* Integer lanes with operators of their own: __m512i counts in 64-bit lanes. */
typedef int32_t lanes16 __attribute__((vector_size(64)));
typedef int32_t lanes8 __attribute__((vector_size(32)));

#define V                       __m512
#define VI                      lanes16
#define FN(name)                avx512_##name
#define LANES_FN                FUL__AVX512 static inline __attribute__((always_inline))
#define V_FMA(a, b, c)          _mm512_fmadd_ps((a), (b), (c))
#define V_MAX(a, b)             _mm512_max_ps((a), (b))
#define V_MIN(a, b)             _mm512_min_ps((a), (b))
#define V_BELOW(x, limit, a, b) _mm512_mask_blend_ps(_mm512_cmp_ps_mask((x), _mm512_set1_ps(limit), _CMP_LT_OQ), (b), (a))
#define V_SET(f)                _mm512_set1_ps(f)
#define V_BITS(x)               ((lanes16)(x))
#define V_POW2(i)               ((__m512)(((i) + 127) << 23))
#define V_TIMES_POW2(x, t)      ((__m512)((lanes16)(x) + ((lanes16)(t) << 23)))
#define V_MINUS_ABS(x)          _mm512_or_ps(_mm512_set1_ps(-0.0f), (x))
#include "ops/act_lanes.h"

#define WIDTH        16
#define LANE(name)   avx512_##name
#define LANES_TYPE   __m512
#define LOAD(p)      _mm512_loadu_ps(p)
#define STORE(p, v)  _mm512_storeu_ps((p), (v))
#define STREAM(p, v) _mm512_stream_ps((p), (v))
DEFINE_ARRAYS(avx512, FUL__AVX512)
#undef WIDTH
#undef LANE
#undef LANES_TYPE
#undef LOAD
#undef STORE
#undef STREAM

#define V                       __m256
#define VI                      lanes8
#define FN(name)                avx2_##name
#define LANES_FN                FUL__AVX2 static inline __attribute__((always_inline))
#define V_FMA(a, b, c)          _mm256_fmadd_ps((a), (b), (c))
#define V_MAX(a, b)             _mm256_max_ps((a), (b))
#define V_MIN(a, b)             _mm256_min_ps((a), (b))
#define V_BELOW(x, limit, a, b) _mm256_blendv_ps((b), (a), _mm256_cmp_ps((x), _mm256_set1_ps(limit), _CMP_LT_OQ))
#define V_SET(f)                _mm256_set1_ps(f)
#define V_BITS(x)               ((lanes8)(x))
#define V_POW2(i)               ((__m256)(((i) + 127) << 23))
#define V_TIMES_POW2(x, t)      ((__m256)((lanes8)(x) + ((lanes8)(t) << 23)))
#define V_MINUS_ABS(x)          _mm256_or_ps(_mm256_set1_ps(-0.0f), (x))
#include "ops/act_lanes.h"

#define WIDTH        8
#define LANE(name)   avx2_##name
#define LANES_TYPE   __m256
#define LOAD(p)      _mm256_loadu_ps(p)
#define STORE(p, v)  _mm256_storeu_ps((p), (v))
#define STREAM(p, v) _mm256_stream_ps((p), (v))
DEFINE_ARRAYS(avx2, FUL__AVX2)
#undef WIDTH
#undef LANE
#undef LANES_TYPE
#undef LOAD
#undef STORE
#undef STREAM

#endif

#define WIDTH       1
#define LANE(name)  ful__scalar_##name
#define LANES_TYPE  float
#define LOAD(p)     (*(p))
#define STORE(p, v) (*(p) = (v))
#define STREAM      STORE
DEFINE_ARRAYS(scalar, )

/* The call at the best level there is. */
#if defined(__x86_64__)
#define AT_BEST_LEVEL(name, ...)                \
    do {                                        \
        const unsigned flags = ful_cpu_flags(); \
        if (flags & FUL_CPU_AVX512)             \
            name##_avx512(__VA_ARGS__);         \
        else if (flags & FUL_CPU_AVX2)          \
            name##_avx2(__VA_ARGS__);           \
        else                                    \
            name##_scalar(__VA_ARGS__);         \
    } while (0)
#else
#define AT_BEST_LEVEL(name, ...) name##_scalar(__VA_ARGS__)
#endif

const char *const ful__act_names[] = {"none", "relu", "gelu", "silu", "hard_swish", "relu6", "hard_sigmoid", NULL};
_Static_assert(sizeof ful__act_names / sizeof *ful__act_names == FUL__ACT_LAST + 2, "a name for each, and the end");

void ful__act_forward_rows(ful_act act, const float *x, float *y, int64_t ld, int64_t rows, int64_t n)
{
    if (act != FUL_ACT_NONE)
        AT_BEST_LEVEL(forward, act, x, y, ld, rows, n);
    else if (y != x)
        for (int64_t r = 0; r < rows; r++) memmove(y + r * ld, x + r * ld, (size_t)n * sizeof *y);
}

void ful__act_backward_rows(ful_act act, const float *x, const float *dy, float *dx, int64_t ld, int64_t rows, int64_t n)
{
    if (act != FUL_ACT_NONE)
        AT_BEST_LEVEL(backward, act, x, dy, dx, ld, rows, n);
    else if (dx != dy)
        for (int64_t r = 0; r < rows; r++) memmove(dx + r * ld, dy + r * ld, (size_t)n * sizeof *dx);
}

void ful__act_forward_slope_rows(ful_act act, const float *x, float *y, float *slope, int64_t ld, int64_t rows, int64_t n,
                                 bool past)
{
    if (act != FUL_ACT_NONE) {
        AT_BEST_LEVEL(both, act, x, y, slope, ld, rows, n, past);
        return;
    }
    ful__act_forward_rows(act, x, y, ld, rows, n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) slope[r * ld + i] = 1;
}

void ful__act_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

void ful__multiply_rows(float *x, const float *by, int64_t ld, int64_t rows, int64_t n)
{
    AT_BEST_LEVEL(multiply, x, by, ld, rows, n);
}

void ful__act_forward(ful_act act, const float *x, float *y, int64_t n)
{
    ful__act_forward_rows(act, x, y, n, 1, n);
}

void ful__act_backward(ful_act act, const float *x, const float *dy, float *dx, int64_t n)
{
    ful__act_backward_rows(act, x, dy, dx, n, 1, n);
}

void ful__exp_shifted(const float *x, float shift, float *y, int64_t n)
{
    AT_BEST_LEVEL(exp, x, shift, y, n);
}
