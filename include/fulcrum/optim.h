/* SPDX-License-Identifier: Apache-2.0 */
/* The optimiser of a training run, for programs that bring a loop of their own. */
#ifndef FULCRUM_OPTIM_H
#define FULCRUM_OPTIM_H

#include <fulcrum/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ful_optim ful_optim;
/*
 * Optimiser, momentum, decay, clipping and average of `config` over all trainable tensors of the net, which is borrowed for the
 * optimiser's life. Learning rate and schedule are the caller's.
 */
FUL_API ful_status ful_optim_create(const ful_train_config *config, ful_net *net, ful_optim **out) FUL_CHECK_RESULT;
FUL_API void ful_optim_destroy(ful_optim **optim);
/* One step, counted from 0: takes the gradients, leaves them zero. Call ful_net_after_step next. norm_out (may be NULL): of all
 * gradients before clipping. FUL_ERR_NUMERIC names the first tensor with a gradient that is not finite. */
FUL_API ful_status ful_optim_step(ful_optim *optim, double lr, int64_t step, double *norm_out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
