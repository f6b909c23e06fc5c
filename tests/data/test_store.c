/* SPDX-License-Identifier: Apache-2.0 */
/* The index of encoded images: what lies in folders and archives comes back byte for byte, in one order, and nothing else. */
#include <archive_entry.h>
#include <unistd.h>

#include "core/parallel.h"
#include "data/fresh.h"
#include "data/store.h"
#include "support/fault.h"
#include <fulcrum/core.h>

enum { CLASSES = 3, EACH = 4, COUNT = CLASSES * EACH };

/* The bytes that stand for image n: no image, its length and content tell which. Number 5 is larger than any read buffer. */
static size_t bytes_of(int n, uint8_t *out)
{
    const size_t size = n == 5 ? 100000 : 600u + 37u * (unsigned)n;
    for (size_t i = 0; i < size; i++) out[i] = (uint8_t)(i * 7 + (size_t)n * 31 + (i >> 8));
    return size;
}

static void add_to_tar(tar_out *tar, const char *prefix, int n)
{
    static uint8_t bytes[100000];
    char name[600];
    snprintf(name, sizeof name, "%s%s/%04d.jpg", prefix, tiny_class(n / EACH), n);
    tar_file(tar, name, bytes, bytes_of(n, bytes));
}

/* Backwards, so that the order of the archive is not that of the names. */
static void make_tar(const char *path, tar_format format, const char *prefix)
{
    tar_out tar;
    tar_begin_as(&tar, format);
    for (int n = COUNT - 1; n >= 0; n--) add_to_tar(&tar, prefix, n);
    tar_save(&tar, path, false);
}

static void make_tar_of_tars(const char *path, const char *prefix)
{
    static uint8_t bytes[100000];
    tar_out outer;
    tar_begin(&outer);
    for (int c = CLASSES - 1; c >= 0; c--) {
        tar_out inner;
        char name[64];
        tar_begin(&inner);
        for (int n = c * EACH; n < (c + 1) * EACH; n++) {
            snprintf(name, sizeof name, "%04d.jpg", n);
            tar_file(&inner, name, bytes, bytes_of(n, bytes));
        }
        tar_end(&inner);
        snprintf(name, sizeof name, "%s%s.tar", prefix, tiny_class(c));
        tar_file(&outer, name, inner.bytes.data, inner.bytes.n);
        blob_free(&inner.bytes);
    }
    tar_save(&outer, path, false);
}

static void make_class_folders(const char *folder)
{
    static uint8_t bytes[100000];
    make_folder(folder);
    for (int n = COUNT - 1; n >= 0; n--) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, tiny_class(n / EACH));
        make_folder(path);
        snprintf(path, sizeof path, "%s/%s/%04d.jpg", folder, tiny_class(n / EACH), n);
        write_file(path, bytes, bytes_of(n, bytes));
    }
}

static ful_status open_store(const char *path, ful__store **out)
{
    ful__source source;
    bool found = false;
    const ful_data_config c = config_of("folder", path, temp_path(&t, "cache"));
    *out = NULL;
    ful_status status = ful__source_find(&c, FUL_SPLIT_TRAIN, &found, &source);
    if (status != FUL_OK) return status;
    assert_true(found);
    status = ful__store_open(&source, out);
    ful__source_deinit(&source);
    return status;
}

static void check_image(const ful__store *s, int64_t i, int n, ful__store_buffer *buffer)
{
    static uint8_t wanted[100000];
    const uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(ful__store_read(s, i, buffer, &bytes, &size));
    assert_int_equal(size, bytes_of(n, wanted));
    assert_memory_equal(bytes, wanted, size);
}

/* All images in order; `name_end` follows the path in the name of image 7. */
static void check_store(const char *path, const char *name_end)
{
    ful__store *s = NULL;
    ful__store_buffer buffer = {0};
    char name[FUL__STORE_NAME_MAX], wanted[FUL__STORE_NAME_MAX];
    assert_ok(open_store(path, &s));
    assert_int_equal(ful__store_count(s), COUNT);
    assert_int_equal(ful__store_classes(s), CLASSES);
    for (int c = 0; c < CLASSES; c++) assert_string_equal(ful__store_class_name(s, c), tiny_class(c));
    for (int n = 0; n < COUNT; n++) {
        assert_int_equal(ful__store_label(s, n), n / EACH);
        assert_int_equal(ful__store_labels(s)[n], n / EACH);
        check_image(s, n, n, &buffer);
    }
    for (int n = COUNT - 1; n >= 0; n -= 5) check_image(s, n, n, &buffer); /* in any order */
    snprintf(wanted, sizeof wanted, "%s%s", path, name_end);
    assert_string_equal(ful__store_name(s, 7, name), wanted);
    ful__store_buffer_deinit(&buffer);
    ful__store_close(&s);
    assert_null(s);
}

static void test_places(void **state)
{
    (void)state;
    make_class_folders(temp_path(&t, "plain"));
    check_store(temp_path(&t, "plain"), "/bee/0007.jpg");
    make_tar(temp_path(&t, "a.tar"), TAR_USTAR, "");
    check_store(temp_path(&t, "a.tar"), ": bee/0007.jpg");
    make_tar(temp_path(&t, "b.tar"), TAR_USTAR, "./top//train/");
    check_store(temp_path(&t, "b.tar"), ": top/train/bee/0007.jpg");
    make_tar_of_tars(temp_path(&t, "c.tar"), "");
    check_store(temp_path(&t, "c.tar"), ": bee.tar/0007.jpg");
    make_tar_of_tars(temp_path(&t, "d.tar"), "x/");
    check_store(temp_path(&t, "d.tar"), ": x/bee.tar/0007.jpg");
}

/* Names that do not fit a header: split at a '/' (ustar), in a member of their own (GNU, pax). */
static void test_long_names(void **state)
{
    (void)state;
    char prefix[512], end[600];
    static const struct {
        tar_format format;
        int length;
    } cases[] = {{TAR_USTAR, 90}, {TAR_USTAR, 130}, {TAR_GNU, 84},  {TAR_GNU, 88},
                 {TAR_GNU, 300},  {TAR_PAX, 88},    {TAR_PAX, 130}, {TAR_PAX, 300}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = temp_path(&t, "long%zu.tar", i);
        memset(prefix, 'p', sizeof prefix);
        for (int k = 50; k < cases[i].length; k += 50) prefix[k] = '/';
        snprintf(prefix + cases[i].length, 2, "/");
        snprintf(end, sizeof end, ": %sbee/0007.jpg", prefix);
        make_tar(path, cases[i].format, prefix);
        check_store(path, end);
    }
}

static void test_strays(void **state)
{
    (void)state;
    tar_out tar;
    tar_begin(&tar);
    tar_other(&tar, "ant", AE_IFDIR, NULL);
    tar_file(&tar, "ant/._0.jpg", "junk", 4);
    tar_file(&tar, "readme.txt", "junk", 4);
    tar_file(&tar, ".hidden.tar", "junk", 4);
    for (int n = 0; n < COUNT; n++) add_to_tar(&tar, "", n);
    tar_other(&tar, "ant/link.jpg", AE_IFLNK, "0000.jpg");
    tar_save(&tar, temp_path(&t, "s.tar"), false);
    log_catch();
    check_store(temp_path(&t, "s.tar"), ": bee/0007.jpg");
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "1 linked images were left out"));
}

static void test_refused(void **state)
{
    (void)state;
    ful__store *s = NULL;
    make_tar(temp_path(&t, "good.tar"), TAR_USTAR, "");
    tar_out tar;
    tar_begin(&tar);
    add_to_tar(&tar, "", 0);
    tar_end(&tar);
    blob_gzip(&tar.bytes);
    write_file(temp_path(&t, "z.tar"), tar.bytes.data, tar.bytes.n); /* compressed, whatever it is called */
    blob_free(&tar.bytes);
    assert_fails(open_store(temp_path(&t, "z.tar"), &s), FUL_ERR_DATA, "z.tar' one by one: a compressed archive");
    tar_begin(&tar);
    tar_file(&tar, "notes.txt", "junk", 4);
    tar_save(&tar, temp_path(&t, "none.tar"), false);
    assert_fails(open_store(temp_path(&t, "none.tar"), &s), FUL_ERR_DATA, "none.tar': it holds no images");
    tar_begin(&tar);
    add_to_tar(&tar, "train/", 0);
    add_to_tar(&tar, "val/", 0);
    tar_save(&tar, temp_path(&t, "two.tar"), false);
    assert_fails(open_store(temp_path(&t, "two.tar"), &s), FUL_ERR_DATA,
                 "images lie in 'train/<class>/' and in 'val/<class>/'");
    tar_begin(&tar);
    tar_file(&tar, "ant.tar", "this is no archive, and it has no block of zeros", 48);
    tar_save(&tar, temp_path(&t, "inner.tar"), false);
    assert_fails(open_store(temp_path(&t, "inner.tar"), &s), FUL_ERR_FORMAT,
                 "inner archive 'ant.tar': cannot read tar archive");
    tar_begin(&tar);
    tar_file(&tar, "a.jpg", "x", 1);
    tar_save(&tar, temp_path(&t, "flat.tar"), false);
    assert_fails(open_store(temp_path(&t, "flat.tar"), &s), FUL_ERR_DATA, "it lies in no folder that would name its class");
    assert_null(s);
}

/* An archive cut at any multiple of 100 bytes is refused, up to the mark of its end. */
static void test_cut(void **state)
{
    (void)state;
    ful__store *s = NULL;
    char path[600]; /* outlives temp_path's buffers */
    snprintf(path, sizeof path, "%s", temp_path(&t, "cut.tar"));
    static uint8_t bytes[700];
    tar_out tar;
    tar_begin(&tar);
    for (int n = 0; n < 3; n++) {
        char name[32];
        snprintf(name, sizeof name, "ant/%d.jpg", n);
        tar_file(&tar, name, bytes, sizeof bytes);
    }
    tar_end(&tar);
    const size_t marked = 3 * (512 + 1024) + 512;
    for (size_t n = 0; n < marked; n += 100) {
        write_file(path, tar.bytes.data, n);
        assert_fails(open_store(path, &s), FUL_ERR_FORMAT, "cut.tar");
    }
    write_file(path, tar.bytes.data, marked);
    assert_ok(open_store(path, &s));
    ful__store_close(&s);
    blob_free(&tar.bytes);
}

/* What changes after the index was made is noticed at the image it happens to. */
static void test_changed(void **state)
{
    (void)state;
    ful__store *s = NULL;
    ful__store_buffer buffer = {0};
    const uint8_t *bytes;
    size_t n;
    make_class_folders(temp_path(&t, "ch"));
    assert_ok(open_store(temp_path(&t, "ch"), &s));
    write_file(temp_path(&t, "ch/bee/0005.jpg"), "", 0);
    assert_int_equal(unlink(temp_path(&t, "ch/bee/0006.jpg")), 0);
    check_image(s, 4, 4, &buffer);
    assert_fails(ful__store_read(s, 5, &buffer, &bytes, &n), FUL_ERR_DATA, "bee/0005.jpg': the file is empty");
    assert_fails(ful__store_read(s, 6, &buffer, &bytes, &n), FUL_ERR_IO, "bee/0006.jpg': No such file");
    assert_null(bytes);
    check_image(s, 7, 7, &buffer);
    ful__store_close(&s);

    const char *path = temp_path(&t, "ch.tar");
    make_tar(path, TAR_USTAR, "");
    assert_ok(open_store(path, &s));
    assert_int_equal(truncate(path, 512 + 600), 0);
    assert_fails(ful__store_read(s, 11, &buffer, &bytes, &n), FUL_ERR_FORMAT,
                 "ch.tar: cow/0011.jpg': it ends after 600 of 1007 bytes");
    assert_fails(ful__store_read(s, 0, &buffer, &bytes, &n), FUL_ERR_FORMAT,
                 "ch.tar: ant/0000.jpg': it ends after 0 of 600 bytes");
    ful__store_buffer_deinit(&buffer);
    ful__store_close(&s);
}

typedef struct reads {
    const ful__store *store;
    ful__store_buffer buffer[64];
    int wrong[64];
} reads;

static void read_chunk(void *ctx, int64_t chunk, int thread)
{
    reads *r = ctx;
    (void)thread;
    uint8_t *wanted = malloc(100000);
    for (int k = 0; k < 200; k++) {
        const int n = (int)((chunk * 5 + k * 7) % COUNT);
        const uint8_t *bytes = NULL;
        size_t size = 0, want = bytes_of(n, wanted);
        if (ful__store_read(r->store, n, &r->buffer[chunk], &bytes, &size) != FUL_OK || size != want ||
            memcmp(bytes, wanted, size) != 0)
            r->wrong[chunk]++;
    }
    free(wanted);
}

static void test_threads(void **state)
{
    (void)state;
    static reads r;
    ful__store *s = NULL;
    make_tar(temp_path(&t, "t.tar"), TAR_USTAR, "");
    assert_ok(open_store(temp_path(&t, "t.tar"), &s));
    r.store = s;
    assert_ok(ful_threads_set(4));
    ful__parallel_for(16, read_chunk, &r);
    for (int c = 0; c < 16; c++) {
        assert_int_equal(r.wrong[c], 0);
        ful__store_buffer_deinit(&r.buffer[c]);
    }
    ful__store_close(&s);
}

static void test_number_like(void **state)
{
    (void)state;
    static const char *const train[] = {"aaa", "cow", "ant", "zebra", "bee"}, *const other[] = {"ant", "bee", "cat"};
    static const int wanted[CLASSES] = {2, 4, 1};
    ful__store *s = NULL;
    make_class_folders(temp_path(&t, "nl"));
    assert_ok(open_store(temp_path(&t, "nl"), &s));
    assert_fails(ful__store_number_like(s, other, 3), FUL_ERR_DATA, "its class 'cow' is not in the training split");
    assert_int_equal(ful__store_classes(s), CLASSES);
    assert_ok(ful__store_number_like(s, train, 5));
    assert_int_equal(ful__store_classes(s), 5);
    for (int c = 0; c < 5; c++) assert_string_equal(ful__store_class_name(s, c), train[c]);
    for (int n = 0; n < COUNT; n++) assert_int_equal(ful__store_label(s, n), wanted[n / EACH]);
    ful__store_close(&s);
}

static ful_status attempt(void *ctx)
{
    ful__store *s = NULL;
    ful__store_buffer buffer = {0};
    ful_status status = open_store(ctx, &s);
    for (int n = 0; status == FUL_OK && n < COUNT; n++) {
        const uint8_t *bytes;
        size_t size;
        status = ful__store_read(s, n, &buffer, &bytes, &size);
    }
    ful__store_buffer_deinit(&buffer);
    ful__store_close(&s);
    return status;
}

static void test_faults(void **state)
{
    (void)state;
    static const char *const paths[] = {"fa", "fa.tar", "fb.tar"};
    make_class_folders(temp_path(&t, "fa"));
    make_tar(temp_path(&t, "fa.tar"), TAR_GNU, "");
    make_tar_of_tars(temp_path(&t, "fb.tar"), "");
    for (int i = 0; i < 3; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s", temp_path(&t, "%s", paths[i]));
        test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, attempt, path);
        test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, attempt, path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_number_like, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
