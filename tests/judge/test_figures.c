/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judging: every figure against numbers printed by plain Python 3 for the same logits (make_sample below),
 *   P = softmax(z), nll = mean(-log P[y]), brier = mean(sum((P - onehot)^2)), confidence = max P,
 *   ECE = sum_b |sum conf - sum right| / n over ceil(conf*10)-1, and over the sorted confidences cut into 10 runs of 10 or 9,
 *   T by golden section on the NLL, Wilson and Newcombe's method 10 by their formulas, binomials as exact fractions,
 * and, where they are known, against the published examples (Newcombe 1998).
 */
#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "support/fault.h"
#include "support/test.h"
#include <fulcrum/judge.h>

enum { N = 97, C = 7 };

static float logits[N][C];
static int32_t label[N];
static ful_outcome outcome[N];

static void make_sample(void)
{
    for (int i = 0; i < N; i++) {
        int best = 0;
        for (int c = 0; c < C; c++) {
            const int favoured = (7 * i + 3 * (i % 5 == 0)) % C;
            logits[i][c] = (float)(3 * sin(1.0 + 3 * i + 5 * c) + (c == favoured ? 2.0 : 0.0));
            if (logits[i][c] > logits[i][best]) best = c;
        }
        label[i] = i % 3 ? best : i / 3 % C;
    }
    ful_outcomes_of(&logits[0][0], label, N, C, 1.0, outcome);
}

#define assert_near(value, expected, tolerance)                                                 \
    do {                                                                                        \
        const double v_ = (value), e_ = (expected);                                             \
        if (!(fabs(v_ - e_) <= (tolerance))) fail_msg("%s = %.12g, not %.12g", #value, v_, e_); \
    } while (0)

static void test_against_python(void **state)
{
    static const int64_t counts[C][3] = {{27, 32, 27}, {7, 3, 2}, {16, 17, 11}, {20, 22, 15},
                                         {11, 10, 7},  {5, 2, 2}, {11, 11, 7}};
    static const double shares[C][4] = {{.9484536082474226, .84375, 1, .9152542372881356},
                                        {.9381443298969072, .6666666666666666, .2857142857142857, .4},
                                        {.8865979381443299, .6470588235294118, .6875, .6666666666666666},
                                        {.8762886597938144, .6818181818181818, .75, .7142857142857143},
                                        {.9278350515463918, .7, .6363636363636364, .6666666666666666},
                                        {.9690721649484536, 1, .4, .5714285714285714},
                                        {.9175257731958762, .6363636363636364, .6363636363636364, .6363636363636364}};
    static const int64_t in_bins[10] = {0, 0, 1, 18, 17, 15, 14, 16, 13, 3};
    (void)state;
    ful_judgement j;
    const ful_judge_options options = {.bins = 10, .level = .95};
    assert_ok(ful_judge(outcome, N, C, &options, &j));
    assert_int_equal(j.correct, 71);
    assert_int_equal(j.correct_top5, 89);
    assert_near(j.nll, 1.4689609529705048, 1e-6);
    assert_near(j.brier, .5551429507652275, 1e-6);
    assert_near(j.confidence, .5917616360580799, 1e-7);
    assert_near(j.ece_width, .1596446624121715, 1e-7);
    assert_near(j.mce, .710405021905899, 1e-7);
    assert_near(j.ece_mass, .18905384362358404, 1e-7);
    for (int b = 0; b < 10; b++) assert_int_equal(j.width[b].count, in_bins[b]);
    for (int c = 0; c < C; c++) {
        const ful_class_figures *f = &j.per_class[c];
        assert_true(f->support == counts[c][0] && f->predicted == counts[c][1] && f->correct == counts[c][2]);
        assert_near(f->accuracy, shares[c][0], 1e-15);
        assert_near(f->precision, shares[c][1], 1e-15);
        assert_near(f->recall, shares[c][2], 1e-15);
        assert_near(f->f1, shares[c][3], 1e-15);
    }
    ful_judgement_deinit(&j);
}

static void test_temperature(void **state)
{
    (void)state;
    ful_judgement j;
    ful_outcome cooled[N];
    double t = 0;
    assert_ok(ful_judge_temperature(&logits[0][0], label, N, C, &t));
    assert_near(t, 1.6062018094839938, 1e-6);
    ful_outcomes_of(&logits[0][0], label, N, C, t, cooled);
    for (int i = 0; i < N; i++) assert_true(cooled[i].predicted == outcome[i].predicted && cooled[i].rank == outcome[i].rank);
    assert_ok(ful_judge(cooled, N, C, NULL, &j));
    assert_near(j.nll, 1.3708901828938134, 1e-6);
    ful_judgement_deinit(&j);
    /* Always right: the surer the better, until nothing is left of the NLL. Always wrong: the other end of the range. */
    const float sure[4] = {2, 0, 0, 1};
    const int32_t right[2] = {0, 1}, wrong[2] = {1, 0};
    assert_ok(ful_judge_temperature(sure, right, 2, 2, &t));
    assert_true(t >= 1e-3 && t < 2e-3);
    assert_ok(ful_judge_temperature(sure, wrong, 2, 2, &t));
    assert_near(t, 1e3, 1e-3);
    assert_fails(ful_judge_temperature(sure, right, 0, 2, &t), FUL_ERR_ARG, "0 images");
}

/* Four images told by hand: confidences .9 .8 .6 .6, right right wrong right. */
static void test_by_hand(void **state)
{
    (void)state;
    ful_judgement j;
    const ful_outcome four[4] = {{0, 0, 0, .9f, .10536052f, .82f},
                                 {1, 1, 0, .8f, .22314355f, .68f},
                                 {0, 1, 1, .6f, .91629073f, .52f},
                                 {1, 1, 0, .6f, .51082562f, .52f}};
    const ful_judge_options two = {.bins = 2, .level = .95};
    assert_ok(ful_judge(four, 4, 2, &two, &j));
    assert_near(j.accuracy, .75, 0);
    assert_near(j.brier, (.02 + .08 + .72 + .32) / 4, 1e-6);
    assert_near(j.ece_width, .025, 1e-7); /* all above .5: |.75 - .725| */
    assert_near(j.ece_mass, .5 * fabs(.5 - .6) + .5 * fabs(1 - .85), 1e-7);
    assert_true(isnan(j.width[0].accuracy) && j.width[0].count == 0);
    assert_int_equal(j.confusion[1], 1);
    ful_confused pairs[3];
    assert_int_equal(ful_judge_confused(&j, 3, pairs), 1);
    assert_true(pairs[0].truth == 0 && pairs[0].predicted == 1 && pairs[0].count == 1 && pairs[0].share == .5);
    ful_judgement_deinit(&j);
    ful_outcome bad = four[0];
    bad.predicted = 2;
    assert_fails(ful_judge(&bad, 1, 2, NULL, &j), FUL_ERR_ARG, "prediction 2: both must be in 0..1");
    bad = four[0];
    bad.nll = NAN;
    assert_fails(ful_judge(&bad, 1, 2, NULL, &j), FUL_ERR_ARG, "must be finite");
    assert_fails(ful_judge(four, 0, 2, NULL, &j), FUL_ERR_ARG, "0 outcomes");
    const ful_judge_options none = {.bins = 0, .level = .95};
    assert_fails(ful_judge(four, 4, 2, &none, &j), FUL_ERR_ARG, "bins=0");
}

static void test_most_confused(void **state)
{
    (void)state;
    ful_judgement j;
    ful_confused pairs[4], all[C * C];
    assert_ok(ful_judge(outcome, N, C, NULL, &j));
    const int n = ful_judge_confused(&j, C * C, all);
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += all[i].count;
    assert_int_equal(sum, N - 71);
    for (int i = 1; i < n; i++) assert_true(all[i - 1].count >= all[i].count);
    assert_int_equal(ful_judge_confused(&j, 4, pairs), 4);
    assert_memory_equal(pairs, all, sizeof pairs);
    ful_judgement_deinit(&j);
}

static void test_wilson(void **state)
{
    static const struct {
        int64_t hits, n;
        double low, high;
    } cases[] = {{81, 263, .2552885198782743, .3662095769828001}, /* the first three: Newcombe 1998, table I */
                 {15, 148, .0623863995307363, .160487241723308},
                 {1, 29, .006113214292762653, .17175521879320282},
                 {0, 20, 0, .1611251580528193},
                 {20, 20, .8388748419471808, 1},
                 {9000, 10000, .8939656314740893, .9057271698293695}};
    (void)state;
    double low, high;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ful_stats_wilson(cases[i].hits, cases[i].n, .95, &low, &high);
        assert_near(low, cases[i].low, 1e-12);
        assert_near(high, cases[i].high, 1e-12);
    }
    ful_stats_wilson(0, 0, .95, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

static void test_mcnemar(void **state)
{
    static const struct {
        int64_t table[4];
        double exact, mid, chi2, p_chi2, difference, low, high;
    } cases[] = {
        {{36, 12, 2, 0},
         .012939453125,
         .00738525390625,
         5.785714285714286,
         .016156931261181316,
         .2,
         .05692958400323875,
         .3404276029749406},
        {{9000, 300, 240, 460},
         .011050481081930009,
         .009827007761139536,
         6.446296296296296,
         .011118388507857666,
         .006,
         .0014419177921266967,
         .010578194858978509},
        {{10, 0, 0, 5}, 1, 1, 0, 1, 0, -.13494788338168995, .13494788338168995},
        {{0, 7, 7, 0}, 1, 1, 0, 1, 0, -.4640159509517274, .4640159509517274},
        {{50, 1, 9, 40}, .021484375, .01171875, 4.9, .026856695507524425, -.08, -.1411466213623998, -.01709591487269356},
        {{20, 5, 0, 0}, .0625, .03125, 3.2, .07363827012030266, .2, .026365806759727856, .3913095036954033},
    };
    (void)state;
    ful_mcnemar m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *t = cases[i].table;
        assert_ok(ful_stats_mcnemar(t[0], t[1], t[2], t[3], .95, &m));
        assert_near(m.p_exact, cases[i].exact, 1e-11);
        assert_near(m.p_mid, cases[i].mid, 1e-11);
        assert_near(m.chi2, cases[i].chi2, 1e-12);
        assert_near(m.p_chi2, cases[i].p_chi2, 1e-12);
        assert_near(m.difference, cases[i].difference, 1e-15);
        assert_near(m.low, cases[i].low, 1e-12);
        assert_near(m.high, cases[i].high, 1e-12);
        assert_true(m.exact == (t[1] + t[2] < 25) && m.p == (m.exact ? m.p_exact : m.p_chi2));
    }
    assert_fails(ful_stats_mcnemar(0, 0, 0, 0, .95, &m), FUL_ERR_ARG, "one above 0");
    assert_fails(ful_stats_mcnemar(1, 1, -1, 0, .95, &m), FUL_ERR_ARG, "counts must be >= 0");
    assert_fails(ful_stats_mcnemar(1, 1, 1, 0, 1, &m), FUL_ERR_ARG, "level=1");
}

static void test_compare(void **state)
{
    (void)state;
    ful_mcnemar m;
    ful_outcome other[N];
    memcpy(other, outcome, sizeof other);
    int flipped = 0;
    for (int i = 0; i < N && flipped < 3; i++)
        if (other[i].rank == 0) {
            other[i].rank = 1;
            other[i].predicted = (other[i].label + 1) % C;
            flipped++;
        }
    assert_ok(ful_judge_compare(outcome, other, N, .95, &m));
    assert_true(m.both == 68 && m.only_a == 3 && m.only_b == 0 && m.neither == 26);
    assert_near(m.p, .25, 1e-12);
    other[5].label = (other[5].label + 1) % C;
    assert_fails(ful_judge_compare(outcome, other, N, .95, &m), FUL_ERR_DATA, "image 5 is of class");
}

static void test_agreement(void **state)
{
    (void)state;
    float other[N][C];
    ful_agreement a;
    memcpy(other, logits, sizeof other);
    ful_judge_agreement(&logits[0][0], &other[0][0], N, C, &a);
    assert_true(a.bits && a.differ == 0 && a.largest == 0 && a.count == N);
    other[3][0] += 100;
    other[4][1] = nextafterf(other[4][1], 9);
    ful_judge_agreement(&logits[0][0], &other[0][0], N, C, &a);
    assert_true(!a.bits && a.differ == 1);
    assert_near(a.largest, 100, 1e-5);
}

/* Two halves together are the whole. */
static void test_halves_add_up(void **state)
{
    (void)state;
    ful_judgement whole, half, other;
    assert_ok(ful_judge(outcome, N, C, NULL, &whole));
    assert_ok(ful_judge(outcome, 40, C, NULL, &half));
    assert_ok(ful_judge(outcome + 40, N - 40, C, NULL, &other));
    assert_ok(ful_judgement_add(&half, &other));
    assert_memory_equal(half.confusion, whole.confusion, C * C * sizeof *whole.confusion);
    assert_true(half.count == N && half.accuracy == whole.accuracy && half.accuracy_low == whole.accuracy_low);
    assert_near(half.nll, whole.nll, 1e-12);
    assert_near(half.brier, whole.brier, 1e-12);
    assert_near(half.ece_width, whole.ece_width, 1e-12);
    assert_near(half.mce, whole.mce, 1e-12);
    assert_near(half.macro_f1, whole.macro_f1, 1e-15);
    assert_true(isnan(half.ece_mass) && half.mass[0].count == 0);
    ful_judgement_deinit(&other);
    assert_ok(ful_judge(outcome, 1, C + 1, NULL, &other));
    assert_fails(ful_judgement_add(&half, &other), FUL_ERR_ARG, "of 7 and 8 classes");
    ful_judgement_deinit(&other);
    ful_judgement_deinit(&half);
    ful_judgement_deinit(&whole);
}

/* Names are escaped, empty rows and many classes drawn. */
static void test_pictures(void **state)
{
    (void)state;
    ful_judgement j;
    char *svg = NULL;
    static const char *const names[C] = {"a<b", "cat", "", "a name that is far too long", "dog", "e", "f"};
    assert_ok(ful_judge(outcome, N, C, NULL, &j));
    assert_ok(ful_judge_confusion_svg(&j, names, &svg));
    assert_non_null(strstr(svg, "a&lt;b"));
    assert_non_null(strstr(svg, "a name that is…"));
    assert_non_null(strstr(svg, "</svg>"));
    assert_null(strstr(svg, "nan"));
    ful_free(svg);
    assert_ok(ful_judge_reliability_svg(&j, &svg));
    assert_null(strstr(svg, "nan"));
    assert_non_null(strstr(svg, "</svg>"));
    ful_free(svg);
    ful_judgement_deinit(&j);
    ful_outcome many = {999, 998, 1, .5f, 1, .3f};
    assert_ok(ful_judge(&many, 1, 1000, NULL, &j));
    assert_ok(ful_judge_confusion_svg(&j, NULL, &svg));
    assert_true(strlen(svg) < 100000);
    ful_free(svg);
    ful_judgement_deinit(&j);
}

static ful_status judge_and_draw(void *ctx)
{
    ful_judgement j = {0};
    char *svg = NULL;
    (void)ctx;
    ful_status status = ful_judge(outcome, N, C, NULL, &j);
    if (status == FUL_OK) status = ful_judge_confusion_svg(&j, NULL, &svg);
    ful_free(svg);
    ful_judgement_deinit(&j);
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, judge_and_draw, NULL, 30);
}

int main(void)
{
    make_sample();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_python), cmocka_unit_test(test_temperature),     cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_most_confused),  cmocka_unit_test(test_wilson),          cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_compare),        cmocka_unit_test(test_agreement),       cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_halves_add_up),  cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
