/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as their files share them. */
#ifndef FUL_OPS_TOKENS_H
#define FUL_OPS_TOKENS_H

#include <math.h>

#include "ops/op.h"

/*
 * Sin-cos positions in two dimensions (Beyer et al. 2022, after Chen et al. 2021): the d channels of patch (row, col) are
 * sin(col w_j), cos(col w_j), sin(row w_j), cos(row w_j), j = 0 .. d/4 - 1, one after the other, w_j = 10000^(-j / (d/4 - 1)).
 */
static inline double ful__sincos_position(int d, int row, int col, int channel)
{
    const int quarter = d / 4, j = channel % quarter, which = channel / quarter;
    const double angle = (which < 2 ? col : row) * pow(10000, -(double)j / (quarter - 1));
    return which % 2 ? cos(angle) : sin(angle);
}

#endif
