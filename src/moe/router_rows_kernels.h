/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of router_rows.c, read once for each CPU level by ops/simd_levels.h. Element by element the same operations at every
 * level, none fused, so the bits are the same on any machine: a route must not depend on which libm ran.
 */

/* e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial is Cephes expf's. Below -87.3 the result stays 1e-38. */
INLINE vf FN(vexp)(vf x)
{
    const vf lo = vset(-87.3f), hi = vset(88.0f), shift = vset(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = (vf)(((x < lo) & (vi)lo) | (~(x < lo) & (vi)x));
    x = (vf)(((x > hi) & (vi)hi) | (~(x > hi) & (vi)x));
    const vf n = (x * 1.44269504f + shift) - shift;
    const vf r = x - n * 0.693359375f - n * -2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return p * (vf)((__builtin_convertvector(n, vi) + 127) << 23);
}

/* ln x = e ln 2 + ln m, m in [sqrt(1/2), sqrt 2); the polynomial is Cephes logf's. For x >= 2^-126; below it, ln 2^-126. */
INLINE vf FN(vlog)(vf x)
{
    const vf least = vset(0x1p-126f);
    x = (vf)(((x < least) & (vi)least) | (~(x < least) & (vi)x));
    vf m = (vf)(((vi)x & 0x007fffff) | 0x3f000000); /* [1/2, 1) */
    const vi low = m < 0.707106781f;                /* a comparison gives -1 */
    const vi e = (((vi)x >> 23) & 255) - 126 + low;
    m = m + (vf)((vi)m & low) - 1.0f;
    const vf z = m * m, fe = __builtin_convertvector(e, vf);
    vf p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * z - fe * 2.12194440e-4f - z * 0.5f;
    return m + p + fe * 0.693359375f;
}

static TARGET void FN(exp_array)(const float *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(y + i, FN(vexp)(vload(x + i)));
    if (i < n) vstore_n(y + i, FN(vexp)(vload_n(x + i, (int)(n - i))), (int)(n - i));
}

static TARGET void FN(log_array)(const float *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(y + i, FN(vlog)(vload(x + i)));
    if (i < n) vstore_n(y + i, FN(vlog)(vload_n(x + i, (int)(n - i))), (int)(n - i));
}

/* SUMS running sums, element i to sum i mod SUMS whatever the width of a vector, then halves onto halves: one order at every
 * level. */
enum { FN(VECTORS) = SUMS / LANES };

INLINE float FN(fold)(vf *sum)
{
    for (int half = FN(VECTORS) / 2; half; half /= 2)
        for (int v = 0; v < half; v++) sum[v] += sum[v + half];
    return vsum(sum[0]);
}

static TARGET float FN(sum_row)(const float *x, int64_t n)
{
    vf sum[FN(VECTORS)] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int v = 0; v < FN(VECTORS); v++) sum[v] += vload(x + i + v * LANES);
    for (int v = 0; i < n; v++, i += LANES) sum[v] += n - i < LANES ? vload_n(x + i, (int)(n - i)) : vload(x + i);
    return FN(fold)(sum);
}

/* sum_i a_i (x_i - mean) */
static TARGET float FN(dot_row)(const float *a, const float *x, float mean, int64_t n)
{
    const vf m = vset(mean);
    vf sum[FN(VECTORS)] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int v = 0; v < FN(VECTORS); v++) sum[v] += vload(a + i + v * LANES) * (vload(x + i + v * LANES) - m);
    for (int v = 0; i < n; v++, i += LANES) {
        const int left = n - i < LANES ? (int)(n - i) : LANES; /* beyond them a is 0 */
        sum[v] += left < LANES ? vload_n(a + i, left) * (vload_n(x + i, left) - m) : vload(a + i) * (vload(x + i) - m);
    }
    return FN(fold)(sum);
}

/* u = (x - mean) scale */
static TARGET void FN(shift_row)(const float *x, float mean, float scale, float *u, int64_t n)
{
    const vf m = vset(mean), s = vset(scale);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(u + i, (vload(x + i) - m) * s);
    if (i < n) vstore_n(u + i, (vload_n(x + i, (int)(n - i)) - m) * s, (int)(n - i));
}

/* dx += scale (du - shift - (x - mean) scale along) */
static TARGET void FN(shift_row_backward)(const float *x, const float *du, float mean, float scale, float shift, float along,
                                          float *dx, int64_t n)
{
    const vf m = vset(mean), s = vset(scale), d = vset(shift), a = vset(along);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vstore(dx + i, vload(dx + i) + s * (vload(du + i) - d - (vload(x + i) - m) * s * a));
    const int left = (int)(n - i);
    if (left)
        vstore_n(dx + i, vload_n(dx + i, left) + s * (vload_n(du + i, left) - d - (vload_n(x + i, left) - m) * s * a), left);
}

/*
 * Top-k of LANES rows side by side, lane r is row r: k passes over the columns, each the strict maximum of what is not yet
 * chosen. For e <= TOP_COLUMNS and k <= TOP_PASSES. False if a row holds a NaN.
 */
INLINE bool FN(top_k_lanes)(const float *score, int e, int k, int32_t *index)
{
    vf column[TOP_COLUMNS];
    vi chosen[TOP_PASSES], strange = {0};
    for (int j = 0; j < e; j++) {
        float lane[LANES];
        for (int r = 0; r < LANES; r++) lane[r] = score[r * e + j];
        column[j] = vload(lane);
        strange |= column[j] != column[j];
    }
    for (int i = 0; i < k; i++) {
        vf best = {0};
        vi where = (vi){0} - 1;
        for (int j = 0; j < e; j++) {
            vi take = (column[j] > best) | (where < 0);
            for (int before = 0; before < i; before++) take &= chosen[before] != j;
            best = (vf)((take & (vi)column[j]) | (~take & (vi)best));
            where = (take & j) | (~take & where);
        }
        chosen[i] = where;
        for (int r = 0; r < LANES; r++) index[r * k + i] = where[r];
    }
    int32_t any = 0;
    for (int r = 0; r < LANES; r++) any |= strange[r];
    return any == 0;
}

/* As many rows as fill whole vectors; how many that were, or -1 on a NaN. */
static TARGET int64_t FN(top_k)(const float *score, int64_t rows, int e, int k, int32_t *index)
{
    int64_t t = 0;
    for (; t + LANES <= rows; t += LANES)
        if (!FN(top_k_lanes)(score + t * e, e, k, index + t * k)) return -1;
    return t;
}

static const kernels FN(kernels) = {
    FN(exp_array), FN(log_array), FN(sum_row), FN(dot_row), FN(shift_row), FN(shift_row_backward), FN(top_k),
};
