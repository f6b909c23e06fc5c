/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint files: round trip, every way a file can lie, failing writes, failing memory, and other programs' files. */
#include <jansson.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "support/fault.h"
#include "train/json.h"
#include "train/safetensors.h"

static char folder[] = "/tmp/fulcrum-safetensors-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const float matrix[6] = {1, -2, 3.5f, 0, 1e-30f, -1e30f};
static const int32_t route[3] = {7, -1, 2147483647};
static const ful__st_tensor tensors[3] = {
    {.name = "b.weight", .dtype = FUL__F32, .rank = 2, .shape = {2, 3}, .count = 6, .data = matrix},
    {.name = "probe/\"\xc3\xa9\"", .dtype = FUL__I32, .rank = 1, .shape = {3}, .count = 3, .data = route},
    {.name = "a.empty", .dtype = FUL__F32, .rank = 1, .shape = {0}, .count = 0, .data = matrix},
};
static const ful__st_meta meta[2] = {{"format", "fulcrum-checkpoint-1"}, {"config", "a: \"1\"\nb: \xe2\x82\xac\t\x01\n"}};

static ful_status write_it(const char *path)
{
    return ful__st_write(path, tensors, 3, meta, 2);
}

static void check_it(const ful__st_file *file)
{
    assert_int_equal(ful__st_count(file), 3);
    assert_string_equal(ful__st_tensor_at(file, 0)->name, "a.empty");
    for (int i = 0; i < 3; i++) {
        const ful__st_tensor *t = ful__st_find(file, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->rank, tensors[i].rank);
        assert_memory_equal(t->shape, tensors[i].shape, (size_t)t->rank * sizeof t->shape[0]);
        assert_int_equal(t->count, tensors[i].count);
        if (t->count > 0) assert_memory_equal(t->data, tensors[i].data, (size_t)t->count * 4);
    }
    assert_null(ful__st_find(file, "c"));
    assert_string_equal(ful__st_meta_get(file, "format"), "fulcrum-checkpoint-1");
    assert_string_equal(ful__st_meta_get(file, "config"), meta[1].value);
    assert_null(ful__st_meta_get(file, "nothing"));
}

static void test_round_trip(void **state)
{
    (void)state;
    ful__st_file *file = NULL;
    char *bytes = NULL;
    size_t n = 0;
    uint64_t length = 0;
    assert_ok(write_it(in_folder("a.safetensors")));
    assert_ok(ful__st_open(in_folder("a.safetensors"), &file));
    check_it(file);
    ful__st_close(&file);
    ful__st_close(&file);
    assert_ok(ful__file_read(in_folder("a.safetensors"), 1 << 20, &bytes, &n));
    memcpy(&length, bytes, 8);
    assert_int_equal((8 + length) % 64, 0);
    assert_int_equal(n, 8 + length + 4 * 9);
    ful__free(bytes);
    assert_ok(ful__st_write(in_folder("none.safetensors"), NULL, 0, NULL, 0));
    assert_ok(ful__st_open(in_folder("none.safetensors"), &file));
    assert_int_equal(ful__st_count(file), 0);
    ful__st_close(&file);
    const ful__st_tensor twice[2] = {tensors[0], tensors[0]};
    assert_fails(ful__st_write(in_folder("twice"), twice, 2, NULL, 0), FUL_ERR_ARG, "'b.weight' twice");
}

/* Every single byte of the file, changed, is noticed; so is every length it could be cut to. */
static void test_damage_is_noticed(void **state)
{
    (void)state;
    ful__st_file *file = NULL;
    char *bytes = NULL;
    size_t n = 0;
    assert_ok(write_it(in_folder("a.safetensors")));
    assert_ok(ful__file_read(in_folder("a.safetensors"), 1 << 20, &bytes, &n));
    for (size_t i = 0; i < n; i++) {
        const char before = bytes[i];
        bytes[i] = (char)(before ^ 1);
        const ful_status status = ful__st_parse("x", bytes, n, &file);
        const bool blank = before == ' '; /* padding may be any blank, and ' ' ^ 1 is '!' */
        if (status == FUL_OK) fail_msg("byte %zu ('%c') was changed, and nobody noticed", i, before);
        if (status != FUL_ERR_FORMAT) fail_msg("byte %zu: %s, blank %d", i, ful_error_message(), blank);
        assert_null(file);
        bytes[i] = before;
    }
    for (size_t i = 0; i < n; i++) {
        char *part = malloc(i > 0 ? i : 1); /* exactly as long, for AddressSanitizer */
        memcpy(part, bytes, i);
        assert_fails(ful__st_parse("x", part, i, &file), FUL_ERR_FORMAT, "cannot read 'x' as safetensors");
        free(part);
    }
    assert_ok(ful__st_parse("x", bytes, n, &file));
    ful__st_close(&file);
    ful__free(bytes);
}

/* A file of this header, with so many zero bytes behind it. */
static ful_status parse_header(const char *header, size_t data)
{
    static uint64_t aligned[1 << 12];
    char *bytes = (char *)aligned;
    ful__st_file *file = NULL;
    uint64_t length = strlen(header);
    memset(aligned, 0, sizeof aligned);
    memcpy(bytes + 8, header, length);
    while (length % 8 != 0) bytes[8 + length++] = ' ';
    memcpy(bytes, &length, 8);
    const ful_status status = ful__st_parse("evil", bytes, 8 + length + data, &file);
    ful__st_close(&file);
    return status;
}

static const struct {
    const char *header;
    size_t data;
    const char *says;
} hostile[] = {
    {"[]", 0, "must begin with '{'"},
    {"{", 0, "not JSON"},
    {"{\"a\":1}", 0, "must be a map of exactly dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "exactly dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"x\":[0,4]}}", 4, "data_offsets"},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "must have a dtype"},
    {"{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "dtype 'F8_E5M2'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole number >= 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "whole number >= 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, "address space"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "address space"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "its shape asks for 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "0..4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "-4..0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "4..0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775808]}}", 4, "not JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "bytes that belong to none"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "bytes that belong to none"},
    {"{}", 4, "bytes that belong to none"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[4,8]}}",
     8, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[4,8]}}",
     8, "duplicate"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "1..255 bytes"},
    {"{\"__metadata__\":[]}", 0, "must be a map"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "must be a text"},
    {"{\"__metadata__\":{\"xxh3\":\"{\"},\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "damaged"},
    {"{\"__metadata__\":{\"xxh3_header\":\"0\"}}", 0, "damaged"},
    {"{\"a\\u0000b\":{}}", 0, "not JSON"},
};

static void test_hostile_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const ful_status status = parse_header(hostile[i].header, hostile[i].data);
        if (status != FUL_ERR_FORMAT || !strstr(ful_error_message(), hostile[i].says) || !strstr(ful_error_message(), "'evil'"))
            fail_msg("%s\n  gave %s: %s\n  wanted: %s", hostile[i].header, ful_status_name(status), ful_error_message(),
                     hostile[i].says);
    }
    /* Other programs' files have no checksums; scalars and empty tensors are allowed. */
    assert_ok(parse_header("{}", 0));
    assert_ok(parse_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4));
    assert_ok(parse_header("{\"a\":{\"dtype\":\"I32\",\"shape\":[0,9],\"data_offsets\":[0,0]},"
                           "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}",
                           8));
    /* Nesting and lengths that lie. */
    static char deep[20000];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "{\"a\":", 5);
    assert_fails(parse_header(deep, 0), FUL_ERR_FORMAT, "not JSON");
    ful__st_file *file = NULL;
    uint64_t frame[2] = {UINT64_MAX, 0};
    assert_fails(ful__st_parse("evil", frame, sizeof frame, &file), FUL_ERR_FORMAT, "at most 100000000");
    frame[0] = 9;
    assert_fails(ful__st_parse("evil", frame, sizeof frame, &file), FUL_ERR_FORMAT, "cut off");
    assert_fails(ful__st_open(in_folder("absent"), &file), FUL_ERR_IO, "absent");
}

/* Whatever write fails, the file that was there is still whole, and nothing lies beside it. */
static ful_status overwrite(void *ctx)
{
    const char *path = ctx;
    ful__st_file *file = NULL;
    const float changed = 5;
    const ful__st_tensor t = {.name = "b.weight", .rank = 1, .shape = {1}, .count = 1, .data = &changed};
    const ful_status status = ful__st_write(path, &t, 1, NULL, 0);
    const bool durable = status == FUL_OK ||
                         strstr(ful_error_message(), "durable"); /* renamed, and only the folder's sync failed */
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", ful_error_message());
    assert_ok(ful__st_open(path, &file));
    if (durable)
        assert_int_equal(ful__st_count(file), 1);
    else
        check_it(file);
    ful__st_close(&file);
    return status == FUL_OK ? status : ful__fail(status, "%s", sentence);
}

static void test_failing_writes(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("old.safetensors"));
    for (long n = 1;; n++) {
        assert_ok(write_it(path));
        if (!test_one_failure(FUL__FAULT_WRITE, FUL_ERR_IO, overwrite, path, n)) break;
        assert_true(n < 100);
    }
}

static ful_status round_trip(void *ctx)
{
    const char *path = ctx;
    ful__st_file *file = NULL;
    FUL_TRY(write_it(path));
    const ful_status status = ful__st_open(path, &file);
    ful__st_close(&file);
    return status;
}

/* jansson's memory too; it may take its own lack of memory for bad JSON. */
static void *counted_malloc(size_t bytes)
{
    void *block = NULL;
    return ful__calloc(&block, bytes, 1, "JSON") == FUL_OK ? block : NULL;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("memory.safetensors"));
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, round_trip, path);
    json_set_alloc_funcs(counted_malloc, ful__free);
    ful_status status = FUL_ERR_MEMORY;
    long failures = 0;
    for (; status != FUL_OK && failures < 10000; failures++) {
        ful__fault_fail_at(FUL__FAULT_ALLOC, failures + 1);
        status = round_trip(path);
        if (status != FUL_OK && status != FUL_ERR_MEMORY && status != FUL_ERR_FORMAT) fail_msg("%s", ful_error_message());
    }
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
    json_set_alloc_funcs(malloc, free);
    assert_true(status == FUL_OK && failures > 30);
    test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, round_trip, path);
}

/* A file system of 64 KiB that really is full. */
static void test_full_disk(void **state)
{
    (void)state;
    static float big[32768];
    char path[256];
    const ful__st_tensor t = {.name = "big", .rank = 1, .shape = {32768}, .count = 32768, .data = big};
    snprintf(path, sizeof path, "%s", in_folder("tiny"));
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("none", path, "tmpfs", 0, "size=64k") != 0) {
        printf("SKIPPED test_full_disk: a file system can only be mounted as root\n");
        rmdir(path);
        skip();
    }
    char file_path[300];
    ful__st_file *file = NULL;
    snprintf(file_path, sizeof file_path, "%s/last.safetensors", path);
    const ful_status first = write_it(file_path);
    const ful_status second = ful__st_write(file_path, &t, 1, NULL, 0);
    const bool said = strstr(ful_error_message(), "No space left") != NULL;
    const ful_status third = ful__st_open(file_path, &file);
    if (third == FUL_OK) check_it(file);
    ful__st_close(&file);
    umount(path);
    rmdir(path);
    assert_int_equal(first, FUL_OK);
    assert_int_equal(second, FUL_ERR_IO);
    assert_true(said);
    assert_int_equal(third, FUL_OK);
}

/* The file as Python's own struct and json modules read it, and its safetensors module where there is one. */
static void test_python_reads_it(void **state)
{
    (void)state;
    char command[1024];
    assert_ok(write_it(in_folder("a.safetensors")));
    snprintf(command, sizeof command, "python3 tests/train/read_safetensors.py %s", in_folder("a.safetensors"));
    if (system("python3 -c '' 2>/dev/null") != 0) {
        printf("SKIPPED test_python_reads_it: there is no python3\n");
        skip();
    }
    assert_int_equal(system(command), 0);
}

static void test_json_writer(void **state)
{
    (void)state;
    ful__emitter j = {0};
    char *text = NULL;
    ful__emit_open(&j, NULL, '{');
    ful__emit_real(&j, "a\"\n", 0.1);
    ful__emit_real(&j, "b", __builtin_nan(""));
    ful__emit_int(&j, "c", INT64_MIN);
    ful__emit_open(&j, "d", '[');
    ful__emit_bool(&j, NULL, true);
    ful__emit_text(&j, NULL, "\xff\xc3\xa9\x7f");
    ful__emit_text(&j, NULL, NULL);
    ful__emit_close(&j, ']');
    ful__emit_hex(&j, "e", 0xAB);
    ful__emit_raw(&j, "f", "{\"x\": 1}");
    ful__emit_open(&j, "g", '{');
    ful__emit_close(&j, '}');
    ful__emit_reals(&j, "h", (const double[]){1, 1e300, 1.0 / 3}, 3);
    ful__emit_close(&j, '}');
    assert_ok(ful__emit_take(&j, &text));
    assert_string_equal(
        text, "{\"a\\\"\\u000a\": 0.1, \"b\": null, \"c\": -9223372036854775808, \"d\": [true, \"?\xc3\xa9\\u007f\", null], "
              "\"e\": \"00000000000000ab\", \"f\": {\"x\": 1}, \"g\": {}, \"h\": [1, 1e+300, 0.3333333333333333]}");
    ful__free(text);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_failing_writes),
        cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_python_reads_it), cmocka_unit_test(test_json_writer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
