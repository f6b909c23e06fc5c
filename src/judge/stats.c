/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of paired differences (card I4): mean, Student interval, BCa bootstrap, exact sign and sign-flip tests, and the
 * corrections for a family of tests. Checked against SciPy's numbers in tests/judge/test_stats.c. Shares of images: shares.c.
 */
#include <fulcrum/stats.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"

enum { EXACT_FLIP_MAX = 20 };

/* ---- distributions ---- */

double ful_stats_normal_cdf(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

/* Continued fraction of the incomplete beta function, modified Lentz; converges fast for x < (a+1)/(a+b+2). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= 500; m++) {
        const double step[2] = {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                                -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))};
        double delta = 1.0;
        for (int i = 0; i < 2; i++) {
            d = 1.0 + step[i] * d;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            c = 1.0 + step[i] / c;
            if (fabs(c) < tiny) c = tiny;
            delta = c * d;
            h *= delta;
        }
        if (fabs(delta - 1.0) < 1e-16) break;
    }
    return h;
}

/* Regularised incomplete beta I_x(a, b). */
static double beta_regularised(double a, double b, double x)
{
    if (x <= 0.0) return 0.0;
    if (x >= 1.0) return 1.0;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1.0) / (a + b + 2.0)) return front * beta_fraction(a, b, x) / a;
    return 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

double ful_stats_t_cdf(double t, double df)
{
    const double tail = 0.5 * beta_regularised(0.5 * df, 0.5, df / (df + t * t));
    return t > 0.0 ? 1.0 - tail : tail;
}

/* The p-quantile of an increasing distribution function, by bisection to the last bit: slow, exact, and never at fault. */
static double quantile(double p, double (*cdf)(double, double), double df)
{
    if (!(p > 0.0)) return -INFINITY;
    if (!(p < 1.0)) return INFINITY;
    double low = -1.0, high = 1.0;
    while (cdf(low, df) > p) low *= 2.0;
    while (cdf(high, df) < p) high *= 2.0;
    for (;;) {
        const double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high) return middle;
        if (cdf(middle, df) < p)
            low = middle;
        else
            high = middle;
    }
}

double ful_stats_t_quantile(double p, double df)
{
    return quantile(p, ful_stats_t_cdf, df);
}

static double normal_cdf_of_two(double z, double unused)
{
    (void)unused;
    return ful_stats_normal_cdf(z);
}

double ful_stats_normal_quantile(double p)
{
    return quantile(p, normal_cdf_of_two, 0.0);
}

double ful_stats_detectable(int n)
{
    if (n < 2) return INFINITY;
    const double df = n - 1.0;
    return (ful_stats_t_quantile(0.975, df) + ful_stats_t_quantile(0.8, df)) / sqrt(n);
}

/* ---- tests ---- */

static double mean_of(const double *x, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum / n;
}

/* Two-sided exact sign test: zeros carry no sign and are left out. */
static double sign_test(const double *diff, int n)
{
    int positive = 0, used = 0;
    for (int i = 0; i < n; i++) {
        positive += diff[i] > 0.0;
        used += diff[i] != 0.0;
    }
    if (used == 0) return 1.0;
    const int extreme = positive < used - positive ? positive : used - positive;
    double term = pow(0.5, used), tail = term;
    for (int i = 1; i <= extreme; i++) {
        term *= (double)(used - i + 1) / i;
        tail += term;
    }
    return fmin(1.0, 2.0 * tail);
}

/* The sum of x[n] under each of the 2^n assignments of signs; returns 2^n. */
static int signed_sums(const double *x, int n, double *out)
{
    for (int signs = 0; signs < 1 << n; signs++) {
        out[signs] = 0.0;
        for (int i = 0; i < n; i++) out[signs] += signs >> i & 1 ? -x[i] : x[i];
    }
    return 1 << n;
}

/* Share of sign assignments whose |sum| reaches the observed one. Exact for small n; else (hits+1)/(draws+1), Phipson & Smyth
 * 2010. */
static double flip_test(const double *diff, int n, int resamples, uint64_t seed)
{
    double observed = 0.0, scale = 0.0;
    for (int i = 0; i < n; i++) {
        observed += diff[i];
        scale += fabs(diff[i]);
    }
    const double reach = fabs(observed) - 1e-12 * scale;
    if (n <= EXACT_FLIP_MAX) {
        /* all sums of either half, then all pairs of them */
        double first[1 << EXACT_FLIP_MAX / 2], second[1 << EXACT_FLIP_MAX / 2];
        const int n_first = signed_sums(diff, n / 2, first), n_second = signed_sums(diff + n / 2, n - n / 2, second);
        int64_t hits = 0;
        for (int i = 0; i < n_first; i++)
            for (int j = 0; j < n_second; j++) hits += fabs(first[i] + second[j]) >= reach;
        return (double)hits / ((double)n_first * n_second);
    }
    const ful__stream stream = ful__stream_make(seed, "stats", "sign-flip");
    int hits = 0;
    for (int r = 0; r < resamples; r++) {
        double sum = 0.0;
        for (int i = 0; i < n; i++) sum += ful__rng_below(stream, (uint64_t)r, (uint64_t)i, 2) ? -diff[i] : diff[i];
        hits += fabs(sum) >= reach;
    }
    return (hits + 1.0) / (resamples + 1.0);
}

/* ---- BCa bootstrap ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Acceleration: a sixth of the skewness of the jackknife means. */
static double acceleration(const double *diff, int n)
{
    const double total = mean_of(diff, n) * n;
    double square = 0.0, cube = 0.0;
    for (int i = 0; i < n; i++) {
        const double u = total / n - (total - diff[i]) / (n - 1);
        square += u * u;
        cube += u * u * u;
    }
    return square > 0.0 ? cube / (6.0 * pow(square, 1.5)) : 0.0;
}

/* The p-quantile of sorted values, linear between order statistics (type 7). */
static double sorted_quantile(const double *sorted, int n, double p)
{
    const double at = fmin(fmax(p, 0.0), 1.0) * (n - 1);
    const int below = (int)at;
    const int above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

static ful_status bca(const double *diff, int n, double level, int resamples, uint64_t seed, double *low, double *high)
{
    double *means;
    FUL_TRY(ful__calloc(&means, (size_t)resamples, sizeof *means, "bootstrap means"));
    const ful__stream stream = ful__stream_make(seed, "stats", "bootstrap");
    const double observed = mean_of(diff, n);
    double below = 0.0;
    for (int r = 0; r < resamples; r++) {
        double sum = 0.0;
        for (int i = 0; i < n; i++) sum += diff[ful__rng_below(stream, (uint64_t)r, (uint64_t)i, (uint64_t)n)];
        means[r] = sum / n;
        below += means[r] < observed ? 1.0 : means[r] == observed ? 0.5 : 0.0; /* ties count half: differences are discrete */
    }
    qsort(means, (size_t)resamples, sizeof *means, compare_doubles);
    if (means[0] == means[resamples - 1]) {
        *low = *high = means[0];
    } else {
        const double share = fmin(fmax(below / resamples, 0.5 / resamples), 1.0 - 0.5 / resamples);
        const double z0 = ful_stats_normal_quantile(share), a = acceleration(diff, n);
        const double z = ful_stats_normal_quantile(0.5 + 0.5 * level);
        const double z_low = z0 + (z0 - z) / (1.0 - a * (z0 - z)), z_high = z0 + (z0 + z) / (1.0 - a * (z0 + z));
        *low = sorted_quantile(means, resamples, ful_stats_normal_cdf(z_low));
        *high = sorted_quantile(means, resamples, ful_stats_normal_cdf(z_high));
    }
    ful__free(means);
    return FUL_OK;
}

ful_status ful_stats_paired(const double *diff, int n, double level, int resamples, uint64_t seed, ful_paired *out)
{
    FUL_FAIL_IF(n < 1, FUL_ERR_ARG, "cannot compare pairs with n=%d: at least one pair is needed", n);
    FUL_FAIL_IF(!(level > 0.0 && level < 1.0), FUL_ERR_ARG, "cannot compare pairs with level=%g: must lie between 0 and 1",
                level);
    FUL_FAIL_IF(resamples < 100, FUL_ERR_ARG, "cannot compare pairs with resamples=%d: must be at least 100", resamples);
    for (int i = 0; i < n; i++)
        FUL_FAIL_IF(!isfinite(diff[i]), FUL_ERR_ARG, "cannot compare pairs: difference %d is %g, must be finite", i + 1,
                    diff[i]);

    ful_paired r = {.n = n, .mean = mean_of(diff, n), .sd = NAN, .t = NAN, .p_t = NAN, .t_low = NAN, .t_high = NAN};
    r.bca_low = r.bca_high = NAN;
    r.p_sign = sign_test(diff, n);
    r.p_flip = flip_test(diff, n, resamples, seed);
    r.p_floor = fmin(1.0, 2.0 * pow(0.5, n));
    if (n >= 2) {
        double square = 0.0;
        for (int i = 0; i < n; i++) square += (diff[i] - r.mean) * (diff[i] - r.mean);
        r.sd = sqrt(square / (n - 1));
        if (r.sd <= 1e-12 * fabs(r.mean)) r.sd = 0.0; /* equal differences: what is left is rounding */
        const double error = r.sd / sqrt(n), df = n - 1.0;
        const double half = ful_stats_t_quantile(0.5 + 0.5 * level, df) * error;
        r.t_low = r.mean - half;
        r.t_high = r.mean + half;
        if (error > 0.0) {
            r.t = r.mean / error;
            r.p_t = 2.0 * ful_stats_t_cdf(-fabs(r.t), df);
        } else {
            r.t = r.mean == 0.0 ? 0.0 : copysign(INFINITY, r.mean);
            r.p_t = r.mean == 0.0 ? 1.0 : 0.0;
        }
        FUL_TRY(bca(diff, n, level, resamples, seed, &r.bca_low, &r.bca_high));
    }
    *out = r;
    return FUL_OK;
}

/* ---- families of tests ---- */

static int family_size(const double *p, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++) m += !isnan(p[i]);
    return m;
}

void ful_stats_bonferroni(const double *p, int n, double *adjusted_out)
{
    const int m = family_size(p, n);
    for (int i = 0; i < n; i++) adjusted_out[i] = isnan(p[i]) ? NAN : fmin(1.0, m * p[i]);
}

/*
 * Holm: the j-th smallest p (from 0) is multiplied by m - j, then made monotone: adjusted_i = max over p_j <= p_i of
 * min(1, (m - number smaller than p_j) * p_j), equal values sharing the largest factor. Without sorting and in place: a value
 * that is final already is the maximum over even smaller p, so it may stand for its factor.
 */
void ful_stats_holm(const double *p, int n, double *adjusted_out)
{
    const int m = family_size(p, n);
    for (int i = 0; i < n; i++) {
        int smaller = 0;
        for (int j = 0; j < n; j++) smaller += p[j] < p[i];
        adjusted_out[i] = isnan(p[i]) ? NAN : fmin(1.0, (m - smaller) * p[i]);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (p[j] <= p[i]) adjusted_out[i] = fmax(adjusted_out[i], adjusted_out[j]);
}
