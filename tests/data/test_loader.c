/* SPDX-License-Identifier: Apache-2.0 */
/* The loader: what a batch holds depends on seed, epoch and position alone; every pixel as a naive reference has it. */
#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/rng.h"
#include "data/augment.h"
#include "data/support.h"
#include "support/fault.h"

enum { COUNT = 101, BATCH = 16, SIDE = 16, VALUES = SIDE * SIDE * 3 };

static ful_dataset *set;

static int open_set(void **state)
{
    (void)state;
    ful_data_config c;
    ful_data_config_defaults(&c);
    c.gen_train = COUNT;
    c.size = SIDE;
    set = open_ok(&c, FUL_SPLIT_TRAIN);
    return 0;
}

static int close_set(void **state)
{
    (void)state;
    ful_dataset_destroy(&set);
    return 0;
}

static ful_loader_config loader_config(bool train, int workers)
{
    ful_loader_config c;
    ful_loader_config_defaults(&c);
    c.batch = BATCH;
    c.train = train;
    c.seed = 5;
    c.workers = workers;
    c.augment.crop_pad = 3;
    c.augment.flip = true;
    for (int i = 0; i < 3; i++) c.mean[i] = 0.4f + 0.1f * (float)i, c.std[i] = 0.2f + 0.1f * (float)i;
    return c;
}

static ful_loader *create(const ful_loader_config *c)
{
    ful_loader *l = NULL;
    assert_ok(ful_loader_create(set, c, &l));
    return l;
}

/* A whole epoch, copied. */
typedef struct epoch {
    int n;
    float x[COUNT * VALUES];
    int32_t label[COUNT];
    uint32_t index[COUNT];
} epoch;

static void read_epoch(ful_loader *l, int64_t number, int64_t first, epoch *e)
{
    ful_batch b;
    e->n = 0;
    assert_ok(ful_loader_start(l, number, first));
    for (;;) {
        assert_ok(ful_loader_next(l, &b));
        if (b.n == 0) break;
        assert_true(e->n + b.n <= COUNT);
        memcpy(e->x + (size_t)e->n * VALUES, b.x, (size_t)b.n * VALUES * sizeof *b.x);
        memcpy(e->label + e->n, b.label, (size_t)b.n * sizeof *b.label);
        memcpy(e->index + e->n, b.index, (size_t)b.n * sizeof *b.index);
        e->n += b.n;
    }
    assert_ok(ful_loader_next(l, &b)); /* the end is the end */
    assert_int_equal(b.n, 0);
}

static epoch first_epoch, other_epoch;

static void check_equal(const epoch *a, const epoch *b, int skip)
{
    assert_int_equal(a->n, b->n + skip);
    assert_memory_equal(a->index + skip, b->index, (size_t)b->n * sizeof *b->index);
    assert_memory_equal(a->label + skip, b->label, (size_t)b->n * sizeof *b->label);
    assert_memory_equal(a->x + (size_t)skip * VALUES, b->x, (size_t)b->n * VALUES * sizeof *b->x);
}

static void test_workers(void **state)
{
    (void)state;
    static const int workers[] = {0, 1, 2, 3, 7};
    for (int train = 0; train < 2; train++) {
        for (size_t k = 0; k < sizeof workers / sizeof *workers; k++) {
            const ful_loader_config c = loader_config(train, workers[k]);
            ful_loader *l = create(&c);
            assert_int_equal(ful_loader_batches(l), train ? COUNT / BATCH : (COUNT + BATCH - 1) / BATCH);
            read_epoch(l, 4, 0, k == 0 ? &first_epoch : &other_epoch);
            if (k > 0) check_equal(&first_epoch, &other_epoch, 0);
            assert_true(ful_loader_wait_seconds(l) >= 0);
            ful_loader_destroy(&l);
            assert_null(l);
        }
        assert_int_equal(first_epoch.n, train ? COUNT / BATCH * BATCH : COUNT);
    }
}

/* Pixels that a callback changes reach the batch, by whatever worker; a worker's number is its own. */
static void invert(void *ctx, int worker, uint32_t index, const uint8_t *in, uint8_t *out)
{
    int *busy = ctx;
    if (__atomic_exchange_n(&busy[worker], 1, __ATOMIC_SEQ_CST)) abort();
    for (int i = 0; i < VALUES; i++) out[i] = (uint8_t)(index % 2 ? 255 - in[i] : in[i]);
    __atomic_store_n(&busy[worker], 0, __ATOMIC_SEQ_CST);
}

static void test_change(void **state)
{
    static const int workers[] = {0, 3};
    (void)state;
    ful_loader_config c = loader_config(false, 1);
    ful_loader *l = create(&c);
    read_epoch(l, 0, 0, &first_epoch);
    ful_loader_destroy(&l);
    for (int k = 0; k < 2; k++) {
        int busy[3] = {0};
        c.workers = workers[k];
        c.change = invert;
        c.change_ctx = busy;
        l = create(&c);
        read_epoch(l, 0, 0, &other_epoch);
        ful_loader_destroy(&l);
        for (int i = 0; i < COUNT * VALUES; i++) {
            const float x = first_epoch.x[i], mean = c.mean[i % 3], std = c.std[i % 3];
            const float expected = i / VALUES % 2 ? (1 - (x * std + mean) - mean) / std : x;
            assert_true(fabsf(other_epoch.x[i] - expected) < 1e-5f);
        }
    }
}

static void test_order(void **state)
{
    (void)state;
    ful_loader_config c = loader_config(false, 1);
    ful_loader *l = create(&c);
    read_epoch(l, 0, 0, &first_epoch);
    for (int i = 0; i < COUNT; i++) assert_int_equal(first_epoch.index[i], i); /* not shuffled, the partial batch kept */
    ful_loader_destroy(&l);

    c = loader_config(true, 2);
    c.batch = 1; /* nothing is dropped: every image exactly once */
    l = create(&c);
    int same_place = 0;
    for (int number = 0; number < 3; number++) {
        bool seen[COUNT] = {false};
        read_epoch(l, number, 0, number == 0 ? &first_epoch : &other_epoch);
        const epoch *e = number == 0 ? &first_epoch : &other_epoch;
        assert_int_equal(e->n, COUNT);
        for (int i = 0; i < COUNT; i++) {
            assert_false(seen[e->index[i]]);
            seen[e->index[i]] = true;
            assert_int_equal(e->label[i], ful_dataset_label(set, e->index[i]));
            same_place += number > 0 && e->index[i] == first_epoch.index[i];
        }
    }
    assert_true(same_place < 12); /* two expected: epochs are shuffled anew */
    read_epoch(l, 0, 0, &other_epoch);
    check_equal(&first_epoch, &other_epoch, 0); /* and an epoch can be had again */
    ful_loader_destroy(&l);
    c.seed = 6;
    l = create(&c);
    read_epoch(l, 0, 0, &other_epoch);
    assert_memory_not_equal(first_epoch.index, other_epoch.index, sizeof other_epoch.index);
    ful_loader_destroy(&l);
}

static void test_resume(void **state)
{
    (void)state;
    const ful_loader_config c = loader_config(true, 2);
    ful_loader *l = create(&c);
    read_epoch(l, 9, 0, &first_epoch);
    ful_loader_destroy(&l);
    for (int first = 0; first <= COUNT / BATCH; first++) {
        l = create(&c);
        read_epoch(l, 9, first, &other_epoch);
        check_equal(&first_epoch, &other_epoch, first * BATCH);
        /* An epoch that is left in the middle does not spoil the next. */
        ful_batch b;
        assert_ok(ful_loader_start(l, 1, 0));
        assert_ok(ful_loader_next(l, &b));
        read_epoch(l, 9, 0, &other_epoch);
        check_equal(&first_epoch, &other_epoch, 0);
        ful_loader_destroy(&l);
    }
}

/* ---- pixels ---- */

/* Pads with zeros, crops, mirrors, normalises: one step after the other. */
static void naive(const uint8_t *hwc, int h, int w, int channels, int pad, int y0, int x0, bool mirror, const float *mean,
                  const float *std, float *out)
{
    const int ph = h + 2 * pad, pw = w + 2 * pad;
    uint8_t *padded = calloc((size_t)(ph * pw * channels), 1);
    for (int y = 0; y < h; y++)
        memcpy(padded + ((y + pad) * pw + pad) * channels, hwc + y * w * channels, (size_t)(w * channels));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < channels; c++) {
                const int from = ((y + y0) * pw + x0 + (mirror ? w - 1 - x : x)) * channels + c;
                *out++ = ((float)padded[from] / 255.0f - mean[c]) / std[c];
            }
    free(padded);
}

static void test_augment(void **state)
{
    (void)state;
    enum { H = 6, W = 9 };
    static const float mean[3] = {0.1f, 0.5f, 0.9f}, std[3] = {0.3f, 0.2f, 0.7f};
    uint8_t image[H * W * 3];
    float wanted[H * W * 3], got[H * W * 3];
    ful__norm_table table;
    ful__norm_table_init(&table, mean, std);
    for (int channels = 1; channels <= 3; channels += 2) {
        test_image(8, H, W, channels, image);
        for (int pad = 0; pad <= 12; pad += 4) /* also more than the image is high and wide */
            for (int y = 0; y <= 2 * pad; y++)
                for (int x = 0; x <= 2 * pad; x++)
                    for (int mirror = 0; mirror < 2; mirror++) {
                        naive(image, H, W, channels, pad, y, x, mirror, mean, std, wanted);
                        const ful__window q = {H, W, channels, y - pad, x - pad, H, W, mirror};
                        ful__window_floats(image, &q, &table, got);
                        assert_memory_equal(got, wanted, (size_t)(H * W * channels) * sizeof *got);
                    }
    }
}

/* Every image of a training batch is one of the crops of its source, and all crops and both sides come up about equally. */
static void test_draws(void **state)
{
    (void)state;
    enum { PAD = 1, EPOCHS = 30, CROPS = (2 * PAD + 1) * (2 * PAD + 1) * 2 };
    ful_loader_config c = loader_config(true, 1);
    c.batch = 1;
    c.augment.crop_pad = PAD;
    ful_loader *l = create(&c);
    int seen[CROPS] = {0}, found = 0;
    static float wanted[VALUES];
    for (int number = 0; number < EPOCHS; number++) {
        read_epoch(l, number, 0, &first_epoch);
        for (int i = 0; i < COUNT; i++)
            for (int crop = 0; crop < CROPS; crop++) {
                naive(ful_dataset_image(set, first_epoch.index[i]), SIDE, SIDE, 3, PAD, crop / 6, crop / 2 % 3, crop & 1,
                      c.mean, c.std, wanted);
                if (memcmp(wanted, first_epoch.x + (size_t)i * VALUES, sizeof wanted) != 0) continue;
                seen[crop]++;
                found++;
                break;
            }
    }
    ful_loader_destroy(&l);
    const double mean = (double)(EPOCHS * COUNT) / CROPS;
    assert_int_equal(found, EPOCHS * COUNT);
    for (int crop = 0; crop < CROPS; crop++) assert_true(fabs(seen[crop] - mean) < 5 * sqrt(mean));
}

/* Not for training: every image as it is. */
static void test_plain(void **state)
{
    (void)state;
    const ful_loader_config c = loader_config(false, 1);
    ful_loader *l = create(&c);
    static float wanted[VALUES];
    read_epoch(l, 3, 0, &first_epoch);
    for (int i = 0; i < COUNT; i++) {
        naive(ful_dataset_image(set, i), SIDE, SIDE, 3, 0, 0, 0, false, c.mean, c.std, wanted);
        assert_memory_equal(first_epoch.x + (size_t)i * VALUES, wanted, sizeof wanted);
    }
    ful_loader_destroy(&l);
}

/* ---- life ---- */

static void test_destroy_anywhere(void **state)
{
    (void)state;
    for (int workers = 0; workers < 4; workers++)
        for (int taken = -1; taken < 8; taken++) {
            const ful_loader_config c = loader_config(true, workers);
            ful_loader *l = create(&c);
            ful_batch b;
            if (taken >= 0) assert_ok(ful_loader_start(l, taken, 0));
            for (int i = 0; i < taken; i++) assert_ok(ful_loader_next(l, &b));
            ful_loader_destroy(&l);
        }
    ful_loader_destroy(NULL);
}

static void test_refused(void **state)
{
    (void)state;
    ful_loader *l = NULL;
    ful_batch b;
    ful_loader_config c;
#define REFUSED(field, value, message)                                      \
    do {                                                                    \
        c = loader_config(true, 1);                                         \
        c.field = (value);                                                  \
        assert_fails(ful_loader_create(set, &c, &l), FUL_ERR_ARG, message); \
        assert_null(l);                                                     \
    } while (0)
    REFUSED(batch, 0, "batch=0: batch must be >= 1");
    REFUSED(batch, COUNT + 1, "batch=102 on 101 images");
    REFUSED(workers, -1, "workers=-1: workers must be in 0..64");
    REFUSED(workers, 65, "workers=65");
    c = loader_config(true, 1);
    c.augment.crop_pad = -1;
    assert_fails(ful_loader_create(set, &c, &l), FUL_ERR_CONFIG, "crop=-1");
    REFUSED(std[2], 0, "std=0: both must be finite, std > 0");
    REFUSED(mean[0], (float)NAN, "mean=nan");
    c = loader_config(true, 1);
    assert_fails(ful_loader_create(NULL, &c, &l), FUL_ERR_ARG, "null data set");
    assert_fails(ful_loader_create(set, &c, NULL), FUL_ERR_ARG, "null pointer");
    l = create(&c);
    assert_fails(ful_loader_next(l, &b), FUL_ERR_ARG, "ful_loader_start comes first");
    assert_fails(ful_loader_start(l, -1, 0), FUL_ERR_ARG, "epoch must be >= 0");
    assert_fails(ful_loader_start(l, 0, 7), FUL_ERR_ARG, "at batch 7: epoch must be >= 0, batch in 0..6");
    assert_ok(ful_loader_start(l, 0, 6)); /* nothing left, but no error */
    assert_ok(ful_loader_next(l, &b));
    assert_int_equal(b.n, 0);
    ful_loader_destroy(&l);
    c = loader_config(false, 1);
    c.batch = 1000; /* one partial batch */
    l = create(&c);
    assert_int_equal(ful_loader_batches(l), 1);
    read_epoch(l, 0, 0, &first_epoch);
    assert_int_equal(first_epoch.n, COUNT);
    ful_loader_destroy(&l);
}

static ful_status life_attempt(void *ctx)
{
    (void)ctx;
    const ful_loader_config c = loader_config(true, 3);
    ful_loader *l = NULL;
    ful_batch b = {0};
    ful_status status = ful_loader_create(set, &c, &l);
    if (status == FUL_OK) status = ful_loader_start(l, 0, 0);
    if (status == FUL_OK) status = ful_loader_next(l, &b);
    ful_loader_destroy(&l);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, life_attempt, NULL);
    assert_int_equal(test_each_failure(FUL__FAULT_THREAD, FUL_ERR_MEMORY, life_attempt, NULL), 3);
}

/* next() allocates nothing. */
static void test_no_allocation(void **state)
{
    (void)state;
    const ful_loader_config c = loader_config(true, 2);
    ful_loader *l = create(&c);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
    for (int number = 0; number < 3; number++) read_epoch(l, number, 0, &first_epoch);
    assert_int_equal(ful__fault_count(FUL__FAULT_ALLOC), 0);
    ful_loader_destroy(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers),  cmocka_unit_test(test_order),         cmocka_unit_test(test_change),
        cmocka_unit_test(test_resume),   cmocka_unit_test(test_augment),       cmocka_unit_test(test_draws),
        cmocka_unit_test(test_plain),    cmocka_unit_test(test_refused),       cmocka_unit_test(test_destroy_anywhere),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_no_allocation),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
