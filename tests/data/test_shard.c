/* SPDX-License-Identifier: Apache-2.0 */
/* Shards: what goes in comes out, a killed pack goes on, and no damaged byte, cut or false number gets past the reader. */
#include <fcntl.h>
#include <sys/stat.h>

#include "core/file.h"
#include "data/fresh.h"
#include "data/shard.h"
#include "data/store.h"
#include "support/fault.h"

static const tiny set = {.classes = 3, .per_class = 8, .h = 20, .w = 31, .channels = 3};
enum { COUNT = 24 };

static ful_status pack_with(const ful_data_config *c, const char *out, uint64_t bytes, bool decode, ful_pack_report *r)
{
    bool found = false;
    ful_pack_options options;
    ful_pack_options_defaults(&options);
    options.shard_bytes = bytes;
    options.decode = decode;
    const ful_status status = ful_data_pack(c, FUL_SPLIT_TRAIN, out, &options, &found, r);
    if (status == FUL_OK) assert_true(found);
    return status;
}

static void check_pack(const char *out, const tiny *s)
{
    const ful_data_config c = config_of("pack", out, temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    check_tiny(d, s);
    for (int i = 0; i < s->classes; i++) assert_string_equal(ful_dataset_class_name(d, i), tiny_class(i));
    ful_dataset_destroy(&d);
}

static void test_round_trip(void **state)
{
    (void)state;
    ful_pack_report r;
    tiny_folder(&set, temp_path(&t, "f"));
    tiny_tar(&set, temp_path(&t, "f.tar.gz"), true, "x/");
    const char *paths[] = {"f", "f.tar.gz"};
    for (int i = 0; i < 2; i++) {
        const ful_data_config c = config_of("folder", temp_path(&t, "%s", paths[i]), temp_path(&t, "cache"));
        for (int decode = 0; decode < 2; decode++) {
            char out[600];
            snprintf(out, sizeof out, "%s", temp_path(&t, "deep/er/out%d%d", i, decode));
            assert_ok(pack_with(&c, out, 1024, decode, &r));
            assert_int_equal(r.images, COUNT);
            assert_true(r.shards >= 2 && r.shards == count_files(out, ".shard"));
            assert_int_equal(r.kept, 0);
            assert_true(r.bytes > 1024);
            check_pack(out, &set);
            assert_ok(pack_with(&c, out, 1024, decode, &r)); /* again: nothing to do */
            assert_int_equal(r.kept, r.shards);
            assert_int_equal(r.images, COUNT);
        }
    }
    /* One shard; sets that come decoded are written as they are. */
    const ful_data_config c = config_of("folder", temp_path(&t, "f"), temp_path(&t, "cache"));
    assert_ok(pack_with(&c, temp_path(&t, "one"), 1ull << 30, false, &r));
    assert_int_equal(r.shards, 1);
    ful_data_config g = config_of("clusters", "", "");
    g.gen_train = 50;
    assert_ok(pack_with(&g, temp_path(&t, "clusters"), 100000, false, &r));
    const ful_data_config p = config_of("pack", temp_path(&t, "clusters"), temp_path(&t, "cache"));
    ful_dataset *a = open_ok(&g, FUL_SPLIT_TRAIN), *b = open_ok(&p, FUL_SPLIT_TRAIN);
    ful_dataset_info x, y;
    ful_dataset_info_get(a, &x);
    ful_dataset_info_get(b, &y);
    assert_int_equal(x.fingerprint, y.fingerprint);
    ful_dataset_destroy(&a);
    ful_dataset_destroy(&b);
}

static void check_store(const char *out, int count)
{
    const ful_data_config c = config_of("pack", out, "");
    ful__source source;
    ful__store *s = NULL;
    bool found = false;
    ful__store_buffer buffer = {0};
    blob png = {0};
    assert_ok(ful__source_find(&c, FUL_SPLIT_TRAIN, &found, &source));
    assert_true(found && ful__source_has_store(&source));
    assert_ok(ful__store_open(&source, &s));
    ful__source_deinit(&source);
    assert_int_equal(ful__store_count(s), count);
    for (int n = 0; n < count; n++) {
        const uint8_t *bytes;
        size_t size;
        tiny_png(&set, n, &png);
        assert_ok(ful__store_read(s, n, &buffer, &bytes, &size));
        assert_int_equal(size, png.n);
        assert_memory_equal(bytes, png.data, size);
        assert_null(buffer.data); /* mapped, not copied */
        assert_int_equal(ful__store_label(s, n), n / set.per_class);
    }
    ful__store_close(&s);
    blob_free(&png);
}

static void test_store_and_index(void **state)
{
    (void)state;
    ful_pack_report r;
    ful__shard s;
    tiny_folder(&set, temp_path(&t, "f"));
    const ful_data_config c = config_of("folder", temp_path(&t, "f"), "");
    assert_ok(pack_with(&c, temp_path(&t, "out"), 1024, false, &r));
    check_store(temp_path(&t, "out"), COUNT);
    assert_ok(ful__shard_open(temp_path(&t, "out/train-00000.shard"), &s));
    assert_int_equal(s.index[0].offset, 64);
    assert_int_equal(s.index[1].offset % 8, 0);
    assert_int_equal(s.index[0].height, set.h);
    assert_int_equal(s.index[0].width, set.w);
    assert_string_equal(s.names + s.index[2].name, "ant/0002.png");
    assert_int_equal(s.tail.total, COUNT);
    assert_int_equal(s.tail.flags, 0);
    ful__shard_close(&s);
}

/* ---- going on ---- */

static void stamp_of(const char *path, struct stat *info)
{
    assert_int_equal(stat(path, info), 0);
}

static void test_resume(void **state)
{
    (void)state;
    ful_pack_report r;
    struct stat before, after;
    char out[600];
    tiny_folder(&set, temp_path(&t, "f"));
    snprintf(out, sizeof out, "%s", temp_path(&t, "out"));
    const ful_data_config c = config_of("folder", temp_path(&t, "f"), temp_path(&t, "cache"));
    assert_ok(pack_with(&c, out, 1024, false, &r));
    const int shards = r.shards;
    assert_true(shards >= 3);
    /* Killed in the second shard: the first stays as it is; what a dead writer left is removed, a living one's is not. */
    stamp_of(temp_path(&t, "out/train-00000.shard"), &before);
    for (int i = 1; i < shards; i++) assert_int_equal(unlink(temp_path(&t, "out/train-%05d.shard", i)), 0);
    write_file(temp_path(&t, "out/train-00001.shard.tmp-4194399"), "half", 4);
    write_file(temp_path(&t, "out/train-00001.shard.tmp-%d", (int)getppid()), "half", 4);
    const ful_data_config p = config_of("pack", out, temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&p, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "others must follow it, the set is not complete");
    assert_ok(pack_with(&c, out, 1024, false, &r));
    assert_int_equal(r.kept, 1);
    assert_int_equal(r.shards, shards);
    stamp_of(temp_path(&t, "out/train-00000.shard"), &after);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_true(access(temp_path(&t, "out/train-00001.shard.tmp-4194399"), F_OK) != 0);
    assert_int_equal(access(temp_path(&t, "out/train-00001.shard.tmp-%d", (int)getppid()), F_OK), 0);
    check_pack(out, &set);
    /* A damaged shard is written again. */
    const int fd = open(temp_path(&t, "out/train-00001.shard"), O_WRONLY);
    assert_true(fd >= 0 && pwrite(fd, "XXXX", 4, 100) == 4);
    close(fd);
    log_catch();
    assert_ok(pack_with(&c, out, 1024, false, &r));
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "train-00001.shard' is damaged"));
    check_pack(out, &set);
    /* Another set, or another size of shards, is not mixed in. */
    assert_fails(pack_with(&c, out, 1500, false, &r), FUL_ERR_DATA, "a shard of another set");
    write_file(temp_path(&t, "f/ant/0000.png"), "changed", 7);
    assert_fails(pack_with(&c, out, 1024, false, &r), FUL_ERR_DATA, "a shard of another set");
    log_catch();
}

static void test_damaged_images(void **state)
{
    (void)state;
    ful_pack_report r;
    tiny_folder(&set, temp_path(&t, "f"));
    ful_data_config c = config_of("folder", temp_path(&t, "f"), temp_path(&t, "cache"));
    write_file(temp_path(&t, "f/ant/0000.png"), "GIF89a", 6);
    write_file(temp_path(&t, "f/cow/0023.png"), "", 0); /* the very last */
    assert_fails(pack_with(&c, temp_path(&t, "out"), 1024, false, &r), FUL_ERR_DATA, "ant/0000.png' that begins with");
    c.on_error = FUL_ON_ERROR_SKIP;
    log_catch();
    assert_ok(pack_with(&c, temp_path(&t, "out"), 1024, false, &r));
    assert_int_equal(r.skipped, 2);
    assert_int_equal(r.images, COUNT - 2);
    const ful_data_config p = config_of("pack", temp_path(&t, "out"), temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&p, FUL_SPLIT_TRAIN);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, COUNT - 2);
    ful_dataset_destroy(&d);
    log_catch();
}

/* Another split has the training split's class numbers, also where it lacks classes. */
static void test_splits(void **state)
{
    (void)state;
    const tiny one = {.classes = 1, .per_class = 2, .h = 20, .w = 31, .channels = 3, .base = 50};
    char out[600];
    ful_pack_report r;
    bool found = false;
    ful_pack_options options;
    ful_pack_options_defaults(&options);
    make_folder(temp_path(&t, "s"));
    tiny_folder(&set, temp_path(&t, "s/train"));
    tiny_folder(&one, temp_path(&t, "s/val"));
    assert_int_equal(rename(temp_path(&t, "s/val/ant"), temp_path(&t, "s/val/cow")), 0);
    snprintf(out, sizeof out, "%s", temp_path(&t, "out"));
    const ful_data_config c = config_of("folder", temp_path(&t, "s"), temp_path(&t, "cache"));
    for (int split = 0; split < 3; split++) {
        assert_ok(ful_data_pack(&c, (ful_split)split, out, &options, &found, &r));
        assert_int_equal(found, split != FUL_SPLIT_VAL);
    }
    const ful_data_config p = config_of("pack", out, temp_path(&t, "cache"));
    ful_dataset *d = open_ok(&p, FUL_SPLIT_TEST);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, 2);
    assert_int_equal(info.classes, 3);
    assert_int_equal(ful_dataset_label(d, 1), 2);
    ful_dataset_destroy(&d);
}

/* ---- hostile bytes ---- */

/* A shard of three tiny records in memory. */
static void make_shard(blob *out)
{
    static const char *const classes[] = {"a", "b\xc3\xa4"};
    const ful__shard_head head = {.key = 7, .number = 0, .split = 0};
    const ful__shard_tail tail = {.next = 3, .total = 3, .flags = FUL__SHARD_LAST};
    const ful__shard_entry entry = {.label = 1, .height = 2, .width = 3};
    ful__shard_writer w;
    char *bytes = NULL;
    size_t n = 0;
    assert_ok(ful__shard_begin(&w, temp_path(&t, "x.shard"), &head));
    for (int i = 0; i < 3; i++) assert_ok(ful__shard_add(&w, &entry, "name", "0123456789", 7 + (size_t)i));
    assert_ok(ful__shard_finish(&w, &tail, classes, 2));
    ful__shard_abort(&w);
    assert_ok(ful__file_read(temp_path(&t, "x.shard"), 1 << 20, &bytes, &n));
    blob_add(out, bytes, n);
    ful__free(bytes);
}

static bool is_refused(const uint8_t *bytes, size_t n)
{
    ful__shard s;
    void *copy = NULL; /* exactly as large: reads behind the end are seen by the sanitizer */
    if (posix_memalign(&copy, 64, n ? n : 1) != 0) return false;
    memcpy(copy, bytes, n);
    bool refused = ful__shard_parse("x", copy, n, &s) != FUL_OK;
    if (refused) assert_non_null(strstr(ful_error_message(), "cannot read shard 'x'"));
    for (uint64_t i = 0; !refused && i < s.tail.count; i++) refused = !ful__shard_record_is_whole(&s, (int64_t)i);
    free(copy);
    return refused;
}

static void test_every_byte(void **state)
{
    (void)state;
    blob b = {0};
    make_shard(&b);
    assert_false(is_refused(b.data, b.n));
    for (size_t n = 0; n < b.n; n++) assert_true(is_refused(b.data, n));
    int unseen = 0;
    for (size_t i = 0; i < b.n; i++) {
        b.data[i] ^= 0x10;
        unseen += !is_refused(b.data, b.n);
        b.data[i] ^= 0x10;
    }
    assert_true(unseen <= 64 + 16); /* only the zeros between records, which mean nothing */
    blob_free(&b);
}

/* False numbers under good checksums. */
static void resign(blob *b)
{
    ful__shard_head h;
    ful__shard_tail tail;
    memcpy(&h, b->data, sizeof h);
    memcpy(&tail, b->data + b->n - sizeof tail, sizeof tail);
    h.checksum = ful__hash64(&h, offsetof(ful__shard_head, checksum), 0);
    if (tail.index_at <= b->n - sizeof tail)
        tail.index_checksum = ful__hash64(b->data + tail.index_at, b->n - sizeof tail - tail.index_at, 0);
    tail.checksum = ful__hash64(&tail, offsetof(ful__shard_tail, checksum), 0);
    memcpy(b->data, &h, sizeof h);
    memcpy(b->data + b->n - sizeof tail, &tail, sizeof tail);
}

static void test_false_numbers(void **state)
{
    (void)state;
    blob b = {0};
    make_shard(&b);
    const size_t tail = b.n - sizeof(ful__shard_tail);
    uint64_t index_at;
    memcpy(&index_at, b.data + tail + offsetof(ful__shard_tail, index_at), 8);
    const struct {
        size_t at;
        int bytes;
        uint64_t value;
    } cases[] = {
        {8, 4, 2},
        {12, 4, 0x04030201},
        {offsetof(ful__shard_head, split), 4, 3},
        {offsetof(ful__shard_head, first), 8, 1},
        {tail + offsetof(ful__shard_tail, count), 8, 4},
        {tail + offsetof(ful__shard_tail, count), 8, UINT64_MAX},
        {tail + offsetof(ful__shard_tail, classes), 8, 0},
        {tail + offsetof(ful__shard_tail, classes), 8, 3},
        {tail + offsetof(ful__shard_tail, classes), 8, 1ull << 40},
        {tail + offsetof(ful__shard_tail, index_at), 8, 0},
        {tail + offsetof(ful__shard_tail, index_at), 8, index_at + 8},
        {tail + offsetof(ful__shard_tail, index_at), 8, UINT64_MAX - 63},
        {tail + offsetof(ful__shard_tail, name_bytes), 8, 1},
        {tail + offsetof(ful__shard_tail, name_bytes), 8, UINT64_MAX},
        {tail + offsetof(ful__shard_tail, class_bytes), 8, UINT64_MAX},
        {tail + offsetof(ful__shard_tail, next), 8, 2},
        {tail + offsetof(ful__shard_tail, total), 8, 2},
        {index_at + offsetof(ful__shard_entry, offset), 8, 0},
        {index_at + offsetof(ful__shard_entry, offset), 8, index_at},
        {index_at + offsetof(ful__shard_entry, offset), 8, UINT64_MAX},
        {index_at + offsetof(ful__shard_entry, bytes), 4, 0},
        {index_at + offsetof(ful__shard_entry, bytes), 4, UINT32_MAX},
        {index_at + offsetof(ful__shard_entry, label), 4, 2},
        {index_at + offsetof(ful__shard_entry, name), 4, 15},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        blob bad = {0};
        blob_add(&bad, b.data, b.n);
        memcpy(bad.data + cases[i].at, &cases[i].value, (size_t)cases[i].bytes);
        resign(&bad);
        if (!is_refused(bad.data, bad.n)) fail_msg("case %zu was accepted", i);
        blob_free(&bad);
    }
    blob_free(&b);
}

/* Shards of two sets, out of order, or one missing. */
static void test_wrong_company(void **state)
{
    (void)state;
    ful_pack_report r;
    ful_dataset *d = NULL;
    tiny_folder(&set, temp_path(&t, "f"));
    const tiny other = {.classes = 3, .per_class = 8, .h = 20, .w = 31, .channels = 3, .base = 30};
    tiny_folder(&other, temp_path(&t, "g"));
    const ful_data_config f = config_of("folder", temp_path(&t, "f"), ""), g = config_of("folder", temp_path(&t, "g"), "");
    assert_ok(pack_with(&f, temp_path(&t, "a"), 1024, false, &r));
    assert_ok(pack_with(&g, temp_path(&t, "b"), 1024, false, &r));
    const ful_data_config c = config_of("pack", temp_path(&t, "a"), temp_path(&t, "cache"));
    assert_int_equal(rename(temp_path(&t, "b/train-00001.shard"), temp_path(&t, "a/train-00001.shard")), 0);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "train-00001.shard': it belongs to another set");
    assert_int_equal(rename(temp_path(&t, "a/train-00002.shard"), temp_path(&t, "a/train-00001.shard")), 0);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "number 1 with image");
}

/* ---- faults ---- */

static ful_status attempt(void *ctx)
{
    ful_pack_report r;
    return pack_with(ctx, temp_path(&t, "out"), 1024, false, &r);
}

static ful_status attempt_fresh(void *ctx)
{
    for (int i = 0; i < 10; i++) (void)!unlink(temp_path(&t, "out/train-%05d.shard", i));
    return attempt(ctx);
}

static void test_faults(void **state)
{
    (void)state;
    ful_data_config c = config_of("folder", temp_path(&t, "f"), "");
    const tiny small = {.classes = 2, .per_class = 4, .h = 20, .w = 20, .channels = 3};
    tiny_folder(&small, temp_path(&t, "f"));
    test_each_failure(FUL__FAULT_WRITE, FUL_ERR_IO, attempt_fresh, &c);
    assert_int_equal(count_files(temp_path(&t, "out"), ""),
                     2 + count_files(temp_path(&t, "out"), ".shard")); /* . and .., nothing half */
    test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, attempt_fresh, &c);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, attempt_fresh, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store_and_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resume, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_images, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_splits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_false_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_company, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
