/* SPDX-License-Identifier: Apache-2.0 */
#include "data/text.h"

#include <stdint.h>

size_t ful__utf8_bytes(const char *text)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter forms of the same character are refused */
    const unsigned char *p = (const unsigned char *)text;
    if (*p < 0x80) return *p != 0;
    const size_t n = *p >= 0xf0 && *p < 0xf8 ? 4 : *p >= 0xe0 ? 3 : 2;
    if (*p < 0xc0 || *p >= 0xf8) return 0;
    uint32_t code = *p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0; /* also at the end of the text */
        code = code << 6 | (p[i] & 0x3fu);
    }
    return code >= least[n] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? n : 0;
}

bool ful__name_is_clean(const char *name)
{
    if (*name == '\0') return false;
    for (const char *p = name; *p;) {
        const size_t n = ful__utf8_bytes(p);
        if (n == 0 || (n == 1 && ((unsigned char)*p < 0x20 || *p == 0x7f))) return false;
        p += n;
    }
    return true;
}
