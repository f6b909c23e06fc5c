/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the passes make of a graph, and the executor runs: a list of forward steps (one op each), a list of backward
 * instructions, the tensors between them and the homes (pieces of memory) the tensors live in.
 *
 * A tensor is written once. Tensors that follow each other in place share a home; so do all a residual `add` passes its
 * gradient to. Time runs over the forward steps 0..F-1, then the backward instructions F..F+B-1.
 */
#ifndef FUL_GRAPH_PROGRAM_H
#define FUL_GRAPH_PROGRAM_H

#include "graph/exec.h"

/* Where a home lies: in the work arena, or in one of the caller's boundary buffers (x and dy are read only). */
typedef enum ful__base { FUL__BASE_WORK = 0, FUL__BASE_X, FUL__BASE_Y, FUL__BASE_DY, FUL__BASE_DX, FUL__BASES } ful__base;

/* Bytes per_image * n + fixed, alive in [first, last]; in the arena at offset_per_image * n + offset_fixed. */
typedef struct ful__home {
    ful__base base;
    size_t per_image, fixed; /* multiples of 64 */
    int first, last;
    size_t offset_per_image, offset_fixed;
} ful__home;

typedef struct ful__tensor {
    ful_shape shape;
    ful__layout layout;
    int home;        /* -1: none, it is not kept */
    int first, last; /* written at, last read at (first if never) */
    int last_reads;  /* operands that read it at `last` */
} ful__tensor;

/* The graph nodes one step stands for; -1 where there is none. A step without norm is one plain node. depthwise: a convolution
 * (with its norm and activation) whose output the step's own convolution alone reads. linear: whose output the step's own
 * attention absorbs. */
typedef struct ful__fused {
    ful_node conv, norm, add, act;
    ful_node residual; /* the value `add` adds */
    ful_act act_kind;
    ful_node depthwise, depthwise_norm;
    ful_act depthwise_act;
    ful_node linear;
} ful__fused;
extern const ful__fused ful__nothing_fused;

typedef struct ful__step {
    ful__op *op;   /* owned */
    ful_node node; /* whose value it gives; -1: a reorder, or one position of a value */
    ful__fused fused;
    int param; /* its first parameter in the executor's order; unused where the weights are folded */
    int x[FUL__X_MAX], y;
    int dy, dy_more, dx[FUL__X_MAX];     /* gradients; -1: none. That of y is dy + dy_more */
    int dx_more;                         /* what dx[0] has in it beside the step's own; -1: nothing */
    int saved, scratch, scratch_back;    /* homes; -1: none */
    size_t packed_offset, folded_offset; /* into `packed`; folded: the op's parameters, each 64-byte aligned */
    /* Halves of its work that the step beside it does (op.h): the one before sums x, the one after makes y; in backward the one
     * after sums dy, the one before makes dx[0]. */
    bool x_summed, y_left, dy_summed, dx_left;
    bool y_again; /* y is not kept: the one after makes its maps, in backward once more */
} ful__step;

/* step >= 0: that step's backward, with neighbours' halves where marked. Otherwise tensor c = a + b, or c = a where b < 0. */
typedef struct ful__instr {
    int step, a, b, c;
} ful__instr;

typedef struct ful__program {
    const ful_graph *graph; /* borrowed */
    ful__exec_spec spec;
    int n_params, *first_param; /* by graph node */
    const ful__param **params;
    int n_steps, n_instrs, n_tensors, n_homes;
    ful__step *steps;
    ful__instr *instrs;
    ful__tensor *tensors; /* 0: the input */
    ful__home *homes;
    int output; /* tensor */
    int dy, dx; /* tensors of the output's and the input's gradient, -1 when not wanted */
    size_t work_per_image, work_fixed, packed_bytes;
} ful__program;

/* The passes, in this order. A failure leaves a program that ful__program_deinit accepts. */
ful_status ful__program_fuse(ful__program *p) FUL_CHECK_RESULT;   /* graph -> steps and tensors, ops created */
ful_status ful__program_layout(ful__program *p) FUL_CHECK_RESULT; /* reorders where layouts disagree */
ful_status ful__program_plan(ful__program *p) FUL_CHECK_RESULT;   /* ops planned, backward built, homes placed */
void ful__program_deinit(ful__program *p);
const ful__program *ful__exec_program(const ful__exec *exec); /* borrowed: for tests of the plan */
ful_status ful__program_describe(const ful__program *p, char **text_out) FUL_CHECK_RESULT;

/* The rows of ful__exec_rows: which one is a pass of a step (step n_steps: the sums), -1 where the step has no such pass. */
int ful__program_n_rows(const ful__program *p);
int ful__program_row(const ful__program *p, int step, ful__exec_pass pass);
ful__exec_row ful__program_row_at(const ful__program *p, int row);

/* An unnamed tensor without home; there must be room (the passes count it beforehand). */
int ful__program_tensor(ful__program *p, ful_shape shape, ful__layout layout);
/* The step whose output step i reads but nobody keeps, so that i has it made again in backward; NULL: none. */
static inline const ful__step *ful__step_again(const ful__program *p, int i)
{
    const ful__step *s = &p->steps[i];
    return i > 0 && s[-1].y_again && s[-1].y == s->x[0] ? s - 1 : NULL;
}
static inline bool ful__step_folded(const ful__step *s)
{
    return s->fused.conv >= 0;
}

/*
 * Offsets for all arena homes, so that no two that are alive together overlap at any n. Largest first, each into the smallest
 * hole that takes it. Two homes that are alive together are ordered: below(u,v) means offset_per_image(u) + per_image(u) <=
 * offset_per_image(v) and the same for the fixed parts; so their ranges stay apart for every n, and each is 64-byte aligned.
 */
ful_status ful__place(ful__home *homes, int count, int n_max, size_t *per_image_out, size_t *fixed_out) FUL_CHECK_RESULT;

#endif
