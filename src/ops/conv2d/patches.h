/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions of few output pixels at inference: each pixel's patch of the input is laid out as a row (im2col, by blocks of
 * channels), and one blocked product with the weights gives all pixels. What counts there is to read the weights once, at the
 * memory's speed: a batch of one image has 16 pixels in the last stage of a net for 32x32 images, and weights of megabytes.
 *
 *   rows     n*h*w of y      v [kh*kw][in/B][rows][B]      w [out/B][kh*kw][in][B]
 */
#ifndef FUL_OPS_CONV2D_PATCHES_H
#define FUL_OPS_CONV2D_PATCHES_H

#include "ops/conv2d/conv2d.h"

typedef struct ful__patches {
    ful_conv2d_attr attr;
    ful_shape x, y;
    int rows_max; /* of a run, rounded up */
    int pieces;
} ful__patches;

/* Whether it applies: BLOCKED images, no groups, few rows; AVX2 or better. */
bool ful__patches_applies(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, int n_max);
ful__patches ful__patches_plan(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, int n_max);

size_t ful__patches_packed_bytes(const ful__patches *plan);
size_t ful__patches_scratch_bytes(const ful__patches *plan);
int64_t ful__patches_macs(const ful__patches *plan); /* of one image */
const char *ful__patches_kernel(void);

void ful__patches_pack(const ful__patches *plan, const float *w, float *packed);

void ful__patches_apply(const ful__patches *plan, const ful__conv_run *run);

#endif
