/* SPDX-License-Identifier: Apache-2.0 */
#include "data/build.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "data/limits.h"
#include <fulcrum/core.h>

enum { BLOCK_ITEMS = 1024, BLOCK_ITEMS_LEAST = 16, CHUNK_ITEMS = 16 };
#define BLOCK_PIXEL_BYTES   (32u << 20) /* decoded */
#define BLOCK_ENCODED_BYTES (64u << 20)

struct ful__item {
    char *name;
    int label;
    bool is_file;     /* name is a path to read */
    uint8_t *encoded; /* owned, or NULL */
    size_t n;
    ful__pixels raw; /* with data: already decoded */
    ful_status status;
    char *error; /* what went wrong in the thread that decoded it; may be NULL for want of memory */
};

ful_status ful__build_init(ful__build *b, const ful__build_spec *spec)
{
    *b = (ful__build){.spec = *spec, .sort_classes = true};
    ful__classes_init(&b->classes);
    b->n_decoders = ful_threads_get();
    FUL_TRY(ful__calloc(&b->decoders, (size_t)b->n_decoders, sizeof *b->decoders, "decoders"));
    return ful__calloc(&b->items, BLOCK_ITEMS, sizeof *b->items, "images to decode");
}

ful_status ful__build_report(ful__build *b, ful_status status)
{
    ful__findings *f = b->spec.findings;
    if (status == FUL_OK || !f || status == FUL_ERR_MEMORY) return status;
    if (f->count < FUL__FINDINGS_SHOWN) snprintf(f->line[f->count], FUL__FINDING_BYTES, "%s", ful_error_message());
    f->count++;
    return FUL_OK;
}

ful_status ful__build_class(ful__build *b, const char *name, int *label_out)
{
    return ful__classes_add(&b->classes, b->spec.name, name, label_out);
}

/* ---- decoding ---- */

static ful_status decode_item(const ful__build *b, ful__decoder *d, const ful__item *item, uint8_t *out)
{
    const bool fit = b->spec.size > 0;
    if (item->raw.data) {
        FUL_FAIL_IF(
            !fit && (item->raw.height != b->height || item->raw.width != b->width), FUL_ERR_DATA,
            "cannot use '%s' with images of %dx%d in a set of %dx%d: all must be of one size, or data.size must be given",
            item->name, item->raw.width, item->raw.height, b->width, b->height);
        return ful__fit(d, &item->raw, b->height, b->width, b->channels, out);
    }
    if (!item->is_file)
        return ful__image_decode(d, item->name, item->encoded, item->n, b->height, b->width, b->channels, fit, out);
    char *bytes = NULL;
    size_t n = 0;
    FUL_TRY(ful__file_read(item->name, FUL__IMAGE_FILE_MAX, &bytes, &n));
    const ful_status status = ful__image_decode(d, item->name, bytes, n, b->height, b->width, b->channels, fit, out);
    ful__free(bytes);
    return status;
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
        item->status = decode_item(b, &b->decoders[thread], item, b->block + (size_t)i * image_bytes(b));
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
        if (!b->spec.check_only) FUL_TRY(ful__pack_add(&b->pack, b->block + (size_t)i * image_bytes(b), image_bytes(b)));
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
    if (!item->is_file) return ful__image_probe(d, item->name, item->encoded, item->n, h, w);
    char *bytes = NULL;
    size_t n = 0;
    FUL_TRY(ful__file_read(item->name, FUL__IMAGE_FILE_MAX, &bytes, &n));
    const ful_status status = ful__image_probe(d, item->name, bytes, n, h, w);
    ful__free(bytes);
    return status;
}

/* The first image gives a set its size (unless data.size does) and, where it came decoded, its channels; image files: 3. */
static ful_status take_shape(ful__build *b, const ful__item *item)
{
    int h = b->spec.size, w = b->spec.size;
    if (h == 0) FUL_TRY(probe_item(b, item, &h, &w));
    FUL_FAIL_IF(h > FUL__SIZE_MAX || w > FUL__SIZE_MAX, FUL_ERR_DATA,
                "cannot use '%s' of %dx%d pixels as it is: images of a set have at most %d a side, data.size must be given",
                item->name, w, h, FUL__SIZE_MAX);
    b->channels = b->spec.channels ? b->spec.channels : item->raw.data ? item->raw.channels : 3;
    b->height = h;
    b->width = w;
    const size_t fitting = BLOCK_PIXEL_BYTES / image_bytes(b);
    b->max_items = fitting > BLOCK_ITEMS ? BLOCK_ITEMS : fitting < BLOCK_ITEMS_LEAST ? BLOCK_ITEMS_LEAST : (int)fitting;
    FUL_TRY(ful__calloc(&b->block, (size_t)b->max_items, image_bytes(b), "decoded images"));
    if (b->spec.check_only) return FUL_OK;
    b->pack_begun = true;
    return ful__pack_begin(&b->pack, b->spec.path, h, w, b->channels, b->spec.split, b->spec.key);
}

/* Takes over what the item holds. An image whose header cannot be read while the shape is unknown is reported and left out. */
static ful_status add(ful__build *b, ful__item item, const char *name)
{
    ful__item *slot = &b->items[b->n_items++]; /* from here on it is freed by drop_items */
    *slot = item;
    FUL_TRY(ful__strdup(&slot->name, name));
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

ful_status ful__build_add_file(ful__build *b, const char *path, int label)
{
    return add(b, (ful__item){.label = label, .is_file = true}, path);
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
    const ful__pack_index index = {
        .count = b->count, .labels = b->labels, .clusters = b->clusters, .classes = b->classes.count, .names = names};
    const ful_status status = b->spec.check_only ? FUL_OK : ful__pack_finish(&b->pack, &index, out);
    ful__free(names);
    return status;
}

void ful__build_deinit(ful__build *b)
{
    if (b->items) drop_items(b);
    if (b->pack_begun) ful__pack_abort(&b->pack);
    for (int i = 0; b->decoders && i < b->n_decoders; i++) ful__decoder_deinit(&b->decoders[i]);
    ful__classes_deinit(&b->classes);
    ful__free(b->labels);
    ful__free(b->clusters);
    ful__free(b->items);
    ful__free(b->block);
    ful__free(b->decoders);
    const bool failed = b->pack.failed;
    *b = (ful__build){.pack.failed = failed};
}
