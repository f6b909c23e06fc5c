/* SPDX-License-Identifier: Apache-2.0 */
/* What a net tells about its mixtures, and the MACs its kernels counted. */
#include "core/error.h"
#include "moe/moe_op.h"
#include "nets/net.h"

static int count_moe(const ful__exec *exec, ful__op **out)
{
    int count = 0;
    for (int i = 0; i < ful__exec_n_ops(exec); i++) {
        ful__op *op = ful__exec_op(exec, i);
        if (op->type != &ful__op_moe) continue;
        if (out) out[count] = op;
        count++;
    }
    return count;
}

ful_status ful__net_find_moe(ful_net *net)
{
    const int classes = net->options.classes ? net->options.classes : net->classes;
    FUL_FAIL_IF(classes < net->classes, FUL_ERR_ARG, "cannot keep tables of %d classes for a net of %d: at least as many",
                classes, net->classes);
    net->n_moe = count_moe(net->pass[FUL__SPLIT_EVAL].exec, NULL);
    for (int split = 0; split < FUL__SPLITS; split++) {
        ful__pass *pass = &net->pass[split];
        if (!pass->exec) continue;
        FUL_TRY(ful__calloc(&pass->moe, (size_t)net->n_moe, sizeof *pass->moe, "the mixtures of a net"));
        count_moe(pass->exec, pass->moe);
        for (int i = 0; i < net->n_moe; i++) FUL_TRY(ful__moe_set_classes(pass->moe[i], classes));
    }
    return FUL_OK;
}

/* NULL where there is no such layer or split. */
static ful__op *moe_at(const ful_net *net, int layer, int split)
{
    if (split < 0 || split >= FUL__SPLITS || layer < 0 || layer >= net->n_moe || !net->pass[split].moe) return NULL;
    return net->pass[split].moe[layer];
}

int ful_net_moe_count(const ful_net *net)
{
    return net->n_moe;
}

const ful_moe_stats *ful_net_moe_stats(const ful_net *net, int layer, int split)
{
    const ful__op *op = moe_at(net, layer, split);
    return op ? ful__moe_stats(op) : NULL;
}

void ful_net_moe_stats_reset(ful_net *net, int split)
{
    for (int i = 0; moe_at(net, i, split); i++) ful__moe_stats_clear(moe_at(net, i, split));
}

int ful_net_moe_route(const ful_net *net, int layer, int64_t token, int k_max, int32_t *expert_out, float *gate_out)
{
    const ful__op *op = moe_at(net, layer, FUL__SPLIT_EVAL);
    int64_t tokens = 0;
    int k = 0;
    const int32_t *expert = NULL;
    const float *gate = NULL;
    if (!op) return 0;
    ful__moe_last_route(op, &tokens, &k, &expert, &gate);
    if (token < 0 || token >= tokens) return 0;
    const int count = k < k_max ? k : k_max;
    for (int i = 0; i < count; i++) {
        expert_out[i] = expert[token * k + i];
        gate_out[i] = gate[token * k + i];
    }
    return count;
}

void ful_net_eval_training_capacity(ful_net *net, bool on)
{
    for (int i = 0; moe_at(net, i, FUL__SPLIT_EVAL); i++)
        ful__moe_set_eval_capacity(moe_at(net, i, FUL__SPLIT_EVAL), on ? -1 : 0);
}

void ful_net_counted_macs(const ful_net *net, int split, int64_t *macs, int64_t *routed, int64_t *router)
{
    const ful__counters none = {0};
    const ful__counters *c = split >= 0 && split < FUL__SPLITS ? &net->pass[split].counters : &none;
    *macs = c->macs;
    *routed = c->macs_routed;
    *router = c->macs_router;
}

void ful_net_counted_reset(ful_net *net)
{
    for (int split = 0; split < FUL__SPLITS; split++) net->pass[split].counters = (ful__counters){0};
}
