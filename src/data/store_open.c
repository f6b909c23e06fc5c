/* SPDX-License-Identifier: Apache-2.0 */
/* From a source to the index of its images. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/store_make.h"

/* Keeps the images below [top/]<inside>/. */
static void keep_inside(ful__store *s, const char *inside)
{
    const size_t n = strlen(inside);
    int64_t kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const char *name = s->names + s->entries[i].name, *slash = strchr(name, '/');
        const bool here = strncmp(name, inside, n) == 0 && name[n] == '/';
        const bool below = slash && strncmp(slash + 1, inside, n) == 0 && slash[1 + n] == '/';
        if (here || below) s->entries[kept++] = s->entries[i];
    }
    s->count = kept;
}

static ful_status list(ful__listing *l)
{
    const ful__source *source = l->source;
    if (source->layout == FUL__LAYOUT_WEBDATASET) return ful__list_webdataset(l);
    if (source->layout == FUL__LAYOUT_SHARDS) return ful__list_shards(l);
    FUL_TRY(source->is_archive ? ful__list_tar(l) : ful__list_folder(l));
    if (source->inside) keep_inside(l->store, source->inside);
    if (source->layout == FUL__LAYOUT_LISTED) FUL_TRY(ful__label_by_list(l));
    if (source->layout == FUL__LAYOUT_TAR) FUL_TRY(ful__label_by_folder(l));
    return ful__label_words(l);
}

ful_status ful__store_list(const ful__source *source, unsigned flags, ful__store **out)
{
    *out = NULL;
    FUL_FAIL_IF(!ful__layout_is_encoded(source->layout), FUL_ERR_DATA,
                "cannot read encoded images from '%s': it holds decoded ones (%s)", source->path,
                ful__layout_name(source->layout));
    ful__listing *l = NULL;
    FUL_TRY(ful__calloc(&l, 1, sizeof *l, "a listing"));
    *l = (ful__listing){.source = source, .flags = flags};
    ful_status status = ful__store_create(source->path, &l->store);
    if (status == FUL_OK) status = list(l);
    if (status == FUL_OK) status = ful__store_finish(l->store);
    if (status != FUL_OK) ful__store_close(&l->store);
    *out = l->store;
    for (int i = 0; i < l->n_texts; i++) {
        ful__free(l->texts[i].name);
        ful__free(l->texts[i].data);
    }
    ful__free(l);
    return status;
}

bool ful__source_has_store(const ful__source *source)
{
    return ful__layout_is_encoded(source->layout) && !source->compressed;
}

ful_status ful__store_open(const ful__source *source, ful__store **out)
{
    *out = NULL;
    FUL_FAIL_IF(
        source->compressed && ful__layout_is_encoded(source->layout), FUL_ERR_DATA,
        "cannot read the images of '%s' one by one: a compressed archive is read from front to back only; unpack it, or "
        "decompress it to a .tar",
        source->path);
    return ful__store_list(source, 0, out);
}
