/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch normalisation (Ioffe & Szegedy 2015) of each channel over the batch and all positions, with the residual sum and the
 * activation that usually follow:
 *
 *   y = act(gamma (x0 - mean) / sqrt(var + eps) + beta [+ x1])
 *
 * In training mean and var are the batch's (var biased), and the running ones move towards them (var unbiased; a batch of one
 * value has no unbiased variance and leaves it). In inference they are the running ones.
 */
#include "ops/batchnorm/batchnorm.h"

#include <math.h>

#include "ops/act_math.h"
#include "ops/common.h"

bool ful__batchnorm_fuses(ful_act act, bool residual)
{
    return ful__act_fuses(act) && (!residual || ful__act_slope_of_y(act));
}

void ful_batchnorm_defaults(ful_batchnorm_attr *attr)
{
    *attr = (ful_batchnorm_attr){.eps = 1e-5f, .momentum = 0.1f, .act = FUL_ACT_NONE};
}

static ful_status check(const ful__batchnorm *bn)
{
    const ful__op *op = &bn->base;
    const ful_batchnorm_attr *a = &bn->attr;
    FUL_FAIL_IF(!(a->eps > 0 && isfinite(a->eps)), FUL_ERR_ARG,
                "cannot build batchnorm '%s' with eps=%g: eps must be positive and finite", op->name, (double)a->eps);
    FUL_FAIL_IF(!(a->momentum >= 0 && a->momentum <= 1), FUL_ERR_ARG,
                "cannot build batchnorm '%s' with momentum=%g: momentum must be in 0..1", op->name, (double)a->momentum);
    FUL_FAIL_IF(
        a->act != FUL_ACT_NONE && !ful__batchnorm_fuses(a->act, a->residual), FUL_ERR_ARG,
        "cannot build batchnorm '%s' with act=%d, residual=%d: only none, relu, relu6 and, without residual, hard_swish "
        "can be fused into it",
        op->name, (int)a->act, a->residual);
    return ful__op_takes(op, a->residual ? 2 : 1);
}

static ful_status add_params(ful__batchnorm *bn)
{
    ful__op *op = &bn->base;
    const int64_t c = op->x[0].c;
    FUL_TRY(ful__op_add_param(op, "weight", 1, &c, bn->attr.zero_gamma ? FUL_INIT_ZEROS : FUL_INIT_ONES, 1, 0, true, false));
    FUL_TRY(ful__op_add_param(op, "bias", 1, &c, FUL_INIT_ZEROS, 1, 0, true, false));
    FUL_TRY(ful__op_add_param(op, "running_mean", 1, &c, FUL_INIT_ZEROS, 1, 0, false, false));
    return ful__op_add_param(op, "running_var", 1, &c, FUL_INIT_ONES, 1, 0, false, false);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    ful__batchnorm *bn = NULL;
    FUL_TRY(ful__calloc(&bn, 1, sizeof *bn, "a batchnorm"));
    bn->attr = *(const ful_batchnorm_attr *)attr;
    ful_status status = ful__op_init(&bn->base, &ful__op_batchnorm, name, x, n_x);
    if (status == FUL_OK) status = check(bn);
    if (status == FUL_OK) status = add_params(bn);
    return ful__op_made(&bn->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    ful__batchnorm *bn = (ful__batchnorm *)op;
    bn->block = ful__block();
    op->need = (ful__need){.scratch_fixed = ful__batchnorm_scratch_bytes(bn, n_max, train)};
    op->need.inplace = !train;
    op->need.inplace_1 = bn->attr.residual;
    if (!train) return FUL_OK;
    op->need.saved_fixed = 3 * (size_t)op->x[0].c * sizeof(float);
    op->need.backward_x = 1;
    op->need.backward_two = true;
    op->need.sum_dy_keeps = op->need.backward_y = bn->attr.residual && bn->attr.act != FUL_ACT_NONE;
    op->need.inplace_dx = true;
    op->need.inplace_dx_1 = bn->attr.residual;
    return FUL_OK;
}

const ful__op_type ful__op_batchnorm = {.name = "batchnorm",
                                        .create = create,
                                        .layouts = ful__op_layouts_same,
                                        .plan = plan,
                                        .forward = ful__batchnorm_forward,
                                        .backward = ful__batchnorm_backward,
                                        .sum_x = ful__batchnorm_sum_x,
                                        .make_y = ful__batchnorm_make_y,
                                        .sum_dy = ful__batchnorm_sum_dy,
                                        .make_dx = ful__batchnorm_make_dx,
                                        .destroy = ful__op_free};
