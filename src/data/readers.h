/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readers of files that hold decoded images. Each takes the bytes of a file in memory (mostly mapped) and adds what it
 * finds to a build. `name` is for messages. Bytes are hostile until proved otherwise; every error names the file and the rule
 * it breaks.
 */
#ifndef FUL_DATA_READERS_H
#define FUL_DATA_READERS_H

#include "data/build.h"
#include "data/source.h"

/* A file in memory. */
typedef struct ful__bytes {
    const char *name;
    const uint8_t *data;
    size_t n;
} ful__bytes;

/* What is to be known about a set in IDX files. Zeroed: classes "0".."max". */
enum { FUL__IDX_NAMES = 257 };
typedef struct ful__idx_kind {
    const char *names[FUL__IDX_NAMES];  /* of the classes, in their order; NULL-terminated; none: their numbers */
    char characters[FUL__IDX_NAMES][2]; /* what names may point to */
    int base;                           /* number of the first class */
    bool transposed;                    /* images lie column by column */
} ful__idx_kind;

/* IDX (idx.c): one file of images (rank 3, unsigned bytes) and one of labels (rank 1), each gzip or not. */
ful_status ful__idx_read(const ful__bytes *images, const ful__bytes *labels, const ful__idx_kind *kind,
                         ful__build *b) FUL_CHECK_RESULT;

/* CIFAR binary (cifar.c): records of label bytes (1; CIFAR-100: coarse, fine) and 3,072 bytes, planes R, G, B. The build must
 * have its classes, which are the numbers' meaning. */
ful_status ful__cifar_read(const ful__bytes *file, ful__layout layout, ful_labels level, ful__build *b) FUL_CHECK_RESULT;
/* Adds `classes` names, one a line of the text; without text (n = 0): the numbers. */
ful_status ful__cifar_classes(const ful__bytes *names, int classes, ful__build *b) FUL_CHECK_RESULT;

const char *ful__emnist_name(ful_emnist which);

/* Whether a file name ends like an image's; whether any part of a path begins with a dot (then it is not ours). */
bool ful__has_image_suffix(const char *path);
bool ful__is_dotted(const char *path);

#endif
