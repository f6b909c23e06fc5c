/* SPDX-License-Identifier: Apache-2.0 */
/* Batch-norm over contiguous matrices [rows][width] of channels (slabs.h), in strips. Compiled once a CPU level. */
#include "ops/simd_epilogue.h"
#include "ops/simd_strips.h"

INLINE void FN(result)(float *p, vf v, const int tail, bool stream)
{
    if (!tail && stream)
        vstream(p, v);
    else
        vput(p, v, tail);
}

/* A value of a lone stream, with what comes BN_AHEAD later sent for: the hardware's own guess ends at a page. */
INLINE vf FN(next)(const float *p, const int tail)
{
    if (!tail) __builtin_prefetch(p + BN_AHEAD);
    return vget(p, tail);
}

/* s1 += sum (x - shift), s2 += sum (x - shift)^2 over the rows. */
INLINE void FN(stats_strip)(const bn_span *s, const float *x, const bn_sums *out, int col, const int nv, const int unroll,
                            const int tail)
{
    vf shift[4], s1[4], s2[4];
    FN(channels)(shift, out->shift + col, nv, tail);
#pragma GCC unroll 4
    for (int k = 0; k < nv * unroll; k++) s1[k] = s2[k] = (vf){0};
    const int64_t rows = s->rows, width = s->width;
    const float *p = x + col;
    int64_t r = 0;
    for (; r + unroll <= rows; r += unroll, p += unroll * width)
#pragma GCC unroll 4
        for (int k = 0; k < nv * unroll; k++) {
            const vf e = FN(next)(p + k / nv * width + k % nv * LANES, tail) - shift[k % nv];
            s1[k] += e;
            s2[k] += e * e;
        }
    for (; r < rows; r++, p += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const vf e = vget(p + v * LANES, tail) - shift[v];
            s1[v] += e;
            s2[v] += e * e;
        }
    FN(flush)(out->s1 + col, s1, nv, unroll, tail);
    FN(flush)(out->s2 + col, s2, nv, unroll, tail);
}

static TARGET void FN(stats)(const bn_span *s, const float *x, const bn_sums *out)
{
    int col = 0;
    for (; col + 4 * LANES <= s->width; col += 4 * LANES) FN(stats_strip)(s, x, out, col, 4, 1, 0);
    for (; col + 2 * LANES <= s->width; col += 2 * LANES) FN(stats_strip)(s, x, out, col, 2, 2, 0);
    for (; col + LANES <= s->width; col += LANES) FN(stats_strip)(s, x, out, col, 1, 4, 0);
    if (col < s->width) FN(stats_strip)(s, x, out, col, 1, 1, s->width - col);
}

/* y = act((x - mean) * a + beta [+ residual]), a = gamma * rstd. */
INLINE void FN(apply_strip)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, int col,
                            const int nv, const int tail, const bool add, const ful_act act)
{
    vf mean[4], a[4], beta[4];
    FN(channels)(mean, f->mean + col, nv, tail);
    FN(channels)(a, f->a + col, nv, tail);
    FN(channels)(beta, f->beta + col, nv, tail);
    const int64_t rows = s->rows, width = s->width;
    const bool stream = s->stream;
    float *near = s->near;
    int64_t at = col;
#pragma GCC unroll 4
    for (int64_t r = 0; r < rows; r++, at += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            vf value = (FN(next)(x + p, tail) - mean[v]) * a[v] + beta[v];
            if (add) value += FN(next)(residual + p, tail);
            value = FN(act_of)(act, value);
            FN(result)(y + p, value, tail, stream);
            if (near) vput(near + p, value, tail);
        }
}

/* The last columns, fewer than a vector: once for all activations, as compiling each apart takes its time. */
NO_INLINE void FN(apply_tail)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, int col,
                              bool add, ful_act act)
{
    FN(apply_strip)(s, f, x, residual, y, col, 1, s->width - col, add, act);
}

INLINE void FN(apply_all)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, const bool add,
                          const ful_act act)
{
    int col = 0;
    for (; col + 4 * LANES <= s->width; col += 4 * LANES) FN(apply_strip)(s, f, x, residual, y, col, 4, 0, add, act);
    for (; col + LANES <= s->width; col += LANES) FN(apply_strip)(s, f, x, residual, y, col, 1, 0, add, act);
    if (col < s->width) FN(apply_tail)(s, f, x, residual, y, col, add, act);
}

INLINE void FN(apply_act)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y,
                          const ful_act act)
{
    if (residual)
        FN(apply_all)(s, f, x, residual, y, true, act);
    else
        FN(apply_all)(s, f, x, residual, y, false, act);
}

static TARGET void FN(apply)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, ful_act act)
{
    switch (act) {
    case FUL_ACT_RELU: FN(apply_act)(s, f, x, residual, y, FUL_ACT_RELU); break;
    case FUL_ACT_RELU6: FN(apply_act)(s, f, x, residual, y, FUL_ACT_RELU6); break;
    case FUL_ACT_HARD_SWISH: FN(apply_act)(s, f, x, residual, y, FUL_ACT_HARD_SWISH); break;
    default: FN(apply_act)(s, f, x, residual, y, FUL_ACT_NONE);
    }
    if (s->stream) vfence();
}

/*
 * The gradient behind the activation. With a residual the slope is told from y; without, what went into the activation is
 * computed again from x (one stream less), by the same operations as in apply and so with the same result.
 */
INLINE vf FN(through)(const ful_act act, const bool from_y, const bool two, const bn_grad *t, int64_t p, vf e, vf a, vf beta,
                      const int tail)
{
    vf dy = FN(next)(t->dy + p, tail);
    if (two) dy += FN(next)(t->dy_more + p, tail);
    if (act == FUL_ACT_NONE) return dy;
    return FN(back_through)(act, from_y ? FN(next)(t->y + p, tail) : e * a + beta, dy);
}

/* s1 += sum g, s2 += sum g (x - mean) over the rows, where g is the gradient behind the activation; g is kept where asked. */
INLINE void FN(reduce_strip)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, int col, const int nv,
                             const int unroll, const int tail, const ful_act act, const bool from_y, const bool two,
                             const bool keep)
{
    vf mean[4], a[4], beta[4], s1[4], s2[4];
    FN(channels)(mean, f->mean + col, nv, tail);
    FN(channels)(a, f->a + col, nv, tail);
    FN(channels)(beta, f->beta + col, nv, tail);
#pragma GCC unroll 4
    for (int k = 0; k < nv * unroll; k++) s1[k] = s2[k] = (vf){0};
    const int64_t rows = s->rows, width = s->width;
    const bool stream = s->stream;
    int64_t at = col, r = 0;
    for (; r + unroll <= rows; r += unroll, at += unroll * width)
#pragma GCC unroll 4
        for (int k = 0; k < nv * unroll; k++) {
            const int v = k % nv;
            const int64_t p = at + k / nv * width + v * LANES;
            const vf e = FN(next)(t->x + p, tail) - mean[v];
            const vf g = FN(through)(act, from_y, two, t, p, e, a[v], beta[v], tail);
            if (keep) FN(result)(t->g + p, g, tail, stream);
            s1[k] += g;
            s2[k] += g * e;
        }
    for (; r < rows; r++, at += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            const vf e = FN(next)(t->x + p, tail) - mean[v];
            const vf g = FN(through)(act, from_y, two, t, p, e, a[v], beta[v], tail);
            if (keep) FN(result)(t->g + p, g, tail, stream);
            s1[v] += g;
            s2[v] += g * e;
        }
    FN(flush)(out->s1 + col, s1, nv, unroll, tail);
    FN(flush)(out->s2 + col, s2, nv, unroll, tail);
}

NO_INLINE void FN(reduce_tail)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, int col, ful_act act,
                               bool from_y, bool two, bool keep)
{
    FN(reduce_strip)(s, f, t, out, col, 1, 1, s->width - col, act, from_y, two, keep);
}

INLINE void FN(reduce_all)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, const ful_act act,
                           const bool from_y, const bool two, const bool keep)
{
    int col = 0;
    for (; col + 2 * LANES <= s->width; col += 2 * LANES) FN(reduce_strip)(s, f, t, out, col, 2, 2, 0, act, from_y, two, keep);
    for (; col + LANES <= s->width; col += LANES) FN(reduce_strip)(s, f, t, out, col, 1, 4, 0, act, from_y, two, keep);
    if (col < s->width) FN(reduce_tail)(s, f, t, out, col, act, from_y, two, keep);
}

INLINE void FN(reduce_act)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, const ful_act act,
                           const bool two)
{
    const bool from_y = ful__act_slope_of_y(act) && t->y;
    if (from_y && t->g)
        FN(reduce_all)(s, f, t, out, act, true, two, true);
    else if (from_y)
        FN(reduce_all)(s, f, t, out, act, true, two, false);
    else if (act == FUL_ACT_NONE && t->g)
        FN(reduce_all)(s, f, t, out, act, false, two, true);
    else
        FN(reduce_all)(s, f, t, out, act, false, two, false);
}

INLINE void FN(reduce_sum)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, const bool two)
{
    switch (t->act) {
    case FUL_ACT_RELU: FN(reduce_act)(s, f, t, out, FUL_ACT_RELU, two); break;
    case FUL_ACT_RELU6: FN(reduce_act)(s, f, t, out, FUL_ACT_RELU6, two); break;
    case FUL_ACT_HARD_SWISH: FN(reduce_act)(s, f, t, out, FUL_ACT_HARD_SWISH, two); break;
    default: FN(reduce_act)(s, f, t, out, FUL_ACT_NONE, two);
    }
}

static TARGET void FN(reduce)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out)
{
    if (t->dy_more)
        FN(reduce_sum)(s, f, t, out, true);
    else
        FN(reduce_sum)(s, f, t, out, false);
    if (s->stream) vfence();
}

/* dx = a (g - m1 - (x - mean) m2), m1 = mean of g, m2 = mean of g (x - mean) * rstd^2. */
INLINE void FN(dx_strip)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, int col, const int nv,
                         const int tail, const ful_act act, const bool from_y, const bool two)
{
    vf mean[2], a[2], beta[2], m1[2], m2[2];
    FN(channels)(mean, f->mean + col, nv, tail);
    FN(channels)(a, f->a + col, nv, tail);
    FN(channels)(beta, f->beta + col, nv, tail);
    FN(channels)(m1, f->m1 + col, nv, tail);
    FN(channels)(m2, f->m2 + col, nv, tail);
    const int64_t rows = s->rows, width = s->width;
    const bool stream = s->stream;
    int64_t at = col;
#pragma GCC unroll 4
    for (int64_t r = 0; r < rows; r++, at += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            const vf e = FN(next)(t->x + p, tail) - mean[v];
            const vf g = FN(through)(act, from_y, two, t, p, e, a[v], beta[v], tail);
            FN(result)(dx + p, a[v] * (g - m1[v] - e * m2[v]), tail, stream);
        }
}

NO_INLINE void FN(dx_tail)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, int col, ful_act act, bool from_y,
                           bool two)
{
    FN(dx_strip)(s, f, t, dx, col, 1, s->width - col, act, from_y, two);
}

INLINE void FN(dx_all)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, const ful_act act, const bool from_y,
                       const bool two)
{
    int col = 0;
    for (; col + 2 * LANES <= s->width; col += 2 * LANES) FN(dx_strip)(s, f, t, dx, col, 2, 0, act, from_y, two);
    for (; col + LANES <= s->width; col += LANES) FN(dx_strip)(s, f, t, dx, col, 1, 0, act, from_y, two);
    if (col < s->width) FN(dx_tail)(s, f, t, dx, col, act, from_y, two);
}

INLINE void FN(dx_act)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, const ful_act act, const bool two)
{
    if (ful__act_slope_of_y(act) && t->y)
        FN(dx_all)(s, f, t, dx, act, true, two);
    else
        FN(dx_all)(s, f, t, dx, act, false, two);
}

INLINE void FN(dx_sum)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, const bool two)
{
    switch (t->act) {
    case FUL_ACT_RELU: FN(dx_act)(s, f, t, dx, FUL_ACT_RELU, two); break;
    case FUL_ACT_RELU6: FN(dx_act)(s, f, t, dx, FUL_ACT_RELU6, two); break;
    case FUL_ACT_HARD_SWISH: FN(dx_act)(s, f, t, dx, FUL_ACT_HARD_SWISH, two); break;
    default: FN(dx_act)(s, f, t, dx, FUL_ACT_NONE, two);
    }
}

static TARGET void FN(dx)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx)
{
    if (t->dy_more)
        FN(dx_sum)(s, f, t, dx, true);
    else
        FN(dx_sum)(s, f, t, dx, false);
    if (s->stream) vfence();
}

static const bn_kernels FN(kernels) = {FN(stats), FN(apply), FN(reduce), FN(dx)};
