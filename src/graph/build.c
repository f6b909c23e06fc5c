/* SPDX-License-Identifier: Apache-2.0 */
/* One public call for each op: ful__graph_add with the attribute's own type. */
#include "core/error.h"
#include "graph/graph.h"

static ful_status add_unary(ful_graph *g, const char *name, const ful__op_type *type, const void *attr, size_t attr_bytes,
                            ful_node x, ful_node *out)
{
    FUL_FAIL_IF(attr_bytes && !attr, FUL_ERR_ARG, "cannot build %s '%s' with attr NULL: it is needed", type->name,
                name ? name : "");
    return ful__graph_add(g, name, type, attr, attr_bytes, &x, 1, out);
}

ful_status ful_graph_conv2d(ful_graph *g, const char *name, ful_node x, const ful_conv2d_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_conv2d, attr, sizeof *attr, x, out);
}

ful_status ful_graph_linear(ful_graph *g, const char *name, ful_node x, const ful_linear_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_linear, attr, sizeof *attr, x, out);
}

ful_status ful_graph_batchnorm(ful_graph *g, const char *name, ful_node x, const ful_batchnorm_attr *attr, ful_node *out)
{
    FUL_FAIL_IF(attr && attr->residual, FUL_ERR_ARG,
                "cannot build batchnorm '%s' with residual=true: the fusion pass sets it; add an add node", name ? name : "");
    return add_unary(g, name, &ful__op_batchnorm, attr, sizeof *attr, x, out);
}

ful_status ful_graph_layernorm(ful_graph *g, const char *name, ful_node x, const ful_layernorm_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_layernorm, attr, sizeof *attr, x, out);
}

ful_status ful_graph_act(ful_graph *g, const char *name, ful_node x, ful_act act, ful_node *out)
{
    return add_unary(g, name, &ful__op_act, &act, sizeof act, x, out);
}

ful_status ful_graph_add(ful_graph *g, const char *name, ful_node a, ful_node b, ful_node *out)
{
    const ful_node x[2] = {a, b};
    return ful__graph_add(g, name, &ful__op_add, NULL, 0, x, 2, out);
}

ful_status ful_graph_pool(ful_graph *g, const char *name, ful_node x, const ful_pool_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_pool, attr, sizeof *attr, x, out);
}

ful_status ful_graph_global_avg_pool(ful_graph *g, const char *name, ful_node x, ful_node *out)
{
    return add_unary(g, name, &ful__op_global_avg_pool, NULL, 0, x, out);
}

ful_status ful_graph_flatten(ful_graph *g, const char *name, ful_node x, ful_node *out)
{
    return add_unary(g, name, &ful__op_flatten, NULL, 0, x, out);
}

ful_status ful_graph_dropout(ful_graph *g, const char *name, ful_node x, const ful_dropout_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_dropout, attr, sizeof *attr, x, out);
}

ful_status ful_graph_scale(ful_graph *g, const char *name, ful_node x, const ful_scale_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_scale, attr, sizeof *attr, x, out);
}

ful_status ful_graph_attention(ful_graph *g, const char *name, ful_node x, const ful_attention_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_attention, attr, sizeof *attr, x, out);
}

ful_status ful_graph_mlp(ful_graph *g, const char *name, ful_node x, const ful_mlp_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_mlp, attr, sizeof *attr, x, out);
}

ful_status ful_graph_tokens(ful_graph *g, const char *name, ful_node x, const ful_tokens_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_tokens, attr, sizeof *attr, x, out);
}

ful_status ful_graph_take(ful_graph *g, const char *name, ful_node x, const ful_take_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_take, attr, sizeof *attr, x, out);
}

ful_status ful_graph_excite(ful_graph *g, const char *name, ful_node x, ful_node factors, ful_node *out)
{
    const ful_node inputs[2] = {x, factors};
    return ful__graph_add(g, name, &ful__op_excite, NULL, 0, inputs, 2, out);
}

ful_status ful_graph_transpose(ful_graph *g, const char *name, ful_node x, const ful_transpose_attr *attr, ful_node *out)
{
    return add_unary(g, name, &ful__op_transpose, attr, sizeof *attr, x, out);
}
