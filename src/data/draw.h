/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sequence of random numbers for one image and one purpose, addressed by (stream, epoch, image, repetition): it does not
 * depend on who draws it, when, or what was drawn for other images.
 */
#ifndef FUL_DATA_DRAW_H
#define FUL_DATA_DRAW_H

#include "core/rng.h"

typedef struct ful__draw {
    ful__stream stream;
    uint64_t step, index;
    uint32_t taken, word[4];
} ful__draw;

/* index < 2^32, repetition < 2^8; 2^26 numbers are there. */
static inline ful__draw ful__draw_at(ful__stream stream, int64_t epoch, uint32_t index, int repetition)
{
    return (ful__draw){.stream = stream, .step = (uint64_t)epoch, .index = index | (uint64_t)repetition << 32};
}

static inline uint32_t ful__draw_word(ful__draw *d)
{
    const uint32_t lane = d->taken & 3;
    if (lane == 0) ful__rng_words(d->stream, d->step, d->index | (uint64_t)(d->taken >> 2) << 40, d->word);
    d->taken++;
    return d->word[lane];
}

/* [lo, hi) */
static inline double ful__draw_uniform(ful__draw *d, double lo, double hi)
{
    return lo + (hi - lo) * (ful__draw_word(d) * 0x1p-32);
}

/* 0..n-1; off from even by less than n / 2^32 */
static inline int ful__draw_below(ful__draw *d, int n)
{
    return (int)((uint64_t)ful__draw_word(d) * (uint64_t)n >> 32);
}

#endif
