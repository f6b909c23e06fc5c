/* SPDX-License-Identifier: Apache-2.0 */
/* Downloading the public sets (fetch.c over HTTP, fetch_table.c what they are made of). */
#ifndef FUL_DATA_FETCH_H
#define FUL_DATA_FETCH_H

#include "core/digest.h"
#include <fulcrum/data.h>

enum { FUL__FETCH_FILES = 6 };

typedef struct ful__fetch_file {
    const char *name; /* below the base address, and in the folder */
    ful__digest_kind kind;
    const char *digest; /* NULL: none is known */
} ful__fetch_file;

typedef struct ful__fetch_set {
    const char *name; /* as data.name */
    const char *base; /* ends with '/'; NULL: there is no public address, and `why` says what to do */
    const char *why;
    const char *after;                       /* what is left to do; NULL: nothing */
    ful__fetch_file files[FUL__FETCH_FILES]; /* ends with a NULL name */
} ful__fetch_set;

const ful__fetch_set *ful__fetch_find(const char *name); /* NULL: not known */
/* All files of a set into a folder; options and report as in ful_data_fetch. */
ful_status ful__fetch(const ful__fetch_set *set, const char *folder, const ful_fetch_options *options,
                      ful_fetch_report *report) FUL_CHECK_RESULT;

#endif
