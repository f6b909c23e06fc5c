/* SPDX-License-Identifier: Apache-2.0 */
/* Real data, where it is: published counts, means and deviations, and images nobody here wrote. */
#include <math.h>

#include "data/fresh.h"
#include "support/data.h"

typedef struct wanted {
    int count, side, channels, classes;
    double mean[3], std[3];
} wanted;

static void check_set(const char *name, const char *path, ful_split split, const wanted *w)
{
    const ful_data_config c = config_of(name, path, temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&c, split);
    ful_dataset_info info;
    int classes[256] = {0};
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, w->count);
    assert_int_equal(info.height, w->side);
    assert_int_equal(info.width, w->side);
    assert_int_equal(info.channels, w->channels);
    assert_int_equal(info.classes, w->classes);
    for (int k = 0; k < w->channels; k++) {
        if (fabs(info.mean[k] - w->mean[k]) > 2e-3 || fabs(info.std[k] - w->std[k]) > 3e-3)
            fail_msg("channel %d: mean %.4f, std %.4f, wanted %.4f, %.4f", k, (double)info.mean[k], (double)info.std[k],
                     w->mean[k], w->std[k]);
    }
    for (int64_t i = 0; i < info.count; i++) classes[ful_dataset_label(d, i)]++;
    for (int k = 0; k < w->classes; k++) assert_true(classes[k] > 0);
    ful_dataset_destroy(&d);
}

static void test_cifar10(void **state)
{
    (void)state;
    char path[1024];
    TEST_NEEDS_DATA(path, "cifar10/test.tar.gz");
    /* The training archive is large: its test images, taken as a training set, are enough here. */
    const wanted w = {10000, 32, 3, 10, {0.4942, 0.4851, 0.4504}, {0.2467, 0.2429, 0.2616}};
    check_set("folder", path, FUL_SPLIT_TRAIN, &w);
    const ful_data_config c = config_of("folder", path, temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    assert_string_equal(ful_dataset_class_name(d, 0), "airplane");
    assert_string_equal(ful_dataset_class_name(d, 9), "truck");
    ful_dataset_destroy(&d);
}

static void test_mnist(void **state)
{
    (void)state;
    char path[1024];
    TEST_NEEDS_DATA(path, "mnist");
    const wanted train = {60000, 28, 1, 10, {0.1307}, {0.3081}}, test = {10000, 28, 1, 10, {0.1307}, {0.3081}};
    check_set("mnist", path, FUL_SPLIT_TRAIN, &train);
    check_set("mnist", path, FUL_SPLIT_TEST, &test);
}

static void test_imagenet_sample(void **state)
{
    (void)state;
    char path[1024];
    TEST_NEEDS_DATA(path, "imagenet-sample/imagenet-sample.tar.gz");
    ful_data_config c = config_of("folder", path, temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "data.size must be given");
    c.size = 64;
    d = open_ok(&c, FUL_SPLIT_TRAIN);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, 36);
    assert_int_equal(info.height, 64);
    for (int k = 0; k < 3; k++)
        assert_true(info.mean[k] > 0.3f && info.mean[k] < 0.6f && info.std[k] > 0.2f && info.std[k] < 0.35f);
    ful_dataset_destroy(&d);
}

/* Tiny-ImageNet in its own layout, inside its archive: training images, validation images with their list, words. */
static void test_tiny_imagenet(void **state)
{
    (void)state;
    char path[1024];
    TEST_NEEDS_DATA(path, "tiny-imagenet-mini/tiny-imagenet-200.tar.gz");
    const ful_data_config c = config_of("tiny-imagenet", path, temp_path(&t, "cache"));
    ful_dataset *train = open_ok(&c, FUL_SPLIT_TRAIN), *val = open_ok(&c, FUL_SPLIT_TEST);
    ful_dataset_info info;
    ful_dataset_info_get(train, &info);
    assert_int_equal(info.count, 800);
    assert_int_equal(info.classes, 20);
    assert_int_equal(info.height, 64);
    assert_string_equal(ful_dataset_class_name(train, 0), "n03255030 dumbbell");
    ful_dataset_info_get(val, &info);
    assert_int_equal(info.count, 200);
    int each[20] = {0};
    for (int64_t i = 0; i < info.count; i++) each[ful_dataset_label(val, i)]++;
    for (int i = 0; i < 20; i++) assert_int_equal(each[i], 10);
    ful_dataset_destroy(&train);
    ful_dataset_destroy(&val);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cifar10, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mnist, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_imagenet_sample, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tiny_imagenet, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
