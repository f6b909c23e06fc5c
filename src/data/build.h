/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of images under construction. Readers add images in order, encoded or raw; they are decoded in blocks by all threads,
 * brought to one size, and appended to a pack in the order they were added.
 */
#ifndef FUL_DATA_BUILD_H
#define FUL_DATA_BUILD_H

#include "data/classes.h"
#include "data/image.h"
#include "data/pack.h"

/* What is wrong with a set, one line each; used by ful_data_describe, which goes on after a bad image. */
enum { FUL__FINDINGS_SHOWN = 20, FUL__FINDING_BYTES = 384 };
typedef struct ful__findings {
    int64_t count;
    char line[FUL__FINDINGS_SHOWN][FUL__FINDING_BYTES];
} ful__findings;

typedef struct ful__build_spec {
    const char *name;        /* for messages; borrowed */
    const char *path;        /* the pack to write; NULL: in memory; borrowed */
    bool check_only;         /* decode at full size, count, keep no pixels but `infos` */
    ful__findings *findings; /* NULL: the first bad image ends the build, unless */
    bool skip_bad;           /* bad images are left out, counted and, the first of them, logged */
    int size, channels;      /* as in ful_data_config: 0 = the set's own */
    int split;
    uint64_t key;
} ful__build_spec;

typedef struct ful__item ful__item; /* an image waiting to be decoded */
struct ful__store;
struct ful__store_buffer;

typedef struct ful__build {
    ful__build_spec spec;
    int height, width, channels; /* of every image; 0 until the first one tells */
    ful__pack_writer pack;
    bool pack_begun;
    ful__classes classes;
    bool sort_classes; /* number classes by name at the end; false: in the order they were added */
    /* images done */
    int64_t count, capacity;
    int32_t *labels, *clusters; /* clusters only where a generator sets them */
    ful__image_info *infos;     /* check_only: of every image that is not damaged */
    /* the block being collected */
    ful__item *items;
    int n_items, max_items;
    size_t item_bytes;
    uint8_t *block;
    ful__decoder *decoders;            /* one a thread */
    struct ful__store_buffer *buffers; /* likewise */
    int n_decoders;
    int64_t skipped; /* stays readable after deinit */
} ful__build;

/* On failure of any call: deinit. */
ful_status ful__build_init(ful__build *b, const ful__build_spec *spec) FUL_CHECK_RESULT;
ful_status ful__build_class(ful__build *b, const char *name, int *label_out) FUL_CHECK_RESULT; /* finds or adds */

/* Image i of a store, which is borrowed until the next flush. */
ful_status ful__build_add_stored(ful__build *b, const struct ful__store *store, int64_t i) FUL_CHECK_RESULT;
/* All of them, and their classes as they are numbered; to a build that is empty (build_store.c). */
ful_status ful__build_add_store(ful__build *b, const struct ful__store *store) FUL_CHECK_RESULT;
/* Takes over bytes (from ful__calloc), on failure too. name is copied. */
ful_status ful__build_take_encoded(ful__build *b, const char *name, int label, uint8_t *bytes, size_t n) FUL_CHECK_RESULT;
/* The pixels remain the caller's and must stay until the next flush. */
ful_status ful__build_add_raw(ful__build *b, const char *name, int label, const ful__pixels *pixels) FUL_CHECK_RESULT;
ful_status ful__build_flush(ful__build *b) FUL_CHECK_RESULT;

/* One line of the findings, or the end of the build: returns FUL_OK in the first case. Uses ful_error_message(). */
ful_status ful__build_report(ful__build *b, ful_status status) FUL_CHECK_RESULT;

/* Flushes, numbers the classes, completes the pack. An empty set is an error. out: see ful__pack_finish. */
ful_status ful__build_finish(ful__build *b, ful__pack *out) FUL_CHECK_RESULT;
void ful__build_deinit(ful__build *b); /* accepts a zeroed one */

#endif
