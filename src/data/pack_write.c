/* SPDX-License-Identifier: Apache-2.0 */
/* Writing packs, front to back, to a file (atomic) or to memory. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/pack.h"

static ful_status put(ful__pack_writer *w, const void *data, size_t bytes)
{
    if (!w->to_memory) {
        const ful_status status = ful__writer_write(&w->file, data, bytes);
        w->failed |= status != FUL_OK;
        FUL_TRY(status);
    } else {
        if (bytes > w->heap_capacity - w->heap_bytes) {
            size_t capacity = 0;
            const size_t least = w->heap_capacity > (SIZE_MAX >> 2) ? SIZE_MAX : w->heap_capacity + w->heap_capacity / 2;
            FUL_FAIL_IF(!ful__size_add(w->heap_bytes, bytes, &capacity), FUL_ERR_MEMORY,
                        "cannot hold a set of images in memory: its size overflows");
            if (capacity < least) capacity = least;
            FUL_TRY(ful__realloc(&w->heap, capacity, 1, "a set of images"));
            w->heap_capacity = capacity;
        }
        memcpy(w->heap + w->heap_bytes, data, bytes);
        w->heap_bytes += bytes;
    }
    w->at += bytes;
    return FUL_OK;
}

static ful_status pad(ful__pack_writer *w)
{
    static const uint8_t zeros[64];
    return put(w, zeros, (size_t)(-w->at % 64));
}

ful_status ful__pack_begin(ful__pack_writer *w, const char *path, int height, int width, int channels, int split, uint64_t key)
{
    *w = (ful__pack_writer){.to_memory = !path, .image_bytes = (uint64_t)height * (uint64_t)width * (uint64_t)channels};
    if (path) {
        const ful_status status = ful__writer_create(&w->file, path);
        w->failed = status != FUL_OK;
        FUL_TRY(status);
    }
    FUL_TRY(ful__calloc(&w->block, FUL__PACK_BLOCK_BYTES, 1, "a block of pixels"));
    ful__pack_head h = {.magic = "FULPACK",
                        .version = FUL__PACK_VERSION,
                        .byte_order = 0x01020304,
                        .height = (uint32_t)height,
                        .width = (uint32_t)width,
                        .channels = (uint32_t)channels,
                        .split = (uint32_t)split,
                        .key = key};
    h.magic[7] = '\n';
    h.checksum = ful__hash64(&h, offsetof(ful__pack_head, checksum), 0);
    return put(w, &h, sizeof h);
}

/* Writes the block that was filled, and keeps its checksum. */
static ful_status end_block(ful__pack_writer *w)
{
    if (w->block_bytes == 0) return FUL_OK;
    if (w->n_blocks == w->block_capacity) {
        const size_t capacity = w->block_capacity ? 2 * w->block_capacity : 64;
        FUL_TRY(ful__realloc(&w->blocks, capacity, sizeof *w->blocks, "checksums"));
        w->block_capacity = capacity;
    }
    w->blocks[w->n_blocks++] = ful__hash64(w->block, w->block_bytes, 0);
    FUL_TRY(put(w, w->block, w->block_bytes));
    w->block_bytes = 0;
    return FUL_OK;
}

ful_status ful__pack_add(ful__pack_writer *w, const void *pixels, size_t bytes)
{
    const uint8_t *from = pixels;
    while (bytes > 0) {
        const size_t room = FUL__PACK_BLOCK_BYTES - w->block_bytes, part = bytes < room ? bytes : room;
        memcpy(w->block + w->block_bytes, from, part);
        w->block_bytes += part;
        from += part;
        bytes -= part;
        if (w->block_bytes == FUL__PACK_BLOCK_BYTES) FUL_TRY(end_block(w));
    }
    return FUL_OK;
}

/* The part between pixels and tail goes through memory, so that its checksum is one hash. */
typedef struct index_bytes {
    uint8_t *data;
    size_t bytes, capacity;
} index_bytes;

static void append(index_bytes *b, const void *data, size_t bytes)
{
    if (bytes > 0) memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static void append_pad(index_bytes *b)
{
    b->bytes = ful__align64(b->bytes);
} /* it was zeroed */

static ful_status build_index(const ful__pack_writer *w, const ful__pack_index *x, index_bytes *b, uint64_t *name_bytes)
{
    const size_t count = (size_t)x->count;
    *name_bytes = 0;
    for (int c = 0; c < x->classes; c++) *name_bytes += strlen(x->names[c]) + 1;
    b->capacity = 2 * ful__align64(4 * count) + ful__align64(*name_bytes) + ful__align64(8 * w->n_blocks);
    FUL_TRY(ful__calloc(&b->data, b->capacity, 1, "labels"));
    append(b, x->labels, 4 * count);
    append_pad(b);
    if (x->clusters) append(b, x->clusters, 4 * count);
    append_pad(b);
    for (int c = 0; c < x->classes; c++) append(b, x->names[c], strlen(x->names[c]) + 1);
    append_pad(b);
    append(b, w->blocks, 8 * w->n_blocks);
    append_pad(b);
    return FUL_OK;
}

static ful_status finish(ful__pack_writer *w, const ful__pack_index *x, index_bytes *b)
{
    ful__pack_tail t = {
        .count = (uint64_t)x->count, .classes = (uint64_t)x->classes, .left_out = (uint64_t)x->left_out, .magic = "FULTAIL"};
    t.magic[7] = '\n';
    t.flags = (x->clusters ? FUL__PACK_CLUSTERS : 0u) | (x->mean ? FUL__PACK_NORM : 0u);
    if (x->mean) memcpy(t.mean, x->mean, sizeof t.mean), memcpy(t.std, x->std, sizeof t.std);
    FUL_TRY(end_block(w));
    FUL_TRY(pad(w));
    FUL_TRY(build_index(w, x, b, &t.name_bytes));
    t.index_checksum = ful__hash64(b->data, b->bytes, 0);
    t.checksum = ful__hash64(&t, offsetof(ful__pack_tail, checksum), 0);
    FUL_TRY(put(w, b->data, b->bytes));
    return put(w, &t, sizeof t);
}

ful_status ful__pack_finish(ful__pack_writer *w, const ful__pack_index *index, ful__pack *out)
{
    index_bytes b = {0};
    const ful_status status = finish(w, index, &b);
    ful__free(b.data);
    FUL_TRY(status);
    if (!w->to_memory) {
        const ful_status committed = ful__writer_commit(&w->file);
        w->failed |= committed != FUL_OK;
        return committed;
    }
    FUL_TRY(ful__pack_parse("memory", w->heap, w->heap_bytes, false, out));
    out->heap = w->heap; /* handed over */
    w->heap = NULL;
    return FUL_OK;
}

void ful__pack_abort(ful__pack_writer *w)
{
    ful__writer_abort(&w->file);
    ful__free(w->heap);
    ful__free(w->blocks);
    ful__free(w->block);
    *w = (ful__pack_writer){.failed = w->failed};
}
