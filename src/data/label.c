/* SPDX-License-Identifier: Apache-2.0 */
/* What the images of an index show, told by the folder each lies in. */
#include <string.h>

#include "core/error.h"
#include "data/limits.h"
#include "data/store_make.h"

/* The part of a path that names the class: the folder of the file, the one before it where that is <wnid>/images, an inner
 * archive without its suffix. */
static const char *class_part(const char *path, size_t *n)
{
    const char *file = strrchr(path, '/'), *begin = file;
    if (!file) return NULL;
    while (begin > path && begin[-1] != '/') begin--;
    *n = (size_t)(file - begin);
    if (*n == 6 && memcmp(begin, "images", 6) == 0 && begin > path) {
        const char *before = begin - 1;
        while (before > path && before[-1] != '/') before--;
        if (ful__is_wnid(before)) {
            *n = (size_t)(begin - 1 - before);
            return before;
        }
    }
    if (*n > 4 && memcmp(begin + *n - 4, ".tar", 4) == 0) *n -= 4;
    return begin;
}

ful_status ful__label_by_folder(ful__listing *l)
{
    ful__store *s = l->store;
    const char *folders = NULL; /* what comes before class/file: the same for all images */
    size_t folder_bytes = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const char *path = s->names + s->entries[i].name;
        char name[FUL__CLASS_NAME_MAX + 2];
        size_t n = 0;
        int label = 0;
        const char *part = class_part(path, &n);
        FUL_FAIL_IF(!part, FUL_ERR_DATA, "cannot use '%s' in '%s': it lies in no folder that would name its class", path,
                    s->path);
        if (!folders) {
            folders = path;
            folder_bytes = (size_t)(part - path);
        }
        FUL_FAIL_IF((size_t)(part - path) != folder_bytes || memcmp(folders, path, folder_bytes) != 0, FUL_ERR_DATA,
                    "cannot use '%s': images lie in '%.*s<class>/' and in '%.*s<class>/', one archive must hold one split as "
                    "class/file",
                    s->path, (int)folder_bytes, folders, (int)(part - path), path);
        if (n > FUL__CLASS_NAME_MAX) n = FUL__CLASS_NAME_MAX + 1; /* refused for its length */
        memcpy(name, part, n);
        name[n] = '\0';
        FUL_TRY(ful__classes_add(&s->classes, s->path, name, &label));
        s->labels[i] = label;
    }
    return FUL_OK;
}
