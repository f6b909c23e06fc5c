/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"

static double weight(const ful__ref *r, int64_t i)
{
    const ful_scale_attr *attr = r->attr;
    return attr->learnable ? r->w[0][i % r->op->y.c] : (double)attr->value;
}

void ful__scale_fwd__ref(const ful__ref *r)
{
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) r->y[i] = weight(r, i) * r->x[0][i];
}

void ful__scale_bwd__ref(const ful__ref *r)
{
    const ful_scale_attr *attr = r->attr;
    for (int64_t i = 0; i < r->n * ful__count(r->op->y); i++) {
        r->dx[0][i] = weight(r, i) * r->dy[i];
        if (attr->learnable) r->dw[0][i % r->op->y.c] += r->dy[i] * r->x[0][i];
    }
}
