/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For kernels (simd.h): the activation behind a sum that still stands in registers, and the way back through it. act is one of
 * those that ful__act_fuses (act_math.h) allows, or none. (No include guard, see simd.h.)
 */
#include "ops/simd_math.h"

/* v[i] = act(v[i]), i < n; act and n are constants. */
INLINE void FN(activate_all)(const ful_act act, vf *v, const int n)
{
#pragma GCC unroll 32
    for (int i = 0; i < n; i++) v[i] = FN(act_of)(act, v[i]);
}

/* The same of an act known when it runs; n is a constant. */
INLINE void FN(activate)(ful_act act, vf *v, const int n)
{
    if (act == FUL_ACT_RELU)
        FN(activate_all)(FUL_ACT_RELU, v, n);
    else if (act == FUL_ACT_RELU6)
        FN(activate_all)(FUL_ACT_RELU6, v, n);
    else if (act == FUL_ACT_HARD_SWISH)
        FN(activate_all)(FUL_ACT_HARD_SWISH, v, n);
}

/* dy act'(v), act a constant; where ful__act_slope_of_y says so, v may as well be act(v). */
INLINE vf FN(back_through)(const ful_act act, vf v, vf dy)
{
    if (act == FUL_ACT_NONE) return dy;
    if (act == FUL_ACT_RELU) return vwhere_positive(v, dy);
    if (act == FUL_ACT_RELU6) return vwhere_positive(v, vwhere_positive(6.0f - v, dy));
    return dy * FN(slope_of)(act, v);
}
