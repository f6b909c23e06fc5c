/* SPDX-License-Identifier: Apache-2.0 */
/* Images that stay encoded: the batches of a cache, whatever the workers and where an epoch is resumed; damaged ones; a hang.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/support.h"
#include "support/fault.h"

enum { CLASSES = 3, EACH = 14, COUNT = CLASSES * EACH, SIDE = 24, BATCH = 8, VALUES = SIDE * SIDE * 3, EPOCH = COUNT / BATCH };

static temp place;
static char root[256], cache[256];

static void image_path(char *path, size_t bytes, const char *split, int i)
{
    snprintf(path, bytes, "%s/%s/%s/%03d.jpg", root, split, tiny_class(i / EACH), i % EACH);
}

static void write_images(void)
{
    static uint8_t pixels[60 * 60 * 3];
    blob file = {0};
    char path[512];
    for (int i = 0; i < 2 * COUNT; i++) {
        const int h = 30 + i % 7, w = 60 - i % 11;
        image_path(path, sizeof path, i < COUNT ? "train" : "test", i % COUNT);
        char *slash = strrchr(path, '/');
        *slash = '\0';
        assert_ok(ful__mkdirs(path));
        *slash = '/';
        test_image((unsigned)i, h, w, 3, pixels);
        encode_jpeg(&file, pixels, h, w, 3, 90);
        write_file(path, file.data, file.n);
    }
    blob_free(&file);
}

static int setup(void **state)
{
    (void)state;
    temp_make(&place);
    snprintf(root, sizeof root, "%s", temp_path(&place, "set"));
    snprintf(cache, sizeof cache, "%s", temp_path(&place, "cache"));
    write_images();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_remove(&place);
    return 0;
}

static ful_data_config config_with(ful_decode decode)
{
    ful_data_config c = config_of("folder", root, cache);
    c.size = SIDE;
    c.decode = decode;
    return c;
}

static ful_loader_config loader_with(bool train, int workers)
{
    ful_loader_config c;
    ful_loader_config_defaults(&c);
    c.batch = BATCH;
    c.train = train;
    c.workers = workers;
    c.seed = 4;
    c.augment.flip = true;
    return c;
}

/* Batches first.. of an epoch, copied; returns how many images. */
typedef struct epoch {
    int n, skipped;
    float x[COUNT * VALUES];
    uint32_t index[COUNT];
    int32_t label[COUNT];
} epoch;

static ful_status read_epoch(const ful_dataset *set, const ful_loader_config *c, int64_t first, epoch *e)
{
    ful_loader *l = NULL;
    ful_batch b = {0};
    e->n = e->skipped = 0;
    ful_status status = ful_loader_create(set, c, &l);
    if (status == FUL_OK) status = ful_loader_start(l, 3, first);
    while (status == FUL_OK) {
        status = ful_loader_next(l, &b);
        if (status != FUL_OK || b.n == 0) break;
        memcpy(e->x + (size_t)e->n * VALUES, b.x, (size_t)b.n * VALUES * sizeof *b.x);
        memcpy(e->index + e->n, b.index, (size_t)b.n * sizeof *b.index);
        memcpy(e->label + e->n, b.label, (size_t)b.n * sizeof *b.label);
        e->n += b.n;
    }
    if (status == FUL_OK) e->skipped = (int)ful_loader_skipped(l);
    ful_loader_destroy(&l);
    return status;
}

static epoch one, other;

static void check_same(const epoch *a, const epoch *b, int from)
{
    assert_int_equal(a->n, b->n + from);
    assert_memory_equal(a->index + from, b->index, (size_t)b->n * sizeof *b->index);
    assert_memory_equal(a->label + from, b->label, (size_t)b->n * sizeof *b->label);
    assert_memory_equal(a->x + (size_t)from * VALUES, b->x, (size_t)b->n * VALUES * sizeof *b->x);
}

/* Without random resized crops a stream gives the batches of a cache, bit for bit. */
static void test_like_cache(void **state)
{
    (void)state;
    const ful_data_config c = config_with(FUL_DECODE_CACHE), s = config_with(FUL_DECODE_STREAM);
    for (int split = FUL_SPLIT_TRAIN; split <= FUL_SPLIT_TEST; split += 2) {
        ful_dataset *cached = open_ok(&c, (ful_split)split), *streamed = open_ok(&s, (ful_split)split);
        ful_dataset_info a, b;
        ful_dataset_info_get(cached, &a);
        ful_dataset_info_get(streamed, &b);
        assert_true(!ful_dataset_is_encoded(cached) && ful_dataset_is_encoded(streamed));
        assert_null(ful_dataset_image(streamed, 0));
        assert_true(a.count == COUNT && b.count == COUNT && a.height == b.height && a.channels == b.channels);
        assert_memory_equal(a.mean, b.mean, sizeof a.mean); /* fewer than 512: all are taken */
        for (int i = 0; i < CLASSES; i++)
            assert_string_equal(ful_dataset_class_name(cached, i), ful_dataset_class_name(streamed, i));
        for (int train = 0; train < 2; train++) {
            const ful_loader_config l = loader_with(train, 2);
            assert_ok(read_epoch(cached, &l, 0, &one));
            assert_ok(read_epoch(streamed, &l, 0, &other));
            check_same(&one, &other, 0);
        }
        ful_dataset_destroy(&cached);
        ful_dataset_destroy(&streamed);
    }
}

static void everything(ful_loader_config *c)
{
    c->augment.rrc = true;
    c->augment.policy = FUL_POLICY_TRIVIAL;
    c->augment.erase_p = 0.3;
    c->augment.mixup = 0.5;
}

static void test_workers_and_resume(void **state)
{
    (void)state;
    const ful_data_config s = config_with(FUL_DECODE_STREAM);
    ful_dataset *set = open_ok(&s, FUL_SPLIT_TRAIN);
    for (int workers = 0; workers < 5; workers++) {
        ful_loader_config l = loader_with(true, workers);
        everything(&l);
        if (workers == 0) assert_ok(read_epoch(set, &l, 0, &one));
        for (int first = workers == 0; first <= EPOCH; first += 2) {
            assert_ok(read_epoch(set, &l, first, &other));
            check_same(&one, &other, first * BATCH);
        }
    }
    ful_dataset_destroy(&set);
}

/* Three images of the training split and all of one test batch are cut off; put back afterwards. */
static void damage(bool now)
{
    static const int which[] = {5,          20,         41,         COUNT + 8,  COUNT + 9, COUNT + 10,
                                COUNT + 11, COUNT + 12, COUNT + 13, COUNT + 14, COUNT + 15};
    char path[512];
    if (!now) {
        write_images();
        return;
    }
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        image_path(path, sizeof path, which[i] < COUNT ? "train" : "test", which[i] % COUNT);
        assert_int_equal(truncate(path, 300), 0);
    }
}

static void test_damaged(void **state)
{
    (void)state;
    damage(true);
    ful_data_config s = config_with(FUL_DECODE_STREAM);
    s.normalize_given = true;
    ful_dataset *train = open_ok(&s, FUL_SPLIT_TRAIN), *test = open_ok(&s, FUL_SPLIT_TEST);
    for (int workers = 0; workers < 4; workers++) {
        ful_loader_config l = loader_with(true, workers);
        l.batch = 6; /* no image is dropped at the end */
        assert_fails(read_epoch(train, &l, 0, &other), FUL_ERR_DATA, "cannot decode JPEG '");
        l.on_error = FUL_ON_ERROR_SKIP;
        log_catch();
        assert_ok(read_epoch(train, &l, 0, &other));
        assert_int_equal(other.n, COUNT);                      /* others stood in */
        assert_true(other.skipped >= 3 && other.skipped <= 6); /* one that stands in may be damaged itself */
        assert_true(log_warnings() >= 1 && log_warnings() <= 3);
        if (workers == 0) one = other;
        check_same(&one, &other, 0);
        assert_int_equal(one.skipped, other.skipped);
        for (int i = 0; i < COUNT; i++) assert_true(other.index[i] != 5 && other.index[i] != 20 && other.index[i] != 41);

        l = loader_with(false, workers);
        l.on_error = FUL_ON_ERROR_SKIP;
        assert_ok(read_epoch(test, &l, 0, &other));
        assert_int_equal(other.n, COUNT - 8); /* the second batch came out empty and was passed over */
        assert_int_equal(other.skipped, 8);
        for (int i = 0; i < other.n; i++) assert_int_equal(other.index[i], i < 8 ? i : i + 8);
    }
    ful_dataset_destroy(&train);
    ful_dataset_destroy(&test);
    s.normalize_given = false; /* its means are taken from what can be read, or not at all */
    assert_fails(ful_dataset_open(&s, FUL_SPLIT_TRAIN, &train), FUL_ERR_DATA, "cannot decode JPEG '");
    s.on_error = FUL_ON_ERROR_SKIP;
    train = open_ok(&s, FUL_SPLIT_TRAIN);
    ful_dataset_destroy(&train);
    damage(false);
}

/* Nothing can be read: an error, not an endless search. */
static void test_all_damaged(void **state)
{
    (void)state;
    char path[512];
    ful_data_config s = config_with(FUL_DECODE_STREAM);
    s.normalize_given = true;
    ful_dataset *set = open_ok(&s, FUL_SPLIT_TRAIN);
    for (int i = 0; i < COUNT; i++) {
        image_path(path, sizeof path, "train", i);
        write_file(path, "no image", 8);
    }
    ful_loader_config l = loader_with(true, 2);
    l.on_error = FUL_ON_ERROR_SKIP;
    assert_fails(read_epoch(set, &l, 0, &other), FUL_ERR_DATA, "cannot find another image after 17 damaged ones");
    ful_dataset_destroy(&set);
    write_images();
}

/* A file that nobody writes into blocks its reader, as a lost network share does. */
static void test_hang(void **state)
{
    (void)state;
    char path[512];
    ful_batch b;
    ful_loader *l = NULL;
    ful_data_config s = config_with(FUL_DECODE_STREAM);
    s.normalize_given = true;
    ful_dataset *set = open_ok(&s, FUL_SPLIT_TEST);
    image_path(path, sizeof path, "test", 9);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    ful_loader_config c = loader_with(false, 1);
    c.timeout = 1;
    assert_ok(ful_loader_create(set, &c, &l));
    assert_ok(ful_loader_start(l, 0, 0));
    assert_ok(ful_loader_next(l, &b));
    const ful_status status = ful_loader_next(l, &b);
    if (status == FUL_ERR_IO) {
        assert_fails(status, FUL_ERR_IO, "batch 1 after 1 s (data.timeout): a loader thread hangs in '");
        assert_non_null(strstr(ful_error_message(), "009.jpg"));
        const int fd = open(path, O_WRONLY | O_NONBLOCK); /* lets it go on, so that it can be waited for */
        assert_true(fd >= 0);
        close(fd);
    } else {
        assert_fails(status, FUL_ERR_DATA, "009.jpg"); /* a store may refuse what is no file at once */
    }
    ful_loader_destroy(&l);
    ful_dataset_destroy(&set);
    assert_int_equal(unlink(path), 0);
    write_images();
}

static void test_refused(void **state)
{
    (void)state;
    ful_dataset *set = NULL;
    ful_data_config s = config_with(FUL_DECODE_STREAM);
    s.size = 0;
    s.normalize_given = true;
    set = open_ok(&s, FUL_SPLIT_TRAIN);
    ful_loader_config l = loader_with(true, 1);
    assert_fails(read_epoch(set, &l, 0, &other), FUL_ERR_DATA, "all must be of one size, or data.size must be given");
    assert_fails(ful_dataset_pack(set, temp_path(&place, "x.pack")), FUL_ERR_ARG, "data.decode=cache");
    ful_dataset_destroy(&set);
    const tiny grey = {.classes = 2, .per_class = 2, .h = 8, .w = 8, .channels = 1};
    assert_ok(ful__mkdirs(temp_path(&place, "idx")));
    tiny_idx(&grey, temp_path(&place, "idx"), "train", false);
    ful_data_config m = config_of("mnist", temp_path(&place, "idx"), cache);
    m.decode = FUL_DECODE_STREAM;
    assert_fails(ful_dataset_open(&m, FUL_SPLIT_TRAIN, &set), FUL_ERR_CONFIG, "cannot use data.decode=stream");
}

static ful_status life(void *ctx)
{
    (void)ctx;
    const ful_data_config s = config_with(FUL_DECODE_STREAM);
    ful_loader_config l = loader_with(true, 2);
    everything(&l);
    ful_dataset *set = NULL;
    ful_status status = ful_dataset_open(&s, FUL_SPLIT_TRAIN, &set);
    if (status == FUL_OK) status = read_epoch(set, &l, 0, &other);
    ful_dataset_destroy(&set);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, life, NULL);
    test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, life, NULL);
    test_each_failure(FUL__FAULT_THREAD, FUL_ERR_MEMORY, life, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_cache), cmocka_unit_test(test_workers_and_resume),
        cmocka_unit_test(test_damaged),    cmocka_unit_test(test_all_damaged),
        cmocka_unit_test(test_hang),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
