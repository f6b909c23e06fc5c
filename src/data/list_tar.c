/* SPDX-License-Identifier: Apache-2.0 */
/* The images in archives, and in the archives inside them. */
#include <string.h>
#include <strings.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/readers.h"
#include "data/store_make.h"
#include "data/tar.h"

typedef struct tar_job {
    ful__listing *listing;
    uint32_t place;
    char path[FUL__TAR_PATH_MAX]; /* of the member in hand, the inner archive's name before it */
    int64_t links;
} tar_job;

bool ful__has_image_suffix(const char *path)
{
    static const char *const suffix[] = {".jpg", ".jpeg", ".png"};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        const size_t k = strlen(suffix[i]);
        if (n > k && strcasecmp(path + n - k, suffix[i]) == 0) return true;
    }
    return false;
}

bool ful__is_dotted(const char *path)
{
    for (const char *p = path; *p; p++) {
        if (*p != '.' || (p > path && p[-1] != '/')) continue;
        if (p[1] != '/' && p[1] != '\0') return true; /* "./" is no name */
    }
    return false;
}

static bool is_archive(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".tar") == 0;
}

/* Lists that say what images show, or what classes are called. */
static bool is_wanted_text(const char *path)
{
    static const char *const names[] = {"val_annotations.txt", "words.txt", "LOC_synset_mapping.txt", "LOC_val_solution.csv"};
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(base, names[i]) == 0) return true;
    }
    return false;
}

static ful_status keep_text(ful__listing *l, ful__tar *tar, const ful__tar_member *m)
{
    if (l->n_texts == FUL__TEXTS_MOST) return FUL_OK;
    FUL_FAIL_IF(m->bytes > FUL__TEXT_BYTES_MAX, FUL_ERR_FORMAT,
                "cannot read '%s' in '%s' of %llu bytes: at most %d are accepted", m->path, l->store->path,
                (unsigned long long)m->bytes, FUL__TEXT_BYTES_MAX);
    ful__text *text = &l->texts[l->n_texts];
    FUL_TRY(ful__strdup(&text->name, m->path));
    l->n_texts++;
    text->n = (size_t)m->bytes;
    FUL_TRY(ful__calloc(&text->data, text->n + 1, 1, "a list"));
    return ful__tar_take(tar, text->data, text->n);
}

static ful_status add_member(tar_job *j, ful__tar *tar, const char *outer, const ful__tar_member *m)
{
    const bool image = ful__has_image_suffix(m->path), text = is_wanted_text(m->path);
    if ((!image && !text) || ful__is_dotted(m->path)) return FUL_OK;
    j->links += m->link && image;
    if (!m->regular) return FUL_OK;
    if (text) return keep_text(j->listing, tar, m);
    const size_t n = strlen(outer), k = strlen(m->path);
    FUL_FAIL_IF(n + k + 2 > sizeof j->path, FUL_ERR_FORMAT, "cannot read tar archive '%s': a name of %zu bytes, at most %d",
                tar->name, n + k + 1, FUL__TAR_PATH_MAX - 1);
    memcpy(j->path, outer, n);
    if (n > 0) j->path[n] = '/';
    memcpy(j->path + n + (n > 0), m->path, k + 1);
    return ful__store_add(j->listing->store, j->place, j->path, m->offset, m->bytes, 0);
}

/* Archives inside an archive are looked into, those inside them not. */
static ful_status add_members(tar_job *j, ful__tar *tar, const char *outer)
{
    ful__tar_member m;
    for (bool more = true; more;) {
        FUL_TRY(ful__tar_next(tar, &more, &m));
        if (!more) break;
        if (*outer == '\0' && m.regular && is_archive(m.path) && !ful__is_dotted(m.path)) {
            ful__tar inner;
            ful_status status = ful__tar_open_member(&inner, tar);
            if (status == FUL_OK) status = add_members(j, &inner, m.path);
            ful__tar_close(&inner);
            if (status == FUL_ERR_FORMAT) status = ful__fail_context(status, "inner archive '%s'", m.path);
            FUL_TRY(status);
        } else {
            FUL_TRY(add_member(j, tar, outer, &m));
        }
    }
    return FUL_OK;
}

ful_status ful__list_tar(ful__listing *l)
{
    tar_job *j = NULL;
    ful__tar tar = {0};
    const char *path = l->source->path;
    FUL_TRY(ful__calloc(&j, 1, sizeof *j, "an archive reader"));
    j->listing = l;
    ful_status status = ful__store_add_place(l->store, path, false, &j->place);
    if (status == FUL_OK) status = ful__tar_open(&tar, path);
    if (status == FUL_OK) l->store->sequential = tar.compressed;
    if (status == FUL_OK) status = add_members(j, &tar, "");
    ful__tar_close(&tar);
    if (status == FUL_OK && j->links > 0 && !(l->flags & FUL__LIST_QUIET))
        ful__log(FUL_LOG_WARN, "tar archive '%s': %lld linked images were left out", path, (long long)j->links);
    ful__free(j);
    return status;
}
