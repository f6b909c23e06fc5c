/* SPDX-License-Identifier: Apache-2.0 */
/* A store in the making: places (folders, archives), and the images in them one by one, each with its class. */
#ifndef FUL_DATA_STORE_MAKE_H
#define FUL_DATA_STORE_MAKE_H

#include "core/file.h"
#include "data/classes.h"
#include "data/shard.h"
#include "data/store.h"

typedef struct ful__store_place {
    char *path;
    bool is_folder;
    ful__file file;    /* of an archive, where it is kept open */
    ful__shard *shard; /* NULL: it is none; an entry's offset is a number in its index */
} ful__store_place;

typedef struct ful__store_entry {
    uint64_t offset;       /* in the archive */
    uint64_t name;         /* where its name begins in `names` */
    uint32_t bytes, place; /* bytes: 0 in a folder, where the file tells */
} ful__store_entry;

struct ful__store {
    char *path; /* for messages */
    ful__store_place *places;
    int n_places, place_capacity;
    ful__store_entry *entries;
    int32_t *labels;
    int64_t count, capacity;
    char *names; /* each with its '\0' */
    size_t name_bytes, name_capacity;
    ful__classes classes;
    const char **class_names; /* in the order of their numbers; borrowed from classes */
    bool sequential;          /* places are compressed: the images stay in their order, and are read from front to back */
    bool keep_order;          /* the order of the files is the set's */
    bool keep_classes;        /* their numbers are the set's */
    bool by_value;            /* class names that are numbers are numbered by their value */
    uint64_t stamp, bytes;    /* of the files of a folder, where they were examined */
};

/* A text file met in an archive. */
typedef struct ful__text {
    char *name, *data; /* '\0' behind */
    size_t n;
} ful__text;

enum { FUL__TEXTS_MOST = 8, FUL__TEXT_BYTES_MAX = 64 << 20 };
typedef struct ful__listing {
    const ful__source *source;
    unsigned flags;
    ful__store *store;
    ful__text texts[FUL__TEXTS_MOST]; /* lists that lay among the images */
    int n_texts;
} ful__listing;

/* The images of a source with their names, in the order met; those of class folders with their labels (list_folder.c), those of
 * archives without (list_tar.c). */
ful_status ful__list_folder(ful__listing *l) FUL_CHECK_RESULT;
ful_status ful__list_tar(ful__listing *l) FUL_CHECK_RESULT;
ful_status ful__list_webdataset(ful__listing *l) FUL_CHECK_RESULT;
ful_status ful__list_shards(ful__listing *l) FUL_CHECK_RESULT;
/* Gives every image the class that its folder (label_folders.c) or a list (label_list.c) says. */
ful_status ful__label_by_folder(ful__listing *l) FUL_CHECK_RESULT;
ful_status ful__label_by_list(ful__listing *l) FUL_CHECK_RESULT;
/* "n01440764" becomes "n01440764 tench" where the words are known. */
ful_status ful__label_words(ful__listing *l) FUL_CHECK_RESULT;

ful_status ful__store_create(const char *path, ful__store **out) FUL_CHECK_RESULT;
ful_status ful__store_add_place(ful__store *s, const char *path, bool is_folder, uint32_t *place_out) FUL_CHECK_RESULT;
/* name: within the place. label: from ful__classes_add on s->classes. */
ful_status ful__store_add(ful__store *s, uint32_t place, const char *name, uint64_t offset, uint64_t bytes,
                          int label) FUL_CHECK_RESULT;
/* Numbers the classes by name (unless they are numbers), sorts the images, gives back what was reserved too much. An empty
 * store is an error. */
ful_status ful__store_finish(ful__store *s) FUL_CHECK_RESULT;

#endif
