/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/common.h"

#include <string.h>

#include "core/parallel.h"

ful_status ful__op_takes(const ful__op *op, int n_x)
{
    FUL_FAIL_IF(op->n_x != n_x, FUL_ERR_ARG, "cannot build %s '%s' with %d inputs: it takes %d", op->type->name, op->name,
                op->n_x, n_x);
    for (int i = 1; i < n_x; i++) {
        const ful_shape a = op->x[0], b = op->x[i];
        FUL_FAIL_IF(a.h != b.h || a.w != b.w || a.c != b.c, FUL_ERR_ARG,
                    "cannot build %s '%s' on inputs of %dx%dx%d and %dx%dx%d: their shapes must be equal", op->type->name,
                    op->name, a.h, a.w, a.c, b.h, b.w, b.c);
    }
    return FUL_OK;
}

/* Activations and weights read and written once, float32. */
static int64_t count_bytes(const ful__op *op)
{
    int64_t floats = ful__count(op->y);
    for (int i = 0; i < op->n_x; i++) floats += ful__count(op->x[i]);
    for (int i = 0; i < op->n_params; i++) floats += op->params[i].count;
    return floats * (int64_t)sizeof(float);
}

ful_status ful__op_made(ful__op *op, ful_status status, ful__op **out)
{
    if (status != FUL_OK) {
        ful__op_free(op);
        return status;
    }
    op->cost.bytes = count_bytes(op);
    *out = op;
    return FUL_OK;
}

void ful__op_free(ful__op *op)
{
    if (!op) return;
    ful__op_deinit(op);
    ful__free(op);
}

typedef struct copy_pass {
    const float *x;
    float *y;
    int64_t count;
} copy_pass;

static void copy_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const copy_pass *p = ctx;
    memcpy(p->y + i * FUL__PIECE, p->x + i * FUL__PIECE, (size_t)ful__piece_length(p->count, i) * sizeof(float));
}

void ful__copy_floats(const float *x, float *y, int64_t count)
{
    copy_pass p = {x, y, count};
    if (x != y) ful__parallel_for(ful__pieces(count), copy_piece, &p);
}

static void add_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const copy_pass *p = ctx;
    const float *restrict x = p->x + i * FUL__PIECE;
    float *restrict y = p->y + i * FUL__PIECE;
    const int64_t length = ful__piece_length(p->count, i);
    for (int64_t j = 0; j < length; j++) y[j] += x[j];
}

void ful__add_floats(const float *x, float *y, int64_t count)
{
    copy_pass p = {x, y, count};
    ful__parallel_for(ful__pieces(count), add_piece, &p);
}
