/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_DATA_DATASET_H
#define FUL_DATA_DATASET_H

#include "data/pack.h"
#include <fulcrum/data.h>

struct ful_dataset {
    ful__pack pack;
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

#endif
