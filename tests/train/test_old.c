/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of other versions (doc/format-checkpoint.md): fields that came later may be absent, fields that are not known are
 * passed over, and what cannot be resumed is refused with the rule. old/ is a run of the first version, stopped in its fourth
 * epoch.
 */
#include <math.h>

#include "train_support.h"

/* One change of a checkpoint; NULL: not that one. */
typedef struct change {
    const char *without[3];     /* keys of the state */
    const char *with;           /* JSON whose keys are added to the state and to the map of its first layer */
    const char *format, *extra; /* another format; the name of another tensor */
} change;

static char *changed_state(const char *text, const change *c)
{
    json_t *state = json_loads(text, 0, NULL), *with = json_loads(c->with ? c->with : "{}", 0, NULL);
    for (int i = 0; i < 3 && c->without[i]; i++) assert_int_equal(json_object_del(state, c->without[i]), 0);
    assert_int_equal(json_object_update(state, with), 0);
    json_t *layer = json_array_get(json_object_get(state, "layers"), 0);
    if (layer) assert_int_equal(json_object_update(layer, with), 0);
    char *out = json_dumps(state, JSON_REAL_PRECISION(17));
    json_decref(state);
    json_decref(with);
    assert_non_null(out);
    return out;
}

static void rewrite(const char *path, const change *c)
{
    static const char *const keys[] = {"version",   "config",  "seed", "epoch", "step",
                                       "init_hash", "classes", "mean", "std",   "routing"};
    static const float one = 1;
    enum { KEYS = sizeof keys / sizeof *keys, TENSORS_MAX = 200 };
    ful__st_file *file = NULL;
    ful__st_tensor tensors[TENSORS_MAX];
    ful__st_meta meta[KEYS + 3];
    int n = 0, n_meta = 0;
    assert_ok(ful__st_open(path, &file));
    assert_true(ful__st_count(file) < TENSORS_MAX);
    for (; n < ful__st_count(file); n++) tensors[n] = *ful__st_tensor_at(file, n);
    if (c->extra) tensors[n++] = (ful__st_tensor){.name = c->extra, .rank = 1, .shape = {1}, .count = 1, .data = &one};
    for (int i = 0; i < KEYS; i++)
        if (ful__st_meta_get(file, keys[i])) meta[n_meta++] = (ful__st_meta){keys[i], ful__st_meta_get(file, keys[i])};
    char *state = changed_state(ful__st_meta_get(file, "state"), c);
    meta[n_meta++] = (ful__st_meta){"state", state};
    meta[n_meta++] = (ful__st_meta){"format", c->format ? c->format : ful__st_meta_get(file, "format")};
    if (c->with) meta[n_meta++] = (ful__st_meta){"colour", "blue"};
    assert_ok(ful__st_write(path, tensors, n, meta, n_meta));
    ful__st_close(&file);
    free(state);
}

static void config_here(ful_config *config)
{
    test_config(config, TEST_MOE, "epochs: 3");
}

/* Raises the flag in the second epoch. */
static void stop_in_the_second(void *cookie, const ful_progress *progress)
{
    volatile int *stop = cookie;
    if (progress->epoch == 2) *stop = 1;
}

/* A run of its own that stopped, with its checkpoint changed. */
static ful_status resume_changed(const char *name, const change *c)
{
    ful_config config;
    volatile int stop = 0;
    const ful_train_options stopped = {.stop = &stop, .progress = stop_in_the_second, .cookie = (void *)(uintptr_t)&stop};
    const ful_train_options go_on = {.resume = true};
    config_here(&config);
    /* reports come at most every 0.2 s and at the end of an epoch; the first of these stops nothing yet */
    if (ful_train(&config, test_path(name, ""), &stopped, NULL) != FUL_ERR_INTERRUPTED) fail_msg("the run was not stopped");
    rewrite(test_path(name, "last.safetensors"), c);
    return ful_train(&config, test_path(name, ""), &go_on, NULL);
}

static void test_fields_come_and_go(void **state)
{
    (void)state;
    ful_config config;
    config_here(&config);
    assert_ok(ful_train(&config, test_path("whole", ""), NULL, NULL));
    const change older = {.without = {"sums.skipped", "skipped_test"}};
    const change newer = {.with = "{\"sums.yawns\": 3, \"mood\": {\"of\": [\"the\", \"net\"]}}"};
    assert_ok(resume_changed("older", &older));
    test_same_runs("whole", "older");
    assert_ok(resume_changed("newer", &newer));
    test_same_runs("whole", "newer");
}

static void test_what_cannot_be_resumed(void **state)
{
    (void)state;
    const struct {
        change c;
        const char *wrong;
    } cases[] = {
        {{.without = {"step"}}, "its state must have a number 'step'"},
        {{.without = {"fingerprint_test"}}, "the images are others"},
        {{.without = {"layers"}}, "its state must have 2 mixture layers"},
        {{.with = "{\"sums.skipped\": -1}"}, "its state must have a number 'sums.skipped'"},
        {{.with = "{\"epoch\": \"one\"}"}, "its state must have a number 'epoch'"},
        {{.with = "{\"epoch\": 4}"}, "its epoch 4 and batch"},
        {{.extra = "optim.mystery/fc.weight"}, "its tensor 'optim.mystery/fc.weight' is none of the run's"},
        {{.format = "fulcrum-checkpoint-2"}, "it has the format 'fulcrum-checkpoint-2' of fulcrum "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[20];
        snprintf(name, sizeof name, "refused%zu", i);
        const ful_status status = resume_changed(name, &cases[i].c);
        if (status != FUL_ERR_FORMAT && status != FUL_ERR_DATA) fail_msg("case %zu: %s", i, ful_status_name(status));
        if (!strstr(ful_error_message(), cases[i].wrong)) fail_msg("case %zu: %s", i, ful_error_message());
        assert_non_null(strstr(ful_error_message(), "last.safetensors"));
    }
}

static int rows_of(const char *text)
{
    int rows = 0;
    for (; *text; text++) rows += *text == '\n';
    return rows;
}

/* Written by the first version that had the format; its configuration lacks all keys that came since. */
static void test_a_run_of_the_first_version(void **state)
{
    (void)state;
    static const char folder[] = "tests/train/old";
    ful_config config;
    ful_result old, fresh;
    char command[400], path[64];
    const ful_train_options go_on = {.resume = true};
    snprintf(command, sizeof command, "cp -r %s %s", folder, test_path("first", ""));
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    assert_ok(ful_config_load(path, NULL, 0, &config));
    assert_ok(ful_train(&config, test_path("first", ""), &go_on, &old));
    assert_ok(ful_train(&config, test_path("fresh", ""), NULL, &fresh));
    assert_true(fabs(old.test_loss - fresh.test_loss) < 0.01); /* other rounding, at most */
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    char *before = test_read(path), *after = test_read(test_path("first", "metrics.jsonl"));
    assert_int_equal(rows_of(before), 3);
    assert_int_equal(rows_of(after), 6);
    assert_memory_equal(before, after, strlen(before));
    ful__free(before);
    ful__free(after);
    /* and it is a model, and a start */
    ful_model *model = NULL;
    snprintf(path, sizeof path, "%s/last.safetensors", folder);
    assert_ok(ful_model_open(path, 4, &model));
    ful_model_destroy(&model);
    snprintf(config.train.init_from, sizeof config.train.init_from, "%s", path);
    config.train.epochs = 1;
    assert_ok(ful_train(&config, test_path("started", ""), NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_of_the_first_version),
        cmocka_unit_test(test_fields_come_and_go),
        cmocka_unit_test(test_what_cannot_be_resumed),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
