/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of which one position alone is read. A transformer that ends in its class token reads of its last block's output that
 * token only: so the block's MLP, its norm and the projection need run at that position alone, its attention needs one query,
 * and all else, queries aside, is what the keys and values of the others need. What is left out has no part in the output, and
 * its gradients are 0; the output keeps its bits.
 */
#include "graph/graph.h"

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

static void read_at(int *at, ful_node x, int position)
{
    at[x] = at[x] == UNREAD || at[x] == position ? position : FUL__EVERYWHERE;
}

void ful__graph_narrow(const ful_graph *g, ful_node output, bool train, int *at)
{
    if (output < 0) output = g->count - 1;
    for (ful_node i = 0; i < g->count; i++) at[i] = i == output ? FUL__EVERYWHERE : UNREAD;
    for (ful_node i = output; i > 0; i--) {
        const ful__node *node = &g->nodes[i];
        if (at[i] == UNREAD) continue;
        const bool each = positionwise(node, train);
        if (!each && !(node->type == &ful__op_attention && at[i] == 0)) at[i] = FUL__EVERYWHERE;
        const bool takes = node->type == &ful__op_take && i != output;
        const int position = takes ? ((const ful_take_attr *)node->attr)->position : each ? at[i] : FUL__EVERYWHERE;
        for (int k = 0; k < node->n_x; k++) read_at(at, node->x[k], position);
    }
    at[0] = FUL__EVERYWHERE;
}
