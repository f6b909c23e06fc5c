/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images in memory: JPEG (grey, YCbCr, RGB, CMYK, YCCK) and PNG (grey, palette, RGB, 16 bits; alpha is dropped, as the
 * field's loaders do), and binary PGM and PPM, to 8-bit HWC of 1 or 3 channels. Images stand as their Exif orientation says
 * (APP1 of a JPEG, eXIf of a PNG); colour profiles are ignored.
 */
#ifndef FUL_DATA_IMAGE_H
#define FUL_DATA_IMAGE_H

#include "data/resample.h"
#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decoded pixels and how they lie: HWC, or one plane per channel (CIFAR's files). */
typedef struct ful__pixels {
    const uint8_t *data;
    int height, width, channels;
    bool planar;
    size_t stride; /* bytes from row to row where rows have gaps; 0: they have none. Not with planar */
} ful__pixels;

/* What the header of an image says. Height and width are those of the upright image. */
typedef struct ful__image_info {
    int height, width;
    int channels;    /* in the file: 1 grey, 2 with alpha, 3, 4 (CMYK, RGBA) */
    int orientation; /* Exif's, 1..8 */
} ful__image_info;

typedef struct ful__jpeg ful__jpeg;

/* What a thread needs to decode one image after another; zero-initialised, grows as needed. */
typedef struct ful__decoder {
    ful__image_info info; /* of the image probed last */
    ful__jpeg *jpeg;
    uint8_t *raw; /* decoded pixels before fitting */
    size_t raw_bytes;
    uint8_t *converted; /* part of them with other channels */
    size_t converted_bytes;
    uint8_t *turned; /* exif.c */
    size_t turned_bytes;
    uint64_t *scratch; /* resize.c */
    size_t scratch_words;
} ful__decoder;
void ful__decoder_deinit(ful__decoder *d);

/* Height and width (more in d->info) by the header alone, which stays read for ful__image_read_part. */
ful_status ful__image_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *height,
                            int *width) FUL_CHECK_RESULT;
/* Decodes at full size, for the proof that it can be done; only d->info is kept. */
ful_status ful__image_check(ful__decoder *d, const char *name, const void *bytes, size_t n) FUL_CHECK_RESULT;

/*
 * Decodes to height * width * channels bytes. fit: bring any image to that size (height == width then); otherwise an image of
 * another size is an error.
 */
ful_status ful__image_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int height, int width,
                             int channels, bool fit, uint8_t *hwc_out) FUL_CHECK_RESULT;

/*
 * Part of the image that was probed just before with the same bytes, to be resampled to out_h x out_w: *view holds the part
 * `crop` (whole pixels, inside the image) and *box says where in it. A JPEG is decoded there alone, and at 1/2, 1/4 or 1/8 when
 * the crop is still as large as what it is resampled to; the view is borrowed until the decoder is used again. What lies
 * outside is not looked at, so damage there may go unnoticed. An image that must be turned is decoded whole.
 */
ful_status ful__image_read_part(ful__decoder *d, const char *name, const void *bytes, size_t n, const ful__box *crop, int out_h,
                                int out_w, int channels, ful__view *view, ful__box *box) FUL_CHECK_RESULT;

/* The formats' own readers (image_jpeg.c, image_png.c): *out describes what lies in d->raw. */
typedef struct ful__region {
    int y, x, h, w;
} ful__region;
/* Reads the header; then a region of the image at 1/denominator (1, 2, 4, 8; sides rounded up), in pixels of that size. The
 * bytes must be there for both. */
ful_status ful__jpeg_open(ful__decoder *d, const char *name, const void *bytes, size_t n,
                          ful__image_info *out) FUL_CHECK_RESULT; /* height and width as stored */
ful_status ful__jpeg_read(ful__decoder *d, const char *name, const ful__region *region, int denominator, int channels,
                          ful__pixels *out) FUL_CHECK_RESULT;
void ful__jpeg_close(ful__jpeg **jpeg);
ful_status ful__png_probe(const char *name, const void *bytes, size_t n, ful__image_info *out) FUL_CHECK_RESULT; /* likewise */
ful_status ful__png_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, ful__pixels *out) FUL_CHECK_RESULT;
ful_status ful__pnm_probe(const char *name, const void *bytes, size_t n, ful__image_info *out) FUL_CHECK_RESULT;
ful_status ful__pnm_decode(const char *name, const void *bytes, size_t n, ful__pixels *out) FUL_CHECK_RESULT; /* borrows */
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
