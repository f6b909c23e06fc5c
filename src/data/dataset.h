/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_DATA_DATASET_H
#define FUL_DATA_DATASET_H

#include <stdatomic.h>

#include "data/encoded.h"
#include "data/pack.h"
#include "data/store.h"
#include <fulcrum/data.h>

struct ful_dataset {
    ful__pack pack;    /* with a store: without pixels */
    ful__store *store; /* of a set that stays encoded, else NULL */
    bool fit, skip;    /* of encoded images: brought to size; damaged ones may be left out */
    atomic_int users;  /* the caller, and loaders */
    ful_split split;
    uint32_t *order; /* count positions in the pack */
    int64_t count;
    int classes;
    const char **names; /* into name_bytes */
    char *name_bytes;
    int32_t *label_of; /* label in the pack -> label; NULL: the same */
    float mean[3], std[3];
    uint64_t fingerprint;
};

ful__encoded_shape ful__dataset_shape(const ful_dataset *d); /* of an encoded set */
void ful__dataset_use(const ful_dataset *d);                 /* keeps it until ful__dataset_release */
void ful__dataset_release(const ful_dataset *d);

#endif
