/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluating a net on all batches of a loader. */
#ifndef FUL_TRAIN_EVALUATE_H
#define FUL_TRAIN_EVALUATE_H

#include <fulcrum/train.h>

/* What is needed for it, allocated once. */
typedef struct ful__evaluator {
    ful_net *net; /* borrowed */
    int classes;
    ful_ten_crop ten_crop;
    int views;      /* of an image: 1 or 10 */
    float *logits;  /* [batch * views][classes] */
    int32_t *label; /* [batch * views] with ten-crop, else NULL */
} ful__evaluator;

ful_status ful__evaluator_init(ful__evaluator *e, ful_net *net, int batch_max, ful_ten_crop ten_crop) FUL_CHECK_RESULT;
void ful__evaluator_deinit(ful__evaluator *e); /* accepts a zeroed struct */

/* Classes that are ahead of the label, equal ones with a lower number too, and the class that is ahead of all. */
int ful__rank_of(const float *logits, int classes, int label, int *best_out);

/* Called after each batch. */
typedef void (*ful__batch_fn)(void *ctx, const ful_batch *batch, int64_t number);

/*
 * Adds to a zeroed `out`: count, correct, top 5, mean loss, seconds in the net, and the confusion table where out->confusion is
 * given. A stop flag that rises is FUL_ERR_INTERRUPTED, a loss that is no number FUL_ERR_NUMERIC.
 */
ful_status ful__evaluate(ful__evaluator *e, ful_loader *loader, const char *split, const volatile int *stop,
                         ful__batch_fn after, void *ctx, ful_eval *out) FUL_CHECK_RESULT;

#endif
