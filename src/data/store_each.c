/* SPDX-License-Identifier: Apache-2.0 */
/* All images of a store in turn: by number where they can be read so, else as the archives give them. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/store_make.h"
#include "data/tar.h"

typedef struct walk {
    const ful__store *store;
    int64_t next, first; /* the image that comes next in the archives; the first that is wanted */
    ful__store_buffer buffer;
    ful__store_visit visit;
    void *ctx;
} walk;

static ful_status take_image(walk *w, ful__tar *tar, const ful__tar_member *m)
{
    const int64_t i = w->next++;
    char name[FUL__STORE_NAME_MAX];
    if (i < w->first) return FUL_OK;
    if (m->bytes < 1 || m->bytes > FUL__IMAGE_FILE_MAX) {
        const ful_status bad = ful__fail(FUL_ERR_DATA, "cannot decode image '%s' of %llu bytes: 1..%u are accepted",
                                         ful__store_name(w->store, i, name), (unsigned long long)m->bytes, FUL__IMAGE_FILE_MAX);
        return w->visit(w->ctx, i, bad, NULL, 0);
    }
    if (m->bytes > w->buffer.capacity) {
        FUL_TRY(ful__realloc(&w->buffer.data, (size_t)m->bytes, 1, "an image file"));
        w->buffer.capacity = (size_t)m->bytes;
    }
    FUL_TRY(ful__tar_take(tar, w->buffer.data, (size_t)m->bytes)); /* the stream is broken: nothing follows */
    return w->visit(w->ctx, i, FUL_OK, w->buffer.data, (size_t)m->bytes);
}

static bool is_next(const walk *w, uint32_t place, const ful__tar_member *m)
{
    if (w->next == w->store->count) return false;
    const ful__store_entry *e = &w->store->entries[w->next];
    return e->place == place && e->offset == m->offset && m->regular &&
           e->bytes == (m->bytes > UINT32_MAX ? UINT32_MAX : m->bytes);
}

/* inside: this is an archive in an archive. */
static ful_status walk_tar(walk *w, uint32_t place, ful__tar *tar, bool inside)
{
    ful__tar_member m;
    for (bool more = true; more;) {
        FUL_TRY(ful__tar_next(tar, &more, &m));
        if (!more) break;
        const size_t n = strlen(m.path);
        if (is_next(w, place, &m)) {
            FUL_TRY(take_image(w, tar, &m));
        } else if (!inside && m.regular && n > 4 && strcmp(m.path + n - 4, ".tar") == 0) {
            ful__tar inner;
            ful_status status = ful__tar_open_member(&inner, tar);
            if (status == FUL_OK) status = walk_tar(w, place, &inner, true);
            ful__tar_close(&inner);
            FUL_TRY(status);
        }
    }
    return FUL_OK;
}

static ful_status walk_places(walk *w)
{
    const ful__store *s = w->store;
    for (int i = 0; i < s->n_places; i++) {
        ful__tar tar;
        ful_status status = ful__tar_open(&tar, s->places[i].path);
        if (status == FUL_OK) status = walk_tar(w, (uint32_t)i, &tar, false);
        ful__tar_close(&tar);
        FUL_TRY(status);
    }
    FUL_FAIL_IF(w->next != s->count, FUL_ERR_FORMAT, "cannot read '%s': it changed while it was read", s->path);
    return FUL_OK;
}

ful_status ful__store_each(const ful__store *s, int64_t first, ful__store_visit visit, void *ctx)
{
    walk w = {.store = s, .first = first, .visit = visit, .ctx = ctx};
    ful_status status = s->sequential ? walk_places(&w) : FUL_OK;
    for (int64_t i = first; !s->sequential && status == FUL_OK && i < s->count; i++) {
        const uint8_t *bytes = NULL;
        size_t n = 0;
        const ful_status read = ful__store_read(s, i, &w.buffer, &bytes, &n);
        status = read == FUL_ERR_MEMORY ? read : visit(ctx, i, read, bytes, n);
    }
    ful__store_buffer_deinit(&w.buffer);
    return status;
}

/* ---- into a build ---- */

typedef struct feed {
    const ful__store *store;
    ful__build *build;
} feed;

static ful_status give(void *ctx, int64_t i, ful_status status, const uint8_t *bytes, size_t n)
{
    const feed *f = ctx;
    uint8_t *copy = NULL;
    char name[FUL__STORE_NAME_MAX];
    if (status != FUL_OK) return ful__build_report(f->build, status);
    FUL_TRY(ful__calloc(&copy, n, 1, "an image file"));
    memcpy(copy, bytes, n);
    return ful__build_take_encoded(f->build, ful__store_name(f->store, i, name), f->store->labels[i], copy, n);
}

ful_status ful__build_add_store(ful__build *b, const ful__store *s)
{
    feed f = {.store = s, .build = b};
    b->sort_classes = false; /* they are numbered */
    for (int c = 0, same; c < s->classes.count; c++) FUL_TRY(ful__build_class(b, s->class_names[c], &same));
    if (s->sequential) return ful__store_each(s, 0, give, &f);
    for (int64_t i = 0; i < s->count; i++) FUL_TRY(ful__build_add_stored(b, s, i)); /* read by the threads that decode */
    return ful__build_flush(b);                                                     /* the store may go after this */
}
