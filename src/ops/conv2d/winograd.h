/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Winograd 1980; Lavin & Gray 2016): 36
 * multiplications where the sum has 144. BLOCKED images only, both channel counts multiples of the block.
 *
 * A tile is 4x4 pixels of the output and the 6x6 of the input it needs. With d the input tile, g the filter, e the gradient of
 * the output tile, and 36 "frequencies" f:
 *
 *   V = B^T d B,  U = G g G^T,  E = A e A^T           each 6x6
 *   M_f[tile][out] = sum_in V_f[tile][in] U_f[in][out],  y = A^T M A
 *   dx    the same with dy for x and the filter turned by 180 degrees, in and out swapped
 *   dU_f[in][out] = sum_tiles V_f[tile][in] E_f[tile][out],  dg = G^T dU G
 *
 * B, G, A are those of the points 0, +-2/3, +-3/2 and infinity: a relative rounding error of 8e-7 over 64 channels, where
 * oneDNN's sums have 2e-7 (test_conv2d). Tiles are worked on so many at a time that V, M (and
 * dU) stay in the second-level cache. Every value is one chain of multiply-adds over all input channels, so the result of an
 * image does not depend on the batch.
 */
#ifndef FUL_OPS_WINOGRAD_H
#define FUL_OPS_WINOGRAD_H

#include "ops/conv2d/conv2d.h"

/* One direction: x -> y for the forward pass and for dw, dy -> dx for the gradient of x. */
typedef struct ful__winograd {
    ful_shape x, y;
    int pad_h, pad_w;
    int pieces; /* parallel pieces, each with scratch of its own */
    int tiles;  /* of a piece in one go */
} ful__winograd;

/* Whether it applies: 3x3, stride 1, no groups, no dilation, padding up to 2, whole channel blocks; AVX2 or better. */
bool ful__winograd_applies(const ful_conv2d_attr *attr, ful_shape x, ful_shape y);
ful__winograd ful__winograd_plan(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, bool dx, int n_max);

size_t ful__winograd_packed_bytes(const ful__winograd *plan);
size_t ful__winograd_scratch_bytes(const ful__winograd *plan, bool dw);

/* Of the sum that is computed, for one image: out pixels, padding of tiles apart, times 9 in out. */
int64_t ful__winograd_macs(const ful__winograd *plan);
const char *ful__winograd_kernel(void);

/* U of the plain weights [out][in][3][3] of the convolution; dx: as the gradient of x needs them. */
void ful__winograd_pack(const ful__winograd *plan, const float *w, bool dx, float *packed);

void ful__winograd_apply(const ful__winograd *plan, const ful__conv_run *run);

/* Whether training may go map by map (op.h), in batches of n: there are tiles enough in a share of the images, weights that
 * stay in the cache, and shares enough for the threads. */
bool ful__winograd_takes_maps(const ful__winograd *plan, int n);
/* The same as apply, some images at a time, with the neighbours' work on the maps of x and of y; NULL: none. run->y NULL: the
 * work on x alone. */
void ful__winograd_apply_maps(const ful__winograd *plan, const ful__conv_run *run, const ful__map_work *before,
                              const ful__map_work *after);

/* Whether dw is better taken along with dx: all sums stay in the cache. */
bool ful__winograd_grad_takes_maps(const ful__winograd *plan);
size_t ful__winograd_back_scratch_bytes(const ful__winograd *to_dx, const ful__winograd *to_y);
/* The same for backward, run going from dy to dx (NULL: dw alone), and dw += of each image while its dy is in the cache, where
 * alone it is unless before->store says so. */
void ful__winograd_back_maps(const ful__winograd *to_dx, const ful__winograd *to_y, const ful__conv_run *run, const float *x,
                             float *dw, const ful__map_work *before, const ful__map_work *after);

/* dw += */
void ful__winograd_grad(const ful__winograd *plan, int n, const float *x, const float *dy, float *dw, void *scratch);

#endif
