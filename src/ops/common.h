/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that the operations without matrix products share. */
#ifndef FUL_OPS_COMMON_H
#define FUL_OPS_COMMON_H

#include "core/error.h"
#include "core/mem.h"
#include "ops/op.h"

/* Activations and weights read and written once, float32. */
static inline int64_t ful__op_bytes(const ful__op *op)
{
    int64_t floats = ful__count(op->y);
    for (int i = 0; i < op->n_x; i++) floats += ful__count(op->x[i]);
    for (int i = 0; i < op->n_params; i++) floats += op->params[i].count;
    return floats * (int64_t)sizeof(float);
}

/* Fails unless both inputs of a two-input op have one shape. */
static inline ful_status ful__op_same_shapes(const ful__op *op)
{
    const ful_shape a = op->x[0], b = op->x[1];
    FUL_FAIL_IF(a.h != b.h || a.w != b.w || a.c != b.c, FUL_ERR_ARG,
                "cannot build %s '%s' with inputs %dx%dx%d and %dx%dx%d: their shapes must be equal", op->type->name, op->name,
                a.h, a.w, a.c, b.h, b.w, b.c);
    return FUL_OK;
}

static inline ful_status ful__op_takes(const ful__op *op, int n_x)
{
    FUL_FAIL_IF(op->n_x != n_x, FUL_ERR_ARG, "cannot build %s '%s' with inputs=%d: it takes %d", op->type->name, op->name,
                op->n_x, n_x);
    return FUL_OK;
}

#endif
