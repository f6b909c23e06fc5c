/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Corruptions: each is a function of (seed, name, severity, index) alone, does more at each severity, and does what its name
 * says. FUL_CORRUPT_PAGE=FILE.png also writes a page to look at: corruptions down, severities across, after the plain image; of
 * FUL_CORRUPT_IMAGE where that is given.
 */
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <turbojpeg.h>

#include "data/support.h"
#include "support/fault.h"
#include <fulcrum/corrupt.h>

enum { SIDE = 32, VALUES = SIDE * SIDE * 3 };

/* A picture with flat parts, edges, and colours. */
static void draw(int index, int side, int channels, uint8_t *out)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < channels; c++) {
                const int box = x > side / 4 && x < side / 2 && y > side / 3;
                const int value = 60 + 3 * y * 32 / side + (box ? 90 - 60 * c : 0) + (c == 2 ? 2 * x * 32 / side : 0) +
                                  7 * (index % 5);
                *out++ = (uint8_t)(value > 255 ? 255 : value);
            }
}

static void corrupt(const char *name, int severity, uint64_t seed, uint32_t index, int side, int channels, const uint8_t *in,
                    uint8_t *out)
{
    ful_corruptor *k = NULL;
    assert_ok(ful_corruptor_create(name, severity, seed, side, side, channels, 1, &k));
    ful_corruptor_apply(k, 0, index, in, out);
    ful_corruptor_destroy(&k);
    assert_null(k);
}

static double distance(const uint8_t *a, const uint8_t *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum / n);
}

static void test_addresses(void **state)
{
    uint8_t in[VALUES], first[VALUES], again[VALUES], other[VALUES];
    (void)state;
    draw(0, SIDE, 3, in);
    for (const ful_corruption *c = ful_corruptions(); c->name; c++) {
        ful_corruptor *k = NULL;
        assert_ok(ful_corruptor_create(c->name, 3, 7, SIDE, SIDE, 3, 2, &k));
        ful_corruptor_apply(k, 0, 5, in, first);
        ful_corruptor_apply(k, 1, 6, in, other);
        ful_corruptor_apply(k, 1, 5, in, again); /* another worker, after another image */
        if (memcmp(first, again, VALUES) != 0) fail_msg("%s depends on more than its address", c->name);
        const bool draws = memcmp(first, other, VALUES) != 0;
        corrupt(c->name, 3, 8, 5, SIDE, 3, in, other);
        assert_true(draws == (memcmp(first, other, VALUES) != 0)); /* what differs by image differs by seed */
        ful_corruptor_destroy(&k);
    }
}

/* Mean distance from the plain image over some images grows with severity, by and large: 5 is worse than 1. */
static void test_severities(void **state)
{
    static uint8_t in[VALUES], out[VALUES];
    (void)state;
    for (const ful_corruption *c = ful_corruptions(); c->name; c++) {
        double far[FUL_SEVERITIES] = {0};
        for (uint32_t i = 0; i < 12; i++)
            for (int s = 1; s <= FUL_SEVERITIES; s++) {
                draw((int)i, SIDE, 3, in);
                corrupt(c->name, s, 1, i, SIDE, 3, in, out);
                far[s - 1] += distance(in, out, VALUES) / 12;
            }
        if (strcmp(c->name, "elastic_transform") == 0) continue; /* another kind of map at each severity */
        if (strcmp(c->name, "saturate") == 0) {                  /* less colour at 1 and 2, more from 3 on */
            assert_true(far[1] > far[0] && far[4] > far[3] && far[3] > far[2]);
            continue;
        }
        if (!(far[4] > far[0] && far[0] > 0.1)) fail_msg("%s: %.2f at severity 1, %.2f at 5", c->name, far[0], far[4]);
    }
}

/* Moments of the noises on a flat image against their formulas. */
static void test_noise_moments(void **state)
{
    static const struct {
        const char *name;
        double mean, sd;
    } cases[] = {
        {"gaussian_noise", .5, .08}, {"shot_noise", .5, .07071}, {"speckle_noise", .5, .06}, {"impulse_noise", .5, .0866}};
    static uint8_t flat[64 * 64 * 3], out[64 * 64 * 3];
    (void)state;
    memset(flat, 128, sizeof flat);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double sum = 0, square = 0, n = 0;
        for (uint32_t i = 0; i < 4; i++) {
            corrupt(cases[k].name, 3, 3, i, 64, 3, flat, out);
            for (size_t v = 0; v < sizeof out; v++, n++) {
                sum += out[v] / 255.0;
                square += out[v] / 255.0 * out[v] / 255.0;
            }
        }
        const double mean = sum / n, sd = sqrt(square / n - mean * mean);
        /* shot: sqrt(.502/100); impulse: sqrt(.03)/2; all of 50,000 values */
        if (fabs(mean - .502) > .003 || fabs(sd - cases[k].sd) > .004)
            fail_msg("%s: mean %.4f, sd %.4f", cases[k].name, mean, sd);
    }
}

/* Blurs and geometry leave a flat image flat; contrast and saturation keep what their words say. */
static void test_invariants(void **state)
{
    static const char *const keep_flat[] = {"gaussian_blur", "defocus_blur",    "glass_blur",        "motion_blur",
                                            "zoom_blur",     "contrast",        "elastic_transform", "pixelate",
                                            "saturate",      "jpeg_compression"};
    static uint8_t flat[VALUES], in[VALUES], out[VALUES];
    (void)state;
    memset(flat, 77, sizeof flat);
    for (size_t k = 0; k < sizeof keep_flat / sizeof *keep_flat; k++) {
        corrupt(keep_flat[k], 5, 1, 2, SIDE, 3, flat, out);
        for (int i = 0; i < VALUES; i++)
            if (abs(out[i] - 77) > 1) fail_msg("%s: a flat 77 became %d", keep_flat[k], out[i]);
    }
    draw(1, SIDE, 3, in);
    corrupt("contrast", 2, 1, 0, SIDE, 3, in, out);
    double mean[2] = {0, 0};
    for (int i = 0; i < VALUES; i++) mean[0] += in[i], mean[1] += out[i];
    assert_true(fabs(mean[0] - mean[1]) / VALUES < 0.5);
    corrupt("brightness", 2, 1, 0, SIDE, 3, in, out);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const uint8_t *a = in + 3 * i, *b = out + 3 * i;
        const int most_a = a[0] > a[1] ? (a[0] > a[2] ? a[0] : a[2]) : (a[1] > a[2] ? a[1] : a[2]);
        const int most_b = b[0] > b[1] ? (b[0] > b[2] ? b[0] : b[2]) : (b[1] > b[2] ? b[1] : b[2]);
        assert_true(abs(most_b - (most_a + 26 > 255 ? 255 : most_a + 26)) <= 1);
    }
}

/* The loss of JPEG is that of a JPEG: against libjpeg-turbo, compressed and decoded, on sides that blocks do not divide too. */
static void test_jpeg(void **state)
{
    static const int sides[] = {32, 40, 61}, quality[] = {80, 65, 58, 50, 40};
    static uint8_t in[64 * 64 * 3], out[64 * 64 * 3], theirs[64 * 64 * 3];
    (void)state;
    tjhandle to = tjInitCompress(), from = tjInitDecompress();
    for (size_t k = 0; k < 3; k++)
        for (int s = 1; s <= FUL_SEVERITIES; s++)
            for (int channels = 1; channels <= 3; channels += 2) {
                const int side = sides[k], n = side * side * channels, format = channels == 1 ? TJPF_GRAY : TJPF_RGB;
                unsigned char *jpeg = NULL;
                unsigned long bytes = 0;
                double apart = 0, lost = 0;
                draw((int)k, side, channels, in);
                for (int i = 0; i < n; i++)
                    in[i] = (uint8_t)(in[i] / 2 + (i * 2654435761u >> 26)); /* rough enough to lose something */
                corrupt("jpeg_compression", s, 1, 0, side, channels, in, out);
                assert_int_equal(tjCompress2(to, in, side, 0, side, format, &jpeg, &bytes,
                                             channels == 1 ? TJSAMP_GRAY : TJSAMP_420, quality[s - 1], TJFLAG_ACCURATEDCT),
                                 0);
                assert_int_equal(tjDecompress2(from, jpeg, bytes, theirs, side, 0, side, format, TJFLAG_ACCURATEDCT), 0);
                tjFree(jpeg);
                for (int i = 0; i < n; i++)
                    apart += abs(out[i] - theirs[i]) / (double)n, lost += abs(out[i] - in[i]) / (double)n;
                if (apart > 1.5 || lost < 6 * apart)
                    fail_msg("side %d, severity %d, %d channels: %.2f from libjpeg's, %.2f from the image", side, s, channels,
                             apart, lost);
            }
    tjDestroy(to);
    tjDestroy(from);
}

/* All sizes and channels: nothing out of bounds (the sanitizers look), every value written. */
static void test_shapes(void **state)
{
    static const int sides[] = {8, 13, 28, 64};
    static uint8_t in[64 * 64 * 3], out[64 * 64 * 3 + 1];
    (void)state;
    for (const ful_corruption *c = ful_corruptions(); c->name; c++)
        for (size_t k = 0; k < sizeof sides / sizeof *sides; k++)
            for (int channels = 1; channels <= 3; channels += 2) {
                const int n = sides[k] * sides[k] * channels;
                draw(3, sides[k], channels, in);
                out[n] = 99;
                corrupt(c->name, 1 + (int)k, 1, 4, sides[k], channels, in, out);
                assert_int_equal(out[n], 99);
            }
    ful_corruptor *k = NULL;
    assert_fails(ful_corruptor_create("rain", 1, 1, 32, 32, 3, 1, &k), FUL_ERR_ARG, "no corruption of that name");
    assert_fails(ful_corruptor_create("fog", 6, 1, 32, 32, 3, 1, &k), FUL_ERR_ARG, "severity 6");
    assert_fails(ful_corruptor_create("fog", 1, 1, 7, 32, 3, 1, &k), FUL_ERR_ARG, "sides must be in 8");
    assert_fails(ful_corruptor_create("fog", 1, 1, 32, 32, 2, 1, &k), FUL_ERR_ARG, "channels 1 or 3");
    assert_null(k);
}

static ful_status create_one(void *ctx)
{
    ful_corruptor *k = NULL;
    const ful_status status = ful_corruptor_create(ctx, 1, 1, 32, 32, 3, 2, &k);
    ful_corruptor_destroy(&k);
    return status;
}

static void test_memory_runs_out(void **state)
{
    char fog[] = "fog";
    (void)state;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, create_one, fog);
}

static void write_page(const char *path)
{
    const char *file = getenv("FUL_CORRUPT_IMAGE"), *size = getenv("FUL_CORRUPT_SIDE");
    const int side = size ? atoi(size) : SIDE, zoom = side <= 64 ? 128 / side : 1;
    int rows = 0;
    while (ful_corruptions()[rows].name) rows++;
    const int cell = side * zoom + 4, w = cell * (FUL_SEVERITIES + 1), h = cell * rows;
    uint8_t *page = calloc((size_t)w * (size_t)h, 3), *in = calloc(1, (size_t)(side * side * 3)),
            *out = calloc(1, (size_t)(side * side * 3));
    if (file)
        assert_ok(ful_image_load(file, side, 3, in));
    else
        draw(2, side, 3, in);
    for (int r = 0; r < rows; r++)
        for (int s = 0; s <= FUL_SEVERITIES; s++) {
            if (s == 0)
                memcpy(out, in, (size_t)(side * side * 3));
            else
                corrupt(ful_corruptions()[r].name, s, 1, (uint32_t)r, side, 3, in, out);
            for (int y = 0; y < side * zoom; y++)
                for (int x = 0; x < side * zoom; x++)
                    memcpy(page + 3 * ((size_t)(r * cell + y) * (size_t)w + (size_t)(s * cell + x)),
                           out + 3 * ((y / zoom) * side + x / zoom), 3);
        }
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = (png_uint_32)w, .height = (png_uint_32)h, .format = PNG_FORMAT_RGB};
    png_image_write_to_file(&image, path, 0, page, 0, NULL);
    free(page);
    free(in);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),       cmocka_unit_test(test_severities), cmocka_unit_test(test_noise_moments),
        cmocka_unit_test(test_invariants),      cmocka_unit_test(test_jpeg),       cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_memory_runs_out),
    };
    if (getenv("FUL_CORRUPT_PAGE")) write_page(getenv("FUL_CORRUPT_PAGE"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
