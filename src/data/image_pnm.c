/* SPDX-License-Identifier: Apache-2.0 */
/* Binary PGM and PPM ("P5", "P6") of 8 bits: how shards hold decoded pixels. Nothing is copied: the pixels are the file's. */
#include "core/error.h"
#include "data/image.h"

/* A decimal number behind blanks and comments; moves *at. 0 where there is none, or it is too large. */
static unsigned next_number(const uint8_t *p, size_t n, size_t *at)
{
    unsigned value = 0;
    for (; *at < n; ++*at) {
        if (p[*at] == '#') {
            while (*at < n && p[*at] != '\n') ++*at;
        } else if (p[*at] != ' ' && p[*at] != '\n' && p[*at] != '\r' && p[*at] != '\t') {
            break;
        }
    }
    for (; *at < n && p[*at] >= '0' && p[*at] <= '9' && value < 100000; ++*at) value = 10 * value + (p[*at] - '0');
    return value;
}

static ful_status parse(const char *name, const uint8_t *p, size_t n, ful__pixels *out)
{
    size_t at = 2;
    const unsigned w = next_number(p, n, &at), h = next_number(p, n, &at), most = next_number(p, n, &at);
    FUL_TRY(ful__image_check_size(name, h, w));
    FUL_FAIL_IF(most != 255 || at >= n, FUL_ERR_DATA, "cannot decode PNM '%s': its largest value must be 255", name);
    *out = (ful__pixels){.data = p + at + 1, .height = (int)h, .width = (int)w, .channels = p[1] == '5' ? 1 : 3};
    const size_t bytes = (size_t)h * w * (size_t)out->channels;
    FUL_FAIL_IF(n - at - 1 != bytes, FUL_ERR_DATA, "cannot decode PNM '%s': %zu bytes of pixels where %zu are due", name,
                n - at - 1, bytes);
    return FUL_OK;
}

ful_status ful__pnm_probe(const char *name, const void *bytes, size_t n, ful__image_info *out)
{
    ful__pixels p = {0};
    FUL_TRY(parse(name, bytes, n, &p));
    *out = (ful__image_info){p.height, p.width, p.channels, 1};
    return FUL_OK;
}

ful_status ful__pnm_decode(const char *name, const void *bytes, size_t n, ful__pixels *out)
{
    return parse(name, bytes, n, out);
}
