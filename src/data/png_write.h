/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_DATA_PNG_WRITE_H
#define FUL_DATA_PNG_WRITE_H

#include <stdint.h>

#include "core/str.h"

/* Appends pixels [h][w][c], 1 or 3 channels, as a PNG file. A failure sticks in out, as others do. */
void ful__png_write(ful__str *out, const uint8_t *pixels, int h, int w, int c);

#endif
