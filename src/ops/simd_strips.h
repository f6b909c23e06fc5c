/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For kernels over matrices [rows][width] of channels. Columns go in strips of nv <= 4 vectors, whose per-channel values and
 * sums stay in registers while the rows stream by. A strip of few vectors takes `unroll` rows at a time into sums of their own,
 * nv * unroll <= 4, which hides the latency of the addition. The last width % LANES columns (`tail`) are one masked vector.
 * nv, unroll and tail are constants where these functions are inlined. (No include guard, see simd.h.)
 */

/* out[v] = the strip's values of p[channel] */
INLINE void FN(channels)(vf *out, const float *p, const int nv, const int tail)
{
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) out[v] = vget(p + v * LANES, tail);
}

/* sum[v] of the first row += those of the others */
INLINE void FN(fold)(vf *sum, const int nv, const int unroll)
{
#pragma GCC unroll 4
    for (int k = nv; k < nv * unroll; k++) sum[k % nv] += sum[k];
}

/* out[channel] += the strip's sums, in double */
INLINE void FN(flush)(double *out, vf *sum, const int nv, const int unroll, const int tail)
{
    FN(fold)(sum, nv, unroll);
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) {
        float lane[LANES];
        memcpy(lane, &sum[v], sizeof lane);
        for (int l = 0; l < (tail ? tail : LANES); l++) out[v * LANES + l] += (double)lane[l];
    }
}
