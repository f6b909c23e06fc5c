/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of class folders: exactly two levels, sorted by bytes so that every machine numbers alike. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/readers.h"
#include "data/source.h"

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

ful_status ful__source_add_file(ful__source *s, const char *path, int class_number)
{
    struct stat info;
    FUL_FAIL_IF(stat(path, &info) != 0, FUL_ERR_IO, "cannot examine '%s': %s", path, strerror(errno));
    FUL_FAIL_IF(!S_ISREG(info.st_mode), FUL_ERR_DATA, "cannot read '%s': it must be a regular file", path);
    if (s->n_files == s->capacity) {
        const int64_t capacity = s->capacity ? 2 * s->capacity : 16;
        FUL_TRY(ful__realloc(&s->files, (size_t)capacity, sizeof *s->files, "a list of files"));
        s->capacity = capacity;
    }
    ful__source_file *f = &s->files[s->n_files];
    *f = (ful__source_file){.bytes = (uint64_t)info.st_size,
                            .mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec,
                            .class_number = class_number};
    FUL_TRY(ful__strdup(&f->path, path));
    s->n_files++;
    return FUL_OK;
}

static ful_status add_images(ful__source *s, const char *folder, const names *files)
{
    int64_t before = s->n_files;
    bool folders = false;
    for (size_t i = 0; i < files->count; i++) {
        char *path = NULL;
        FUL_TRY(ful__path_join(&path, folder, files->item[i]));
        ful_status status = FUL_OK;
        if (ful__path_is_dir(path))
            folders = true;
        else if (ful__has_image_suffix(path))
            status = ful__source_add_file(s, path, s->n_classes - 1);
        ful__free(path);
        FUL_TRY(status);
    }
    FUL_FAIL_IF(s->n_files == before, FUL_ERR_DATA, "cannot use class folder '%s': it holds no .jpg, .jpeg or .png%s", folder,
                folders ? " of its own (folders inside a class folder are not searched)" : "");
    return FUL_OK;
}

static ful_status add_class(ful__source *s, const char *folder, const char *name)
{
    if (s->n_classes == s->class_capacity) {
        const size_t capacity = s->class_capacity ? 2 * (size_t)s->class_capacity : 64;
        FUL_FAIL_IF(s->n_classes >= FUL__CLASSES_MAX, FUL_ERR_DATA, "cannot use folder '%s': at most %d classes are accepted",
                    folder, FUL__CLASSES_MAX);
        FUL_TRY(ful__realloc(&s->classes, capacity, sizeof *s->classes, "class names"));
        s->class_capacity = (int)capacity;
    }
    FUL_TRY(ful__strdup(&s->classes[s->n_classes], name));
    s->n_classes++;
    names files = {0};
    ful_status status = list_folder(folder, &files);
    if (status == FUL_OK) status = add_images(s, folder, &files);
    names_deinit(&files);
    return status;
}

ful_status ful__scan_class_folders(ful__source *s, const char *root)
{
    names entries = {0};
    ful_status status = list_folder(root, &entries);
    for (size_t i = 0; status == FUL_OK && i < entries.count; i++) {
        char *path = NULL;
        status = ful__path_join(&path, root, entries.item[i]);
        if (status == FUL_OK && ful__path_is_dir(path)) {
            status = add_class(s, path, entries.item[i]);
        } else if (status == FUL_OK && ful__has_image_suffix(path)) {
            status = ful__fail(FUL_ERR_DATA, "cannot use image '%s': it lies in no folder that would name its class", path);
        }
        ful__free(path);
    }
    names_deinit(&entries);
    if (status == FUL_OK && s->n_classes == 0) {
        status = ful__fail(FUL_ERR_DATA, "cannot use folder '%s': it holds no class folders with images", root);
    }
    return status;
}
