/* SPDX-License-Identifier: Apache-2.0 */
/* Small data sets that the tests write themselves: images by rule, in every format and layout the readers know. */
#ifndef FUL_TESTS_DATA_SUPPORT_H
#define FUL_TESTS_DATA_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/test.h"
#include <fulcrum/data.h>

/* A fresh folder, removed with all in it by temp_remove. */
typedef struct temp {
    char path[512];
} temp;
void temp_make(temp *t);
void temp_remove(temp *t);
/* "<temp>/<format…>", in one of a few static buffers. */
const char *temp_path(const temp *t, const char *fmt, ...) FUL_PRINTF(2, 3);
void make_folder(const char *path);
void write_file(const char *path, const void *bytes, size_t n);
int count_files(const char *folder, const char *suffix);

/* Growing bytes. */
typedef struct blob {
    uint8_t *data;
    size_t n, capacity;
} blob;
void blob_add(blob *b, const void *bytes, size_t n);
void blob_free(blob *b);
void blob_gzip(blob *b); /* in place */

/* Pixel (y, x, c) of test image `id`: distinct images, distinct channels, no symmetry. */
uint8_t test_pixel(int id, int y, int x, int c);
void test_image(int id, int h, int w, int channels, uint8_t *hwc);

enum { PNG_GREY = 1, PNG_RGB = 3, PNG_RGBA = 4, PNG_GREY_ALPHA = 2, PNG_PALETTE = 103, PNG_RGB16 = 116 };
/* hwc has the channels of the kind (palette: 3, of at most 256 colours; RGB16: 3, each byte doubled to 16 bits). */
void encode_png(blob *out, const uint8_t *hwc, int h, int w, int kind);
void encode_jpeg(blob *out, const uint8_t *hwc, int h, int w, int channels, int quality);
/* RGB in the ways cameras and programs write it: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:2:0 progressive. */
enum { JPEG_KINDS = 5 };
void encode_jpeg_kind(blob *out, const uint8_t *rgb, int h, int w, int kind);
void encode_jpeg_cmyk(blob *out, const uint8_t *cmyk, int h, int w);

/* An archive of (name, bytes) entries. */
typedef struct tar_out {
    void *archive;
    blob bytes;
} tar_out;
void tar_begin(tar_out *t);
typedef enum tar_format { TAR_USTAR, TAR_GNU, TAR_PAX } tar_format;
void tar_begin_as(tar_out *t, tar_format format);
void tar_file(tar_out *t, const char *name, const void *bytes, size_t n);
void tar_other(tar_out *t, const char *name, int filetype, const char *target); /* AE_IFDIR, AE_IFLNK */
void tar_end(tar_out *t);
void tar_save(tar_out *t, const char *path, bool gzip); /* ends it, writes it, frees it */

/* Image n of `per_class` * `classes` (class by class): id n + base, class n / per_class, PNG, in
 * folder/<split>/<class>/<n>.png. */
typedef struct tiny {
    int classes, per_class, h, w, channels, base;
} tiny;
void tiny_folder(const tiny *s, const char *folder);
void tiny_tar(const tiny *s, const char *path, bool gzip, const char *prefix);
void tiny_idx(const tiny *s, const char *folder, const char *stem, bool gzip); /* channels = 1 */
void tiny_cifar(const tiny *s, const char *path, int label_bytes);             /* 32x32x3 */
void tiny_png(const tiny *s, int n, blob *png);                                /* image n */
const char *tiny_class(int c);                                                 /* byte order = number order */

/* Defaults with name, path and cache set. */
ful_data_config config_of(const char *name, const char *path, const char *cache);
ful_dataset *open_ok(const ful_data_config *config, ful_split split);
void check_tiny(const ful_dataset *d, const tiny *s); /* every image and label as tiny says */

/* Log lines at WARN or worse since the last call of log_catch; the text of the last. */
void log_catch(void);
int log_warnings(void);
const char *log_last(void);

#endif
