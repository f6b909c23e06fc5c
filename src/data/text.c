/* SPDX-License-Identifier: Apache-2.0 */
#include "data/text.h"

#include "core/utf8.h"

bool ful__name_is_clean(const char *name)
{
    if (*name == '\0') return false;
    while (*name) {
        uint32_t point = 0;
        const int bytes = ful__utf8_decode(name, &point);
        if (bytes == 0 || point < 0x20 || point == 0x7f) return false;
        name += bytes;
    }
    return true;
}
