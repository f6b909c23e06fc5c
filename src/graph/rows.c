/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a program can be timed, and what each of it must do at least. A step has FORWARD and, in training, either BACKWARD or
 * DW and DX; the rows lie at step * ROWS_A_STEP + slot, some of them unused: finding a row costs nothing.
 */
#include "graph/program.h"

enum { SLOT_FORWARD, SLOT_BACKWARD, SLOT_DX, ROWS_A_STEP };

/* Convolutions and linear layers make either gradient without the other (dx NULL, dw NULL). */
static bool splits(const ful__step *s)
{
    return s->op->type == &ful__op_conv2d || s->op->type == &ful__op_linear;
}

int ful__program_n_rows(const ful__program *p)
{
    return p->n_steps * ROWS_A_STEP + 1;
}

int ful__program_row(const ful__program *p, int step, ful__exec_pass pass)
{
    const int row = step * ROWS_A_STEP;
    if (pass == FUL__PASS_SUM) return p->n_steps * ROWS_A_STEP;
    if (pass == FUL__PASS_FORWARD) return row + SLOT_FORWARD;
    const ful__step *s = &p->steps[step];
    if (s->dy < 0) return -1;
    if (pass == FUL__PASS_BACKWARD) return splits(s) ? -1 : row + SLOT_BACKWARD;
    if (!splits(s)) return -1;
    if (pass == FUL__PASS_DW) return row + SLOT_BACKWARD;
    return s->dx[0] >= 0 ? row + SLOT_DX : -1;
}

static int64_t weights_of(const ful__op *op)
{
    int64_t count = 0;
    for (int i = 0; i < op->n_params; i++) count += op->params[i].count;
    return count;
}

/* Each tensor read or written once: forward x, y; backward dy, what it reads of x and y, dx. Weights are read, their gradients
 * added to. */
static void count_floats(const ful__step *s, ful__exec_row *row)
{
    const ful__op *op = s->op;
    const bool forward = row->pass == FUL__PASS_FORWARD, wants_x = forward || row->pass != FUL__PASS_DX;
    row->floats = ful__count(op->y) * (!forward && op->need.backward_y ? 2 : 1);
    if (!forward && s->dy_more >= 0) row->floats += ful__count(op->y);
    for (int k = 0; k < op->n_x; k++) {
        if (wants_x && (forward || op->need.backward_x & 1u << k)) row->floats += ful__count(op->x[k]);
        if (!forward && row->pass != FUL__PASS_DW && s->dx[k] >= 0) row->floats += ful__count(op->x[k]);
    }
    row->floats_fixed = weights_of(op) * (row->pass == FUL__PASS_BACKWARD ? 3 : row->pass == FUL__PASS_DW ? 2 : 1);
}

ful__exec_row ful__program_row_at(const ful__program *p, int row)
{
    static const ful__exec_pass passes[2][ROWS_A_STEP] = {{FUL__PASS_FORWARD, FUL__PASS_BACKWARD, FUL__PASS_BACKWARD},
                                                          {FUL__PASS_FORWARD, FUL__PASS_DW, FUL__PASS_DX}};
    if (row == p->n_steps * ROWS_A_STEP) return (ful__exec_row){.pass = FUL__PASS_SUM};
    const ful__step *s = &p->steps[row / ROWS_A_STEP];
    ful__exec_row out = {.op = s->op, .pass = passes[splits(s)][row % ROWS_A_STEP]};
    if (ful__program_row(p, row / ROWS_A_STEP, out.pass) != row) return (ful__exec_row){.pass = out.pass}; /* unused */
    const bool both = out.pass == FUL__PASS_BACKWARD;
    out.macs = s->op->cost.macs * (both ? 2 : 1);
    count_floats(s, &out);
    return out;
}
