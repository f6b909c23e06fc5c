/* SPDX-License-Identifier: Apache-2.0 */
/* Layer-norm of one set of values (layernorm_cpu.c). Compiled once a CPU level. */
#include "ops/simd_strips.h"

/* Float sums take in at most this many values before they go into a double. */
enum { FN(block) = 8192 };

INLINE double FN(collect)(vf acc[4])
{
    const double sum = (double)vsum((acc[0] + acc[1]) + (acc[2] + acc[3]));
    acc[0] = acc[1] = acc[2] = acc[3] = (vf){0};
    return sum;
}

/* Sum over the set of x - shift, or of its square. */
INLINE double FN(sum)(const ln_set *s, const float *x, float shift, const bool square)
{
    double total = 0;
    vf acc[4] = {{0}};
    const vf middle = vset(shift);
    for (int64_t g = 0; g < s->pieces; g++, x += s->piece_stride)
        for (int64_t i = 0; i < s->piece;) {
            const int64_t end = s->piece - i < FN(block) ? s->piece : i + FN(block);
            for (; i + 4 * LANES <= end; i += 4 * LANES)
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) {
                    const vf e = vload(x + i + k * LANES) - middle;
                    acc[k] += square ? e * e : e;
                }
            for (; i + LANES <= end; i += LANES) {
                const vf e = vload(x + i) - middle;
                acc[0] += square ? e * e : e;
            }
            if (i < end) {
                const vf e = vfirst(vload_n(x + i, (int)(end - i)) - middle, (int)(end - i));
                acc[1] += square ? e * e : e;
                i = end;
            }
            if (end < s->piece) total += FN(collect)(acc);
        }
    return total + FN(collect)(acc);
}

static TARGET float FN(mean)(const ln_set *s, const float *x)
{
    return (float)(FN(sum)(s, x, 0, false) / (double)(s->pieces * s->piece));
}

static TARGET double FN(variance)(const ln_set *s, const float *x, float mean)
{
    return FN(sum)(s, x, mean, true) / (double)(s->pieces * s->piece);
}

/* y = (x - mean) * rstd * gamma + beta */
INLINE void FN(apply_strip)(const ln_set *s, const float *x, float mean, float rstd, const float *gamma, const float *beta,
                            float *y, const int nv, const int tail)
{
    vf a[4], b[4];
    FN(channels)(a, gamma, nv, tail);
    FN(channels)(b, beta, nv, tail);
    for (int64_t at = 0; at < s->rows * s->width; at += s->width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            vput(y + p, (vget(x + p, tail) - mean) * rstd * a[v] + b[v], tail);
        }
}

static TARGET void FN(apply)(const ln_set *s, const float *x, float mean, float rstd, const float *gamma, const float *beta,
                             float *y)
{
    for (int g = 0; g < s->groups; g++, gamma += s->width, beta += s->width, x += s->group_stride, y += s->group_stride) {
        int c = 0;
        for (; c + 4 * LANES <= s->width; c += 4 * LANES)
            FN(apply_strip)(s, x + c, mean, rstd, gamma + c, beta + c, y + c, 4, 0);
        for (; c + LANES <= s->width; c += LANES) FN(apply_strip)(s, x + c, mean, rstd, gamma + c, beta + c, y + c, 1, 0);
        if (c < s->width) FN(apply_strip)(s, x + c, mean, rstd, gamma + c, beta + c, y + c, 1, s->width - c);
    }
}

/* For a strip: dbeta += sum dy, dgamma += sum dy xhat, and gamma times both (without rstd) to the sums over the set. */
INLINE void FN(reduce_strip)(const ln_set *s, const float *x, const float *dy, float mean, float rstd, const float *gamma,
                             float *dgamma, float *dbeta, vf sum[2], const int nv, const int tail)
{
    vf a[4];
    FN(channels)(a, gamma, nv, tail);
    for (int64_t begin = 0; begin < s->rows; begin += 1024) {
        const int64_t end = s->rows - begin < 1024 ? s->rows : begin + 1024;
        vf s1[4] = {{0}}, s2[4] = {{0}};
        for (int64_t at = begin * s->width; at < end * s->width; at += s->width)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                const vf g = vget(dy + at + v * LANES, tail);
                s1[v] += g;
                s2[v] += g * (vget(x + at + v * LANES, tail) - mean);
            }
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            sum[0] += a[v] * s1[v];
            sum[1] += a[v] * s2[v];
            vput(dbeta + v * LANES, vget(dbeta + v * LANES, tail) + s1[v], tail);
            vput(dgamma + v * LANES, vget(dgamma + v * LANES, tail) + s2[v] * rstd, tail);
        }
    }
}

/* dx = rstd (gamma dy - m1 - (x - mean) m2) + more */
INLINE void FN(dx_strip)(const ln_set *s, const float *x, const float *dy, float mean, float rstd, float m1, float m2,
                         const float *gamma, const float *more, float *dx, const int nv, const int tail)
{
    vf a[4];
    FN(channels)(a, gamma, nv, tail);
    for (int64_t at = 0; at < s->rows * s->width; at += s->width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            const vf own = rstd * (a[v] * vget(dy + p, tail) - m1 - (vget(x + p, tail) - mean) * m2);
            vput(dx + p, more ? own + vget(more + p, tail) : own, tail);
        }
}

static TARGET void FN(backward)(const ln_set *s, const float *x, const float *dy, float mean, float rstd, const float *gamma,
                                float *dgamma, float *dbeta, const float *more, float *dx)
{
    vf sum[2] = {{0}};
    for (int g = 0; g < s->groups; g++) {
        const int64_t at = g * s->group_stride, ch = (int64_t)g * s->width;
        const float *gx = x + at, *gd = dy + at, *w = gamma + ch;
        float *dw = dgamma + ch, *db = dbeta + ch;
        int c = 0;
        for (; c + 4 * LANES <= s->width; c += 4 * LANES)
            FN(reduce_strip)(s, gx + c, gd + c, mean, rstd, w + c, dw + c, db + c, sum, 4, 0);
        for (; c + LANES <= s->width; c += LANES)
            FN(reduce_strip)(s, gx + c, gd + c, mean, rstd, w + c, dw + c, db + c, sum, 1, 0);
        if (c < s->width) FN(reduce_strip)(s, gx + c, gd + c, mean, rstd, w + c, dw + c, db + c, sum, 1, s->width - c);
    }
    if (!dx) return;
    const float n = (float)(s->pieces * s->piece), m1 = vsum(sum[0]) / n, m2 = vsum(sum[1]) / n * rstd * rstd;
    for (int g = 0; g < s->groups; g++) {
        const int64_t at = g * s->group_stride;
        const float *gx = x + at, *gd = dy + at, *w = gamma + (int64_t)g * s->width, *add = more ? more + at : NULL;
        float *out = dx + at;
        for (int c = 0; c < s->width;) {
            const int left = s->width - c;
            const float *adds = add ? add + c : NULL;
            if (left >= 4 * LANES)
                FN(dx_strip)(s, gx + c, gd + c, mean, rstd, m1, m2, w + c, adds, out + c, 4, 0);
            else if (left >= LANES)
                FN(dx_strip)(s, gx + c, gd + c, mean, rstd, m1, m2, w + c, adds, out + c, 1, 0);
            else
                FN(dx_strip)(s, gx + c, gd + c, mean, rstd, m1, m2, w + c, adds, out + c, 1, left);
            c += left >= 4 * LANES ? 4 * LANES : LANES;
        }
    }
}

static const ln_kernels FN(kernels) = {FN(mean), FN(variance), FN(apply), FN(backward)};
