/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG through libjpeg-turbo. */
#include <string.h>
#include <turbojpeg.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/image.h"

/* More scans than 500 in a progressive file make libjpeg work for minutes: refused. */
enum { DECODE_FLAGS = TJFLAG_LIMITSCANS };

static ful_status open_decoder(ful__decoder *d)
{
    if (!d->jpeg && !ful__fault_hit(FUL__FAULT_ALLOC)) d->jpeg = tjInitDecompress();
    FUL_FAIL_IF(!d->jpeg, FUL_ERR_MEMORY, "cannot allocate a JPEG decoder: out of memory");
    return FUL_OK;
}

static ful_status read_header(ful__decoder *d, const char *name, const void *bytes, size_t n, int *h, int *w, int *colours)
{
    int subsampling;
    FUL_TRY(open_decoder(d));
    if (tjDecompressHeader3(d->jpeg, bytes, n, w, h, &subsampling, colours) != 0) {
        return ful__fail(FUL_ERR_DATA, "cannot decode JPEG '%s': %s", name, tjGetErrorStr2(d->jpeg));
    }
    FUL_FAIL_IF(*h == 0 && *w == 0, FUL_ERR_DATA, "cannot decode JPEG '%s': it ends before its width and height", name);
    return ful__image_check_size(name, *h, *w);
}

ful_status ful__jpeg_probe(ful__decoder *d, const char *name, const void *bytes, size_t n, int *h, int *w)
{
    int colours;
    return read_header(d, name, bytes, n, h, w, &colours);
}

/* Adobe's files (APP14 "Adobe") hold CMYK inverted: 255 is no ink. */
static bool is_adobe(const uint8_t *p, size_t n)
{
    for (size_t at = 2; at + 4 <= n && p[at] == 0xff;) {
        const uint8_t marker = p[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xda) break; /* pixels follow */
        const size_t length = (size_t)p[at + 2] << 8 | p[at + 3];
        if (marker == 0xee && length >= 7 && at + 9 <= n && memcmp(p + at + 4, "Adobe", 5) == 0) return true;
        at += 2 + length;
    }
    return false;
}

/* In place, 4 bytes to 3: paper reflects what neither the ink nor the black covers. */
static void cmyk_to_rgb(uint8_t *pixels, size_t count, bool inverted)
{
    const uint8_t flip = inverted ? 0 : 255;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *in = pixels + 4 * i;
        const unsigned paper = in[3] ^ flip;
        for (size_t c = 0; c < 3; c++) pixels[3 * i + c] = (uint8_t)(((in[c] ^ flip) * paper + 127) / 255);
    }
}

/* The largest of 1/8, 1/4, 1/2 that leaves the shorter side twice what is wanted: the rest is averaged exactly. */
static tjscalingfactor choose_scale(int h, int w, int min_side)
{
    const int shorter = h < w ? h : w;
    tjscalingfactor scale = {1, 1};
    while (min_side > 0 && scale.denom < 8 && shorter / (2 * scale.denom) >= 2 * min_side) scale.denom *= 2;
    return scale;
}

ful_status ful__jpeg_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, int min_side, int channels,
                            ful__pixels *out)
{
    int h = 0, w = 0, colours = 0;
    FUL_TRY(read_header(d, name, bytes, n, &h, &w, &colours));
    const tjscalingfactor scale = choose_scale(h, w, min_side);
    h = TJSCALED(h, scale);
    w = TJSCALED(w, scale);
    const bool cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    const int format = cmyk ? TJPF_CMYK : channels == 1 ? TJPF_GRAY : TJPF_RGB;
    FUL_TRY(ful__decoder_reserve(d, (size_t)h * (size_t)w * (size_t)tjPixelSize[format]));
    if (tjDecompress2(d->jpeg, bytes, n, d->raw, w, 0, h, format, DECODE_FLAGS) != 0) {
        /* A warning about bytes between segments is harmless and common; any other means that pixels were made up. */
        const char *why = tjGetErrorStr2(d->jpeg);
        const bool harmless = tjGetErrorCode(d->jpeg) == TJERR_WARNING && strstr(why, "extraneous bytes");
        FUL_FAIL_IF(!harmless, FUL_ERR_DATA, "cannot decode JPEG '%s': %s", name, why);
    }
    if (cmyk) cmyk_to_rgb(d->raw, (size_t)h * (size_t)w, is_adobe(bytes, n));
    *out = (ful__pixels){.data = d->raw, .height = h, .width = w, .channels = cmyk ? 3 : tjPixelSize[format]};
    return FUL_OK;
}
