/* SPDX-License-Identifier: Apache-2.0 */
/* Batch-norm as the formulas stand, in double. */
#include <math.h>

#include "ops/batchnorm/batchnorm.h"
#include "ops/ref.h"

typedef struct channel {
    double mean, rstd;
} channel;

/* Of channel j: of the batch in training, the running ones otherwise. */
static channel stats_of(const ful__ref *r, int j, double *var_out)
{
    const ful_batchnorm_attr *attr = r->attr;
    const int c = r->op->x[0].c;
    const int64_t rows = r->n * ful__count(r->op->x[0]) / c;
    double mean = r->w[FUL__BN_MEAN][j], var = r->w[FUL__BN_VAR][j];
    if (r->train) {
        mean = var = 0;
        for (int64_t i = 0; i < rows; i++) mean += r->x[0][i * c + j] / (double)rows;
        for (int64_t i = 0; i < rows; i++) var += pow(r->x[0][i * c + j] - mean, 2) / (double)rows;
    }
    *var_out = var;
    return (channel){mean, 1 / sqrt(var + (double)attr->eps)};
}

/* What goes into the activation; i: an element of channel j. */
static double before_act(const ful__ref *r, int j, channel s, int64_t i)
{
    const ful_batchnorm_attr *attr = r->attr;
    const double y = r->w[FUL__BN_GAMMA][j] * (r->x[0][i] - s.mean) * s.rstd + r->w[FUL__BN_BETA][j];
    return attr->residual ? y + r->x[1][i] : y;
}

void ful__batchnorm_fwd__ref(const ful__ref *r)
{
    const ful_batchnorm_attr *attr = r->attr;
    const int c = r->op->x[0].c;
    const int64_t rows = r->n * ful__count(r->op->x[0]) / c;
    if (rows == 0) return;
    for (int j = 0; j < c; j++) {
        double var;
        const channel s = stats_of(r, j, &var);
        for (int64_t i = j; i < rows * c; i += c) r->y[i] = ful__act_value__ref(attr->act, before_act(r, j, s, i));
        if (!r->train) continue;
        const double m = (double)attr->momentum;
        r->w[FUL__BN_MEAN][j] = (1 - m) * r->w[FUL__BN_MEAN][j] + m * s.mean;
        if (rows > 1) r->w[FUL__BN_VAR][j] = (1 - m) * r->w[FUL__BN_VAR][j] + m * var * (double)rows / (double)(rows - 1);
    }
}

void ful__batchnorm_bwd__ref(const ful__ref *r)
{
    const ful_batchnorm_attr *attr = r->attr;
    const int c = r->op->x[0].c;
    const int64_t rows = r->n * ful__count(r->op->x[0]) / c;
    for (int j = 0; j < c && rows > 0; j++) {
        double var, sum_g = 0, sum_gx = 0;
        const channel s = stats_of(r, j, &var);
        for (int64_t i = j; i < rows * c; i += c) {
            const double g = r->dy[i] * ful__act_slope__ref(attr->act, before_act(r, j, s, i));
            sum_g += g;
            sum_gx += g * (r->x[0][i] - s.mean) * s.rstd;
        }
        for (int64_t i = j; i < rows * c; i += c) {
            const double g = r->dy[i] * ful__act_slope__ref(attr->act, before_act(r, j, s, i));
            const double xhat = (r->x[0][i] - s.mean) * s.rstd;
            r->dx[0][i] = r->w[FUL__BN_GAMMA][j] * s.rstd * (g - sum_g / (double)rows - xhat * sum_gx / (double)rows);
            if (attr->residual) r->dx[1][i] = g;
        }
        r->dw[FUL__BN_GAMMA][j] += sum_gx;
        r->dw[FUL__BN_BETA][j] += sum_g;
    }
}
