/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"

static int64_t rows_of(const ful__ref *r)
{
    return (int64_t)r->n * r->op->x[0].h * r->op->x[0].w;
}

void ful__linear_fwd__ref(const ful__ref *r)
{
    const int in = r->op->x[0].c, out = r->op->y.c;
    for (int64_t row = 0; row < rows_of(r); row++)
        for (int o = 0; o < out; o++) {
            double sum = r->op->n_params > 1 ? r->w[1][o] : 0.0;
            for (int i = 0; i < in; i++) sum += r->x[0][row * in + i] * r->w[0][(int64_t)o * in + i];
            r->y[row * out + o] = sum;
        }
}

void ful__linear_bwd__ref(const ful__ref *r)
{
    const int in = r->op->x[0].c, out = r->op->y.c;
    for (int64_t row = 0; row < rows_of(r); row++) {
        for (int i = 0; i < in; i++) r->dx[0][row * in + i] = 0.0;
        for (int o = 0; o < out; o++) {
            const double dy = r->dy[row * out + o];
            for (int i = 0; i < in; i++) {
                r->dx[0][row * in + i] += dy * r->w[0][(int64_t)o * in + i];
                r->dw[0][(int64_t)o * in + i] += dy * r->x[0][row * in + i];
            }
            if (r->op->n_params > 1) r->dw[1][o] += dy;
        }
    }
}
