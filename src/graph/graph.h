/* SPDX-License-Identifier: Apache-2.0 */
/* The graph as data, for the passes and for layers above. */
#ifndef FUL_GRAPH_GRAPH_H
#define FUL_GRAPH_GRAPH_H

#include "ops/op.h"
#include <fulcrum/graph.h>

typedef struct ful__node {
    char name[FUL__OP_NAME_MAX];
    const ful__op_type *type; /* NULL for the input */
    void *attr;               /* copy of attr_bytes bytes, owned */
    size_t attr_bytes;
    int n_x;
    ful_node x[FUL__X_MAX];
    ful_shape shape; /* of the output */
    ful__op *op;     /* as created, unplanned: parameters and cost; owned. NULL for the input */
} ful__node;

struct ful_graph {
    ful__node *nodes;
    int count, capacity;
    ful_node output; /* -1 until set; the last node by default when run */
};

/* Appends a node of any op type. attr is copied (attr_bytes may be 0). The name must be new. */
ful_status ful__graph_add(ful_graph *g, const char *name, const ful__op_type *type, const void *attr, size_t attr_bytes,
                          const ful_node *x, int n_x, ful_node *out) FUL_CHECK_RESULT;

/* What of a node's value is read on the way to the output, and made: by node [g->count]. An output of -1 is the last node. */
enum { FUL__EVERYWHERE = -1 };
typedef struct ful__narrow {
    int at;   /* one position; FUL__EVERYWHERE: all of them; some other negative where the output does not depend on it */
    int lead; /* of a linear layer's: so many leading channels at position 0 alone */
    int64_t absorbed_macs; /* of attention with one query, which takes the linear layer before it, that it alone reads, in
                              itself: what both cost then; 0: it does not */
} ful__narrow;
void ful__graph_narrow(const ful_graph *g, ful_node output, bool train, ful__narrow *out);

#endif
