/* SPDX-License-Identifier: Apache-2.0 */
/* Recognising what lies under a path. The first layout in the order of `find_in_folder` that is there is taken. */
#include "data/source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/gz.h"
#include "data/readers.h"

/* Changes whenever the same files would decode to other pixels, so that old caches are not used. */
enum { DECODE_VERSION = 1 };

const char *ful__layout_name(ful__layout layout)
{
    static const char *const names[] = {"class folders", "tar archive", "CIFAR-10 binary", "CIFAR-100 binary", "IDX", "pack"};
    return names[layout];
}

ful_status ful__data_root(const ful_data_config *config, char **out)
{
    if (*config->path) return ful__strdup(out, config->path);
    FUL_FAIL_IF(strcmp(config->name, "folder") == 0 || strcmp(config->name, "pack") == 0, FUL_ERR_CONFIG,
                "cannot open data set '%s' with path '': data.path must say where it lies", config->name);
    const char *home = getenv("FULCRUM_DATA");
    return ful__path_join(out, home && *home ? home : "../shared/data", config->name);
}

static ful_status set_paths(ful__source *s, const char *root, const char *path)
{
    FUL_TRY(ful__strdup(&s->path, path));
    size_t end = strlen(root);
    while (end > 1 && root[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && root[begin - 1] != '/') begin--;
    FUL_TRY(ful__strdup(&s->set, root + begin));
    s->set[end - begin < 40 ? end - begin : 40] = '\0';
    for (char *p = s->set; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p)) *p = '_';
    }
    return FUL_OK;
}

static bool ends_with(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Takes root/name when it is there: sets *found and *path_out (the caller frees it). */
static ful_status probe(const char *root, const char *name, bool want_dir, bool *found, char **path_out)
{
    char *path = NULL;
    *path_out = NULL;
    FUL_TRY(ful__path_join(&path, root, name));
    *found = ful__path_exists(path) && ful__path_is_dir(path) == want_dir;
    if (*found)
        *path_out = path;
    else
        ful__free(path);
    return FUL_OK;
}

static ful_status add_archive(ful__source *s, const char *path)
{
    ful__file file;
    uint8_t first[2];
    size_t got = 0;
    FUL_TRY(ful__source_add_file(s, path, 0));
    FUL_TRY(ful__file_open(&file, path));
    const ful_status status = ful__file_read_at(&file, path, 0, first, sizeof first, &got);
    ful__file_close(&file);
    s->compressed = status == FUL_OK && ful__gz_is(first, got);
    return status;
}

/* root/<base> as a folder, archive or pack. */
static ful_status find_base(ful__source *s, const char *root, const char *base, bool *found)
{
    static const char *const suffix[] = {".pack", "", ".tar", ".tar.gz", ".tgz"};
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        char name[32], *path = NULL;
        snprintf(name, sizeof name, "%s%s", base, suffix[i]);
        FUL_TRY(probe(root, name, *suffix[i] == '\0', found, &path));
        if (!*found) continue;
        s->layout = i == 0 ? FUL__LAYOUT_PACK : i == 1 ? FUL__LAYOUT_FOLDER : FUL__LAYOUT_TAR;
        ful_status status = set_paths(s, root, path);
        if (status == FUL_OK) {
            status = i == 0   ? ful__source_add_file(s, path, 0)
                     : i == 1 ? ful__scan_class_folders(s, path)
                              : add_archive(s, path);
        }
        ful__free(path);
        return status;
    }
    return FUL_OK;
}

static ful_status add_named(ful__source *s, const char *folder, const char *name)
{
    char *path = NULL;
    FUL_TRY(ful__path_join(&path, folder, name));
    const ful_status status = ful__source_add_file(s, path, 0);
    ful__free(path);
    return status;
}

typedef struct cifar_kind {
    ful__layout layout;
    const char *folder, *sign, *names;
    const char *train[6], *test[2]; /* NULL-terminated */
} cifar_kind;

static const cifar_kind cifar_kinds[2] = {
    {FUL__LAYOUT_CIFAR10,
     "cifar-10-batches-bin",
     "data_batch_1.bin",
     "batches.meta.txt",
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", NULL},
     {"test_batch.bin", NULL}},
    {FUL__LAYOUT_CIFAR100, "cifar-100-binary", "train.bin", "fine_label_names.txt", {"train.bin", NULL}, {"test.bin", NULL}},
};

/* The folder of batches below root, or root itself. The class names, where they are, come first among the files. */
static ful_status find_cifar(ful__source *s, const char *root, bool *present, bool *found)
{
    for (int i = 0; i < 2 && !*present; i++) {
        const cifar_kind *kind = &cifar_kinds[i];
        char *folder = NULL, *sign = NULL, *names = NULL;
        ful_status status = FUL_OK;
        bool below = false, named = false;
        FUL_TRY(probe(root, kind->folder, true, &below, &folder));
        if (!below) FUL_TRY_GOTO(status, next, ful__strdup(&folder, root));
        FUL_TRY_GOTO(status, next, probe(folder, kind->sign, false, present, &sign));
        if (!*present || s->split == FUL_SPLIT_VAL) goto next;
        *found = true;
        s->layout = kind->layout;
        FUL_TRY_GOTO(status, next, set_paths(s, root, folder));
        FUL_TRY_GOTO(status, next, probe(folder, kind->names, false, &named, &names));
        if (named) FUL_TRY_GOTO(status, next, ful__source_add_file(s, names, -1));
        for (const char *const *file = s->split == FUL_SPLIT_TRAIN ? kind->train : kind->test; *file; file++) {
            FUL_TRY_GOTO(status, next, add_named(s, folder, *file));
        }
    next:
        ful__free(folder);
        ful__free(sign);
        ful__free(names);
        FUL_TRY(status);
    }
    return FUL_OK;
}

/* MNIST's names and their usual variants: '-' or '.' before "idx", compressed or not. */
static ful_status find_idx_file(const char *root, const char *stem, const char *kind, bool *found, char **path)
{
    for (int variant = 0; variant < 4; variant++) {
        char name[64];
        snprintf(name, sizeof name, "%s%c%s%s", stem, variant & 2 ? '.' : '-', kind, variant & 1 ? "" : ".gz");
        FUL_TRY(probe(root, name, false, found, path));
        if (*found) return FUL_OK;
    }
    return FUL_OK;
}

static ful_status find_idx(ful__source *s, const char *root, bool *present, bool *found)
{
    char *path = NULL;
    FUL_TRY(find_idx_file(root, "train-images", "idx3-ubyte", present, &path));
    ful__free(path);
    if (!*present || s->split == FUL_SPLIT_VAL) return FUL_OK;
    static const char *const part[2] = {"images", "labels"};
    for (int i = 0; i < 2; i++) {
        char stem[32];
        bool there = false;
        snprintf(stem, sizeof stem, "%s-%s", s->split == FUL_SPLIT_TRAIN ? "train" : "t10k", part[i]);
        FUL_TRY(find_idx_file(root, stem, i ? "idx1-ubyte" : "idx3-ubyte", &there, &path));
        FUL_FAIL_IF(!there, FUL_ERR_DATA, "cannot open '%s': there is no %s-idx%d-ubyte, with or without .gz", root, stem,
                    i ? 1 : 3);
        const ful_status status = ful__source_add_file(s, path, 0);
        ful__free(path);
        FUL_TRY(status);
    }
    *found = true;
    s->layout = FUL__LAYOUT_IDX;
    return set_paths(s, root, root);
}

static bool has_base(const char *root, const char *base)
{
    static const char *const suffix[] = {"", ".pack", ".tar", ".tar.gz", ".tgz"};
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        char path[2 * FUL_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s%s", root, base, suffix[i]);
        if (ful__path_exists(path)) return true;
    }
    return false;
}

/* Order: train|val|test as packs, folders or archives; CIFAR binary; IDX; class folders without a split, which are for
 * training. */
static ful_status find_in_folder(ful__source *s, const char *root, bool *found)
{
    const bool train = has_base(root, "train"), test = has_base(root, "test"), val = has_base(root, "val");
    if (train || test || val) {
        if (s->split == FUL_SPLIT_TRAIN) return find_base(s, root, "train", found);
        if (s->split == FUL_SPLIT_VAL) return test ? find_base(s, root, "val", found) : FUL_OK;
        return find_base(s, root, test ? "test" : "val", found); /* without test/, val/ is what one tests on */
    }
    bool present = false;
    FUL_TRY(find_cifar(s, root, &present, found));
    if (!present) FUL_TRY(find_idx(s, root, &present, found));
    if (present || s->split != FUL_SPLIT_TRAIN) return FUL_OK;
    *found = true;
    s->layout = FUL__LAYOUT_FOLDER;
    FUL_TRY(set_paths(s, root, root));
    return ful__scan_class_folders(s, root);
}

/* A pack serves the split it was written from, an archive the training split. */
static ful_status find_in_file(ful__source *s, const char *path, bool *found)
{
    ful_split holds = FUL_SPLIT_TRAIN;
    ful__map map;
    FUL_TRY(ful__map_open(&map, path));
    ful__pack_head head = {0};
    if (map.bytes >= sizeof head) memcpy(&head, map.ptr, sizeof head);
    const bool is_pack = memcmp(head.magic, "FULPACK\n", 8) == 0;
    ful__map_close(&map);
    if (is_pack && head.split <= FUL_SPLIT_TEST) holds = (ful_split)head.split;
    s->layout = is_pack ? FUL__LAYOUT_PACK : FUL__LAYOUT_TAR;
    FUL_FAIL_IF(!is_pack && !ends_with(path, ".tar") && !ends_with(path, ".tar.gz") && !ends_with(path, ".tgz"), FUL_ERR_DATA,
                "cannot open data set '%s': a file must be a pack, .tar, .tar.gz or .tgz", path);
    *found = holds == s->split;
    if (!*found) return FUL_OK;
    FUL_TRY(set_paths(s, path, path));
    return is_pack ? ful__source_add_file(s, path, 0) : add_archive(s, path);
}

ful_status ful__source_find(const ful_data_config *config, ful_split split, bool *found, ful__source *out)
{
    char *root = NULL;
    *out = (ful__source){.split = split};
    *found = false;
    FUL_TRY(ful__data_root(config, &root));
    ful_status status = FUL_OK;
    if (!ful__path_exists(root)) {
        status = ful__fail(FUL_ERR_DATA, "cannot open data set '%s' at '%s': %s%s", config->name, root, strerror(errno),
                           *config->path ? "" : " (data.path or the environment variable FULCRUM_DATA says where it lies)");
    } else {
        status = ful__path_is_dir(root) ? find_in_folder(out, root, found) : find_in_file(out, root, found);
    }
    ful__free(root);
    if (status != FUL_OK || !*found) ful__source_deinit(out);
    return status;
}

void ful__source_deinit(ful__source *s)
{
    for (int64_t i = 0; i < s->n_files; i++) ful__free(s->files[i].path);
    for (int i = 0; i < s->n_classes; i++) ful__free(s->classes[i]);
    ful__free(s->files);
    ful__free(s->classes);
    ful__free(s->path);
    ful__free(s->set);
    *s = (ful__source){0};
}

uint64_t ful__source_key(const ful__source *s, int size, int channels)
{
    char full[PATH_MAX];
    const char *place = realpath(s->path, full) ? full : s->path;
    const int32_t what[6] = {FUL__PACK_VERSION, DECODE_VERSION, (int32_t)s->layout, (int32_t)s->split, size, channels};
    uint64_t key = ful__hash64(what, sizeof what, 0);
    key = ful__hash64(place, strlen(place), key);
    for (int64_t i = 0; i < s->n_files; i++) {
        const ful__source_file *f = &s->files[i];
        const uint64_t marks[2] = {f->bytes, (uint64_t)f->mtime_ns};
        const char *slash = strrchr(f->path, '/');
        const char *name = slash ? slash + 1 : f->path;
        key = ful__hash64(marks, sizeof marks, key);
        key = ful__hash64(name, strlen(name), key);
        if (s->layout == FUL__LAYOUT_FOLDER)
            key = ful__hash64(s->classes[f->class_number], strlen(s->classes[f->class_number]), key);
    }
    return key ? key : 1; /* 0 means "not a cache" */
}

/* ---- reading ---- */

static ful_status read_folder(const ful__source *s, ful__build *b)
{
    for (int i = 0; i < s->n_classes; i++) {
        int label;
        FUL_TRY(ful__build_class(b, s->classes[i], &label));
    }
    for (int64_t i = 0; i < s->n_files; i++) {
        int label;
        FUL_TRY(ful__build_class(b, s->classes[s->files[i].class_number], &label));
        FUL_TRY(ful__build_add_file(b, s->files[i].path, label));
    }
    return FUL_OK;
}

static ful_status read_cifar(const ful__source *s, ful__build *b)
{
    const int classes = s->layout == FUL__LAYOUT_CIFAR10 ? 10 : 100;
    const bool named = s->files[0].class_number == -1;
    if (!named) FUL_TRY(ful__cifar_classes(&(ful__bytes){"", (const uint8_t *)"", 0}, classes, b));
    for (int64_t i = 0; i < s->n_files; i++) {
        ful__map map;
        FUL_TRY(ful__map_open(&map, s->files[i].path));
        const ful__bytes file = {s->files[i].path, map.ptr, map.bytes};
        const ful_status status = i == 0 && named ? ful__cifar_classes(&file, classes, b)
                                                  : ful__cifar_read(&file, s->layout == FUL__LAYOUT_CIFAR10 ? 1 : 2, b);
        ful__map_close(&map);
        FUL_TRY(status);
    }
    return FUL_OK;
}

static ful_status read_idx(const ful__source *s, ful__build *b)
{
    ful__map images = {0}, labels = {0};
    ful_status status = ful__map_open(&images, s->files[0].path);
    if (status == FUL_OK) status = ful__map_open(&labels, s->files[1].path);
    if (status == FUL_OK) {
        status = ful__idx_read(&(ful__bytes){s->files[0].path, images.ptr, images.bytes},
                               &(ful__bytes){s->files[1].path, labels.ptr, labels.bytes}, b);
    }
    ful__map_close(&images);
    ful__map_close(&labels);
    return status;
}

static ful_status read_tar(const ful__source *s, ful__build *b)
{
    ful__map map;
    FUL_TRY(ful__map_open(&map, s->path));
    const ful_status status = ful__tar_read(&(ful__bytes){s->path, map.ptr, map.bytes}, b);
    ful__map_close(&map);
    return status;
}

ful_status ful__source_read(const ful__source *s, ful__build *b)
{
    switch (s->layout) {
    case FUL__LAYOUT_FOLDER: return read_folder(s, b);
    case FUL__LAYOUT_TAR: return read_tar(s, b);
    case FUL__LAYOUT_CIFAR10:
    case FUL__LAYOUT_CIFAR100: return read_cifar(s, b);
    case FUL__LAYOUT_IDX: return read_idx(s, b);
    case FUL__LAYOUT_PACK: break;
    }
    return ful__fail(FUL_ERR_INTERNAL, "cannot decode '%s': a pack is not decoded", s->path);
}
