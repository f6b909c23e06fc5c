/* SPDX-License-Identifier: Apache-2.0 */
/* The pack format: what goes in comes out, and no damaged byte, cut or false number gets past the reader. */
#include <stddef.h>

#include "core/mem.h"
#include "data/pack.h"
#include "data/support.h"
#include "support/fault.h"

enum { H = 5, W = 7, C = 3, COUNT = 11, IMAGE = H * W * C };
/* Where doc/format-pack.md puts the parts of this pack: 64 + 1,155 bytes of pixels, then 44 of labels, each part from a
 * multiple of 64. */
enum { PIXELS_AT = 64, LABELS_AT = 1280, CLUSTERS_AT = 1344, NAMES_AT = 1408, BLOCKS_AT = 1472, TAIL_AT = 1536, END = 1664 };

static const int32_t labels[COUNT] = {0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 2};
static const int32_t clusters[COUNT] = {3, -1, 0, 1, 2, 3, 0, 1, 2, -1, 0};
static const char *const names[3] = {"a", "bêta", "a longer name with blanks"};

static ful_status write_pack(const char *path, bool with_clusters, ful__pack *out)
{
    static const float mean[3] = {0.5f, 0.25f, 0.125f}, std[3] = {1, 2, 3};
    const ful__pack_index index = {.count = COUNT,
                                   .labels = labels,
                                   .clusters = with_clusters ? clusters : NULL,
                                   .classes = 3,
                                   .names = names,
                                   .mean = with_clusters ? mean : NULL,
                                   .std = with_clusters ? std : NULL};
    ful__pack_writer w;
    ful_status status = ful__pack_begin(&w, path, H, W, C, FUL_SPLIT_TEST, 77);
    uint8_t image[IMAGE];
    for (int i = 0; status == FUL_OK && i < COUNT; i++) {
        test_image(i, H, W, C, image);
        status = ful__pack_add(&w, image, sizeof image);
    }
    if (status == FUL_OK) status = ful__pack_finish(&w, &index, out);
    ful__pack_abort(&w);
    return status;
}

static void check_pack(const ful__pack *p, bool with_clusters)
{
    uint8_t image[IMAGE];
    assert_int_equal(p->count, COUNT);
    assert_int_equal(p->height, H);
    assert_int_equal(p->width, W);
    assert_int_equal(p->channels, C);
    assert_int_equal(p->classes, 3);
    assert_int_equal(p->split, FUL_SPLIT_TEST);
    assert_int_equal(p->key, 77);
    assert_int_equal(p->has_norm, with_clusters);
    assert_true(p->mean[1] == (with_clusters ? 0.25f : 0.0f) && p->std[2] == (with_clusters ? 3.0f : 0.0f));
    assert_memory_equal(p->labels, labels, sizeof labels);
    if (with_clusters)
        assert_memory_equal(p->clusters, clusters, sizeof clusters);
    else
        assert_null(p->clusters);
    const char *name = p->names;
    for (int c = 0; c < 3; c++, name += strlen(name) + 1) assert_string_equal(name, names[c]);
    for (int i = 0; i < COUNT; i++) {
        test_image(i, H, W, C, image);
        assert_memory_equal(p->pixels + (size_t)i * IMAGE, image, IMAGE);
    }
    if (p->map.ptr) assert_int_equal((uintptr_t)p->pixels % 64, 0);
}

static void test_round_trip(void **state)
{
    (void)state;
    temp t;
    temp_make(&t);
    for (int with_clusters = 0; with_clusters < 2; with_clusters++) {
        ful__pack p;
        assert_ok(write_pack(temp_path(&t, "x.pack"), with_clusters, NULL));
        assert_ok(ful__pack_open(temp_path(&t, "x.pack"), &p));
        check_pack(&p, with_clusters);
        ful__pack_close(&p);
        assert_ok(write_pack(NULL, with_clusters, &p));
        check_pack(&p, with_clusters);
        ful__pack_close(&p);
    }
    assert_int_equal(count_files(t.path, ""), 3); /* ".", ".." and the pack: no temporary file stays */
    temp_remove(&t);
}

/* Pixels of several blocks, one of them partial. */
static void test_blocks(void **state)
{
    (void)state;
    enum { SIDE = 1024, N = 5 };
    temp t;
    temp_make(&t);
    const char *path = temp_path(&t, "big.pack");
    uint8_t *image = malloc(SIDE * SIDE * 3);
    int32_t zeros[N] = {0};
    ful__pack_writer w;
    assert_ok(ful__pack_begin(&w, path, SIDE, SIDE, 3, 0, 0));
    for (int i = 0; i < N; i++) {
        memset(image, i + 1, SIDE * SIDE * 3);
        assert_ok(ful__pack_add(&w, image, SIDE * SIDE * 3));
    }
    assert_ok(ful__pack_finish(&w, &(ful__pack_index){.count = N, .labels = zeros, .classes = 1, .names = names}, NULL));
    ful__pack_abort(&w);
    ful__pack p;
    assert_ok(ful__pack_open(path, &p));
    for (int i = 0; i < N; i++) assert_int_equal(p.pixels[(size_t)i * SIDE * SIDE * 3 + 12345], i + 1);
    ful__pack_close(&p);
    FILE *f = fopen(path, "r+b");
    fseek(f, 64 + 2 * FUL__PACK_BLOCK_BYTES + 99, SEEK_SET);
    fputc(0xee, f);
    fclose(f);
    assert_fails(ful__pack_open(path, &p), FUL_ERR_FORMAT, "its pixels are damaged (checksum of block 2)");
    free(image);
    temp_remove(&t);
}

typedef struct bytes8 {
    uint64_t *words; /* 8-byte aligned, as maps and heap blocks are */
    size_t n;
} bytes8;

static bytes8 pack_bytes(void)
{
    ful__pack p;
    assert_ok(write_pack(NULL, true, &p));
    assert_true(p.pixels == p.heap + PIXELS_AT && (const uint8_t *)p.labels == p.heap + LABELS_AT);
    assert_true((const uint8_t *)p.clusters == p.heap + CLUSTERS_AT && (const uint8_t *)p.names == p.heap + NAMES_AT);
    bytes8 b = {.words = malloc(END), .n = END};
    memcpy(b.words, p.heap, END);
    ful__pack_close(&p);
    return b;
}

/* A flipped bit anywhere is an error, but for the zeros between pixels and labels, which nothing reads. */
static void test_every_byte(void **state)
{
    (void)state;
    bytes8 b = pack_bytes();
    ful__pack p;
    assert_ok(ful__pack_parse("whole", b.words, b.n, true, &p));
    uint8_t *bytes = (uint8_t *)b.words;
    const size_t gap_begin = PIXELS_AT + COUNT * IMAGE, gap_end = LABELS_AT;
    for (size_t i = 0; i < b.n; i++) {
        bytes[i] ^= (uint8_t)(1u << i % 8);
        const ful_status status = ful__pack_parse("flip", b.words, b.n, true, &p);
        if (status != (i >= gap_begin && i < gap_end ? FUL_OK : FUL_ERR_FORMAT))
            fail_msg("byte %zu: %s", i, ful_status_name(status));
        bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t n = 0; n < b.n; n++) {
        uint64_t *cut = malloc(n + 8); /* tight, so that a read beyond it is seen */
        memcpy(cut, bytes, n);
        assert_int_equal(ful__pack_parse("cut", cut, n, true, &p), FUL_ERR_FORMAT);
        free(cut);
    }
    free(b.words);
}

/* Numbers that lie although all checksums are right. */
static void reseal(bytes8 *b)
{
    uint8_t *bytes = (uint8_t *)b->words;
    ful__pack_head *h = (ful__pack_head *)(void *)bytes;
    ful__pack_tail *t = (ful__pack_tail *)(void *)(bytes + TAIL_AT);
    t->index_checksum = ful__hash64(bytes + LABELS_AT, TAIL_AT - LABELS_AT, 0);
    h->checksum = ful__hash64(h, offsetof(ful__pack_head, checksum), 0);
    t->checksum = ful__hash64(t, offsetof(ful__pack_tail, checksum), 0);
}

static void test_lies(void **state)
{
    (void)state;
    ful__pack p;
    bytes8 b = pack_bytes();
    uint8_t *bytes = (uint8_t *)b.words;
    ful__pack_head *h = (ful__pack_head *)(void *)bytes;
    ful__pack_tail *t = (ful__pack_tail *)(void *)(bytes + TAIL_AT);
    int32_t *stored = (int32_t *)(void *)(bytes + LABELS_AT);
    reseal(&b);
    assert_ok(ful__pack_parse("x", b.words, b.n, true, &p));
#define LIE(place, value, fragment)                                                           \
    do {                                                                                      \
        const __typeof__(place) held = (place);                                               \
        (place) = (value);                                                                    \
        reseal(&b);                                                                           \
        assert_fails(ful__pack_parse("x", b.words, b.n, true, &p), FUL_ERR_FORMAT, fragment); \
        (place) = held;                                                                       \
    } while (0)
    LIE(h->version, 2, "of version 2: this library reads 1");
    LIE(h->byte_order, 0x04030201, "not little-endian");
    LIE(h->height, 0, "width and height must be in 1..");
    LIE(h->width, 100000, "width and height must be in 1..");
    LIE(h->channels, 2, "with 2 channels: 1 or 3");
    LIE(h->split, 3, "splits are 0..2");
    LIE(t->count, 0, "of 0 images");
    LIE(t->count, 1ull << 40, "images: 1..");
    LIE(t->count, COUNT + 1, "images of 7x5x3 make");
    LIE(t->classes, 0, "of 0 classes");
    LIE(t->classes, 4, "3 class names for 4 classes");
    LIE(t->name_bytes, ~0ull, "bytes of class names: too many");
    LIE(t->std[1], 0, "both must be finite, std > 0");
    LIE(stored[4], 3, "image 4 has label 3, labels must be in 0..2");
    LIE(stored[4], -1, "image 4 has label -1");
    LIE(stored[(CLUSTERS_AT - LABELS_AT) / 4 + 6], -2, "image 6 has cluster -2");
    LIE(bytes[NAMES_AT], '\n', "class name 0 is no text");
    LIE(bytes[NAMES_AT], '\0', "class name 0 is no text");
    free(b.words);
}

typedef struct attempt {
    const char *path;
} attempt;

static ful_status file_attempt(void *ctx)
{
    const attempt *a = ctx;
    ful__pack p = {0};
    const ful_status written = write_pack(a->path, true, NULL);
    const ful_status status = written == FUL_OK ? ful__pack_open(a->path, &p) : written;
    ful__pack_close(&p);
    return status;
}

static ful_status memory_attempt(void *ctx)
{
    (void)ctx;
    ful__pack p = {0};
    const ful_status status = write_pack(NULL, true, &p);
    ful__pack_close(&p);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    temp t;
    temp_make(&t);
    attempt a = {temp_path(&t, "x.pack")};
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, memory_attempt, &a);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, file_attempt, &a);
    test_each_failure(FUL__FAULT_WRITE, FUL_ERR_IO, file_attempt, &a);
    test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, file_attempt, &a);
    assert_int_equal(count_files(t.path, ""), 3);
    temp_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_blocks),   cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_lies),       cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
