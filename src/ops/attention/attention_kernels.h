/* SPDX-License-Identifier: Apache-2.0 */
/* Attention between its products (attention_cpu.c). Compiled once a CPU level. */
#include "ops/simd_math.h"

/* Runs `call` for the whole vectors from i on, with tail 0, then for what is left of n. */
#define BY_VECTORS(n, call)                    \
    do {                                       \
        int64_t i = 0;                         \
        for (; i + LANES <= (n); i += LANES) { \
            enum { tail = 0 };                 \
            call;                              \
        }                                      \
        if (i < (n)) {                         \
            const int tail = (int)((n)-i);     \
            call;                              \
        }                                      \
    } while (0)

/* Products ---------------------------------------------------------------------------------------------------------------- */

enum { FN(panel) = 2 * LANES };

/* x [rows][width] in panels of columns, 0 in the columns that are not there. */
static TARGET void FN(pack)(const float *x, int64_t ld, int64_t rows, int64_t width, float *out)
{
    for (int64_t first = 0; first < width; first += FN(panel))
        for (int64_t r = 0; r < rows; r++, out += FN(panel)) {
            const float *from = x + r * ld + first;
            const int64_t left = width - first;
            if (left >= FN(panel)) {
                vstore(out, vload(from));
                vstore(out + LANES, vload(from + LANES));
            } else {
                vstore(out, left >= LANES ? vload(from) : vload_n(from, (int)left));
                vstore(out + LANES, left > LANES ? vload_n(from + LANES, (int)(left - LANES)) : (vf){0});
            }
        }
}

/* Rows of a tile of C: with two vectors a row, as many sums as leave registers for a row of B. Few large tiles have little time
 * for what comes next. */
#if LANES == 16
#define TILE_ROWS    12
#define AHEAD_PANELS 1
#define HOLD(p)      (p)
#else
#define TILE_ROWS    6
#define AHEAD_PANELS 4
#define HOLD(p)      FN(phold)(p)
#endif

/* C [R][nv vectors] (+)= sum over p of A(i, p) B[p], one chain of multiply-adds an element; b: the panel from column col.
 * along: the values of a row of A lie side by side, those of a column otherwise. */
INLINE void FN(tile)(const at_product *x, const float *b, int64_t row, int64_t col, const int R, const int nv, const int tail,
                     const bool along)
{
    const float *a = x->a + (along ? row * x->a_rs : row);
    const int64_t k = x->k, ldc = x->ldc, step = along ? 1 : x->a_cs;
    float *c = x->c + row * ldc + col;
    const float *line_of_a[TILE_ROWS];
    vf sum[TILE_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < R && along; i++) line_of_a[i] = HOLD(a + i * x->a_rs);
#pragma GCC unroll 12
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) sum[i][v] = x->add ? vget(c + i * ldc + v * LANES, tail) : (vf){0};
#pragma GCC unroll 8
    for (int64_t p = 0; p < k; p++, a += step, b += FN(panel)) {
        vf line[2];
        a = HOLD(a);
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) line[v] = vload(b + v * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < R; i++) {
            const vf value = vset(along ? line_of_a[i][p] : a[i]);
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) sum[i][v] = vfma(value, line[v], sum[i][v]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            float *to = c + i * ldc + v * LANES;
            if (x->past)
                vstream(to, sum[i][v]);
            else
                vput(to, sum[i][v], tail);
        }
}

#define ROWS_CASE(n) \
    case n: FN(tile)(x, b, row, col, n, nv, tail, along); break;

INLINE void FN(tiles)(const at_product *x, const float *b, int64_t col, const int nv, const int tail, const bool along)
{
    const int64_t tiles = (x->m + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t row, end;
        fetch_ahead(x->ahead);
        ful__share(x->m, tiles, t, &row, &end);
        switch (end - row) {
            ROWS_CASE(1)
            ROWS_CASE(2)
            ROWS_CASE(3)
            ROWS_CASE(4)
            ROWS_CASE(5)
#if TILE_ROWS == 12
            ROWS_CASE(6)
            ROWS_CASE(7)
            ROWS_CASE(8)
            ROWS_CASE(9)
            ROWS_CASE(10)
            ROWS_CASE(11)
#endif
        default: FN(tile)(x, b, row, col, TILE_ROWS, nv, tail, along);
        }
    }
}
#undef ROWS_CASE

INLINE void FN(columns)(const at_product *x, const float *b, int64_t col, const int nv, const int tail)
{
    if (x->a_cs == 1)
        FN(tiles)(x, b, col, nv, tail, true);
    else
        FN(tiles)(x, b, col, nv, tail, false);
}

/* Column col as products of whole vectors along k, rows of A and columns of B lying so: much less than a tile for it, most of
 * whose lanes would be idle. */
INLINE void FN(odd_column)(const at_product *x, int64_t col)
{
    const float *b = x->b_turned + col * x->b_turned_ld;
    for (int64_t row = 0; row < x->m; row++) {
        const float *a = x->a + row * x->a_rs;
        vf sum = {0};
        BY_VECTORS(x->k, sum = vfma(vget(a + i, tail), vget(b + i, tail), sum));
        x->c[row * x->ldc + col] = vsum(sum);
    }
}

static TARGET void FN(product)(const at_product *x)
{
    const float *b = x->b;
    int64_t col = 0;
    const bool few = x->b_turned && x->n % LANES <= LANES / 4;
    for (; col + FN(panel) <= x->n; col += FN(panel), b += x->k * FN(panel)) FN(columns)(x, b, col, 2, 0);
    if (col + LANES <= x->n) {
        FN(columns)(x, b, col, 1, 0);
        col += LANES;
        b += LANES;
    }
    if (col < x->n && !few) FN(columns)(x, b, col, 1, x->whole ? 0 : (int)(x->n - col));
    for (; few && col < x->n; col++) FN(odd_column)(x, col);
    if (x->past) vfence();
}

/* Softmax ----------------------------------------------------------------------------------------------------------------- */

INLINE vf FN(higher)(vf most, const float *s, const int tail)
{
    vf v = vget(s, tail);
    if (tail) {
        const vi there = vlanes() < tail;
        v = (vf)((there & (vi)v) | (~there & (vi)vset(-INFINITY)));
    }
    return vmax(v, most);
}

INLINE float FN(most_of)(const float *s, int64_t n)
{
    vf most = vset(-INFINITY);
    BY_VECTORS(n, most = FN(higher)(most, s + i, tail));
    return vmost(most);
}

/* s = exp(scale * s - shift) * factor, and that; 0 beyond the tail, up to the end of the vector */
INLINE vf FN(exp_at)(float *s, float scale, float shift, float factor, const int tail)
{
    const vf all = vexp(vget(s, tail) * scale - shift) * factor, e = tail ? vfirst(all, tail) : all;
    vstore(s, e);
    return e;
}

INLINE float FN(first_lane)(vf v)
{
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
    return lane[0];
}

/* All maxima first: a row's is a long chain, and so several are under way at a time. */
static TARGET void FN(softmax_rows)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, bool first, float *most,
                                    float *sum, float *factor)
{
    for (int64_t r = 0; r < rows; r++) {
        const float block = FN(most_of)(s + r * ld, cols) * scale, before = most[r];
        most[r] = first || block > before ? block : before;
        factor[r] = first ? 0 : FN(first_lane)(vexp(vset(before - most[r])));
    }
    for (int64_t r = 0; r < rows; r++) {
        float *row = s + r * ld;
        vf here = {0};
        BY_VECTORS(cols, here += FN(exp_at)(row + i, scale, most[r], 1.0f, tail));
        sum[r] = first ? vsum(here) : sum[r] * factor[r] + vsum(here);
    }
}

static TARGET void FN(scale_rows)(float *y, int64_t ld, int64_t rows, int64_t cols, const float *factor)
{
    for (int64_t r = 0; r < rows; r++, y += ld) BY_VECTORS(cols, vput(y + i, vget(y + i, tail) * factor[r], tail));
}

/* (Once for rows that are kept, once for others.) */
INLINE void FN(normalise)(float *s, int64_t ld, int64_t rows, int64_t cols, const float *factor, float *copy)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = r * ld;
        for (const int64_t end = i + cols; i < end; i += LANES) {
            const vf p = vload(s + i) * factor[r];
            vstore(s + i, p);
            if (copy) vstream(copy + i, p);
        }
        for (; copy && i < (r + 1) * ld; i += LANES) vstream(copy + i, (vf){0});
    }
}

static TARGET void FN(normalise_rows)(float *s, int64_t ld, int64_t rows, int64_t cols, const float *factor, float *copy)
{
    if (!copy) {
        FN(normalise)(s, ld, rows, cols, factor, NULL);
        return;
    }
    FN(normalise)(s, ld, rows, cols, factor, copy);
    vfence();
}

static TARGET void FN(probabilities)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, const float *saved)
{
    for (int64_t r = 0; r < rows; r++, s += ld)
        BY_VECTORS(cols, (void)FN(exp_at)(s + i, scale, saved[2 * r], saved[2 * r + 1], tail));
}

static TARGET void FN(dscores)(const float *p, float *dp, int64_t ld, int64_t rows, int64_t cols, float scale,
                               const float *mean)
{
    for (int64_t r = 0; r < rows; r++, p += ld, dp += ld)
        BY_VECTORS(cols, vstore(dp + i, vget(p + i, tail) * (vget(dp + i, tail) - mean[r]) * scale));
}

static TARGET void FN(dots)(const float *a, const float *b, int64_t ld, int64_t rows, int64_t cols, float *out)
{
    for (int64_t r = 0; r < rows; r++, a += ld, b += ld) {
        vf sum = {0};
        BY_VECTORS(cols, sum += vget(a + i, tail) * vget(b + i, tail));
        out[r] = vsum(sum);
    }
}

/* Norm of queries and keys ------------------------------------------------------------------------------------------------ */

INLINE vf FN(deviation)(const float *x, float mean, const int tail)
{
    const vf e = vget(x, tail) - mean;
    return tail ? vfirst(e, tail) : e;
}

/* Mean and 1/sd of a vector. */
INLINE void FN(moments)(const float *x, int64_t n, float eps, float *mean_out, float *rstd_out)
{
    vf sum = {0}, square = {0};
    BY_VECTORS(n, sum += vget(x + i, tail));
    const float mean = vsum(sum) / (float)n;
    BY_VECTORS(n, square += FN(deviation)(x + i, mean, tail) * FN(deviation)(x + i, mean, tail));
    *mean_out = mean;
    *rstd_out = 1.0f / sqrtf(vsum(square) / (float)n + eps);
}

static TARGET void FN(norm)(const float *x, int64_t n, float eps, const float *gamma, const float *beta, float *y)
{
    float mean, rstd;
    FN(moments)(x, n, eps, &mean, &rstd);
    BY_VECTORS(n, vput(y + i, (vget(x + i, tail) - mean) * rstd * vget(gamma + i, tail) + vget(beta + i, tail), tail));
}

/* dgamma and dbeta added to; sum[0] += dy gamma, sum[1] += dy gamma x^ (beyond the tail dy is 0) */
INLINE void FN(norm_sums)(const float *x, float mean, float rstd, const float *gamma, const float *g, float *dgamma,
                          float *dbeta, vf sum[2], const int tail)
{
    const vf dy = vget(g, tail), normal = FN(deviation)(x, mean, tail) * rstd, part = dy * vget(gamma, tail);
    vput(dbeta, vget(dbeta, tail) + dy, tail);
    vput(dgamma, vget(dgamma, tail) + dy * normal, tail);
    sum[0] += part;
    sum[1] += part * normal;
}

/* g in place */
static TARGET void FN(norm_back)(const float *x, int64_t n, float eps, const float *gamma, float *g, float *dgamma,
                                 float *dbeta)
{
    float mean, rstd;
    vf sum[2] = {{0}, {0}};
    FN(moments)(x, n, eps, &mean, &rstd);
    BY_VECTORS(n, FN(norm_sums)(x + i, mean, rstd, gamma + i, g + i, dgamma + i, dbeta + i, sum, tail));
    const float m1 = vsum(sum[0]) / (float)n, m2 = vsum(sum[1]) / (float)n;
    BY_VECTORS(n, vput(g + i,
                       rstd * (vget(gamma + i, tail) * vget(g + i, tail) - m1 - FN(deviation)(x + i, mean, tail) * rstd * m2),
                       tail));
}

#undef BY_VECTORS

static const at_kernels FN(kernels) = {TILE_ROWS,        AHEAD_PANELS,   FN(pack),           FN(product),
                                       FN(softmax_rows), FN(scale_rows), FN(normalise_rows), FN(probabilities),
                                       FN(dscores),      FN(dots),       FN(norm),           FN(norm_back)};
#undef TILE_ROWS
#undef HOLD
#undef AHEAD_PANELS
