/* SPDX-License-Identifier: Apache-2.0 */
/* An image as a vector of h*w*c values in the order [h][w][c]. In NHWC these are the same bytes, so it asks for NHWC. */
#include "ops/common.h"

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    (void)attr;
    ful__op *op = NULL;
    FUL_TRY(ful__calloc(&op, 1, sizeof *op, "a flatten"));
    ful_status status = ful__op_init(op, &ful__op_flatten, name, x, n_x);
    if (status == FUL_OK) status = ful__op_takes(op, 1);
    if (status == FUL_OK && ful__count(x[0]) > INT32_MAX)
        status = ful__fail(FUL_ERR_ARG,
                           "cannot build flatten '%s' on an input of %dx%dx%d: the vector must have below 2^31 values", name,
                           x[0].h, x[0].w, x[0].c);
    if (status == FUL_OK) op->y = (ful_shape){1, 1, (int)ful__count(x[0])};
    return ful__op_made(op, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    op->need = (ful__need){.inplace = true, .inplace_dx = train};
    return FUL_OK;
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    ful__copy_floats(run->x[0], run->y, run->n * ful__count(op->y));
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    if (run->dx[0]) ful__copy_floats(run->dy, run->dx[0], run->n * ful__count(op->y));
    return FUL_OK;
}

const ful__op_type ful__op_flatten = {.name = "flatten",
                                      .create = create,
                                      .layouts = ful__op_layouts_plain,
                                      .plan = plan,
                                      .forward = forward,
                                      .backward = backward,
                                      .destroy = ful__op_free};
