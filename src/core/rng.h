/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers without state (Random123 Philox4x32-10, Salmon et al. 2011). A stream is keyed by
 * (run seed, purpose, name); a draw is addressed by (step, index). The same address gives the same number on any
 * machine, in any thread, in any order, and after any resume.
 */
#ifndef FUL_CORE_RNG_H
#define FUL_CORE_RNG_H

#include <fulcrum/export.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ful__stream {
    uint32_t key[2];
} ful__stream;

/* purpose: a short constant such as "init", "shuffle", "augment", "dropout", "router-noise"; name: a parameter or layer name.
 */
ful__stream ful__stream_make(uint64_t seed, const char *purpose, const char *name);

/* Four 32-bit words at (step, index). Words, uniforms, normals, … of one stream are independent of each other, at equal
 * addresses too. */
void ful__rng_words(ful__stream s, uint64_t step, uint64_t index, uint32_t out[4]);

/* One draw at (step, index). uniform: [0,1) with 24 bits; normal: mean 0, variance 1 (Box-Muller); below: exact, 0..n-1, n
 * >= 1. */
float ful__rng_uniform(ful__stream s, uint64_t step, uint64_t index);
float ful__rng_normal(ful__stream s, uint64_t step, uint64_t index);
uint64_t ful__rng_below(ful__stream s, uint64_t step, uint64_t index, uint64_t n);

/* x[i] = the draw at (step, i). fill_truncated_normal: |z| <= 2 by redraw, then scaled by sd (not variance-corrected). */
void ful__rng_fill_uniform(ful__stream s, uint64_t step, float lo, float hi, float *x, size_t n);
void ful__rng_fill_normal(ful__stream s, uint64_t step, float sd, float *x, size_t n);
void ful__rng_fill_truncated_normal(ful__stream s, uint64_t step, float sd, float *x, size_t n);

/* perm[0..n-1] = a uniformly random permutation, address `step` (Fisher-Yates). */
void ful__rng_permutation(ful__stream s, uint64_t step, uint32_t *perm, uint32_t n);

#endif
