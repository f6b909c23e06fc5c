/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a trained model: what the run kept, views averaged, corruptions addressed, and the means of a robustness table. */
#include <math.h>
#include <png.h>

#include "train/train_support.h"
#include <fulcrum/judge.h>

static ful_model *model;
static ful_dataset *set;

static int train_once(void **state)
{
    ful_config config;
    if (test_make_root(state) != 0) return -1;
    test_config(&config, TEST_MOE, "epochs: 2, lr: 0.05");
    assert_ok(ful_train(&config, test_path("run", ""), NULL, NULL));
    assert_ok(ful_model_open(test_path("run", ""), 0, &model));
    assert_ok(ful_model_data(model, NULL, FUL_SPLIT_TEST, &set));
    return 0;
}

static int clean_up(void **state)
{
    ful_dataset_destroy(&set);
    ful_model_destroy(&model);
    return test_remove_root(state);
}

static ful_predictions predict(const ful_judge_pass *pass)
{
    ful_predictions p;
    assert_ok(ful_judge_predict(model, set, pass, &p));
    assert_int_equal(p.count, 96);
    return p;
}

/* The run's predictions.bin holds what evaluating its checkpoint gives, to the bit, in any batch. */
static void test_what_the_run_kept(void **state)
{
    static const int batches[] = {0, 1, 7};
    (void)state;
    ful_outcome *kept = NULL;
    int64_t n = 0;
    int classes = 0;
    uint64_t print = 0;
    ful_judge_pass pass;
    ful_judge_pass_defaults(&pass);
    assert_ok(ful_outcomes_read(test_path("run", "predictions.bin"), &kept, &n, &classes, &print));
    assert_true(n == 96 && classes == 4);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        pass.pass.batch = batches[i];
        ful_predictions p = predict(&pass);
        assert_memory_equal(p.outcome, kept, 96 * sizeof *kept);
        assert_true(p.fingerprint == print && !p.logits);
        ful_predictions_deinit(&p);
    }
    ful_free(kept);
    ful_predictions p;
    pass.pass.batch = 1000;
    assert_fails(ful_judge_predict(model, set, &pass, &p), FUL_ERR_ARG, "batch=1000: it must be in 1..32");
    assert_null(p.outcome);
}

static void test_view_texts(void **state)
{
    ful_view v[FUL_VIEWS_MAX];
    (void)state;
    assert_int_equal(ful_judge_views("flip", v), 2);
    assert_true(!v[0].mirror && v[1].mirror);
    assert_int_equal(ful_judge_views("shift3", v), 5);
    assert_true(v[1].dy == -3 && v[2].dy == 3 && v[3].dx == -3 && v[4].dx == 3);
    assert_int_equal(ful_judge_views("shift4,flip", v), 10);
    assert_true(v[0].dy == 0 && v[0].dx == 0 && !v[0].mirror);
    static const char *const bad[] = {"", "flop", "flip,flip", "shift0", "shift", "shift65", "flip,", "flip shift1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(ful_judge_views(bad[i], v), 0);
}

/* The mean of the probabilities of single views. */
static void test_views_are_averaged(void **state)
{
    ful_view v[FUL_VIEWS_MAX];
    ful_judge_pass pass;
    (void)state;
    const int n = ful_judge_views("flip,shift4", v);
    double mean[96] = {0};
    ful_judge_pass_defaults(&pass);
    pass.keep_logits = true;
    pass.n_views = 1;
    for (int i = 0; i < n; i++) {
        pass.views = &v[i];
        ful_predictions p = predict(&pass);
        for (int k = 0; k < 96; k++) mean[k] += exp(-(double)p.outcome[k].nll) / n;
        ful_predictions_deinit(&p);
    }
    pass.views = v;
    pass.n_views = n;
    ful_predictions p = predict(&pass);
    for (int k = 0; k < 96; k++) assert_true(fabs(exp(-(double)p.outcome[k].nll) - mean[k]) < 1e-5);
    ful_predictions_deinit(&p);
}

/* The same pixels by any worker and in any batch; others by another seed. */
static void test_corruptions_are_addressed(void **state)
{
    ful_judge_pass pass;
    (void)state;
    ful_judge_pass_defaults(&pass);
    pass.keep_logits = true;
    pass.corruption = "gaussian_noise";
    pass.severity = 5;
    pass.pass.workers = 0;
    ful_predictions a = predict(&pass);
    pass.pass.workers = 3;
    pass.pass.batch = 5;
    ful_predictions b = predict(&pass);
    assert_memory_equal(a.logits, b.logits, 96 * 4 * sizeof(float));
    ful_predictions_deinit(&b);
    pass.corrupt_seed = 2;
    b = predict(&pass);
    assert_memory_not_equal(a.logits, b.logits, 96 * 4 * sizeof(float));
    ful_predictions_deinit(&a);
    ful_predictions_deinit(&b);
    pass.corruption = "no such";
    assert_fails(ful_judge_predict(model, set, &pass, &a), FUL_ERR_ARG, "no corruption of that name");
}

/* ---- explaining ---- */

/* The bytes of base64 text up to the quote that ends it. */
static size_t decode(const char *text, uint8_t *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    unsigned bits = 0, have = 0;
    for (; *text != '"' && *text != '='; text++) {
        const char *at = strchr(letters, *text);
        assert_non_null(at);
        bits = bits << 6 | (unsigned)(at - letters);
        have += 6;
        if (have < 8) continue;
        have -= 8;
        out[n++] = (uint8_t)(bits >> have);
    }
    return n;
}

static void test_explains_an_image(void **state)
{
    (void)state;
    ful_explanation e;
    char *page = NULL;
    float prob[4];
    static uint8_t file[20000], pixels[32 * 32 * 3];
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 32, .height = 32, .format = PNG_FORMAT_RGB};
    assert_true(png_image_write_to_file(&image, test_path("a<b.png", ""), 0, ful_dataset_image(set, 3), 0, NULL));
    assert_ok(ful_judge_explain(model, test_path("a<b.png", ""), &e));
    assert_ok(ful_model_predict_image(model, test_path("a<b.png", ""), prob));
    assert_memory_equal(prob, e.prob, sizeof prob);
    assert_memory_equal(e.pixels, ful_dataset_image(set, 3), 32 * 32 * 3);
    assert_int_equal(e.n_layers, 2);
    for (int l = 0; l < 2; l++) {
        const ful_route *r = &e.layers[l];
        int32_t expert[2];
        float gate[2];
        double share[4], sum = 0;
        assert_true(r->tokens == 1 && r->rows == 0 && !r->soft && r->k == 2 - l && r->experts == 4);
        assert_int_equal(ful_net_moe_route(ful_model_net(model), l, 0, 2, expert, gate), r->k);
        for (int i = 0; i < r->k; i++) assert_true(expert[i] == r->expert[i] && gate[i] == r->gate[i]);
        ful_route_shares(r, share);
        for (int x = 0; x < 4; x++) sum += share[x];
        assert_true(fabs(sum - 1) < 1e-12 && fabs(share[r->expert[0]] - 1.0 / r->k) < 1e-12);
    }
    assert_ok(ful_judge_explain_page(&e, 1, NULL, &page));
    assert_non_null(strstr(page, "a&lt;b.png"));
    assert_non_null(strstr(page, "stage3.moe"));
    const char *at = strstr(page, "base64,");
    assert_non_null(at);
    const size_t n = decode(at + 7, file);
    assert_ok(ful_image_decode("page", file, n, 32, 3, pixels));
    assert_memory_equal(pixels, e.pixels, sizeof pixels);
    ful_free(page);
    ful_explanation_deinit(&e);
    assert_fails(ful_judge_explain(model, test_path("absent.png", ""), &e), FUL_ERR_IO, "absent.png");
    assert_null(e.layers);
}

static void test_passes_are_compared(void **state)
{
    (void)state;
    ful_mcnemar m;
    ful_judge_pass pass;
    ful_judge_pass_defaults(&pass);
    ful_predictions a = predict(&pass), b = predict(&pass);
    assert_ok(ful_predictions_compare(&a, &b, .95, &m));
    assert_true(m.only_a == 0 && m.only_b == 0 && m.p == 1 && m.difference == 0);
    b.count--;
    assert_fails(ful_predictions_compare(&a, &b, .95, &m), FUL_ERR_DATA, "of 96 images with those of 95");
    b.count++;
    ful_predictions_deinit(&a);
    ful_predictions_deinit(&b);
    pass.pass.ten_crop = FUL_TEN_CROP_LOGITS;
    assert_fails(ful_judge_predict(model, set, &pass, &a), FUL_ERR_CONFIG, "data.crop=0: each would be the whole image");
}

static void test_robust_means(void **state)
{
    (void)state;
    const ful_corruption *list = ful_corruptions(); /* 0, 1, 2 common, 3 not */
    const double none = NAN;
    ful_robust r = {.clean = .1, .other_clean = .2, .n_rows = 3};
    r.rows[0] = (ful_robust_row){
        .corruption = &list[0], .error = {.2, .4, none, none, none}, .other = {.4, .4, none, none, none}};
    r.rows[1] = (ful_robust_row){
        .corruption = &list[1], .error = {.3, .3, none, none, none}, .other = {.2, .6, none, none, none}};
    r.rows[2] = (ful_robust_row){
        .corruption = &list[3], .error = {.9, .9, none, none, none}, .other = {.1, .1, none, none, none}};
    ful_judge_robust(&r);
    assert_true(r.n_common == 2);
    assert_true(fabs(r.rows[0].ce - .75) < 1e-12 && fabs(r.rows[1].ce - .75) < 1e-12 && fabs(r.rows[2].ce - 9) < 1e-12);
    assert_true(fabs(r.rows[0].relative - 1) < 1e-12 && fabs(r.rows[1].relative - 1) < 1e-12 && isnan(r.rows[2].relative));
    assert_true(fabs(r.mce - .75) < 1e-12 && fabs(r.relative_mce - 1) < 1e-12 && fabs(r.mean - .3) < 1e-12);
    char *svg = NULL;
    assert_ok(ful_judge_robust_svg(&r, "a<b", "other", &svg));
    assert_non_null(strstr(svg, "a&lt;b"));
    assert_null(strstr(svg, "nan"));
    ful_free(svg);
    for (int i = 0; i < 3; i++)
        for (int s = 0; s < FUL_SEVERITIES; s++) r.rows[i].other[s] = NAN;
    r.other_clean = NAN;
    ful_judge_robust(&r);
    assert_true(isnan(r.mce) && isnan(r.rows[0].ce) && fabs(r.mean - .3) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_run_kept),  cmocka_unit_test(test_view_texts),
        cmocka_unit_test(test_views_are_averaged), cmocka_unit_test(test_corruptions_are_addressed),
        cmocka_unit_test(test_explains_an_image),  cmocka_unit_test(test_passes_are_compared),
        cmocka_unit_test(test_robust_means),
    };
    return cmocka_run_group_tests(tests, train_once, clean_up);
}
