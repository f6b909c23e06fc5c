/* SPDX-License-Identifier: Apache-2.0 */
/* The images in folders, sorted by bytes so that every machine numbers alike. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/readers.h"
#include "data/store_make.h"

typedef struct names {
    char **item;
    size_t count, capacity;
} names;

static void names_deinit(names *n)
{
    for (size_t i = 0; i < n->count; i++) ful__free(n->item[i]);
    ful__free(n->item);
    *n = (names){0};
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ful_status names_add(names *n, const char *name)
{
    if (n->count == n->capacity) {
        const size_t capacity = n->capacity ? 2 * n->capacity : 64;
        FUL_TRY(ful__realloc(&n->item, capacity, sizeof *n->item, "file names"));
        n->capacity = capacity;
    }
    FUL_TRY(ful__strdup(&n->item[n->count], name));
    n->count++;
    return FUL_OK;
}

/* All names in a folder that do not begin with a dot, sorted. */
static ful_status list_folder(const char *path, names *out)
{
    DIR *dir = ful__fault_hit(FUL__FAULT_READ) ? (errno = EIO, NULL) : opendir(path);
    FUL_FAIL_IF(!dir, FUL_ERR_IO, "cannot list folder '%s': %s", path, strerror(errno));
    ful_status status = FUL_OK;
    const struct dirent *entry;
    while (status == FUL_OK && (errno = 0, entry = readdir(dir))) {
        if (entry->d_name[0] != '.') status = names_add(out, entry->d_name);
    }
    if (status == FUL_OK && errno) status = ful__fail(FUL_ERR_IO, "cannot list folder '%s': %s", path, strerror(errno));
    closedir(dir);
    if (out->count > 0) qsort(out->item, out->count, sizeof *out->item, by_bytes);
    return status;
}

/* What a change of the file would change. */
static ful_status examine(ful__listing *l, const char *path, const char *name, uint64_t *bytes)
{
    struct stat info;
    ful__store *s = l->store;
    FUL_FAIL_IF(stat(path, &info) != 0, FUL_ERR_IO, "cannot examine '%s': %s", path, strerror(errno));
    FUL_FAIL_IF(!S_ISREG(info.st_mode), FUL_ERR_DATA, "cannot read '%s': it must be a regular file", path);
    const uint64_t marks[3] = {(uint64_t)info.st_size, (uint64_t)info.st_mtim.tv_sec, (uint64_t)info.st_mtim.tv_nsec};
    s->stamp = ful__hash64(marks, sizeof marks, s->stamp);
    s->stamp = ful__hash64(name, strlen(name), s->stamp);
    s->bytes += marks[0];
    *bytes = marks[0];
    return FUL_OK;
}

/* The images of `folder`, which is `inside` seen from the place. */
static ful_status add_images(ful__listing *l, const char *folder, const char *inside, int label, int64_t *added)
{
    names files = {0};
    ful_status status = list_folder(folder, &files);
    *added = 0;
    for (size_t i = 0; status == FUL_OK && i < files.count; i++) {
        char *path = NULL, *name = NULL;
        uint64_t bytes = 0;
        if (!ful__has_image_suffix(files.item[i])) continue;
        FUL_TRY_GOTO(status, next, ful__path_join(&path, folder, files.item[i]));
        if (ful__path_is_dir(path)) goto next;
        FUL_TRY_GOTO(status, next, ful__path_join(&name, inside, files.item[i]));
        if (l->flags & FUL__LIST_STAMPS) FUL_TRY_GOTO(status, next, examine(l, path, name, &bytes));
        status = ful__store_add(l->store, 0, name, 0, bytes, label);
        ++*added;
    next:
        ful__free(path);
        ful__free(name);
    }
    names_deinit(&files);
    return status;
}

/* Of a class: in its folder, or as Tiny-ImageNet has them in <wnid>/images. */
static ful_status add_class(ful__listing *l, const char *folder, const char *name)
{
    int label;
    int64_t added = 0;
    char *below = NULL, *inside = NULL;
    FUL_TRY(ful__classes_add(&l->store->classes, l->store->path, name, &label));
    FUL_TRY(add_images(l, folder, name, label, &added));
    if (added > 0) return FUL_OK;
    ful_status status = ful__path_join(&below, folder, "images");
    if (status == FUL_OK) status = ful__path_join(&inside, name, "images");
    const bool deeper = status == FUL_OK && ful__is_wnid(name) && ful__path_is_dir(below);
    if (deeper) status = add_images(l, below, inside, label, &added);
    ful__free(below);
    ful__free(inside);
    FUL_TRY(status);
    FUL_FAIL_IF(added == 0 && !(l->flags & FUL__LIST_TOLERANT), FUL_ERR_DATA,
                "cannot use class folder '%s': it holds no .jpg, .jpeg or .png of its own (folders inside it are not searched)",
                folder);
    return FUL_OK;
}

static ful_status add_classes(ful__listing *l)
{
    names entries = {0};
    const char *root = l->source->path;
    ful_status status = list_folder(root, &entries);
    for (size_t i = 0; status == FUL_OK && i < entries.count; i++) {
        char *path = NULL;
        status = ful__path_join(&path, root, entries.item[i]);
        if (status == FUL_OK && ful__path_is_dir(path)) {
            status = add_class(l, path, entries.item[i]);
        } else if (status == FUL_OK && ful__has_image_suffix(path)) {
            status = ful__fail(FUL_ERR_DATA,
                               "cannot use image '%s': it lies in no folder that would name its class, and no list (such as "
                               "val_annotations.txt) names the classes of a split",
                               path);
        }
        ful__free(path);
    }
    names_deinit(&entries);
    FUL_TRY(status);
    FUL_FAIL_IF(l->store->classes.count == 0, FUL_ERR_DATA, "cannot use folder '%s': it holds no class folders with images",
                root);
    return FUL_OK;
}

ful_status ful__list_folder(ful__listing *l)
{
    uint32_t place;
    int64_t added;
    FUL_TRY(ful__store_add_place(l->store, l->source->path, true, &place));
    return l->source->layout == FUL__LAYOUT_LISTED ? add_images(l, l->source->path, "", 0, &added) : add_classes(l);
}
