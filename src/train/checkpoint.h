/* SPDX-License-Identifier: Apache-2.0 */
/* What every checkpoint has, whoever reads it. */
#ifndef FUL_TRAIN_CHECKPOINT_H
#define FUL_TRAIN_CHECKPOINT_H

#include "train/safetensors.h"
#include <fulcrum/train.h>

#define FUL__CHECKPOINT_FORMAT "fulcrum-checkpoint-1"

/* A safetensors file of this format; it has the metadata "config". */
ful_status ful__checkpoint_open(const char *path, ful__st_file **out) FUL_CHECK_RESULT;
/* The kind that stands for the model: averaged weights, "ema", were evaluated where there are any; otherwise "". */
const char *ful__checkpoint_kind(const ful__st_file *file);
/* upcycle.c. Parameters from train->init_from, a run or checkpoint; experts also from the dense block, whole or in slices, and
 * routers stay as drawn where it has none (cards E1, E5). */
ful_status ful__upcycle(const ful_train_config *train, ful_net *net) FUL_CHECK_RESULT;
/* Copies every parameter of the net from the tensors "<kind>/<name>" ("<name>" where kind is ""); each must have its shape. */
ful_status ful__checkpoint_read_params(const ful__st_file *file, const char *kind, ful_net *net) FUL_CHECK_RESULT;

/* A model that no run of ours trained. */
typedef struct ful__checkpoint_model {
    const ful_net *net;
    const char *config, *classes; /* YAML; a JSON list of names */
    int channels;
    const float *mean, *std; /* [channels], of pixel/255 */
} ful__checkpoint_model;
/* Its parameters and what opening it needs, at epoch 0 and step 0. Atomic. */
ful_status ful__checkpoint_write(const char *path, const ful__checkpoint_model *model) FUL_CHECK_RESULT;

#endif
