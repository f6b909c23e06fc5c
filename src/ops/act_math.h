/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Activations and their slopes. One value: ful__scalar_gelu(x), ful__scalar_gelu_slope(x) and so on for relu, silu, hard_swish,
 * relu6, hard_sigmoid, also ful__scalar_exp and ful__scalar_sigmoid. Arrays: AVX-512, AVX2 or scalar by ful_cpu_flags(), bit
 * for bit the scalar forms.
 */
#ifndef FUL_OPS_ACT_MATH_H
#define FUL_OPS_ACT_MATH_H

#include <fulcrum/ops.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline int32_t ful__float_bits(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* 2^i for -126 <= i <= 127; any other i gives some float. */
static inline float ful__float_pow2(int32_t i)
{
    const uint32_t bits = ((uint32_t)i + 127u) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* V_TIMES_POW2 of act_lanes.h. */
static inline float ful__float_times_pow2(float x, float t)
{
    const uint32_t bits = (uint32_t)ful__float_bits(x) + ((uint32_t)ful__float_bits(t) << 23);
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

#define FUL__ACT_LAST FUL_ACT_HARD_SIGMOID

/* In the order of ful_act; NULL ends it. */
extern const char *const ful__act_names[];

/* Whether the kernels of convolutions and batch-norm can do it with what they store (simd_epilogue.h): it costs little. */
static inline bool ful__act_fuses(ful_act act)
{
    return act == FUL_ACT_RELU || act == FUL_ACT_RELU6 || act == FUL_ACT_HARD_SWISH;
}

/* Whether its slope can be told from y; of the others it needs x. */
static inline bool ful__act_slope_of_y(ful_act act)
{
    return act == FUL_ACT_RELU || act == FUL_ACT_RELU6;
}

#define V                       float
#define VI                      int32_t
#define FN(name)                ful__scalar_##name
#define LANES_FN                static inline
#define V_FMA(a, b, c)          fmaf((a), (b), (c))
#define V_MAX(a, b)             ((a) > (b) ? (a) : (b))
#define V_MIN(a, b)             ((a) < (b) ? (a) : (b))
#define V_BELOW(x, limit, a, b) ((x) < (limit) ? (a) : (b))
#define V_SET(f)                (f)
#define V_BITS(x)               ful__float_bits(x)
#define V_POW2(i)               ful__float_pow2(i)
#define V_TIMES_POW2(x, t)      ful__float_times_pow2((x), (t))
#define V_MINUS_ABS(x)          (-fabsf(x))
#include "ops/act_lanes.h"

/* y[i] = act(x[i]); y may be x. */
void ful__act_forward(ful_act act, const float *x, float *y, int64_t n);
/* dx[i] = dy[i] * act'(x[i]), x the values before the activation; dx may be dy (or x). */
void ful__act_backward(ful_act act, const float *x, const float *dy, float *dx, int64_t n);
/* The same of rows of n values, ld from row to row of all arrays. */
void ful__act_forward_rows(ful_act act, const float *x, float *y, int64_t ld, int64_t rows, int64_t n);
void ful__act_backward_rows(ful_act act, const float *x, const float *dy, float *dx, int64_t ld, int64_t rows, int64_t n);
/* y = act(x) and slope = act'(x); y may be x. past: where that is quick, slope goes past the caches; its rows are 64-byte
 * aligned then, and ful__act_fence() comes before another thread reads it. */
void ful__act_forward_slope_rows(ful_act act, const float *x, float *y, float *slope, int64_t ld, int64_t rows, int64_t n,
                                 bool past);
void ful__act_fence(void);
/* x[i] *= by[i], of rows likewise. */
void ful__multiply_rows(float *x, const float *by, int64_t ld, int64_t rows, int64_t n);
/* y[i] = exp(x[i] - shift); y may be x. */
void ful__exp_shifted(const float *x, float shift, float *y, int64_t n);

#endif
