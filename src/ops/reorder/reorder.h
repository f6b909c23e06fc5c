/* SPDX-License-Identifier: Apache-2.0 */
/* Images from one layout to another; whole images may be gathered by the caller, as the batch is always outermost. */
#ifndef FUL_OPS_REORDER_H
#define FUL_OPS_REORDER_H

#include "ops/op.h"

/* n images of shape s; the layouts may be equal (a copy). y must not overlap x. */
void ful__reorder(const float *x, ful__layout x_layout, float *y, ful__layout y_layout, int n, ful_shape s);
/* NHWC to NCHW. */
void ful__reorder_to_planes(const float *x, float *y, int n, ful_shape s);

#endif
