/* SPDX-License-Identifier: Apache-2.0 */
/* What dropout draws: its rate, its independence, and what the draws depend on. That values are right, opcheck checks. */
#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "ops/op.h"
#include "support/test.h"
#include <fulcrum/core.h>

enum { N = 40, H = 17, W = 19, C = 32, COUNT = H * W * C };

/* One dropout of ones. The caller frees y. */
typedef struct draw {
    const char *name;
    float p;
    bool whole_image;
    uint64_t seed, step;
    const uint32_t *row;
    ful__layout layout;
    int n;
} draw;

static const draw usual = {.name = "drop", .p = 0.3f, .seed = 1, .step = 2, .n = N};

static float *drop(const draw *d)
{
    const ful_dropout_attr attr = {d->p, d->whole_image};
    const ful_shape shape = {H, W, C};
    const size_t count = (size_t)d->n * COUNT;
    ful__op *op = NULL;
    float *x = NULL, *y = NULL;
    assert_ok(ful__op_dropout.create(d->name, &attr, &shape, 1, &op));
    op->x_layout[0] = d->layout;
    op->type->layouts(op);
    assert_ok(op->type->plan(op, d->n, true));
    assert_ok(ful__calloc(&x, count, sizeof *x, "x"));
    assert_ok(ful__calloc(&y, count, sizeof *y, "y"));
    for (size_t i = 0; i < count; i++) x[i] = 1;
    const ful__run run = {.n = d->n, .train = true, .seed = d->seed, .step = d->step, .row = d->row, .x = {x}, .y = y};
    assert_ok(op->type->forward(op, &run));
    op->type->destroy(op);
    ful__free(x);
    return y;
}

static bool kept(float y)
{
    return y != 0;
}

/* Number of values kept in both of two runs, less what independence would give, in standard deviations. */
static double correlation(const float *a, const float *b, size_t count, double keep)
{
    double both = 0;
    for (size_t i = 0; i < count; i++) both += kept(a[i]) && kept(b[i]);
    const double mean = keep * keep;
    return (both - mean * (double)count) / sqrt((double)count * mean * (1 - mean));
}

static void test_rate(void **state)
{
    (void)state;
    static const float rates[] = {0.001f, 0.1f, 0.3f, 0.5f, 0.9f, 0.999f};
    for (int r = 0; r < 6; r++) {
        draw d = usual;
        d.p = rates[r];
        float *y = drop(&d);
        const double count = (double)N * COUNT, p = (double)d.p;
        double dropped = 0;
        for (size_t i = 0; i < N * COUNT; i++) dropped += !kept(y[i]);
        const double z = (dropped - p * count) / sqrt(count * p * (1 - p));
        if (fabs(z) > 4) fail_msg("p=%g: %g of %g values dropped, %.1f standard deviations off", p, dropped, count, z);
        for (size_t i = 0; i < N * COUNT; i++) assert_true(!kept(y[i]) || fabs((double)y[i] * (1 - p) - 1) < 1e-6);
        ful__free(y);
    }
}

/* Neighbours along channels, positions, images; and along the lanes and words of a Philox block. */
static void test_neighbours_are_independent(void **state)
{
    (void)state;
    static const size_t distance[] = {1, 2, 4, 8, 15, 16, 17, 32, 48, 64, 256, C, W * C, COUNT};
    float *y = drop(&usual);
    for (int i = 0; i < (int)(sizeof distance / sizeof *distance); i++) {
        const double z = correlation(y, y + distance[i], (size_t)N * COUNT - distance[i], 0.7);
        if (fabs(z) > 4.5) fail_msg("values %zu apart: %.1f standard deviations from independent", distance[i], z);
    }
    ful__free(y);
}

static void assert_independent(const char *of, const draw *other)
{
    float *a = drop(&usual), *b = drop(other);
    const double z = correlation(a, b, (size_t)N * COUNT, 0.7);
    if (fabs(z) > 4.5) fail_msg("another %s: %.1f standard deviations from independent", of, z);
    ful__free(a);
    ful__free(b);
}

static void test_keys(void **state)
{
    (void)state;
    draw d = usual;
    d.seed = 7;
    assert_independent("seed", &d);
    d = usual;
    d.step = 3;
    assert_independent("step", &d);
    d = usual;
    d.step += (uint64_t)1 << 32;
    assert_independent("step, in its high word", &d);
    d = usual;
    d.name = "drop2";
    assert_independent("name", &d);
}

/* An image drops the same values wherever it stands, by its place in the batch; also where the place is large. */
static void test_rows(void **state)
{
    (void)state;
    uint32_t row[2] = {39, 5}, far[2] = {4000000000u, 5};
    draw d = usual;
    d.n = 2;
    d.row = row;
    float *all = drop(&usual), *two = drop(&d);
    assert_memory_equal(two, all + 39 * COUNT, COUNT * sizeof *all);
    assert_memory_equal(two + COUNT, all + 5 * COUNT, COUNT * sizeof *all);
    d.row = far;
    float *large = drop(&d);
    assert_memory_equal(large + COUNT, two + COUNT, COUNT * sizeof *all);
    assert_true(fabs(correlation(large, two, COUNT, 0.7)) < 4.5);
    ful__free(all);
    ful__free(two);
    ful__free(large);
}

/* One draw an image: all of it or nothing, at the rate. */
static void test_whole_images(void **state)
{
    (void)state;
    int dropped = 0, images = 0;
    for (uint64_t step = 0; step < 20; step++) {
        draw d = usual;
        d.whole_image = true;
        d.step = step;
        float *y = drop(&d);
        for (int n = 0; n < N; n++, images++) {
            const float first = y[(size_t)n * COUNT];
            for (size_t i = 0; i < COUNT; i++) assert_true(y[(size_t)n * COUNT + i] == first);
            dropped += !kept(first);
        }
        ful__free(y);
    }
    const double z = (dropped - 0.3 * images) / sqrt(images * 0.21);
    if (fabs(z) > 4) fail_msg("%d of %d images dropped at p=0.3", dropped, images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),         cmocka_unit_test(test_neighbours_are_independent),
        cmocka_unit_test(test_keys),         cmocka_unit_test(test_rows),
        cmocka_unit_test(test_whole_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
