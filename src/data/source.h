/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stored split comes from: the layout recognised under data.path, and the files it is made of. */
#ifndef FUL_DATA_SOURCE_H
#define FUL_DATA_SOURCE_H

#include "data/build.h"
#include <fulcrum/data.h>

typedef enum ful__layout {
    FUL__LAYOUT_FOLDER, /* class/file */
    FUL__LAYOUT_TAR,
    FUL__LAYOUT_CIFAR10,
    FUL__LAYOUT_CIFAR100,
    FUL__LAYOUT_IDX,
    FUL__LAYOUT_PACK
} ful__layout;

typedef struct ful__source_file {
    char *path;
    uint64_t bytes;
    int64_t mtime_ns;
    int class_number; /* in a folder of class folders; -1: a file of class names */
} ful__source_file;

typedef struct ful__source {
    ful__layout layout;
    ful_split split;
    char *path;              /* of the folder or file that was recognised */
    char *set;               /* for the name of a cache: letters, digits, '.', '_', '-' */
    ful__source_file *files; /* of a folder: the images, sorted by class and name; else the files in the order they are read */
    int64_t n_files, capacity;
    bool compressed; /* of an archive: it can only be read from front to back */
    char **classes;  /* of a folder, sorted */
    int n_classes, class_capacity;
} ful__source;

const char *ful__layout_name(ful__layout layout);

/* The root folder or file of a set: config->path, or $FULCRUM_DATA/<name>. */
ful_status ful__data_root(const ful_data_config *config, char **out) FUL_CHECK_RESULT;

/* Looks for the files of a split. *found = false, and FUL_OK, when the set is there but has no such split of its own. */
ful_status ful__source_find(const ful_data_config *config, ful_split split, bool *found, ful__source *out) FUL_CHECK_RESULT;
void ful__source_deinit(ful__source *s); /* accepts a zeroed one */

/* Changes with every file's place, size and time, and with what the images are brought to. */
uint64_t ful__source_key(const ful__source *s, int size, int channels);

/* Adds all images (not for packs). */
ful_status ful__source_read(const ful__source *s, ful__build *b) FUL_CHECK_RESULT;

/* scan.c: lists root/class/image files, sorted, into s. */
ful_status ful__scan_class_folders(ful__source *s, const char *root) FUL_CHECK_RESULT;
ful_status ful__source_add_file(ful__source *s, const char *path,
                                int class_number) FUL_CHECK_RESULT; /* takes its size and time */

#endif
