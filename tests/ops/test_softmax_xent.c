/* SPDX-License-Identifier: Apache-2.0 */
/* ful__softmax_xent against numbers of another implementation, the formulas in double, and hostile logits. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "ops/op.h"
#include "support/test.h"
#include <fulcrum/core.h>

enum { ROWS = 3, CLASSES = 5 };
static const float logits[ROWS * CLASSES] = {2.0f, -1.0f, 0.5f, 3.0f,  -4.0f,   0.1f, 0.2f, 0.3f,
                                             0.4f, 0.5f,  1e4f, -1e4f, 9999.0f, 0.0f, 5.0f};
static const int32_t label[ROWS] = {3, 1, 2};
static const float soft[ROWS * CLASSES] = {0.5f, 0.25f, 0.25f, 0, 0, 0, 0, 0, 0, 1, 0.1f, 0.2f, 0.3f, 0.2f, 0.2f};

static void assert_near(double got, double want, double tolerance)
{
    if (fabs(got - want) <= tolerance * (1 + fabs(want))) return;
    fail_msg("got %.12g, wanted %.12g", got, want);
}

static ful__xent run(const float *x, int n, int classes, const int32_t *l, const float *s, float smoothing, float *d,
                     float *row)
{
    ful__xent e = {.n = n, .classes = classes, .logits = x, .label = l, .soft = s, .smoothing = smoothing, .scale = 1};
    e.dlogits = d;
    e.row_loss = row;
    ful__softmax_xent(&e);
    return e;
}

/* From NumPy, float64; PyTorch's cross_entropy gives the same. */
static void test_known_numbers(void **state)
{
    (void)state;
    static const double hard_loss[] = {0.384712563025, 1.71941633148, 1.31326168752};
    static const double smooth_loss[] = {0.674712563025, 1.70941633148, 801.133261688};
    static const double soft_loss[] = {2.50971256302, 1.41941633148, 7999.61326169};
    static const double hard_d0[] = {0.2503957624, 0.01246647094, 0.05587084658, -0.3193537490, 0.0006206690412};
    static const double smooth_d2[] = {0.711058579, -0.02, -0.651058579, -0.02, -0.02};
    static const double soft_d1[] = {0.1621203479, 0.1791706937, 0.1980142400, 0.2188395795, -0.7581448611};
    float d[ROWS * CLASSES], row[ROWS];

    ful__xent e = run(logits, ROWS, CLASSES, label, NULL, 0, d, row);
    for (int i = 0; i < ROWS; i++) assert_near((double)row[i], hard_loss[i], 1e-6);
    for (int j = 0; j < CLASSES; j++) assert_near((double)d[j], hard_d0[j], 1e-7);
    assert_near(e.loss_out, 1.1391301940, 1e-7);
    assert_int_equal(e.correct_out, 1);

    e = run(logits, ROWS, CLASSES, label, NULL, 0.1f, d, row);
    for (int i = 0; i < ROWS; i++) assert_near((double)row[i], smooth_loss[i], 1e-6);
    for (int j = 0; j < CLASSES; j++) assert_near((double)d[2 * CLASSES + j], smooth_d2[j], 1e-7);
    assert_near(e.loss_out, 267.83913019, 1e-7);

    e = run(logits, ROWS, CLASSES, NULL, soft, 0, d, row);
    for (int i = 0; i < ROWS; i++) assert_near((double)row[i], soft_loss[i], 1e-6);
    for (int j = 0; j < CLASSES; j++) assert_near((double)d[CLASSES + j], soft_d1[j], 1e-7);
    assert_int_equal(e.correct_out, 0);
    assert_int_equal(run(logits, ROWS, CLASSES, label, soft, 0, NULL, NULL).correct_out, 1);
}

/* One row by the formula in double. */
static double plain_row(const float *x, int classes, int l, double smoothing, double *d)
{
    double max = (double)x[0], sum = 0, loss = 0;
    for (int j = 1; j < classes; j++) max = fmax(max, (double)x[j]);
    for (int j = 0; j < classes; j++) sum += exp((double)x[j] - max);
    for (int j = 0; j < classes; j++) {
        const double t = smoothing / classes + (j == l ? 1 - smoothing : 0), log_p = (double)x[j] - max - log(sum);
        loss -= t * log_p;
        d[j] = (exp(log_p) - t) * 0.25;
    }
    return loss;
}

/* Every edge of vectors and pieces; without outputs; over the logits; the same bits at every CPU level. */
static void test_sizes(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 10, 15, 16, 17, 31, 255, 256, 257, 1000};
    static const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    enum { N = 7, MOST = 1000 };
    static float x[N * MOST], d[N * MOST], first[N * MOST], over[N * MOST];
    static double want[MOST];
    for (int s = 0; s < (int)(sizeof sizes / sizeof *sizes); s++) {
        const int classes = sizes[s], count = N * classes;
        int32_t l[N];
        ful__rng_fill_normal(ful__stream_make(4, "test", "xent"), (uint64_t)s, 3, x, (size_t)count);
        for (int i = 0; i < N; i++) l[i] = i * 7 % classes;
        for (int m = 0; m < 3; m++) {
            ful_cpu_mask_set(masks[m]);
            ful__xent e = {
                .n = N, .classes = classes, .logits = x, .label = l, .smoothing = 0.2f, .scale = 0.25f, .dlogits = d};
            ful__softmax_xent(&e);
            double total = 0;
            for (int i = 0; i < N; i++) {
                total += plain_row(x + i * classes, classes, l[i], (double)0.2f, want);
                for (int j = 0; j < classes; j++) assert_near((double)d[i * classes + j], want[j], 1e-7);
            }
            assert_near(e.loss_out, total / N, 1e-6);
            if (m == 0) memcpy(first, d, (size_t)count * sizeof *d);
            assert_memory_equal(d, first, (size_t)count * sizeof *d);
            const double loss = e.loss_out;
            e.dlogits = NULL;
            ful__softmax_xent(&e);
            assert_true(e.loss_out == loss);
            memcpy(over, x, (size_t)count * sizeof *x);
            e.logits = e.dlogits = over;
            ful__softmax_xent(&e);
            assert_true(e.loss_out == loss);
            assert_memory_equal(over, first, (size_t)count * sizeof *d);
        }
    }
    ful_cpu_mask_set(~0u);
}

static void test_confident_row(void **state)
{
    (void)state;
    const float x[3] = {30, 0, -INFINITY};
    const int32_t l = 0;
    float d[3];
    const ful__xent e = run(x, 1, 3, &l, NULL, 0, d, NULL);
    if (fabs(e.loss_out / 9.3576229688e-14 - 1) > 1e-6) fail_msg("ln(1 + exp(-30)) came out as %.9g", e.loss_out);
    assert_true(d[0] < 0 && (double)d[0] > -1e-13);
    assert_true(d[2] == 0 || fabsf(d[2]) < 1e-30f);
}

static void test_huge_logits(void **state)
{
    (void)state;
    const float x[4] = {3e38f, -3e38f, 3e38f, 0};
    const int32_t l = 2;
    float d[4];
    ful__xent e = run(x, 1, 4, &l, NULL, 0, d, NULL);
    assert_near(e.loss_out, log(2), 1e-7);
    assert_near((double)d[2], -0.5, 1e-7);
    assert_near((double)d[0], 0.5, 1e-7);
    assert_int_equal(e.correct_out, 0); /* a tie goes to the lowest index */
}

static void test_nan_comes_out(void **state)
{
    (void)state;
    for (int at = 0; at < CLASSES; at++) {
        float x[2 * CLASSES] = {1, 2, 3, 4, 5, 5, 4, 3, 2, 1}, d[2 * CLASSES], row[2];
        const int32_t l[2] = {at, 0};
        x[at] = NAN;
        const ful__xent e = run(x, 2, CLASSES, l, NULL, 0, d, row);
        assert_true(isnan(e.loss_out) && isnan(row[0]) && !isnan(row[1]));
        for (int j = 0; j < CLASSES; j++) assert_true(isnan(d[j]) && !isnan(d[CLASSES + j]));
        assert_int_equal(e.correct_out, 1);
    }
    const float one = NAN;
    const int32_t l = 0;
    assert_true(isnan(run(&one, 1, 1, &l, NULL, 0, NULL, NULL).loss_out));
}

static void test_bad_label_is_a_nan(void **state)
{
    (void)state;
    float d[CLASSES];
    for (int32_t l = -1; l <= CLASSES; l += CLASSES + 1) {
        assert_true(isnan(run(logits, 1, CLASSES, &l, NULL, 0.1f, d, NULL).loss_out));
        assert_true(isnan(d[0]));
    }
}

/* -infinity takes a class out: the others share its probability. */
static void test_masked_class(void **state)
{
    (void)state;
    const float x[4] = {1, -INFINITY, 2, 3};
    const int32_t l = 3;
    float d[4];
    assert_near(run(x, 1, 4, &l, NULL, 0, d, NULL).loss_out, 0.40760596444438, 1e-7); /* of 1, 2, 3 alone */
    assert_true(d[1] == 0);
    assert_near((double)d[0], 0.09003057317, 1e-7);
}

/* Soft targets are taken as they are: no smoothing, and no adding up to one. */
static void test_soft_as_given(void **state)
{
    (void)state;
    const float x[3] = {1, 2, 3}, half[3] = {0.5f, 0, 0};
    float d[3];
    assert_near(run(x, 1, 3, NULL, half, 0.1f, d, NULL).loss_out, 0.5 * 2.40760596444438, 1e-7);
    assert_near((double)d[0], 0.09003057317 - 0.5, 1e-7);
}

static void test_no_rows(void **state)
{
    (void)state;
    const ful__xent e = run(NULL, 0, CLASSES, NULL, NULL, 0, NULL, NULL);
    assert_true(e.loss_out == 0 && e.correct_out == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_numbers), cmocka_unit_test(test_sizes),         cmocka_unit_test(test_confident_row),
        cmocka_unit_test(test_huge_logits),   cmocka_unit_test(test_nan_comes_out), cmocka_unit_test(test_bad_label_is_a_nan),
        cmocka_unit_test(test_masked_class),  cmocka_unit_test(test_soft_as_given), cmocka_unit_test(test_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
