/* SPDX-License-Identifier: Apache-2.0 */
/* Orientation tags: all eight, in both byte orders, in JPEG and PNG, against the words of the Exif standard; and malformed
 * ones. */
#include <zlib.h>

#include "data/exif.h"
#include "data/support.h"

enum { H = 5, W = 8 }; /* of the upright image */

/* Exif 2.32, tag 274: which side of the upright image the stored row 0 and column 0 are. */
typedef enum side { TOP, RIGHT, BOTTOM, LEFT } side;
static const side row0[9] = {TOP, TOP, TOP, BOTTOM, BOTTOM, LEFT, RIGHT, RIGHT, LEFT};
static const side column0[9] = {LEFT, LEFT, RIGHT, RIGHT, LEFT, TOP, TOP, BOTTOM, BOTTOM};

/* The upright place of stored (r, c), for an upright image of h x w. */
static void upright(int orientation, int h, int w, int r, int c, int *y, int *x)
{
    const side rows = row0[orientation], columns = column0[orientation];
    if (rows == TOP || rows == BOTTOM) {
        *y = rows == TOP ? r : h - 1 - r;
        *x = columns == LEFT ? c : w - 1 - c;
    } else {
        *x = rows == LEFT ? r : w - 1 - r;
        *y = columns == TOP ? c : h - 1 - c;
    }
}

static size_t make_tiff(uint8_t *out, int orientation, bool big)
{
    static const uint8_t little[26] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t large[26] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    memcpy(out, big ? large : little, 26);
    out[big ? 19 : 18] = (uint8_t)orientation;
    return 26;
}

static void insert(blob *b, size_t at, const uint8_t *bytes, size_t n)
{
    blob tail = {0};
    blob_add(&tail, b->data + at, b->n - at);
    b->n = at;
    blob_add(b, bytes, n);
    blob_add(b, tail.data, tail.n);
    blob_free(&tail);
}

static void tag_png(blob *png, const uint8_t *tiff, size_t n)
{
    uint8_t chunk[64] = {0, 0, 0, (uint8_t)n, 'e', 'X', 'I', 'f'};
    memcpy(chunk + 8, tiff, n);
    const uint32_t crc = (uint32_t)crc32(0, chunk + 4, (uInt)(n + 4));
    for (int i = 0; i < 4; i++) chunk[8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    insert(png, 33, chunk, n + 12); /* behind signature and IHDR */
}

static void tag_jpeg(blob *jpeg, const uint8_t *tiff, size_t n)
{
    uint8_t segment[64] = {0xff, 0xe1, 0, (uint8_t)(n + 8), 'E', 'x', 'i', 'f', 0, 0};
    memcpy(segment + 10, tiff, n);
    insert(jpeg, 2, segment, n + 10);
}

static void decode(ful__decoder *d, const blob *b, int h, int w, uint8_t *out)
{
    int height = 0, width = 0;
    assert_ok(ful__image_probe(d, "x", b->data, b->n, &height, &width));
    assert_int_equal(height, h);
    assert_int_equal(width, w);
    assert_ok(ful__image_decode(d, "x", b->data, b->n, h, w, 3, false, out));
}

static void test_png(void **state)
{
    (void)state;
    uint8_t whole[H * W * 3], stored[H * W * 3], out[H * W * 3], tiff[32];
    ful__decoder d = {0};
    test_image(7, H, W, 3, whole);
    for (int o = 1; o <= 8; o++) {
        const int rows = o >= 5 ? W : H, columns = o >= 5 ? H : W;
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < columns; c++) {
                int y = 0, x = 0;
                upright(o, H, W, r, c, &y, &x);
                memcpy(stored + 3 * (r * columns + c), whole + 3 * (y * W + x), 3);
            }
        }
        for (int big = 0; big < 2; big++) {
            blob png = {0};
            encode_png(&png, stored, rows, columns, PNG_RGB);
            tag_png(&png, tiff, make_tiff(tiff, o, big));
            decode(&d, &png, H, W, out);
            assert_memory_equal(out, whole, sizeof whole);
            blob_free(&png);
        }
    }
    ful__decoder_deinit(&d);
}

/* A tagged JPEG is the same JPEG without a tag, turned. */
static void test_jpeg(void **state)
{
    (void)state;
    uint8_t stored[H * W * 3], plain[H * W * 3], out[H * W * 3], tiff[32];
    ful__decoder d = {0};
    test_image(9, H, W, 3, stored);
    for (int o = 1; o <= 8; o++) {
        blob jpeg = {0};
        const int h = o >= 5 ? W : H, w = o >= 5 ? H : W;
        encode_jpeg(&jpeg, stored, H, W, 3, 95);
        decode(&d, &jpeg, H, W, plain);
        tag_jpeg(&jpeg, tiff, make_tiff(tiff, o, o % 2));
        decode(&d, &jpeg, h, w, out);
        for (int r = 0; r < H; r++) {
            for (int c = 0; c < W; c++) {
                int y = 0, x = 0;
                upright(o, h, w, r, c, &y, &x);
                assert_memory_equal(out + 3 * (y * w + x), plain + 3 * (r * W + c), 3);
            }
        }
        blob_free(&jpeg);
    }
    ful__decoder_deinit(&d);
}

/* What is malformed means nothing: the image stays as it is. Every cut, and every byte changed, of a good tag. */
static void test_malformed(void **state)
{
    (void)state;
    uint8_t tiff[32];
    for (int big = 0; big < 2; big++) {
        const size_t n = make_tiff(tiff, 6, big);
        assert_int_equal(ful__exif_orientation(tiff, n), 6);
        for (size_t cut = 0; cut < 22; cut++) assert_int_equal(ful__exif_orientation(tiff, cut), 1);
        for (size_t at = 0; at < n; at++) {
            for (int v = 0; v < 256; v++) {
                uint8_t other[32];
                memcpy(other, tiff, n);
                other[at] = (uint8_t)v;
                const int o = ful__exif_orientation(other, n);
                assert_true(o >= 1 && o <= 8);
            }
        }
        for (int bad = 0; bad < 256; bad += bad == 0 ? 9 : 1) {
            make_tiff(tiff, bad, big);
            assert_int_equal(ful__exif_orientation(tiff, n), 1);
        }
    }
    static const uint8_t far[] = {'I', 'I', 42, 0, 255, 255, 255, 255, 1, 0};
    assert_int_equal(ful__exif_orientation(far, sizeof far), 1);
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff, 'E', 'x', 'i', 'f', 0, 0};
    for (size_t n = 0; n <= sizeof jpeg; n++) assert_int_equal(ful__exif_jpeg_orientation(jpeg, n), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png),
        cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
