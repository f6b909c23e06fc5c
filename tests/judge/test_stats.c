/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statistics module against SciPy 1.x. The constants were printed by
 *   scipy.stats.t.cdf/.ppf, norm.ppf, ttest_1samp(x, 0), binomtest(10, 12), permutation_test(permutation_type="samples"),
 *   bootstrap((x,), mean, method="BCa", n_resamples=200000)
 * for the samples below, and by the oracles of method card I4.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fulcrum/stats.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"

static const double card[5] = {.42, .31, .55, .12, .38};
static const double mixed[12] = {1.2, -.3, .8, 2.4, .1, .9, -.6, 1.5, 3.1, .2, .7, 1.1};

static void near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.15g is not %.15g within %g", value, expected, tolerance);
}

static void distributions_match_scipy(void **state)
{
    (void)state;
    near(ful_stats_t_cdf(-2.5, 4), 0.03338327240599407, 1e-14);
    near(ful_stats_t_cdf(0.3, 1), 0.5927735790777423, 1e-14);
    near(ful_stats_t_cdf(1.7, 30), 0.9502610622057416, 1e-14);
    near(ful_stats_t_cdf(-12, 3), 0.0006225079003946681, 1e-15);
    near(ful_stats_t_cdf(0, 7), 0.5, 1e-15);
    near(ful_stats_t_quantile(0.975, 4), 2.7764451051977934, 1e-11);
    near(ful_stats_t_quantile(0.8, 11), 0.8755299780738819, 1e-11);
    near(ful_stats_t_quantile(0.025, 2.5), -3.5746548420036834, 1e-11);
    near(ful_stats_normal_quantile(0.01), -2.3263478740408408, 1e-12);
    assert_true(isinf(ful_stats_normal_quantile(0.0)) && ful_stats_normal_quantile(0.0) < 0);
}

static void paired_matches_the_card_and_scipy(void **state)
{
    (void)state;
    ful_paired r;
    assert_int_equal(ful_stats_paired(card, 5, 0.95, 10000, 1, &r), FUL_OK);
    near(r.mean, 0.356, 1e-12);
    near(r.sd, 0.158209, 5e-7);
    near(r.t, 5.031582237847308, 1e-12);
    near(r.p_t, 0.007325325381016741, 1e-13);
    near(0.5 * (r.t_high - r.t_low), 0.196442, 5e-7);
    near(r.p_sign, 0.0625, 1e-15);
    near(r.p_flip, 0.0625, 1e-15);
    near(r.p_floor, 0.0625, 1e-15);
    near(r.bca_low, 0.2100, 0.01);
    near(r.bca_high, 0.4640, 0.01);

    assert_int_equal(ful_stats_paired(mixed, 12, 0.95, 20000, 1, &r), FUL_OK);
    near(r.p_t, 0.011805973955350763, 1e-13);
    near(r.p_sign, 0.03857421875, 1e-15);
    near(r.p_flip, 0.00927734375, 1e-15);
    near(r.bca_low, 0.4083, 0.02);
    near(r.bca_high, 1.575, 0.02);
}

static void edges_are_defined(void **state)
{
    (void)state;
    ful_paired r;
    const double one = 0.5, zeros[3] = {0, 0, 0}, same[4] = {2, 2, 2, 2};
    assert_int_equal(ful_stats_paired(&one, 1, 0.95, 1000, 1, &r), FUL_OK);
    assert_true(isnan(r.sd) && isnan(r.t_low) && r.p_sign == 1.0 && r.p_flip == 1.0 && r.p_floor == 1.0);
    assert_int_equal(ful_stats_paired(zeros, 3, 0.95, 1000, 1, &r), FUL_OK);
    assert_true(r.mean == 0.0 && r.p_t == 1.0 && r.p_sign == 1.0 && r.p_flip == 1.0);
    assert_int_equal(ful_stats_paired(same, 4, 0.95, 1000, 1, &r), FUL_OK);
    assert_true(r.p_t == 0.0 && r.bca_low == 2.0 && r.bca_high == 2.0 && r.t_low == 2.0);

    assert_int_equal(ful_stats_paired(card, 0, 0.95, 1000, 1, &r), FUL_ERR_ARG);
    assert_int_equal(ful_stats_paired(card, 5, 1.0, 1000, 1, &r), FUL_ERR_ARG);
    const double bad[2] = {1.0, NAN};
    assert_int_equal(ful_stats_paired(bad, 2, 0.95, 1000, 1, &r), FUL_ERR_ARG);
    assert_non_null(strstr(ful_error_message(), "difference 2"));
    ful__fault_fail_at(FUL__FAULT_ALLOC, 1);
    assert_int_equal(ful_stats_paired(card, 5, 0.95, 1000, 1, &r), FUL_ERR_MEMORY);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
}

/* Above 20 pairs the flips are drawn; the p-value must agree with the t-test's for near-normal differences. */
static void many_pairs_are_sampled(void **state)
{
    (void)state;
    double diff[40];
    for (int i = 0; i < 40; i++) diff[i] = 0.3 + ful_stats_normal_quantile((i + 0.5) / 40.0);
    ful_paired r, again;
    assert_int_equal(ful_stats_paired(diff, 40, 0.95, 20000, 7, &r), FUL_OK);
    near(r.p_flip, r.p_t, 0.01);
    assert_int_equal(ful_stats_paired(diff, 40, 0.95, 20000, 7, &again), FUL_OK);
    assert_memory_equal(&r, &again, sizeof r);
}

static void families_match_the_card(void **state)
{
    (void)state;
    const double p[5] = {.004, .020, .030, .011, NAN}, holm[4] = {.016, .040, .040, .033},
                 bonferroni[4] = {.016, .080, .120, .044};
    double got[5];
    ful_stats_holm(p, 5, got);
    for (int i = 0; i < 4; i++) near(got[i], holm[i], 1e-12);
    assert_true(isnan(got[4]));
    ful_stats_bonferroni(p, 5, got);
    for (int i = 0; i < 4; i++) near(got[i], bonferroni[i], 1e-12);
    const double equal[3] = {.5, .5, .9};
    ful_stats_holm(equal, 3, got);
    for (int i = 0; i < 3; i++) near(got[i], 1.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_match_scipy), cmocka_unit_test(paired_matches_the_card_and_scipy),
        cmocka_unit_test(edges_are_defined),         cmocka_unit_test(many_pairs_are_sampled),
        cmocka_unit_test(families_match_the_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
