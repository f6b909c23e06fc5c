/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of which one position alone is read. A transformer that ends in its class token reads of its last block's output that
 * token only: so the block's MLP, its norm and the projection need run at that position alone, its attention needs one query,
 * and of what the attention reads the others need keys and values alone. What is left out has no part in the output, and its
 * gradients are 0; the output keeps its bits. Nor need keys and values be made where it is cheaper that the query takes their
 * projections upon itself (ops/attention/absorbed.c): the same values but for their rounding.
 */
#include "graph/graph.h"
#include "ops/attention/attention.h"

enum { UNREAD = -2 };

/* Whether a position of the output depends on that position of the inputs alone, in the same way at all of them. */
static bool positionwise(const ful__node *node, bool train)
{
    const ful__op_type *type = node->type;
    if (type == &ful__op_layernorm) return ((const ful_layernorm_attr *)node->attr)->scope == FUL_NORM_CHANNELS;
    if (type == &ful__op_dropout)
        return !train || ((const ful_dropout_attr *)node->attr)->whole_image; /* others draw by number */
    return type == &ful__op_linear || type == &ful__op_mlp || type == &ful__op_add || type == &ful__op_scale ||
           type == &ful__op_act;
}

static void read_at(ful__narrow *x, int position, int lead)
{
    const bool first = x->at == UNREAD;
    x->at = first || x->at == position ? position : FUL__EVERYWHERE;
    x->lead = first ? lead : 0;
}

/* MACs of a single query that takes the layer before it in itself, where that is cheaper; otherwise 0. */
static int64_t absorbed_macs(const ful_graph *g, const ful__narrow *read, ful_node i)
{
    const ful__node *attention = &g->nodes[i], *linear = &g->nodes[attention->x[0]];
    if (attention->type != &ful__op_attention || read[i].at != 0 || read[attention->x[0]].lead == 0) return 0;
    const ful_attention_attr *attr = attention->attr;
    if (attr->qk_norm || attr->queries != 0 || ((const ful_linear_attr *)linear->attr)->lead != 0) return 0;
    const int64_t tokens = (int64_t)linear->shape.h * linear->shape.w, in = g->nodes[linear->x[0]].shape.c;
    const int64_t d = attention->shape.c, macs = ful__absorbed_macs(tokens, in, d, attr->heads);
    return macs < (2 * tokens + 1) * in * d + 2 * tokens * d ? macs : 0;
}

void ful__graph_narrow(const ful_graph *g, ful_node output, bool train, ful__narrow *out)
{
    if (output < 0) output = g->count - 1;
    for (ful_node i = 0; i < g->count; i++) out[i] = (ful__narrow){.at = i == output ? FUL__EVERYWHERE : UNREAD};
    for (ful_node i = output; i > 0; i--) {
        const ful__node *node = &g->nodes[i];
        if (out[i].at == UNREAD) continue;
        const bool each = positionwise(node, train), asks_once = node->type == &ful__op_attention && out[i].at == 0;
        if (!each && !asks_once) out[i].at = FUL__EVERYWHERE;
        if (node->type != &ful__op_linear) out[i].lead = 0;
        const bool takes = node->type == &ful__op_take && i != output;
        const int position = takes ? ((const ful_take_attr *)node->attr)->position : each ? out[i].at : FUL__EVERYWHERE;
        for (int k = 0; k < node->n_x; k++) read_at(&out[node->x[k]], position, asks_once ? node->shape.c : 0);
    }
    out[0] = (ful__narrow){.at = FUL__EVERYWHERE};
    for (ful_node i = 1; i < g->count; i++) {
        out[i].absorbed_macs = absorbed_macs(g, out, i);
        if (out[i].absorbed_macs > 0) out[g->nodes[i].x[0]].lead = 0;
    }
}
