/* SPDX-License-Identifier: Apache-2.0 */
/* What every operation shares: its base part, its list of parameters, and the two memory layouts. */
#include "ops/op.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include <fulcrum/core.h>

/* Values of one image: far beyond any image net, and small enough that n images of it cannot wrap an int64_t. */
static const int64_t image_values_max = (int64_t)1 << 31;

int ful__block(void)
{
    return ful_cpu_flags() & FUL_CPU_AVX512 ? 16 : 8;
}

ful__strides ful__strides_of(ful_shape s, ful__layout layout)
{
    const int64_t b = ful__block();
    if (layout == FUL__BLOCKED) return (ful__strides){.pixel = b, .block = (int64_t)s.h * s.w * b};
    return (ful__strides){.pixel = s.c, .block = b};
}

static bool shape_fits(ful_shape s)
{
    if (s.h < 1 || s.w < 1 || s.c < 1) return false;
    return (int64_t)s.h * s.w <= image_values_max / s.c;
}

ful_status ful__op_init(ful__op *op, const ful__op_type *type, const char *name, const ful_shape *x, int n_x)
{
    const size_t length = name ? strlen(name) : 0;
    FUL_FAIL_IF(length == 0 || length >= FUL__OP_NAME_MAX, FUL_ERR_ARG,
                "cannot build %s '%.40s': its name must have 1..%d bytes", type->name, name ? name : "", FUL__OP_NAME_MAX - 1);
    FUL_FAIL_IF(n_x < 1 || n_x > FUL__X_MAX, FUL_ERR_ARG, "cannot build %s '%s' with %d inputs: an op takes 1..%d", type->name,
                name, n_x, FUL__X_MAX);
    op->type = type;
    memcpy(op->name, name, length + 1);
    op->n_x = n_x;
    for (int i = 0; i < n_x; i++) {
        FUL_FAIL_IF(!shape_fits(x[i]), FUL_ERR_ARG,
                    "cannot build %s '%s' on an input of %d x %d x %d: each side must be at least 1, their product below 2^31",
                    type->name, name, x[i].h, x[i].w, x[i].c);
        op->x[i] = x[i];
    }
    op->y = x[0];
    return FUL_OK;
}

ful_status ful__op_add_param(ful__op *op, const char *suffix, int rank, const int64_t *shape, ful_init init, float gain,
                             int64_t fan_in, bool trainable, bool decay)
{
    ful__param p = {.rank = rank, .count = 1, .init = init, .gain = gain, .fan_in = fan_in};
    p.trainable = trainable;
    p.decay = decay;
    const int length = snprintf(p.name, sizeof p.name, "%s.%s", op->name, suffix);
    FUL_FAIL_IF(length < 0 || (size_t)length >= sizeof p.name, FUL_ERR_ARG,
                "cannot build %s '%s': the name of its parameter '%s' must have at most %d bytes", op->type->name, op->name,
                suffix, FUL__OP_NAME_MAX - 1);
    for (int i = 0; i < rank; i++) {
        FUL_FAIL_IF(shape[i] < 1 || p.count > image_values_max / shape[i], FUL_ERR_ARG,
                    "cannot build %s '%s': its parameter '%s' must have 1..2^31 values", op->type->name, op->name, suffix);
        p.shape[i] = shape[i];
        p.count *= shape[i];
    }
    FUL_TRY(ful__realloc(&op->params, (size_t)op->n_params + 1, sizeof *op->params, "an op's parameters"));
    op->params[op->n_params++] = p;
    return FUL_OK;
}

void ful__op_deinit(ful__op *op)
{
    ful__free(op->params);
    op->params = NULL;
    op->n_params = 0;
}

void ful__op_layouts_plain(ful__op *op)
{
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = FUL__NHWC;
    op->y_layout = FUL__NHWC;
}

void ful__op_layouts_same(ful__op *op)
{
    ful__layout layout = FUL__NHWC;
    for (int i = 0; i < op->n_x; i++)
        if (op->x_layout[i] == FUL__BLOCKED) layout = FUL__BLOCKED;
    for (int i = 0; i < op->n_x; i++)
        if (op->x[i].c % ful__block() != 0) layout = FUL__NHWC;
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = layout;
    op->y_layout = layout;
}
