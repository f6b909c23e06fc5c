/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The draws of dropout, as the fast version and the reference share them.
 *
 * The stream is (run seed, "dropout", op name). Image `row` of the batch owns `groups` groups of 16 Philox blocks, one group
 * for 64 values in NHWC order: value i takes word (i % 64) / 16 of block i % 16 of group i / 64. So 16 blocks side by side give
 * 64 neighbouring values, each of their words 16 of them, and no word is wasted. It is dropped when the word is below p * 2^32.
 * Stochastic depth takes word 0 of block `row`.
 */
#ifndef FUL_OPS_DROPOUT_H
#define FUL_OPS_DROPOUT_H

#include "core/rng.h"
#include "ops/op.h"

enum { FUL__DROPOUT_GROUP = 64, FUL__DROPOUT_BLOCKS = 16 };

static inline uint32_t ful__dropout_threshold(float p)
{
    return (uint32_t)((double)p * 0x1p32);
}

static inline uint64_t ful__dropout_first_block(uint64_t row, int64_t count)
{
    return row * (uint64_t)((count + FUL__DROPOUT_GROUP - 1) / FUL__DROPOUT_GROUP) * FUL__DROPOUT_BLOCKS;
}

static inline bool ful__dropout_keeps_image(ful__stream s, uint64_t step, uint64_t row, float p)
{
    uint32_t word[4];
    ful__rng_words(s, step, row, word);
    return word[0] >= ful__dropout_threshold(p);
}

#endif
