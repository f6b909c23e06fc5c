/* SPDX-License-Identifier: Apache-2.0 */
/* The learning rate of each step. */
#ifndef FUL_TRAIN_SCHEDULE_H
#define FUL_TRAIN_SCHEDULE_H

#include <fulcrum/train.h>

/*
 * With s = step (from 0), W = warm-up steps, T = all steps and t = (s - W)/(T - W):
 *   s < W    lr (s+1)/W
 *   cosine   lr (f + (1-f) (1 + cos(pi t))/2)        f = lr_final
 *   linear   lr (1 - (1-f) t)
 *   step     lr gamma^floor(s / (step_epochs * steps an epoch))
 *   const    lr
 */
double ful__schedule_lr(const ful_train_config *config, int64_t step, int64_t steps_per_epoch);

#endif
