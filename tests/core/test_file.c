/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, mapping and the atomic writer: after any failure the old file is whole and no temporary file is left. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "support/fault.h"
#include "support/test.h"

static char folder[] = "/tmp/fulcrum-test-XXXXXX";
static char path[200];

static const char *in_folder(const char *name)
{
    static char text[200];
    snprintf(text, sizeof text, "%s/%s", folder, name);
    return text;
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/target", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int count_temps(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));) n += strstr(e->d_name, ".tmp-") != NULL;
    closedir(dir);
    return n;
}

static void expect_content(const char *file, const char *content)
{
    char *text = NULL;
    size_t bytes = 0;
    assert_ok(ful__file_read(file, 1u << 24, &text, &bytes));
    assert_int_equal(bytes, strlen(content));
    assert_string_equal(text, content);
    ful__free(text);
}

static void write_and_read(void **state)
{
    (void)state;
    assert_ok(ful__file_write(path, "first", 5));
    expect_content(path, "first");
    assert_ok(ful__file_write(path, "", 0));
    expect_content(path, "");
    assert_ok(ful__file_write(path, "second", 6));
    expect_content(path, "second");
    assert_int_equal(count_temps(), 0);
}

/* Pieces around the buffer's size, in one file; the sum of what was written comes back. */
static void pieces_of_every_size(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 0, (1u << 20) - 1, 1, 1u << 20, (1u << 20) + 1, 7, 3u << 20, 5};
    unsigned char *data = malloc(4u << 20);
    for (size_t i = 0; i < 4u << 20; i++) data[i] = (unsigned char)(i * 31 + i / 257);
    ful__writer w;
    size_t total = 0;
    assert_ok(ful__writer_create(&w, path));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_ok(ful__writer_write(&w, data + i, sizes[i]));
        total += sizes[i];
        assert_int_equal(w.bytes, total);
    }
    assert_ok(ful__writer_commit(&w));
    ful__writer_abort(&w);
    ful__map map;
    assert_ok(ful__map_open(&map, path));
    assert_int_equal(map.bytes, total);
    for (size_t i = 0, at = 0; i < sizeof sizes / sizeof *sizes; at += sizes[i++])
        assert_memory_equal(map.ptr + at, data + i, sizes[i]);
    assert_true(ful__hash64(map.ptr, map.bytes, 0) != ful__hash64(map.ptr, map.bytes, 1));
    ful__map_close(&map);
    ful__map_close(&map);
    free(data);
}

static void abort_leaves_the_old_file(void **state)
{
    (void)state;
    ful__writer w = {0}, second = {0};
    ful__writer_abort(&w);
    assert_ok(ful__file_write(path, "old", 3));
    assert_ok(ful__writer_create(&w, path));
    assert_ok(ful__writer_create(&second, path)); /* a second one of this process gets a name of its own */
    assert_ok(ful__writer_write(&w, "new", 3));
    assert_int_equal(count_temps(), 2);
    expect_content(path, "old");
    ful__writer_abort(&w);
    ful__writer_abort(&w);
    ful__writer_abort(&second);
    expect_content(path, "old");
    assert_int_equal(count_temps(), 0);
    assert_fails(ful__writer_write(&w, "x", 1), FUL_ERR_ARG, "not open");
    assert_fails(ful__writer_commit(&w), FUL_ERR_ARG, "not open");
}

static ful_status replace_big(void *ctx)
{
    static char data[3000000];
    ful__writer w = {0};
    ful_status status = FUL_OK;
    assert_int_equal(count_temps(), 0);
    assert_ok(ful__path_exists(path) ? FUL_OK : FUL_ERR_IO);
    (void)ctx;
    FUL_TRY_GOTO(status, done, ful__writer_create(&w, path));
    for (int i = 0; i < 30; i++) FUL_TRY_GOTO(status, done, ful__writer_write(&w, data + 100000 * i, 100000));
    FUL_TRY_GOTO(status, done, ful__writer_commit(&w));
done:
    ful__writer_abort(&w);
    return status;
}

/* open, writes, fsync, rename, fsync of the folder, each refused: the old bytes or, past the rename, the new ones; never a
 * mixture. */
static void every_write_refused(void **state)
{
    (void)state;
    int old_seen = 0, new_seen = 0;
    for (long n = 1;; n++) {
        assert_ok(ful__file_write(path, "old", 3));
        const int failed = test_one_failure(FUL__FAULT_WRITE, FUL_ERR_IO, replace_big, NULL, n);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(count_temps(), 0);
        if (!failed) break;
        if (info.st_size == 3)
            old_seen++;
        else if (info.st_size == 3000000)
            new_seen++;
        else
            fail_msg("operation %ld failed and left %ld bytes", n, (long)info.st_size);
    }
    assert_int_equal(old_seen, 6); /* open, three writes, fsync, rename */
    assert_int_equal(new_seen, 1); /* the folder */
}

static void every_allocation_refused(void **state)
{
    (void)state;
    assert_ok(ful__file_write(path, "old", 3));
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, replace_big, NULL);
}

/* The kernel itself cuts a write short and then refuses, as a full disk does. */
static void the_disk_is_full(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_ok(ful__file_write(path, "old", 3));
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 1500000, .rlim_max = before.rlim_max});
    const ful_status status = replace_big(NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_fails(status, FUL_ERR_IO, "cannot write '");
    expect_content(path, "old");
    assert_int_equal(count_temps(), 0);
}

static void a_failed_writer_stays_failed(void **state)
{
    (void)state;
    static char data[2u << 20];
    ful__writer w;
    assert_ok(ful__file_write(path, "old", 3));
    assert_ok(ful__writer_create(&w, path));
    ful__fault_fail_at(FUL__FAULT_WRITE, 1);
    assert_fails(ful__writer_write(&w, data, sizeof data), FUL_ERR_IO, "No space left");
    ful__fault_fail_at(FUL__FAULT_WRITE, 0);
    assert_fails(ful__writer_write(&w, data, 1), FUL_ERR_IO, "an earlier write failed");
    assert_fails(ful__writer_commit(&w), FUL_ERR_IO, "an earlier write failed");
    ful__writer_abort(&w);
    expect_content(path, "old");
}

static void targets_that_are_no_files(void **state)
{
    (void)state;
    ful__writer w;
    assert_fails(ful__writer_create(&w, folder), FUL_ERR_IO, "not a regular file");
    assert_fails(ful__writer_create(&w, "/dev/null"), FUL_ERR_IO, "not a regular file");
    assert_fails(ful__writer_create(&w, ""), FUL_ERR_ARG, "must not be empty");
    assert_fails(ful__writer_create(&w, in_folder("no/such/folder")), FUL_ERR_IO, "No such file or directory");
    assert_ok(ful__file_write(in_folder("real"), "old", 3));
    assert_int_equal(symlink("real", in_folder("link")), 0);
    assert_ok(ful__file_write(in_folder("link"), "through", 7));
    expect_content(in_folder("real"), "through");
    assert_int_equal(symlink("gone", in_folder("dangling")), 0);
    assert_fails(ful__writer_create(&w, in_folder("dangling")), FUL_ERR_IO, "through the link");
}

static void lines(void **state)
{
    (void)state;
    const char *file = in_folder("log.jsonl");
    assert_ok(ful__file_append_line(file, "{\"a\":1}"));
    assert_ok(ful__file_append_line(file, ""));
    assert_ok(ful__file_append_line(file, "{\"a\":2}"));
    expect_content(file, "{\"a\":1}\n\n{\"a\":2}\n");
    assert_fails(ful__file_append_line(file, "two\nlines"), FUL_ERR_ARG, "must not contain a line break");
    for (long n = 1; n <= 2; n++) {
        ful__fault_fail_at(FUL__FAULT_WRITE, n);
        assert_fails(ful__file_append_line(file, "lost"), FUL_ERR_IO, "cannot append a line of 4 bytes");
    }
    ful__fault_fail_at(FUL__FAULT_WRITE, 0);
    assert_fails(ful__file_append_line("/dev/full", "lost"), FUL_ERR_IO, "No space left on device");
    expect_content(file, "{\"a\":1}\n\n{\"a\":2}\n");
}

static void reading_refuses(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    ful__map map;
    assert_fails(ful__file_read(in_folder("absent"), 10, &text, &bytes), FUL_ERR_IO, "absent': No such file");
    assert_fails(ful__file_read(folder, 10, &text, &bytes), FUL_ERR_IO, "it is a folder");
    assert_fails(ful__file_read("/dev/zero", 5000, &text, &bytes), FUL_ERR_FORMAT,
                 "'/dev/zero': it may have at most 5000 bytes");
    assert_ok(ful__file_write(path, "12345", 5));
    assert_fails(ful__file_read(path, 4, &text, &bytes), FUL_ERR_FORMAT, "at most 4 bytes");
    assert_ok(ful__file_read(path, 5, &text, &bytes));
    ful__free(text);
    assert_ok(ful__file_read("/dev/null", 0, &text, &bytes));
    assert_int_equal(bytes, 0);
    ful__free(text);
    assert_fails(ful__map_open(&map, in_folder("absent")), FUL_ERR_IO, "No such file");
    assert_fails(ful__map_open(&map, folder), FUL_ERR_IO, "it is a folder");
    assert_fails(ful__map_open(&map, "/dev/null"), FUL_ERR_IO, "must be a regular file");
    assert_null(map.ptr);
    assert_ok(ful__file_write(path, "", 0));
    assert_ok(ful__map_open(&map, path));
    assert_non_null(map.ptr);
    assert_int_equal(map.bytes, 0);
    ful__map_close(&map);
}

static ful_status read_and_map(void *ctx)
{
    char *text = NULL;
    size_t bytes = 0;
    ful__map map = {0};
    (void)ctx;
    ful_status status = ful__file_read(path, 100000, &text, &bytes);
    if (status == FUL_OK) status = ful__map_open(&map, path);
    ful__map_close(&map);
    ful__free(text);
    return status;
}

static void every_read_refused(void **state)
{
    (void)state;
    char data[20000] = {1};
    assert_ok(ful__file_write(path, data, sizeof data));
    assert_true(test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, read_and_map, NULL) >= 3);
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, read_and_map, NULL) >= 1);
}

static void *feed(void *arg)
{
    const int fd = *(int *)arg;
    for (int i = 0; i < 3000; i++)
        if (write(fd, "0123456789", 10) != 10) break;
    close(fd);
    return NULL;
}

/* A pipe has no size and gives its bytes in pieces. */
static void reads_a_pipe(void **state)
{
    (void)state;
    int ends[2];
    char name[40], *text = NULL;
    size_t bytes = 0;
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    assert_int_equal(pthread_create(&thread, NULL, feed, &ends[1]), 0);
    assert_ok(ful__file_read(name, 30000, &text, &bytes));
    pthread_join(thread, NULL);
    assert_int_equal(bytes, 30000);
    assert_memory_equal(text + 29990, "0123456789", 11);
    ful__free(text);
    close(ends[0]);
}

static void folders_and_paths(void **state)
{
    (void)state;
    char *joined = NULL;
    assert_ok(ful__mkdirs(in_folder("a//b/c/")));
    assert_ok(ful__mkdirs(in_folder("a/b/c")));
    assert_true(ful__path_is_dir(in_folder("a/b/c")));
    assert_ok(ful__file_write(in_folder("plain"), "", 0));
    assert_fails(ful__mkdirs(in_folder("plain/x")), FUL_ERR_IO, "cannot make folder");
    assert_fails(ful__mkdirs(in_folder("plain")), FUL_ERR_IO, "File exists");
    assert_fails(ful__mkdirs(""), FUL_ERR_ARG, "must not be empty");
    assert_false(ful__path_is_dir(in_folder("plain")));
    assert_true(ful__path_exists(in_folder("plain")));
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(ful__path_join(&joined, cases[i][0], cases[i][1]));
        assert_string_equal(joined, cases[i][2]);
        ful__free(joined);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_and_read),
        cmocka_unit_test(pieces_of_every_size),
        cmocka_unit_test(abort_leaves_the_old_file),
        cmocka_unit_test(every_write_refused),
        cmocka_unit_test(every_allocation_refused),
        cmocka_unit_test(the_disk_is_full),
        cmocka_unit_test(targets_that_are_no_files),
        cmocka_unit_test(a_failed_writer_stays_failed),
        cmocka_unit_test(lines),
        cmocka_unit_test(reading_refuses),
        cmocka_unit_test(every_read_refused),
        cmocka_unit_test(reads_a_pipe),
        cmocka_unit_test(folders_and_paths),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
