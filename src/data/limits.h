/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers accept. Every limit is checked before memory is asked for, and every message about one names it. */
#ifndef FUL_DATA_LIMITS_H
#define FUL_DATA_LIMITS_H

#define FUL__IMAGE_SIDE_MAX   16384        /* pixels */
#define FUL__IMAGE_PIXELS_MAX (64u << 20)  /* height * width: a decompression bomb is larger */
#define FUL__IMAGE_FILE_MAX   (64u << 20)  /* bytes of one encoded image */
#define FUL__RAW_FILE_MAX     (4ull << 30) /* bytes of one IDX or CIFAR file, decompressed */
#define FUL__SET_MAX          (1ll << 31)  /* images in a set: positions fit 32 bits */
#define FUL__SIZE_MAX         1024         /* side of the images of a set, so data.size too */
#define FUL__CLASSES_MAX      65536
#define FUL__CLASS_NAME_MAX   255 /* bytes */

#endif
