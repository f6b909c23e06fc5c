/* SPDX-License-Identifier: Apache-2.0 */
/* The mixture-of-experts op as the layers above see it: statistics and accounting. */
#ifndef FUL_MOE_MOE_OP_H
#define FUL_MOE_MOE_OP_H

#include "ops/op.h"
#include <fulcrum/moe.h>

extern const ful__op_type ful__op_moe; /* attribute: ful_moe_attr */

/* What the accountant needs (card I2), exact, forward, per image. */
typedef struct ful__moe_account {
    int experts, k;      /* k: experts executed for a token (e for dense mixtures) */
    int64_t tokens;      /* tokens an image */
    int64_t expert_macs; /* X: one expert on one token, times tokens; soft routes: one expert on its slots */
    int64_t router_macs; /* R; soft routes: with the mixing into and out of slots */
    int64_t expert_params, router_params;
    int capacity_permille; /* of training; 0: no limit */
    bool per_batch;        /* batch-axis Soft MoE: k*X is spent once a batch, however many images it has */
} ful__moe_account;
void ful__moe_account_get(const ful__op *op, ful__moe_account *out);

/* Statistics since the last reset; borrowed. classes: 0 until set (allocates the class x expert table). */
ful_status ful__moe_set_classes(ful__op *op, int classes) FUL_CHECK_RESULT;
const ful_moe_stats *ful__moe_stats(const ful__op *op);
void ful__moe_stats_clear(ful__op *op);
/* Routes of the last forward, pairs kinds: [tokens][k] experts and gates; borrowed; for `predict` and the change rate (card
 * H3). */
void ful__moe_last_route(const ful__op *op, int64_t *t_out, int *k_out, const int32_t **expert_out, const float **gate_out);
/* Force a capacity factor at evaluation (0 = the attribute's own eval setting, -1 = the training capacity). */
void ful__moe_set_eval_capacity(ful__op *op, int permille);
/* Number of micro-batches accumulated a step (card D3): 1 normally. */
void ful__moe_begin_step(ful__op *op);

#endif
