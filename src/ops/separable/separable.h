/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A depthwise convolution and the pointwise one behind it as one operation of inference: some rows at a time, so that what
 * passes from the one to the other never leaves the caches.
 *
 *   mid = act(depthwise(x0) + bias)     y = act(pointwise(mid) + bias + x1)
 */
#ifndef FUL_OPS_SEPARABLE_H
#define FUL_OPS_SEPARABLE_H

#include "ops/op.h"

/* Whether two convolutions, one after the other, may become this operation: the first as ful__depthwise_fits has it, the second
 * 1x1 and dense, with channels in whole blocks, rows of mid that the tile holds and weights that a cache does. */
bool ful__separable_fits(const ful_conv2d_attr *depthwise, const ful_conv2d_attr *pointwise, ful_shape x);

/* What it runs on, for people to read. */
const char *ful__separable_kernel(const ful__op *op);

#endif
