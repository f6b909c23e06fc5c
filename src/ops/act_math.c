/* SPDX-License-Identifier: Apache-2.0 */
/* The array forms of act_math.h: whole vectors at the best level, what is left over one by one. */
#include "ops/act_math.h"

#include <fulcrum/core.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* for (i = 0; i + WIDTH <= n; i += WIDTH) of one activation, forward and backward. */
#define FORWARD_LOOP(name)                                                    \
    for (; i + WIDTH <= n; i += WIDTH) STORE(y + i, LANE(name)(LOAD(x + i))); \
    break
#define BACKWARD_LOOP(name)                                                                           \
    for (; i + WIDTH <= n; i += WIDTH) STORE(dx + i, LOAD(dy + i) * LANE(name##_slope)(LOAD(x + i))); \
    break

/* Each returns how many values it did, a multiple of the width. */
#define DEFINE_ARRAYS(level, ATTR)                                                                           \
    ATTR static int64_t forward_##level(ful_act act, const float *x, float *y, int64_t n)                    \
    {                                                                                                        \
        int64_t i = 0;                                                                                       \
        switch (act) {                                                                                       \
        case FUL_ACT_RELU: FORWARD_LOOP(relu);                                                               \
        case FUL_ACT_GELU: FORWARD_LOOP(gelu);                                                               \
        case FUL_ACT_SILU: FORWARD_LOOP(silu);                                                               \
        case FUL_ACT_HARD_SWISH: FORWARD_LOOP(hard_swish);                                                   \
        default: break;                                                                                      \
        }                                                                                                    \
        return i;                                                                                            \
    }                                                                                                        \
    ATTR static int64_t backward_##level(ful_act act, const float *x, const float *dy, float *dx, int64_t n) \
    {                                                                                                        \
        int64_t i = 0;                                                                                       \
        switch (act) {                                                                                       \
        case FUL_ACT_RELU: BACKWARD_LOOP(relu);                                                              \
        case FUL_ACT_GELU: BACKWARD_LOOP(gelu);                                                              \
        case FUL_ACT_SILU: BACKWARD_LOOP(silu);                                                              \
        case FUL_ACT_HARD_SWISH: BACKWARD_LOOP(hard_swish);                                                  \
        default: break;                                                                                      \
        }                                                                                                    \
        return i;                                                                                            \
    }                                                                                                        \
    ATTR static int64_t exp_##level(const float *x, float shift, float *y, int64_t n)                        \
    {                                                                                                        \
        int64_t i = 0;                                                                                       \
        for (; i + WIDTH <= n; i += WIDTH) STORE(y + i, LANE(exp)(LOAD(x + i) - shift));                     \
        return i;                                                                                            \
    }

#if defined(__x86_64__)

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define AVX2   __attribute__((target("avx2,fma")))

/* Integer lanes with operators of their own: __m512i counts in 64-bit lanes. */
typedef int32_t lanes16 __attribute__((vector_size(64)));
typedef int32_t lanes8 __attribute__((vector_size(32)));

#define V                       __m512
#define VI                      lanes16
#define FN(name)                avx512_##name
#define LANES_FN                AVX512 static inline __attribute__((always_inline))
#define V_FMA(a, b, c)          _mm512_fmadd_ps((a), (b), (c))
#define V_MAX(a, b)             _mm512_max_ps((a), (b))
#define V_MIN(a, b)             _mm512_min_ps((a), (b))
#define V_BELOW(x, limit, a, b) _mm512_mask_blend_ps(_mm512_cmp_ps_mask((x), _mm512_set1_ps(limit), _CMP_LT_OQ), (b), (a))
#define V_SET(f)                _mm512_set1_ps(f)
#define V_BITS(x)               ((lanes16)(x))
#define V_POW2(i)               ((__m512)(((i) + 127) << 23))
#define V_ABS(x)                _mm512_abs_ps(x)
#include "ops/act_lanes.h"

#define WIDTH       16
#define LANE(name)  avx512_##name
#define LOAD(p)     _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps((p), (v))
DEFINE_ARRAYS(avx512, AVX512)
#undef WIDTH
#undef LANE
#undef LOAD
#undef STORE

#define V                       __m256
#define VI                      lanes8
#define FN(name)                avx2_##name
#define LANES_FN                AVX2 static inline __attribute__((always_inline))
#define V_FMA(a, b, c)          _mm256_fmadd_ps((a), (b), (c))
#define V_MAX(a, b)             _mm256_max_ps((a), (b))
#define V_MIN(a, b)             _mm256_min_ps((a), (b))
#define V_BELOW(x, limit, a, b) _mm256_blendv_ps((b), (a), _mm256_cmp_ps((x), _mm256_set1_ps(limit), _CMP_LT_OQ))
#define V_SET(f)                _mm256_set1_ps(f)
#define V_BITS(x)               ((lanes8)(x))
#define V_POW2(i)               ((__m256)(((i) + 127) << 23))
#define V_ABS(x)                _mm256_andnot_ps(_mm256_set1_ps(-0.0f), (x))
#include "ops/act_lanes.h"

#define WIDTH       8
#define LANE(name)  avx2_##name
#define LOAD(p)     _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps((p), (v))
DEFINE_ARRAYS(avx2, AVX2)
#undef WIDTH
#undef LANE
#undef LOAD
#undef STORE

#endif

#define WIDTH       1
#define LANE(name)  ful__scalar_##name
#define LOAD(p)     (*(p))
#define STORE(p, v) (*(p) = (v))
DEFINE_ARRAYS(scalar, )

void ful__act_forward(ful_act act, const float *x, float *y, int64_t n)
{
    int64_t done = 0;
    if (act == FUL_ACT_NONE) {
        if (y != x) memmove(y, x, (size_t)n * sizeof *y);
        return;
    }
#if defined(__x86_64__)
    const unsigned flags = ful_cpu_flags();
    if (flags & FUL_CPU_AVX512)
        done = forward_avx512(act, x, y, n);
    else if (flags & FUL_CPU_AVX2)
        done = forward_avx2(act, x, y, n);
#endif
    (void)forward_scalar(act, x + done, y + done, n - done);
}

void ful__act_backward(ful_act act, const float *x, const float *dy, float *dx, int64_t n)
{
    int64_t done = 0;
    if (act == FUL_ACT_NONE) {
        if (dx != dy) memmove(dx, dy, (size_t)n * sizeof *dx);
        return;
    }
#if defined(__x86_64__)
    const unsigned flags = ful_cpu_flags();
    if (flags & FUL_CPU_AVX512)
        done = backward_avx512(act, x, dy, dx, n);
    else if (flags & FUL_CPU_AVX2)
        done = backward_avx2(act, x, dy, dx, n);
#endif
    (void)backward_scalar(act, x + done, dy + done, dx + done, n - done);
}

void ful__exp_shifted(const float *x, float shift, float *y, int64_t n)
{
    int64_t done = 0;
#if defined(__x86_64__)
    const unsigned flags = ful_cpu_flags();
    if (flags & FUL_CPU_AVX512)
        done = exp_avx512(x, shift, y, n);
    else if (flags & FUL_CPU_AVX2)
        done = exp_avx2(x, shift, y, n);
#endif
    (void)exp_scalar(x + done, shift, y + done, n - done);
}
