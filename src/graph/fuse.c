/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From nodes to steps. Training: batch-norm (+ add) (+ activation) is one step. Inference: convolution + batch-norm (+ add)
 * (+ activation) is one step with folded weights, so is one that is depthwise with the pointwise one behind it, and dropout,
 * the identity there, disappears. A node is swallowed only if what follows is its one consumer. Nodes the output does not
 * depend on give no step.
 */
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
        ful_node source; /* itself, or whose value it passes on unchanged */
        int consumers;   /* 0: dead */
        bool swallowed;
        int tensor;
        ful__fused fused; /* the chain that ends here */
    } * nodes;
} fuser;

const ful__fused ful__nothing_fused = {
    .conv = -1, .norm = -1, .add = -1, .act = -1, .residual = -1, .depthwise = -1, .depthwise_norm = -1};

static bool fusing(const fuser *f)
{
    return !(f->p->spec.off & FUL__EXEC_NO_FUSE);
}

/* Consumers of each value, counted from the output backwards through what is alive. */
static void find_live(fuser *f)
{
    for (ful_node i = 0; i < f->g->count; i++) {
        const ful__node *node = &f->g->nodes[i];
        const bool identity = !f->p->spec.train && fusing(f) && node->type == &ful__op_dropout && i != f->output;
        f->nodes[i].source = identity ? f->nodes[node->x[0]].source : i;
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

static ful_status create_op(fuser *f, ful_node i, const ful_node *x, int n_x, ful__op **out)
{
    const ful_graph *g = f->g;
    const ful__fused *chain = &f->nodes[i].fused;
    ful_shape shape[FUL__X_MAX];
    for (int k = 0; k < n_x; k++) shape[k] = g->nodes[x[k]].shape;
    if (chain->norm < 0) return g->nodes[i].type->create(g->nodes[i].name, g->nodes[i].attr, shape, n_x, out);
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

static ful_status emit(fuser *f, ful_node i)
{
    const ful_graph *g = f->g;
    const ful__fused *chain = &f->nodes[i].fused;
    const ful_node first = chain->depthwise >= 0 ? chain->depthwise
                           : chain->conv >= 0    ? chain->conv
                           : chain->norm >= 0    ? chain->norm
                                                 : i;
    ful_node x[FUL__X_MAX];
    int n_x = g->nodes[first].n_x;
    for (int k = 0; k < n_x; k++) x[k] = f->nodes[g->nodes[first].x[k]].source;
    if (chain->add >= 0) x[n_x++] = chain->residual;

    ful__step *step = &f->p->steps[f->p->n_steps];
    memset(step, 0, sizeof *step);
    FUL_TRY(create_op(f, i, x, n_x, &step->op));
    f->p->n_steps++;
    step->node = i;
    step->fused = *chain;
    step->param = f->p->first_param[first];
    for (int k = 0; k < n_x; k++) step->x[k] = f->nodes[x[k]].tensor;
    step->y = f->nodes[i].tensor = ful__program_tensor(f->p, g->nodes[i].shape, FUL__NHWC);
    return FUL_OK;
}

ful_status ful__program_fuse(ful__program *p)
{
    const ful_graph *g = p->graph;
    fuser f = {.p = p, .g = g, .output = g->output >= 0 ? g->output : g->count - 1};
    FUL_TRY(ful__calloc(&f.nodes, (size_t)g->count, sizeof *f.nodes, "the fusion pass"));
    find_live(&f);
    if (fusing(&f))
        for (ful_node i = 1; i < g->count; i++)
            if (f.nodes[i].consumers > 0) match(&f, i);
    f.nodes[0].tensor = ful__program_tensor(p, g->nodes[0].shape, p->spec.x_layout);
    ful_status status = FUL_OK;
    for (ful_node i = 1; i < g->count && status == FUL_OK; i++)
        if (f.nodes[i].consumers > 0 && !f.nodes[i].swallowed) status = emit(&f, i);
    p->output = f.nodes[f.output].tensor;
    ful__free(f.nodes);
    return status;
}
