/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounting (method card I2), exact integers, forward, per image. With the sums over mixtures R (routers), kX (experts
 * executed), X (one expert), EX (all experts) and B (everything else):
 *
 *   rho_exec  = kX / (B + R + kX)      what is executed
 *   rho_site  = X / (B + X)            the share of the dense net that sits where experts replace it: independent of k and E
 *   rho_total = EX / (B + R + EX)      capacity view
 *   rho_train = the share of forward + backward: a layer costs its forward again for the gradient of its weights, if any are
 *               trained, and again for the gradient of its input, if anything before it is trained; a frozen router
 *               costs its forward only
 *   rho_params = parameters of experts / all parameters
 *
 * All of it counts what the net is defined to do; macs_unread is how much of that an executor leaves out or has for less
 * (ful__graph_narrow).
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "moe/moe_op.h"
#include "nets/net.h"

/* What is known of a node while the account is made. */
typedef struct node_facts {
    bool live;    /* the output depends on it */
    bool trained; /* something at or before it is trained */
} node_facts;

static void find_live(const ful_graph *g, node_facts *facts)
{
    facts[g->output >= 0 ? g->output : g->count - 1].live = true;
    for (int i = g->count - 1; i > 0; i--)
        for (int k = 0; k < g->nodes[i].n_x; k++) facts[g->nodes[i].x[k]].live |= facts[i].live;
}

/* How many times its forward a layer costs in a training step. */
static int training_factor(const ful_graph *g, int i, node_facts *facts)
{
    const ful__node *node = &g->nodes[i];
    bool own = false, before = false;
    for (int k = 0; k < node->op->n_params; k++) own |= node->op->params[k].trainable;
    for (int k = 0; k < node->n_x; k++) before |= facts[node->x[k]].trained;
    facts[i].trained = own || before;
    return 1 + own + before;
}

/* Trainable parameters whose name goes on with `part` after the op's ("" for all). */
static int64_t count_params(const ful__op *op, const char *part)
{
    const size_t stem = strlen(op->name);
    int64_t count = 0;
    for (int i = 0; i < op->n_params; i++)
        if (op->params[i].trainable && strncmp(op->params[i].name + stem, part, strlen(part)) == 0)
            count += op->params[i].count;
    return count;
}

static void fill_layer(const ful__node *node, ful_shape in, ful_layer_cost *out)
{
    const ful__cost *cost = &node->op->cost;
    *out = (ful_layer_cost){.in = in,
                            .out = node->shape,
                            .params = count_params(node->op, ""),
                            .macs = cost->macs,
                            .macs_routed = cost->macs_routed,
                            .macs_router = cost->macs_router,
                            .routed = node->type == &ful__op_moe};
    snprintf(out->name, sizeof out->name, "%s", node->name);
    snprintf(out->op, sizeof out->op, "%s", node->type->name);
}

/* Sums over the layers; train[0] all MACs of a training step, train[1] the routed ones. */
static void add_layer(ful_account *a, const ful_layer_cost *layer, const ful__op *op, int factor, double train[2])
{
    a->params += layer->params;
    a->params_active += layer->params;
    a->macs += layer->macs;
    a->macs_router += layer->macs_router;
    a->macs_routed += layer->macs_routed;
    const int router_factor = count_params(op, ".router.") > 0 ? factor : 1;
    train[0] += (double)(layer->macs - layer->macs_router) * factor + (double)layer->macs_router * router_factor;
    train[1] += (double)layer->macs_routed * factor;
    if (!layer->routed) return;
    ful__moe_account moe;
    ful__moe_account_get(op, &moe);
    const int64_t experts = count_params(op, ".expert.");
    a->params_active -= experts / moe.experts * (moe.experts - moe.k);
    a->params_experts += experts;
    a->macs_one_expert += moe.expert_macs;
    a->macs_all_experts += moe.experts * moe.expert_macs;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void derive(ful_account *a, const double train[2])
{
    a->macs_shared = a->macs - a->macs_router - a->macs_routed;
    const double b = (double)a->macs_shared, r = (double)a->macs_router;
    const double x = (double)a->macs_one_expert, ex = (double)a->macs_all_experts;
    a->rho_exec = share((double)a->macs_routed, (double)a->macs);
    a->rho_site = share(x, b + x);
    a->rho_total = share(ex, b + r + ex);
    a->rho_train = share(train[1], train[0]);
    a->rho_params = share((double)a->params_experts, (double)a->params);
}

/* Every position of a value that is read at one of them costs the same. What is absorbed is done otherwise, for less. */
static ful_status count_unread(const ful_graph *g, ful_account *a)
{
    ful__narrow *read = NULL;
    FUL_TRY(ful__calloc(&read, (size_t)g->count + 1, sizeof *read, "the account of a graph"));
    if (g->count > 0) ful__graph_narrow(g, g->output, false, read);
    for (int i = 1; i < g->count; i++) {
        const ful__node *node = &g->nodes[i];
        const int64_t positions = (int64_t)node->shape.h * node->shape.w;
        const int64_t channels = read[i].at >= 0 ? node->shape.c : read[i].lead;
        if (read[i].absorbed_macs > 0)
            a->macs_unread += node->op->cost.macs + g->nodes[node->x[0]].op->cost.macs - read[i].absorbed_macs;
        else
            a->macs_unread += node->op->cost.macs / (positions * node->shape.c) * channels * (positions - 1);
    }
    ful__free(read);
    return FUL_OK;
}

ful_status ful_graph_account(const ful_graph *g, ful_account *out)
{
    FUL_FAIL_IF(!g || !out, FUL_ERR_ARG, "cannot account for a graph with graph or out NULL: both are needed");
    *out = (ful_account){0};
    node_facts *facts = NULL;
    double train[2] = {0, 0};
    FUL_TRY(ful__calloc(&facts, (size_t)g->count + 1, sizeof *facts, "the account of a graph"));
    ful_status status = ful__calloc(&out->layers, (size_t)g->count, sizeof *out->layers, "the account of a graph");
    if (g->count > 0) find_live(g, facts);
    for (int i = 1; i < g->count && status == FUL_OK; i++) {
        const ful__node *node = &g->nodes[i];
        const int factor = training_factor(g, i, facts);
        if (!facts[i].live) continue;
        ful_layer_cost *layer = &out->layers[out->n_layers++];
        fill_layer(node, g->nodes[node->x[0]].shape, layer);
        add_layer(out, layer, node->op, factor, train);
    }
    derive(out, train);
    if (status == FUL_OK) status = count_unread(g, out);
    ful__free(facts);
    return status;
}

/* Pairs a full training batch asks for, and the slots it gets. */
static void count_capacity(const ful_graph *g, int batch, ful_account *out)
{
    for (int i = 0; i < g->count; i++) {
        const ful__node *node = &g->nodes[i];
        if (node->type != &ful__op_moe) continue;
        ful__moe_account moe;
        ful__moe_account_get(node->op, &moe);
        const int64_t tokens = moe.tokens * batch, pairs = tokens * moe.k;
        const int c_min = ((const ful_moe_attr *)node->attr)->capacity_min;
        if (moe.per_batch) continue; /* its slots are fixed: nothing is asked for, nothing dropped */
        out->nominal_pairs += pairs;
        out->capacity_pairs += moe.capacity_permille == 0
                                   ? pairs
                                   : moe.experts * ful_moe_capacity(tokens, moe.experts, moe.k, moe.capacity_permille, c_min);
    }
}

ful_status ful_net_account(const ful_net *net, ful_account *out)
{
    FUL_FAIL_IF(!net || !out, FUL_ERR_ARG, "cannot account for a net with net or out NULL: both are needed");
    FUL_TRY(ful_graph_account(net->graph, out));
    count_capacity(net->graph, net->options.batch_max, out);
    out->work_bytes = net->pass[net->options.train ? FUL__SPLIT_TRAIN : FUL__SPLIT_EVAL].packed_at;
    out->param_bytes = net->value.bytes + net->grad.bytes;
    out->packed_bytes = net->work.bytes - out->work_bytes;
    return FUL_OK;
}

void ful_account_deinit(ful_account *account)
{
    if (!account) return;
    ful__free(account->layers);
    *account = (ful_account){0};
}
