/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoded images of a split where they lie: an index of all of them, and a read of any one by its number. Nothing is
 * decoded and nothing unpacked. Behind it may be
 *
 *   a folder                        an image file is opened when it is read
 *   a tar, not compressed           members are found once by their headers, then read by position
 *   a tar of tars                   an inner archive counts as a folder of its name (ImageNet's training archive: one a class)
 *   WebDataset shards               likewise, with the label in a member beside the image
 *   our own shards                  mapped; a record's checksum is verified when it is read
 *
 * A store does not change after it was opened; any number of threads may read at once, each with a buffer of its own. It takes
 * about 28 bytes an image beside its name.
 *
 * Images stand class by class in the order of the class numbers, and by name within one, however they lie on the disk; those of
 * shards and of compressed archives as they lie. Classes are numbered in byte order of their names among those of
 * this split; ful__store_number_like gives them another split's numbers.
 */
#ifndef FUL_DATA_STORE_H
#define FUL_DATA_STORE_H

#include "data/source.h"

typedef struct ful__store ful__store;

/* The bytes of the image that was read last, where they are not borrowed. Zero-initialised, grows as needed, one a thread. */
struct ful__store_buffer {
    uint8_t *data;
    size_t capacity;
};
typedef struct ful__store_buffer ful__store_buffer;
void ful__store_buffer_deinit(ful__store_buffer *buffer);

/* Whether the images of a source can be read one by one: compressed archives and sets that come decoded cannot. */
bool ful__source_has_store(const ful__source *source);
/* FUL_ERR_DATA for a source that has none; the message says what to do. */
ful_status ful__store_open(const ful__source *source, ful__store **out) FUL_CHECK_RESULT;

/* The index alone, also of a compressed archive: ful__store_read refuses that, ful__build_add_store takes it. Flags: */
enum {
    FUL__LIST_STAMPS = 1,   /* examine every file of a folder: ful__store_stamp changes with their sizes and times */
    FUL__LIST_TOLERANT = 2, /* class folders without images are classes without images, not an error */
    FUL__LIST_QUIET = 4     /* only counted, and listed again when it is used: no warnings */
};
ful_status ful__store_list(const ful__source *source, unsigned flags, ful__store **out) FUL_CHECK_RESULT;
uint64_t ful__store_stamp(const ful__store *s); /* 0 without the flag, and of archives */
uint64_t ful__store_bytes(const ful__store *s); /* of all images; 0 where files were not examined */
bool ful__store_is_sequential(const ful__store *s);
void ful__store_close(ful__store **store);

int64_t ful__store_count(const ful__store *s);
int ful__store_classes(const ful__store *s);
const char *ful__store_class_name(const ful__store *s, int label); /* borrowed */
const char *const *ful__store_class_names(const ful__store *s);    /* of all, in the order of their numbers; borrowed */
const char *ful__store_inner_name(const ful__store *s, int64_t i); /* within its folder or archive; borrowed */
int ful__store_label(const ful__store *s, int64_t i);
const int32_t *ful__store_labels(const ful__store *s); /* count, borrowed */

/* For messages: the file, or "archive: member". Cut where it does not fit. Returns buffer. */
enum { FUL__STORE_NAME_MAX = 2 * 4096 };
const char *ful__store_name(const ful__store *s, int64_t i, char buffer[FUL__STORE_NAME_MAX]);

/*
 * The encoded bytes of image i, as they lie: *bytes is borrowed from `buffer` until the next read with it, or from the store
 * until that is closed. 1..FUL__IMAGE_FILE_MAX bytes. Errors name the image: FUL_ERR_DATA (size), FUL_ERR_FORMAT (cut off),
 * FUL_ERR_IO.
 */
ful_status ful__store_read(const ful__store *s, int64_t i, ful__store_buffer *buffer, const uint8_t **bytes,
                           size_t *n) FUL_CHECK_RESULT;

/*
 * All images from `first` on, in order, also of a compressed archive: bytes (NULL when status is not FUL_OK; the message is set
 * then) are borrowed for the call. Ends with the first failure that visit returns, or when an archive itself is broken.
 */
typedef ful_status (*ful__store_visit)(void *ctx, int64_t i, ful_status status, const uint8_t *bytes, size_t n);
ful_status ful__store_each(const ful__store *s, int64_t first, ful__store_visit visit, void *ctx) FUL_CHECK_RESULT;

/* Labels become what `names` (in the order of their numbers) calls the same classes, and the classes of the store are those.
 * FUL_ERR_DATA names a class that is not among them. The order of the images stays. */
ful_status ful__store_number_like(ful__store *s, const char *const *names, int classes) FUL_CHECK_RESULT;

#endif
