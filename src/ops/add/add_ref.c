/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"

void ful__add_fwd__ref(const ful__ref *r)
{
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->y[i] = r->x[0][i] + r->x[1][i];
}

void ful__add_bwd__ref(const ful__ref *r)
{
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->dx[0][i] = r->dx[1][i] = r->dy[i];
}
