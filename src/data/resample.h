/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rectangle of an image to any size, antialiased, as Pillow and torchvision define it: a triangle (bilinear) or Keys' cubic
 * with a = -1/2 (bicubic), stretched by the scale where the image shrinks. For training crops, where the fraction of a value
 * does not matter; what a cache keeps is resampled in integers (resize.c).
 */
#ifndef FUL_DATA_RESAMPLE_H
#define FUL_DATA_RESAMPLE_H

#include <fulcrum/data.h>
#include <stddef.h>

typedef struct ful__box {
    double y, x, h, w; /* in pixels of the source; fractions are fine */
} ful__box;

/* Working memory; zero-initialised, grows as needed, freed by deinit. */
typedef struct ful__resampler {
    float *row;     /* one output row before it is brought to its width */
    float *weight;  /* of the taps of all columns, then of one row */
    int32_t *first; /* of each column: its first tap, how many */
    size_t row_values, weights, columns;
} ful__resampler;
void ful__resampler_deinit(ful__resampler *r);

/* What is there to be sampled: h x w pixels of 1 or 3 bytes, each row `stride` bytes after the one before. */
typedef struct ful__view {
    const uint8_t *data;
    size_t stride;
    int h, w, channels;
} ful__view;

/*
 * The box of `in` to out_h x out_w pixels. Pixels of the view outside the box take part where the filter reaches them, as when
 * the view was resized whole and cut afterwards. mirror: left and right change places. Rounded to the nearest; the same bits at
 * every CPU level.
 */
ful_status ful__resample(ful__resampler *r, const ful__view *in, const ful__box *box, ful_filter filter, bool mirror, int out_h,
                         int out_w, uint8_t *out) FUL_CHECK_RESULT;

#endif
