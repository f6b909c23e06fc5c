/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which algorithm a pass of a convolution runs: oneDNN's direct kernels or Winograd's. Each shape, batch, thread count and pass
 * is measured once on a machine; the choice is kept in the process, and for later processes in conv-choices.tsv in the user's
 * cache folder (rewritten under a lock, so that two runs which start together choose the same). A choice changes
 * the rounding of a run, so a run's folder keeps a copy that a resumed run reads first.
 *
 * FULCRUM_CONV=direct|winograd|auto in the environment goes before what the convolution's attributes say.
 */
#ifndef FUL_OPS_CONV2D_CHOOSE_H
#define FUL_OPS_CONV2D_CHOOSE_H

#include "ops/conv2d/choices.h"
#include "ops/dnnl/dnnl_shim.h"

/* The algorithm for one pass of spec, for batches of about n. spec->passes is not looked at. */
ful_status ful__conv_choose(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, bool *winograd_out) FUL_CHECK_RESULT;

#endif
