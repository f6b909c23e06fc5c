/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which way a pass of a convolution goes: oneDNN's direct kernels, Winograd's algorithm, patches or strips. Each shape, batch
 * and pass is measured once on a machine; the choice is kept in the process, and for later processes in conv-choices.tsv
 * in the user's cache folder (rewritten under a lock, so that two runs which start together choose the same). A choice changes
 * the rounding of a run, so a run's folder keeps a copy that a resumed run reads first. The cache folder's file holds for the
 * kernels it was measured with, and is made anew by a program built with others; a run's and a study's stay.
 *
 * FULCRUM_CONV=direct|winograd|patches|strips|auto in the environment goes before what the convolution's attributes say;
 * FULCRUM_CONV_FILE names another file than the user's (a study gives its runs one).
 */
#ifndef FUL_OPS_CONV2D_CHOOSE_H
#define FUL_OPS_CONV2D_CHOOSE_H

#include "ops/conv2d/choices.h"
#include "ops/dnnl/dnnl_shim.h"

typedef enum ful__conv_way {
    FUL__CONV_DIRECT,
    FUL__CONV_WINOGRAD,
    FUL__CONV_PATCHES,
    FUL__CONV_STRIPS,
    FUL__CONV_WAYS
} ful__conv_way;

/* The layouts of a way that is asked for by name and applies to forward; false: there is none, and oneDNN's are the best.
 * spec's own layouts are not looked at. */
bool ful__conv_layouts(const ful__dnnl_conv_spec *spec, ful__layout *x_out, ful__layout *y_out);

/* The way of one pass of spec, for batches of about n. spec->passes is not looked at. */
ful_status ful__conv_choose(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, ful__conv_way *out) FUL_CHECK_RESULT;

#endif
