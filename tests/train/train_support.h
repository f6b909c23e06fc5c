/* SPDX-License-Identifier: Apache-2.0 */
/* Small runs for tests: a configuration that trains in a moment, folders, and comparing what two runs left. */
#ifndef FUL_TESTS_TRAIN_SUPPORT_H
#define FUL_TESTS_TRAIN_SUPPORT_H

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include <fulcrum/core.h>
#include <fulcrum/train.h>

#include "core/file.h"
#include "core/mem.h"
#include "support/test.h"
#include "train/safetensors.h"

static char test_root[] = "/tmp/fulcrum-train-XXXXXX";

static inline int test_make_root(void **state)
{
    (void)state;
    return mkdtemp(test_root) ? 0 : -1;
}

static inline int test_remove_root(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", test_root);
    return system(command);
}

/* "<root>/a/b"; one of eight buffers in turn. */
static inline const char *test_path(const char *a, const char *b)
{
    static char buffers[8][300];
    static int next;
    char *out = buffers[next++ % 8];
    snprintf(out, sizeof buffers[0], "%s/%s%s%s", test_root, a, *b ? "/" : "", b);
    return out;
}

/* A little residual net with a routed block on a few generated images. `more`: YAML of further blocks or keys. */
static inline void test_config(ful_config *config, const char *moe, const char *train)
{
    char yaml[2000];
    snprintf(yaml, sizeof yaml,
             "data: {name: clusters, gen_train: 320, gen_test: 96, gen_classes: 4, gen_clusters: 2, augment: [crop4, flip]}\n"
             "net: {arch: resnet8, width: 8}\nmoe: %s\n"
             "train: {batch: 32, threads: 1%s%s}\n",
             moe, *train ? ", " : "", train);
    assert_ok(ful_config_parse("test.yaml", yaml, config));
}

#define TEST_MOE                                                                                                          \
    "[{at: stage3, expert: conv, experts: 4, k: 2, hidden: 8, jitter: 0.1, balance: {switch: 0.01, z: 0.001, bias_rate: " \
    "0.001}}, "                                                                                                           \
    "{at: head, experts: 4, k: 1, hidden: 8, noise_std: 1}]"

static inline char *test_read(const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    assert_ok(ful__file_read(path, 1 << 28, &text, &bytes));
    return text;
}

static inline json_t *test_json(const char *path)
{
    char *text = test_read(path);
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json) fail_msg("%s: %s\n%s", path, error.text, text);
    ful__free(text);
    return json;
}

/* A number at "a.b.c"; fails where there is none. */
static inline double test_number(const json_t *json, const char *path)
{
    char key[200];
    const json_t *at = json;
    for (const char *p = path; *p && at; p += *p == '.') {
        const size_t n = strcspn(p, ".");
        memcpy(key, p, n);
        key[n] = '\0';
        at = json_object_get(at, key);
        p += n;
    }
    if (!json_is_number(at)) fail_msg("there is no number at %s", path);
    return json_number_value(at);
}

/* Lines of a .jsonl file as a list. */
static inline json_t *test_rows(const char *path)
{
    char *text = test_read(path);
    json_t *rows = json_array();
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        json_error_t error;
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        if (!row) fail_msg("%s: %s\n%s", path, error.text, line);
        json_array_append_new(rows, row);
    }
    ful__free(text);
    return rows;
}

/* Equal but for the figures of time. */
static inline void test_same_rows(const char *path_a, const char *path_b)
{
    static const char *const timing[] = {"seconds", "images_per_s", "data_wait_s"};
    json_t *a = test_rows(path_a), *b = test_rows(path_b);
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        json_t *row_a = json_array_get(a, i), *row_b = json_array_get(b, i);
        for (size_t t = 0; t < 3; t++) {
            json_object_del(row_a, timing[t]);
            json_object_del(row_b, timing[t]);
        }
        if (json_equal(row_a, row_b)) continue;
        fail_msg("row %zu of %s and %s:\n%s\n%s", i, path_a, path_b, json_dumps(row_a, 0), json_dumps(row_b, 0));
    }
    json_decref(a);
    json_decref(b);
}

/* All tensors of two checkpoints, byte by byte. */
static inline void test_same_tensors(const char *path_a, const char *path_b)
{
    ful__st_file *a = NULL, *b = NULL;
    assert_ok(ful__st_open(path_a, &a));
    assert_ok(ful__st_open(path_b, &b));
    assert_int_equal(ful__st_count(a), ful__st_count(b));
    for (int i = 0; i < ful__st_count(a); i++) {
        const ful__st_tensor *x = ful__st_tensor_at(a, i), *y = ful__st_tensor_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->count, y->count);
        if (memcmp(x->data, y->data, (size_t)x->count * 4) != 0)
            fail_msg("tensor %s differs in %s and %s", x->name, path_a, path_b);
    }
    ful__st_close(&a);
    ful__st_close(&b);
}

/* Everything two runs must have in common to be the same run. */
static inline void test_same_runs(const char *a, const char *b)
{
    test_same_tensors(test_path(a, "last.safetensors"), test_path(b, "last.safetensors"));
    test_same_rows(test_path(a, "metrics.jsonl"), test_path(b, "metrics.jsonl"));
    test_same_rows(test_path(a, "routing.jsonl"), test_path(b, "routing.jsonl"));
}

#endif
