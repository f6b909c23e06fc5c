/* SPDX-License-Identifier: Apache-2.0 */
/* Exif 2.32, section 4.6: a TIFF header ("II*\0" or "MM\0*", offset of the directory), a directory of 12-byte entries (tag,
 * type, count, value); tag 0x0112, type 3 (16 bits), is the orientation. */
#include "data/exif.h"

#include <string.h>

#include "core/error.h"
#include "core/mem.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3 };

static unsigned get16(const uint8_t *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, bool big)
{
    return big ? (uint32_t)get16(p, big) << 16 | get16(p + 2, big) : (uint32_t)get16(p + 2, big) << 16 | get16(p, big);
}

int ful__exif_orientation(const uint8_t *p, size_t n)
{
    if (n < 8 || (memcmp(p, "II*\0", 4) != 0 && memcmp(p, "MM\0*", 4) != 0)) return 1;
    const bool big = *p == 'M';
    const uint32_t at = get32(p + 4, big);
    if (at > n - 2 || at < 8) return 1;
    const unsigned entries = get16(p + at, big);
    for (size_t i = 0, e = (size_t)at + 2; i < entries && e + 12 <= n; i++, e += 12) {
        if (get16(p + e, big) != TAG_ORIENTATION) continue;
        const unsigned value = get16(p + e + 8, big);
        return get16(p + e + 2, big) == TYPE_SHORT && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

int ful__exif_jpeg_orientation(const uint8_t *p, size_t n)
{
    for (size_t at = 2; at + 4 <= n && p[at] == 0xff;) {
        const uint8_t marker = p[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xda || marker == 0xd9) break; /* pixels follow */
        const size_t length = (size_t)p[at + 2] << 8 | p[at + 3];
        if (length < 2) break;
        if (marker == 0xe1 && length >= 16 && at + 2 + length <= n && memcmp(p + at + 4, "Exif\0\0", 6) == 0)
            return ful__exif_orientation(p + at + 10, length - 8);
        at += 2 + length;
    }
    return 1;
}

/* The stored row and column of pixel (y, x) of the upright image; h, w: of the stored one. */
static void stored_at(int orientation, size_t h, size_t w, size_t y, size_t x, size_t *row, size_t *column)
{
    const bool swaps = ful__exif_swaps(orientation);
    const size_t r = swaps ? x : y, c = swaps ? y : x;
    *row = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7 ? h - 1 - r : r;
    *column = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8 ? w - 1 - c : c;
}

ful_status ful__exif_turn(ful__decoder *d, int orientation, ful__pixels *image)
{
    if (orientation == 1) return FUL_OK;
    const size_t h = (size_t)image->height, w = (size_t)image->width, c = (size_t)image->channels;
    const size_t stride = image->stride ? image->stride : w * c;
    const bool swaps = ful__exif_swaps(orientation);
    const size_t rows = swaps ? w : h, columns = swaps ? h : w;
    if (h * w * c > d->turned_bytes) {
        FUL_TRY(ful__realloc(&d->turned, h * w * c, 1, "a turned image"));
        d->turned_bytes = h * w * c;
    }
    for (size_t y = 0; y < rows; y++) {
        for (size_t x = 0; x < columns; x++) {
            size_t row, column;
            stored_at(orientation, h, w, y, x, &row, &column);
            memcpy(d->turned + (y * columns + x) * c, image->data + row * stride + column * c, c);
        }
    }
    *image = (ful__pixels){.data = d->turned, .height = (int)rows, .width = (int)columns, .channels = image->channels};
    return FUL_OK;
}
