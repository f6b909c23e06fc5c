/* SPDX-License-Identifier: Apache-2.0 */
/* The generated set "clusters" (doc/dataset-clusters.md). */
#ifndef FUL_DATA_CLUSTERS_H
#define FUL_DATA_CLUSTERS_H

#include "data/pack.h"
#include <fulcrum/data.h>

#define FUL__CLUSTERS_NOISE 10.0
enum { FUL__CLUSTERS_CLASSES_MAX = 100, FUL__CLUSTERS_MAX = 16, FUL__CLUSTERS_SIZE = 32, FUL__CLUSTERS_SIZE_LEAST = 16 };

/* The training or test images in memory. The configuration was checked. */
ful_status ful__clusters_make(const ful_data_config *config, ful_split split, ful__pack *out) FUL_CHECK_RESULT;

#endif
