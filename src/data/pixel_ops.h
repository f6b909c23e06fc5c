/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on 8-bit HWC images of 1 or 3 channels, as Pillow's ImageEnhance, ImageOps and Image.transform define them: the
 * published augmentation policies were tuned with those. In place where there is one image.
 */
#ifndef FUL_DATA_PIXEL_OPS_H
#define FUL_DATA_PIXEL_OPS_H

#include <stdint.h>

typedef struct ful__image8 {
    uint8_t *data; /* h * w * channels */
    int h, w, channels;
} ful__image8;

/* factor 1 leaves the image, 0 gives black, an even grey, a grey image, a blurred one; clipped to 0..255. */
void ful__brightness(ful__image8 image, float factor);
void ful__contrast(ful__image8 image, float factor);
void ful__saturation(ful__image8 image, float factor);
void ful__sharpness(const ful__image8 *in, float factor, uint8_t *out); /* 3x3 (1 1 1, 1 5 1, 1 1 1)/13; the border stays */
void ful__hue(ful__image8 image, double shift);                         /* in turns, -0.5..0.5; through 8-bit HSV */

void ful__posterize(ful__image8 image, int bits);        /* keeps the upper bits, 0..8 */
void ful__solarize(ful__image8 image, double threshold); /* inverts values from there on */
void ful__autocontrast(ful__image8 image);               /* each channel's least becomes 0, its largest 255 */
void ful__equalize(ful__image8 image);                   /* even histogram of each channel */
void ful__invert(ful__image8 image);

/* out(x, y) = in(floor(m0 (x+1/2) + m1 (y+1/2) + m2), floor(m3 (x+1/2) + m4 (y+1/2) + m5)), 0 outside; 16 bits of fraction */
void ful__affine(const ful__image8 *in, const double m[6], uint8_t *out);
void ful__rotate(const ful__image8 *in, double degrees, uint8_t *out); /* about the centre, counter-clockwise */

#endif
