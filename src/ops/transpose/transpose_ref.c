/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"

/* y[n][j][i] = x[n][i][j] */
static void transpose(const double *x, int64_t n, int64_t rows, int64_t cols, double *y)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) y[(k * cols + j) * rows + i] = x[(k * rows + i) * cols + j];
}

void ful__transpose_fwd__ref(const ful__ref *r)
{
    transpose(r->x[0], r->n, r->op->y.c, r->op->x[0].c, r->y);
}

void ful__transpose_bwd__ref(const ful__ref *r)
{
    transpose(r->dy, r->n, r->op->x[0].c, r->op->y.c, r->dx[0]);
}
