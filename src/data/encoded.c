/* SPDX-License-Identifier: Apache-2.0 */
#include "data/encoded.h"

#include <string.h>

#include "core/error.h"
#include "core/mem.h"

/* Decoded bytes of an image of a set, by the configuration alone. */
static uint64_t decoded_bytes(const ful_data_config *c)
{
    return (uint64_t)c->size * (uint64_t)c->size * (uint64_t)(c->channels ? c->channels : 3);
}

ful_status ful__encoded_wanted(const ful_data_config *config, const ful__source *source, bool *wanted)
{
    *wanted = config->decode == FUL_DECODE_STREAM;
    FUL_FAIL_IF(*wanted && !ful__source_has_store(source), FUL_ERR_CONFIG,
                "cannot use data.decode=stream with '%s': its images cannot be read one by one (a set that comes decoded, or a "
                "compressed archive: unpack it)",
                source->path);
    if (config->decode != FUL_DECODE_AUTO || config->size == 0 || !ful__source_has_store(source)) return FUL_OK;
    ful__store *store = NULL;
    FUL_TRY(ful__store_list(source, FUL__LIST_QUIET, &store));
    *wanted = (uint64_t)ful__store_count(store) * decoded_bytes(config) > FUL__CACHE_MAX;
    ful__store_close(&store);
    return FUL_OK;
}

/* All names in one block, as a pack has them. */
static ful_status list_names(const ful__store *store, ful__pack *head)
{
    size_t bytes = 0;
    const int classes = ful__store_classes(store);
    for (int c = 0; c < classes; c++) bytes += strlen(ful__store_class_name(store, c)) + 1;
    FUL_TRY(ful__calloc(&head->heap, bytes, 1, "class names"));
    char *at = (char *)head->heap;
    for (int c = 0; c < classes; c++) {
        const size_t n = strlen(ful__store_class_name(store, c)) + 1;
        memcpy(at, ful__store_class_name(store, c), n);
        at += n;
    }
    head->names = (const char *)head->heap;
    head->classes = classes;
    return FUL_OK;
}

/* The first image gives a set its size, unless data.size does. */
static ful_status take_size(const ful_data_config *config, const ful__store *store, ful__pack *head)
{
    head->height = head->width = config->size;
    head->channels = config->channels ? config->channels : 3;
    if (config->size > 0) return FUL_OK;
    char name[FUL__STORE_NAME_MAX];
    ful__reader r = {0};
    const uint8_t *bytes = NULL;
    size_t n = 0;
    ful_status status = ful__store_read(store, 0, &r.buffer, &bytes, &n);
    if (status == FUL_OK)
        status = ful__image_probe(&r.decoder, ful__store_name(store, 0, name), bytes, n, &head->height, &head->width);
    ful__reader_deinit(&r);
    return status;
}

ful_status ful__encoded_open(const ful_data_config *config, const ful__source *source, ful__store **store, ful__pack *head)
{
    *head = (ful__pack){0};
    FUL_TRY(ful__store_open(source, store));
    head->count = ful__store_count(*store);
    head->labels = ful__store_labels(*store);
    ful_status status = take_size(config, *store, head);
    if (status == FUL_OK) status = list_names(*store, head);
    head->image_bytes = (size_t)head->height * (size_t)head->width * (size_t)head->channels;
    if (status != FUL_OK) {
        ful__pack_close(head);
        ful__store_close(store);
    }
    return status;
}

void ful__reader_deinit(ful__reader *r)
{
    ful__store_buffer_deinit(&r->buffer);
    ful__decoder_deinit(&r->decoder);
    ful__free(r->pixels);
    *r = (ful__reader){0};
}

ful_status ful__encoded_image(const ful__store *store, int64_t i, ful__reader *r, const ful__encoded_shape *shape,
                              const uint8_t **pixels)
{
    const size_t want = (size_t)shape->height * (size_t)shape->width * (size_t)shape->channels;
    char name[FUL__STORE_NAME_MAX];
    const uint8_t *bytes = NULL;
    size_t n = 0;
    if (want > r->pixel_bytes) {
        FUL_TRY(ful__realloc(&r->pixels, want, 1, "a decoded image"));
        r->pixel_bytes = want;
    }
    FUL_TRY(ful__store_read(store, i, &r->buffer, &bytes, &n));
    *pixels = r->pixels;
    return ful__image_decode(&r->decoder, ful__store_name(store, i, name), bytes, n, shape->height, shape->width,
                             shape->channels, shape->fit, r->pixels);
}

static void add_pixels(ful__sums *s, const uint8_t *p, size_t pixels, int channels)
{
    s->pixels += pixels;
    for (size_t i = 0; i < pixels; i++)
        for (int c = 0; c < channels; c++, p++) {
            s->sum[c] += *p;
            s->square[c] += (uint64_t)*p * *p;
        }
}

ful_status ful__encoded_sums(const ful__store *store, const ful__encoded_shape *shape, bool skip, const uint32_t *order,
                             int64_t count, ful__sums *out)
{
    const int64_t taken = count < FUL__NORM_IMAGES ? count : FUL__NORM_IMAGES;
    ful_status status = FUL_OK;
    ful__reader r = {0};
    *out = (ful__sums){0};
    for (int64_t k = 0; k < taken && status == FUL_OK; k++) {
        const uint8_t *pixels = NULL;
        status = ful__encoded_image(store, order[k * count / taken], &r, shape, &pixels);
        if (status == FUL_OK) add_pixels(out, pixels, (size_t)shape->height * (size_t)shape->width, shape->channels);
        if (skip && ful__is_damage(status)) status = FUL_OK;
    }
    ful__reader_deinit(&r);
    return status;
}
