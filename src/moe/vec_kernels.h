/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of vec.h, read once for each CPU level by ops/simd_levels.h. */

static TARGET void FN(add)(const float *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(y + i, vload(y + i) + vload(x + i));
    if (i < n) vstore_n(y + i, vload_n(y + i, (int)(n - i)) + vload_n(x + i, (int)(n - i)), (int)(n - i));
}

static TARGET void FN(scale)(const float *x, float g, float *y, int64_t n)
{
    const vf gv = vset(g);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(y + i, gv * vload(x + i));
    if (i < n) vstore_n(y + i, gv * vload_n(x + i, (int)(n - i)), (int)(n - i));
}

static TARGET void FN(add_scaled)(const float *a, float g, const float *x, float *y, int64_t n)
{
    const vf gv = vset(g);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(y + i, vload(a + i) + gv * vload(x + i));
    if (i < n) vstore_n(y + i, vload_n(a + i, (int)(n - i)) + gv * vload_n(x + i, (int)(n - i)), (int)(n - i));
}

/* 64 running sums, element i to sum i mod 64, whatever the width of a vector; then halves onto halves. */
static TARGET float FN(dot)(const float *a, const float *b, int64_t n)
{
    enum { SUMS = 64, VECTORS = SUMS / LANES };
    vf sum[VECTORS] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int v = 0; v < VECTORS; v++) sum[v] += vload(a + i + v * LANES) * vload(b + i + v * LANES);
    for (int v = 0; i < n; v++, i += LANES) {
        const int left = n - i < LANES ? (int)(n - i) : LANES;
        sum[v] += left < LANES ? vload_n(a + i, left) * vload_n(b + i, left) : vload(a + i) * vload(b + i);
    }
    for (int half = VECTORS / 2; half; half /= 2)
        for (int v = 0; v < half; v++) sum[v] += sum[v + half];
    return vsum(sum[0]);
}

static const ful__vec FN(vec) = {FN(add), FN(scale), FN(add_scaled), FN(dot)};
