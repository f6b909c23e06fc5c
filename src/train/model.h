/* SPDX-License-Identifier: Apache-2.0 */
/* What opening a model and inspecting one share. */
#ifndef FUL_TRAIN_MODEL_H
#define FUL_TRAIN_MODEL_H

#include <fulcrum/train.h>

/* The checkpoint meant by a run's folder (its last one) or by a file's name. Caller frees with ful__free. */
ful_status ful__model_path(const char *run_or_checkpoint, char **out) FUL_CHECK_RESULT;

#endif
