/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a shard, front to back. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/shard.h"

static ful_status put(ful__shard_writer *w, const void *data, size_t bytes)
{
    if (bytes > 0) FUL_TRY(ful__writer_write(&w->file, data, bytes));
    w->at += bytes;
    return FUL_OK;
}

static ful_status pad(ful__shard_writer *w, unsigned to)
{
    static const uint8_t zeros[64];
    return put(w, zeros, (size_t)(-w->at % to));
}

ful_status ful__shard_begin(ful__shard_writer *w, const char *path, const ful__shard_head *about)
{
    *w = (ful__shard_writer){.head = *about};
    memcpy(w->head.magic, "FULSHRD\n", 8);
    w->head.version = FUL__SHARD_VERSION;
    w->head.byte_order = 0x01020304;
    w->head.checksum = ful__hash64(&w->head, offsetof(ful__shard_head, checksum), 0);
    FUL_TRY(ful__writer_create(&w->file, path));
    return put(w, &w->head, sizeof w->head);
}

static ful_status reserve(ful__shard_writer *w, size_t name_bytes)
{
    if (w->count == w->capacity) {
        const size_t capacity = w->capacity ? 2 * (size_t)w->capacity : 256;
        FUL_TRY(ful__realloc(&w->index, capacity, sizeof *w->index, "an index of images"));
        w->capacity = (int64_t)capacity;
    }
    if (name_bytes > w->name_capacity - w->name_bytes) {
        const size_t capacity = 2 * w->name_capacity + name_bytes + 4096;
        FUL_TRY(ful__realloc(&w->names, capacity, 1, "image names"));
        w->name_capacity = capacity;
    }
    FUL_FAIL_IF(w->name_bytes + name_bytes > UINT32_MAX, FUL_ERR_DATA, "cannot write shard '%s': its names exceed 4 GiB",
                w->file.path);
    return FUL_OK;
}

ful_status ful__shard_add(ful__shard_writer *w, const ful__shard_entry *entry, const char *name, const void *bytes, size_t n)
{
    const size_t name_bytes = strlen(name) + 1;
    FUL_FAIL_IF(n < 1 || n > FUL__IMAGE_FILE_MAX, FUL_ERR_DATA, "cannot write image '%s' of %zu bytes: 1..%u are accepted",
                name, n, FUL__IMAGE_FILE_MAX);
    FUL_TRY(reserve(w, name_bytes));
    FUL_TRY(pad(w, 8));
    ful__shard_entry *e = &w->index[w->count];
    *e = *entry;
    e->offset = w->at;
    e->bytes = (uint32_t)n;
    e->checksum = ful__hash64(bytes, n, 0);
    e->name = (uint32_t)w->name_bytes;
    memcpy(w->names + w->name_bytes, name, name_bytes);
    FUL_TRY(put(w, bytes, n));
    w->name_bytes += name_bytes;
    w->count++;
    return FUL_OK;
}

static size_t class_bytes(const char *const *names, int classes)
{
    size_t bytes = 0;
    for (int c = 0; c < classes; c++) bytes += strlen(names[c]) + 1;
    return bytes;
}

/* Index, names and class names in one block, so that their checksum is one hash. */
static ful_status build_index(const ful__shard_writer *w, const char *const *class_names, int classes, uint8_t **out,
                              size_t *bytes)
{
    const size_t index = ful__align64((size_t)w->count * sizeof *w->index), names = ful__align64(w->name_bytes);
    *bytes = index + names + ful__align64(class_bytes(class_names, classes));
    FUL_TRY(ful__calloc(out, *bytes, 1, "an index of images"));
    if (w->count > 0) memcpy(*out, w->index, (size_t)w->count * sizeof *w->index);
    if (w->count > 0) memcpy(*out + index, w->names, w->name_bytes);
    char *at = (char *)*out + index + names;
    for (int c = 0; c < classes; c++) {
        const size_t n = strlen(class_names[c]) + 1;
        memcpy(at, class_names[c], n);
        at += n;
    }
    return FUL_OK;
}

ful_status ful__shard_finish(ful__shard_writer *w, const ful__shard_tail *tail, const char *const *class_names, int classes)
{
    uint8_t *index = NULL;
    size_t bytes = 0;
    ful__shard_tail t = *tail;
    FUL_TRY(pad(w, 64));
    FUL_TRY(build_index(w, class_names, classes, &index, &bytes));
    t.count = (uint64_t)w->count;
    t.classes = (uint64_t)classes;
    t.index_at = w->at;
    t.name_bytes = w->name_bytes;
    t.class_bytes = class_bytes(class_names, classes);
    t.index_checksum = ful__hash64(index, bytes, 0);
    memcpy(t.magic, "FULSEND\n", 8);
    t.checksum = ful__hash64(&t, offsetof(ful__shard_tail, checksum), 0);
    ful_status status = put(w, index, bytes);
    ful__free(index);
    if (status == FUL_OK) status = put(w, &t, sizeof t);
    return status == FUL_OK ? ful__writer_commit(&w->file) : status;
}

void ful__shard_abort(ful__shard_writer *w)
{
    ful__writer_abort(&w->file);
    ful__free(w->index);
    ful__free(w->names);
    *w = (ful__shard_writer){0};
}
