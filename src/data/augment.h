/* SPDX-License-Identifier: Apache-2.0 */
/* From an 8-bit image to the floats of a batch: crop, mirror and normalise in one pass. */
#ifndef FUL_DATA_AUGMENT_H
#define FUL_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

/* table[c][v] = (v/255 - mean[c]) / std[c] */
typedef struct ful__norm_table {
    float value[3][256];
} ful__norm_table;
void ful__norm_table_init(ful__norm_table *t, const float mean[3], const float std[3]);

/*
 * out(y, x, c) = table[c][in(y + dy, x' + dx, c)], x' = w-1-x when mirrored, else x; a pixel outside the image is 0 (black)
 * before normalisation, as where an image is padded with zeros and cropped. dy, dx in -pad..pad.
 */
void ful__augment(const uint8_t *hwc, int h, int w, int channels, int dy, int dx, bool mirror, const ful__norm_table *table,
                  float *out);

#endif
