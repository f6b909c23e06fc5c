/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Philox4x32-10 addressed by (stream, step, index).
 *
 * A block of four words is philox(counter = {index, step}, key ^ kind). The kind keeps the words, uniforms, normals, … of
 * one stream independent of each other even at the same address. Uniforms and normals take one word each, so item i is
 * word i mod 4 of block i / 4: filling an array costs one Philox for four items, and a single draw gives the same number.
 *
 * Only IEEE operations that are correctly rounded are used (no libm), so the numbers are the same on every machine.
 */
#include "core/rng.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include <Random123/philox.h>

/* Kinds of draw; XORed into the second key word. The numbers never change. */
enum {
    KIND_WORDS = 0,
    KIND_UNIFORM = 0x5bd1e995,
    KIND_NORMAL = 0x1b873593,
    KIND_BELOW = 0x2545f491,
    KIND_TRUNCATED = 0x38b34ae5
};

ful__stream ful__stream_make(uint64_t seed, const char *purpose, const char *name)
{
    /* Chained, so that ("ab","c") and ("a","bc") differ. */
    const uint64_t h = XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits_withSeed(purpose, strlen(purpose), seed));
    return (ful__stream){{(uint32_t)h, (uint32_t)(h >> 32)}};
}

static philox4x32_ctr_t block(ful__stream s, uint32_t kind, uint64_t step, uint64_t index)
{
    const philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)step, (uint32_t)(step >> 32)}};
    const philox4x32_key_t key = {{s.key[0], s.key[1] ^ kind}};
    return philox4x32(counter, key);
}

void ful__rng_words(ful__stream s, uint64_t step, uint64_t index, uint32_t out[4])
{
    const philox4x32_ctr_t b = block(s, KIND_WORDS, step, index);
    memcpy(out, b.v, sizeof b.v);
}

static float uniform_from(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

float ful__rng_uniform(ful__stream s, uint64_t step, uint64_t index)
{
    return uniform_from(block(s, KIND_UNIFORM, step, index >> 2).v[index & 3]);
}

/* ln(x) for x in (0, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m-1)/(m+1)) by its series; error < 1e-13.
 */
static double ln_unit(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int e = (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    const double t = (m - 1) / (m + 1), q = t * t;
    const double series = 1 + q * (1.0 / 3 +
                                   q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13 + q / 15))))));
    return (double)e * 0.69314718055994531 + 2 * t * series;
}

/* cos and sin of (word / 2^32) turns: a quadrant and an angle in [-pi/4, pi/4), Taylor series; error < 1e-14. */
static void cos_sin_turn(uint32_t word, double *cos_out, double *sin_out)
{
    const uint32_t shifted = word + 0x20000000u; /* an eighth of a turn: rounds to the nearest quadrant */
    const uint32_t quadrant = shifted >> 30;
    const double a = ((double)(shifted & 0x3FFFFFFFu) - 0x1p29) * (1.5707963267948966 * 0x1p-30), q = a * a;
    const double c = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56 * (1 - q / 90 * (1 - q / 132 * (1 - q / 182))))));
    const double s = a *
                     (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72 * (1 - q / 110 * (1 - q / 156 * (1 - q / 210)))))));
    const double cs[4] = {c, -s, -c, s}, sn[4] = {s, c, -s, -c};
    *cos_out = cs[quadrant];
    *sin_out = sn[quadrant];
}

/* Box-Muller: two words to two normals. */
static void normal_pair(uint32_t w0, uint32_t w1, float out[2])
{
    const double radius = sqrt(-2 * ln_unit(((double)w0 + 1) * 0x1p-32));
    double c, s;
    cos_sin_turn(w1, &c, &s);
    out[0] = (float)(radius * c);
    out[1] = (float)(radius * s);
}

float ful__rng_normal(ful__stream s, uint64_t step, uint64_t index)
{
    const philox4x32_ctr_t b = block(s, KIND_NORMAL, step, index >> 2);
    const unsigned pair = (unsigned)(index & 2);
    float z[2];
    normal_pair(b.v[pair], b.v[pair + 1], z);
    return z[index & 1];
}

/* A 64-bit word scaled by n (Lemire 2019). Exact: the few words that would favour a value are rejected and drawn again. */
uint64_t ful__rng_below(ful__stream s, uint64_t step, uint64_t index, uint64_t n)
{
    const uint64_t reject = (0 - n) % n;
    for (uint32_t attempt = 0;; attempt++) {
        const philox4x32_ctr_t b = block(s, KIND_BELOW + attempt, step, index);
        for (int half = 0; half < 4; half += 2) {
            const uint64_t word = (uint64_t)b.v[half + 1] << 32 | b.v[half];
            const unsigned __int128 product = (unsigned __int128)word * n;
            if ((uint64_t)product >= reject) return (uint64_t)(product >> 64);
        }
    }
}

void ful__rng_fill_uniform(ful__stream s, uint64_t step, float lo, float hi, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        const philox4x32_ctr_t b = block(s, KIND_UNIFORM, step, i >> 2);
        for (size_t j = 0; j < 4 && i + j < n; j++) x[i + j] = lo + (hi - lo) * uniform_from(b.v[j]);
    }
}

void ful__rng_fill_normal(ful__stream s, uint64_t step, float sd, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        const philox4x32_ctr_t b = block(s, KIND_NORMAL, step, i >> 2);
        float z[4];
        normal_pair(b.v[0], b.v[1], z);
        normal_pair(b.v[2], b.v[3], z + 2);
        for (size_t j = 0; j < 4 && i + j < n; j++) x[i + j] = sd * z[j];
    }
}

void ful__rng_fill_truncated_normal(ful__stream s, uint64_t step, float sd, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float z[4] = {3};
        int j = 0;
        for (uint32_t attempt = 0; fabsf(z[j]) > 2; attempt++) {
            const philox4x32_ctr_t b = block(s, KIND_TRUNCATED + attempt, step, i);
            normal_pair(b.v[0], b.v[1], z);
            normal_pair(b.v[2], b.v[3], z + 2);
            for (j = 0; j < 3 && fabsf(z[j]) > 2;) j++;
        }
        x[i] = sd * z[j];
    }
}

void ful__rng_permutation(ful__stream s, uint64_t step, uint32_t *perm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) perm[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = (uint32_t)ful__rng_below(s, step, i - 1, i);
        const uint32_t held = perm[i - 1];
        perm[i - 1] = perm[j];
        perm[j] = held;
    }
}
