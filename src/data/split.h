/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which images of a stored set make a split. All choices are per class, so every class keeps its share:
 *
 *   limit n        the first n of the order "first image of each class, second of each class, …": no seed, and the set of a
 *                  smaller limit is part of that of a larger one
 *   val_fraction f round(f * n_c) of the n_c (limited) training images of class c, drawn by val_seed, at least one when
 *                  f > 0 and never all
 *
 * What remains is listed in the order of the file.
 */
#ifndef FUL_DATA_SPLIT_H
#define FUL_DATA_SPLIT_H

#include "data/pack.h"
#include <fulcrum/data.h>

/* order_out: positions in the pack, *count_out of them; the caller frees it with ful__free. May be empty. */
ful_status ful__select(const ful__pack *pack, const ful_data_config *config, ful_split split, uint32_t **order_out,
                       int64_t *count_out) FUL_CHECK_RESULT;

/* Exact sums over the chosen images, and a hash of each image (hashes: count of them, or NULL). */
typedef struct ful__sums {
    uint64_t pixels, sum[3], square[3];
} ful__sums;
ful_status ful__pixel_sums(const ful__pack *pack, const uint32_t *order, int64_t count, ful__sums *out,
                           uint64_t *hashes) FUL_CHECK_RESULT;

/* Mean and standard deviation (of all pixels, at least 1/255) of pixel/255; channels not there: 0 and 1. */
void ful__sums_norm(const ful__sums *s, int channels, float mean[3], float std[3]);

#endif
