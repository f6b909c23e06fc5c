/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images in memory: JPEG (grey, YCbCr, RGB, CMYK, YCCK) and PNG (grey, palette, RGB, 16 bits; alpha is dropped, as the
 * field's loaders do) to 8-bit HWC of 1 or 3 channels. Orientation tags and colour profiles are ignored.
 */
#ifndef FUL_DATA_IMAGE_H
#define FUL_DATA_IMAGE_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decoded pixels and how they lie: HWC, or one plane per channel (CIFAR's files). */
typedef struct ful__pixels {
    const uint8_t *data;
    int height, width, channels;
    bool planar;
} ful__pixels;

/* What a thread needs to decode one image after another; zero-initialised, grows as needed. */
typedef struct ful__decoder {
    void *jpeg;   /* tjhandle */
    uint8_t *raw; /* decoded pixels before fitting */
    size_t raw_bytes;
    uint64_t *scratch; /* resize.c */
    size_t scratch_words;
} ful__decoder;
void ful__decoder_deinit(ful__decoder *d);

/* Height and width by the header alone. */
ful_status ful__image_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *height,
                            int *width) FUL_CHECK_RESULT;

/*
 * Decodes to height * width * channels bytes. fit: bring any image to that size (height == width then); otherwise an image of
 * another size is an error.
 */
ful_status ful__image_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int height, int width,
                             int channels, bool fit, uint8_t *hwc_out) FUL_CHECK_RESULT;

/* The formats' own readers (image_jpeg.c, image_png.c): d->raw filled, *out describes it. min_side: 0, or the side the image
 * will be fitted to, so that a JPEG may be decoded at 1/2, 1/4 or 1/8 when that is still twice as large. */
ful_status ful__jpeg_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *h, int *w) FUL_CHECK_RESULT;
ful_status ful__jpeg_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int min_side, int channels,
                            ful__pixels *out) FUL_CHECK_RESULT;
ful_status ful__png_probe(const char *name, const void *bytes, size_t n, int *h, int *w) FUL_CHECK_RESULT;
ful_status ful__png_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, ful__pixels *out) FUL_CHECK_RESULT;
ful_status ful__image_check_size(const char *name, int64_t h, int64_t w) FUL_CHECK_RESULT; /* the limits above */
ful_status ful__decoder_reserve(ful__decoder *d, size_t bytes) FUL_CHECK_RESULT;           /* d->raw holds at least bytes */

/*
 * Brings pixels to height * width * channels (resize.c). The centre square (shorter side) is resampled when the sizes differ,
 * which needs height == width: exact area average when shrinking, bilinear with half-pixel centres when growing, in integers.
 * 3 -> 1 channels: (77 R + 150 G + 29 B + 128) >> 8; 1 -> 3: repeated.
 */
ful_status ful__fit(ful__decoder *d, const ful__pixels *in, int height, int width, int channels,
                    uint8_t *hwc_out) FUL_CHECK_RESULT;

#endif
