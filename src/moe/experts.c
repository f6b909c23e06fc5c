/* SPDX-License-Identifier: Apache-2.0 */
/* What both ways of running experts share: the template branch, its parameters and cost, the choice of the way. */
#include "moe/experts.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"

/* An MLP without a norm is one node, whose parameters are named as if it had no name of its own: "fc1.weight". */
static ful_status add_mlp(ful__experts *x, ful_node *node)
{
    static const char name[] = "mlp";
    const ful_mlp_attr attr = {.hidden = x->attr.hidden, .act = x->attr.act, .gated = x->attr.gated};
    FUL_TRY(ful_graph_mlp(x->graph, name, *node, &attr, node));
    const ful__op *op = x->graph->nodes[*node].op;
    for (int i = 0; i < op->n_params; i++)
        memmove(op->params[i].name, op->params[i].name + sizeof name, strlen(op->params[i].name) + 1 - sizeof name);
    return FUL_OK;
}

static bool is_mlp(const ful__experts *x)
{
    return x->attr.expert == FUL_EXPERT_MLP && x->attr.norm == FUL_EXPERT_NORM_NONE;
}

static ful_status build_template(ful__experts *x)
{
    FUL_TRY(ful_graph_create(&x->graph));
    ful_node node;
    FUL_TRY(ful_graph_input(x->graph, x->shape, &node));
    if (is_mlp(x))
        FUL_TRY(add_mlp(x, &node));
    else
        FUL_TRY(ful__expert_branch(x->graph, "", node, &x->attr, x->attr.hidden, &node));
    return ful_graph_set_output(x->graph, node);
}

static void count(ful__experts *x)
{
    for (int i = 0; i < x->graph->count; i++) {
        const ful__op *op = x->graph->nodes[i].op;
        if (!op) continue;
        x->macs += op->cost.macs;
        x->n_params += op->n_params;
        for (int j = 0; j < op->n_params; j++)
            if (op->params[j].trainable) x->params += op->params[j].count;
    }
}

ful_status ful__experts_create(const char *name, const ful_moe_attr *attr, ful_shape shape, ful__experts **out)
{
    ful__experts *x;
    FUL_TRY(ful__calloc(&x, 1, sizeof *x, "experts"));
    snprintf(x->name, sizeof x->name, "%s", name);
    x->attr = *attr;
    x->e = attr->experts;
    x->shape = attr->token == FUL_TOKEN_PIXEL ? (ful_shape){1, 1, shape.c} : shape;
    x->width = ful__count(x->shape);
    x->grouped = is_mlp(x) && x->shape.h == 1 && x->shape.w == 1;
    const ful_status status = build_template(x);
    if (status != FUL_OK) {
        ful__experts_destroy(&x);
        return ful__fail_context(status, "cannot build the experts of moe '%s'", name);
    }
    count(x);
    *out = x;
    return FUL_OK;
}

static void unplan(ful__experts *x)
{
    ful__exec_destroy(&x->exec);
    ful__free(x->mlps.jobs);
    ful__free(x->mlps.tn_jobs);
    ful__free(x->mlps.active);
    x->mlps = (ful__mlps){0};
}

void ful__experts_destroy(ful__experts **experts)
{
    if (!experts || !*experts) return;
    unplan(*experts);
    ful_graph_destroy(&(*experts)->graph);
    ful__free(*experts);
    *experts = NULL;
}

const ful__param *ful__experts_param(const ful__experts *x, int j)
{
    for (int i = 0; i < x->graph->count; i++) {
        const ful__op *op = x->graph->nodes[i].op;
        if (!op) continue;
        if (j < op->n_params) return &op->params[j];
        j -= op->n_params;
    }
    return NULL;
}

ful__layout ful__experts_layout(const ful__experts *x, ful__layout offered)
{
    if (x->attr.token == FUL_TOKEN_PIXEL) return FUL__NHWC;
    if (x->grouped) return offered; /* 1 x 1: the same bytes */
    ful__op *first = x->graph->nodes[1].op;
    first->x_layout[0] = offered;
    first->type->layouts(first);
    return first->x_layout[0];
}

static ful_status plan_grouped(ful__experts *x)
{
    const ful_moe_attr *a = &x->attr;
    x->mlps = (ful__mlps){.count = x->e, .d = x->width, .h = a->hidden, .act = a->act, .gated = a->gated};
    x->mlps.train = x->train;
    x->mlps.most = x->most;
    FUL_TRY(ful__calloc(&x->mlps.jobs, (size_t)x->e, sizeof *x->mlps.jobs, "the products of a mixture"));
    FUL_TRY(ful__calloc(&x->mlps.tn_jobs, (size_t)x->e, sizeof *x->mlps.tn_jobs, "the weight gradients of a mixture"));
    return ful__calloc(&x->mlps.active, (size_t)x->e, sizeof *x->mlps.active, "the active experts of a mixture");
}

ful_status ful__experts_plan(ful__experts *x, ful__rows_bound most, ful__layout layout, bool train)
{
    unplan(x);
    x->train = train;
    x->most = most;
    return x->grouped ? plan_grouped(x) : ful__experts_plan_graph(x, layout);
}

size_t ful__experts_saved_bytes(const ful__experts *x, ful__rows_bound bound)
{
    return x->grouped ? ful__mlps_saved_bytes(&x->mlps, bound) : ful__experts_saved_graph(x, bound);
}

size_t ful__experts_scratch_bytes(const ful__experts *x, ful__rows_bound bound, bool backward)
{
    return x->grouped ? ful__mlps_scratch_bytes(&x->mlps, bound, backward) : ful__experts_scratch_graph(x, bound, backward);
}

size_t ful__experts_packed_bytes(const ful__experts *x)
{
    return x->grouped ? ful__mlps_packed_bytes(&x->mlps) : ful__experts_packed_graph(x);
}

static ful__mlps_run mlps_run(const ful__experts_run *run)
{
    return (ful__mlps_run){.bound = run->bound,
                           .offset = run->offset,
                           .x = run->x,
                           .index = run->index,
                           .o = run->o,
                           .d_o = run->d_o,
                           .dx = run->dx,
                           .repack = run->repack,
                           .w = run->w,
                           .dw = run->dw,
                           .saved = run->saved,
                           .scratch = run->scratch,
                           .packed = run->packed};
}

ful_status ful__experts_forward(ful__experts *x, ful__experts_run *run)
{
    run->macs = 0;
    if (!x->grouped) return ful__experts_forward_graph(x, run);
    ful__mlps_run r = mlps_run(run);
    ful__mlps_forward(&x->mlps, &r);
    run->macs = r.macs;
    return FUL_OK;
}

ful_status ful__experts_backward(ful__experts *x, ful__experts_run *run)
{
    if (!x->grouped) return ful__experts_backward_graph(x, run);
    const ful__mlps_run r = mlps_run(run);
    ful__mlps_backward(&x->mlps, &r);
    return FUL_OK;
}
