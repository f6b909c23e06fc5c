/* SPDX-License-Identifier: Apache-2.0 */
/* Activations and their slopes in double, with the C library's erf and exp. */
#include <math.h>

#include "ops/ref.h"

static const double sqrt_half = 0.70710678118654752, inv_sqrt_2pi = 0.39894228040143268;

double ful__act_value__ref(ful_act act, double x)
{
    switch (act) {
    case FUL_ACT_RELU: return x < 0 ? 0 : x;
    case FUL_ACT_GELU: return 0.5 * x * erfc(-x * sqrt_half);
    case FUL_ACT_SILU: return x / (1 + exp(-x));
    case FUL_ACT_HARD_SWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
    case FUL_ACT_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case FUL_ACT_HARD_SIGMOID: return x < -3 ? 0 : x > 3 ? 1 : (x + 3) / 6;
    default: return x;
    }
}

double ful__act_slope__ref(ful_act act, double x)
{
    const double s = 1 / (1 + exp(-x));
    switch (act) {
    case FUL_ACT_RELU: return x > 0;
    case FUL_ACT_GELU: return 0.5 * erfc(-x * sqrt_half) + x * inv_sqrt_2pi * exp(-0.5 * x * x);
    case FUL_ACT_SILU: return s * (1 + x * (1 - s));
    case FUL_ACT_HARD_SWISH: return x < -3 ? 0 : x < 3 ? (2 * x + 3) / 6 : 1;
    case FUL_ACT_RELU6: return x > 0 && x < 6;
    case FUL_ACT_HARD_SIGMOID: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    default: return 1;
    }
}

void ful__act_fwd__ref(const ful__ref *r)
{
    const ful_act act = *(const ful_act *)r->attr;
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->y[i] = ful__act_value__ref(act, r->x[0][i]);
}

void ful__act_bwd__ref(const ful__ref *r)
{
    const ful_act act = *(const ful_act *)r->attr;
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->dx[0][i] = r->dy[i] * ful__act_slope__ref(act, r->x[0][i]);
}
