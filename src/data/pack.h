/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pack: one decoded set of images in one file that is mapped (doc/format-pack.md). Written front to back, so the number
 * of images need not be known when it begins:
 *
 *   head (64 bytes) | pixels | labels | clusters? | class names | block checksums | tail (128 bytes)
 *
 * Each part begins at a multiple of 64 bytes; all numbers are little-endian.
 */
#ifndef FUL_DATA_PACK_H
#define FUL_DATA_PACK_H

#include "core/file.h"
#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FUL__PACK_VERSION = 1, FUL__PACK_BLOCK_BYTES = 4 << 20 };
enum { FUL__PACK_CLUSTERS = 1u << 0, FUL__PACK_NORM = 1u << 1 }; /* flags in the tail */

typedef struct ful__pack_head {
    char magic[8];                           /* "FULPACK\n" */
    uint32_t version, byte_order;            /* 0x01020304 */
    uint32_t height, width, channels, split; /* split: ful_split */
    uint64_t key;                            /* of the source a cache was made from; 0 in a pack made by a user */
    uint64_t reserved[2];
    uint64_t checksum; /* XXH3 of the 56 bytes before */
} ful__pack_head;

typedef struct ful__pack_tail {
    uint64_t count, classes, name_bytes, flags;
    float mean[3], std[3]; /* with FUL__PACK_NORM: of the training split, of pixel/255 */
    uint64_t left_out;     /* damaged images that the source has besides */
    uint64_t reserved[5];
    uint64_t index_checksum; /* XXH3 of everything from the labels to the tail */
    char magic[8];           /* "FULTAIL\n" */
    uint64_t checksum;       /* XXH3 of the 120 bytes before */
} ful__pack_tail;
_Static_assert(sizeof(ful__pack_head) == 64 && sizeof(ful__pack_tail) == 128, "the file format is fixed");

/* A pack in memory. Pointers lie inside `map` or `heap`, whichever holds the bytes (or neither: borrowed bytes). */
typedef struct ful__pack {
    int64_t count, left_out;
    int height, width, channels, classes;
    int split;
    uint64_t key;
    bool has_norm;
    float mean[3], std[3];
    size_t image_bytes;
    const uint8_t *pixels;   /* count images, HWC */
    const int32_t *labels;   /* count */
    const int32_t *clusters; /* count, or NULL */
    const char *names;       /* classes NUL-terminated strings */
    ful__map map;
    uint8_t *heap;
} ful__pack;

/* Checks bytes that remain the caller's and fills *out. pixels: verify the checksums of the pixels too. */
ful_status ful__pack_parse(const char *name, const void *bytes, size_t n, bool pixels, ful__pack *out) FUL_CHECK_RESULT;
ful_status ful__pack_open(const char *path, ful__pack *out) FUL_CHECK_RESULT; /* maps the file, verifies all of it */
void ful__pack_close(ful__pack *pack);                                        /* accepts a zeroed one */

/* A pack being written: to a file that appears when it is finished, or to memory. */
typedef struct ful__pack_writer {
    bool to_memory, failed; /* failed: it was the target that refused, not the source */
    ful__writer file;
    uint8_t *heap;
    size_t heap_bytes, heap_capacity;
    uint64_t at;      /* bytes so far */
    uint64_t *blocks; /* checksums of whole blocks of pixels */
    size_t n_blocks, block_capacity;
    uint8_t *block; /* the block being filled */
    size_t block_bytes;
    uint64_t image_bytes;
} ful__pack_writer;

/* path = NULL: to memory. On failure, and after it, call abort. */
ful_status ful__pack_begin(ful__pack_writer *w, const char *path, int height, int width, int channels, int split,
                           uint64_t key) FUL_CHECK_RESULT;
ful_status ful__pack_add(ful__pack_writer *w, const void *pixels, size_t bytes) FUL_CHECK_RESULT;

typedef struct ful__pack_index {
    int64_t count, left_out;
    const int32_t *labels, *clusters; /* clusters may be NULL */
    int classes;
    const char *const *names;
    const float *mean, *std; /* 3 each, or NULL */
} ful__pack_index;
/* Writes the rest. A file is then in place; a pack in memory is handed over as *out (unused for a file, may be NULL). */
ful_status ful__pack_finish(ful__pack_writer *w, const ful__pack_index *index, ful__pack *out) FUL_CHECK_RESULT;
void ful__pack_abort(ful__pack_writer *w); /* accepts a zeroed or finished writer */

#endif
