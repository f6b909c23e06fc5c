/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exp, the normal distribution, and the activations with their slopes, written once for any width of lanes. Included once for
 * each width (so no guard), after these macros:
 *
 *   V VI          lanes of float, of int32_t         FN(name)        the name at this width
 *   LANES_FN      storage class and target           V_FMA(a, b, c)  a*b + c, rounded once
 *   V_MAX V_MIN   (a, b): a > b ? a : b, a < b ? a : b, so a NaN in b comes through
 *   V_BELOW(x, limit, a, b)   x < limit ? a : b, limit a number
 *   V_SET(f)      V_BITS(x)   V_POW2(i) = 2^i, -126 <= i <= 127     V_ABS(x)
 *
 * Each operation is one IEEE operation at every width, so every width gives the same bits.
 */

/*
 * exp(hi + lo) for |lo| << 1: hi = n ln 2 + r, |r| <= ln 2 / 2, exp(r) = 1 + r + r^2 P(r) with a minimax P (3e-9), then times
 * 2^n in two factors, so that results down to the smallest denormal are rounded once. Relative error below 1.2e-7.
 */
LANES_FN V FN(exp_sum)(V hi, V lo)
{
    hi = V_MIN(V_SET(89.0f), V_MAX(V_SET(-104.0f), hi));
    const V t = V_FMA(hi, V_SET(1.44269504f), V_SET(12582912.0f)); /* 1.5 * 2^23: the integer stands in the low bits */
    const V n = t - 12582912.0f;
    V r = V_FMA(n, V_SET(-0.693359375f), hi);
    r = V_FMA(n, V_SET(2.12194440e-4f), r) + lo;
    V p = V_FMA(r, V_SET(1.38144661e-3f), V_SET(8.36878084e-3f));
    p = V_FMA(r, p, V_SET(4.16683927e-2f));
    p = V_FMA(r, p, V_SET(1.66665196e-1f));
    p = V_FMA(r, p, V_SET(4.99999940e-1f));
    const V e = V_FMA(r * r, p, r) + 1.0f;
    const VI i = V_BITS(t) - 0x4B400000;
    const VI half = i >> 1;
    return e * V_POW2(half) * V_POW2(i - half);
}

LANES_FN V FN(exp)(V x)
{
    return FN(exp_sum)(x, V_SET(0.0f));
}

/*
 * The normal distribution function Phi(x), and exp(-x^2/2) to *gauss. For z = |x|, t = 1/(1 + 0.26 z):
 * 1 - Phi(z) = exp(-z^2/2) P(t) with P a minimax polynomial of degree 9 (relative error 3e-8 for z <= 14, so the tail is right
 * in relative terms too, where 1 + erf(x/sqrt 2) would cancel); x^2 is carried in two parts into exp.
 */
LANES_FN V FN(normal_cdf)(V x, V *gauss)
{
    const V z = V_MIN(V_SET(15.0f), V_ABS(x));
    const V square = z * z;
    const V rest = V_FMA(z, z, V_SET(0.0f) - square);
    const V e = FN(exp_sum)(square * -0.5f, rest * -0.5f);
    const V t = V_SET(1.0f) / V_FMA(z, V_SET(0.26f), V_SET(1.0f));
    V p = V_FMA(t, V_SET(0.033925768f), V_SET(-0.17051643f));
    p = V_FMA(t, p, V_SET(0.29097649f));
    p = V_FMA(t, p, V_SET(-0.20080310f));
    p = V_FMA(t, p, V_SET(0.20011027f));
    p = V_FMA(t, p, V_SET(0.031211799f));
    p = V_FMA(t, p, V_SET(0.10948000f));
    p = V_FMA(t, p, V_SET(0.10171580f));
    p = V_FMA(t, p, V_SET(0.10390656f));
    p = V_FMA(t, p, V_SET(-7.1638833e-6f));
    const V tail = e * p;
    *gauss = e;
    return V_BELOW(x, 0.0f, tail, V_SET(1.0f) - tail);
}

/* 1 / (1 + exp(-x)) */
LANES_FN V FN(sigmoid)(V x)
{
    return V_SET(1.0f) / (FN(exp)(V_SET(0.0f) - x) + 1.0f);
}

LANES_FN V FN(relu)(V x)
{
    return V_BELOW(x, 0.0f, V_SET(0.0f), x); /* a NaN stays one */
}

LANES_FN V FN(relu_slope)(V x)
{
    return V_BELOW(V_SET(0.0f) - x, 0.0f, V_SET(1.0f), V_SET(0.0f));
}

/* x Phi(x): the exact form, not the tanh one (Hendrycks and Gimpel 2016). */
LANES_FN V FN(gelu)(V x)
{
    V gauss;
    return x * FN(normal_cdf)(x, &gauss);
}

/* Phi(x) + x exp(-x^2/2) / sqrt(2 pi) */
LANES_FN V FN(gelu_slope)(V x)
{
    V gauss;
    const V cdf = FN(normal_cdf)(x, &gauss);
    return V_FMA(x * 0.39894228f, gauss, cdf);
}

LANES_FN V FN(silu)(V x)
{
    return x * FN(sigmoid)(x);
}

/* s (1 + x (1 - s)), s = sigmoid(x) */
LANES_FN V FN(silu_slope)(V x)
{
    const V s = FN(sigmoid)(x);
    return s * V_FMA(x, V_SET(1.0f) - s, V_SET(1.0f));
}

/* x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019) */
LANES_FN V FN(hard_swish)(V x)
{
    return x * (V_MIN(V_SET(6.0f), V_MAX(V_SET(0.0f), x + 3.0f)) / 6.0f); /* the factor first: 6 x could overflow */
}

LANES_FN V FN(hard_swish_slope)(V x)
{
    const V inside = V_FMA(x, V_SET(2.0f), V_SET(3.0f)) / 6.0f;
    const V above = V_BELOW(x, 3.0f, inside, V_SET(1.0f));
    return V_BELOW(x, -3.0f, V_SET(0.0f), above);
}

/* min(max(x, 0), 6) (Sandler et al. 2018); the slope may be asked of x or of y, it is the same. */
LANES_FN V FN(relu6)(V x)
{
    return V_MIN(V_SET(6.0f), FN(relu)(x));
}

LANES_FN V FN(relu6_slope)(V x)
{
    return V_BELOW(x, 6.0f, FN(relu_slope)(x), V_SET(0.0f));
}

/* min(max(x + 3, 0), 6) / 6 */
LANES_FN V FN(hard_sigmoid)(V x)
{
    return V_MIN(V_SET(6.0f), V_MAX(V_SET(0.0f), x + 3.0f)) / 6.0f;
}

LANES_FN V FN(hard_sigmoid_slope)(V x)
{
    const V above = V_BELOW(x, 3.0f, V_SET(1.0f / 6.0f), V_SET(0.0f));
    return V_BELOW(V_SET(0.0f) - x, 3.0f, above, V_SET(0.0f));
}

/* The activation and its slope. Of gelu both cost little more than one. */
LANES_FN V FN(gelu_both)(V x, V *slope)
{
    V gauss;
    const V cdf = FN(normal_cdf)(x, &gauss);
    *slope = V_FMA(x * 0.39894228f, gauss, cdf);
    return x * cdf;
}

LANES_FN V FN(relu_both)(V x, V *slope)
{
    *slope = FN(relu_slope)(x);
    return FN(relu)(x);
}

LANES_FN V FN(silu_both)(V x, V *slope)
{
    *slope = FN(silu_slope)(x);
    return FN(silu)(x);
}

LANES_FN V FN(hard_swish_both)(V x, V *slope)
{
    *slope = FN(hard_swish_slope)(x);
    return FN(hard_swish)(x);
}

LANES_FN V FN(relu6_both)(V x, V *slope)
{
    *slope = FN(relu6_slope)(x);
    return FN(relu6)(x);
}

LANES_FN V FN(hard_sigmoid_both)(V x, V *slope)
{
    *slope = FN(hard_sigmoid_slope)(x);
    return FN(hard_sigmoid)(x);
}

#undef V
#undef VI
#undef FN
#undef LANES_FN
#undef V_FMA
#undef V_MAX
#undef V_MIN
#undef V_BELOW
#undef V_SET
#undef V_BITS
#undef V_POW2
#undef V_ABS
