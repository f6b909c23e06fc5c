/* SPDX-License-Identifier: Apache-2.0 */
/* Files: mapped or read whole, written so that a reader sees the old bytes or the new ones, never a mixture. */
#ifndef FUL_CORE_FILE_H
#define FUL_CORE_FILE_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A read-only mapping of a whole file. An empty file maps to bytes = 0, ptr = a valid address. */
typedef struct ful__map {
    const unsigned char *ptr;
    size_t bytes;
} ful__map;
ful_status ful__map_open(ful__map *out, const char *path) FUL_CHECK_RESULT;
void ful__map_close(ful__map *map); /* accepts a zeroed struct */

/* An open file read by position, by any number of threads at once. */
typedef struct ful__file {
    int fd; /* -1: not open */
    uint64_t bytes;
    int64_t mtime_ns;
} ful__file;
ful_status ful__file_open(ful__file *out, const char *path) FUL_CHECK_RESULT; /* on failure out->fd is -1 */
/* Up to `want` bytes from `at` on; fewer only where the file ends. path is for messages. */
ful_status ful__file_read_at(const ful__file *f, const char *path, uint64_t at, void *out, size_t want,
                             size_t *got_out) FUL_CHECK_RESULT;
void ful__file_close(ful__file *f); /* accepts one with fd = -1; leaves it so */

/* Reads a whole file into memory the caller frees with ful__free; a '\0' follows the last byte. More than max_bytes is
 * FUL_ERR_FORMAT. */
ful_status ful__file_read(const char *path, size_t max_bytes, char **data_out, size_t *bytes_out) FUL_CHECK_RESULT;

/*
 * An atomic writer: create opens "<path>.tmp-<pid>" beside the target, write appends, commit does fsync + rename + fsync of the
 * folder. abort (or a failed call followed by abort) removes the temporary file; the target is then what it was. A failed
 * create needs no abort. A symbolic link is written through; anything else that is no regular file is refused.
 */
typedef struct ful__writer {
    int fd;
    char *path, *temp;
    uint64_t bytes;
    unsigned char *buffer;
    size_t buffered;
    bool failed; /* a write failed: commit refuses */
} ful__writer;
ful_status ful__writer_create(ful__writer *out, const char *path) FUL_CHECK_RESULT;
ful_status ful__writer_write(ful__writer *w, const void *data, size_t bytes) FUL_CHECK_RESULT;
ful_status ful__writer_commit(ful__writer *w) FUL_CHECK_RESULT;
void ful__writer_abort(ful__writer *w); /* accepts a zeroed or committed writer */

/* Whole-file forms. append_line: O_APPEND, one write() of line + '\n' (for *.jsonl). */
ful_status ful__file_write(const char *path, const void *data, size_t bytes) FUL_CHECK_RESULT;
ful_status ful__file_append_line(const char *path, const char *line) FUL_CHECK_RESULT;

bool ful__path_exists(const char *path);
bool ful__path_is_dir(const char *path);
ful_status ful__mkdirs(const char *path) FUL_CHECK_RESULT;                            /* like mkdir -p */
ful_status ful__path_join(char **out, const char *a, const char *b) FUL_CHECK_RESULT; /* caller frees with ful__free */
/* Where this user's things that can be made again are kept: $XDG_CACHE_HOME/fulcrum or ~/.cache/fulcrum. It may not exist yet;
 * the caller frees. */
ful_status ful__cache_folder(char **out) FUL_CHECK_RESULT;
uint64_t ful__hash64(const void *data, size_t bytes, uint64_t seed); /* XXH3 */

#endif
