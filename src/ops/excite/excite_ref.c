/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ops/ref.h"

/* The factor of value i. */
static int64_t factor_at(const ful__ref *r, int64_t i)
{
    const int64_t c = r->op->y.c;
    return i / ful__count(r->op->y) * c + i % c;
}

void ful__excite_fwd__ref(const ful__ref *r)
{
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->y[i] = r->x[0][i] * r->x[1][factor_at(r, i)];
}

void ful__excite_bwd__ref(const ful__ref *r)
{
    memset(r->dx[1], 0, (size_t)(r->n * r->op->y.c) * sizeof *r->dx[1]);
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) {
        r->dx[0][i] = r->dy[i] * r->x[1][factor_at(r, i)];
        r->dx[1][factor_at(r, i)] += r->dy[i] * r->x[0][i];
    }
}
