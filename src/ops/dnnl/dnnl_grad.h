/* SPDX-License-Identifier: Apache-2.0 */
/* Adding a weight gradient in oneDNN's blocked layout to the plain one. */
#ifndef FUL_OPS_DNNL_GRAD_H
#define FUL_OPS_DNNL_GRAD_H

#include "ops/dnnl/dnnl_api.h"

/* Dimensions as [groups][out][in][taps], all per group, and where each index lies in the packed gradient. */
typedef struct ful__dnnl_grad {
    int64_t groups, out, in, taps;
    int64_t *group_at, *out_at, *in_at, *tap_at; /* group_at owns all four */
} ful__dnnl_grad;

/* md: [out][in][kh][kw] or [groups][out][in][kh][kw]. known: false where its layout is oneDNN's secret. */
ful_status ful__dnnl_grad_init(ful__dnnl_grad *g, ful__md_ref md, bool *known) FUL_CHECK_RESULT;
void ful__dnnl_grad_deinit(ful__dnnl_grad *g);
void ful__dnnl_grad_add(const ful__dnnl_grad *g, const float *packed, float *dw);

#endif
