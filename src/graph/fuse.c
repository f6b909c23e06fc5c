/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From nodes to steps. Training: batch-norm (+ add) (+ activation) is one step. Inference: convolution + batch-norm (+ add)
 * (+ activation) is one step with folded weights, so is one that is depthwise with the pointwise one behind it, and dropout,
 * the identity there, disappears. Values of which one position alone is read (narrow.c) are made at that position only, both
 * ways, and what takes it from them disappears; attention at one of them may absorb the linear layer before it. A node is
 * swallowed only if what follows is its one consumer. Nodes the output does not depend on give no step.
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "graph/program.h"
#include "ops/act_math.h"
#include "ops/batchnorm/batchnorm.h"
#include "ops/separable/separable.h"

typedef struct fuser {
    ful__program *p;
    const ful_graph *g;
    ful_node output;
    struct fuser_node {
        ful_node source; /* itself, or whose value, as made, it passes on unchanged */
        int consumers;   /* 0: dead */
        bool swallowed;
        int tensor;
        ful__fused fused; /* the chain that ends here */
    } * nodes;
    ful__narrow *narrow; /* by node */
} fuser;

const ful__fused ful__nothing_fused = {
    .conv = -1, .norm = -1, .add = -1, .act = -1, .residual = -1, .depthwise = -1, .depthwise_norm = -1, .linear = -1};

static bool fusing(const fuser *f)
{
    return !(f->p->spec.off & FUL__EXEC_NO_FUSE);
}

static bool narrow(const fuser *f, ful_node i)
{
    return f->narrow[i].at >= 0;
}

static bool passes_on(const fuser *f, const ful__node *node)
{
    if (!fusing(f)) return false;
    if (node->type == &ful__op_dropout) return !f->p->spec.train;
    return node->type == &ful__op_take && narrow(f, f->nodes[node->x[0]].source);
}

static ful_shape shape_of(const fuser *f, ful_node i)
{
    const ful_shape all = f->g->nodes[i].shape;
    return narrow(f, i) ? (ful_shape){1, 1, all.c} : all;
}

/* Consumers of each value, counted from the output backwards through what is alive. */
static void find_live(fuser *f)
{
    for (ful_node i = 0; i < f->g->count; i++) {
        const ful__node *node = &f->g->nodes[i];
        f->nodes[i].source = i != f->output && passes_on(f, node) ? f->nodes[node->x[0]].source : i;
        f->nodes[i].fused = ful__nothing_fused;
    }
    f->nodes[f->output].consumers = 1;
    for (ful_node i = f->output; i > 0; i--)
        if (f->nodes[i].consumers > 0)
            for (int k = 0; k < f->g->nodes[i].n_x; k++) f->nodes[f->nodes[f->g->nodes[i].x[k]].source].consumers++;
}

/* Whether the value of node s may disappear into its consumer. */
static bool sole(const fuser *f, ful_node s)
{
    return f->nodes[s].consumers == 1 && s != f->output;
}

static bool open_chain(const fuser *f, ful_node s)
{
    const ful__fused *c = &f->nodes[s].fused;
    return c->norm >= 0 && c->act_kind == FUL_ACT_NONE && sole(f, s);
}

static bool takes_act(const ful__fused *chain, ful_act kind)
{
    return chain->conv >= 0 ? ful__act_fuses(kind) : ful__batchnorm_fuses(kind, chain->add >= 0);
}

/* The chain of s, now ending at node i. */
static ful__fused *extend(fuser *f, ful_node s, ful_node i)
{
    f->nodes[i].fused = f->nodes[s].fused;
    f->nodes[s].swallowed = true;
    return &f->nodes[i].fused;
}

static const ful_conv2d_attr *conv_attr(const fuser *f, ful_node conv)
{
    return f->g->nodes[conv].attr;
}

/* The chain of a depthwise convolution that only the chain's convolution reads becomes part of it. */
static void take_depthwise(fuser *f, ful__fused *chain)
{
    const ful_node s = f->nodes[f->g->nodes[chain->conv].x[0]].source;
    const ful__fused *first = &f->nodes[s].fused;
    if (first->conv < 0 || first->depthwise >= 0 || first->add >= 0 || !sole(f, s)) return;
    const ful_shape x = f->g->nodes[f->nodes[f->g->nodes[first->conv].x[0]].source].shape;
    if (!ful__separable_fits(conv_attr(f, first->conv), conv_attr(f, chain->conv), x)) return;
    f->nodes[s].swallowed = true;
    chain->depthwise = first->conv;
    chain->depthwise_norm = first->norm;
    chain->depthwise_act = first->act_kind;
}

static void match(fuser *f, ful_node i)
{
    const ful__node *node = &f->g->nodes[i];
    const ful_node a = f->nodes[node->x[0]].source;
    if (node->type == &ful__op_batchnorm) {
        ful__fused *chain = &f->nodes[i].fused;
        chain->norm = i;
        chain->act_kind = ((const ful_batchnorm_attr *)node->attr)->act;
        if (!f->p->spec.train && f->g->nodes[a].type == &ful__op_conv2d && sole(f, a)) {
            chain->conv = a;
            f->nodes[a].swallowed = true;
            take_depthwise(f, chain);
        }
    } else if (node->type == &ful__op_act) {
        const ful_act kind = *(const ful_act *)node->attr;
        if (open_chain(f, a) && takes_act(&f->nodes[a].fused, kind)) {
            ful__fused *chain = extend(f, a, i);
            chain->act = i;
            chain->act_kind = kind;
        }
    } else if (node->type == &ful__op_add) {
        const ful_node side[2] = {a, f->nodes[node->x[1]].source};
        for (int k = 0; k < 2 && side[0] != side[1]; k++) {
            if (!open_chain(f, side[k]) || f->nodes[side[k]].fused.add >= 0) continue;
            ful__fused *chain = extend(f, side[k], i);
            chain->add = i;
            chain->residual = side[1 - k];
            break;
        }
    }
}

/* What attention at one position may take in itself. */
static void absorb(fuser *f, ful_node i)
{
    if (f->narrow[i].absorbed_macs == 0) return;
    const ful_node linear = f->g->nodes[i].x[0];
    f->nodes[linear].swallowed = true;
    f->nodes[i].fused.linear = linear;
}

static ful_status create_plain(const fuser *f, ful_node i, const ful_shape *shape, int n_x, ful__op **out)
{
    const ful__node *node = &f->g->nodes[i];
    if (node->type == &ful__op_attention && narrow(f, i)) {
        ful__absorbed_attr attr = {.attention = *(const ful_attention_attr *)node->attr};
        attr.attention.queries = 1;
        if (f->nodes[i].fused.linear < 0) return node->type->create(node->name, &attr.attention, shape, n_x, out);
        attr.qkv = *(const ful_linear_attr *)f->g->nodes[f->nodes[i].fused.linear].attr;
        return ful__op_absorbed.create(node->name, &attr, shape, n_x, out);
    }
    if (f->narrow[i].lead > 0) {
        ful_linear_attr attr = *(const ful_linear_attr *)node->attr;
        attr.lead = f->narrow[i].lead;
        return node->type->create(node->name, &attr, shape, n_x, out);
    }
    return node->type->create(node->name, node->attr, shape, n_x, out);
}

static ful_status create_op(fuser *f, ful_node i, const ful_shape *shape, int n_x, ful__op **out)
{
    const ful_graph *g = f->g;
    const ful__fused *chain = &f->nodes[i].fused;
    if (chain->norm < 0) return create_plain(f, i, shape, n_x, out);
    if (chain->conv < 0) {
        ful_batchnorm_attr attr = *(const ful_batchnorm_attr *)g->nodes[chain->norm].attr;
        attr.act = chain->act_kind;
        attr.residual = chain->add >= 0;
        return ful__op_batchnorm.create(g->nodes[chain->norm].name, &attr, shape, n_x, out);
    }
    ful__separable_attr attr = {
        .pointwise = {.conv = *conv_attr(f, chain->conv), .act = chain->act_kind, .residual = chain->add >= 0}};
    attr.pointwise.conv.bias = true;
    if (chain->depthwise < 0) return ful__op_conv_fused.create(g->nodes[chain->conv].name, &attr.pointwise, shape, n_x, out);
    attr.depthwise = (ful__conv_fused_attr){.conv = *conv_attr(f, chain->depthwise), .act = chain->depthwise_act};
    attr.depthwise.conv.bias = true;
    return ful__op_separable.create(g->nodes[chain->conv].name, &attr, shape, n_x, out);
}

/* A step that gives value i, or what is no node's where i is -1. */
static ful__step *add_step(fuser *f, ful__op *op, ful_node i)
{
    ful__step *step = &f->p->steps[f->p->n_steps++];
    *step = (ful__step){.op = op, .node = i, .fused = ful__nothing_fused};
    step->y = ful__program_tensor(f->p, op->y, FUL__NHWC);
    return step;
}

/* The tensor of value x as node i reads it: where i is made at one position and x at all of them, that one. */
static ful_status operand(fuser *f, ful_node i, ful_node x, ful_shape *shape, int *out)
{
    *shape = shape_of(f, x);
    *out = f->nodes[x].tensor;
    if (!narrow(f, i) || narrow(f, x) || f->g->nodes[i].type == &ful__op_attention) return FUL_OK;
    char name[FUL__OP_NAME_MAX];
    ful__op *op;
    snprintf(name, sizeof name, "take.%d", *out);
    FUL_TRY(ful__op_take.create(name, &(ful_take_attr){.position = f->narrow[i].at}, shape, 1, &op));
    ful__step *step = add_step(f, op, -1);
    step->x[0] = *out;
    *out = step->y;
    *shape = op->y;
    return FUL_OK;
}

static ful_status emit(fuser *f, ful_node i)
{
    const ful_graph *g = f->g;
    const ful__fused *chain = &f->nodes[i].fused;
    const ful_node first = chain->depthwise >= 0 ? chain->depthwise
                           : chain->conv >= 0    ? chain->conv
                           : chain->norm >= 0    ? chain->norm
                           : chain->linear >= 0  ? chain->linear
                                                 : i;
    ful_shape shape[FUL__X_MAX];
    int x[FUL__X_MAX], n_x = g->nodes[first].n_x;
    for (int k = 0; k < n_x; k++) FUL_TRY(operand(f, i, f->nodes[g->nodes[first].x[k]].source, &shape[k], &x[k]));
    if (chain->add >= 0) {
        FUL_TRY(operand(f, i, chain->residual, &shape[n_x], &x[n_x]));
        n_x++;
    }
    ful__op *op;
    FUL_TRY(create_op(f, i, shape, n_x, &op));
    ful__step *step = add_step(f, op, i);
    step->fused = *chain;
    step->param = f->p->first_param[first];
    memcpy(step->x, x, sizeof x);
    f->nodes[i].tensor = step->y;
    return FUL_OK;
}

ful_status ful__program_fuse(ful__program *p)
{
    const ful_graph *g = p->graph;
    fuser f = {.p = p, .g = g, .output = g->output >= 0 ? g->output : g->count - 1};
    FUL_TRY(ful__calloc(&f.nodes, (size_t)g->count, sizeof *f.nodes, "the fusion pass"));
    ful_status status = ful__calloc(&f.narrow, (size_t)g->count, sizeof *f.narrow, "the fusion pass");
    if (status != FUL_OK) {
        ful__free(f.nodes);
        return status;
    }
    for (ful_node i = 0; i < g->count; i++) f.narrow[i].at = FUL__EVERYWHERE;
    if (fusing(&f)) ful__graph_narrow(g, f.output, p->spec.train, f.narrow);
    find_live(&f);
    if (fusing(&f))
        for (ful_node i = 1; i < g->count; i++)
            if (f.nodes[i].consumers > 0) (narrow(&f, i) ? absorb : match)(&f, i);
    f.nodes[0].tensor = ful__program_tensor(p, g->nodes[0].shape, p->spec.x_layout);
    for (ful_node i = 1; i < g->count && status == FUL_OK; i++)
        if (f.nodes[i].consumers > 0 && !f.nodes[i].swallowed) status = emit(&f, i);
    p->output = f.nodes[f.output].tensor;
    ful__free(f.narrow);
    ful__free(f.nodes);
    return status;
}
