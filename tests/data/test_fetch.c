/* SPDX-License-Identifier: Apache-2.0 */
/* Downloads from a server on the loopback (fetch_server.py): whole, cut and resumed, refused, wrong, not to be written. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/fetch.h"
#include "data/support.h"

static temp t;
static pid_t server;
static FILE *server_says;
static int port;

static const char *address(const char *manner)
{
    static char text[64];
    snprintf(text, sizeof text, "http://127.0.0.1:%d/%s/", port, manner);
    return text;
}

static int start_server(void **state)
{
    (void)state;
    int ends[2];
    char line[64];
    temp_make(&t);
    if (pipe(ends) != 0) return 1;
    server = fork();
    if (server == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execlp("python3", "python3", "tests/data/fetch_server.py", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    server_says = fdopen(ends[0], "r");
    if (!server_says || !fgets(line, sizeof line, server_says)) {
        fprintf(stderr, "SKIPPED: no python3 to run tests/data/fetch_server.py\n");
        exit(77);
    }
    port = atoi(line);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    fclose(server_says);
    temp_remove(&t);
    return 0;
}

/* The next request that the server saw. */
static void saw(const char *wanted)
{
    char line[256];
    assert_non_null(fgets(line, sizeof line, server_says));
    line[strcspn(line, "\n")] = '\0';
    assert_string_equal(line, wanted);
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static void digest_of(size_t n, ful__digest_kind kind, char text[FUL__DIGEST_TEXT])
{
    ful__digest d;
    ful__digest_init(&d, kind);
    for (size_t i = 0; i < n; i++) {
        const uint8_t b = byte_at(i);
        ful__digest_add(&d, &b, 1);
    }
    ful__digest_end(&d, text);
}

/* One file of n bytes in the given manner, into <temp>/<folder>. digest: NULL = the right one, "" = none. */
static ful_status fetch(const char *manner, const char *name, size_t n, const char *digest, const char *folder,
                        ful_fetch_report *r)
{
    char right[FUL__DIGEST_TEXT];
    digest_of(n, FUL__DIGEST_SHA256, right);
    const ful__fetch_set set = {.name = "try",
                                .base = address(manner),
                                .files = {{name, FUL__DIGEST_SHA256,
                                           !digest   ? right
                                           : *digest ? digest
                                                     : NULL},
                                          {NULL}}};
    const ful_fetch_options options = {0};
    return ful__fetch(&set, temp_path(&t, "%s", folder), &options, r);
}

static void check_file(const char *path, size_t n)
{
    char *bytes = NULL;
    size_t got = 0;
    assert_ok(ful__file_read(path, 1 << 24, &bytes, &got));
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++) assert_int_equal((uint8_t)bytes[i], byte_at(i));
    ful__free(bytes);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void test_whole(void **state)
{
    (void)state;
    ful_fetch_report r;
    assert_ok(fetch("good", "a-100000.bin", 100000, NULL, "deep/er", &r));
    saw("/good/a-100000.bin -");
    check_file(temp_path(&t, "deep/er/a-100000.bin"), 100000);
    assert_int_equal(r.files, 1);
    assert_int_equal(r.kept, 0);
    assert_int_equal(r.unverified, 0);
    assert_int_equal(r.bytes, 100000);
    assert_false(is_there(temp_path(&t, "deep/er/a-100000.bin.part")));
    assert_ok(fetch("good", "a-100000.bin", 100000, NULL, "deep/er", &r)); /* no request: it is there and right */
    assert_int_equal(r.kept, 1);
    assert_ok(fetch("moved", "b-1000.bin", 1000, "", "w", &r));
    saw("/moved/b-1000.bin -");
    saw("/good/b-1000.bin -");
    check_file(temp_path(&t, "w/b-1000.bin"), 1000);
    assert_int_equal(r.unverified, 1);
    /* What is there and wrong stays as it is, and is said. */
    write_file(temp_path(&t, "w/c-50.bin"), "mine", 4);
    assert_fails(fetch("good", "c-50.bin", 50, NULL, "w", &r), FUL_ERR_DATA, "its SHA-256 is");
    assert_true(is_there(temp_path(&t, "w/c-50.bin")));
}

static void test_resume(void **state)
{
    (void)state;
    ful_fetch_report r;
    uint8_t begin[30000];
    log_catch();
    assert_ok(fetch("cut", "a-100000.bin", 100000, NULL, "r", &r)); /* the connection ends twice */
    saw("/cut/a-100000.bin -");
    saw("/cut/a-100000.bin bytes=40000-");
    saw("/cut/a-100000.bin bytes=80000-");
    check_file(temp_path(&t, "r/a-100000.bin"), 100000);
    assert_int_equal(log_warnings(), 2);
    /* A part that another process left. */
    for (size_t i = 0; i < sizeof begin; i++) begin[i] = byte_at(i);
    write_file(temp_path(&t, "r/b-50000.bin.part"), begin, sizeof begin);
    assert_ok(fetch("good", "b-50000.bin", 50000, NULL, "r", &r));
    saw("/good/b-50000.bin bytes=30000-");
    check_file(temp_path(&t, "r/b-50000.bin"), 50000);
    /* It was all there, but for the name. */
    write_file(temp_path(&t, "r/c-30000.bin.part"), begin, sizeof begin);
    assert_ok(fetch("good", "c-30000.bin", 30000, NULL, "r", &r));
    saw("/good/c-30000.bin bytes=30000-");
    check_file(temp_path(&t, "r/c-30000.bin"), 30000);
    /* A server that knows no ranges: from the start. */
    write_file(temp_path(&t, "r/d-50000.bin.part"), begin, sizeof begin);
    assert_ok(fetch("norange", "d-50000.bin", 50000, NULL, "r", &r));
    saw("/norange/d-50000.bin bytes=30000-");
    saw("/norange/d-50000.bin -");
    check_file(temp_path(&t, "r/d-50000.bin"), 50000);
    /* More than the file has, or something else: the checksum tells, the part goes, and the next try is a whole one. */
    write_file(temp_path(&t, "r/e-20000.bin.part"), begin, sizeof begin);
    assert_ok(fetch("good", "e-20000.bin", 20000, NULL, "r", &r));
    saw("/good/e-20000.bin bytes=30000-");
    saw("/good/e-20000.bin -");
    begin[7] ^= 1;
    write_file(temp_path(&t, "r/f-50000.bin.part"), begin, sizeof begin);
    assert_fails(fetch("good", "f-50000.bin", 50000, NULL, "r", &r), FUL_ERR_DATA, "its SHA-256 is");
    saw("/good/f-50000.bin bytes=30000-");
    assert_false(is_there(temp_path(&t, "r/f-50000.bin.part")));
    assert_false(is_there(temp_path(&t, "r/f-50000.bin")));
    assert_ok(fetch("good", "f-50000.bin", 50000, NULL, "r", &r));
    saw("/good/f-50000.bin -");
    log_catch();
}

static void test_refused(void **state)
{
    (void)state;
    ful_fetch_report r;
    assert_fails(fetch("missing", "a-10.bin", 10, NULL, "x", &r), FUL_ERR_IO, "404");
    saw("/missing/a-10.bin -");
    assert_fails(fetch("denied", "a-10.bin", 10, NULL, "x", &r), FUL_ERR_IO, "403");
    saw("/denied/a-10.bin -");
    log_catch();
    assert_ok(fetch("busy", "a-10.bin", 10, NULL, "x", &r));
    for (int i = 0; i < 3; i++) saw("/busy/a-10.bin -");
    assert_int_equal(log_warnings(), 2);
    assert_fails(fetch("good", "b-10.bin", 10, "00", "x", &r), FUL_ERR_DATA, "cannot accept '");
    saw("/good/b-10.bin -");
    assert_false(is_there(temp_path(&t, "x/b-10.bin")));
    const ful__fetch_set nowhere = {
        .name = "try", .base = "file:///etc/", .files = {{"passwd", FUL__DIGEST_MD5, NULL}, {NULL}}};
    const ful_fetch_options options = {0};
    assert_fails(ful__fetch(&nowhere, temp_path(&t, "x"), &options, &r), FUL_ERR_IO, "rotocol");
    assert_false(is_there(temp_path(&t, "x/passwd")));
    log_catch();
}

static void test_unwritable(void **state)
{
    (void)state;
    ful_fetch_report r;
    write_file(temp_path(&t, "file"), "x", 1);
    assert_fails(fetch("good", "a-10.bin", 10, NULL, "file", &r), FUL_ERR_IO, "cannot make folder");
    make_folder(temp_path(&t, "full"));
    for (long n = 1;; n++) { /* the disk refuses the n-th write: open, bytes, sync, rename */
        ful__fault_fail_at(FUL__FAULT_WRITE, n);
        const ful_status status = fetch("good", "a-3000.bin", 3000, NULL, "full", &r);
        const bool hit = ful__fault_count(FUL__FAULT_WRITE) >= n;
        ful__fault_fail_at(FUL__FAULT_WRITE, 0);
        if (!hit) {
            assert_ok(status);
            assert_true(n > 3); /* from the third failure on, the part is complete */
            break;
        }
        assert_int_equal(status, FUL_ERR_IO);
        assert_false(is_there(temp_path(&t, "full/a-3000.bin")));
    }
    check_file(temp_path(&t, "full/a-3000.bin"), 3000);
}

static int stop_now;
static void on_progress(void *cookie, const char *file, uint64_t done, uint64_t total)
{
    assert_string_equal(file, "z-2000000.bin");
    assert_true(total == 0 || done <= total);
    ++*(int *)cookie;
    stop_now = 1;
}

static void test_stop(void **state)
{
    (void)state;
    ful_fetch_report r;
    int calls = 0;
    const ful__fetch_set set = {
        .name = "try", .base = address("good"), .files = {{"z-2000000.bin", FUL__DIGEST_MD5, NULL}, {NULL}}};
    const ful_fetch_options options = {.progress = on_progress, .cookie = &calls, .stop = &stop_now};
    assert_fails(ful__fetch(&set, temp_path(&t, "s"), &options, &r), FUL_ERR_INTERRUPTED, "goes on from there");
    assert_true(calls > 0);
    assert_false(is_there(temp_path(&t, "s/z-2000000.bin")));
}

static void test_names(void **state)
{
    (void)state;
    ful_fetch_report r;
    char *folder = NULL;
    assert_fails(ful_data_fetch("imagenet", temp_path(&t, "i"), NULL, &folder, &r), FUL_ERR_DATA, "log in at");
    assert_fails(ful_data_fetch("clusters", temp_path(&t, "i"), NULL, &folder, &r), FUL_ERR_CONFIG, "it must be cifar10,");
    const ful_fetch_options mirror = {.from = address("missing")};
    assert_fails(ful_data_fetch("cifar10", temp_path(&t, "i"), &mirror, &folder, &r), FUL_ERR_IO,
                 "/missing/cifar-10-binary.tar.gz");
    assert_null(folder);
    /* Every set of the table: digests of the right length, an address or a reason. */
    static const char *const names[] = {"cifar10",       "cifar100", "tiny-imagenet", "mnist",
                                        "fashion-mnist", "kmnist",   "emnist",        "imagenet"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const ful__fetch_set *s = ful__fetch_find(names[i]);
        assert_non_null(s);
        assert_true(s->base ? strncmp(s->base, "http", 4) == 0 && s->base[strlen(s->base) - 1] == '/' : s->why != NULL);
        assert_non_null(s->files[0].name);
        for (int k = 0; s->files[k].name; k++) {
            assert_int_equal(strlen(s->files[k].digest), s->files[k].kind == FUL__DIGEST_MD5 ? 32 : 64);
            assert_int_equal(strspn(s->files[k].digest, "0123456789abcdef"), strlen(s->files[k].digest));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),      cmocka_unit_test(test_resume), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unwritable), cmocka_unit_test(test_stop),   cmocka_unit_test(test_names),
    };
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
