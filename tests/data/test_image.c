/* SPDX-License-Identifier: Apache-2.0 */
/* Images: every kind of JPEG and PNG, resizing against a naive reference in doubles, and files that must be refused. */
#include <math.h>
#include <zlib.h>

#include "core/mem.h"
#include "data/image.h"
#include "data/limits.h"
#include "data/support.h"
#include "support/fault.h"

static int luma(const uint8_t *p)
{
    return (77 * p[0] + 150 * p[1] + 29 * p[2] + 128) >> 8;
}

/* ---- PNG: exact ---- */

static void test_png_kinds(void **state)
{
    (void)state;
    enum { N = 8 };
    uint8_t rgb[N * N * 3], rgba[N * N * 4], grey[N * N], grey_alpha[N * N * 2], out[N * N * 3];
    blob png = {0};
    test_image(3, N, N, 3, rgb);
    test_image(4, N, N, 1, grey);
    for (int i = 0; i < N * N; i++) {
        memcpy(rgba + 4 * i, rgb + 3 * i, 3);
        rgba[4 * i + 3] = (uint8_t)(i * 4); /* transparency is dropped, whatever it is */
        grey_alpha[2 * i] = grey[i];
        grey_alpha[2 * i + 1] = (uint8_t)(255 - i);
    }
    const struct {
        int kind;
        const uint8_t *pixels;
    } colours[] = {{PNG_RGB, rgb}, {PNG_RGBA, rgba}, {PNG_PALETTE, rgb}, {PNG_RGB16, rgb}};
    for (size_t k = 0; k < sizeof colours / sizeof *colours; k++) {
        encode_png(&png, colours[k].pixels, N, N, colours[k].kind);
        assert_ok(ful_image_decode("x.png", png.data, png.n, N, 3, out));
        assert_memory_equal(out, rgb, sizeof rgb);
        assert_ok(ful_image_decode("x.png", png.data, png.n, N, 1, out));
        for (int i = 0; i < N * N; i++) assert_int_equal(out[i], luma(rgb + 3 * i));
    }
    const struct {
        int kind;
        const uint8_t *pixels;
    } greys[] = {{PNG_GREY, grey}, {PNG_GREY_ALPHA, grey_alpha}};
    for (size_t k = 0; k < 2; k++) {
        encode_png(&png, greys[k].pixels, N, N, greys[k].kind);
        assert_ok(ful_image_decode("x.png", png.data, png.n, N, 1, out));
        assert_memory_equal(out, grey, sizeof grey);
        assert_ok(ful_image_decode("x.png", png.data, png.n, N, 3, out));
        for (int i = 0; i < 3 * N * N; i++) assert_int_equal(out[i], grey[i / 3]);
    }
    blob_free(&png);
}

/* ---- JPEG: near ---- */

static void smooth(uint8_t *hwc, int h, int w, int channels)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < channels; c++) *hwc++ = (uint8_t)(40 + 150 * (c == 1 ? y : x) / (c == 1 ? h : w) + 10 * c);
}

static void check_near(const uint8_t *a, const uint8_t *b, int n, int most)
{
    for (int i = 0; i < n; i++)
        if (abs(a[i] - b[i]) > most) fail_msg("value %d is %d, wanted %d +- %d", i, a[i], b[i], most);
}

/*
 * With Adobe's mark 255 is no ink, without it 0 is. The encoder turns C = M = Y = v into components (255 - v, 128, 128), K into
 * itself; without its transform mark they are taken as they are.
 */
static void check_cmyk_mark(blob *jpeg)
{
    enum { N = 16 };
    uint8_t cmyk[N * N * 4], inverted[N * N * 3], plain[N * N * 3], a[3 * N * N], b[3 * N * N];
    for (int i = 0; i < N * N; i++) {
        const int v = 60 + 8 * (i % N), k = 50 + 7 * (i / N);
        memset(cmyk + 4 * i, v, 3);
        cmyk[4 * i + 3] = (uint8_t)k;
        for (int c = 0; c < 3; c++) {
            const int ink = c == 0 ? 255 - v : 128;
            inverted[3 * i + c] = (uint8_t)(ink * k / 255);
            plain[3 * i + c] = (uint8_t)((255 - ink) * (255 - k) / 255);
        }
    }
    encode_jpeg_cmyk(jpeg, cmyk, N, N);
    uint8_t *mark = memmem(jpeg->data, jpeg->n, "Adobe", 5);
    assert_non_null(mark);
    mark[11] = 0; /* no transform */
    assert_ok(ful_image_decode("x.jpg", jpeg->data, jpeg->n, N, 3, a));
    check_near(a, inverted, 3 * N * N, 4);
    memcpy(mark, "Nobody", 5);
    assert_ok(ful_image_decode("x.jpg", jpeg->data, jpeg->n, N, 3, b));
    check_near(b, plain, 3 * N * N, 4);
}

static void test_jpeg_kinds(void **state)
{
    (void)state;
    enum { N = 16 };
    uint8_t rgb[N * N * 3], grey[N * N], cmyk[N * N * 4], out[N * N * 3], wanted[N * N * 3];
    blob jpeg = {0};
    smooth(rgb, N, N, 3);
    smooth(grey, N, N, 1);
    encode_jpeg(&jpeg, rgb, N, N, 3, 100);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 3, out));
    check_near(out, rgb, sizeof rgb, 4);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 1, out));
    for (int i = 0; i < N * N; i++) wanted[i] = (uint8_t)luma(rgb + 3 * i);
    check_near(out, wanted, N * N, 4);
    encode_jpeg(&jpeg, grey, N, N, 1, 100);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 1, out));
    check_near(out, grey, N * N, 2);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 3, out));
    for (int i = 0; i < 3 * N * N; i++) wanted[i] = grey[i / 3];
    check_near(out, wanted, 3 * N * N, 2);
    /* CMYK with an Adobe mark (libjpeg-turbo writes one): 255 is no ink, so R = C K / 255. */
    smooth(cmyk, N, N, 4);
    encode_jpeg_cmyk(&jpeg, cmyk, N, N);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 3, out));
    for (int i = 0; i < 3 * N * N; i++) wanted[i] = (uint8_t)((cmyk[i / 3 * 4 + i % 3] * cmyk[i / 3 * 4 + 3] + 127) / 255);
    check_near(out, wanted, 3 * N * N, 5);
    check_cmyk_mark(&jpeg);
    blob_free(&jpeg);
}

/* A large JPEG goes through the decoder's own halving first; it must look like the exact way. */
static void test_jpeg_reduced(void **state)
{
    (void)state;
    enum { H = 300, W = 400, N = 20 };
    static uint8_t big[H * W * 3], exact[N * N * 3], out[N * N * 3];
    blob jpeg = {0}, png = {0};
    smooth(big, H, W, 3);
    encode_jpeg(&jpeg, big, H, W, 3, 95);
    encode_png(&png, big, H, W, PNG_RGB);
    assert_ok(ful_image_decode("x.jpg", jpeg.data, jpeg.n, N, 3, out));
    assert_ok(ful_image_decode("x.png", png.data, png.n, N, 3, exact));
    check_near(out, exact, N * N * 3, 4);
    blob_free(&jpeg);
    blob_free(&png);
}

/* ---- resizing ---- */

/* What the header promises, in doubles: area average when shrinking, bilinear with half-pixel centres when growing. */
static double reference(const uint8_t *in, int w, int m, int s, int oy, int ox, int y, int x, int c, int channels)
{
    const double step = (double)m / s;
    double sum = 0, total = 0;
    for (int j = 0; j < m; j++) {
        for (int i = 0; i < m; i++) {
            double wy, wx;
            if (m > s) {
                wy = fmax(0, fmin(j + 1, (y + 1) * step) - fmax(j, y * step));
                wx = fmax(0, fmin(i + 1, (x + 1) * step) - fmax(i, x * step));
            } else {
                const double cy = fmin(fmax((y + 0.5) * step - 0.5, 0), m - 1),
                             cx = fmin(fmax((x + 0.5) * step - 0.5, 0), m - 1);
                wy = fmax(0, 1 - fabs(cy - j));
                wx = fmax(0, 1 - fabs(cx - i));
            }
            sum += wy * wx * in[((oy + j) * w + ox + i) * channels + c];
            total += wy * wx;
        }
    }
    return sum / total;
}

static void check_resize(int h, int w, int channels, int s)
{
    static uint8_t in[64 * 64 * 3], out[64 * 64 * 3];
    ful__decoder d = {0};
    test_image(h * 100 + w, h, w, channels, in);
    const ful__pixels pixels = {.data = in, .height = h, .width = w, .channels = channels};
    assert_ok(ful__fit(&d, &pixels, s, s, channels, out));
    const int m = h < w ? h : w;
    for (int y = 0; y < s; y++) {
        for (int x = 0; x < s; x++) {
            for (int c = 0; c < channels; c++) {
                const double wanted = reference(in, w, m, s, (h - m) / 2, (w - m) / 2, y, x, c, channels);
                const int got = out[(y * s + x) * channels + c];
                if (fabs(got - wanted) > 0.5 + 1e-6)
                    fail_msg("%dx%dx%d to %d: (%d,%d,%d) is %d, wanted %.4f", w, h, channels, s, y, x, c, got, wanted);
            }
        }
    }
    ful__decoder_deinit(&d);
}

static void test_resize(void **state)
{
    (void)state;
    static const int sides[] = {1, 2, 3, 7, 8, 13, 32, 33};
    for (size_t a = 0; a < sizeof sides / sizeof *sides; a++)
        for (size_t b = 0; b < sizeof sides / sizeof *sides; b++) {
            check_resize(sides[a], sides[a], 1 + 2 * (int)((a + b) & 1), sides[b]);
            check_resize(sides[a], sides[(a + 3) % 8], 3, sides[b]); /* the centre square */
        }
}

/* Planes and interleaved pixels are the same image. */
static void test_planar(void **state)
{
    (void)state;
    enum { H = 5, W = 7 };
    uint8_t hwc[H * W * 3], chw[H * W * 3], a[3 * W * W], b[3 * W * W];
    ful__decoder d = {0};
    test_image(9, H, W, 3, hwc);
    for (int i = 0; i < H * W; i++)
        for (int c = 0; c < 3; c++) chw[c * H * W + i] = hwc[3 * i + c];
    const ful__pixels planar = {.data = chw, .height = H, .width = W, .channels = 3, .planar = true};
    const ful__pixels together = {.data = hwc, .height = H, .width = W, .channels = 3};
    assert_ok(ful__fit(&d, &planar, H, W, 3, a));
    assert_memory_equal(a, hwc, sizeof hwc);
    static const int sizes[] = {5, 3, 6};
    for (int k = 0; k < 3; k++) {
        assert_ok(ful__fit(&d, &planar, sizes[k], sizes[k], 3, a));
        assert_ok(ful__fit(&d, &together, sizes[k], sizes[k], 3, b));
        assert_memory_equal(a, b, (size_t)(3 * sizes[k] * sizes[k]));
    }
    ful__decoder_deinit(&d);
}

/* ---- parts ---- */

/* A part is what stands there in the whole image, whatever its place, the sampling of colours and the scale. */
static void check_parts(const blob *file, int h, int w, int channels, int out)
{
    ful__decoder whole = {0}, part = {0};
    int ph = 0, pw = 0, reduced = 0;
    ful__view all, view;
    ful__box box;
    const ful__box everything = {0, 0, h, w};
    for (int k = 0; k < 60; k++) {
        const int ch = 1 + k * 37 % h, cw = 1 + k * 53 % w;
        const ful__box crop = {k * 29 % (h - ch + 1), k * 31 % (w - cw + 1), ch, cw};
        assert_ok(ful__image_probe(&part, "x", file->data, file->n, &ph, &pw));
        assert_int_equal(ph, h);
        assert_int_equal(pw, w);
        assert_ok(ful__image_read_part(&part, "x", file->data, file->n, &crop, out, out, channels, &view, &box));
        const int scale = (int)(crop.h / box.h + 0.5); /* the whole image at the same scale: ask for as many pixels */
        assert_ok(ful__image_probe(&whole, "x", file->data, file->n, &ph, &pw));
        assert_ok(
            ful__image_read_part(&whole, "x", file->data, file->n, &everything, h / scale, w / scale, channels, &all, &box));
        assert_int_equal(all.h, (h + scale - 1) / scale);
        const int y0 = (int)crop.y / scale, x0 = (int)crop.x / scale;
        assert_int_equal(view.channels, channels);
        assert_true(view.h >= ch / scale && view.w >= cw / scale && y0 + view.h <= all.h && x0 + view.w <= all.w);
        for (int y = 0; y < view.h; y++)
            assert_memory_equal(view.data + (size_t)y * view.stride,
                                all.data + (size_t)(y0 + y) * all.stride + (size_t)(x0 * channels),
                                (size_t)(view.w * channels));
        reduced += scale > 1;
    }
    assert_true(out == 0 ? reduced == 0 : out > 12 || reduced > 0);
    ful__decoder_deinit(&whole);
    ful__decoder_deinit(&part);
}

static void test_parts(void **state)
{
    (void)state;
    enum { H = 150, W = 211 };
    static uint8_t rgb[H * W * 3], cmyk[H * W * 4];
    blob file = {0};
    test_image(5, H, W, 3, rgb);
    for (size_t i = 0; i < sizeof cmyk; i++) cmyk[i] = (uint8_t)(i * 7 % 251);
    for (int out = 0; out <= 24; out += 12) { /* 0: never reduced */
        for (int kind = 0; kind < JPEG_KINDS; kind++) {
            encode_jpeg_kind(&file, rgb, H, W, kind);
            check_parts(&file, H, W, 3, out);
            check_parts(&file, H, W, 1, out);
        }
        encode_jpeg_cmyk(&file, cmyk, H, W);
        check_parts(&file, H, W, 3, out);
        encode_png(&file, rgb, H, W, PNG_RGB);
        check_parts(&file, H, W, 3, 0);
        check_parts(&file, H, W, 1, 0);
    }
    blob_free(&file);
}

/* ---- what must be refused ---- */

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Another width and height in a PNG's header, with the right checksum. */
static void patch_png_size(blob *png, uint32_t w, uint32_t h)
{
    put_be32(png->data + 16, w);
    put_be32(png->data + 20, h);
    put_be32(png->data + 29, (uint32_t)crc32(crc32(0, NULL, 0), png->data + 12, 17));
}

static void test_hostile(void **state)
{
    (void)state;
    enum { N = 24 };
    uint8_t rgb[N * N * 3], out[N * N * 3];
    blob png = {0}, jpeg = {0};
    test_image(5, N, N, 3, rgb);
    encode_png(&png, rgb, N, N, PNG_RGB);
    encode_jpeg(&jpeg, rgb, N, N, 3, 90);
    assert_fails(ful_image_decode("e.png", png.data, 0, N, 3, out), FUL_ERR_DATA, "'e.png': the file is empty");
    assert_fails(ful_image_decode("g.png", "GIF89a..", 8, N, 3, out), FUL_ERR_DATA, "begins with bytes 4749463839612e2e");
    for (size_t n = 9; n < png.n; n++)
        assert_fails(ful_image_decode("t.png", png.data, n, N, 3, out), FUL_ERR_DATA, "PNG 't.png'");
    assert_fails(ful_image_decode("t.png", png.data, png.n - 4, N, 3, out), FUL_ERR_DATA, "the file is cut off");
    for (size_t n = 3; n + 2 < jpeg.n; n += 5) /* without its last two bytes, the end mark, a JPEG is still whole */
        assert_fails(ful_image_decode("t.jpg", jpeg.data, n, N, 3, out), FUL_ERR_DATA, "JPEG 't.jpg'");
    assert_fails(ful_image_decode("z.png", png.data, png.n, 0, 3, out), FUL_ERR_ARG, "size must be in 1..");
    assert_fails(ful_image_decode("z.png", png.data, png.n, N, 2, out), FUL_ERR_ARG, "channels must be 1 or 3");
    assert_fails(ful_image_decode("z.png", NULL, 1, N, 3, out), FUL_ERR_ARG, "none may be null");
    patch_png_size(&png, 0, N);
    assert_fails(ful_image_decode("zero.png", png.data, png.n, N, 3, out), FUL_ERR_DATA, "width is zero");
    patch_png_size(&png, 20000, 1);
    assert_fails(ful_image_decode("wide.png", png.data, png.n, N, 3, out), FUL_ERR_DATA, "width exceeds user limit");
    patch_png_size(&png, 16384, 16384);
    assert_fails(ful_image_decode("bomb.png", png.data, png.n, N, 3, out), FUL_ERR_DATA,
                 "'bomb.png' of 16384x16384 pixels: at most");
    png.data[29] ^= 1;
    assert_fails(ful_image_decode("crc.png", png.data, png.n, N, 3, out), FUL_ERR_DATA, "CRC");
    /* The same for a JPEG: SOF0 is ff c0, length, precision, height, width. */
    uint8_t *sof = memmem(jpeg.data, jpeg.n, "\xff\xc0", 2);
    assert_non_null(sof);
    memcpy(sof + 5, "\x7f\xff\x00\x18", 4);
    assert_fails(ful_image_decode("tall.jpg", jpeg.data, jpeg.n, N, 3, out), FUL_ERR_DATA,
                 "'tall.jpg' of 24x32767 pixels: width and height");
    blob_free(&png);
    blob_free(&jpeg);
}

static void test_load(void **state)
{
    (void)state;
    temp t;
    uint8_t rgb[8 * 8 * 3], out[8 * 8 * 3];
    blob png = {0};
    temp_make(&t);
    test_image(1, 8, 8, 3, rgb);
    encode_png(&png, rgb, 8, 8, PNG_RGB);
    write_file(temp_path(&t, "a.png"), png.data, png.n);
    assert_ok(ful_image_load(temp_path(&t, "a.png"), 8, 3, out));
    assert_memory_equal(out, rgb, sizeof rgb);
    assert_fails(ful_image_load(temp_path(&t, "b.png"), 8, 3, out), FUL_ERR_IO, "b.png");
    assert_int_equal(truncate(temp_path(&t, "a.png"), (off_t)FUL__IMAGE_FILE_MAX + 1), 0);
    assert_fails(ful_image_load(temp_path(&t, "a.png"), 8, 3, out), FUL_ERR_FORMAT, "a.png");
    blob_free(&png);
    temp_remove(&t);
}

typedef struct attempt {
    blob image;
    int size;
} attempt;

static ful_status decode_attempt(void *ctx)
{
    const attempt *a = ctx;
    uint8_t out[16 * 16 * 3];
    return ful_image_decode("x", a->image.data, a->image.n, a->size, 3, out);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    uint8_t rgb[24 * 24 * 3];
    attempt a = {.size = 16};
    test_image(2, 24, 24, 3, rgb);
    encode_jpeg(&a.image, rgb, 24, 24, 3, 90);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, decode_attempt, &a);
    encode_png(&a.image, rgb, 24, 24, PNG_RGB);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, decode_attempt, &a);
    blob_free(&a.image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_kinds), cmocka_unit_test(test_jpeg_kinds), cmocka_unit_test(test_jpeg_reduced),
        cmocka_unit_test(test_resize),    cmocka_unit_test(test_planar),     cmocka_unit_test(test_parts),
        cmocka_unit_test(test_hostile),   cmocka_unit_test(test_load),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
