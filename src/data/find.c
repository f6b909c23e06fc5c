/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts that are known by the names of their files: ImageNet and Tiny-ImageNet, CIFAR, IDX. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/readers.h"
#include "data/source.h"

/* ---- lists beside images ---- */

/* The first of `names` (NULL-terminated) that is a file in one of the roots; NULL when there is none. */
static ful_status find_list(ful__source *s, const char *const *roots, const char *const *names, char **out)
{
    *out = NULL;
    for (const char *const *root = roots; *root; root++) {
        for (const char *const *name = names; *name; name++) {
            bool found = false;
            FUL_TRY(ful__source_probe(*root, *name, false, &found, out));
            if (found) return ful__source_add_file(s, *out); /* *out belongs to s */
        }
    }
    return FUL_OK;
}

ful_status ful__find_words(ful__source *s, const char *const *roots)
{
    static const char *const names[] = {"words.txt", "LOC_synset_mapping.txt", NULL};
    return find_list(s, roots, names, &s->words);
}

static ful_status find_labels(ful__source *s, const char *const *roots)
{
    static const char *const labels[] = {"val_annotations.txt",
                                         "LOC_val_solution.csv",
                                         "ILSVRC2012_validation_ground_truth.txt",
                                         "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
                                         "val.txt",
                                         NULL};
    static const char *const synsets[] = {"map_clsloc.txt", "synsets.txt", "ILSVRC2012_devkit_t12/data/map_clsloc.txt",
                                          "ILSVRC2012_devkit_t12/data/synsets.txt", NULL};
    FUL_TRY(find_list(s, roots, labels, &s->labels));
    return s->labels ? find_list(s, roots, synsets, &s->synsets) : FUL_OK;
}

/* Whether the first entry that counts is an image, not a folder. */
static bool holds_images(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    bool image = false, other = false;
    while (dir && !image && !other && (entry = readdir(dir))) {
        char path[2 * FUL_PATH_MAX];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (ful__path_is_dir(path))
            other = true;
        else
            image = ful__has_image_suffix(entry->d_name);
    }
    if (dir) closedir(dir);
    return image;
}

ful_status ful__find_images(ful__source *s, const char *root, const char *folder, const char *const *roots)
{
    char *below = NULL;
    bool has_below = false;
    s->layout = FUL__LAYOUT_FOLDER;
    FUL_TRY(ful__source_probe(folder, "images", true, &has_below, &below)); /* Tiny-ImageNet's val/images */
    const char *flat = has_below && holds_images(below) ? below : folder;
    ful_status status = FUL_OK;
    if (s->split != FUL_SPLIT_TRAIN && holds_images(flat)) status = find_labels(s, roots);
    if (s->labels) s->layout = FUL__LAYOUT_LISTED;
    if (status == FUL_OK) status = ful__source_set_place(s, root, s->labels ? flat : folder);
    if (status == FUL_OK) status = ful__find_words(s, roots);
    ful__free(below);
    return status;
}

/* ---- ImageNet and Tiny-ImageNet ---- */

static bool is_called(const ful__source *s, const char *name)
{
    return strcmp(s->name, name) == 0;
}

static bool base_begins(const char *path, const char *with)
{
    const char *slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, with, strlen(with)) == 0;
}

/* One archive that holds train/ and val/. */
static ful_status take_whole_archive(ful__source *s, const char *root, const char *path, bool *found)
{
    *found = s->split != FUL_SPLIT_VAL;
    if (!*found) return FUL_OK;
    s->layout = s->split == FUL_SPLIT_TRAIN ? FUL__LAYOUT_TAR : FUL__LAYOUT_LISTED;
    FUL_TRY(ful__strdup(&s->inside, s->split == FUL_SPLIT_TRAIN ? "train" : "val"));
    FUL_TRY(ful__source_set_place(s, root, path));
    return ful__source_add_archive(s, path);
}

/* The official archives: one of class archives, one of images side by side. `folders` are those where lists may be. */
static ful_status take_official(ful__source *s, const char *root, const char *path, const char *const *folders)
{
    s->layout = s->split == FUL_SPLIT_TRAIN ? FUL__LAYOUT_TAR : FUL__LAYOUT_LISTED;
    if (s->split != FUL_SPLIT_TRAIN) FUL_TRY(find_labels(s, folders));
    FUL_FAIL_IF(
        s->split != FUL_SPLIT_TRAIN && !s->labels, FUL_ERR_DATA,
        "cannot use '%s': no list says what its images show; beside it there must be val_annotations.txt (\"file wnid\" "
        "lines), LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt with map_clsloc.txt",
        path);
    FUL_TRY(ful__source_set_place(s, root, path));
    FUL_TRY(ful__find_words(s, folders));
    return ful__source_add_archive(s, path);
}

static ful_status find_official(ful__source *s, const char *root, const char *top, bool *present, bool *found)
{
    static const char *const names[2] = {"ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"};
    char *path[2] = {NULL, NULL};
    bool there[2] = {false, false};
    ful_status status = ful__source_probe(root, names[0], false, &there[0], &path[0]);
    if (status == FUL_OK) status = ful__source_probe(root, names[1], false, &there[1], &path[1]);
    const int wanted = s->split != FUL_SPLIT_TRAIN;
    *present = there[0] || there[1];
    *found = there[wanted] && s->split != FUL_SPLIT_VAL;
    if (status == FUL_OK && *found) status = take_official(s, root, path[wanted], (const char *const[]){root, top, NULL});
    ful__free(path[0]);
    ful__free(path[1]);
    return status;
}

/* root/train and root/val in folders, lists in root or top. */
static ful_status find_train_and_val(ful__source *s, const char *root, const char *top, bool *present, bool *found)
{
    char *train = NULL, *val = NULL;
    bool has_train = false, has_val = false;
    ful_status status = ful__source_probe(root, "train", true, &has_train, &train);
    if (status == FUL_OK) status = ful__source_probe(root, "val", true, &has_val, &val);
    const char *folder = s->split == FUL_SPLIT_TRAIN ? train : val;
    *present = has_train || has_val;
    *found = folder && s->split != FUL_SPLIT_VAL;
    if (status == FUL_OK && *found) status = ful__find_images(s, top, folder, (const char *const[]){folder, root, top, NULL});
    ful__free(train);
    ful__free(val);
    return status;
}

/* What is usual between the folder that was given and the splits. *below is NULL when there is nothing of it. */
static ful_status descend(const ful__source *s, const char *root, char **below, bool *is_file)
{
    static const char *const tiny[] = {"tiny-imagenet-200", NULL}, *const big[] = {"ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", NULL};
    static const char *const archives[] = {"tiny-imagenet-200.tar", "tiny-imagenet-200.tar.gz", "tiny-imagenet-200.tgz", NULL};
    bool found = false;
    *below = NULL;
    *is_file = false;
    for (const char *const *name = is_called(s, "imagenet") ? big : tiny; *name && !found; name++)
        FUL_TRY(ful__source_probe(root, *name, true, &found, below));
    for (const char *const *name = archives; *name && !found && is_called(s, "tiny-imagenet"); name++) {
        FUL_TRY(ful__source_probe(root, *name, false, &found, below));
        *is_file = found;
    }
    return FUL_OK;
}

static ful_status find_in_root(ful__source *s, const char *root, const char *top, bool *present, bool *found)
{
    char *wnids = NULL;
    bool tiny = false;
    FUL_TRY(ful__source_probe(root, "wnids.txt", false, &tiny, &wnids));
    ful__free(wnids);
    if (is_called(s, "imagenet")) FUL_TRY(find_official(s, root, top, present, found));
    if (*present) return FUL_OK;
    if (tiny || is_called(s, "imagenet")) return find_train_and_val(s, root, top, present, found);
    return FUL_OK;
}

ful_status ful__find_synsets(ful__source *s, const char *root, bool *present, bool *found)
{
    char *below = NULL;
    bool is_file = !ful__path_is_dir(root);
    if (is_file) {
        if (is_called(s, "tiny-imagenet") || base_begins(root, "tiny-imagenet-200.")) {
            *present = true;
            return take_whole_archive(s, root, root, found);
        }
        return FUL_OK;
    }
    FUL_TRY(descend(s, root, &below, &is_file));
    ful_status status = FUL_OK;
    if (is_file) {
        *present = true;
        status = take_whole_archive(s, root, below, found);
    } else {
        status = find_in_root(s, below ? below : root, root, present, found);
    }
    ful__free(below);
    return status;
}

/* ---- CIFAR ---- */

static ful_status add_named(ful__source *s, const char *folder, const char *name)
{
    char *path = NULL;
    FUL_TRY(ful__path_join(&path, folder, name));
    const ful_status status = ful__source_add_file(s, path);
    ful__free(path);
    return status;
}

typedef struct cifar_kind {
    ful__layout layout;
    const char *folder, *archive, *sign, *names[2]; /* names: of fine and coarse classes */
    const char *train[6], *test[2];                 /* NULL-terminated */
} cifar_kind;

static const cifar_kind cifar_kinds[2] = {
    {FUL__LAYOUT_CIFAR10,
     "cifar-10-batches-bin",
     "cifar-10-binary.tar",
     "data_batch_1.bin",
     {"batches.meta.txt", "batches.meta.txt"},
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", NULL},
     {"test_batch.bin", NULL}},
    {FUL__LAYOUT_CIFAR100,
     "cifar-100-binary",
     "cifar-100-binary.tar",
     "train.bin",
     {"fine_label_names.txt", "coarse_label_names.txt"},
     {"train.bin", NULL},
     {"test.bin", NULL}},
};

/* The batches in a folder. The class names, where they are, come first among the files. */
static ful_status take_batches(ful__source *s, const cifar_kind *kind, const char *root, const char *folder)
{
    char *names = NULL;
    s->layout = kind->layout;
    FUL_TRY(ful__source_set_place(s, root, folder));
    FUL_TRY(ful__source_probe(folder, kind->names[s->level], false, &s->has_names, &names));
    ful_status status = s->has_names ? ful__source_add_file(s, names) : FUL_OK;
    ful__free(names);
    for (const char *const *file = s->split == FUL_SPLIT_TRAIN ? kind->train : kind->test; status == FUL_OK && *file; file++)
        status = add_named(s, folder, *file);
    return status;
}

static ful_status find_batches(ful__source *s, const cifar_kind *kind, const char *root, bool *present, bool *found)
{
    char *folder = NULL, *sign = NULL;
    bool below = false;
    FUL_TRY(ful__source_probe(root, kind->folder, true, &below, &folder));
    ful_status status = below ? FUL_OK : ful__strdup(&folder, root);
    if (status == FUL_OK) status = ful__source_probe(folder, kind->sign, false, present, &sign);
    *found = *present && s->split != FUL_SPLIT_VAL;
    if (status == FUL_OK && *found) status = take_batches(s, kind, root, folder);
    ful__free(folder);
    ful__free(sign);
    return status;
}

static ful_status take_cifar_archive(ful__source *s, const cifar_kind *kind, const char *root, const char *path, bool *present,
                                     bool *found)
{
    *present = true;
    *found = s->split != FUL_SPLIT_VAL;
    if (!*found) return FUL_OK;
    s->layout = kind->layout;
    FUL_TRY(ful__source_set_place(s, root, path));
    return ful__source_add_archive(s, path);
}

/* The published archive below root, compressed or not. */
static ful_status find_cifar_archive(ful__source *s, const cifar_kind *kind, const char *root, bool *present, bool *found)
{
    for (int gzip = 0; gzip < 2 && !*present; gzip++) {
        char name[64], *path = NULL;
        bool there = false;
        snprintf(name, sizeof name, "%s%s", kind->archive, gzip ? ".gz" : "");
        FUL_TRY(ful__source_probe(root, name, false, &there, &path));
        const ful_status status = there ? take_cifar_archive(s, kind, root, path, present, found) : FUL_OK;
        ful__free(path);
        FUL_TRY(status);
    }
    return FUL_OK;
}

ful_status ful__find_cifar(ful__source *s, const char *root, bool *present, bool *found)
{
    const bool is_file = !ful__path_is_dir(root);
    for (int i = 0; i < 2 && !*present; i++) {
        const cifar_kind *kind = &cifar_kinds[i];
        if (is_file) {
            if (base_begins(root, kind->archive)) FUL_TRY(take_cifar_archive(s, kind, root, root, present, found));
            continue;
        }
        FUL_TRY(find_batches(s, kind, root, present, found));
        if (!*present) FUL_TRY(find_cifar_archive(s, kind, root, present, found));
    }
    return FUL_OK;
}

/* ---- IDX ---- */

/* The usual names: '-' or '.' before "idx", compressed or not. */
static ful_status find_idx_file(const char *root, const char *stem, const char *kind, bool *found, char **path)
{
    for (int variant = 0; variant < 4; variant++) {
        char name[96];
        snprintf(name, sizeof name, "%s%c%s%s", stem, variant & 2 ? '.' : '-', kind, variant & 1 ? "" : ".gz");
        FUL_TRY(ful__source_probe(root, name, false, found, path));
        if (*found) return FUL_OK;
    }
    return FUL_OK;
}

const char *ful__emnist_name(ful_emnist which)
{
    static const char *const names[] = {"balanced", "byclass", "bymerge", "digits", "letters", "mnist"};
    return names[which];
}

/* MNIST: train-images…, t10k-images…; EMNIST: emnist-<part>-train-images…, emnist-<part>-test-images… */
static void idx_stem(const ful__source *s, ful_split split, const char *part, char out[64])
{
    if (is_called(s, "emnist"))
        snprintf(out, 64, "emnist-%s-%s-%s", ful__emnist_name(s->emnist), split == FUL_SPLIT_TRAIN ? "train" : "test", part);
    else
        snprintf(out, 64, "%s-%s", split == FUL_SPLIT_TRAIN ? "train" : "t10k", part);
}

static ful_status take_idx(ful__source *s, const char *root, const char *folder)
{
    static const char *const part[2] = {"images", "labels"};
    char stem[64], *path = NULL;
    s->layout = FUL__LAYOUT_IDX;
    FUL_TRY(ful__source_set_place(s, root, folder));
    snprintf(stem, sizeof stem, "emnist-%s-mapping.txt", ful__emnist_name(s->emnist));
    if (is_called(s, "emnist")) FUL_TRY(ful__source_probe(folder, stem, false, &s->has_names, &path));
    ful_status status = s->has_names ? ful__source_add_file(s, path) : FUL_OK;
    ful__free(path);
    for (int i = 0; i < 2 && status == FUL_OK; i++) {
        bool there = false;
        idx_stem(s, s->split, part[i], stem);
        FUL_TRY(find_idx_file(folder, stem, i ? "idx1-ubyte" : "idx3-ubyte", &there, &path));
        FUL_FAIL_IF(!there, FUL_ERR_DATA, "cannot open '%s': there is no %s-idx%d-ubyte, with or without .gz", folder, stem,
                    i ? 1 : 3);
        status = ful__source_add_file(s, path);
        ful__free(path);
    }
    return status;
}

ful_status ful__find_idx(ful__source *s, const char *root, bool *present, bool *found)
{
    static const char *const below[] = {"", "raw", "gzip", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "EMNIST/raw", NULL};
    for (const char *const *name = below; *name && !*present; name++) {
        char stem[64], *folder = NULL, *sign = NULL;
        idx_stem(s, FUL_SPLIT_TRAIN, "images", stem);
        FUL_TRY(**name ? ful__path_join(&folder, root, *name) : ful__strdup(&folder, root));
        ful_status status = find_idx_file(folder, stem, "idx3-ubyte", present, &sign);
        *found = *present && s->split != FUL_SPLIT_VAL;
        if (status == FUL_OK && *found) status = take_idx(s, root, folder);
        ful__free(folder);
        ful__free(sign);
        FUL_TRY(status);
    }
    return FUL_OK;
}
