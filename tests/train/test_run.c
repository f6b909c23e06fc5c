/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs: that they learn, that they repeat, what they write, and how they end when something goes wrong. */
#include <math.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <fcntl.h>

#include "support/fault.h"
#include "train_support.h"

#define QUICK "epochs: 2, lr: 0.05"

static ful_status train_into(const char *name, const char *moe, const char *keys)
{
    ful_config config;
    test_config(&config, moe, keys);
    return ful_train(&config, test_path(name, ""), NULL, NULL);
}

/* Learning and repeating --------------------------------------------------------------------------------------------------- */

typedef struct seen {
    int steps, epochs;
    ful_progress last;
} seen;

static void watch(void *cookie, const ful_progress *p)
{
    seen *s = cookie;
    s->steps += !p->epoch_end;
    s->epochs += p->epoch_end;
    s->last = *p;
    assert_true(p->epoch >= 1 && p->epoch <= p->epochs && p->step >= 1 && p->step <= p->steps);
    assert_true(isfinite(p->loss) && p->accuracy >= 0 && p->accuracy <= 1 && p->lr >= 0 && p->images_per_second > 0);
    assert_true(p->balance > 0 && p->balance <= 1.0001 && p->drop_rate >= 0 && p->drop_rate <= 1);
    assert_true(p->epoch_end || isnan(p->test_accuracy));
}

static void test_it_learns(void **state)
{
    (void)state;
    ful_config config;
    ful_result result;
    seen s = {0};
    const ful_train_options options = {.progress = watch, .cookie = &s, .arm = "learner"};
    test_config(&config, "[{at: stage3, expert: conv, experts: 4, k: 2, hidden: 8}]", "epochs: 5, optimizer: adamw, lr: 0.01");
    config.data.gen_train = 1280;
    config.data.gen_test = 400;
    config.data.gen_clusters = 1;
    config.data.gen_noise = 4;
    ful_augment_defaults(&config.data.augment);
    assert_ok(ful_train(&config, test_path("learns", ""), &options, &result));
    printf("test accuracy %.3f (chance 0.25), training %.3f\n", result.test_accuracy, result.train_accuracy);
    assert_true(result.test_accuracy > 0.5);
    assert_true(result.train_loss < 1);
    assert_int_equal(s.epochs, 5);
    assert_true(s.last.test_accuracy == result.test_accuracy && isnan(s.last.val_accuracy));
    json_t *json = test_json(test_path("learns", "result.json"));
    assert_string_equal(json_string_value(json_object_get(json, "arm")), "learner");
    json_decref(json);
}

static void test_the_same_twice(void **state)
{
    (void)state;
    static const int workers[] = {0, 1, 3};
    ful_config config;
    assert_ok(train_into("first", TEST_MOE, QUICK ", ema: 0.9"));
    for (int i = 0; i < 3; i++) {
        const char *name = i == 0 ? "none" : i == 1 ? "one" : "three";
        test_config(&config, TEST_MOE, QUICK ", ema: 0.9");
        config.data.workers = workers[i];
        assert_ok(ful_train(&config, test_path(name, ""), NULL, NULL));
        test_same_runs("first", name);
    }
    assert_ok(train_into("other", TEST_MOE, QUICK ", ema: 0.9, seed: 2"));
    json_t *a = test_rows(test_path("first", "metrics.jsonl")), *b = test_rows(test_path("other", "metrics.jsonl"));
    assert_true(test_number(json_array_get(a, 0), "train.loss") != test_number(json_array_get(b, 0), "train.loss"));
    json_decref(a);
    json_decref(b);
}

/* Arms of one seed start from the same backbone; another seed from another. */
static void test_arms_are_paired(void **state)
{
    (void)state;
    static const char *const arms[3][2] = {{"[{at: stage3, expert: conv, hidden: 8}]", "epochs: 1"},
                                           {"[{at: stage3, expert: conv, hidden: 8, dense: 16}]", "epochs: 1"},
                                           {"[{at: stage3, expert: conv, hidden: 8}]", "epochs: 1, seed: 2"}};
    static const char *const names[3] = {"arm_moe", "arm_dense", "arm_seed2"};
    char hash[3][17];
    for (int i = 0; i < 3; i++) {
        assert_ok(train_into(names[i], arms[i][0], arms[i][1]));
        json_t *json = test_json(test_path(names[i], "result.json"));
        snprintf(hash[i], sizeof hash[i], "%s", json_string_value(json_object_get(json, "init_hash")));
        json_decref(json);
    }
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
}

/* What is written -----------------------------------------------------------------------------------------------------------
 */

static double sum_of(const json_t *row, const char *key)
{
    const json_t *list = json_object_get(row, key);
    double sum = 0;
    for (size_t i = 0; i < json_array_size(list); i++) sum += json_number_value(json_array_get(list, i));
    return sum;
}

/* Every figure there must be, apart by blanks. */
static void check_numbers(const json_t *json, const char *keys)
{
    char key[100];
    for (const char *p = keys; *p; p += strspn(p, " ")) {
        const size_t n = strcspn(p, " ");
        snprintf(key, sizeof key, "%.*s", (int)n, p);
        (void)test_number(json, key);
        p += n;
    }
}

static void check_routing_row(const json_t *row, int epoch, bool first)
{
    check_numbers(row, "experts k tokens pairs drop_rate all_dropped_rate entropy entropy_marginal "
                       "entropy_marginal_norm margin gate_mass gate_grad_rms load_cv2 max_over_mean gini "
                       "effective_experts dead unused class_mi class_nmi class_entropy_experts losses.switch "
                       "losses.importance losses.load losses.z losses.entropy macs_executed macs_router");
    const bool test = strcmp(json_string_value(json_object_get(row, "split")), "test") == 0;
    assert_int_equal(test_number(row, "epoch"), epoch);
    assert_true(json_is_boolean(json_object_get(row, "collapse_sign")) && json_is_boolean(json_object_get(row, "alarm")));
    assert_true(fabs(sum_of(row, "load") - 1) < 1e-9);
    assert_true(fabs(sum_of(row, "kept") - (1 - test_number(row, "drop_rate"))) < 1e-9);
    assert_true(fabs(sum_of(row, "importance") - 1) < 1e-5);
    assert_int_equal(json_array_size(json_object_get(row, "class_expert")), 4);
    assert_true(test_number(row, "pairs") == test_number(row, "tokens") * test_number(row, "k"));
    if (test) assert_true(test_number(row, "drop_rate") == 0); /* dropless */
    assert_true(test && !first ? json_is_number(json_object_get(row, "change_rate"))
                               : json_is_null(json_object_get(row, "change_rate")));
}

static void check_metrics(const json_t *metrics)
{
    assert_int_equal(json_array_size(metrics), 3);
    for (int i = 0; i < 3; i++) {
        const json_t *row = json_array_get(metrics, (size_t)i);
        const bool due = i != 0; /* every second epoch, and the last */
        assert_int_equal(test_number(row, "epoch"), i + 1);
        assert_int_equal(test_number(row, "step"), 8 * (i + 1));
        assert_true(test_number(row, "grad_norm") > 0 && test_number(row, "train.aux_loss") > 0);
        assert_true(json_is_null(json_object_get(row, "val")) == !due && json_is_null(json_object_get(row, "test")) == !due);
        if (due) assert_true(test_number(row, "test.acc_capacity") >= 0);
    }
}

static void check_routing(const json_t *routing)
{
    static const int epoch_of[] = {1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    assert_int_equal(json_array_size(routing), 2 * 3 + 2 * 2);
    for (size_t i = 0; i < 10; i++) {
        const bool first = i == 4 || i == 5; /* the first evaluation has none before it to compare with */
        check_routing_row(json_array_get(routing, i), epoch_of[i], first);
    }
}

static void check_result(const json_t *result, const json_t *last, const ful_result *r)
{
    check_numbers(result, "seed epochs steps data.train data.val data.test data.classes test.acc test.loss "
                          "test.acc_capacity val.acc val.loss train.acc train.loss train.aux_loss curve.best_test_acc_seen "
                          "curve.best_epoch seconds.train seconds.eval seconds.total images_per_s infer_images_per_s "
                          "macs.forward macs.shared macs.router macs.routed macs.one_expert macs.all_experts params.total "
                          "params.active params.experts rho.exec rho.exec_measured rho.site rho.total rho.train rho.params "
                          "memory.work_bytes memory.param_bytes memory.peak_rss_bytes threads");
    assert_true(json_is_true(json_object_get(result, "finished")));
    assert_true(test_number(result, "test.acc") == test_number(last, "test.acc"));
    assert_true(test_number(result, "val.loss") == test_number(last, "val.loss"));
    assert_true(r->test_accuracy == test_number(last, "test.acc") && r->val_accuracy == test_number(last, "val.acc"));
    /* Counted by the kernels = analytic, exactly, where nothing is dropped; less where something is. */
    assert_true(test_number(result, "macs.counted_forward_per_image") == test_number(result, "macs.forward"));
    assert_true(test_number(result, "macs.counted_routed_per_image") == test_number(result, "macs.routed"));
    assert_true(test_number(result, "rho.exec_measured") <= test_number(result, "rho.exec"));
}

static void test_rows_and_result(void **state)
{
    (void)state;
    ful_config config;
    ful_result r;
    test_config(&config, TEST_MOE, "epochs: 3, lr: 0.05, eval_every: 2");
    config.data.val_fraction = 0.2;
    assert_ok(ful_train(&config, test_path("rows", ""), NULL, &r));
    json_t *metrics = test_rows(test_path("rows", "metrics.jsonl")), *routing = test_rows(test_path("rows", "routing.jsonl"));
    json_t *result = test_json(test_path("rows", "result.json"));
    check_metrics(metrics);
    check_routing(routing);
    check_result(result, json_array_get(metrics, 2), &r);
    const json_t *moe = json_object_get(result, "moe");
    assert_int_equal(json_array_size(moe), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(json_equal(json_object_get(json_array_get(moe, i), "train"), json_array_get(routing, 6 + i)));
        json_object_del(json_array_get(moe, i), "train");
        assert_true(json_equal(json_array_get(moe, i), json_array_get(routing, 8 + i)));
    }
    assert_true(ful__path_exists(test_path("rows", "best.safetensors")));
    assert_false(ful__path_exists(test_path("rows", "error.json")));
    json_decref(metrics);
    json_decref(routing);
    json_decref(result);
}

/* The stored configuration trains to the same bits. */
static void test_stored_config_reproduces(void **state)
{
    (void)state;
    ful_config config;
    assert_ok(train_into("given", TEST_MOE, QUICK));
    assert_ok(ful_config_load(test_path("given", "config.yaml"), NULL, 0, &config));
    assert_int_equal(config.net.classes, 4);
    assert_ok(ful_train(&config, test_path("again", ""), NULL, NULL));
    test_same_runs("given", "again");
}

static void test_without_mixtures(void **state)
{
    (void)state;
    ful_result r;
    ful_config config;
    test_config(&config, "[]", "epochs: 1, eval_test: false");
    assert_ok(ful_train(&config, test_path("dense", ""), NULL, &r));
    assert_true(isnan(r.test_accuracy_capacity) && isnan(r.val_accuracy) && r.test_accuracy >= 0);
    json_t *json = test_json(test_path("dense", "result.json"));
    assert_true(json_is_null(json_object_get(json, "val")) && json_array_size(json_object_get(json, "moe")) == 0);
    assert_true(test_number(json, "rho.exec") == 0 && test_number(json, "rho.exec_measured") == 0);
    json_decref(json);
    assert_false(ful__path_exists(test_path("dense", "routing.jsonl")));
}

/* Folders -------------------------------------------------------------------------------------------------------------------
 */

static void test_folders(void **state)
{
    (void)state;
    ful_config config;
    ful_result first, second;
    const ful_train_options resume = {.resume = true};
    test_config(&config, "[]", "epochs: 1");
    assert_ok(ful_train(&config, test_path("folder", "deep"), NULL, &first));
    assert_fails(ful_train(&config, test_path("folder", "deep"), NULL, NULL), FUL_ERR_CONFIG,
                 "it must be empty, or the run resumed");
    /* A finished run is not trained again, whatever its speed was set to. */
    config.data.workers = 3;
    struct stat before, after;
    assert_int_equal(stat(test_path("folder/deep", "last.safetensors"), &before), 0);
    assert_ok(ful_train(&config, test_path("folder", "deep"), &resume, &second));
    assert_int_equal(stat(test_path("folder/deep", "last.safetensors"), &after), 0);
    assert_true(before.st_ino == after.st_ino && first.test_loss == second.test_loss && first.seconds == second.seconds);
    /* Begun by a version that did not have these keys. */
    char *text = NULL;
    size_t bytes = 0;
    static const char *const newer[] = {"  collapse_stop: false\n", "  layer_scale: 0\n"};
    assert_ok(ful__file_read(test_path("folder/deep", "config.yaml"), 1 << 20, &text, &bytes));
    for (int i = 0; i < 2; i++) {
        char *at = strstr(text, newer[i]);
        assert_non_null(at);
        memmove(at, at + strlen(newer[i]), strlen(at + strlen(newer[i])) + 1);
    }
    assert_ok(ful__file_write(test_path("folder/deep", "config.yaml"), text, strlen(text)));
    ful__free(text);
    assert_ok(ful_train(&config, test_path("folder", "deep"), &resume, &second));
    config.train.collapse_stop = true;
    assert_fails(ful_train(&config, test_path("folder", "deep"), &resume, NULL), FUL_ERR_CONFIG,
                 "train.collapse_stop is false in its config.yaml, and true in the configuration now");
    config.train.collapse_stop = false;
    config.train.lr = 0.3;
    assert_fails(ful_train(&config, test_path("folder", "deep"), &resume, NULL), FUL_ERR_CONFIG,
                 "train.lr is 0.1 in its config.yaml, and 0.3 in the configuration now");
    const int fd = open(test_path("folder", "deep"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_fails(ful_train(&config, test_path("folder", "deep"), &resume, NULL), FUL_ERR_CONFIG,
                 "another run is at work there");
    close(fd);
    assert_ok(ful__file_write(test_path("folder", "file"), "x", 1));
    assert_fails(ful_train(&config, test_path("folder", "file"), NULL, NULL), FUL_ERR_IO, "file");
    test_config(&config, "[]", "epochs: 1");
    config.train.batch = 100000;
    assert_fails(ful_train(&config, test_path("folder", "batch"), NULL, NULL), FUL_ERR_CONFIG,
                 "train.batch = 100000: the training split has only 320 images");
}

/* A run that is resumed without a checkpoint starts anew; rows of epochs to be trained again are taken back. */
static void test_leftovers_are_cleaned(void **state)
{
    (void)state;
    const ful_train_options resume = {.resume = true};
    ful_config config;
    assert_ok(train_into("clean", TEST_MOE, QUICK));
    test_config(&config, TEST_MOE, QUICK);
    assert_ok(ful__mkdirs(test_path("dirty", "")));
    assert_ok(ful__file_write(test_path("dirty", "metrics.jsonl"), "{\"epoch\": 1, \"epochs\": 2}\n{\"epo", 31));
    assert_ok(ful__file_write(test_path("dirty", "error.json"), "{}", 2));
    assert_ok(ful__file_write(test_path("dirty", "last.safetensors.tmp-1"), "x", 1));
    assert_ok(ful_train(&config, test_path("dirty", ""), &resume, NULL));
    test_same_runs("clean", "dirty");
    assert_false(ful__path_exists(test_path("dirty", "error.json")));
    assert_false(ful__path_exists(test_path("dirty", "last.safetensors.tmp-1")));
    /* A damaged or foreign checkpoint is refused, and stays. */
    assert_int_equal(unlink(test_path("dirty", "result.json")), 0);
    assert_int_equal(truncate(test_path("dirty", "last.safetensors"), 5000), 0);
    assert_fails(ful_train(&config, test_path("dirty", ""), &resume, NULL), FUL_ERR_FORMAT, "last.safetensors");
    config.data.gen_seed = 99; /* other images, in a folder whose config agrees */
    assert_int_equal(unlink(test_path("clean", "result.json")) + unlink(test_path("clean", "config.yaml")), 0);
    assert_fails(ful_train(&config, test_path("clean", ""), &resume, NULL), FUL_ERR_DATA, "the images are others");
}

/* Bad ends -------------------------------------------------------------------------------------------------------------------
 */

/* A decay of 10 with lr 1 makes weights 9 times as large every step: after some epochs they overflow. */
static void test_numbers_overflow(void **state)
{
    (void)state;
    ful_config config;
    test_config(&config, "[]", "epochs: 9, lr: 1, weight_decay: 10, momentum: 0, nesterov: false, schedule: const");
    snprintf(config.net.arch, sizeof config.net.arch, "linear");
    assert_fails(ful_train(&config, test_path("overflow", ""), NULL, NULL), FUL_ERR_NUMERIC, "epoch ");
    printf("%s\n", ful_error_message());
    json_t *error = test_json(test_path("overflow", "error.json"));
    assert_string_equal(json_string_value(json_object_get(error, "status")), "FUL_ERR_NUMERIC");
    assert_string_equal(json_string_value(json_object_get(error, "message")), ful_error_message());
    const int epoch = (int)test_number(error, "epoch");
    json_decref(error);
    assert_true(epoch > 1);
    ful__st_file *file = NULL; /* the last good checkpoint stands */
    assert_ok(ful__st_open(test_path("overflow", "last.safetensors"), &file));
    assert_int_equal(atoi(ful__st_meta_get(file, "epoch")), epoch - 1);
    ful__st_close(&file);
    assert_false(ful__path_exists(test_path("overflow", "result.json")));
}

static void note_alarm(void *cookie, const ful_progress *p)
{
    if (p->alarm) snprintf(cookie, 256, "epoch %d: %s", p->epoch, p->alarm);
}

/* A router with huge weights sends nearly everything the same way, and without a balance loss nothing brings it back. */
static void test_collapse(void **state)
{
    (void)state;
    ful_config config;
    char alarm[256] = "";
    static const char moe[] =
        "[{at: head, experts: 8, k: 1, hidden: 4, router_init: 50, capacity_factor: none, balance: {switch: 0}}]";
    ful_train_options options = {.progress = note_alarm, .cookie = alarm};
    test_config(&config, moe, "epochs: 4, lr: 0.0001");
    assert_ok(ful_train(&config, test_path("collapse", ""), &options, NULL));
    printf("%s\n", alarm);
    assert_non_null(strstr(alarm, "head.moe: "));
    json_t *rows = test_rows(test_path("collapse", "routing.jsonl"));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        assert_true(json_is_true(json_object_get(row, "collapse_sign")));
        assert_int_equal(json_is_true(json_object_get(row, "alarm")), test_number(row, "epoch") >= 3);
    }
    json_decref(rows);
    config.train.collapse_stop = true;
    assert_fails(ful_train(&config, test_path("stops", ""), &options, NULL), FUL_ERR_COLLAPSE,
                 "after epoch 3 with train.collapse_stop: head.moe");
    assert_true(ful__path_exists(test_path("stops", "last.safetensors")) && ful__path_exists(test_path("stops", "error.json")));
}

/* Failures of the system ------------------------------------------------------------------------------------------------------
 */

static ful_status tiny_run(void *ctx)
{
    ful_config *config = ctx;
    char command[400];
    snprintf(command, sizeof command, "rm -rf %s", test_path("tiny", ""));
    if (system(command) != 0) return FUL_ERR_INTERNAL;
    const ful_status status = ful_train(config, test_path("tiny", ""), NULL, NULL);
    /* Whatever happened: a checkpoint that is there is whole, and a run without result.json is not finished. */
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", ful_error_message());
    ful__st_file *file = NULL;
    if (ful__path_exists(test_path("tiny", "last.safetensors")))
        assert_ok(ful__st_open(test_path("tiny", "last.safetensors"), &file));
    ful__st_close(&file);
    return status == FUL_OK ? FUL_OK : ful__fail(status, "%s", sentence);
}

static void test_failures(void **state)
{
    (void)state;
    ful_config config;
    test_config(&config, "[{at: head, experts: 2, k: 1, hidden: 4}]", "epochs: 1");
    snprintf(config.net.arch, sizeof config.net.arch, "linear");
    config.data.gen_train = 32;
    config.data.gen_test = 8;
    config.data.workers = 0;
    test_each_failure(FUL__FAULT_WRITE, FUL_ERR_IO, tiny_run, &config);
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, tiny_run, &config, 20);
    config.data.workers = 2;
    test_each_failure(FUL__FAULT_THREAD, FUL_ERR_MEMORY, tiny_run, &config);
}

/* Three times the steps, no more allocations (but for a text that happens to grow once more). Conv experts are left out: they
 * plan a sub-batch size when it first comes up, and then keep it. */
static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    long calls[2];
    for (int i = 0; i < 2; i++) {
        ful_config config;
        test_config(&config, "[{at: head, experts: 4, k: 1, hidden: 8, noise_std: 1}]", "epochs: 1, clip_norm: 1, ema: 0.9");
        config.data.gen_train = i == 0 ? 320 : 960;
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        assert_ok(ful_train(&config, test_path(i == 0 ? "short" : "long", ""), NULL, NULL));
        calls[i] = ful__fault_count(FUL__FAULT_ALLOC);
    }
    printf("%ld allocations for 10 steps, %ld for 30\n", calls[0], calls[1]);
    assert_true(labs(calls[1] - calls[0]) < 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_learns),
        cmocka_unit_test(test_the_same_twice),
        cmocka_unit_test(test_arms_are_paired),
        cmocka_unit_test(test_rows_and_result),
        cmocka_unit_test(test_stored_config_reproduces),
        cmocka_unit_test(test_without_mixtures),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_leftovers_are_cleaned),
        cmocka_unit_test(test_numbers_overflow),
        cmocka_unit_test(test_collapse),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
