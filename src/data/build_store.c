/* SPDX-License-Identifier: Apache-2.0 */
/* All images of a store into a build: by number where they can be read so, else as the archives give them. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/store_make.h"
#include "data/tar.h"

typedef struct walk {
    const ful__store *store;
    ful__build *build;
    int64_t next; /* the image that comes next in the archives */
} walk;

static ful_status take_image(walk *w, ful__tar *tar, const ful__tar_member *m)
{
    uint8_t *bytes = NULL;
    char name[FUL__STORE_NAME_MAX];
    const int label = w->store->labels[w->next];
    ful__store_name(w->store, w->next++, name);
    if (m->bytes < 1 || m->bytes > FUL__IMAGE_FILE_MAX) {
        return ful__build_report(w->build, ful__fail(FUL_ERR_DATA, "cannot decode image '%s' of %llu bytes: 1..%u are accepted",
                                                     name, (unsigned long long)m->bytes, FUL__IMAGE_FILE_MAX));
    }
    FUL_TRY(ful__calloc(&bytes, (size_t)m->bytes, 1, "an image file"));
    const ful_status status = ful__tar_take(tar, bytes, (size_t)m->bytes);
    if (status == FUL_OK) return ful__build_take_encoded(w->build, name, label, bytes, (size_t)m->bytes);
    ful__free(bytes);
    return status;
}

static bool is_next(const walk *w, uint32_t place, const ful__tar_member *m)
{
    if (w->next == w->store->count) return false;
    const ful__store_entry *e = &w->store->entries[w->next];
    return e->place == place && e->offset == m->offset && m->regular && e->bytes == m->bytes;
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

static ful_status walk_places(const ful__store *s, ful__build *b)
{
    walk w = {.store = s, .build = b};
    for (int i = 0; i < s->n_places; i++) {
        ful__tar tar;
        ful_status status = ful__tar_open(&tar, s->places[i].path);
        if (status == FUL_OK) status = walk_tar(&w, (uint32_t)i, &tar, false);
        ful__tar_close(&tar);
        FUL_TRY(status);
    }
    FUL_FAIL_IF(w.next != s->count, FUL_ERR_FORMAT, "cannot read '%s': it changed while it was read", s->path);
    return FUL_OK;
}

ful_status ful__build_add_store(ful__build *b, const ful__store *s)
{
    b->sort_classes = false; /* they are numbered */
    for (int c = 0, same; c < s->classes.count; c++) FUL_TRY(ful__build_class(b, s->class_names[c], &same));
    if (s->sequential) return walk_places(s, b);
    for (int64_t i = 0; i < s->count; i++) FUL_TRY(ful__build_add_stored(b, s, i));
    return ful__build_flush(b); /* the store may go after this */
}
