/* SPDX-License-Identifier: Apache-2.0 */
/* The graph as a list of nodes: every node is checked, and its shape inferred, by its op the moment it is added. */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"

ful_status ful_graph_create(ful_graph **out)
{
    FUL_FAIL_IF(!out, FUL_ERR_ARG, "cannot create a graph in NULL: out must point to a place for it");
    FUL_TRY(ful__calloc(out, 1, sizeof **out, "a graph"));
    (*out)->output = -1;
    return FUL_OK;
}

void ful_graph_destroy(ful_graph **graph)
{
    if (!graph || !*graph) return;
    ful_graph *g = *graph;
    for (int i = 0; i < g->count; i++) {
        ful__node *node = &g->nodes[i];
        if (node->op) node->op->type->destroy(node->op);
        ful__free(node->attr);
    }
    ful__free(g->nodes);
    ful__free(g);
    *graph = NULL;
}

/* Names end up in file keys and in tables: visible characters only, and room for the longest parameter suffix. */
static ful_status check_name(const ful_graph *g, const char *name)
{
    enum { SUFFIX_ROOM = 48 };
    FUL_FAIL_IF(!name || !*name, FUL_ERR_ARG, "cannot add a node without a name: every node needs one");
    FUL_FAIL_IF(strlen(name) >= FUL__OP_NAME_MAX - SUFFIX_ROOM, FUL_ERR_ARG,
                "cannot add node '%.40s...' with a name of %zu bytes: at most %d", name, strlen(name),
                FUL__OP_NAME_MAX - SUFFIX_ROOM - 1);
    for (const char *c = name; *c; c++)
        FUL_FAIL_IF(*c <= ' ' || *c > '~', FUL_ERR_ARG,
                    "cannot add node '%s': a name is made of visible ASCII characters without blanks", name);
    for (int i = 0; i < g->count; i++)
        FUL_FAIL_IF(strcmp(g->nodes[i].name, name) == 0, FUL_ERR_ARG, "cannot add node '%s': node %d already has that name",
                    name, i);
    return FUL_OK;
}

static ful_status grow(ful_graph *g)
{
    if (g->count < g->capacity) return FUL_OK;
    const int capacity = g->capacity ? 2 * g->capacity : 32;
    FUL_TRY(ful__realloc(&g->nodes, (size_t)capacity, sizeof *g->nodes, "the nodes of a graph"));
    g->capacity = capacity;
    return FUL_OK;
}

/* The place of the next node, zeroed and named; it counts only once g->count is raised. */
static ful__node *blank_node(ful_graph *g, const char *name)
{
    ful__node *node = &g->nodes[g->count];
    memset(node, 0, sizeof *node);
    snprintf(node->name, sizeof node->name, "%s", name);
    return node;
}

ful_status ful_graph_input(ful_graph *g, ful_shape shape, ful_node *out)
{
    enum { SIDE_MAX = 1 << 20 };
    FUL_FAIL_IF(!g || !out, FUL_ERR_ARG, "cannot add an input with graph or out NULL: both are needed");
    FUL_FAIL_IF(g->count > 0, FUL_ERR_ARG, "cannot add an input as node %d: the one input must be the first node", g->count);
    FUL_FAIL_IF(shape.h < 1 || shape.w < 1 || shape.c < 1 || shape.h > SIDE_MAX || shape.w > SIDE_MAX || shape.c > SIDE_MAX ||
                    ful__count(shape) > INT32_MAX,
                FUL_ERR_ARG,
                "cannot add an input of %d x %d x %d: sides must be in 1..%d and an image hold at most 2^31-1 values", shape.h,
                shape.w, shape.c, SIDE_MAX);
    FUL_TRY(grow(g));
    blank_node(g, "input")->shape = shape;
    *out = g->count++;
    return FUL_OK;
}

ful_status ful__graph_add(ful_graph *g, const char *name, const ful__op_type *type, const void *attr, size_t attr_bytes,
                          const ful_node *x, int n_x, ful_node *out)
{
    FUL_FAIL_IF(!g || !out, FUL_ERR_ARG, "cannot add node '%s' with graph or out NULL: both are needed", name ? name : "");
    FUL_TRY(check_name(g, name));
    ful_shape shape[FUL__X_MAX];
    FUL_FAIL_IF(n_x < 1 || n_x > FUL__X_MAX, FUL_ERR_ARG, "cannot add node '%s' with %d inputs: 1..%d", name, n_x, FUL__X_MAX);
    for (int i = 0; i < n_x; i++) {
        FUL_FAIL_IF(x[i] < 0 || x[i] >= g->count, FUL_ERR_ARG, "cannot add node '%s' with node %d as input: the graph has %d",
                    name, x[i], g->count);
        shape[i] = g->nodes[x[i]].shape;
    }
    FUL_TRY(grow(g));
    ful__node *node = blank_node(g, name);
    FUL_TRY(ful__calloc(&node->attr, attr_bytes, 1, "the attributes of a node"));
    if (attr_bytes) memcpy(node->attr, attr, attr_bytes);
    const ful_status status = type->create(name, attr_bytes ? node->attr : NULL, shape, n_x, &node->op);
    if (status != FUL_OK) {
        ful__free(node->attr);
        return strstr(ful_error_message(), name) ? status : ful__fail_context(status, "node '%s'", name);
    }
    node->type = type;
    node->attr_bytes = attr_bytes;
    node->n_x = n_x;
    memcpy(node->x, x, (size_t)n_x * sizeof *x);
    node->shape = node->op->y;
    *out = g->count++;
    return FUL_OK;
}

ful_status ful_graph_set_output(ful_graph *g, ful_node node)
{
    FUL_FAIL_IF(!g, FUL_ERR_ARG, "cannot set the output of graph NULL: a graph is needed");
    FUL_FAIL_IF(node < 1 || node >= g->count, FUL_ERR_ARG,
                "cannot make node %d the output of a graph of %d: it must be in 1..%d", node, g->count, g->count - 1);
    g->output = node;
    return FUL_OK;
}

ful_status ful_graph_shape(const ful_graph *g, ful_node node, ful_shape *out)
{
    FUL_FAIL_IF(!g || !out, FUL_ERR_ARG, "cannot tell a shape with graph or out NULL: both are needed");
    FUL_FAIL_IF(node < 0 || node >= g->count, FUL_ERR_ARG, "cannot tell the shape of node %d: the graph has %d", node,
                g->count);
    *out = g->nodes[node].shape;
    return FUL_OK;
}

int ful_graph_count(const ful_graph *g)
{
    return g ? g->count : 0;
}
