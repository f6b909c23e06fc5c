/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/store_make.h"

enum { OPEN_MOST = 256 }; /* archives kept open: more of them are opened for each read, descriptors are few */

/* ---- making ---- */

ful_status ful__store_create(const char *path, ful__store **out)
{
    FUL_TRY(ful__calloc(out, 1, sizeof **out, "an index of images"));
    ful__classes_init(&(*out)->classes);
    return ful__strdup(&(*out)->path, path);
}

ful_status ful__store_add_place(ful__store *s, const char *path, bool is_folder, uint32_t *place_out)
{
    if (s->n_places == s->place_capacity) {
        const size_t capacity = s->place_capacity ? 2 * (size_t)s->place_capacity : 4;
        FUL_TRY(ful__realloc(&s->places, capacity, sizeof *s->places, "a list of files"));
        s->place_capacity = (int)capacity;
    }
    ful__store_place *place = &s->places[s->n_places];
    *place = (ful__store_place){.is_folder = is_folder, .file.fd = -1};
    FUL_TRY(ful__strdup(&place->path, path));
    *place_out = (uint32_t)s->n_places++;
    return FUL_OK;
}

static ful_status reserve(ful__store *s, size_t name_bytes)
{
    if (s->count == s->capacity) {
        FUL_FAIL_IF(s->count >= FUL__SET_MAX, FUL_ERR_DATA, "cannot use '%s': a set holds at most %lld images", s->path,
                    FUL__SET_MAX);
        const size_t capacity = s->capacity ? 2 * (size_t)s->capacity : 256;
        FUL_TRY(ful__realloc(&s->entries, capacity, sizeof *s->entries, "an index of images"));
        FUL_TRY(ful__realloc(&s->labels, capacity, sizeof *s->labels, "labels"));
        s->capacity = (int64_t)capacity;
    }
    if (name_bytes > s->name_capacity - s->name_bytes) {
        const size_t least = s->name_bytes + name_bytes,
                     capacity = least > 2 * s->name_capacity ? least + 4096 : 2 * s->name_capacity;
        FUL_TRY(ful__realloc(&s->names, capacity, 1, "image names"));
        s->name_capacity = capacity;
    }
    return FUL_OK;
}

ful_status ful__store_add(ful__store *s, uint32_t place, const char *name, uint64_t offset, uint64_t bytes, int label)
{
    const size_t name_bytes = strlen(name) + 1;
    FUL_TRY(reserve(s, name_bytes));
    memcpy(s->names + s->name_bytes, name, name_bytes);
    s->entries[s->count] = (ful__store_entry){.offset = offset,
                                              .name = s->name_bytes,
                                              .bytes = bytes > UINT32_MAX ? UINT32_MAX
                                                                          : (uint32_t)bytes, /* refused when read */
                                              .place = place};
    s->labels[s->count++] = label;
    s->name_bytes += name_bytes;
    return FUL_OK;
}

/* Names that are all numbers are numbered by their value, others in byte order. */
static bool are_numbers(const ful__classes *c)
{
    for (int i = 0; i < c->count; i++) {
        const char *name = c->names[i];
        const size_t n = strlen(name);
        if (n > 5 || strspn(name, "0123456789") != n || (*name == '0' && n > 1)) return false;
    }
    return c->count > 0;
}

/* By value means: the shorter first, then by bytes. */
static int by_value(const void *a, const void *b, void *classes)
{
    char *const *names = ((const ful__classes *)classes)->names;
    const char *x = names[*(const int *)a], *y = names[*(const int *)b];
    const size_t m = strlen(x), n = strlen(y);
    return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

static ful_status rank_numbers(ful__classes *c, int *rank)
{
    int *order = NULL;
    FUL_TRY(ful__calloc(&order, (size_t)c->count, sizeof *order, "class numbers"));
    for (int i = 0; i < c->count; i++) order[i] = i;
    qsort_r(order, (size_t)c->count, sizeof *order, by_value, c);
    for (int i = 0; i < c->count; i++) rank[order[i]] = i;
    ful__free(order);
    return FUL_OK;
}

static ful_status number_classes(ful__store *s)
{
    ful__classes *c = &s->classes;
    int *rank = NULL;
    FUL_TRY(ful__calloc(&s->class_names, (size_t)c->count, sizeof *s->class_names, "class names"));
    FUL_TRY(ful__calloc(&rank, (size_t)c->count, sizeof *rank, "class numbers"));
    ful_status status = FUL_OK;
    if (s->by_value && are_numbers(c))
        status = rank_numbers(c, rank);
    else
        ful__classes_rank(c, rank);
    for (int i = 0; i < c->count && s->keep_classes; i++) rank[i] = i;
    for (int i = 0; i < c->count && status == FUL_OK; i++) s->class_names[rank[i]] = c->names[i];
    for (int64_t i = 0; i < s->count && status == FUL_OK; i++) s->labels[i] = rank[s->labels[i]];
    ful__free(rank);
    return status;
}

static int compare(const ful__store *s, uint32_t a, uint32_t b)
{
    if (s->labels[a] != s->labels[b]) return s->labels[a] < s->labels[b] ? -1 : 1;
    const ful__store_entry *x = &s->entries[a], *y = &s->entries[b];
    const int names = strcmp(s->names + x->name, s->names + y->name);
    if (names != 0) return names;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_numbers(const void *a, const void *b, void *store)
{
    return compare(store, *(const uint32_t *)a, *(const uint32_t *)b);
}

static ful_status sort_images(ful__store *s)
{
    bool sorted = true;
    for (uint32_t i = 1; sorted && i < s->count; i++) sorted = compare(s, i - 1, i) <= 0;
    if (sorted) return FUL_OK; /* folders are listed so, and most archives written */
    uint32_t *order = NULL;
    ful__store_entry *entries = NULL;
    int32_t *labels = NULL;
    const size_t count = (size_t)s->count;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__calloc(&order, count, sizeof *order, "an order of images"));
    FUL_TRY_GOTO(status, done, ful__calloc(&entries, count, sizeof *entries, "an index of images"));
    FUL_TRY_GOTO(status, done, ful__calloc(&labels, count, sizeof *labels, "labels"));
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    qsort_r(order, count, sizeof *order, compare_numbers, s);
    for (size_t i = 0; i < count; i++) {
        entries[i] = s->entries[order[i]];
        labels[i] = s->labels[order[i]];
    }
    ful__free(s->entries);
    ful__free(s->labels);
    s->entries = entries;
    s->labels = labels;
    s->capacity = s->count;
    entries = NULL;
    labels = NULL;
done:
    ful__free(order);
    ful__free(entries);
    ful__free(labels);
    return status;
}

static ful_status open_places(ful__store *s)
{
    int archives = 0;
    for (int i = 0; i < s->n_places; i++) archives += !s->places[i].is_folder;
    for (int i = 0; archives <= OPEN_MOST && i < s->n_places && !s->sequential; i++) {
        if (!s->places[i].is_folder && !s->places[i].shard) FUL_TRY(ful__file_open(&s->places[i].file, s->places[i].path));
    }
    return FUL_OK;
}

ful_status ful__store_finish(ful__store *s)
{
    FUL_FAIL_IF(s->count == 0, FUL_ERR_DATA, "cannot use '%s': it holds no images", s->path);
    FUL_TRY(number_classes(s));
    if (!s->sequential && !s->keep_order) FUL_TRY(sort_images(s));
    FUL_TRY(ful__realloc(&s->entries, (size_t)s->count, sizeof *s->entries, "an index of images"));
    FUL_TRY(ful__realloc(&s->labels, (size_t)s->count, sizeof *s->labels, "labels"));
    FUL_TRY(ful__realloc(&s->names, s->name_bytes, 1, "image names"));
    s->capacity = s->count;
    s->name_capacity = s->name_bytes;
    return open_places(s);
}

void ful__store_close(ful__store **store)
{
    if (!store || !*store) return;
    ful__store *s = *store;
    for (int i = 0; i < s->n_places; i++) {
        ful__file_close(&s->places[i].file);
        if (s->places[i].shard) ful__shard_close(s->places[i].shard);
        ful__free(s->places[i].shard);
        ful__free(s->places[i].path);
    }
    ful__free(s->places);
    ful__free(s->entries);
    ful__free(s->labels);
    ful__free(s->names);
    ful__free(s->class_names);
    ful__classes_deinit(&s->classes);
    ful__free(s->path);
    ful__free(s);
    *store = NULL;
}

/* ---- what it holds ---- */

int64_t ful__store_count(const ful__store *s)
{
    return s->count;
}

uint64_t ful__store_stamp(const ful__store *s)
{
    return s->stamp;
}

uint64_t ful__store_bytes(const ful__store *s)
{
    return s->bytes;
}

bool ful__store_is_sequential(const ful__store *s)
{
    return s->sequential;
}

int ful__store_classes(const ful__store *s)
{
    return s->classes.count;
}

const char *ful__store_class_name(const ful__store *s, int label)
{
    return s->class_names[label];
}

const char *const *ful__store_class_names(const ful__store *s)
{
    return s->class_names;
}

const char *ful__store_inner_name(const ful__store *s, int64_t i)
{
    return s->names + s->entries[i].name;
}

int ful__store_label(const ful__store *s, int64_t i)
{
    return s->labels[i];
}

const int32_t *ful__store_labels(const ful__store *s)
{
    return s->labels;
}

const char *ful__store_name(const ful__store *s, int64_t i, char buffer[FUL__STORE_NAME_MAX])
{
    const ful__store_place *place = &s->places[s->entries[i].place];
    snprintf(buffer, FUL__STORE_NAME_MAX, "%s%s%s", place->path, place->is_folder ? "/" : ": ", s->names + s->entries[i].name);
    return buffer;
}

/* By its name; a class with a WordNet id also by that alone, for one split may have the words and the other not. */
static int find_alike(const ful__classes *classes, const char *name)
{
    const int exact = ful__classes_find(classes, name);
    for (int c = 0; exact < 0 && c < classes->count; c++) {
        if (ful__class_is_same(classes->names[c], name)) return c;
    }
    return exact;
}

ful_status ful__store_number_like(ful__store *s, const char *const *names, int classes)
{
    ful__classes like;
    int32_t *number = NULL;
    const char **class_names = NULL;
    ful_status status = FUL_OK;
    ful__classes_init(&like);
    for (int c = 0, same; c < classes; c++) FUL_TRY_GOTO(status, done, ful__classes_add(&like, s->path, names[c], &same));
    FUL_TRY_GOTO(status, done, ful__calloc(&number, (size_t)s->classes.count, sizeof *number, "class numbers"));
    for (int c = 0; c < s->classes.count; c++) {
        number[c] = find_alike(&like, s->class_names[c]);
        if (number[c] >= 0) continue;
        status = ful__fail(FUL_ERR_DATA, "cannot use '%s': its class '%s' is not in the training split", s->path,
                           s->class_names[c]);
        goto done;
    }
    FUL_TRY_GOTO(status, done, ful__calloc(&class_names, (size_t)classes, sizeof *class_names, "class names"));
    for (int c = 0; c < classes; c++) class_names[c] = like.names[c];
    for (int64_t i = 0; i < s->count; i++) s->labels[i] = number[s->labels[i]];
    ful__classes_deinit(&s->classes);
    ful__free(s->class_names);
    s->classes = like;
    s->class_names = class_names;
    like = (ful__classes){0};
done:
    ful__classes_deinit(&like);
    ful__free(number);
    return status;
}

/* ---- reading ---- */

void ful__store_buffer_deinit(ful__store_buffer *buffer)
{
    ful__free(buffer->data);
    *buffer = (ful__store_buffer){0};
}

/* Reads n bytes of the image from an open file. */
static ful_status read_part(const ful__store *s, int64_t i, const ful__file *file, uint64_t offset, uint64_t n,
                            ful__store_buffer *buffer)
{
    char name[FUL__STORE_NAME_MAX];
    size_t got = 0;
    FUL_FAIL_IF(n < 1, FUL_ERR_DATA, "cannot decode image '%s': the file is empty", ful__store_name(s, i, name));
    FUL_FAIL_IF(n > FUL__IMAGE_FILE_MAX, FUL_ERR_DATA, "cannot decode image '%s' of %llu bytes: at most %u are accepted",
                ful__store_name(s, i, name), (unsigned long long)n, FUL__IMAGE_FILE_MAX);
    if (n > buffer->capacity) {
        const size_t capacity = (size_t)n + (size_t)n / 4;
        FUL_TRY(ful__realloc(&buffer->data, capacity, 1, "an image file"));
        buffer->capacity = capacity;
    }
    FUL_TRY(ful__file_read_at(file, s->places[s->entries[i].place].path, offset, buffer->data, (size_t)n, &got));
    FUL_FAIL_IF(got < n, FUL_ERR_FORMAT, "cannot read image '%s': it ends after %zu of %llu bytes", ful__store_name(s, i, name),
                got, (unsigned long long)n);
    return FUL_OK;
}

static ful_status read_record(const ful__store *s, int64_t i, const ful__shard *shard, const uint8_t **bytes, size_t *n)
{
    const int64_t number = (int64_t)s->entries[i].offset;
    char name[FUL__STORE_NAME_MAX];
    FUL_FAIL_IF(!ful__shard_record_is_whole(shard, number), FUL_ERR_FORMAT, "cannot read image '%s': it is damaged (checksum)",
                ful__store_name(s, i, name));
    *bytes = shard->base + shard->index[number].offset;
    *n = shard->index[number].bytes;
    return FUL_OK;
}

ful_status ful__store_read(const ful__store *s, int64_t i, ful__store_buffer *buffer, const uint8_t **bytes, size_t *n)
{
    const ful__store_entry *e = &s->entries[i];
    const ful__store_place *place = &s->places[e->place];
    ful__file file = place->file;
    char path[FUL__STORE_NAME_MAX];
    *bytes = NULL;
    *n = 0;
    FUL_FAIL_IF(s->sequential, FUL_ERR_INTERNAL, "cannot read image %lld of '%s': it is read from front to back only",
                (long long)i, s->path);
    if (place->shard) return read_record(s, i, place->shard, bytes, n);
    if (place->is_folder) ful__store_name(s, i, path);
    if (file.fd < 0) FUL_TRY(ful__file_open(&file, place->is_folder ? path : place->path));
    const uint64_t size = place->is_folder ? file.bytes : e->bytes;
    const ful_status status = read_part(s, i, &file, e->offset, size, buffer);
    if (place->file.fd < 0) ful__file_close(&file);
    FUL_TRY(status);
    *bytes = buffer->data;
    *n = (size_t)size;
    return FUL_OK;
}
