/* SPDX-License-Identifier: Apache-2.0 */
/* From an 8-bit image to the floats of a batch: a window of it, mirrored or not, normalised in the same pass. */
#ifndef FUL_DATA_AUGMENT_H
#define FUL_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

/* table[c][v] = (v/255 - mean[c]) / std[c] */
typedef struct ful__norm_table {
    float value[3][256];
} ful__norm_table;
void ful__norm_table_init(ful__norm_table *t, const float mean[3], const float std[3]);

/* h x w pixels of an image of in_h x in_w, from row y and column x on, which may lie outside it. */
typedef struct ful__window {
    int in_h, in_w, channels;
    int y, x, h, w;
    bool mirror;
} ful__window;

/*
 * out(i, j, c) = table[c][in(y + i, x + j', c)], j' = w-1-j when mirrored, else j; a pixel outside the image is 0 (black)
 * before normalisation, as where an image is padded with zeros and cropped. bytes: the same without the table.
 */
void ful__window_floats(const uint8_t *hwc, const ful__window *window, const ful__norm_table *table, float *out);
void ful__window_bytes(const uint8_t *hwc, const ful__window *window, uint8_t *out);

#endif
