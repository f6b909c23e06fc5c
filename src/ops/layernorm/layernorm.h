/* SPDX-License-Identifier: Apache-2.0 */
/* Layer-norm as its files share it. */
#ifndef FUL_OPS_LAYERNORM_H
#define FUL_OPS_LAYERNORM_H

#include "ops/op.h"

typedef struct ful__layernorm {
    ful__op base;
    ful_layernorm_attr attr;
    int block; /* of the layout, as planned */
} ful__layernorm;

/* Order of the parameters, where there are any. */
enum { FUL__LN_GAMMA, FUL__LN_BETA };

size_t ful__layernorm_scratch_bytes(const ful__layernorm *ln, int n_max, bool train);
ful_status ful__layernorm_forward(ful__op *op, const ful__run *run);
ful_status ful__layernorm_backward(ful__op *op, const ful__run *run);

#endif
