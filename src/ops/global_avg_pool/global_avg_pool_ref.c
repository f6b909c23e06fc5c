/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"

void ful__global_avg_pool_fwd__ref(const ful__ref *r)
{
    const int c = r->op->x[0].c;
    const int64_t pixels = ful__count(r->op->x[0]) / c;
    for (int64_t i = 0; i < r->n; i++)
        for (int j = 0; j < c; j++) {
            double sum = 0;
            for (int64_t p = 0; p < pixels; p++) sum += r->x[0][(i * pixels + p) * c + j];
            r->y[i * c + j] = sum / (double)pixels;
        }
}

void ful__global_avg_pool_bwd__ref(const ful__ref *r)
{
    const int c = r->op->x[0].c;
    const int64_t pixels = ful__count(r->op->x[0]) / c;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t k = 0; k < pixels * c; k++) r->dx[0][i * pixels * c + k] = r->dy[i * c + k % c] / (double)pixels;
}
