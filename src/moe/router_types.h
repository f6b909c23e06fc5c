/* SPDX-License-Identifier: Apache-2.0 */
/* Every router type, and helpers that router files share beyond the contract of router.h. */
#ifndef FUL_MOE_ROUTER_TYPES_H
#define FUL_MOE_ROUTER_TYPES_H

#include "moe/router.h"

extern const ful__router_type ful__router_softmax, ful__router_sigmoid, ful__router_random, ful__router_hash, ful__router_fixed,
    ful__router_soft_patch, ful__router_soft_sample, ful__router_soft_batch;

/* Refuses noisy, noise_std, jitter and bias_rate: for routers to which they mean nothing. */
ful_status ful__router_plain(const ful__router_type *type, const char *name, const ful_moe_attr *attr) FUL_CHECK_RESULT;
/* FUL_ERR_NUMERIC with the layer's name. */
ful_status ful__router_not_finite(const ful__router *r, int64_t token);

/* One group of m tokens: D [m][s] = softmax over the tokens, for each slot; dlogits += D (dD - sum over tokens of D dD).
 * Serial. */
void ful__soft_dispatch(const float *logits, int64_t m, int s, float *dispatch);
void ful__soft_dispatch_backward(const float *dispatch, const float *ddispatch, int64_t m, int s, float *dlogits);

#endif
