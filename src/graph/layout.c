/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts, greedily in execution order: each op is offered the layouts its inputs already have and says what it demands. Where
 * that differs, one reorder serves all later readers of the value. Images of 1 x 1 have the same bytes in every layout.
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "graph/program.h"

typedef struct chooser {
    ful__program *p;
    ful__step *steps; /* the new list */
    int n_steps;
    int *other; /* by tensor: the same value in the other layout, -1 if not made yet */
} chooser;

/* Tensor t in the layout wanted: itself, or the output of a reorder step. */
static ful_status in_layout(chooser *c, int t, ful__layout want, int *out)
{
    ful__program *p = c->p;
    const ful_shape shape = p->tensors[t].shape;
    *out = t;
    if (p->tensors[t].layout == want || (shape.h == 1 && shape.w == 1)) return FUL_OK;
    if (c->other[t] < 0) {
        ful__step *step = &c->steps[c->n_steps];
        memset(step, 0, sizeof *step);
        char name[FUL__OP_NAME_MAX];
        snprintf(name, sizeof name, "reorder.%d", t);
        FUL_TRY(ful__op_reorder.create(name, &want, &shape, 1, &step->op));
        c->n_steps++;
        step->op->x_layout[0] = p->tensors[t].layout;
        step->op->y_layout = want;
        step->op->type->layouts(step->op);
        step->node = -1;
        step->fused = ful__nothing_fused;
        step->x[0] = t;
        step->y = c->other[t] = ful__program_tensor(p, shape, want);
        c->other[step->y] = t;
    }
    *out = c->other[t];
    return FUL_OK;
}

/* Moves step s to the new list, with reorders before it. */
static ful_status choose(chooser *c, ful__step *s)
{
    ful__op *op = s->op;
    for (int k = 0; k < op->n_x; k++) op->x_layout[k] = c->p->tensors[s->x[k]].layout;
    op->type->layouts(op);
    for (int k = 0; k < op->n_x; k++) FUL_TRY(in_layout(c, s->x[k], op->x_layout[k], &s->x[k]));
    c->p->tensors[s->y].layout = op->y_layout;
    c->steps[c->n_steps++] = *s;
    s->op = NULL; /* moved */
    return FUL_OK;
}

ful_status ful__program_layout(ful__program *p)
{
    chooser c = {.p = p};
    const int room = 1 + p->n_steps * (1 + FUL__X_MAX), tensors = p->n_tensors + room;
    FUL_TRY(ful__calloc(&c.steps, (size_t)room, sizeof *c.steps, "the steps of an executor"));
    ful_status status = ful__calloc(&c.other, (size_t)tensors, sizeof *c.other, "the layout pass");
    for (int t = 0; t < tensors && status == FUL_OK; t++) c.other[t] = -1;
    for (int i = 0; i < p->n_steps && status == FUL_OK; i++) status = choose(&c, &p->steps[i]);
    if (status == FUL_OK) status = in_layout(&c, p->output, p->spec.y_layout, &p->output);

    for (int i = 0; i < p->n_steps; i++) /* those not moved, after a failure */
        if (p->steps[i].op) p->steps[i].op->type->destroy(p->steps[i].op);
    ful__free(p->steps);
    ful__free(c.other);
    p->steps = c.steps;
    p->n_steps = c.n_steps;
    return status;
}
