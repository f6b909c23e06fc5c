/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar archives, member by member: ustar, with the long names of GNU and pax, 64-bit sizes; gzip or not. An archive that is not
 * compressed is read by position: members are skipped, not read. Bytes are hostile until proved otherwise.
 */
#ifndef FUL_DATA_TAR_H
#define FUL_DATA_TAR_H

#include "core/file.h"
#include "data/gz.h"

enum { FUL__TAR_PATH_MAX = 4096 }; /* bytes of a member's name with its end */

/* Where the bytes come from: a file by position, or memory (compressed or not) from front to back. */
typedef struct ful__tar_stream {
    ful__file file; /* fd = -1: gz */
    ful__gz gz;
    ful__map map; /* what gz reads, when it is ours */
    uint64_t position;
    uint8_t *window; /* the part of the file that was read last */
    uint64_t window_at;
    size_t window_bytes;
} ful__tar_stream;

typedef struct ful__tar_member {
    const char *path; /* without "./" and doubled slashes, control characters as '?'; borrowed until the next member */
    uint64_t offset;  /* of its bytes in the archive (compressed: in what that decompresses to) */
    uint64_t bytes;
    bool regular, link;
} ful__tar_member;

typedef struct ful__tar {
    const char *name; /* for messages; borrowed */
    ful__tar_stream *stream;
    bool inner;       /* the stream is another archive's */
    bool compressed;  /* offsets mean nothing to a reader of the file */
    uint64_t at, end; /* of the next header; of the archive */
    ful__tar_member member;
    char path[FUL__TAR_PATH_MAX];
    char *long_name;    /* from a member before the one it names; "" = none */
    uint64_t long_size; /* likewise, with has_size */
    bool has_size, sparse;
} ful__tar;

ful_status ful__tar_open(ful__tar *t, const char *path) FUL_CHECK_RESULT; /* on failure, and at the end: close */
ful_status ful__tar_open_bytes(ful__tar *t, const char *name, const void *bytes, size_t n) FUL_CHECK_RESULT; /* borrowed */
/* The member that `outer` stands at, as an archive; outer goes on after it. */
ful_status ful__tar_open_member(ful__tar *t, const ful__tar *outer) FUL_CHECK_RESULT;
/* *more = false at the end of the archive, which must be marked by a block of zeros. */
ful_status ful__tar_next(ful__tar *t, bool *more, ful__tar_member *out) FUL_CHECK_RESULT;
/* The first n bytes of the member (n <= its size); a compressed archive gives them once, in order. */
ful_status ful__tar_take(ful__tar *t, void *out, size_t n) FUL_CHECK_RESULT;
void ful__tar_close(ful__tar *t); /* accepts a zeroed one */

#endif
