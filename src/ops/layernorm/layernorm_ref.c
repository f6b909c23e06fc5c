/* SPDX-License-Identifier: Apache-2.0 */
/* Layer-norm as the formulas stand, in double. In NHWC a set is a row of contiguous values in both scopes. */
#include <math.h>

#include "ops/layernorm/layernorm.h"
#include "ops/ref.h"

static int64_t set_values(const ful__ref *r)
{
    const ful_layernorm_attr *attr = r->attr;
    return attr->scope == FUL_NORM_IMAGE ? ful__count(r->op->x[0]) : r->op->x[0].c;
}

static void stats_of(const ful__ref *r, const double *x, double *mean_out, double *rstd_out)
{
    const ful_layernorm_attr *attr = r->attr;
    const int64_t n = set_values(r);
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) var += pow(x[i] - mean, 2) / (double)n;
    *mean_out = mean;
    *rstd_out = 1 / sqrt(var + (double)attr->eps);
}

void ful__layernorm_fwd__ref(const ful__ref *r)
{
    const ful_layernorm_attr *attr = r->attr;
    const int64_t n = set_values(r), all = r->n * ful__count(r->op->x[0]);
    const int c = r->op->x[0].c;
    for (int64_t at = 0; at < all; at += n) {
        double mean, rstd;
        stats_of(r, r->x[0] + at, &mean, &rstd);
        for (int64_t i = at; i < at + n; i++) {
            const double xhat = (r->x[0][i] - mean) * rstd;
            r->y[i] = attr->affine ? xhat * r->w[FUL__LN_GAMMA][i % c] + r->w[FUL__LN_BETA][i % c] : xhat;
        }
    }
}

void ful__layernorm_bwd__ref(const ful__ref *r)
{
    const ful_layernorm_attr *attr = r->attr;
    const int64_t n = set_values(r), all = r->n * ful__count(r->op->x[0]);
    const int c = r->op->x[0].c;
    for (int64_t at = 0; at < all; at += n) {
        double mean, rstd, sum_g = 0, sum_gx = 0;
        stats_of(r, r->x[0] + at, &mean, &rstd);
        for (int64_t i = at; i < at + n; i++) {
            const double xhat = (r->x[0][i] - mean) * rstd, g = attr->affine ? r->dy[i] * r->w[FUL__LN_GAMMA][i % c] : r->dy[i];
            sum_g += g;
            sum_gx += g * xhat;
            if (attr->affine) {
                r->dw[FUL__LN_GAMMA][i % c] += r->dy[i] * xhat;
                r->dw[FUL__LN_BETA][i % c] += r->dy[i];
            }
        }
        for (int64_t i = at; i < at + n; i++) {
            const double xhat = (r->x[0][i] - mean) * rstd, g = attr->affine ? r->dy[i] * r->w[FUL__LN_GAMMA][i % c] : r->dy[i];
            r->dx[0][i] = rstd * (g - sum_g / (double)n - xhat * sum_gx / (double)n);
        }
    }
}
