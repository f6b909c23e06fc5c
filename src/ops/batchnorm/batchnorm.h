/* SPDX-License-Identifier: Apache-2.0 */
/* Batch-norm as its files share it. */
#ifndef FUL_OPS_BATCHNORM_H
#define FUL_OPS_BATCHNORM_H

#include "ops/op.h"

typedef struct ful__batchnorm {
    ful__op base;
    ful_batchnorm_attr attr;
    int block; /* of the layout, as planned */
} ful__batchnorm;

/* Whether an activation behind it (behind the sum with a residual) can be part of it: backward makes what went into the
 * activation again from x, but has no residual. */
bool ful__batchnorm_fuses(ful_act act, bool residual);

/* Order of the parameters. */
enum { FUL__BN_GAMMA, FUL__BN_BETA, FUL__BN_MEAN, FUL__BN_VAR };

size_t ful__batchnorm_scratch_bytes(const ful__batchnorm *bn, int n_max, bool train);
ful_status ful__batchnorm_forward(ful__op *op, const ful__run *run);
ful_status ful__batchnorm_backward(ful__op *op, const ful__run *run);
/* Their halves, map by map (op.h). */
void ful__batchnorm_sum_x(ful__op *op, const ful__run *run, const ful__maps *maps);
void ful__batchnorm_make_y(ful__op *op, const ful__run *run, const ful__maps *maps);
void ful__batchnorm_sum_dy(ful__op *op, const ful__run *run, const ful__maps *maps);
void ful__batchnorm_make_dx(ful__op *op, const ful__run *run, const ful__maps *maps);

#endif
