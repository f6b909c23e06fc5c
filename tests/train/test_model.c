/* SPDX-License-Identifier: Apache-2.0 */
/* A trained model, used: it evaluates as the run did, predicts one image as it does a batch, and tells what is in it. */
#include <math.h>
#include <png.h>

#include "support/fault.h"
#include "train_support.h"

static ful_config trained;

static int train_once(void **state)
{
    if (test_make_root(state) != 0) return -1;
    test_config(&trained, TEST_MOE, "epochs: 2, lr: 0.05, ema: 0.8");
    trained.data.val_fraction = 0.2;
    assert_ok(ful_train(&trained, test_path("run", ""), NULL, NULL));
    return 0;
}

static void test_evaluates_as_the_run_did(void **state)
{
    (void)state;
    ful_model *model = NULL;
    ful_eval eval;
    json_t *result = test_json(test_path("run", "result.json"));
    assert_ok(ful_model_open(test_path("run", ""), 0, &model));
    assert_ok(ful_model_eval(model, NULL, FUL_SPLIT_TEST, false, &eval));
    assert_int_equal(eval.count, 96);
    assert_true((double)eval.correct / (double)eval.count == test_number(result, "test.acc"));
    assert_true(eval.loss == test_number(result, "test.loss"));
    int64_t sum = 0, diagonal = 0;
    for (int i = 0; i < 16; i++) sum += eval.confusion[i];
    for (int i = 0; i < 4; i++) diagonal += eval.confusion[5 * i];
    assert_true(sum == eval.count && diagonal == eval.correct && eval.classes == 4);
    assert_true(eval.correct_top5 == eval.count); /* 4 classes */
    ful_eval_deinit(&eval);
    assert_ok(ful_model_eval(model, &trained.data, FUL_SPLIT_TEST, true, &eval));
    assert_true((double)eval.correct / (double)eval.count == test_number(result, "test.acc_capacity"));
    ful_eval_deinit(&eval);
    assert_ok(ful_model_eval(model, NULL, FUL_SPLIT_VAL, false, &eval));
    assert_true(eval.loss == test_number(result, "val.loss"));
    ful_eval_deinit(&eval);
    ful_model_destroy(&model);
    ful_model_destroy(&model);
    /* Dropless: the batch does not matter, to the bit. */
    assert_ok(ful_model_open(test_path("run", "last.safetensors"), 7, &model));
    assert_ok(ful_model_eval(model, NULL, FUL_SPLIT_TEST, false, &eval));
    assert_true((double)eval.correct / (double)eval.count == test_number(result, "test.acc"));
    ful_eval_deinit(&eval);
    assert_fails(ful_model_eval(model, NULL, FUL_SPLIT_TEST, true, &eval), FUL_ERR_ARG,
                 "batch_max=7: it must be at least train.batch, 32");
    ful_model_destroy(&model);
    json_decref(result);
}

static void test_other_data_is_refused(void **state)
{
    (void)state;
    ful_model *model = NULL;
    ful_eval eval;
    ful_data_config data = trained.data;
    assert_ok(ful_model_open(test_path("run", ""), 32, &model));
    data.gen_classes = 5;
    assert_fails(ful_model_eval(model, &data, FUL_SPLIT_TEST, false, &eval), FUL_ERR_CONFIG, "5 classes: the model has 4");
    data = trained.data;
    data.size = 40;
    assert_fails(ful_model_eval(model, &data, FUL_SPLIT_TEST, false, &eval), FUL_ERR_CONFIG,
                 "40 x 40 x 3: the model takes 32 x 32 x 3");
    assert_fails(ful_model_eval(model, NULL, (ful_split)7, false, &eval), FUL_ERR_ARG, "split 7");
    ful_model_destroy(&model);
}

/* An image from a file is what the loader gives for it. */
static void test_predicts_an_image(void **state)
{
    (void)state;
    ful_model *model = NULL;
    ful_dataset *set = NULL;
    ful_loader *loader = NULL;
    ful_dataset_info info;
    ful_loader_config lc;
    ful_batch batch;
    float prob[4], logits[4];
    assert_ok(ful_model_open(test_path("run", ""), 1, &model));
    assert_ok(ful_dataset_open(&trained.data, FUL_SPLIT_TEST, &set));
    ful_dataset_info_get(set, &info);
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 32, .height = 32, .format = PNG_FORMAT_RGB};
    assert_true(png_image_write_to_file(&image, test_path("image.png", ""), 0, ful_dataset_image(set, 0), 0, NULL));
    assert_ok(ful_model_predict_image(model, test_path("image.png", ""), prob));
    ful_loader_config_defaults(&lc);
    lc.batch = 1;
    lc.workers = 0;
    memcpy(lc.mean, info.mean, sizeof lc.mean);
    memcpy(lc.std, info.std, sizeof lc.std);
    assert_ok(ful_loader_create(set, &lc, &loader));
    assert_ok(ful_loader_start(loader, 0, 0));
    assert_ok(ful_loader_next(loader, &batch));
    assert_ok(ful_net_predict(ful_model_net(model), 1, batch.x, NULL, logits));
    double sum = 0, total = 0;
    for (int i = 0; i < 4; i++) sum += exp((double)logits[i]);
    for (int i = 0; i < 4; i++) {
        assert_true(fabs((double)prob[i] - exp((double)logits[i]) / sum) < 1e-6);
        total += (double)prob[i];
    }
    assert_true(fabs(total - 1) < 1e-6);
    assert_fails(ful_model_predict_image(model, test_path("absent.png", ""), prob), FUL_ERR_IO, "absent.png");
    ful_loader_destroy(&loader);
    ful_dataset_destroy(&set);
    ful_model_destroy(&model);
}

static void test_names_and_config(void **state)
{
    (void)state;
    ful_model *model = NULL;
    ful_dataset *set = NULL;
    assert_ok(ful_model_open(test_path("run", ""), 1, &model));
    assert_ok(ful_dataset_open(&trained.data, FUL_SPLIT_TEST, &set));
    for (int c = 0; c < 4; c++) assert_string_equal(ful_model_class_name(model, c), ful_dataset_class_name(set, c));
    assert_string_equal(ful_model_class_name(model, 4), "");
    assert_string_equal(ful_model_class_name(model, -1), "");
    assert_int_equal(ful_model_config(model)->net.classes, 4);
    assert_true(ful_model_config(model)->train.ema == 0.8);
    ful_dataset_destroy(&set);
    ful_model_destroy(&model);
}

/* The averaged weights are the model. */
static void test_average_is_used(void **state)
{
    (void)state;
    ful_model *model = NULL;
    ful__st_file *file = NULL;
    ful_tensor t;
    char name[300];
    assert_ok(ful_model_open(test_path("run", ""), 1, &model));
    assert_ok(ful__st_open(test_path("run", "last.safetensors"), &file));
    assert_ok(ful_net_tensor(ful_model_net(model), 0, &t));
    snprintf(name, sizeof name, "ema/%s", t.name);
    const size_t bytes = (size_t)t.count * sizeof(float);
    assert_memory_equal(ful__st_find(file, name)->data, t.value, bytes);
    assert_memory_not_equal(ful__st_find(file, t.name)->data, t.value, bytes);
    ful__st_close(&file);
    ful_model_destroy(&model);
}

static void test_inspect(void **state)
{
    (void)state;
    char *text = NULL;
    assert_ok(ful_model_inspect(test_path("run", ""), false, &text));
    static const char *const says[] = {
        "epoch 2 of 2",      "resnet8",     "stage3.moe.expert.3.conv", "head.moe, on test after epoch 2: 4 experts, k = 1",
        "effective experts", "weight norm", "plan of inference"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        if (!strstr(text, says[i])) fail_msg("'%s' is not in\n%s", says[i], text);
    ful_free(text);
    assert_ok(ful_model_inspect(test_path("run", "best.safetensors"), true, &text));
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "routing")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "classes")), 4);
    assert_true(json_array_size(json_object_get(json, "tensors")) > 30);
    assert_null(strstr(text, "ema/"));
    json_decref(json);
    ful_free(text);
}

static void test_bad_models(void **state)
{
    (void)state;
    ful_model *model = NULL;
    char *text = NULL;
    const float one = 1;
    const ful__st_tensor t = {.name = "fc.weight", .rank = 1, .shape = {1}, .count = 1, .data = &one};
    assert_fails(ful_model_open(test_path("nowhere", ""), 1, &model), FUL_ERR_IO, "nowhere");
    assert_null(model);
    assert_fails(ful_model_open(test_path("run", ""), -1, &model), FUL_ERR_ARG, "batch_max=-1");
    assert_fails(ful_model_open(test_path("run", "result.json"), 1, &model), FUL_ERR_FORMAT, "as safetensors");
    const ful__st_meta foreign[] = {{"format", "pt"}};
    assert_ok(ful__st_write(test_path("foreign", ""), &t, 1, foreign, 1));
    assert_fails(ful_model_open(test_path("foreign", ""), 1, &model), FUL_ERR_FORMAT,
                 "must have the format 'fulcrum-checkpoint-1'");
    static const char config[] = "net: {arch: linear, height: 4, in_channels: 1, classes: 2}";
    ful__st_meta meta[] = {{"format", "fulcrum-checkpoint-1"},
                           {"config", "net: {arch: lineal}"},
                           {"classes", "[\"a\"]"},
                           {"mean", "[0.5]"},
                           {"std", "[0]"}};
    static const char *const says[] = {"net.arch = lineal", "'classes' of 2 names", "'std' of 1 numbers",
                                       "the tensor 'fc.bias'", "net's shape"};
    for (int i = 0; i < 5; i++) {
        if (i == 1) meta[1].value = config;
        if (i == 2) meta[2].value = "[\"a\", \"b\"]";
        if (i == 3) meta[4].value = "[1]";
        const float both[2] = {0};
        ful__st_tensor list[2] = {t, {.name = "fc.bias", .rank = 1, .shape = {2}, .count = 2, .data = both}};
        assert_ok(ful__st_write(test_path("bad", ""), list, i == 4 ? 2 : 1, meta, 5));
        const ful_status status = ful_model_open(test_path("bad", ""), 1, &model);
        const bool named = strstr(ful_error_message(), says[i]) || (i == 3 && strstr(ful_error_message(), "net's shape"));
        if (status == FUL_OK || !named) fail_msg("%d: %s", i, ful_error_message());
        assert_fails(ful_model_inspect(test_path("bad", ""), false, &text), status, "");
        assert_null(text);
    }
}

static void test_rho(void **state)
{
    (void)state;
    char *text = NULL;
    assert_ok(ful_config_rho(&trained, false, true, &text));
    static const char *const says[] = {"stem.conv",
                                       "head.moe",
                                       "routed",
                                       "shared",
                                       "exec",
                                       "site",
                                       "total",
                                       "params",
                                       "kX/(B+R+kX)",
                                       "capacity in training: a batch of 32",
                                       "memory of a training step",
                                       "time of a training step",
                                       "plan"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        if (!strstr(text, says[i])) fail_msg("'%s' is not in\n%s", says[i], text);
    ful_free(text);
    assert_ok(ful_config_rho(&trained, true, false, &text));
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *result = test_json(test_path("run", "result.json"));
    static const char *const same[] = {"rho.exec",        "rho.site",     "rho.total",    "rho.train",
                                       "rho.params",      "macs.forward", "macs.routed",  "macs.router",
                                       "macs.one_expert", "params.total", "params.active"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(test_number(json, same[i]) == test_number(result, same[i]));
    assert_true(test_number(json, "capacity.padding") >= 1.25);
    assert_true(json_is_null(json_object_get(json_object_get(json, "step"), "seconds")));
    int64_t macs = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(json, "layers")); i++)
        macs += (int64_t)test_number(json_array_get(json_object_get(json, "layers"), i), "macs");
    assert_true((double)macs == test_number(json, "macs.forward"));
    json_decref(json);
    json_decref(result);
    ful_free(text);
}

static ful_status open_eval_inspect(void *ctx)
{
    ful_model *model = NULL;
    ful_eval eval = {0};
    char *text = NULL;
    ful_status status = ful_model_open(ctx, 32, &model);
    if (status == FUL_OK) status = ful_model_eval(model, NULL, FUL_SPLIT_TEST, false, &eval);
    if (status == FUL_OK) status = ful_model_inspect(ctx, true, &text);
    ful_free(text);
    ful_eval_deinit(&eval);
    ful_model_destroy(&model);
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s", test_path("run", ""));
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, open_eval_inspect, path, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluates_as_the_run_did),
        cmocka_unit_test(test_other_data_is_refused),
        cmocka_unit_test(test_predicts_an_image),
        cmocka_unit_test(test_names_and_config),
        cmocka_unit_test(test_average_is_used),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_rho),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, train_once, test_remove_root);
}
