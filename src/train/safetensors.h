/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The safetensors format: 8 bytes header length (little-endian), a JSON header, then the tensors' bytes without gaps.
 *
 *   {"__metadata__": {"key": "text", …}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * On top of the format, files of ours carry checksums in the metadata: "xxh3" is a JSON map from tensor name to the XXH3 of its
 * bytes, and "xxh3_header" that of everything else the header says. A file without them (another program's) is accepted.
 */
#ifndef FUL_TRAIN_SAFETENSORS_H
#define FUL_TRAIN_SAFETENSORS_H

#include "core/file.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of what is read; a file beyond them is refused. */
enum { FUL__ST_HEADER_MAX = 100000000, FUL__ST_TENSORS_MAX = 1 << 20, FUL__ST_NAME_MAX = 255, FUL__ST_RANK_MAX = 8 };

/* Files of ours have F32 and I32; the others are read in those of other programs. */
typedef enum ful__dtype { FUL__F32 = 0, FUL__I32, FUL__F16, FUL__BF16, FUL__F64, FUL__I64 } ful__dtype;

typedef struct ful__st_tensor {
    const char *name;
    ful__dtype dtype;
    int rank;
    int64_t shape[FUL__ST_RANK_MAX], count;
    const void *data; /* little-endian; in a file read: aligned to 4 bytes where it is F32 or I32 */
} ful__st_tensor;

typedef struct ful__st_meta {
    const char *key, *value;
} ful__st_meta;

/* Writes a file so that a reader sees the old one or the new one. Names must be distinct; "xxh3…" are added to the metadata. */
ful_status ful__st_write(const char *path, const ful__st_tensor *tensors, int n_tensors, const ful__st_meta *meta,
                         int n_meta) FUL_CHECK_RESULT;

/* A file read: everything in it has been checked. */
typedef struct ful__st_file ful__st_file;
ful_status ful__st_open(const char *path, ful__st_file **out) FUL_CHECK_RESULT;
/* The same from memory, which is borrowed until the file is closed; name: for messages. */
ful_status ful__st_parse(const char *name, const void *bytes, size_t n_bytes, ful__st_file **out) FUL_CHECK_RESULT;
void ful__st_close(ful__st_file **file);
int ful__st_count(const ful__st_file *file);
const ful__st_tensor *ful__st_tensor_at(const ful__st_file *file, int i);       /* in the order of the names; borrowed */
const ful__st_tensor *ful__st_find(const ful__st_file *file, const char *name); /* NULL when absent; borrowed */
/* Values of F32, F16, BF16 or F64 as floats; false for the other types. */
bool ful__st_floats(const ful__st_tensor *t, float *out);
const char *ful__st_meta_get(const ful__st_file *file, const char *key); /* NULL when absent; borrowed */

#endif
