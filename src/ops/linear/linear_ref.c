/* SPDX-License-Identifier: Apache-2.0 */
/* y[t][o] = b[o] + sum_i x[t][i] w[o][i]; 0 for the leading outputs beyond the first position */
#include <string.h>

#include "ops/ref.h"

static int64_t rows_of(const ful__ref *r)
{
    return (int64_t)r->n * r->op->y.h * r->op->y.w;
}

static int first_of(const ful__ref *r, int64_t t)
{
    return t % ((int64_t)r->op->y.h * r->op->y.w) == 0 ? 0 : ((const ful_linear_attr *)r->attr)->lead;
}

void ful__linear_fwd__ref(const ful__ref *r)
{
    const ful_linear_attr *a = r->attr;
    const int in = r->op->x[0].c, out = r->op->y.c;
    memset(r->y, 0, (size_t)(rows_of(r) * out) * sizeof(double));
    for (int64_t t = 0; t < rows_of(r); t++)
        for (int o = first_of(r, t); o < out; o++) {
            double sum = a->bias ? r->w[1][o] : 0.0;
            for (int i = 0; i < in; i++) sum += r->x[0][t * in + i] * r->w[0][o * in + i];
            r->y[t * out + o] = sum;
        }
}

void ful__linear_bwd__ref(const ful__ref *r)
{
    const ful_linear_attr *a = r->attr;
    const int in = r->op->x[0].c, out = r->op->y.c;
    if (r->dx[0]) memset(r->dx[0], 0, (size_t)(rows_of(r) * in) * sizeof(double));
    for (int64_t t = 0; t < rows_of(r); t++)
        for (int o = first_of(r, t); o < out; o++) {
            const double dy = r->dy[t * out + o];
            for (int i = 0; i < in; i++) {
                if (r->dx[0]) r->dx[0][t * in + i] += dy * r->w[0][o * in + i];
                if (r->dw[0]) r->dw[0][o * in + i] += dy * r->x[0][t * in + i];
            }
            if (a->bias && r->dw[1]) r->dw[1][o] += dy;
        }
}
