/* SPDX-License-Identifier: Apache-2.0 */
/* Building with mixtures: default attributes, the mixture as a node, its dense twin as a chain of ordinary nodes. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "graph/graph.h"
#include "moe/experts.h"
#include "moe/moe_op.h"

void ful_moe_defaults(ful_moe_attr *attr, ful_expert expert)
{
    const bool mlp = expert == FUL_EXPERT_MLP;
    *attr = (ful_moe_attr){
        .token = FUL_TOKEN_IMAGE,
        .expert = expert,
        .experts = 8,
        .k = 2,
        .hidden = 128,
        .act = mlp ? FUL_ACT_GELU : FUL_ACT_RELU,
        .norm = mlp ? FUL_EXPERT_NORM_NONE : FUL_EXPERT_NORM_LAYER,
        .router = "softmax",
        .router_init = -1,
        .tau0 = 1,
        .tau_min = 1,
        .capacity_permille = 1250,
        .capacity_min = 4,
        .soft_slots = 1,
        .switch_coef = 0.01f,
    };
}

ful_status ful_graph_moe(ful_graph *g, const char *name, ful_node x, const ful_moe_attr *attr, ful_node *out)
{
    FUL_FAIL_IF(!attr, FUL_ERR_ARG, "cannot build moe '%s' with attr NULL: it is needed", name ? name : "");
    return ful__graph_add(g, name, &ful__op_moe, attr, sizeof *attr, &x, 1, out);
}

/* A branch under construction: each call appends one node to its end. */
typedef struct branch {
    ful_graph *g;
    const char *prefix;
    const ful_moe_attr *attr;
    ful_node end;
    char name[2 * FUL__OP_NAME_MAX]; /* a prefix that is too long is refused by the graph */
} branch;

static const char *name_of(branch *b, const char *part)
{
    snprintf(b->name, sizeof b->name, "%s%s", b->prefix, part);
    return b->name;
}

static ful_status add_linear(branch *b, const char *part, int out_features)
{
    ful_linear_attr attr;
    ful_linear_defaults(&attr);
    attr.out_features = out_features;
    return ful_graph_linear(b->g, name_of(b, part), b->end, &attr, &b->end);
}

static ful_status add_conv(branch *b, const char *part, int out_channels, int kernel, int groups, bool bias)
{
    ful_conv2d_attr attr;
    ful_conv2d_defaults(&attr);
    attr.out_channels = out_channels;
    attr.kernel_h = attr.kernel_w = kernel;
    attr.pad_h = attr.pad_w = kernel / 2;
    attr.groups = groups;
    attr.bias = bias;
    attr.algorithm = b->attr->conv;
    return ful_graph_conv2d(b->g, name_of(b, part), b->end, &attr, &b->end);
}

/* On maps LAYER is over the whole image: per position it would take away the contrast between positions. */
static ful_status add_norm(branch *b, const char *part)
{
    if (b->attr->norm == FUL_EXPERT_NORM_LAYER) {
        ful_layernorm_attr attr;
        ful_layernorm_defaults(&attr);
        attr.scope = b->attr->expert == FUL_EXPERT_MLP ? FUL_NORM_CHANNELS : FUL_NORM_IMAGE;
        return ful_graph_layernorm(b->g, name_of(b, part), b->end, &attr, &b->end);
    }
    if (b->attr->norm == FUL_EXPERT_NORM_BATCH) {
        ful_batchnorm_attr attr;
        ful_batchnorm_defaults(&attr);
        return ful_graph_batchnorm(b->g, name_of(b, part), b->end, &attr, &b->end);
    }
    return FUL_OK;
}

static ful_status add_act(branch *b, const char *part)
{
    if (b->attr->act == FUL_ACT_NONE) return FUL_OK;
    return ful_graph_act(b->g, name_of(b, part), b->end, b->attr->act, &b->end);
}

static ful_status mlp_branch(branch *b, int d, int hidden)
{
    if (b->attr->norm == FUL_EXPERT_NORM_NONE) {
        const size_t end = strlen(b->prefix); /* the node is named as its parameters' prefix, without the dot */
        const ful_mlp_attr attr = {.hidden = hidden, .act = b->attr->act, .gated = b->attr->gated};
        snprintf(b->name, sizeof b->name, "%.*s", end > 0 ? (int)end - 1 : 0, b->prefix);
        return ful_graph_mlp(b->g, b->name, b->end, &attr, &b->end);
    }
    FUL_TRY(add_linear(b, "fc1", hidden));
    FUL_TRY(add_norm(b, "norm1"));
    FUL_TRY(add_act(b, "act1"));
    return add_linear(b, "fc2", d);
}

static ful_status conv_branch(branch *b, int d, int hidden)
{
    const bool bias = b->attr->norm == FUL_EXPERT_NORM_NONE; /* a norm brings its own */
    FUL_TRY(add_conv(b, "conv1", hidden, 3, 1, bias));
    FUL_TRY(add_norm(b, "norm1"));
    FUL_TRY(add_act(b, "act1"));
    return add_conv(b, "conv2", d, 3, 1, true);
}

static ful_status dwconv_branch(branch *b, int d, int hidden)
{
    const bool bias = b->attr->norm == FUL_EXPERT_NORM_NONE;
    FUL_TRY(add_conv(b, "conv1", hidden, 1, 1, bias));
    FUL_TRY(add_norm(b, "norm1"));
    FUL_TRY(add_act(b, "act1"));
    FUL_TRY(add_conv(b, "dw", hidden, 3, hidden, bias));
    FUL_TRY(add_norm(b, "norm2"));
    FUL_TRY(add_act(b, "act2"));
    return add_conv(b, "conv2", d, 1, 1, true);
}

ful_status ful__expert_branch(ful_graph *g, const char *prefix, ful_node x, const ful_moe_attr *attr, int hidden, ful_node *out)
{
    ful_shape shape;
    FUL_TRY(ful_graph_shape(g, x, &shape));
    branch b = {.g = g, .prefix = prefix, .attr = attr, .end = x};
    switch (attr->expert) {
    case FUL_EXPERT_MLP: FUL_TRY(mlp_branch(&b, shape.c, hidden)); break;
    case FUL_EXPERT_CONV: FUL_TRY(conv_branch(&b, shape.c, hidden)); break;
    case FUL_EXPERT_DWCONV: FUL_TRY(dwconv_branch(&b, shape.c, hidden)); break;
    }
    *out = b.end;
    return FUL_OK;
}

ful_status ful_graph_expert_block(ful_graph *g, const char *name, ful_node x, const ful_moe_attr *attr, int hidden,
                                  ful_node *out)
{
    FUL_FAIL_IF(!g || !name || !attr || !out, FUL_ERR_ARG,
                "cannot build expert block '%s' with graph, name, attr or out NULL: all are needed", name ? name : "");
    FUL_TRY(ful__moe_check_expert(name, attr, hidden));
    char prefix[FUL__OP_NAME_MAX + 2];
    snprintf(prefix, sizeof prefix, "%.*s.", FUL__OP_NAME_MAX, name);
    ful_node f;
    FUL_TRY(ful__expert_branch(g, prefix, x, attr, hidden, &f));
    branch add = {.prefix = prefix};
    return ful_graph_add(g, name_of(&add, "add"), x, f, out);
}
