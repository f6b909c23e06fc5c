/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four things done to whole tokens (a vector, or an image) when they go to experts and come back. Products and sums are
 * rounded one by one, never fused, and dot products have one order: the same bits on every CPU level.
 */
#ifndef FUL_MOE_VEC_H
#define FUL_MOE_VEC_H

#include <stdint.h>

typedef struct ful__vec {
    void (*add)(const float *x, float *y, int64_t n);                                 /* y += x */
    void (*scale)(const float *x, float g, float *y, int64_t n);                      /* y = g x; y may be x */
    void (*add_scaled)(const float *a, float g, const float *x, float *y, int64_t n); /* y = a + g x; y may be a */
    float (*dot)(const float *a, const float *b, int64_t n);
} ful__vec;

const ful__vec *ful__vec_get(void); /* of the CPU level now allowed; static storage */

#endif
