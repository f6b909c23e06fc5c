/* SPDX-License-Identifier: Apache-2.0 */
/* One row of a gate (glu.c). Compiled once a CPU level. */
#include "ops/simd_math.h"

INLINE void FN(gate)(const float *a, const float *g, float *v, ful_act act, const int tail)
{
    vput(v, FN(act_of)(act, vget(a, tail)) * vget(g, tail), tail);
}

INLINE void FN(gate_back)(const float *a, const float *g, const float *dv, float *da, float *dg, ful_act act, const int tail)
{
    const vf x = vget(a, tail), dy = vget(dv, tail), value = FN(act_of)(act, x);
    vput(da, dy * vget(g, tail) * FN(slope_of)(act, x), tail);
    vput(dg, dy * value, tail);
}

/* Every activation has a loop of its own. */
#define FOR_ACT(act, call)                                        \
    switch (act) {                                                \
    case FUL_ACT_NONE: call(FUL_ACT_NONE); break;                 \
    case FUL_ACT_RELU: call(FUL_ACT_RELU); break;                 \
    case FUL_ACT_GELU: call(FUL_ACT_GELU); break;                 \
    case FUL_ACT_SILU: call(FUL_ACT_SILU); break;                 \
    case FUL_ACT_HARD_SWISH: call(FUL_ACT_HARD_SWISH); break;     \
    case FUL_ACT_RELU6: call(FUL_ACT_RELU6); break;               \
    case FUL_ACT_HARD_SIGMOID: call(FUL_ACT_HARD_SIGMOID); break; \
    }

static TARGET void FN(forward)(ful_act act, const float *u, int64_t h, float *v)
{
    int64_t i;
#define LOOP(kind)                                                                      \
    for (i = 0; i + LANES <= h; i += LANES) FN(gate)(u + i, u + h + i, v + i, kind, 0); \
    if (i < h) FN(gate)(u + i, u + h + i, v + i, kind, (int)(h - i))
    FOR_ACT(act, LOOP)
#undef LOOP
}

static TARGET void FN(backward)(ful_act act, const float *u, const float *dv, int64_t h, float *du)
{
    int64_t i;
#define LOOP(kind)                                                                                                \
    for (i = 0; i + LANES <= h; i += LANES) FN(gate_back)(u + i, u + h + i, dv + i, du + i, du + h + i, kind, 0); \
    if (i < h) FN(gate_back)(u + i, u + h + i, dv + i, du + i, du + h + i, kind, (int)(h - i))
    FOR_ACT(act, LOOP)
#undef LOOP
}
#undef FOR_ACT

static const glu_kernels FN(kernels) = {FN(forward), FN(backward)};
