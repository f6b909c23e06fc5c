/* SPDX-License-Identifier: Apache-2.0 */
/* Batch-norm over contiguous matrices [rows][width] of channels (slabs.h), in strips. Compiled once a CPU level. */
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
                            const int nv, const int tail, const bool add, const bool relu)
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
            if (relu) value = vrelu(value);
            FN(result)(y + p, value, tail, stream);
            if (near) vput(near + p, value, tail);
        }
}

INLINE void FN(apply_all)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, const bool add,
                          const bool relu)
{
    int col = 0;
    for (; col + 4 * LANES <= s->width; col += 4 * LANES) FN(apply_strip)(s, f, x, residual, y, col, 4, 0, add, relu);
    for (; col + LANES <= s->width; col += LANES) FN(apply_strip)(s, f, x, residual, y, col, 1, 0, add, relu);
    if (col < s->width) FN(apply_strip)(s, f, x, residual, y, col, 1, s->width - col, add, relu);
}

static TARGET void FN(apply)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, bool relu)
{
    if (residual && relu)
        FN(apply_all)(s, f, x, residual, y, true, true);
    else if (residual)
        FN(apply_all)(s, f, x, residual, y, true, false);
    else if (relu)
        FN(apply_all)(s, f, x, residual, y, false, true);
    else
        FN(apply_all)(s, f, x, residual, y, false, false);
    if (s->stream) vfence();
}

/*
 * The gradient behind the activation: dy where the output was positive. With a residual the sign is read from y; without,
 * it is computed again from x (one stream less), by the same operations as in apply and so with the same result.
 */
INLINE vf FN(through)(const bn_mask mask, const bool two, const bn_grad *t, int64_t p, vf e, vf a, vf beta, const int tail)
{
    vf dy = FN(next)(t->dy + p, tail);
    if (two) dy += FN(next)(t->dy_more + p, tail);
    if (mask == BN_MASK_X) return vwhere_positive(e * a + beta, dy);
    if (mask == BN_MASK_Y) return vwhere_positive(FN(next)(t->y + p, tail), dy);
    return dy;
}

/* s1 += sum g, s2 += sum g (x - mean) over the rows, where g is the gradient behind the activation; g is kept where asked. */
INLINE void FN(reduce_strip)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, int col, const int nv,
                             const int unroll, const int tail, const bn_mask mask, const bool two, const bool keep)
{
    vf mean[4], a[4], beta[4], s1[4], s2[4];
    FN(channels)(mean, f->mean + col, nv, tail);
    FN(channels)(a, f->a + col, nv, tail);
    FN(channels)(beta, f->beta + col, nv, tail);
#pragma GCC unroll 4
    for (int k = 0; k < nv * unroll; k++) s1[k] = s2[k] = (vf){0};
    const int64_t rows = s->rows, width = s->width;
    int64_t at = col, r = 0;
    for (; r + unroll <= rows; r += unroll, at += unroll * width)
#pragma GCC unroll 4
        for (int k = 0; k < nv * unroll; k++) {
            const int v = k % nv;
            const int64_t p = at + k / nv * width + v * LANES;
            const vf e = FN(next)(t->x + p, tail) - mean[v];
            const vf g = FN(through)(mask, two, t, p, e, a[v], beta[v], tail);
            if (keep) vput(t->g + p, g, tail);
            s1[k] += g;
            s2[k] += g * e;
        }
    for (; r < rows; r++, at += width)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int64_t p = at + v * LANES;
            const vf e = FN(next)(t->x + p, tail) - mean[v];
            const vf g = FN(through)(mask, two, t, p, e, a[v], beta[v], tail);
            if (keep) vput(t->g + p, g, tail);
            s1[v] += g;
            s2[v] += g * e;
        }
    FN(flush)(out->s1 + col, s1, nv, unroll, tail);
    FN(flush)(out->s2 + col, s2, nv, unroll, tail);
}

INLINE void FN(reduce_all)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, const bn_mask mask,
                           const bool two, const bool keep)
{
    int col = 0;
    for (; col + 2 * LANES <= s->width; col += 2 * LANES) FN(reduce_strip)(s, f, t, out, col, 2, 2, 0, mask, two, keep);
    for (; col + LANES <= s->width; col += LANES) FN(reduce_strip)(s, f, t, out, col, 1, 4, 0, mask, two, keep);
    if (col < s->width) FN(reduce_strip)(s, f, t, out, col, 1, 1, s->width - col, mask, two, keep);
}

INLINE void FN(reduce_sum)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, bn_mask mask,
                           const bool two)
{
    if (mask == BN_MASK_X)
        FN(reduce_all)(s, f, t, out, BN_MASK_X, two, false);
    else if (mask == BN_MASK_Y && t->g)
        FN(reduce_all)(s, f, t, out, BN_MASK_Y, two, true);
    else if (mask == BN_MASK_Y)
        FN(reduce_all)(s, f, t, out, BN_MASK_Y, two, false);
    else if (t->g)
        FN(reduce_all)(s, f, t, out, BN_MASK_NONE, two, true);
    else
        FN(reduce_all)(s, f, t, out, BN_MASK_NONE, two, false);
}

static TARGET void FN(reduce)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, bn_mask mask)
{
    if (t->dy_more)
        FN(reduce_sum)(s, f, t, out, mask, true);
    else
        FN(reduce_sum)(s, f, t, out, mask, false);
}

/* dx = a (g - m1 - (x - mean) m2), m1 = mean of g, m2 = mean of g (x - mean) * rstd^2. */
INLINE void FN(dx_strip)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, int col, const int nv,
                         const int tail, const bn_mask mask, const bool two)
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
            const vf g = FN(through)(mask, two, t, p, e, a[v], beta[v], tail);
            FN(result)(dx + p, a[v] * (g - m1[v] - e * m2[v]), tail, stream);
        }
}

INLINE void FN(dx_all)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, const bn_mask mask, const bool two)
{
    int col = 0;
    for (; col + 2 * LANES <= s->width; col += 2 * LANES) FN(dx_strip)(s, f, t, dx, col, 2, 0, mask, two);
    for (; col + LANES <= s->width; col += LANES) FN(dx_strip)(s, f, t, dx, col, 1, 0, mask, two);
    if (col < s->width) FN(dx_strip)(s, f, t, dx, col, 1, s->width - col, mask, two);
}

INLINE void FN(dx_sum)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, bn_mask mask, const bool two)
{
    if (mask == BN_MASK_X)
        FN(dx_all)(s, f, t, dx, BN_MASK_X, two);
    else if (mask == BN_MASK_Y)
        FN(dx_all)(s, f, t, dx, BN_MASK_Y, two);
    else
        FN(dx_all)(s, f, t, dx, BN_MASK_NONE, two);
}

static TARGET void FN(dx)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, bn_mask mask)
{
    if (t->dy_more)
        FN(dx_sum)(s, f, t, dx, mask, true);
    else
        FN(dx_sum)(s, f, t, dx, mask, false);
    if (s->stream) vfence();
}

static const bn_kernels FN(kernels) = {FN(stats), FN(apply), FN(reduce), FN(dx)};
