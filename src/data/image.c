/* SPDX-License-Identifier: Apache-2.0 */
/* One image, whatever its format: told apart by its first bytes, decoded, brought to size. */
#include "data/image.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "data/exif.h"
#include "data/limits.h"
#include <fulcrum/data.h>

typedef enum format { JPEG, PNG, PNM } format;

static ful_status format_of(const char *name, const uint8_t *bytes, size_t n, format *out)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    FUL_FAIL_IF(n == 0, FUL_ERR_DATA, "cannot decode image '%s': the file is empty", name);
    FUL_FAIL_IF(n > FUL__IMAGE_FILE_MAX, FUL_ERR_DATA, "cannot decode image '%s' of %zu bytes: at most %u are accepted", name,
                n, FUL__IMAGE_FILE_MAX);
    if (n >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) {
        *out = JPEG;
        return FUL_OK;
    }
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0) {
        *out = PNG;
        return FUL_OK;
    }
    if (n >= 8 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6')) {
        *out = PNM;
        return FUL_OK;
    }
    char start[17] = "";
    for (size_t i = 0; i < n && i < 8; i++) snprintf(start + 2 * i, 3, "%02x", bytes[i]);
    return ful__fail(FUL_ERR_DATA,
                     "cannot decode image '%s' that begins with bytes %s: it must be a JPEG (ffd8ff) or PNG (89504e47)", name,
                     start);
}

void ful__decoder_deinit(ful__decoder *d)
{
    ful__jpeg_close(&d->jpeg);
    ful__free(d->converted);
    ful__free(d->raw);
    ful__free(d->turned);
    ful__free(d->scratch);
    *d = (ful__decoder){0};
}

ful_status ful__decoder_reserve(ful__decoder *d, size_t bytes)
{
    if (bytes <= d->raw_bytes) return FUL_OK;
    FUL_TRY(ful__realloc(&d->raw, bytes, 1, "a decoded image"));
    d->raw_bytes = bytes;
    return FUL_OK;
}

ful_status ful__image_check_size(const char *name, int64_t h, int64_t w)
{
    FUL_FAIL_IF(h < 1 || w < 1 || h > FUL__IMAGE_SIDE_MAX || w > FUL__IMAGE_SIDE_MAX, FUL_ERR_DATA,
                "cannot decode image '%s' of %lldx%lld pixels: width and height must be in 1..%d", name, (long long)w,
                (long long)h, FUL__IMAGE_SIDE_MAX);
    FUL_FAIL_IF(h * w > FUL__IMAGE_PIXELS_MAX, FUL_ERR_DATA,
                "cannot decode image '%s' of %lldx%lld pixels: at most %u are accepted", name, (long long)w, (long long)h,
                FUL__IMAGE_PIXELS_MAX);
    return FUL_OK;
}

static ful_status probe(format kind, ful__decoder *d, const char *name, const void *bytes, size_t n)
{
    ful__image_info *info = &d->info;
    *info = (ful__image_info){.orientation = 1};
    FUL_TRY(kind == JPEG  ? ful__jpeg_open(d, name, bytes, n, info)
            : kind == PNG ? ful__png_probe(name, bytes, n, info)
                          : ful__pnm_probe(name, bytes, n, info));
    if (!ful__exif_swaps(info->orientation)) return FUL_OK;
    const int height = info->height;
    info->height = info->width;
    info->width = height;
    return FUL_OK;
}

ful_status ful__image_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *height, int *width)
{
    format kind;
    FUL_TRY(format_of(name, bytes, n, &kind));
    FUL_TRY(probe(kind, d, name, bytes, n));
    *height = d->info.height;
    *width = d->info.width;
    return FUL_OK;
}

/* All of the image that was probed, upright, at 1/k (a PNG at 1/1). */
static ful_status decode_whole(format kind, ful__decoder *d, const char *name, const void *bytes, size_t n, int k, int channels,
                               ful__pixels *out)
{
    const ful__image_info *i = &d->info;
    const bool swaps = ful__exif_swaps(i->orientation);
    const int h = swaps ? i->width : i->height, w = swaps ? i->height : i->width;
    const ful__region all = {0, 0, (h + k - 1) / k, (w + k - 1) / k};
    if (kind == JPEG)
        FUL_TRY(ful__jpeg_read(d, name, &all, k, channels, out));
    else
        FUL_TRY(kind == PNG ? ful__png_decode(d, name, bytes, n, out) : ful__pnm_decode(name, bytes, n, out));
    return ful__exif_turn(d, i->orientation, out);
}

ful_status ful__image_check(ful__decoder *d, const char *name, const void *bytes, size_t n)
{
    format kind;
    ful__pixels decoded;
    FUL_TRY(format_of(name, bytes, n, &kind));
    FUL_TRY(probe(kind, d, name, bytes, n));
    return decode_whole(kind, d, name, bytes, n, 1, 3, &decoded);
}

/* The largest of 1/8, 1/4, 1/2 that leaves both sides `spare` times what is wanted. */
static int choose_denominator(double h, double w, int out_h, int out_w, int spare)
{
    int k = 1;
    while (out_h > 0 && k < 8 && h / (2 * k) >= spare * out_h && w / (2 * k) >= spare * out_w) k *= 2;
    return k;
}

ful_status ful__image_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int height, int width,
                             int channels, bool fit, uint8_t *hwc_out)
{
    format kind;
    int h = 0, w = 0;
    ful__pixels decoded;
    FUL_TRY(format_of(name, bytes, n, &kind));
    FUL_TRY(ful__image_probe(d, name, bytes, n, &h, &w));
    FUL_FAIL_IF(!fit && (h != height || w != width), FUL_ERR_DATA,
                "cannot use image '%s' of %dx%d pixels in a set of %dx%d: all must be of one size, or data.size must be given",
                name, w, h, width, height);
    const int shorter = h < w ? h : w; /* twice as large as wanted: the rest is averaged exactly */
    const int k = fit ? choose_denominator(shorter, shorter, height, height, 2) : 1;
    FUL_TRY(decode_whole(kind, d, name, bytes, n, k, channels, &decoded));
    return ful__fit(d, &decoded, height, width, channels, hwc_out);
}

/* The pixels a box touches, at 1/k. */
static ful__region region_of(const ful__box *box, int k)
{
    const ful__region r = {(int)(box->y / k), (int)(box->x / k), (int)ceil((box->y + box->h) / k),
                           (int)ceil((box->x + box->w) / k)};
    return (ful__region){r.y, r.x, r.h - r.y, r.w - r.x};
}

static ful_status convert(ful__decoder *d, ful__pixels *p, int channels)
{
    const size_t bytes = (size_t)p->height * (size_t)p->width * (size_t)channels;
    if (p->channels == channels) return FUL_OK;
    if (bytes > d->converted_bytes) {
        FUL_TRY(ful__realloc(&d->converted, bytes, 1, "a decoded image"));
        d->converted_bytes = bytes;
    }
    FUL_TRY(ful__fit(d, p, p->height, p->width, channels, d->converted));
    *p = (ful__pixels){.data = d->converted, .height = p->height, .width = p->width, .channels = channels};
    return FUL_OK;
}

ful_status ful__image_read_part(ful__decoder *d, const char *name, const void *bytes, size_t n, const ful__box *crop, int out_h,
                                int out_w, int channels, ful__view *view, ful__box *box)
{
    format kind;
    ful__pixels p;
    FUL_TRY(format_of(name, bytes, n, &kind));
    const int k = kind == JPEG ? choose_denominator(crop->h, crop->w, out_h, out_w, 1) : 1;
    const ful__region r = region_of(crop, k);
    if (kind == JPEG && d->info.orientation == 1) {
        FUL_TRY(ful__jpeg_read(d, name, &r, k, channels, &p));
    } else {
        FUL_TRY(decode_whole(kind, d, name, bytes, n, k, channels, &p));
        if (p.stride == 0) p.stride = (size_t)p.width * (size_t)p.channels;
        p.data += (size_t)r.y * p.stride + (size_t)(r.x * p.channels);
        p.height = r.h;
        p.width = r.w;
    }
    FUL_TRY(convert(d, &p, channels));
    *view = (ful__view){p.data, p.stride ? p.stride : (size_t)p.width * (size_t)channels, p.height, p.width, channels};
    *box = (ful__box){crop->y / k - r.y, crop->x / k - r.x, crop->h / k, crop->w / k};
    return FUL_OK;
}

ful_status ful_image_decode(const char *name, const void *bytes, uint64_t n_bytes, int size, int channels, uint8_t *hwc_out)
{
    FUL_FAIL_IF(!name || !bytes || !hwc_out, FUL_ERR_ARG,
                "cannot decode an image with a null name, bytes or output: none may be null");
    FUL_FAIL_IF(size < 1 || size > FUL__SIZE_MAX, FUL_ERR_ARG, "cannot decode image '%s' to size=%d: size must be in 1..%d",
                name, size, FUL__SIZE_MAX);
    FUL_FAIL_IF(channels != 1 && channels != 3, FUL_ERR_ARG, "cannot decode image '%s' to channels=%d: channels must be 1 or 3",
                name, channels);
    ful__decoder decoder = {0};
    const ful_status status = ful__image_decode(&decoder, name, bytes, (size_t)n_bytes, size, size, channels, true, hwc_out);
    ful__decoder_deinit(&decoder);
    return status;
}

ful_status ful_image_load(const char *path, int size, int channels, uint8_t *hwc_out)
{
    FUL_FAIL_IF(!path, FUL_ERR_ARG, "cannot load an image from a null path: path must be given");
    char *bytes = NULL;
    size_t n = 0;
    FUL_TRY(ful__file_read(path, FUL__IMAGE_FILE_MAX, &bytes, &n));
    const ful_status status = ful_image_decode(path, bytes, n, size, channels, hwc_out);
    ful__free(bytes);
    return status;
}
