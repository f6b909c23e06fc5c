/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A graph: a static list of nodes, each an operation on earlier nodes. Build it once; shapes are inferred and attributes
 * checked at each call. A node's name prefixes its parameters ("stage1.0.conv1" -> "stage1.0.conv1.weight") and must be unique.
 * A graph holds no tensors; ful_net (net.h) gives it parameters and runs it.
 */
#ifndef FULCRUM_GRAPH_H
#define FULCRUM_GRAPH_H

#include <fulcrum/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ful_graph ful_graph;
typedef int32_t ful_node; /* a node's number in its graph */

FUL_API ful_status ful_graph_create(ful_graph **out) FUL_CHECK_RESULT;
FUL_API void ful_graph_destroy(ful_graph **graph);

/* The one input (must be the first node) and the one output. */
FUL_API ful_status ful_graph_input(ful_graph *g, ful_shape shape, ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_set_output(ful_graph *g, ful_node node) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_shape(const ful_graph *g, ful_node node, ful_shape *out) FUL_CHECK_RESULT;
FUL_API int ful_graph_count(const ful_graph *g);

FUL_API ful_status ful_graph_conv2d(ful_graph *g, const char *name, ful_node x, const ful_conv2d_attr *attr,
                                    ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_linear(ful_graph *g, const char *name, ful_node x, const ful_linear_attr *attr,
                                    ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_batchnorm(ful_graph *g, const char *name, ful_node x, const ful_batchnorm_attr *attr,
                                       ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_layernorm(ful_graph *g, const char *name, ful_node x, const ful_layernorm_attr *attr,
                                       ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_act(ful_graph *g, const char *name, ful_node x, ful_act act, ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_add(ful_graph *g, const char *name, ful_node a, ful_node b, ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_pool(ful_graph *g, const char *name, ful_node x, const ful_pool_attr *attr,
                                  ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_global_avg_pool(ful_graph *g, const char *name, ful_node x, ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_flatten(ful_graph *g, const char *name, ful_node x,
                                     ful_node *out) FUL_CHECK_RESULT; /* [h][w][c] order */
FUL_API ful_status ful_graph_dropout(ful_graph *g, const char *name, ful_node x, const ful_dropout_attr *attr,
                                     ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_scale(ful_graph *g, const char *name, ful_node x, const ful_scale_attr *attr,
                                   ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_attention(ful_graph *g, const char *name, ful_node x, const ful_attention_attr *attr,
                                       ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_mlp(ful_graph *g, const char *name, ful_node x, const ful_mlp_attr *attr,
                                 ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_tokens(ful_graph *g, const char *name, ful_node x, const ful_tokens_attr *attr,
                                    ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_take(ful_graph *g, const char *name, ful_node x, const ful_take_attr *attr,
                                  ful_node *out) FUL_CHECK_RESULT;
/* y = x times one factor a channel, factors 1 x 1 x c: the end of a squeeze-and-excitation. */
FUL_API ful_status ful_graph_excite(ful_graph *g, const char *name, ful_node x, ful_node factors,
                                    ful_node *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_transpose(ful_graph *g, const char *name, ful_node x, const ful_transpose_attr *attr,
                                       ful_node *out) FUL_CHECK_RESULT;
/* The mixture-of-experts node is declared in moe.h. */

#ifdef __cplusplus
}
#endif
#endif
