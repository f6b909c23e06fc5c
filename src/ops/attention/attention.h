/* SPDX-License-Identifier: Apache-2.0 */
/* Attention as its files share it. */
#ifndef FUL_OPS_ATTENTION_H
#define FUL_OPS_ATTENTION_H

#include "ops/op.h"

typedef struct ful__attention {
    ful__op base;
    ful_attention_attr attr;
    int64_t tokens, queries; /* t and q, of an image */
    int d, head;             /* width of all heads, and of one */
    bool train;              /* as planned */
} ful__attention;

/* Order of the parameters, where there are any (qk_norm): each [head]. */
enum { FUL__ATTENTION_Q_GAMMA, FUL__ATTENTION_Q_BETA, FUL__ATTENTION_K_GAMMA, FUL__ATTENTION_K_BETA };

void ful__attention_need(ful__attention *at);
ful_status ful__attention_forward(ful__op *op, const ful__run *run);
ful_status ful__attention_backward(ful__op *op, const ful__run *run);

/* MACs of an image where one query absorbs the projections of keys and values (absorbed.c): in, d: widths of x and of all
 * heads. */
int64_t ful__absorbed_macs(int64_t tokens, int64_t in, int64_t d, int64_t heads);

#endif
