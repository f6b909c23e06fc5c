/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multi-head self-attention (Vaswani et al. 2017) of the positions of an image on each other, from one tensor that holds
 * queries, keys and values: x [t][q | k | v], each d = heads * head wide, head after head; y [queries][d]. For each head
 *
 *   S = scale Q K^T,  scale = 1/sqrt(head),    P = softmax of each row of S,    y = P V
 *
 * qk_norm (Dehghani et al. 2023): layer norm of every head's q and k vector, with weights of its own, before the product.
 */
#include "ops/attention/attention.h"

#include <math.h>

#include "ops/common.h"

enum { TOKENS_MAX = 1 << 15, HEAD_MAX = 256 };

void ful_attention_defaults(ful_attention_attr *attr)
{
    *attr = (ful_attention_attr){.heads = 1, .eps = 1e-6f};
}

static ful_status check(const ful__attention *at)
{
    const ful__op *op = &at->base;
    const ful_attention_attr *a = &at->attr;
    const int64_t tokens = (int64_t)op->x[0].h * op->x[0].w;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(a->heads < 1, FUL_ERR_ARG, "cannot build attention '%s' with heads=%d: at least 1", op->name, a->heads);
    FUL_FAIL_IF(op->x[0].c % (3 * (int64_t)a->heads) != 0, FUL_ERR_ARG,
                "cannot build attention '%s' with heads=%d on %d channels: queries, keys and values of every head must be of "
                "one width, so 3 x heads must divide the channels",
                op->name, a->heads, op->x[0].c);
    FUL_FAIL_IF(op->x[0].c / (3 * a->heads) > HEAD_MAX, FUL_ERR_ARG,
                "cannot build attention '%s' with heads=%d on %d channels: a head may have at most %d", op->name, a->heads,
                op->x[0].c, HEAD_MAX);
    FUL_FAIL_IF(tokens > TOKENS_MAX, FUL_ERR_ARG, "cannot build attention '%s' on %lld positions: at most %d", op->name,
                (long long)tokens, TOKENS_MAX);
    FUL_FAIL_IF(a->queries < 0 || a->queries > tokens, FUL_ERR_ARG,
                "cannot build attention '%s' with queries=%d on %lld positions: 0 for all, or at most as many", op->name,
                a->queries, (long long)tokens);
    FUL_FAIL_IF(!(a->eps > 0 && isfinite(a->eps)), FUL_ERR_ARG,
                "cannot build attention '%s' with eps=%g: eps must be positive and finite", op->name, (double)a->eps);
    return FUL_OK;
}

static ful_status describe(ful__attention *at)
{
    ful__op *op = &at->base;
    FUL_TRY(check(at));
    at->tokens = at->queries = (int64_t)op->x[0].h * op->x[0].w;
    if (at->attr.queries > 0) {
        at->queries = at->attr.queries;
        op->y = (ful_shape){1, at->attr.queries, 0};
    }
    at->d = op->y.c = op->x[0].c / 3;
    at->head = at->d / at->attr.heads;
    op->cost.macs = 2 * at->tokens * at->queries * at->d;
    static const char *const names[] = {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"};
    const int64_t shape = at->head;
    for (int i = 0; i < 4 && at->attr.qk_norm; i++)
        FUL_TRY(ful__op_add_param(op, names[i], 1, &shape, i % 2 ? FUL_INIT_ZEROS : FUL_INIT_ONES, 1, 0, true, false));
    return FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    ful__attention *at = NULL;
    FUL_TRY(ful__calloc(&at, 1, sizeof *at, "an attention layer"));
    at->attr = *(const ful_attention_attr *)attr;
    ful_status status = ful__op_init(&at->base, &ful__op_attention, name, x, n_x);
    if (status == FUL_OK) status = describe(at);
    return ful__op_made(&at->base, status, out);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    ful__attention *at = (ful__attention *)op;
    at->train = train;
    ful__attention_need(at);
    return FUL_OK;
}

const ful__op_type ful__op_attention = {.name = "attention",
                                        .create = create,
                                        .layouts = ful__op_layouts_plain,
                                        .plan = plan,
                                        .forward = ful__attention_forward,
                                        .backward = ful__attention_backward,
                                        .destroy = ful__op_free};
