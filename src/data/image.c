/* SPDX-License-Identifier: Apache-2.0 */
/* One image, whatever its format: told apart by its first bytes, decoded, brought to size. */
#include "data/image.h"

#include <stdio.h>
#include <string.h>
#include <turbojpeg.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "data/limits.h"
#include <fulcrum/data.h>

typedef enum format { JPEG, PNG } format;

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
    char start[17] = "";
    for (size_t i = 0; i < n && i < 8; i++) snprintf(start + 2 * i, 3, "%02x", bytes[i]);
    return ful__fail(FUL_ERR_DATA,
                     "cannot decode image '%s' that begins with bytes %s: it must be a JPEG (ffd8ff) or PNG (89504e47)", name,
                     start);
}

void ful__decoder_deinit(ful__decoder *d)
{
    if (d->jpeg) tjDestroy(d->jpeg);
    ful__free(d->raw);
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

ful_status ful__image_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *height, int *width)
{
    format kind;
    FUL_TRY(format_of(name, bytes, n, &kind));
    return kind == JPEG ? ful__jpeg_probe(d, name, bytes, n, height, width) : ful__png_probe(name, bytes, n, height, width);
}

ful_status ful__image_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int height, int width,
                             int channels, bool fit, uint8_t *hwc_out)
{
    format kind;
    FUL_TRY(format_of(name, bytes, n, &kind));
    if (!fit) {
        int h = 0, w = 0;
        FUL_TRY(ful__image_probe(d, name, bytes, n, &h, &w));
        FUL_FAIL_IF(
            h != height || w != width, FUL_ERR_DATA,
            "cannot use image '%s' of %dx%d pixels in a set of %dx%d: all must be of one size, or data.size must be given",
            name, w, h, width, height);
    }
    ful__pixels decoded;
    if (kind == JPEG)
        FUL_TRY(ful__jpeg_decode(d, name, bytes, n, fit ? height : 0, channels, &decoded));
    else
        FUL_TRY(ful__png_decode(d, name, bytes, n, &decoded));
    return ful__fit(d, &decoded, height, width, channels, hwc_out);
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
