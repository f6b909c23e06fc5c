/* SPDX-License-Identifier: Apache-2.0 */
/* WebDataset shards: one or many, by folder or pattern, labels as text, number or JSON; and what is wrong with them. */
#include "data/fresh.h"

#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* formats are handed on, by this file alone */

enum { COUNT = 12 };
static const tiny images = {.classes = COUNT, .per_class = 1, .h = 4, .w = 4, .channels = 3};

/* Images first..last; label is a printf format of the number of the class, which is 11 - n. */
static void make_shard(const char *path, int first, int last, const char *suffix, const char *label, bool gzip)
{
    tar_out tar;
    blob png = {0};
    tar_begin(&tar);
    for (int n = first; n <= last; n++) {
        char name[64], text[128];
        const int length = snprintf(text, sizeof text, label, COUNT - 1 - n);
        snprintf(name, sizeof name, "./dir.x/%06d.%s", n, suffix);
        if (n % 2) tar_file(&tar, name, text, (size_t)length); /* before the image or behind it */
        snprintf(name, sizeof name, "./dir.x/%06d.png", n);
        tiny_png(&images, n, &png);
        tar_file(&tar, name, png.data, png.n);
        snprintf(name, sizeof name, "./dir.x/%06d.%s", n, suffix);
        if (n % 2 == 0) tar_file(&tar, name, text, (size_t)length);
        snprintf(name, sizeof name, "./dir.x/%06d.caption.txt", n);
        tar_file(&tar, name, "a cat", 5);
    }
    tar_save(&tar, path, gzip);
    blob_free(&png);
}

/* Images in the order of the shards; class k is number k, also the tenth and eleventh. */
static void check(const char *path, ful_split split, int first, int last)
{
    const ful_data_config c = config_of("webdataset", path, temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&c, split);
    ful_dataset_info info;
    uint8_t wanted[48];
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, last - first + 1);
    assert_int_equal(info.classes, COUNT);
    for (int i = 0; i < info.count; i++) {
        test_image(first + i, 4, 4, 3, wanted);
        assert_memory_equal(ful_dataset_image(d, i), wanted, sizeof wanted);
        assert_int_equal(ful_dataset_label(d, i), COUNT - 1 - (first + i));
    }
    assert_string_equal(ful_dataset_class_name(d, 10), "10");
    ful_dataset_destroy(&d);
}

static void test_places(void **state)
{
    (void)state;
    make_shard(temp_path(&t, "one.tar"), 0, 11, "cls", "%d", false);
    check(temp_path(&t, "one.tar"), FUL_SPLIT_TRAIN, 0, 11);
    make_shard(temp_path(&t, "one.tar.gz"), 0, 11, "cls", " %d\n", true);
    check(temp_path(&t, "one.tar.gz"), FUL_SPLIT_TRAIN, 0, 11);
    make_shard(temp_path(&t, "json.tar"), 0, 11, "json", "{\"x\": [1, {}], \"label\": %d}", false);
    check(temp_path(&t, "json.tar"), FUL_SPLIT_TRAIN, 0, 11);
    make_shard(temp_path(&t, "words.tar"), 0, 11, "json", "{\"class\": \"%d\"}", false);
    check(temp_path(&t, "words.tar"), FUL_SPLIT_TRAIN, 0, 11);
    make_folder(temp_path(&t, "many"));
    for (int i = 0; i < 4; i++)
        make_shard(temp_path(&t, "many/set-train-%03d.tar", i + 8), 3 * i, 3 * i + 2, "cls", "%d", false);
    make_shard(temp_path(&t, "many/set-val-000.tar"), 4, 6, "cls", "%d", false);
    check(temp_path(&t, "many"), FUL_SPLIT_TRAIN, 0, 11);
    check(temp_path(&t, "many"), FUL_SPLIT_TEST, 4, 6);
    check(temp_path(&t, "many/set-train-{008..011}.tar"), FUL_SPLIT_TRAIN, 0, 11);
    check(temp_path(&t, "many/set-train-*.tar"), FUL_SPLIT_TRAIN, 0, 11);
    check(temp_path(&t, "many/set-{train-{008,009},train-01?,val-000}.tar"), FUL_SPLIT_TRAIN, 0, 11);
}

static void test_brace_nesting_and_splits(void **state)
{
    (void)state;
    make_folder(temp_path(&t, "deep"));
    make_folder(temp_path(&t, "deep/train"));
    make_folder(temp_path(&t, "deep/validation"));
    make_folder(temp_path(&t, "deep/test"));
    make_shard(temp_path(&t, "deep/train/0.tar"), 0, 11, "cls", "%d", false);
    make_shard(temp_path(&t, "deep/validation/0.tar"), 2, 3, "cls", "%d", false);
    make_shard(temp_path(&t, "deep/test/0.tar"), 5, 9, "cls", "%d", false);
    check(temp_path(&t, "deep"), FUL_SPLIT_TRAIN, 0, 11);
    check(temp_path(&t, "deep"), FUL_SPLIT_VAL, 2, 3);
    check(temp_path(&t, "deep"), FUL_SPLIT_TEST, 5, 9);
    check(temp_path(&t, "deep/{train,validation}/*.tar"), FUL_SPLIT_TRAIN, 0, 11);
}

static void refused(const char *path, ful_status status, const char *message)
{
    const ful_data_config c = config_of("webdataset", path, temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), status, message);
    assert_null(d);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *names[4], *text, *message;
    } cases[] = {
        {{"a.png", NULL}, "x", "a.png': it has no label (a.cls or a.json)"},
        {{"a.cls", "b.png", "b.cls", NULL}, "1", "a': it has a label and no image"},
        {{"a.png", "a.jpg", "a.cls", NULL}, "1", "'a.png' is an image of the same sample"},
        {{"a.png", "a.cls", NULL}, " \n", "label of '"},
        {{"a.png", "a.json", NULL}, "{\"label\": 1", "a.json': "},
        {{"a.png", "a.json", NULL}, "{\"label\": 1.5}", "it has no field label, cls or class"},
        {{"a.png", "a.json", NULL}, "[]", "it has no field label, cls or class"},
        {{"a.txt", NULL}, "x", "it holds no images"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tar_out tar;
        tar_begin(&tar);
        for (int k = 0; cases[i].names[k]; k++) tar_file(&tar, cases[i].names[k], cases[i].text, strlen(cases[i].text));
        tar_save(&tar, temp_path(&t, "bad.tar"), false);
        const ful_data_config c = config_of("webdataset", temp_path(&t, "bad.tar"), temp_path(&t, "cache"));
        ful_dataset *d = NULL;
        const ful_status status = ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d);
        assert_true(status == FUL_ERR_FORMAT || status == FUL_ERR_DATA);
        if (!strstr(ful_error_message(), cases[i].message)) fail_msg("%zu: %s", i, ful_error_message());
    }
    make_folder(temp_path(&t, "nothing"));
    refused(temp_path(&t, "nothing"), FUL_ERR_DATA, "there are no .tar shards");
    refused(temp_path(&t, "no-*.tar"), FUL_ERR_DATA, "there are no .tar shards");
    refused(temp_path(&t, "a-{0..3}.tar"), FUL_ERR_IO, "a-0.tar");
    refused(temp_path(&t, "a-{3..0}.tar"), FUL_ERR_DATA, "{3..0} must be ascending");
    refused(temp_path(&t, "a-{0..3.tar"), FUL_ERR_DATA, "a brace is not closed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_brace_nesting_and_splits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
