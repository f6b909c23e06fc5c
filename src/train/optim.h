/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The optimiser's step over all tensors of a net: one pass that reads the gradient, updates state and weight, and leaves the
 * gradient zero. Work is cut into pieces of fixed size whatever the number of threads, and sums run over pieces in order: the
 * same bits with any thread count. There is no fused multiply-add and no approximate instruction in it: the same bits on any
 * CPU.
 *
 *   sgd     g' = s g + wd w          m = mu m + g'        w -= lr (nesterov ? g' + mu m : m)
 *   adamw   w -= lr wd w             m = b1 m + (1-b1) s g     v = b2 v + (1-b2) (s g)^2
 *           w -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)
 *   ema     a += (1-d) (w - a),  d = min(decay, (1+t)/(10+t))  so that the first weights are forgotten fast; buffers too
 *
 * s = min(1, clip/(norm + 1e-6)) with the norm over all gradients; wd is 0 where decay does not apply; t counts steps from 1.
 */
#ifndef FUL_TRAIN_OPTIM_H
#define FUL_TRAIN_OPTIM_H

#include <fulcrum/train.h>

#include "core/mem.h"

/* A state tensor, for checkpoints: "optim.momentum/<name>", "optim.exp_avg/<name>", "optim.exp_avg_sq/<name>", "ema/<name>". */
typedef struct ful__optim_state {
    const char *kind;         /* "optim.momentum" */
    const ful_tensor *tensor; /* whose name and shape it has */
    float *value;
} ful__optim_state;

typedef struct ful__optim ful__optim;

/* The tensors' values and gradients are borrowed for the optimiser's life. State starts at 0, the average at the values. */
ful_status ful__optim_create(const ful_train_config *config, const ful_tensor *tensors, int n,
                             ful__optim **out) FUL_CHECK_RESULT;
void ful__optim_destroy(ful__optim **optim);
/* `step` counts from 0. *norm_out: of the gradients before clipping. FUL_ERR_NUMERIC names the first tensor with a gradient
 * that is not finite; the weights are then worthless. */
ful_status ful__optim_step(ful__optim *optim, double lr, int64_t step, double *norm_out) FUL_CHECK_RESULT;
/* Exchanges weights and averaged weights (both ways); nothing without an average. The net must be told (ful_net_touched). */
void ful__optim_swap_average(ful__optim *optim);
bool ful__optim_has_average(const ful__optim *optim);
int ful__optim_state_count(const ful__optim *optim);
ful__optim_state ful__optim_state_at(const ful__optim *optim, int i);

#endif
