/* SPDX-License-Identifier: Apache-2.0 */
#include "data/build.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "data/limits.h"
#include "data/store.h"
#include <fulcrum/core.h>

enum { BLOCK_ITEMS = 1024, BLOCK_ITEMS_LEAST = 16, CHUNK_ITEMS = 16 };
#define BLOCK_PIXEL_BYTES   (32u << 20) /* decoded */
#define BLOCK_ENCODED_BYTES (64u << 20)

struct ful__item {
    char *name; /* NULL: the store has it */
    int label;
    const ful__store *store; /* NULL: the bytes or pixels are here */
    int64_t index;           /* in the store */
    uint8_t *encoded;        /* owned, or NULL */
    size_t n;
    ful__pixels raw;      /* with data: already decoded */
    ful__image_info info; /* check_only */
    ful_status status;
    char *error; /* what went wrong in the thread that decoded it; may be NULL for want of memory */
};

ful_status ful__build_init(ful__build *b, const ful__build_spec *spec)
{
    *b = (ful__build){.spec = *spec, .sort_classes = true};
    ful__classes_init(&b->classes);
    b->n_decoders = ful_threads_get();
    FUL_TRY(ful__calloc(&b->decoders, (size_t)b->n_decoders, sizeof *b->decoders, "decoders"));
    FUL_TRY(ful__calloc(&b->buffers, (size_t)b->n_decoders, sizeof *b->buffers, "read buffers"));
    return ful__calloc(&b->items, BLOCK_ITEMS, sizeof *b->items, "images to decode");
}

ful_status ful__build_report(ful__build *b, ful_status status)
{
    enum { WARNINGS_MOST = 10 };
    ful__findings *f = b->spec.findings;
    if (status == FUL_OK || status == FUL_ERR_MEMORY || (!f && !b->spec.skip_bad)) return status;
    if (!f) {
        if (++b->skipped <= WARNINGS_MOST) ful__log(FUL_LOG_WARN, "left out: %s", ful_error_message());
        return FUL_OK;
    }
    if (f->count < FUL__FINDINGS_SHOWN) snprintf(f->line[f->count], FUL__FINDING_BYTES, "%s", ful_error_message());
    f->count++;
    return FUL_OK;
}

ful_status ful__build_class(ful__build *b, const char *name, int *label_out)
{
    return ful__classes_add(&b->classes, b->spec.name, name, label_out);
}

/* ---- decoding ---- */

static const char *name_of(const ful__item *item, char stored[FUL__STORE_NAME_MAX])
{
    return item->store ? ful__store_name(item->store, item->index, stored) : item->name;
}

/* What it is, and that it can be decoded. */
static ful_status check_item(ful__decoder *d, ful__store_buffer *buffer, ful__item *item)
{
    const uint8_t *bytes = item->encoded;
    size_t n = item->n;
    char stored[FUL__STORE_NAME_MAX];
    if (item->raw.data) {
        item->info = (ful__image_info){item->raw.height, item->raw.width, item->raw.channels, 1};
        return FUL_OK;
    }
    if (item->store) FUL_TRY(ful__store_read(item->store, item->index, buffer, &bytes, &n));
    FUL_TRY(ful__image_check(d, name_of(item, stored), bytes, n));
    item->info = d->info;
    return FUL_OK;
}

static ful_status decode_item(const ful__build *b, ful__decoder *d, ful__store_buffer *buffer, const ful__item *item,
                              uint8_t *out)
{
    const bool fit = b->spec.size > 0;
    if (item->raw.data) {
        FUL_FAIL_IF(
            !fit && (item->raw.height != b->height || item->raw.width != b->width), FUL_ERR_DATA,
            "cannot use '%s' with images of %dx%d in a set of %dx%d: all must be of one size, or data.size must be given",
            item->name, item->raw.width, item->raw.height, b->width, b->height);
        return ful__fit(d, &item->raw, b->height, b->width, b->channels, out);
    }
    const uint8_t *bytes = item->encoded;
    size_t n = item->n;
    char stored[FUL__STORE_NAME_MAX];
    if (item->store) FUL_TRY(ful__store_read(item->store, item->index, buffer, &bytes, &n));
    return ful__image_decode(d, name_of(item, stored), bytes, n, b->height, b->width, b->channels, fit, out);
}

static size_t image_bytes(const ful__build *b)
{
    return (size_t)b->height * (size_t)b->width * (size_t)b->channels;
}

/* The message of a failure belongs to this thread: it is carried over in the item. */
static void decode_chunk(void *ctx, int64_t chunk, int thread)
{
    ful__build *b = ctx;
    for (int i = (int)chunk * CHUNK_ITEMS; i < b->n_items && i < ((int)chunk + 1) * CHUNK_ITEMS; i++) {
        ful__item *item = &b->items[i];
        item->status = b->spec.check_only ? check_item(&b->decoders[thread], &b->buffers[thread], item)
                                          : decode_item(b, &b->decoders[thread], &b->buffers[thread], item,
                                                        b->block + (size_t)i * image_bytes(b));
        if (item->status == FUL_OK) continue;
        if (ful__strdup(&item->error, ful_error_message()) != FUL_OK) item->error = NULL;
    }
}

static ful_status reserve_labels(ful__build *b, int more)
{
    if (b->count + more <= b->capacity) return FUL_OK;
    FUL_FAIL_IF(b->count + more > FUL__SET_MAX, FUL_ERR_DATA, "cannot use %s: a set holds at most %lld images", b->spec.name,
                FUL__SET_MAX);
    const int64_t capacity = 2 * b->capacity > b->count + more ? 2 * b->capacity : b->count + more;
    FUL_TRY(ful__realloc(&b->labels, (size_t)capacity, sizeof *b->labels, "labels"));
    if (b->spec.check_only) FUL_TRY(ful__realloc(&b->infos, (size_t)capacity, sizeof *b->infos, "sizes of images"));
    b->capacity = capacity;
    return FUL_OK;
}

/* Appends what was decoded, in order; the first image that failed ends the build, or is reported. */
static ful_status keep_items(ful__build *b)
{
    FUL_TRY(reserve_labels(b, b->n_items));
    for (int i = 0; i < b->n_items; i++) {
        const ful__item *item = &b->items[i];
        if (item->status != FUL_OK) {
            FUL_TRY(ful__build_report(
                b, ful__fail(item->status, "%s", item->error ? item->error : "cannot decode an image: out of memory")));
            continue;
        }
        if (b->spec.check_only)
            b->infos[b->count] = item->info;
        else
            FUL_TRY(ful__pack_add(&b->pack, b->block + (size_t)i * image_bytes(b), image_bytes(b)));
        b->labels[b->count++] = item->label;
    }
    return FUL_OK;
}

static void drop_items(ful__build *b)
{
    for (int i = 0; i < b->n_items; i++) {
        ful__free(b->items[i].name);
        ful__free(b->items[i].encoded);
        ful__free(b->items[i].error);
        b->items[i] = (ful__item){0};
    }
    b->n_items = 0;
    b->item_bytes = 0;
}

ful_status ful__build_flush(ful__build *b)
{
    if (b->n_items == 0) return FUL_OK;
    ful__parallel_for((b->n_items + CHUNK_ITEMS - 1) / CHUNK_ITEMS, decode_chunk, b);
    const ful_status status = keep_items(b);
    drop_items(b);
    return status;
}

/* ---- adding ---- */

static ful_status probe_item(ful__build *b, const ful__item *item, int *h, int *w)
{
    ful__decoder *d = &b->decoders[0];
    if (item->raw.data) {
        *h = item->raw.height;
        *w = item->raw.width;
        return FUL_OK;
    }
    const uint8_t *bytes = item->encoded;
    size_t n = item->n;
    char stored[FUL__STORE_NAME_MAX];
    if (item->store) FUL_TRY(ful__store_read(item->store, item->index, &b->buffers[0], &bytes, &n));
    return ful__image_probe(d, name_of(item, stored), bytes, n, h, w);
}

/* The first image gives a set its size (unless data.size does) and, where it came decoded, its channels; image files: 3. */
static ful_status take_shape(ful__build *b, const ful__item *item)
{
    int h = b->spec.size, w = b->spec.size;
    if (b->spec.check_only) { /* any shape will do */
        b->height = b->width = b->channels = 1;
        b->max_items = BLOCK_ITEMS;
        return FUL_OK;
    }
    char stored[FUL__STORE_NAME_MAX];
    if (h == 0) FUL_TRY(probe_item(b, item, &h, &w));
    FUL_FAIL_IF(h > FUL__SIZE_MAX || w > FUL__SIZE_MAX, FUL_ERR_DATA,
                "cannot use '%s' of %dx%d pixels as it is: images of a set have at most %d a side, data.size must be given",
                name_of(item, stored), w, h, FUL__SIZE_MAX);
    b->channels = b->spec.channels ? b->spec.channels : item->raw.data ? item->raw.channels : 3;
    b->height = h;
    b->width = w;
    const size_t fitting = BLOCK_PIXEL_BYTES / image_bytes(b);
    b->max_items = fitting > BLOCK_ITEMS ? BLOCK_ITEMS : fitting < BLOCK_ITEMS_LEAST ? BLOCK_ITEMS_LEAST : (int)fitting;
    FUL_TRY(ful__calloc(&b->block, (size_t)b->max_items, image_bytes(b), "decoded images"));
    b->pack_begun = true;
    return ful__pack_begin(&b->pack, b->spec.path, h, w, b->channels, b->spec.split, b->spec.key);
}

/* Takes over what the item holds. An image whose header cannot be read while the shape is unknown is reported and left out. */
static ful_status add(ful__build *b, ful__item item, const char *name)
{
    ful__item *slot = &b->items[b->n_items++]; /* from here on it is freed by drop_items */
    *slot = item;
    if (name) FUL_TRY(ful__strdup(&slot->name, name));
    if (b->height == 0) {
        const ful_status status = take_shape(b, slot);
        if (status != FUL_OK) {
            if (b->height == 0) drop_items(b);
            return b->height == 0 ? ful__build_report(b, status) : status;
        }
    }
    b->item_bytes += slot->n;
    if (b->n_items == b->max_items || b->item_bytes > BLOCK_ENCODED_BYTES) return ful__build_flush(b);
    return FUL_OK;
}

ful_status ful__build_add_stored(ful__build *b, const ful__store *store, int64_t i)
{
    return add(b, (ful__item){.label = ful__store_label(store, i), .store = store, .index = i}, NULL);
}

ful_status ful__build_take_encoded(ful__build *b, const char *name, int label, uint8_t *bytes, size_t n)
{
    return add(b, (ful__item){.label = label, .encoded = bytes, .n = n}, name);
}

ful_status ful__build_add_raw(ful__build *b, const char *name, int label, const ful__pixels *pixels)
{
    return add(b, (ful__item){.label = label, .raw = *pixels}, name);
}

/* ---- the end ---- */

/* Labels become positions in byte order of the names; *names_out (of classes.count) borrows them in that order. */
static ful_status number_classes(ful__build *b, const char ***names_out)
{
    const ful__classes *c = &b->classes;
    int *rank = NULL;
    FUL_TRY(ful__calloc(&rank, (size_t)c->count, sizeof *rank, "class numbers"));
    ful__classes_rank(c, rank);
    const ful_status status = ful__calloc(names_out, (size_t)c->count, sizeof **names_out, "class names");
    for (int i = 0; status == FUL_OK && i < c->count; i++) {
        if (!b->sort_classes) rank[i] = i;
        (*names_out)[rank[i]] = c->names[i];
    }
    for (int64_t i = 0; status == FUL_OK && i < b->count; i++) b->labels[i] = rank[b->labels[i]];
    ful__free(rank);
    return status;
}

ful_status ful__build_finish(ful__build *b, ful__pack *out)
{
    FUL_TRY(ful__build_flush(b));
    FUL_FAIL_IF(b->count == 0 && !b->spec.check_only, FUL_ERR_DATA, "cannot use %s: it holds no images", b->spec.name);
    const char **names = NULL;
    FUL_TRY(number_classes(b, &names));
    const ful__pack_index index = {.count = b->count,
                                   .left_out = b->skipped,
                                   .labels = b->labels,
                                   .clusters = b->clusters,
                                   .classes = b->classes.count,
                                   .names = names};
    const ful_status status = b->spec.check_only ? FUL_OK : ful__pack_finish(&b->pack, &index, out);
    ful__free(names);
    return status;
}

void ful__build_deinit(ful__build *b)
{
    if (b->items) drop_items(b);
    if (b->pack_begun) ful__pack_abort(&b->pack);
    for (int i = 0; b->decoders && i < b->n_decoders; i++) ful__decoder_deinit(&b->decoders[i]);
    for (int i = 0; b->buffers && i < b->n_decoders; i++) ful__store_buffer_deinit(&b->buffers[i]);
    ful__free(b->buffers);
    ful__classes_deinit(&b->classes);
    ful__free(b->labels);
    ful__free(b->infos);
    ful__free(b->clusters);
    ful__free(b->items);
    ful__free(b->block);
    ful__free(b->decoders);
    *b = (ful__build){.pack.failed = b->pack.failed, .skipped = b->skipped};
}
