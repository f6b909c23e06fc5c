/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exp and ln of arrays, read once for each CPU level by ops/simd_levels.h. Element by element the same operations at every
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

static const kernels FN(kernels) = {FN(exp_array), FN(log_array)};
