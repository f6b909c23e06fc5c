/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exp, the normal distribution, and the activations with their slopes, written once for any width of lanes. Included once for
 * each width (so no guard), after these macros:
 *
 *   V VI          lanes of float, of int32_t         FN(name)        the name at this width
 *   LANES_FN      storage class and target           V_FMA(a, b, c)  a*b + c, rounded once
 *   V_MAX V_MIN   (a, b): a > b ? a : b, a < b ? a : b, so a NaN in b comes through
 *   V_BELOW(x, limit, a, b)   x < limit ? a : b, limit a number
 *   V_SET(f)      V_BITS(x)   V_POW2(i) = 2^i, -126 <= i <= 127
 *   V_MINUS_ABS(x)            -|x|
 *   V_TIMES_POW2(x, t)        x 2^i for 1/2 <= x < 2, -125 <= i <= 0 and t = 1.5 * 2^23 + i
 *
 * Each operation is one IEEE operation at every width, so every width gives the same bits.
 */

/*
 * x = n ln 2 + r, |r| <= ln 2 / 2, exp(r) = 1 + r + r^2 P(r) with a minimax P (3e-9), then times 2^n in two factors, so that
 * results down to the smallest denormal are rounded once. Relative error below 1.2e-7.
 */
LANES_FN V FN(exp)(V x)
{
    x = V_MIN(V_SET(89.0f), V_MAX(V_SET(-104.0f), x));
    const V t = V_FMA(x, V_SET(1.44269504f), V_SET(12582912.0f)); /* 1.5 * 2^23: the integer stands in the low bits */
    const V n = t - 12582912.0f;
    V r = V_FMA(n, V_SET(-0.693359375f), x);
    r = V_FMA(n, V_SET(2.12194440e-4f), r);
    V p = V_FMA(r, V_SET(1.38144661e-3f), V_SET(8.36878084e-3f));
    p = V_FMA(r, p, V_SET(4.16683927e-2f));
    p = V_FMA(r, p, V_SET(1.66665196e-1f));
    p = V_FMA(r, p, V_SET(4.99999940e-1f));
    const V e = V_FMA(r * r, p, r) + 1.0f;
    const VI i = V_BITS(t) - 0x4B400000;
    const VI half = i >> 1;
    return e * V_POW2(half) * V_POW2(i - half);
}

/*
 * The normal distribution function Phi(z) = exp(-z^2/2) P(t) for -13 <= z <= 0, in two halves: what they take is latency, and
 * a processor that is given one half of many lanes, then the other, has more of them under way at a time. Odd and even terms
 * are chains of their own for the same reason.
 *
 *   exp(-z^2/2)   2^n 2^r with r in -1/2..1/2, for which the square and the factor have two parts each, and 2^r a minimax
 *                 polynomial (1.5e-7, all of it below, for half of which P makes up)
 *   P(t)          t = 1/(1 - 0.2945 z) and P a minimax polynomial of degree 8 (relative error 3e-8): right in relative terms
 *                 far out too, where 1 + erf(z/sqrt 2) would cancel
 */
LANES_FN V FN(normal_gauss)(V z)
{
    const V square = z * z;
    const V shifted = V_FMA(square, V_SET(-0.72134752f), V_SET(12582912.0f)); /* 1.5 * 2^23: n stands in the low bits */
    V r = V_FMA(square, V_SET(-0.72134752f), V_SET(12582912.0f) - shifted);
    r = V_FMA(square, V_SET(-9.62981517e-9f), r);
    r = V_FMA(V_FMA(z, z, -square), V_SET(-0.72134752f), r);
    const V r2 = r * r;
    V even = V_FMA(r2, V_SET(9.67554096e-3f), V_SET(0.24022118f)), odd = V_FMA(r2, V_SET(1.32764796e-3f), V_SET(0.0555071285f));
    even = V_FMA(r2, even, V_SET(1.0f));
    odd = V_FMA(r2, odd, V_SET(0.693146917f));
    return V_TIMES_POW2(V_FMA(r, odd, even), shifted);
}

LANES_FN V FN(normal_t)(V z)
{
    return V_SET(1.0f) / V_FMA(z, V_SET(-0.2945f), V_SET(1.0f));
}

LANES_FN V FN(normal_cdf)(V gauss, V t)
{
    const V t2 = t * t;
    V even = V_FMA(t2, V_SET(0.0398584716f), V_SET(0.278452635f)), odd = V_FMA(t2, V_SET(-0.186395779f), V_SET(-0.124699347f));
    even = V_FMA(t2, even, V_SET(0.171022236f));
    odd = V_FMA(t2, odd, V_SET(0.0827949122f));
    even = V_FMA(t2, even, V_SET(0.121908277f));
    odd = V_FMA(t2, odd, V_SET(0.117038958f));
    even = V_FMA(t2, even, V_SET(1.96850069e-05f));
    return gauss * V_FMA(t, odd, even);
}

/* 1 / (1 + exp(-x)) */
LANES_FN V FN(sigmoid)(V x)
{
    return V_SET(1.0f) / (FN(exp)(V_SET(0.0f) - x) + 1.0f);
}

LANES_FN V FN(relu)(V x)
{
    return V_MAX(V_SET(0.0f), x); /* a NaN stays one */
}

LANES_FN V FN(relu_slope)(V x)
{
    return V_BELOW(V_SET(0.0f) - x, 0.0f, V_SET(1.0f), V_SET(0.0f));
}

/*
 * x Phi(x): the exact form, not the tanh one (Hendrycks and Gimpel 2016). With z = -|x| it is max(x, 0) + z Phi(z), and its
 * slope Phi(x) + x exp(-x^2/2) / sqrt(2 pi) is that at z, or 1 minus it. Below -13 everything is as at -13, nearly 0.
 */
LANES_FN V FN(gelu_z)(V x)
{
    return V_MAX(V_SET(-13.0f), V_MINUS_ABS(x));
}

/* The second half: gauss and t are those of gelu_z(x). */
LANES_FN V FN(gelu_from)(V x, V gauss, V t, V *slope)
{
    const V z = FN(gelu_z)(x), tail = FN(normal_cdf)(gauss, t);
    const V slope_at_z = V_FMA(z * 0.39894228f, gauss, tail);
    *slope = V_BELOW(x, 0.0f, slope_at_z, V_SET(1.0f) - slope_at_z);
    return V_FMA(z, tail, V_MAX(V_SET(0.0f), x));
}

LANES_FN V FN(gelu_both)(V x, V *slope)
{
    const V z = FN(gelu_z)(x);
    return FN(gelu_from)(x, FN(normal_gauss)(z), FN(normal_t)(z), slope);
}

LANES_FN V FN(gelu)(V x)
{
    V slope;
    return FN(gelu_both)(x, &slope);
}

LANES_FN V FN(gelu_slope)(V x)
{
    V slope;
    (void)FN(gelu_both)(x, &slope);
    return slope;
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

/* min(max(x + 3, 0), 6) / 6, exactly 1 from 3 on, since 6 times the nearest float to 1/6 rounds to 1 */
LANES_FN V FN(hard_sigmoid)(V x)
{
    return V_MIN(V_SET(6.0f), V_MAX(V_SET(0.0f), x + 3.0f)) * V_SET(1.0f / 6.0f);
}

/* x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019) */
LANES_FN V FN(hard_swish)(V x)
{
    return x * FN(hard_sigmoid)(x); /* the factor first: 6 x could overflow */
}

LANES_FN V FN(hard_swish_slope)(V x)
{
    const V inside = V_FMA(x, V_SET(2.0f), V_SET(3.0f)) * V_SET(1.0f / 6.0f);
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

LANES_FN V FN(hard_sigmoid_slope)(V x)
{
    const V above = V_BELOW(x, 3.0f, V_SET(1.0f / 6.0f), V_SET(0.0f));
    return V_BELOW(V_SET(0.0f) - x, 3.0f, above, V_SET(0.0f));
}

/* The activation and its slope. */
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
#undef V_TIMES_POW2
#undef V_MINUS_ABS
