/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, the validation split and the normalisation: exact counts, no image in two splits, nothing lost. */
#include <math.h>

#include "data/split.h"
#include "data/support.h"

/* A set whose classes have 1, 2, 3, … images, classes in turn as long as they last. */
enum { CLASSES = 6, COUNT = 1 + 2 + 3 + 10 + 20 + 31 };
static const int class_sizes[CLASSES] = {1, 2, 3, 10, 20, 31};
static int32_t labels[COUNT];

static ful__pack make_pack(int split)
{
    int left[CLASSES], n = 0;
    memcpy(left, class_sizes, sizeof left);
    while (n < COUNT)
        for (int c = 0; c < CLASSES; c++)
            if (left[c]-- > 0) labels[n++] = c;
    return (ful__pack){
        .count = COUNT, .height = 1, .width = 1, .channels = 1, .classes = CLASSES, .split = split, .labels = labels};
}

/* Marks the chosen images, counts them by class, and checks that they are listed in order. */
static int64_t chosen(const ful_data_config *c, ful_split split, int pack_split, bool mark[COUNT], int per_class[CLASSES])
{
    const ful__pack pack = make_pack(pack_split);
    uint32_t *order = NULL;
    int64_t count = 0;
    memset(mark, 0, COUNT * sizeof *mark);
    memset(per_class, 0, CLASSES * sizeof *per_class);
    assert_ok(ful__select(&pack, c, split, &order, &count));
    for (int64_t i = 0; i < count; i++) {
        assert_true(order[i] < COUNT && (i == 0 || order[i] > order[i - 1]));
        mark[order[i]] = true;
        per_class[labels[order[i]]]++;
    }
    ful_free(order);
    return count;
}

static void test_limits(void **state)
{
    (void)state;
    ful_data_config c;
    bool mark[COUNT], wider[COUNT];
    int per_class[CLASSES];
    ful_data_config_defaults(&c);
    assert_int_equal(chosen(&c, FUL_SPLIT_TRAIN, FUL_SPLIT_TRAIN, mark, per_class), COUNT);
    for (int limit = COUNT + 5; limit > 0; limit--) { /* each is part of the next larger one */
        memcpy(wider, mark, sizeof wider);
        c.train_limit = limit;
        assert_int_equal(chosen(&c, FUL_SPLIT_TRAIN, FUL_SPLIT_TRAIN, mark, per_class), limit < COUNT ? limit : COUNT);
        for (int i = 0; i < COUNT; i++) assert_true(!mark[i] || wider[i]);
        for (int a = 0; a < CLASSES; a++) /* balanced: no class is two behind unless it is used up */
            for (int b = 0; b < CLASSES; b++) assert_true(per_class[a] >= per_class[b] - 1 || per_class[a] == class_sizes[a]);
    }
    assert_int_equal(chosen(&c, FUL_SPLIT_TEST, FUL_SPLIT_TEST, mark, per_class), COUNT); /* the other limit */
    c.test_limit = 7;
    assert_int_equal(chosen(&c, FUL_SPLIT_TEST, FUL_SPLIT_TEST, mark, per_class), 7);
    assert_int_equal(chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_VAL, mark, per_class), COUNT); /* a val of its own is whole */
}

static void test_validation(void **state)
{
    (void)state;
    static const int wanted[CLASSES] = {0, 1, 1, 3, 5, 8}; /* a quarter, rounded; never all of a class */
    ful_data_config c;
    bool train[COUNT], val[COUNT], other[COUNT];
    int n_train[CLASSES], n_val[CLASSES];
    ful_data_config_defaults(&c);
    c.val_fraction = 0.25;
    assert_int_equal(chosen(&c, FUL_SPLIT_TRAIN, FUL_SPLIT_TRAIN, train, n_train) +
                         chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_TRAIN, val, n_val),
                     COUNT);
    for (int i = 0; i < COUNT; i++) assert_true(train[i] != val[i]);
    for (int k = 0; k < CLASSES; k++) assert_int_equal(n_val[k], wanted[k]);
    chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_TRAIN, other, n_val);
    assert_memory_equal(other, val, sizeof val);
    c.val_seed = 1;
    chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_TRAIN, other, n_val);
    assert_memory_not_equal(other, val, sizeof val);
    /* The limit comes first: what is not used for training is not for validation either. */
    c.train_limit = 30;
    const int64_t a = chosen(&c, FUL_SPLIT_TRAIN, FUL_SPLIT_TRAIN, train, n_train);
    assert_int_equal(a + chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_TRAIN, val, n_val), 30);
    for (int i = 0; i < COUNT; i++) assert_false(train[i] && val[i]);
    /* A test set is not divided. */
    assert_int_equal(chosen(&c, FUL_SPLIT_TEST, FUL_SPLIT_TEST, val, n_val), COUNT);
    c.val_fraction = 1e-6; /* as little as there is: one of each class that can spare it */
    c.train_limit = 0;
    assert_int_equal(chosen(&c, FUL_SPLIT_VAL, FUL_SPLIT_TRAIN, val, n_val), CLASSES - 1);
}

/* Mean and std of an opened set against a plain two-pass computation in doubles. */
static void check_norm(const ful_data_config *config, int channels)
{
    ful_dataset *d = open_ok(config, FUL_SPLIT_TRAIN), *test = open_ok(config, FUL_SPLIT_TEST);
    ful_dataset_info info, of_test;
    ful_dataset_info_get(d, &info);
    ful_dataset_info_get(test, &of_test);
    assert_int_equal(info.channels, channels);
    assert_memory_equal(info.mean, of_test.mean, sizeof info.mean); /* of the training split, whichever was opened */
    assert_memory_equal(info.std, of_test.std, sizeof info.std);
    const int pixels = info.height * info.width;
    for (int c = 0; c < channels; c++) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < info.count; i++)
            for (int p = 0; p < pixels; p++) sum += ful_dataset_image(d, i)[p * channels + c] / 255.0;
        const double mean = sum / (double)(info.count * pixels);
        for (int64_t i = 0; i < info.count; i++)
            for (int p = 0; p < pixels; p++) square += pow(ful_dataset_image(d, i)[p * channels + c] / 255.0 - mean, 2);
        assert_true(fabs(info.mean[c] - mean) < 1e-6);
        assert_true(fabs(info.std[c] - sqrt(square / (double)(info.count * pixels))) < 1e-6);
    }
    for (int c = channels; c < 3; c++) assert_true(info.mean[c] == 0.0f && info.std[c] == 1.0f);
    ful_dataset_destroy(&d);
    ful_dataset_destroy(&test);
}

static void test_norm(void **state)
{
    (void)state;
    ful_data_config c;
    ful_data_config_defaults(&c);
    c.gen_train = 300;
    c.gen_test = 50;
    check_norm(&c, 3);
    c.val_fraction = 0.3; /* of the training images that remain */
    c.train_limit = 120;
    check_norm(&c, 3);
    c.channels = 1;
    check_norm(&c, 1);
    c.normalize_given = true;
    for (int k = 0; k < 3; k++) c.mean[k] = 0.1f, c.std[k] = 0.2f;
    ful_dataset *d = open_ok(&c, FUL_SPLIT_VAL);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_memory_equal(info.mean, c.mean, sizeof c.mean);
    assert_memory_equal(info.std, c.std, sizeof c.std);
    ful_dataset_destroy(&d);
    /* One colour everywhere: still something to divide by. */
    const ful__sums flat = {.pixels = 100, .sum = {5000}, .square = {250000}};
    float mean[3], std[3];
    ful__sums_norm(&flat, 1, mean, std);
    assert_true(mean[0] == (float)(50.0 / 255) && std[0] == (float)(1.0 / 255));
}

static void test_bounds(void **state)
{
    (void)state;
    ful_data_config c;
    ful_data_config_defaults(&c);
    c.gen_train = 20;
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    assert_null(ful_dataset_image(d, -1));
    assert_null(ful_dataset_image(d, 20));
    assert_int_equal(ful_dataset_label(d, 20), -1);
    assert_int_equal(ful_dataset_cluster(d, -1), -1);
    assert_int_equal(ful_dataset_cluster(d, 11), 2); /* class 1, the second of its kind: one cluster on from its first */
    ful_dataset_destroy(&d);
    ful_dataset_destroy(&d);
    ful_dataset_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
