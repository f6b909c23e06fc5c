/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a gated MLP: rows u [rows][2h] = [a | g], v [rows][h]. */
#ifndef FUL_OPS_GLU_H
#define FUL_OPS_GLU_H

#include <fulcrum/ops.h>

/* v = act(a) g */
void ful__glu_forward(ful_act act, const float *u, int64_t rows, int64_t h, float *v);
/* da = dv g act'(a), dg = dv act(a) */
void ful__glu_backward(ful_act act, const float *u, const float *dv, int64_t rows, int64_t h, float *du);

#endif
