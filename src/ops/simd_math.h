/* SPDX-License-Identifier: Apache-2.0 */
/* For kernels (simd.h): the functions of act_lanes.h at the level's width: vexp(x), FN(act_of)(act, x), FN(slope_of)(act, x).
 * (No include guard, see simd.h.) */
#if SIMD_LEVEL == 2
#define AT_LEVEL(name) name##_avx512
#elif SIMD_LEVEL == 1
#define AT_LEVEL(name) name##_avx2
#else
#define AT_LEVEL(name) name##_base
#endif

#undef FN
#define FN(name)             AT_LEVEL(lanes_##name)
#define V                    AT_LEVEL(vf)
#define VI                   AT_LEVEL(vi)
#define LANES_FN             INLINE
#define V_FMA(a, b, c)       AT_LEVEL(vfma)((a), (b), (c))
#define V_SELECT(mask, a, b) ((V)(((mask) & (VI)(a)) | (~(mask) & (VI)(b))))
#define V_SET(f)             AT_LEVEL(vset)(f)
#define V_MAX(a, b)          AT_LEVEL(vmax)((a), (b))
#define V_BITS(x)            ((VI)(x))
#define V_POW2(i)            ((V)(((i) + 127) << 23))
#define V_TIMES_POW2(x, t)   ((V)(V_BITS(x) + (V_BITS(t) << 23)))
#define V_MINUS_ABS(x)       ((V)((VI)(x) | INT32_MIN))
#if SIMD_LEVEL == 2
#define V_MIN(a, b) ((V)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define V_BELOW(x, limit, a, b) \
    ((V)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(x), _mm512_set1_ps(limit), _CMP_LT_OQ), (__m512)(b), (__m512)(a)))
#elif SIMD_LEVEL == 1
#define V_MIN(a, b) ((V)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define V_BELOW(x, limit, a, b) \
    ((V)_mm256_blendv_ps((__m256)(b), (__m256)(a), _mm256_cmp_ps((__m256)(x), _mm256_set1_ps(limit), _CMP_LT_OQ)))
#else
#define V_MIN(a, b)             V_SELECT((a) < (b), (a), (b))
#define V_BELOW(x, limit, a, b) V_SELECT((x) < V_SET(limit), (a), (b))
#endif
#include "ops/act_lanes.h"
#undef V_SELECT

#if SIMD_LEVEL == 2
#define FN(name) name##_avx512
#elif SIMD_LEVEL == 1
#define FN(name) name##_avx2
#else
#define FN(name) name##_base
#endif
#undef AT_LEVEL

#define vexp FN(lanes_exp)

/* An activation and its slope; act is a constant where these are inlined. */
INLINE vf FN(act_of)(const ful_act act, vf x)
{
    switch (act) {
    case FUL_ACT_RELU: return FN(lanes_relu)(x);
    case FUL_ACT_GELU: return FN(lanes_gelu)(x);
    case FUL_ACT_SILU: return FN(lanes_silu)(x);
    case FUL_ACT_HARD_SWISH: return FN(lanes_hard_swish)(x);
    case FUL_ACT_RELU6: return FN(lanes_relu6)(x);
    case FUL_ACT_HARD_SIGMOID: return FN(lanes_hard_sigmoid)(x);
    default: return x;
    }
}

INLINE vf FN(slope_of)(const ful_act act, vf x)
{
    switch (act) {
    case FUL_ACT_RELU: return FN(lanes_relu_slope)(x);
    case FUL_ACT_GELU: return FN(lanes_gelu_slope)(x);
    case FUL_ACT_SILU: return FN(lanes_silu_slope)(x);
    case FUL_ACT_HARD_SWISH: return FN(lanes_hard_swish_slope)(x);
    case FUL_ACT_RELU6: return FN(lanes_relu6_slope)(x);
    case FUL_ACT_HARD_SIGMOID: return FN(lanes_hard_sigmoid_slope)(x);
    default: return vset(1);
    }
}
