/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of decoded sets: used again, never believed when damaged or stale, never required. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mem.h"
#include "data/support.h"
#include "support/fault.h"

static temp t;
static const tiny set = {.classes = 3, .per_class = 3, .h = 6, .w = 6, .channels = 3};
static ful_data_config config;

static int set_up(void **state)
{
    (void)state;
    temp_make(&t);
    make_folder(temp_path(&t, "set"));
    tiny_folder(&set, temp_path(&t, "set/train"));
    config = config_of("folder", temp_path(&t, "set"), temp_path(&t, "deep/cache"));
    log_catch();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_remove(&t);
    return 0;
}

static int packs(void)
{
    return count_files(config.cache, ".pack");
}

/* The only pack in the cache. */
static void pack_path(char out[1024])
{
    DIR *dir = opendir(config.cache);
    assert_non_null(dir);
    out[0] = '\0';
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".pack")) snprintf(out, 1024, "%.700s/%.255s", config.cache, e->d_name);
    closedir(dir);
    assert_true(*out);
}

static ino_t pack_inode(void)
{
    char path[1024];
    struct stat info;
    pack_path(path);
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

static void open_and_check(void)
{
    ful_dataset *d = open_ok(&config, FUL_SPLIT_TRAIN);
    check_tiny(d, &set);
    ful_dataset_destroy(&d);
}

static void test_reuse(void **state)
{
    (void)state;
    open_and_check();
    assert_int_equal(packs(), 1);
    const ino_t first = pack_inode();
    open_and_check();
    assert_int_equal(pack_inode(), first);
    assert_int_equal(count_files(config.cache, ""), 3); /* nothing else stays there */
    config.channels = 1;                                /* another decoding, another file */
    ful_dataset *d = open_ok(&config, FUL_SPLIT_TRAIN);
    ful_dataset_destroy(&d);
    assert_int_equal(packs(), 2);
    assert_int_equal(log_warnings(), 0);
}

static void test_stale(void **state)
{
    (void)state;
    uint8_t pixels[6 * 6 * 3];
    blob png = {0};
    open_and_check();
    const struct timespec later[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
    assert_int_equal(utimensat(AT_FDCWD, temp_path(&t, "set/train/ant/0000.png"), later, 0), 0);
    open_and_check();
    assert_int_equal(packs(), 2);
    test_image(99, 6, 6, 3, pixels); /* a further image */
    encode_png(&png, pixels, 6, 6, PNG_RGB);
    write_file(temp_path(&t, "set/train/cow/zz.png"), png.data, png.n);
    ful_dataset *d = open_ok(&config, FUL_SPLIT_TRAIN);
    assert_memory_equal(ful_dataset_image(d, 9), pixels, sizeof pixels);
    ful_dataset_destroy(&d);
    assert_int_equal(packs(), 3);
    blob_free(&png);
}

static void test_damage(void **state)
{
    (void)state;
    char path[1024];
    for (int kind = 0; kind < 4; kind++) {
        open_and_check();
        pack_path(path);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        if (kind == 0) assert_int_equal(truncate(path, 0), 0);
        if (kind == 1) assert_int_equal(truncate(path, info.st_size / 2), 0);
        if (kind >= 2) { /* one byte of the pixels, or of the head */
            FILE *f = fopen(path, "r+b");
            fseek(f, kind == 2 ? 64 + 100 : 20, SEEK_SET);
            const int byte = fgetc(f);
            fseek(f, -1, SEEK_CUR);
            fputc(byte ^ 1, f);
            fclose(f);
        }
        log_catch();
        open_and_check();
        assert_int_equal(log_warnings(), 1);
        assert_non_null(strstr(log_last(), "the cache is damaged and will be rebuilt: cannot read pack"));
        log_catch();
        open_and_check();
        assert_int_equal(log_warnings(), 0);
    }
    /* The cache of another set under this one's name. */
    const tiny other = {.classes = 2, .per_class = 2, .h = 6, .w = 6, .channels = 3, .base = 60};
    char foreign[1024];
    make_folder(temp_path(&t, "set2"));
    tiny_folder(&other, temp_path(&t, "set2/train"));
    const ful_data_config c2 = config_of("folder", temp_path(&t, "set2"), temp_path(&t, "cache2"));
    ful_dataset *d = open_ok(&c2, FUL_SPLIT_TRAIN);
    ful_dataset_destroy(&d);
    pack_path(path);
    const ful_data_config held = config;
    config = c2;
    pack_path(foreign);
    config = held;
    assert_int_equal(rename(foreign, path), 0);
    log_catch();
    open_and_check();
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "belongs to another set"));
}

static void test_unwritable(void **state)
{
    (void)state;
    write_file(temp_path(&t, "file"), "x", 1);
    snprintf(config.cache, sizeof config.cache, "%s", temp_path(&t, "file/cache"));
    open_and_check();
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "its images stay in memory"));
    /* No place to choose from. */
    config.cache[0] = '\0';
    char home[512] = "";
    if (getenv("HOME")) snprintf(home, sizeof home, "%s", getenv("HOME"));
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    open_and_check();
    assert_non_null(strstr(log_last(), "XDG_CACHE_HOME or HOME must be set"));
    setenv("XDG_CACHE_HOME", temp_path(&t, "xdg"), 1);
    open_and_check();
    assert_int_equal(count_files(temp_path(&t, "xdg/fulcrum"), ".pack"), 1);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", temp_path(&t, "home"), 1);
    open_and_check();
    assert_int_equal(count_files(temp_path(&t, "home/.cache/fulcrum"), ".pack"), 1);
    if (*home) setenv("HOME", home, 1);
}

/* A disk that fills up at the n-th write: the images stay in memory, no half cache is left. */
static void test_full_disk(void **state)
{
    (void)state;
    int memory = 0;
    for (long n = 1;; n++) {
        temp_remove(&t);
        set_up(state);
        ful_dataset *d = NULL;
        ful__fault_fail_at(FUL__FAULT_WRITE, n);
        const ful_status status = ful_dataset_open(&config, FUL_SPLIT_TRAIN, &d);
        const bool hit = ful__fault_count(FUL__FAULT_WRITE) >= n;
        ful__fault_fail_at(FUL__FAULT_WRITE, 0);
        assert_ok(status);
        check_tiny(d, &set);
        ful_dataset_destroy(&d);
        if (!hit) break;
        memory += log_warnings();
        if (log_warnings() > 0) assert_true(packs() <= 1 && count_files(config.cache, "") <= 3);
    }
    assert_true(memory >= 4); /* folder, create, write, fsync, rename … */
}

static void test_race(void **state)
{
    (void)state;
    enum { PROCESSES = 6 };
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            ful_dataset *d = NULL;
            int wrong = ful_dataset_open(&config, FUL_SPLIT_TRAIN, &d) != FUL_OK;
            wrong = wrong || ful_dataset_label(d, 8) != 2 || ful_dataset_image(d, 8)[0] != test_pixel(8, 0, 0, 0);
            ful_dataset_destroy(&d);
            _exit(wrong);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int code = -1;
        assert_int_equal(waitpid(child[i], &code, 0), child[i]);
        assert_int_equal(code, 0);
    }
    assert_int_equal(packs(), 1);
    assert_int_equal(count_files(config.cache, ""), 3);
    log_catch();
    open_and_check();
    assert_int_equal(log_warnings(), 0);
}

static ful_status open_attempt(void *ctx)
{
    (void)ctx;
    ful_dataset *d = NULL;
    const ful_status status = ful_dataset_open(&config, FUL_SPLIT_TRAIN, &d);
    ful_dataset_destroy(&d);
    return status;
}

static ful_status fresh_attempt(void *ctx)
{
    char path[1024];
    if (packs() > 0) {
        pack_path(path);
        assert_int_equal(unlink(path), 0);
    }
    return open_attempt(ctx);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    open_and_check(); /* makes the folders */
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, fresh_attempt, NULL);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, open_attempt, NULL);
    config.name[0] = '\0';
    snprintf(config.name, sizeof config.name, "clusters");
    config.gen_train = 20;
    config.val_fraction = 0.2;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, open_attempt, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_race, set_up, tear_down), /* first: before any thread was started */
        cmocka_unit_test_setup_teardown(test_reuse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unwritable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
