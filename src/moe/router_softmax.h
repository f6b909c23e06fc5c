/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax gating, which the frozen random router shares. */
#ifndef FUL_MOE_ROUTER_SOFTMAX_H
#define FUL_MOE_ROUTER_SOFTMAX_H

#include "moe/router_linear.h"

ful_status ful__softmax_forward(ful__router *r, const ful__router_run *run) FUL_CHECK_RESULT;
void ful__softmax_backward(ful__router *r, const ful__router_run *run);

/* k = 1 with renormalised gates. */
ful_status ful__refuse_renorm_of_one(const ful__router_type *type, const char *name, const ful_moe_attr *attr) FUL_CHECK_RESULT;

#endif
