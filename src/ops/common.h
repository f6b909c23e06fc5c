/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that the operations without matrix products share. */
#ifndef FUL_OPS_COMMON_H
#define FUL_OPS_COMMON_H

#include "core/error.h"
#include "core/mem.h"
#include "ops/op.h"

/* Fails unless the op was given n_x inputs, and of one shape. */
ful_status ful__op_takes(const ful__op *op, int n_x) FUL_CHECK_RESULT;

/* The end of a create: hands the op out, its bytes counted, or releases it and passes the failure on. */
ful_status ful__op_made(ful__op *op, ful_status status, ful__op **out);

/* The destroy of an op that owns nothing but its parameters. */
void ful__op_free(ful__op *op);

/* y[0..count-1] = x[…] on all threads; nothing where they are the same memory. */
void ful__copy_floats(const float *x, float *y, int64_t count);

/* y[i] += x[i] on all threads. */
void ful__add_floats(const float *x, float *y, int64_t count);

/* Arrays that are worked on without regard to their shape go in pieces of this many values. */
enum { FUL__PIECE = 1 << 14 };

static inline int64_t ful__pieces(int64_t count)
{
    return (count + FUL__PIECE - 1) / FUL__PIECE;
}

/* The values of piece i begin at i*FUL__PIECE and are so many: */
static inline int64_t ful__piece_length(int64_t count, int64_t i)
{
    const int64_t left = count - i * FUL__PIECE;
    return left < FUL__PIECE ? left : FUL__PIECE;
}

#endif
