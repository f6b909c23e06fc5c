/* SPDX-License-Identifier: Apache-2.0 */
/* From the files of a source to the images in them. */
#include <string.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/readers.h"
#include "data/store_make.h"
#include "data/tar.h"

static ful_status add_folder(ful__store *s, const ful__source *source)
{
    uint32_t place;
    const size_t root = strlen(source->path);
    FUL_TRY(ful__store_add_place(s, source->path, true, &place));
    for (int64_t i = 0; i < source->n_files; i++) {
        int label;
        const ful__source_file *f = &source->files[i];
        const char *name = f->path + root;
        while (*name == '/') name++;
        FUL_TRY(ful__classes_add(&s->classes, s->path, source->classes[f->class_number], &label));
        FUL_TRY(ful__store_add(s, place, name, 0, 0, label));
    }
    return FUL_OK;
}

/* ---- archives ---- */

typedef struct tar_job {
    ful__store *store;
    uint32_t place;
    bool any;
    char folders[FUL__TAR_PATH_MAX]; /* what comes before class/file: the same for all images */
    char path[FUL__TAR_PATH_MAX];    /* of the image in hand */
    int64_t links;
} tar_job;

static bool is_archive(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".tar") == 0;
}

/* The class of an image: the folder it lies in, or the inner archive without its suffix. */
static ful_status class_of(tar_job *j, int *label)
{
    char *file = strrchr(j->path, '/');
    FUL_FAIL_IF(!file, FUL_ERR_DATA, "cannot use '%s' in '%s': it lies in no folder that would name its class", j->path,
                j->store->path);
    *file = '\0';
    char *slash = strrchr(j->path, '/'), *class_name = slash ? slash + 1 : j->path;
    const size_t folder_bytes = (size_t)(class_name - j->path);
    if (!j->any) memcpy(j->folders, j->path, folder_bytes); /* it was zeroed: ends with '\0' */
    j->any = true;
    FUL_FAIL_IF(
        strlen(j->folders) != folder_bytes || memcmp(j->folders, j->path, folder_bytes) != 0, FUL_ERR_DATA,
        "cannot use '%s': images lie in '%s<class>/' and in '%.*s<class>/', one archive must hold one split as class/file",
        j->store->path, j->folders, (int)folder_bytes, j->path);
    char *suffix = is_archive(class_name) ? file - 4 : file;
    const char kept = *suffix;
    *suffix = '\0';
    const ful_status status = ful__classes_add(&j->store->classes, j->store->path, class_name, label);
    *suffix = kept;
    *file = '/';
    return status;
}

static ful_status add_member(tar_job *j, const char *outer, const ful__tar_member *m)
{
    int label;
    if (!ful__has_image_suffix(m->path) || ful__is_dotted(m->path)) return FUL_OK;
    j->links += m->link;
    if (!m->regular) return FUL_OK;
    const size_t n = strlen(outer), k = strlen(m->path);
    FUL_FAIL_IF(n + k + 2 > sizeof j->path, FUL_ERR_FORMAT, "cannot read tar archive '%s': a name of %zu bytes, at most %d",
                j->store->path, n + k + 1, FUL__TAR_PATH_MAX - 1);
    memcpy(j->path, outer, n);
    if (n > 0) j->path[n] = '/';
    memcpy(j->path + n + (n > 0), m->path, k + 1);
    FUL_TRY(class_of(j, &label));
    return ful__store_add(j->store, j->place, j->path, m->offset, m->bytes, label);
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
            FUL_TRY(add_member(j, outer, &m));
        }
    }
    return FUL_OK;
}

static ful_status add_tar(ful__store *s, const char *path)
{
    tar_job *j = NULL;
    ful__tar tar = {0};
    FUL_TRY(ful__calloc(&j, 1, sizeof *j, "an archive reader"));
    j->store = s;
    ful_status status = ful__store_add_place(s, path, false, &j->place);
    if (status == FUL_OK) status = ful__tar_open(&tar, path);
    if (status == FUL_OK) status = add_members(j, &tar, "");
    ful__tar_close(&tar);
    if (status == FUL_OK && j->links > 0)
        ful__log(FUL_LOG_WARN, "tar archive '%s': %lld linked images were left out", path, (long long)j->links);
    ful__free(j);
    return status;
}

/* ---- all ---- */

bool ful__source_has_store(const ful__source *source)
{
    return source->layout == FUL__LAYOUT_FOLDER || (source->layout == FUL__LAYOUT_TAR && !source->compressed);
}

ful_status ful__store_open(const ful__source *source, ful__store **out)
{
    *out = NULL;
    FUL_FAIL_IF(
        source->compressed, FUL_ERR_DATA,
        "cannot read the images of '%s' one by one: a compressed archive is read from front to back only; unpack it, or "
        "decompress it to a .tar",
        source->path);
    FUL_FAIL_IF(!ful__source_has_store(source), FUL_ERR_DATA, "cannot read encoded images from '%s': %s holds decoded ones",
                source->path, ful__layout_name(source->layout));
    ful__store *s = NULL;
    ful_status status = ful__store_create(source->path, &s);
    if (status == FUL_OK) status = source->layout == FUL__LAYOUT_FOLDER ? add_folder(s, source) : add_tar(s, source->path);
    if (status == FUL_OK) status = ful__store_finish(s);
    if (status != FUL_OK) ful__store_close(&s);
    *out = s;
    return status;
}
