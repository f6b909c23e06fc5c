/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ops/ref.h"

static int64_t place(const ful__ref *r, int64_t i)
{
    return i * ful__count(r->op->x[0]) + ((const ful_take_attr *)r->attr)->position * r->op->y.c;
}

void ful__take_fwd__ref(const ful__ref *r)
{
    for (int64_t i = 0; i < r->n; i++)
        for (int c = 0; c < r->op->y.c; c++) r->y[i * r->op->y.c + c] = r->x[0][place(r, i) + c];
}

void ful__take_bwd__ref(const ful__ref *r)
{
    memset(r->dx[0], 0, (size_t)(r->n * ful__count(r->op->x[0])) * sizeof(double));
    for (int64_t i = 0; i < r->n; i++)
        for (int c = 0; c < r->op->y.c; c++) r->dx[0][place(r, i) + c] = r->dy[i * r->op->y.c + c];
}
