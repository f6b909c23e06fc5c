/* SPDX-License-Identifier: Apache-2.0 */
/* A split whose images stay encoded (data.decode: stream): read from a store and decoded when a batch needs them. */
#ifndef FUL_DATA_ENCODED_H
#define FUL_DATA_ENCODED_H

#include "data/image.h"
#include "data/pack.h"
#include "data/split.h"
#include "data/store.h"
#include <fulcrum/data.h>

/* Whether a source is read this way: as data.decode says; auto: when its images would take more than FUL__CACHE_MAX decoded. */
#define FUL__CACHE_MAX (4ull << 30) /* bytes */
ful_status ful__encoded_wanted(const ful_data_config *config, const ful__source *source, bool *wanted) FUL_CHECK_RESULT;

/* *head: what a pack of the decoded images would say, without their pixels; close it before the store, which it borrows from.
 */
ful_status ful__encoded_open(const ful_data_config *config, const ful__source *source, ful__store **store,
                             ful__pack *head) FUL_CHECK_RESULT;

/* What a thread needs to read images; zero-initialised, grows to the largest. */
typedef struct ful__reader {
    ful__store_buffer buffer;
    ful__decoder decoder;
    uint8_t *pixels; /* of one decoded image */
    size_t pixel_bytes;
} ful__reader;
void ful__reader_deinit(ful__reader *r);

/* Image i as a cache would hold it: height x width, or its own size, which must be that, when fit is false. Borrowed. */
typedef struct ful__encoded_shape {
    int height, width, channels;
    bool fit;
} ful__encoded_shape;
ful_status ful__encoded_image(const ful__store *store, int64_t i, ful__reader *r, const ful__encoded_shape *shape,
                              const uint8_t **pixels) FUL_CHECK_RESULT;

/* Sums over at most FUL__NORM_IMAGES of the chosen images, evenly spread; damaged ones are left out where they may be. */
enum { FUL__NORM_IMAGES = 512 };
ful_status ful__encoded_sums(const ful__store *store, const ful__encoded_shape *shape, bool skip, const uint32_t *order,
                             int64_t count, ful__sums *out) FUL_CHECK_RESULT;

/* Whether a failure means that this image is damaged, so that another may be read instead. */
static inline bool ful__is_damage(ful_status status)
{
    return status == FUL_ERR_DATA || status == FUL_ERR_FORMAT;
}

#endif
