/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights of other programs: how they name what our nets have. A naming is a table of rules from our names to theirs; a rule
 * is about a module ("stage{s}.{i}.conv1", whose tensors keep their ".weight", ".running_mean" …) or, where their tensor has no
 * such ending, about one tensor.
 *
 *   ours     {s} a stage, from 1, and {i} a block of it, from 0; "block{s}" where there are no stages
 *   theirs   {s-1}, {2s-1}, …: a factor, a variable, a number added. Variables: s, i, b the block counted over all stages,
 *            n the number of all blocks, m the number of stages
 *   when     "+expand-se": only in blocks that have the first and not the second; NULL: in all
 */
#ifndef FUL_TRAIN_WEIGHTS_H
#define FUL_TRAIN_WEIGHTS_H

#include "train/safetensors.h"
#include <fulcrum/train.h>

typedef struct ful__name_rule {
    const char *ours, *theirs, *when;
} ful__name_rule;

typedef struct ful__naming {
    const char *program;         /* "torchvision" */
    const char *archs;           /* the nets it is for: those whose name begins so */
    const ful__name_rule *rules; /* ends with ours = NULL */
    float var_shift;             /* added to running variances: their batch-norms' epsilon less ours */
} ful__naming;

/* All of them; ends with program = NULL. */
const ful__naming *ful__namings(void);

/* What theirs is made of for one tensor. */
typedef struct ful__name_vars {
    int s, i, b, n, m;
} ful__name_vars;
enum { FUL__WEIGHT_NAME_MAX = 256 };
/* Our name with its numbers taken out: "stage3.0.conv1.weight" to "stage{s}.{i}.conv1.weight", s = 3, i = 0. */
void ful__name_generalise(const char *name, char out[FUL__WEIGHT_NAME_MAX], ful__name_vars *vars);
/* theirs with its variables filled in, and `ending` behind it. */
void ful__name_fill(const char *theirs, const ful__name_vars *vars, const char *ending, char out[FUL__WEIGHT_NAME_MAX]);

/* ful_net_read_weights from an opened file; path: for messages. After a failure the net's values are partly the file's. */
ful_status ful__weights_take(ful_net *net, const char *arch, const char *path, const ful__st_file *file, bool other_classes,
                             ful_weights_info *info_out) FUL_CHECK_RESULT;
/* Classes of the classifier in a file of another program. */
ful_status ful__weights_classes(const char *path, const char *arch, int *out) FUL_CHECK_RESULT;

#endif
