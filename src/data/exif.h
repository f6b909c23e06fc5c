/* SPDX-License-Identifier: Apache-2.0 */
/* The orientation tag of Exif data: how a stored image must be turned to stand upright. */
#ifndef FUL_DATA_EXIF_H
#define FUL_DATA_EXIF_H

#include "data/image.h"

/* 1..8 as Exif numbers them, 1 (as it is) where there is none or it is malformed. tiff: from "II" or "MM" on. */
int ful__exif_orientation(const uint8_t *tiff, size_t n);
int ful__exif_jpeg_orientation(const uint8_t *file, size_t n); /* of a whole JPEG file: its first APP1 "Exif" */

/* Whether height and width change places. */
static inline bool ful__exif_swaps(int orientation)
{
    return orientation >= 5;
}

/* Turns *image (HWC) upright into d->turned and points it there; orientation 1 changes nothing. */
ful_status ful__exif_turn(ful__decoder *d, int orientation, ful__pixels *image) FUL_CHECK_RESULT;

#endif
