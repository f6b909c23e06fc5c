/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of images: Wilson's interval, McNemar's test of two classifiers on the same images, Newcombe's paired interval. */
#include <fulcrum/stats.h>

#include <math.h>

#include "core/error.h"

/* ---- Wilson ---- */

static void wilson(int64_t hits, int64_t n, double z, double *low, double *high)
{
    const double share = (double)hits / (double)n, zz = z * z / (double)n;
    const double centre = (share + 0.5 * zz) / (1.0 + zz);
    const double half = z / (1.0 + zz) * sqrt(share * (1.0 - share) / (double)n + 0.25 * zz / (double)n);
    *low = hits == 0 ? 0.0 : fmax(0.0, centre - half);
    *high = hits == n ? 1.0 : fmin(1.0, centre + half);
}

void ful_stats_wilson(int64_t hits, int64_t n, double level, double *low_out, double *high_out)
{
    *low_out = *high_out = NAN;
    if (n >= 1 && hits >= 0 && hits <= n && level > 0.0 && level < 1.0)
        wilson(hits, n, ful_stats_normal_quantile(0.5 + 0.5 * level), low_out, high_out);
}

/* ---- McNemar ---- */

/* P(X = k) and P(X <= k) of a fair coin thrown n times, k <= n/2: from the largest term down, each by its ratio to the last. */
static void fair_tail(int64_t n, int64_t k, double *point, double *tail)
{
    double term = exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) - (double)n * log(2.0));
    *point = *tail = term;
    for (int64_t i = k; i > 0 && term > 1e-18 * *tail; i--) {
        term *= (double)i / (double)(n - i + 1);
        *tail += term;
    }
}

/* Newcombe's method 10: the distances of two Wilson intervals, added as vectors whose angle the correlation gives. */
static void paired_interval(ful_mcnemar *m, double z)
{
    const double a = (double)m->both, b = (double)m->only_a, c = (double)m->only_b, d = (double)m->neither;
    const int64_t n = m->both + m->only_a + m->only_b + m->neither;
    const double p1 = (a + b) / (double)n, p2 = (a + c) / (double)n;
    double l1, u1, l2, u2;
    wilson(m->both + m->only_a, n, z, &l1, &u1);
    wilson(m->both + m->only_b, n, z, &l2, &u2);
    const double margins = (a + b) * (c + d) * (a + c) * (b + d), cross = a * d - b * c;
    const double corrected = cross > 0.0 ? fmax(cross - 0.5 * (double)n, 0.0) : cross;
    const double phi = margins > 0.0 ? corrected / sqrt(margins) : 0.0;
    const double down1 = p1 - l1, up1 = u1 - p1, down2 = p2 - l2, up2 = u2 - p2;
    m->low = m->difference - sqrt(fmax(0.0, down1 * down1 - 2.0 * phi * down1 * up2 + up2 * up2));
    m->high = m->difference + sqrt(fmax(0.0, up1 * up1 - 2.0 * phi * up1 * down2 + down2 * down2));
}

ful_status ful_stats_mcnemar(int64_t both, int64_t only_a, int64_t only_b, int64_t neither, double level, ful_mcnemar *out)
{
    const int64_t most = INT64_MAX / 8;
    FUL_FAIL_IF(both < 0 || only_a < 0 || only_b < 0 || neither < 0 || both > most || only_a > most || only_b > most ||
                    neither > most || both + only_a + only_b + neither == 0,
                FUL_ERR_ARG,
                "cannot compare classifiers with the table %lld, %lld, %lld, %lld: counts must be >= 0, one above 0",
                (long long)both, (long long)only_a, (long long)only_b, (long long)neither);
    FUL_FAIL_IF(!(level > 0.0 && level < 1.0), FUL_ERR_ARG,
                "cannot compare classifiers with level=%g: must lie between 0 and 1", level);
    ful_mcnemar m = {.both = both, .only_a = only_a, .only_b = only_b, .neither = neither, .level = level};
    const int64_t differ = only_a + only_b, less = only_a < only_b ? only_a : only_b;
    double point, tail;
    fair_tail(differ, less, &point, &tail);
    m.p_exact = fmin(1.0, 2.0 * tail);
    m.p_mid = fmin(1.0, 2.0 * tail - point);
    const double apart = fmax(0.0, fabs((double)(only_a - only_b)) - 1.0);
    m.chi2 = differ > 0 ? apart * apart / (double)differ : 0.0;
    m.p_chi2 = erfc(sqrt(0.5 * m.chi2)); /* chi-square with one degree of freedom is a squared normal */
    m.exact = differ < FUL_MCNEMAR_EXACT_BELOW;
    m.p = m.exact ? m.p_exact : m.p_chi2;
    m.difference = (double)(only_a - only_b) / (double)(both + differ + neither);
    paired_interval(&m, ful_stats_normal_quantile(0.5 + 0.5 * level));
    *out = m;
    return FUL_OK;
}
