/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statistics behind verdicts: paired differences between runs, and shares of images, one classifier's or two classifiers'
 * on the same images. Pure functions of their arguments.
 */
#ifndef FULCRUM_STATS_H
#define FULCRUM_STATS_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- paired differences (card I4) ---- */

typedef struct ful_paired {
    int n;
    double mean, sd;          /* sd with n - 1; NaN for n < 2 */
    double t, p_t;            /* paired t and its two-sided p */
    double t_low, t_high;     /* interval mean -+ t_{n-1} sd/sqrt(n) at `level` */
    double bca_low, bca_high; /* BCa bootstrap interval (Efron 1987) */
    double p_sign;            /* exact two-sided sign test; zeros left out */
    double p_flip;            /* sign-flip permutation test of the mean: exact for n <= 20, else `resamples` draws */
    double p_floor;           /* smallest p the exact tests can give with n pairs: 2/2^n */
} ful_paired;

/* diff[n]; level e.g. 0.95; resamples e.g. 10000, drawn by counter from seed. FUL_ERR_ARG for n < 1 or a value that is not
 * finite. */
FUL_API ful_status ful_stats_paired(const double *diff, int n, double level, int resamples, uint64_t seed,
                                    ful_paired *out) FUL_CHECK_RESULT;
/* Adjusted p-values of a declared family, same order as p (Holm 1979; Bonferroni); NaN entries stay out of the family. */
FUL_API void ful_stats_holm(const double *p, int n, double *adjusted_out);
FUL_API void ful_stats_bonferroni(const double *p, int n, double *adjusted_out);
/* Student's t with df > 0 degrees of freedom, and the standard normal: distribution functions and quantiles. */
FUL_API double ful_stats_t_cdf(double t, double df);
FUL_API double ful_stats_t_quantile(double p, double df);
FUL_API double ful_stats_normal_cdf(double z);
FUL_API double ful_stats_normal_quantile(double p);
/* The gap n pairs can show with 80 % power at two-sided 5 % in a paired t-test, in units of sd. */
FUL_API double ful_stats_detectable(int n);

/* ---- shares of images ---- */

/* Wilson's score interval of the share hits/n at `level` (Wilson 1927). NaN for n < 1. */
FUL_API void ful_stats_wilson(int64_t hits, int64_t n, double level, double *low_out, double *high_out);

/* The fourfold table of two classifiers A and B on the same images, and what follows from it. */
typedef struct ful_mcnemar {
    int64_t both, only_a, only_b, neither; /* images that both, A alone, B alone, neither got right */
    double p_exact;                        /* two-sided binomial test of only_a against only_b */
    double p_mid;        /* its mid-p form: half the probability of what was observed (Fagerland et al. 2013) */
    double chi2, p_chi2; /* (|only_a - only_b| - 1)^2 / (only_a + only_b): Edwards' continuity correction */
    bool exact;          /* p is p_exact: fewer than FUL_MCNEMAR_EXACT_BELOW images differ; else p_chi2 */
    double p;
    double difference;       /* accuracy of A - accuracy of B */
    double low, high, level; /* its interval: Newcombe 1998, method 10 (square-and-add of Wilson's, with the correlation) */
} ful_mcnemar;
enum { FUL_MCNEMAR_EXACT_BELOW = 25 };

/* McNemar 1947. FUL_ERR_ARG for a negative count, no image at all, or a level outside (0, 1). */
FUL_API ful_status ful_stats_mcnemar(int64_t both, int64_t only_a, int64_t only_b, int64_t neither, double level,
                                     ful_mcnemar *out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
