/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums over tokens in double, in one order whatever the threads: tokens are cut into at most FUL__SUM_PIECES shares that depend
 * on t alone, each share is summed upwards, and the shares in order.
 */
#ifndef FUL_MOE_SUMS_H
#define FUL_MOE_SUMS_H

#include <stdint.h>

enum { FUL__SUM_PIECES = 32, FUL__SUM_COLUMNS = 64 };

static inline int64_t ful__sum_pieces(int64_t t)
{
    const int64_t pieces = (t + 255) / 256;
    return pieces < FUL__SUM_PIECES ? pieces : FUL__SUM_PIECES;
}

/* out[j] = sum over t of x[t][first + j], j < columns <= FUL__SUM_COLUMNS; x is [t][n]. A parallel loop. */
void ful__column_sums_of(const float *x, int64_t t, int n, int first, int columns, double *out);

#endif
