/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The experts of a mixture: E instances of one branch f (of y = x + f(x)), each with its own parameters, run on the rows that
 * were routed to them and on nothing else. A row is a vector (MLP) or a whole feature map (conv kinds).
 *
 * Two ways to run:
 *   grouped  MLP without a norm on vectors: all experts in one go (ops/mlp/mlps.h), rows gathered while they are read
 *   graph    any branch: one planned executor that the experts take in turn, each on its gathered rows with its own weights and
 * memory
 */
#ifndef FUL_MOE_EXPERTS_H
#define FUL_MOE_EXPERTS_H

#include "graph/exec.h"
#include "ops/mlp/mlps.h"
#include <fulcrum/moe.h>

typedef struct ful__experts {
    char name[FUL__OP_NAME_MAX];
    ful_moe_attr attr;
    int e;
    ful_shape shape;      /* of a row */
    int64_t width;        /* floats of a row */
    int64_t macs, params; /* of one expert, on one row */
    ful_graph *graph;     /* the branch, names relative: "fc1", "conv1" … */
    int n_params;         /* of one expert, in the order of the branch's nodes */
    bool grouped;
    /* by plan */
    bool train;
    ful__rows_bound most; /* the largest run */
    ful__exec *exec;      /* graph way */
    ful__mlps mlps;       /* grouped way; its arrays are owned */
} ful__experts;

typedef struct ful__experts_run {
    ful__rows_bound bound;
    const int64_t *offset; /* [e+1] rows of expert i: offset[i] .. offset[i+1] */
    const float *x;        /* input rows, row r at index[r] (at r when index is NULL) */
    const uint32_t *index;
    float *o;   /* output rows: forward writes them, backward may read them */
    float *d_o; /* backward: gradient of o; overwritten by the grouped way */
    float *dx;  /* backward: gradient of the input rows, written; NULL where nobody needs it. Grouped: may be d_o */
    bool repack;
    uint64_t seed, step;
    double progress;
    float *const *w, *const *dw; /* of expert 0's first parameter; expert i's begin at i*n_params */
    void *saved, *scratch, *packed;
    int64_t macs; /* forward: out, counted from the products that ran */
} ful__experts_run;

/* shape: of the node's input; a row is a pixel or an image as attr->token says. */
ful_status ful__experts_create(const char *name, const ful_moe_attr *attr, ful_shape shape,
                               ful__experts **out) FUL_CHECK_RESULT;
void ful__experts_destroy(ful__experts **experts);
/* Parameter j of one expert, name relative ("fc1.weight"). */
const ful__param *ful__experts_param(const ful__experts *x, int j);
/* The layout of rows that suits the branch when the neighbour offers `offered`. */
ful__layout ful__experts_layout(const ful__experts *x, ful__layout offered);
ful_status ful__experts_plan(ful__experts *x, ful__rows_bound most, ful__layout layout, bool train) FUL_CHECK_RESULT;

/* Bytes of memory for runs of that bound: affine in the bound (but for rounding up to 64). */
size_t ful__experts_saved_bytes(const ful__experts *x, ful__rows_bound bound);
size_t ful__experts_scratch_bytes(const ful__experts *x, ful__rows_bound bound, bool backward);
size_t ful__experts_packed_bytes(const ful__experts *x);

ful_status ful__experts_forward(ful__experts *x, ful__experts_run *run) FUL_CHECK_RESULT;
ful_status ful__experts_backward(ful__experts *x, ful__experts_run *run) FUL_CHECK_RESULT;

/* The branch as nodes: prefix + "fc1" … (prefix "" for a template). hidden: its width. Attributes are taken as checked. */
ful_status ful__expert_branch(ful_graph *g, const char *prefix, ful_node x, const ful_moe_attr *attr, int hidden,
                              ful_node *out) FUL_CHECK_RESULT;

/* moe_check.c. Every field by itself and with the others; FUL_ERR_CONFIG names field, value, rule. check_expert: those of the
 * branch only. */
ful_status ful__moe_check(const char *name, const ful_moe_attr *attr) FUL_CHECK_RESULT;
ful_status ful__moe_check_expert(const char *name, const ful_moe_attr *attr, int hidden) FUL_CHECK_RESULT;

/* The address so many bytes (a multiple of 64) into a block. */
static inline void *ful__at(void *block, size_t bytes)
{
    return (char *)block + bytes;
}

/* The graph way: experts_graph.c. */
ful_status ful__experts_plan_graph(ful__experts *x, ful__layout layout) FUL_CHECK_RESULT;
size_t ful__experts_saved_graph(const ful__experts *x, ful__rows_bound bound);
size_t ful__experts_scratch_graph(const ful__experts *x, ful__rows_bound bound, bool backward);
size_t ful__experts_packed_graph(const ful__experts *x);
ful_status ful__experts_forward_graph(ful__experts *x, ful__experts_run *run) FUL_CHECK_RESULT;
ful_status ful__experts_backward_graph(ful__experts *x, ful__experts_run *run) FUL_CHECK_RESULT;

#endif
