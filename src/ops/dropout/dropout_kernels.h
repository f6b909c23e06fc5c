/* SPDX-License-Identifier: Apache-2.0 */
/* Philox4x32-10 (Salmon et al. 2011) in lanes, and the values it keeps. Compiled once a CPU level. */
#undef vu
#define vu FN(vu)
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

/* High words of a * m. The even lanes' products fill 64-bit lanes, then the odd ones'. */
INLINE vu FN(mul_high)(vu a, uint32_t m)
{
#if SIMD_LEVEL == 2
    const __m512i even = _mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)m));
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), _mm512_set1_epi32((int)m));
    return (vu)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
#elif SIMD_LEVEL == 1
    const __m256i even = _mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)m));
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), _mm256_set1_epi32((int)m));
    return (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
#else
    vu high;
    for (int l = 0; l < LANES; l++) high[l] = (uint32_t)((uint64_t)a[l] * m >> 32);
    return high;
#endif
}

/* LANES blocks from `block` on, a multiple of LANES, so that its low word does not wrap within them. */
INLINE void FN(philox)(ful__stream s, uint64_t step, uint64_t block, vu out[4])
{
    const vu zero = {0};
    vu c0 = (vu)vlanes() + (uint32_t)block, c1 = zero + (uint32_t)(block >> 32);
    vu c2 = zero + (uint32_t)step, c3 = zero + (uint32_t)(step >> 32);
    uint32_t k0 = s.key[0], k1 = s.key[1];
    for (int round = 0; round < 10; round++) {
        const vu high0 = FN(mul_high)(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        const vu high1 = FN(mul_high)(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* LANES values side by side in NHWC order are so in any layout: where value i lies. */
INLINE int64_t FN(place)(const dropout_job *j, int64_t i)
{
    const int64_t pixel = i / j->c, channel = i % j->c;
    return channel / j->block * j->strides.block + pixel * j->strides.pixel + channel % j->block;
}

static TARGET void FN(drop)(const dropout_job *j)
{
    const bool plain = j->strides.pixel == j->c;
    for (int64_t group = j->group; group < j->group_end; group++)
        for (int part = 0; part < FUL__DROPOUT_BLOCKS; part += LANES) {
            vu word[4];
            FN(philox)(j->stream, j->step, j->first_block + (uint64_t)(group * FUL__DROPOUT_BLOCKS + part), word);
            for (int w = 0; w < 4; w++) {
                const int64_t i = group * FUL__DROPOUT_GROUP + w * FUL__DROPOUT_BLOCKS + part;
                if (i >= j->count) break;
                const int tail = j->count - i < LANES ? (int)(j->count - i) : 0;
                const int64_t at = plain ? i : FN(place)(j, i);
                const vi keep = (vi)(word[w] >= j->threshold);
                vput(j->y + at, (vf)((vi)(vget(j->x + at, tail) * j->scale) & keep), tail);
            }
        }
}

static const dropout_fn FN(kernel) = FN(drop);
