/* SPDX-License-Identifier: Apache-2.0 */
/* One character of UTF-8. */
#ifndef FUL_CORE_UTF8_H
#define FUL_CORE_UTF8_H

#include <stdint.h>

/* Its code point and length in bytes, 1..4; 0 where the bytes are no UTF-8 (overlong forms and surrogates are none). text[0] !=
 * 0. */
static inline int ful__utf8_decode(const char *text, uint32_t *point_out)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) {
        *point_out = b[0];
        return 1;
    }
    const int n = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (b[0] < 0xC2 || b[0] > 0xF4) return 0;
    uint32_t point = b[0] & (0x7Fu >> n);
    for (int i = 1; i < n; i++) {
        if ((b[i] & 0xC0u) != 0x80u) return 0;
        point = point << 6 | (b[i] & 0x3Fu);
    }
    if (point < least[n] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return 0;
    *point_out = point;
    return n;
}

#endif
