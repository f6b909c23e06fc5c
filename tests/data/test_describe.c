/* SPDX-License-Identifier: Apache-2.0 */
/* What ful_data_describe says about good and bad sets, as text and as JSON. */
#include <jansson.h>

#include "data/support.h"

static temp t;

static char *describe(const ful_data_config *c, bool json)
{
    char *text = NULL;
    assert_ok(ful_data_describe(c, json, &text));
    assert_non_null(text);
    return text;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("'%s' is not in:\n%s", part, text);
}

static json_int_t number(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) fail_msg("no number '%s'", key);
    return json_integer_value(value);
}

static void test_folder(void **state)
{
    (void)state;
    const tiny train = {.classes = 12, .per_class = 3, .h = 6, .w = 8, .channels = 3},
               test = {.classes = 12, .per_class = 1, .h = 6, .w = 8, .channels = 3};
    temp_make(&t);
    tiny_folder(&train, temp_path(&t, "train"));
    tiny_tar(&test, temp_path(&t, "test.tar.gz"), true, "");
    ful_data_config c = config_of("folder", t.path, temp_path(&t, "cache"));
    char *text = describe(&c, false);
    has(text, "train  class folders '");
    has(text, "train  36 images in 12 classes, 3 to 3 each (median 3): ant bee cow dog elk fox gnu hen ibis jay …\n");
    has(text, "train  8x6 pixels, colour\n");
    has(text, "test   tar archive '");
    has(text, "test.tar.gz': 1 file, 0.0 MB\n");
    assert_null(strstr(text, "problem"));
    ful_free(text);

    /* Bad files are listed; the rest is still described. */
    write_file(temp_path(&t, "train/bee/0004.png"), "GIF89a", 6);
    write_file(temp_path(&t, "train/cow/\"q\".jpg"), "", 0);
    text = describe(&c, false);
    has(text, "train  35 images in 12 classes, 2 to 3 each (median 3)");
    ful_free(text);
    text = describe(&c, true);
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root) fail_msg("no JSON (%s): %s", error.text, text);
    json_t *split = json_array_get(json_object_get(root, "splits"), 0);
    assert_string_equal(json_string_value(json_object_get(root, "name")), "folder");
    assert_int_equal(json_array_size(json_object_get(root, "splits")), 2);
    assert_string_equal(json_string_value(json_object_get(split, "split")), "train");
    assert_int_equal(number(split, "files"), 37);
    assert_int_equal(number(split, "images"), 35);
    assert_int_equal(number(split, "problems"), 2);
    assert_int_equal(number(split, "height"), 6);
    assert_int_equal(number(split, "class_least"), 2);
    assert_int_equal(json_array_size(json_object_get(split, "class_names")), 12);
    json_t *findings = json_object_get(split, "findings");
    assert_int_equal(json_array_size(findings), 2);
    has(json_string_value(json_array_get(findings, 0)), "bee/0004.png' that begins with bytes 474946383961");
    has(json_string_value(json_array_get(findings, 1)), "cow/\"q\".jpg': the file is empty");
    json_decref(root);
    ful_free(text);
    assert_int_equal(count_files(temp_path(&t, "cache"), ""), -1); /* describing leaves nothing behind */

    /* A damaged archive is a finding, too; and of many problems only some are shown. */
    write_file(temp_path(&t, "test.tar.gz"), "\x1f\x8b\x08 damaged", 12);
    for (int i = 0; i < 30; i++) write_file(temp_path(&t, "train/ant/bad%02d.png", i), "x", 1);
    assert_fails(ful_data_describe(&c, false, &text), FUL_ERR_DATA,
                 "cannot use the test split of 'folder': cannot decompress '"); /* nothing is left of it */
    has(text, "test   problem: cannot decompress '");
    has(text, "and 12 more problems");
    ful_free(text);
    temp_remove(&t);
}

static void put_u32(blob *b, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    blob_add(b, bytes, 4);
}

static void idx_of_none(const char *stem, bool labels)
{
    blob b = {0};
    put_u32(&b, labels ? 0x801 : 0x803);
    put_u32(&b, 0);
    for (int i = 0; i < 2 && !labels; i++) put_u32(&b, 28);
    write_file(temp_path(&t, "idx/%s-%s-ubyte", stem, labels ? "labels-idx1" : "images-idx3"), b.data, b.n);
    blob_free(&b);
}

static void make_sets_of_nothing(void)
{
    static const char *const folders[] = {
        "empty", "classes",     "classes/a",  "classes/b",     "tiny", "idx", "tiny/train", "tiny/val", "tiny/train/n00000001",
        "split", "split/train", "split/test", "split/train/a", "cifar"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) make_folder(temp_path(&t, "%s", folders[i]));
    write_file(temp_path(&t, "classes/a/notes.txt"), "no image", 8);
    write_file(temp_path(&t, "tiny/wnids.txt"), "n00000001\n", 10);
    tar_out tar;
    tar_begin(&tar);
    tar_save(&tar, temp_path(&t, "empty.tar"), false);
    tar_begin(&tar);
    tar_file(&tar, "a/notes.txt", "no image", 8);
    tar_save(&tar, temp_path(&t, "text.tar.gz"), true);
    for (int i = 0; i < 2; i++) {
        idx_of_none(i ? "t10k" : "train", false);
        idx_of_none(i ? "t10k" : "train", true);
    }
    for (int i = 1; i <= 6; i++) {
        char name[32] = "test_batch.bin";
        if (i < 6) snprintf(name, sizeof name, "data_batch_%d.bin", i);
        write_file(temp_path(&t, "cifar/%s", name), "", 0);
    }
}

/* A set without images is an error of every reader, and what was looked at is told nevertheless, as text and as JSON. */
static void test_without_images(void **state)
{
    static const struct {
        const char *name, *path, *message;
    } cases[] = {
        {"folder", "empty", "it holds no class folders with images"},
        {"folder", "classes", "it holds no images"},
        {"folder", "split", "it holds no images"},
        {"folder", "empty.tar", "it holds no images"},
        {"folder", "text.tar.gz", "it holds no images"},
        {"webdataset", "empty.tar", "it holds no images"},
        {"webdataset", "text.tar.gz", "it holds no images"},
        {"imagenet", "empty", "it holds no class folders with images"},
        {"tiny-imagenet", "tiny", "it holds no images"},
        {"mnist", "idx", "dimension 0 is 0"},
        {"cifar10", "cifar", "cannot use the train split of 'cifar10': "},
    };
    (void)state;
    temp_make(&t);
    make_sets_of_nothing();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int json = 0; json < 2; json++) {
            const ful_data_config c = config_of(cases[i].name, temp_path(&t, "%s", cases[i].path), "");
            char *text = NULL;
            assert_fails(ful_data_describe(&c, json, &text), FUL_ERR_DATA, cases[i].message);
            assert_non_null(text);
            has(text, json ? "\"images\": 0, " : "train  no images\n");
            if (json) json_decref(json_loads(text, 0, NULL));
            ful_free(text);
            ful_dataset *set = NULL; /* nor can it be trained on */
            assert_int_not_equal(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &set), FUL_OK);
        }
    temp_remove(&t);
}

/* A class without images among others is told; the others are described. */
static void test_empty_class(void **state)
{
    (void)state;
    const tiny train = {.classes = 2, .per_class = 3, .h = 6, .w = 8, .channels = 3};
    temp_make(&t);
    tiny_folder(&train, temp_path(&t, "train"));
    make_folder(temp_path(&t, "train/zoo"));
    const ful_data_config c = config_of("folder", t.path, temp_path(&t, "cache"));
    char *text = describe(&c, false);
    has(text, "train  6 images in 3 classes, 0 to 3 each (median 3)");
    has(text, "train  warning: classes without images: zoo\n");
    ful_free(text);
    text = describe(&c, true);
    has(text, "\"empty_classes\": [\"zoo\"]");
    ful_free(text);
    temp_remove(&t);
}

static void test_others(void **state)
{
    (void)state;
    temp_make(&t);
    ful_data_config c = config_of("clusters", "", "");
    c.gen_train = 40;
    c.gen_test = 10;
    c.train_limit = 5; /* the set is described, not the choice from it */
    char *text = describe(&c, false);
    has(text, "train  40 images in 10 classes, 4 to 4 each");
    has(text, "test   10 images");
    ful_free(text);
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TEST);
    assert_ok(ful_dataset_pack(d, temp_path(&t, "test.pack")));
    ful_dataset_destroy(&d);
    c = config_of("pack", t.path, "");
    text = describe(&c, false);
    has(text, "test   pack '");
    has(text, "10 images in 10 classes, 1 to 1 each (median 1): class00");
    ful_free(text);
    const tiny idx = {.classes = 10, .per_class = 2, .h = 5, .w = 5, .channels = 1};
    tiny_idx(&idx, t.path, "train", true);
    assert_int_equal(unlink(temp_path(&t, "test.pack")), 0);
    c = config_of("mnist", t.path, "");
    char *none = NULL;
    assert_fails(ful_data_describe(&c, false, &none), FUL_ERR_DATA, "there is no t10k-images-idx3-ubyte");
    assert_null(none);
    tiny_idx(&idx, t.path, "t10k", true);
    text = describe(&c, false);
    has(text, "train  IDX '");
    has(text, "20 images in 10 classes, 2 to 2 each (median 2): 0 1 2");
    ful_free(text);
    c = config_of("nothing", t.path, "");
    assert_fails(ful_data_describe(&c, false, &none), FUL_ERR_CONFIG, "data.name=nothing");
    temp_remove(&t);
}

static void test_kinds(void **state)
{
    (void)state;
    int n = 0;
    for (const ful_data_kind *k = ful_data_kinds(); k->name; k++, n++) assert_true(*k->name && *k->about);
    assert_int_equal(n, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder), cmocka_unit_test(test_without_images), cmocka_unit_test(test_empty_class),
        cmocka_unit_test(test_others), cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
