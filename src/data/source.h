/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stored split comes from: the layout recognised under data.path, and the files it is made of. */
#ifndef FUL_DATA_SOURCE_H
#define FUL_DATA_SOURCE_H

#include "data/build.h"
#include <fulcrum/data.h>

typedef enum ful__layout {
    FUL__LAYOUT_FOLDER, /* class/file, or <wnid>/images/file */
    FUL__LAYOUT_TAR,    /* the same in an archive, or an archive of one archive a class */
    FUL__LAYOUT_LISTED, /* files side by side, in a folder or an archive, and a list that says what they show */
    FUL__LAYOUT_WEBDATASET,
    FUL__LAYOUT_SHARDS, /* our own */
    FUL__LAYOUT_CIFAR10,
    FUL__LAYOUT_CIFAR100,
    FUL__LAYOUT_IDX,
    FUL__LAYOUT_PACK
} ful__layout;

typedef struct ful__source_file {
    char *path;
    uint64_t bytes;
    int64_t mtime_ns;
} ful__source_file;

typedef struct ful__source {
    ful__layout layout;
    ful_split split;
    const char *name;  /* data.name: one of ful_data_kinds' */
    char *path;        /* of the folder or file that was recognised */
    char *set;         /* for the name of a cache: letters, digits, '.', '_', '-' */
    bool is_archive;   /* path is a tar */
    bool compressed;   /* of an archive: it can only be read from front to back */
    char *inside;      /* of an archive with several splits: the folder of this one in it; NULL: all of it */
    char *labels;      /* LISTED: the file with the list; NULL: in the archive */
    char *synsets;     /* what the numbers of a list stand for; NULL: not there */
    char *words;       /* what the classes are called; NULL: not there, or in the archive */
    ful_labels level;  /* CIFAR-100 */
    ful_emnist emnist; /* which part of EMNIST; its images lie transposed when name is "emnist" */
    /* All files but the images of a folder, in the order they are read: batches, archives, lists. With class names in a file,
     * has_names: the first is that. */
    ful__source_file *files;
    int64_t n_files, capacity;
    bool has_names;
} ful__source;

const char *ful__layout_name(ful__layout layout);
bool ful__layout_is_encoded(ful__layout layout); /* images in files of their own: a store can index them */

/* The root folder or file of a set: config->path, or $FULCRUM_DATA/<name>. */
ful_status ful__data_root(const ful_data_config *config, char **out) FUL_CHECK_RESULT;

/* Looks for the files of a split. *found = false, and FUL_OK, when the set is there but has no such split of its own. The name
 * is borrowed from config. */
ful_status ful__source_find(const ful_data_config *config, ful_split split, bool *found, ful__source *out) FUL_CHECK_RESULT;
void ful__source_deinit(ful__source *s); /* accepts a zeroed one */

/* Changes with every file's place, size and time, and with what the images are brought to. images: what the store of a folder
 * says of its images (ful__store_stamp), else 0. */
uint64_t ful__source_key(const ful__source *s, uint64_t images, int size, int channels);

/* Adds all images of a set that comes decoded (CIFAR, IDX). */
ful_status ful__source_read_raw(const ful__source *s, ful__build *b) FUL_CHECK_RESULT;

/* ---- for the finders (find.c, webdataset.c) ---- */
ful_status ful__source_add_file(ful__source *s, const char *path) FUL_CHECK_RESULT; /* takes its size and time */
ful_status ful__source_add_archive(ful__source *s, const char *path) FUL_CHECK_RESULT;
ful_status ful__source_set_place(ful__source *s, const char *root, const char *path) FUL_CHECK_RESULT;
/* Whether root/name is there, as a folder or as a file: sets *found and *path_out (the caller frees it). */
ful_status ful__source_probe(const char *root, const char *name, bool want_dir, bool *found, char **path_out) FUL_CHECK_RESULT;
/* A layout of its own under root. *present: it is that layout; *found: and it has the split. */
ful_status ful__find_cifar(ful__source *s, const char *root, bool *present, bool *found) FUL_CHECK_RESULT;
ful_status ful__find_idx(ful__source *s, const char *root, bool *present, bool *found) FUL_CHECK_RESULT;
ful_status ful__find_synsets(ful__source *s, const char *root, bool *present, bool *found) FUL_CHECK_RESULT;
ful_status ful__find_webdataset(ful__source *s, const char *path, bool *found) FUL_CHECK_RESULT;
/* Takes `folder`, whose images lie in class folders, or side by side with a list in one of the roots (NULL-terminated) that
 * says what they show; with it what names the classes. `root` is what the set is called after. */
ful_status ful__find_images(ful__source *s, const char *root, const char *folder, const char *const *roots) FUL_CHECK_RESULT;
ful_status ful__find_words(ful__source *s, const char *const *roots) FUL_CHECK_RESULT;

#endif
