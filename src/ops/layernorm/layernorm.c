/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer normalisation (Ba, Kiros & Hinton 2016): y = gamma (x - mean) / sqrt(var + eps) + beta, with mean and (biased) variance
 * over the channels of each position, or over a whole image (GroupNorm with one group, Wu & He 2018); gamma and beta are per
 * channel in both. No image sees another: its output has the same bits in any batch.
 */
#include "ops/layernorm/layernorm.h"

#include <math.h>

#include "ops/common.h"

void ful_layernorm_defaults(ful_layernorm_attr *attr)
{
    *attr = (ful_layernorm_attr){.eps = 1e-5f, .scope = FUL_NORM_CHANNELS, .affine = true};
}

static ful_status check(const ful__layernorm *ln)
{
    const ful_layernorm_attr *a = &ln->attr;
    FUL_FAIL_IF(!(a->eps > 0 && isfinite(a->eps)), FUL_ERR_ARG,
                "cannot build layernorm '%s' with eps=%g: eps must be positive and finite", ln->base.name, (double)a->eps);
    FUL_FAIL_IF(a->scope != FUL_NORM_CHANNELS && a->scope != FUL_NORM_IMAGE, FUL_ERR_ARG,
                "cannot build layernorm '%s' with scope=%d: it must be channels or image", ln->base.name, (int)a->scope);
    return ful__op_takes(&ln->base, 1);
}

static ful_status add_params(ful__layernorm *ln)
{
    const int64_t c = ln->base.x[0].c;
    if (!ln->attr.affine) return FUL_OK;
    FUL_TRY(ful__op_add_param(&ln->base, "weight", 1, &c, FUL_INIT_ONES, 1, 0, true, false));
    return ful__op_add_param(&ln->base, "bias", 1, &c, FUL_INIT_ZEROS, 1, 0, true, false);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    ful__layernorm *ln = NULL;
    FUL_TRY(ful__calloc(&ln, 1, sizeof *ln, "a layernorm"));
    ln->attr = *(const ful_layernorm_attr *)attr;
    ful_status status = ful__op_init(&ln->base, &ful__op_layernorm, name, x, n_x);
    if (status == FUL_OK) status = check(ln);
    if (status == FUL_OK) status = add_params(ln);
    return ful__op_made(&ln->base, status, out);
}

/* Forward saves mean and rstd of each position, or of each image. */
static ful_status plan(ful__op *op, int n_max, bool train)
{
    ful__layernorm *ln = (ful__layernorm *)op;
    ln->block = ful__block();
    const int64_t rows = ln->attr.scope == FUL_NORM_IMAGE ? 1 : (int64_t)op->x[0].h * op->x[0].w;
    op->need = (ful__need){.scratch_fixed = ful__layernorm_scratch_bytes(ln, n_max, train), .inplace = !train};
    if (!train) return FUL_OK;
    op->need.saved_per_image = 2 * (size_t)rows * sizeof(float);
    op->need.backward_x = 1;
    op->need.inplace_dx = op->need.adds_dx = true;
    return FUL_OK;
}

const ful__op_type ful__op_layernorm = {.name = "layernorm",
                                        .create = create,
                                        .layouts = ful__op_layouts_same,
                                        .plan = plan,
                                        .forward = ful__layernorm_forward,
                                        .backward = ful__layernorm_backward,
                                        .destroy = ful__op_free};
