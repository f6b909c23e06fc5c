/* SPDX-License-Identifier: Apache-2.0 */
/* Recognising what lies under a path. The first layout in the order of `find_in_folder` that is there is taken. */
#include "data/source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/gz.h"
#include "data/readers.h"

/* Changes whenever the same files would decode to other pixels, so that old caches are not used. */
enum { DECODE_VERSION = 2 };

const char *ful__layout_name(ful__layout layout)
{
    static const char *const names[] = {"class folders",     "tar archive", "listed images",
                                        "WebDataset shards", "shards",      "CIFAR-10 binary",
                                        "CIFAR-100 binary",  "IDX",         "pack"};
    return names[layout];
}

bool ful__layout_is_encoded(ful__layout layout)
{
    return layout <= FUL__LAYOUT_SHARDS;
}

ful_status ful__data_root(const ful_data_config *config, char **out)
{
    if (*config->path) return ful__strdup(out, config->path);
    FUL_FAIL_IF(strcmp(config->name, "folder") == 0 || strcmp(config->name, "pack") == 0, FUL_ERR_CONFIG,
                "cannot open data set '%s' with path '': data.path must say where it lies", config->name);
    const char *home = getenv("FULCRUM_DATA");
    return ful__path_join(out, home && *home ? home : "../shared/data", config->name);
}

ful_status ful__source_set_place(ful__source *s, const char *root, const char *path)
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

ful_status ful__source_probe(const char *root, const char *name, bool want_dir, bool *found, char **path_out)
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

ful_status ful__source_add_file(ful__source *s, const char *path)
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
                            .mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
    FUL_TRY(ful__strdup(&f->path, path));
    s->n_files++;
    return FUL_OK;
}

ful_status ful__source_add_archive(ful__source *s, const char *path)
{
    ful__file file;
    uint8_t first[2];
    size_t got = 0;
    FUL_TRY(ful__source_add_file(s, path));
    FUL_TRY(ful__file_open(&file, path));
    const ful_status status = ful__file_read_at(&file, path, 0, first, sizeof first, &got);
    ful__file_close(&file);
    s->is_archive = true;
    s->compressed = s->compressed || (status == FUL_OK && ful__gz_is(first, got));
    return status;
}

/* root/<base> as a folder, archive or pack. */
static ful_status find_base(ful__source *s, const char *root, const char *base, bool *found)
{
    static const char *const suffix[] = {".pack", "", ".tar", ".tar.gz", ".tgz"};
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        char name[32], *path = NULL;
        snprintf(name, sizeof name, "%s%s", base, suffix[i]);
        FUL_TRY(ful__source_probe(root, name, *suffix[i] == '\0', found, &path));
        if (!*found) continue;
        ful_status status = FUL_OK;
        if (i == 1) {
            status = ful__find_images(s, root, path, (const char *const[]){path, root, NULL});
        } else {
            s->layout = i == 0 ? FUL__LAYOUT_PACK : FUL__LAYOUT_TAR;
            status = ful__source_set_place(s, root, path);
            if (status == FUL_OK) status = i == 0 ? ful__source_add_file(s, path) : ful__source_add_archive(s, path);
            if (status == FUL_OK) status = ful__find_words(s, (const char *const[]){root, NULL});
        }
        ful__free(path);
        return status;
    }
    return FUL_OK;
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

/* <split>-00000.shard and those that follow it without a gap. A folder with the shards of any split is that layout. */
static ful_status find_shards(ful__source *s, const char *root, bool *present, bool *found)
{
    static const char *const splits[] = {"train", "val", "test"};
    s->layout = FUL__LAYOUT_SHARDS;
    for (int split = 0; split < 3; split++) {
        bool there = true;
        for (int i = 0; there; i++) {
            char name[32], *path = NULL;
            snprintf(name, sizeof name, "%s-%05d.shard", splits[split], i);
            FUL_TRY(ful__source_probe(root, name, false, &there, &path));
            *present = *present || there;
            if (split != (int)s->split) there = false;
            const ful_status status = there ? ful__source_add_file(s, path) : FUL_OK;
            ful__free(path);
            FUL_TRY(status);
        }
    }
    *found = s->n_files > 0;
    return *found ? ful__source_set_place(s, root, root) : FUL_OK;
}

/* Sets whose test/ has no labels: one tests on val/. */
static bool tests_on_val(const ful__source *s)
{
    return strcmp(s->name, "imagenet") == 0 || strcmp(s->name, "tiny-imagenet") == 0;
}

/* Order: layouts with names of their own (shards, the synset sets, CIFAR, IDX); train|val|test as packs, folders or archives;
 * class folders without a split, which are for training. */
static ful_status find_in_folder(ful__source *s, const char *root, bool *found)
{
    bool present = false;
    FUL_TRY(find_shards(s, root, &present, found));
    if (!present) FUL_TRY(ful__find_synsets(s, root, &present, found));
    if (present) return FUL_OK;
    const bool train = has_base(root, "train"), test = has_base(root, "test") && !tests_on_val(s), val = has_base(root, "val");
    if (train || test || val) {
        if (s->split == FUL_SPLIT_TRAIN) return find_base(s, root, "train", found);
        if (s->split == FUL_SPLIT_VAL) return test ? find_base(s, root, "val", found) : FUL_OK;
        return find_base(s, root, test ? "test" : "val", found); /* without test/, val/ is what one tests on */
    }
    FUL_TRY(ful__find_cifar(s, root, &present, found));
    if (!present) FUL_TRY(ful__find_idx(s, root, &present, found));
    if (present || s->split != FUL_SPLIT_TRAIN) return FUL_OK;
    *found = true;
    return ful__find_images(s, root, root, (const char *const[]){root, NULL});
}

/* A pack serves the split it was written from, an archive the training split, unless its kind is known to hold several. */
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
    bool present = false;
    if (!is_pack) FUL_TRY(ful__find_synsets(s, path, &present, found));
    if (!is_pack && !present) FUL_TRY(ful__find_cifar(s, path, &present, found));
    if (present) return FUL_OK;
    *found = holds == s->split;
    if (!*found) return FUL_OK;
    FUL_TRY(ful__source_set_place(s, path, path));
    return is_pack ? ful__source_add_file(s, path) : ful__source_add_archive(s, path);
}

static ful_status find(ful__source *s, const char *root, bool given, bool *found)
{
    if (strcmp(s->name, "webdataset") == 0) return ful__find_webdataset(s, root, found);
    FUL_FAIL_IF(!ful__path_exists(root), FUL_ERR_DATA, "cannot open data set '%s' at '%s': %s%s", s->name, root,
                strerror(errno), given ? "" : " (data.path or the environment variable FULCRUM_DATA says where it lies)");
    return ful__path_is_dir(root) ? find_in_folder(s, root, found) : find_in_file(s, root, found);
}

ful_status ful__source_find(const ful_data_config *config, ful_split split, bool *found, ful__source *out)
{
    char *root = NULL;
    *out = (ful__source){.split = split, .name = config->name, .level = config->labels, .emnist = config->emnist};
    *found = false;
    FUL_TRY(ful__data_root(config, &root));
    const ful_status status = find(out, root, *config->path != '\0', found);
    ful__free(root);
    if (status != FUL_OK || !*found) ful__source_deinit(out);
    return status;
}

void ful__source_deinit(ful__source *s)
{
    for (int64_t i = 0; i < s->n_files; i++) ful__free(s->files[i].path);
    ful__free(s->files);
    ful__free(s->path);
    ful__free(s->set);
    ful__free(s->inside);
    ful__free(s->labels);
    ful__free(s->synsets);
    ful__free(s->words);
    *s = (ful__source){0};
}

uint64_t ful__source_key(const ful__source *s, uint64_t images, int size, int channels)
{
    char full[PATH_MAX];
    const char *place = realpath(s->path, full) ? full : s->path;
    const int32_t what[8] = {FUL__PACK_VERSION, DECODE_VERSION,    (int32_t)s->layout, (int32_t)s->split, size,
                             channels,          (int32_t)s->level, (int32_t)s->emnist};
    uint64_t key = ful__hash64(what, sizeof what, images);
    key = ful__hash64(s->name, strlen(s->name), key);
    key = ful__hash64(place, strlen(place), key);
    for (int64_t i = 0; i < s->n_files; i++) {
        const ful__source_file *f = &s->files[i];
        const uint64_t marks[2] = {f->bytes, (uint64_t)f->mtime_ns};
        const char *slash = strrchr(f->path, '/');
        const char *name = slash ? slash + 1 : f->path;
        key = ful__hash64(marks, sizeof marks, key);
        key = ful__hash64(name, strlen(name), key);
    }
    return key ? key : 1; /* 0 means "not a cache" */
}
