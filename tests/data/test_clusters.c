/* SPDX-License-Identifier: Apache-2.0 */
/* The generated set: the same on every machine, balanced, its splits different. (Beyond a linear model: test_linear.c.) */
#include "data/support.h"
#include <fulcrum/core.h>

static ful_data_config defaults(void)
{
    return config_of("clusters", "", "");
}

static uint64_t fingerprint(const ful_data_config *c, ful_split split)
{
    ful_dataset *d = open_ok(c, split);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    ful_dataset_destroy(&d);
    return info.fingerprint;
}

/* Studies quote results on this set: its pixels may not change unnoticed. A new generator is a new default gen_seed or name. */
static void test_pinned(void **state)
{
    (void)state;
    const ful_data_config c = defaults();
    const int threads = ful_threads_get();
    assert_int_equal(fingerprint(&c, FUL_SPLIT_TRAIN), 0xc172c12beb1d4d6e);
    assert_int_equal(fingerprint(&c, FUL_SPLIT_TEST), 0x2eff1e16ea443748);
    assert_ok(ful_threads_set(1));
    assert_int_equal(fingerprint(&c, FUL_SPLIT_TEST), 0x2eff1e16ea443748);
    assert_ok(ful_threads_set(threads));
}

/* Every class equally often; in its clusters 3 : 2 : 1. */
static void test_balance(void **state)
{
    (void)state;
    ful_data_config c = defaults();
    c.gen_train = 960;
    c.gen_classes = 8;
    c.gen_clusters = 5;
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    int cell[8][5] = {{0}};
    for (int i = 0; i < 960; i++) {
        assert_int_equal(ful_dataset_label(d, i), i % 8);
        cell[i % 8][ful_dataset_cluster(d, i)]++;
    }
    for (int y = 0; y < 8; y++)
        for (int k = 0; k < 5; k++) assert_int_equal(cell[y][k], (k + 5 - y % 5) % 5 < 3 ? 60 - 20 * ((k + 5 - y % 5) % 5) : 0);
    assert_string_equal(ful_dataset_class_name(d, 7), "class07");
    ful_dataset_destroy(&d);
}

/* Every argument of the generator changes the images; a longer set begins with the shorter one. */
static void test_arguments(void **state)
{
    (void)state;
    ful_data_config base = defaults();
    base.gen_train = base.gen_test = 40;
    const uint64_t print = fingerprint(&base, FUL_SPLIT_TRAIN);
    assert_int_not_equal(print, fingerprint(&base, FUL_SPLIT_TEST));
#define CHANGED(field, value)                                          \
    do {                                                               \
        ful_data_config c = base;                                      \
        c.field = (value);                                             \
        assert_int_not_equal(print, fingerprint(&c, FUL_SPLIT_TRAIN)); \
    } while (0)
    CHANGED(gen_seed, 2);
    CHANGED(gen_noise, 0);
    CHANGED(gen_classes, 9);
    CHANGED(gen_clusters, 5);
    CHANGED(gen_clusters, 1);
    CHANGED(size, 48);
    CHANGED(channels, 1);
    ful_data_config longer = base;
    longer.gen_train = 1500;
    ful_dataset *a = open_ok(&base, FUL_SPLIT_TRAIN), *b = open_ok(&longer, FUL_SPLIT_TRAIN);
    for (int i = 0; i < 40; i++) assert_memory_equal(ful_dataset_image(a, i), ful_dataset_image(b, i), 32 * 32 * 3);
    ful_dataset_destroy(&a);
    ful_dataset_destroy(&b);
}

/* All sizes and numbers of classes the configuration admits. */
static void test_extremes(void **state)
{
    (void)state;
    static const int size[] = {16, 17, 28, 33, 256}, classes[] = {2, 3, 10, 100, 50}, clusters[] = {1, 2, 4, 16, 16};
    for (int i = 0; i < 5; i++) {
        ful_data_config c = defaults();
        c.size = size[i];
        c.gen_classes = classes[i];
        c.gen_clusters = clusters[i];
        c.gen_train = 120;
        c.gen_noise = 255.0 * i / 4;
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
        ful_dataset_info info;
        ful_dataset_info_get(d, &info);
        assert_int_equal(info.height, size[i]);
        assert_int_equal(info.classes, classes[i]);
        for (int k = 0; k < 3; k++) assert_true(info.mean[k] > 0.2f && info.mean[k] < 0.8f && info.std[k] > 0.05f);
        ful_dataset_destroy(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
