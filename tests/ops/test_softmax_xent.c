/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax cross-entropy: numbers worked out by hand, the formula in double, and what no user should give it. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "ops/op.h"
#include "support/test.h"
#include <fulcrum/core.h>

static void assert_near(double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%.17g is not %.17g", got, want);
}

/* softmax(1, 2, 3) = 0.0900306, 0.2447285, 0.6652410; -ln of them 2.4076060, 1.4076060, 0.4076060. */
static const float three[] = {1, 2, 3};
static const double log3[] = {2.4076059644443806, 1.4076059644443806, 0.4076059644443806};
static const double soft3[] = {0.09003057317038046, 0.24472847105479764, 0.6652409557748219};

static void test_known_numbers(void **state)
{
    (void)state;
    float d[3], loss;
    for (int32_t label = 0; label < 3; label++) {
        ful__xent x = {.n = 1, .classes = 3, .logits = three, .label = &label, .scale = 0.5f, .dlogits = d, .row_loss = &loss};
        ful__softmax_xent(&x);
        assert_near(x.loss_out, log3[label], 1e-7);
        assert_near((double)loss, log3[label], 3e-7);
        assert_int_equal(x.correct_out, label == 2);
        for (int j = 0; j < 3; j++) assert_near((double)d[j], 0.5 * (soft3[j] - (j == label)), 1e-7);
    }
}

static void test_label_smoothing(void **state)
{
    (void)state;
    const int32_t label = 2;
    float d[3];
    ful__xent x = {.n = 1, .classes = 3, .logits = three, .label = &label, .smoothing = 0.1f, .scale = 1, .dlogits = d};
    ful__softmax_xent(&x);
    assert_near(x.loss_out, 0.5076059644443806, 2e-7); /* 0.9 * 0.4076 + 0.1 * (2.4076 + 1.4076 + 0.4076) / 3 */
    assert_near((double)d[0], soft3[0] - 0.1 / 3, 1e-7);
    assert_near((double)d[1], soft3[1] - 0.1 / 3, 1e-7);
    assert_near((double)d[2], soft3[2] - 0.9 - 0.1 / 3, 1e-7);
    assert_int_equal(x.correct_out, 1);
}

static void test_soft_labels(void **state)
{
    (void)state;
    const float soft[] = {0.25f, 0, 0.75f}, half[] = {0.5f, 0, 0};
    const int32_t label = 2;
    float d[3];
    ful__xent x = {.n = 1, .classes = 3, .logits = three, .soft = soft, .smoothing = 0.1f, .scale = 1, .dlogits = d};
    ful__softmax_xent(&x); /* smoothing is for labels */
    assert_near(x.loss_out, 0.25 * log3[0] + 0.75 * log3[2], 1e-7);
    for (int j = 0; j < 3; j++) assert_near((double)d[j], soft3[j] - (double)soft[j], 1e-7);
    assert_int_equal(x.correct_out, 0);
    x.label = &label; /* counts what is right, no more */
    ful__softmax_xent(&x);
    assert_int_equal(x.correct_out, 1);
    assert_near(x.loss_out, 0.25 * log3[0] + 0.75 * log3[2], 1e-7);
    x.soft = half; /* targets that do not add up to one: the formula as it stands */
    ful__softmax_xent(&x);
    assert_near(x.loss_out, 0.5 * log3[0], 1e-7);
}

static void test_huge_logits(void **state)
{
    (void)state;
    const float logits[] = {1e30f, -1e30f, 0}, far[] = {FLT_MAX, -FLT_MAX};
    const int32_t labels[] = {0, 1};
    float d[3];
    ful__xent x = {.n = 1, .classes = 3, .logits = logits, .label = &labels[0], .scale = 1, .dlogits = d};
    ful__softmax_xent(&x);
    assert_true(x.loss_out == 0);
    for (int j = 0; j < 3; j++) assert_true(d[j] == 0);
    x.label = &labels[1];
    ful__softmax_xent(&x);
    assert_near(x.loss_out, 2e30, 1e24);
    assert_true(d[0] == 1 && d[1] == -1 && d[2] == 0);
    x.logits = far;
    x.classes = 2;
    ful__softmax_xent(&x); /* in double it fits */
    assert_near(x.loss_out, 2 * (double)FLT_MAX, 1e32);
    assert_true(d[0] == 1 && d[1] == -1);
}

/* ln(1 + exp(-20)) = 2.0611536e-9: below the precision of a float beside 1. */
static void test_confident_rows_keep_a_loss(void **state)
{
    (void)state;
    const float logits[] = {0, -20};
    const int32_t label = 0;
    ful__xent x = {.n = 1, .classes = 2, .logits = logits, .label = &label};
    ful__softmax_xent(&x);
    assert_near(x.loss_out, 2.0611536181902037e-9, 1e-15);
}

static void test_minus_infinity_masks_a_class(void **state)
{
    (void)state;
    const float logits[] = {1, -INFINITY, 2, 3};
    const int32_t label = 3;
    float d[4];
    ful__xent x = {.n = 1, .classes = 4, .logits = logits, .label = &label, .scale = 1, .dlogits = d};
    ful__softmax_xent(&x);
    assert_near(x.loss_out, log3[2], 1e-7);
    assert_true(d[1] == 0);
}

static void test_nan_and_bad_labels(void **state)
{
    (void)state;
    const float logits[] = {0, 1, NAN, 1, 0, 0};
    const int32_t labels[] = {1, 0, 0}, bad[] = {2, 0, -1};
    float loss[3], d[6];
    ful__xent x = {.n = 3, .classes = 2, .logits = logits, .label = labels, .scale = 1, .dlogits = d, .row_loss = loss};
    ful__softmax_xent(&x);
    assert_true(isnan(x.loss_out));
    assert_true(!isnan(loss[0]) && isnan(loss[1]) && !isnan(loss[2])); /* the row at fault can be found */
    assert_true(!isnan(d[0]) && isnan(d[2]) && !isnan(d[4]));
    assert_int_equal(x.correct_out, 2); /* ties go to the lowest index; a NaN is never right */
    x.label = bad;
    ful__softmax_xent(&x);
    assert_true(isnan(x.loss_out) && isnan(loss[0]) && isnan(loss[2]) && isnan(d[0]) && isnan(d[5]));
    assert_int_equal(x.correct_out, 0);
}

static void test_ties_and_empty_batches(void **state)
{
    (void)state;
    const float logits[] = {2, 2, 1, 0, 5, 5};
    const int32_t labels[] = {1, 1};
    ful__xent x = {.n = 2, .classes = 3, .logits = logits, .label = labels};
    ful__softmax_xent(&x);
    assert_int_equal(x.correct_out, 1);
    x.n = 0;
    x.correct_out = 7;
    ful__softmax_xent(&x);
    assert_true(x.loss_out == 0);
    assert_int_equal(x.correct_out, 0);
}

/* Against the formula --------------------------------------------------------------------------------------------------------
 */

enum { ROWS = 13 };

static double row_loss(const float *logits, int classes, int32_t label, double smoothing, double *p)
{
    double max = (double)logits[0], sum = 0, loss = 0;
    for (int j = 1; j < classes; j++) max = fmax(max, (double)logits[j]);
    for (int j = 0; j < classes; j++) sum += p[j] = exp((double)logits[j] - max);
    for (int j = 0; j < classes; j++) {
        p[j] /= sum;
        const double t = (j == label) * (1 - smoothing) + smoothing / classes;
        loss -= t * ((double)logits[j] - max - log(sum));
        p[j] -= t;
    }
    return loss;
}

static void check_formula(int classes, float smoothing, float spread)
{
    float *logits = malloc(sizeof(float) * ROWS * (size_t)classes), *d = malloc(sizeof(float) * ROWS * (size_t)classes),
          loss[ROWS];
    double *p = malloc(sizeof(double) * (size_t)classes), mean = 0;
    int32_t label[ROWS];
    assert_true(logits && d && p);
    ful__rng_fill_normal(ful__stream_make(3, "test-xent", "logits"), (uint64_t)classes, spread, logits, ROWS * (size_t)classes);
    for (int i = 0; i < ROWS; i++) label[i] = i * 7 % classes;
    ful__xent x = {
        .n = ROWS, .classes = classes, .logits = logits, .label = label, .smoothing = smoothing, .scale = 1.0f / ROWS};
    x.dlogits = d;
    x.row_loss = loss;
    ful__softmax_xent(&x);
    for (int i = 0; i < ROWS; i++) {
        const double want = row_loss(logits + (size_t)i * (size_t)classes, classes, label[i], (double)smoothing, p);
        assert_near((double)loss[i], want, 1e-6 * (fabs(want) + 1));
        for (int j = 0; j < classes; j++) assert_near((double)d[i * classes + j], p[j] / ROWS, 2e-7 / ROWS);
        mean += want / ROWS;
    }
    assert_near(x.loss_out, mean, 1e-6 * (mean + 1));
    x.dlogits = logits; /* over the logits themselves */
    ful__softmax_xent(&x);
    assert_memory_equal(logits, d, sizeof(float) * ROWS * (size_t)classes);
    free(logits);
    free(d);
    free(p);
}

static void test_formula(void **state)
{
    (void)state;
    static const int classes[] = {2, 10, 16, 17, 100, 257, 1000};
    for (int i = 0; i < 7; i++) {
        check_formula(classes[i], 0, 1);
        check_formula(classes[i], 0.1f, 5);
        check_formula(classes[i], 0.3f, 30);
    }
    check_formula(1, 0, 1); /* nothing to choose */
}

static void test_same_bits_at_every_level(void **state)
{
    (void)state;
    static const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    float logits[5 * 37], d[3][5 * 37];
    const int32_t label[] = {0, 36, 5, 6, 7};
    double loss[3];
    ful__rng_fill_normal(ful__stream_make(3, "test-xent", "bits"), 0, 4, logits, 5 * 37);
    for (int i = 0; i < 3; i++) {
        ful_cpu_mask_set(masks[i]);
        ful__xent x = {
            .n = 5, .classes = 37, .logits = logits, .label = label, .smoothing = 0.1f, .scale = 0.2f, .dlogits = d[i]};
        ful__softmax_xent(&x);
        loss[i] = x.loss_out;
        assert_memory_equal(d[i], d[0], sizeof d[0]);
        assert_true(loss[i] == loss[0]);
    }
    ful_cpu_mask_set(~0u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_numbers),
        cmocka_unit_test(test_label_smoothing),
        cmocka_unit_test(test_soft_labels),
        cmocka_unit_test(test_huge_logits),
        cmocka_unit_test(test_confident_rows_keep_a_loss),
        cmocka_unit_test(test_minus_infinity_masks_a_class),
        cmocka_unit_test(test_nan_and_bad_labels),
        cmocka_unit_test(test_ties_and_empty_batches),
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_same_bits_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
