/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shards: a split's encoded images in a few large files that are mapped (doc/format-shard.md), <split>-<number>.shard each:
 *
 *   head (64 bytes) | records | index | names | class names | tail (128 bytes)
 *
 * A record begins at a multiple of 8, each other part at a multiple of 64; all numbers are little-endian. Every record has a
 * checksum of its own, so what is damaged is known by its name and the rest stays readable.
 */
#ifndef FUL_DATA_SHARD_H
#define FUL_DATA_SHARD_H

#include "core/file.h"
#include <stddef.h>

enum { FUL__SHARD_VERSION = 1, FUL__SHARD_LAST = 1 }; /* flag in the tail: no shard follows */

typedef struct ful__shard_head {
    char magic[8];                /* "FULSHRD\n" */
    uint32_t version, byte_order; /* 0x01020304 */
    uint64_t key;                 /* of the set it was made from and how: the same in all shards of a split */
    uint32_t number, split;       /* from 0; ful_split */
    uint64_t first;               /* image of that set it begins with */
    uint64_t reserved[2];
    uint64_t checksum; /* XXH3 of the 56 bytes before */
} ful__shard_head;

typedef struct ful__shard_entry {
    uint64_t offset, checksum;   /* of the record: from the start of the file; XXH3 */
    uint32_t bytes, label, name; /* name: where it begins in the names */
    uint16_t height, width;      /* upright */
} ful__shard_entry;

typedef struct ful__shard_tail {
    uint64_t count, classes, index_at, name_bytes, class_bytes;
    uint64_t next, total; /* first image that is not in it; images of the set. count may be less: damaged ones left out */
    uint64_t flags, reserved[5];
    uint64_t index_checksum; /* XXH3 from index_at to the tail */
    char magic[8];           /* "FULSEND\n" */
    uint64_t checksum;       /* XXH3 of the 120 bytes before */
} ful__shard_tail;
_Static_assert(sizeof(ful__shard_head) == 64 && sizeof(ful__shard_entry) == 32 && sizeof(ful__shard_tail) == 128,
               "the file format is fixed");

/* A shard in memory; pointers lie inside `map`, or in bytes that are the caller's. */
typedef struct ful__shard {
    const uint8_t *base;
    ful__shard_head head;
    ful__shard_tail tail;
    const ful__shard_entry *index;
    const char *names, *class_names;
    ful__map map;
} ful__shard;

/* Checks all but the records of bytes that remain the caller's. */
ful_status ful__shard_parse(const char *name, const void *bytes, size_t n, ful__shard *out) FUL_CHECK_RESULT;
ful_status ful__shard_open(const char *path, ful__shard *out) FUL_CHECK_RESULT; /* maps it */
void ful__shard_close(ful__shard *s);                                           /* accepts a zeroed one */
/* Whether the record i is what was written. */
bool ful__shard_record_is_whole(const ful__shard *s, int64_t i);

/* A shard being written; it appears under its name when finished. On failure, and after it: abort. */
typedef struct ful__shard_writer {
    ful__writer file;
    ful__shard_head head;
    uint64_t at;
    ful__shard_entry *index;
    int64_t count, capacity;
    char *names;
    size_t name_bytes, name_capacity;
} ful__shard_writer;
ful_status ful__shard_begin(ful__shard_writer *w, const char *path, const ful__shard_head *about) FUL_CHECK_RESULT;
/* entry: label, height and width; the rest is filled in. */
ful_status ful__shard_add(ful__shard_writer *w, const ful__shard_entry *entry, const char *name, const void *bytes,
                          size_t n) FUL_CHECK_RESULT;
/* tail: next, total and flags. */
ful_status ful__shard_finish(ful__shard_writer *w, const ful__shard_tail *tail, const char *const *class_names,
                             int classes) FUL_CHECK_RESULT;
void ful__shard_abort(ful__shard_writer *w); /* accepts a zeroed or finished one */

#endif
