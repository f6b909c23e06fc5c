/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of F(4x4, 3x3) for one CPU level; LANES is the channel block. winograd.h has the formulas and winograd.c the walk.
 *
 * With points 0, +-a, +-b and infinity, ab = 1:
 *         1  0  -s  0  1  0               1      0      0             1  1  1  1  1  0
 *         0 -b -b2  a  1  0              1/p    a/p   a2/p            0  a -a  b -b  0
 *   B^T = 0  b -b2 -a  1  0        G  =  1/p   -a/p   a2/p     A^T =  0 a2 a2 b2 b2  0
 *         0 -a -a2  b  1  0              1/q    b/q   b2/q            0 a3 -a3 b3 -b3 1
 *         0  a -a2 -b  1  0              1/q   -b/q   b2/q
 *         0  1   0 -s  0  1               0      0      1
 * s = a2 + b2, p = 2 a2 (a2 - b2), q = 2 b2 (b2 - a2).
 */
#include "ops/simd_epilogue.h"

/* Products and sums apart where a pair of rows shares the product: a processor that adds beside its multipliers has more to do
 * at a time. */
INLINE void FN(wino_bt)(const vf d[6], vf v[6])
{
    const vf a2 = vset(-WINO_A2), b2 = vset(-WINO_B2), s = vset(-(WINO_A2 + WINO_B2));
    const vf even_a = vfma(b2, d[2], d[4]), odd_a = vset(WINO_A) * vfma(b2, d[1], d[3]);
    const vf even_b = vfma(a2, d[2], d[4]), odd_b = vset(WINO_B) * vfma(a2, d[1], d[3]);
    v[0] = vfma(s, d[2], d[0] + d[4]);
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = vfma(s, d[3], d[1] + d[5]);
}

INLINE void FN(wino_at)(const vf m[6], vf y[4])
{
    const vf s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + s1 + s2;
    y[1] = vfma(vset(WINO_A), d1, vset(WINO_B) * d2);
    y[2] = vfma(vset(WINO_A2), s1, vset(WINO_B2) * s2);
    y[3] = vfma(vset(WINO_A2 * WINO_A), d1, vfma(vset(WINO_B2 * WINO_B), d2, m[5]));
}

INLINE void FN(wino_a)(const vf e[4], vf v[6])
{
    const vf even_a = vfma(vset(WINO_A2), e[2], e[0]), odd_a = vfma(vset(WINO_A2 * WINO_A), e[3], vset(WINO_A) * e[1]);
    const vf even_b = vfma(vset(WINO_B2), e[2], e[0]), odd_b = vfma(vset(WINO_B2 * WINO_B), e[3], vset(WINO_B) * e[1]);
    v[0] = e[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = e[3];
}

INLINE void FN(wino_g)(const vf g[3], vf u[6])
{
    const vf even_a = vfma(vset(WINO_A2), g[2], g[0]) * vset(1 / WINO_P), odd_a = g[1] * vset(WINO_A / WINO_P);
    const vf even_b = vfma(vset(WINO_B2), g[2], g[0]) * vset(1 / WINO_Q), odd_b = g[1] * vset(WINO_B / WINO_Q);
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
}

INLINE void FN(wino_gt)(const vf u[6], vf g[3])
{
    const vf s1 = (u[1] + u[2]) * vset(1 / WINO_P), d1 = (u[1] - u[2]) * vset(WINO_A / WINO_P);
    const vf s2 = (u[3] + u[4]) * vset(1 / WINO_Q), d2 = (u[3] - u[4]) * vset(WINO_B / WINO_Q);
    g[0] = u[0] + s1 + s2;
    g[1] = d1 + d2;
    g[2] = vfma(vset(WINO_A2), s1, vfma(vset(WINO_B2), s2, u[5]));
}

/* V of one tile: v[f*spread + lane]; its pixel (0, 0) at x. Rows and columns beyond the image count as zeros. */
INLINE void FN(wino_input_tile)(const wino_window *t, const float *x, int64_t pitch, float *restrict v, int64_t spread)
{
    static const float nothing[6 * LANES];
    const float *row[6];
    vf half[6][6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) row[i] = i >= t->top && i < t->bottom ? x + i * pitch : nothing;
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf d[6], out[6];
        if (j < t->left || j >= t->right) {
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) half[i][j] = (vf){0};
            continue;
        }
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) d[i] = vload(row[i] + j * LANES);
        FN(wino_bt)(d, out);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vf out[6];
        FN(wino_bt)(half[i], out);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++) vstore(v + (i * 6 + j) * spread, out[j]);
    }
}

TARGET static void FN(wino_input)(const wino_tiles *t, const float *x, float *v)
{
    for (int i = 0; i < t->count; i++)
        FN(wino_input_tile)(&t->windows[i], x + t->windows[i].at, t->pitch, v + i * LANES, t->spread);
}

/* E of one tile of gradients, likewise. */
INLINE void FN(wino_gradient_tile)(const wino_window *t, const float *dy, int64_t pitch, float *restrict v, int64_t spread)
{
    vf half[6][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vf e[4], out[6];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) e[i] = i < t->bottom && j < t->right ? vload(dy + i * pitch + j * LANES) : (vf){0};
        FN(wino_a)(e, out);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vf out[6];
        FN(wino_a)(half[i], out);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++) vstore(v + (i * 6 + j) * spread, out[j]);
    }
}

TARGET static void FN(wino_gradient)(const wino_tiles *t, const float *dy, float *e)
{
    for (int i = 0; i < t->count; i++)
        FN(wino_gradient_tile)(&t->windows[i], dy + t->windows[i].at, t->pitch, e + i * LANES, t->spread);
}

/* y of one tile from m[f*spread + lane]; bias and residual may be NULL. */
INLINE void FN(wino_output_tile)(const wino_window *t, const float *restrict m, int64_t spread, const float *bias,
                                 const float *residual, ful_act act, float *y, int64_t pitch)
{
    vf half[4][6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf in[6], out[4];
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) in[i] = vload(m + (i * 6 + j) * spread);
        FN(wino_at)(in, out);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) half[i][j] = out[i];
    }
    const vf b = bias ? vload(bias) : (vf){0};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vf out[4];
        if (i >= t->bottom) break;
        FN(wino_at)(half[i], out);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            if (bias) out[j] += b;
            if (residual && j < t->right) out[j] += vload(residual + i * pitch + j * LANES);
        }
        FN(activate)(act, out, 4);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            if (j < t->right) vstore(y + i * pitch + j * LANES, out[j]);
    }
}

TARGET static void FN(wino_output)(const wino_tiles *t, const float *m, const float *bias, const float *residual, ful_act act,
                                   float *y)
{
    for (int i = 0; i < t->count; i++) {
        const int64_t at = t->windows[i].at;
        FN(wino_output_tile)
        (&t->windows[i], m + i * LANES, t->spread, bias, residual ? residual + at : NULL, act, y + at, t->pitch);
    }
}

/* U of LANES filters, `stride` floats apart: u[f*spread + lane]. turned: by 180 degrees. */
TARGET static void FN(wino_filter)(const float *g, int32_t stride, bool turned, float *u, int64_t spread)
{
    vf half[6][3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++) {
        vf in[3], out[6];
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) in[i] = vgather(g + (turned ? 8 - i * 3 - j : i * 3 + j), stride);
        FN(wino_g)(in, out);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vf out[6];
        FN(wino_g)(half[i], out);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++) vstore(u + (i * 6 + j) * spread, out[j]);
    }
}

/* dg of LANES filters from the sum of `pieces` dU, `piece` floats apart, added in order. */
TARGET static void FN(wino_filter_gradient)(const float *du, int64_t spread, int pieces, int64_t piece, float *dg)
{
    vf half[3][6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf in[6], out[3];
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            in[i] = vload(du + (i * 6 + j) * spread);
            for (int k = 1; k < pieces; k++) in[i] += vload(du + k * piece + (i * 6 + j) * spread);
        }
        FN(wino_gt)(in, out);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) half[i][j] = out[i];
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        vf out[3];
        FN(wino_gt)(half[i], out);
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) vstore(dg + (i * 3 + j) * LANES, out[j]);
    }
}

/* dw of LANES output channels, `stride` floats apart, += dg[c][k][lane] of LANES input channels: rows of LANES*9 floats. */
TARGET static void FN(wino_add_filters)(const float *dg, float *dw, int64_t stride)
{
    for (int lane = 0; lane < LANES; lane++)
        for (int j = 0; j < LANES * 9; j += LANES) {
            float *to = dw + lane * stride + j;
            vstore(to, vload(to) + vgather(dg + j * LANES + lane, LANES));
        }
}

static const wino_kernels FN(kernels) = {
    .lanes = LANES,
    .input = FN(wino_input),
    .gradient = FN(wino_gradient),
    .output = FN(wino_output),
    .filter = FN(wino_filter),
    .filter_gradient = FN(wino_filter_gradient),
    .add_filters = FN(wino_add_filters),
};
