/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of one step: ops planned, backward written down, tensors given homes, homes placed.
 *
 * Gradients: the first consumer (in backward order) of a value gives its gradient, each further one is added to it; an op that
 * takes its dy as two summands gets the last addition for nothing, and one that adds to its dx makes it. A residual `add` gives
 * both inputs the very tensor of its output's gradient: no copy, no instruction. Since a tensor is written once and only taken
 * over in place when nobody reads it later, sharing is safe by construction.
 *
 * Maps: where a convolution goes map by map, it does the halves of batch-norm beside it that fall on the same tensor (op.h).
 * What such a half reads and writes it does at the time of the convolution, and so the lifetimes have it.
 */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "graph/program.h"

int ful__program_tensor(ful__program *p, ful_shape shape, ful__layout layout)
{
    p->tensors[p->n_tensors] = (ful__tensor){.shape = shape, .layout = layout, .home = -1};
    return p->n_tensors++;
}

/* Ops ------------------------------------------------------------------------------------------------------------------- */

static ful_status plan_ops(ful__program *p)
{
    size_t packed = 0;
    for (int i = 0; i < p->n_steps; i++) {
        ful__step *s = &p->steps[i];
        s->op->n_likely = p->spec.n_likely;
        FUL_TRY(s->op->type->plan(s->op, p->spec.n_max, p->spec.train));
        if (ful__step_folded(s)) {
            s->folded_offset = packed;
            for (int k = 0; k < s->op->n_params; k++) packed += ful__align64((size_t)s->op->params[k].count * sizeof(float));
        }
        const size_t bytes = ful__align64(s->op->need.packed);
        s->packed_offset = p->spec.fresh ? 0 : packed;
        packed = p->spec.fresh ? (bytes > packed ? bytes : packed) : packed + bytes;
    }
    p->packed_bytes = packed;
    return FUL_OK;
}

/* Backward --------------------------------------------------------------------------------------------------------------- */

typedef struct backward {
    ful__program *p;
    bool *wanted;  /* by tensor: something trainable, or the wanted input gradient, lies upstream */
    bool *two;     /* by tensor: the step that made it takes its gradient as two summands */
    int *gradient; /* by tensor: its gradient so far, -1 */
    int *more;     /* by tensor: the second summand, -1 */
} backward;

static bool fusing(const ful__program *p)
{
    return !(p->spec.off & FUL__EXEC_NO_FUSE);
}

static bool trains(const ful__step *s)
{
    for (int i = 0; i < s->op->n_params; i++)
        if (s->op->params[i].trainable) return true;
    return false;
}

static bool same_bytes(const ful__tensor *a, const ful__tensor *b)
{
    return ful__count(a->shape) == ful__count(b->shape) &&
           (a->layout == b->layout || (a->shape.h * a->shape.w == 1 && b->shape.h * b->shape.w == 1));
}

static ful__instr *instruct(ful__program *p, int step, int a, int b, int c)
{
    p->instrs[p->n_instrs] = (ful__instr){step, a, b, c};
    return &p->instrs[p->n_instrs++];
}

static int like(ful__program *p, int t)
{
    return ful__program_tensor(p, p->tensors[t].shape, p->tensors[t].layout);
}

/* One more summand g of the gradient of tensor t. */
static void contribute(backward *b, int t, int g)
{
    if (b->gradient[t] >= 0 && b->two[t] && b->more[t] < 0) {
        b->more[t] = g;
        return;
    }
    if (b->gradient[t] >= 0) {
        const int sum = like(b->p, t);
        instruct(b->p, -1, b->gradient[t], g, sum);
        g = sum;
    }
    b->gradient[t] = g;
}

static bool passes_through(const ful__program *p, const ful__step *s)
{
    if (s->op->type != &ful__op_add || (p->spec.off & FUL__EXEC_NO_REUSE)) return false;
    return same_bytes(&p->tensors[s->x[0]], &p->tensors[s->y]) && same_bytes(&p->tensors[s->x[1]], &p->tensors[s->y]);
}

/* Whether step s adds the gradient that its input has so far to its own. */
static bool adds_up(const backward *b, const ful__step *s)
{
    const int t = s->x[0];
    return fusing(b->p) && s->op->need.adds_dx && b->gradient[t] >= 0 && !(b->two[t] && b->more[t] < 0);
}

static void step_back(backward *b, int i)
{
    ful__program *p = b->p;
    ful__step *s = &p->steps[i];
    const int dy = b->gradient[s->y];
    if (passes_through(p, s)) {
        for (int k = 0; k < s->op->n_x; k++)
            if (b->wanted[s->x[k]]) contribute(b, s->x[k], dy);
        return;
    }
    s->dy = dy;
    s->dy_more = b->more[s->y];
    instruct(p, i, -1, -1, -1);
    for (int k = 0; k < s->op->n_x; k++)
        if (b->wanted[s->x[k]]) s->dx[k] = like(p, s->x[k]);
    for (int k = 0; k < s->op->n_x; k++) {
        if (s->dx[k] < 0) continue;
        if (k == 0 && adds_up(b, s)) {
            s->dx_more = b->gradient[s->x[0]];
            b->gradient[s->x[0]] = s->dx[0];
        } else {
            contribute(b, s->x[k], s->dx[k]);
        }
    }
}

static ful_status plan_backward(ful__program *p)
{
    backward b = {.p = p};
    const int forward = p->n_tensors;
    for (int i = 0; i < p->n_steps; i++)
        p->steps[i].dy = p->steps[i].dy_more = p->steps[i].dx_more = p->steps[i].dx[0] = p->steps[i].dx[1] = -1;
    p->dy = p->dx = -1;
    if (!p->spec.train) return FUL_OK;
    FUL_TRY(ful__calloc(&p->instrs, 1 + 3 * (size_t)p->n_steps, sizeof *p->instrs, "the backward instructions"));
    FUL_TRY(ful__calloc(&b.wanted, (size_t)forward, sizeof *b.wanted, "the backward plan"));
    ful_status status = ful__calloc(&b.gradient, (size_t)forward, sizeof *b.gradient, "the backward plan");
    if (status == FUL_OK) status = ful__calloc(&b.more, (size_t)forward, sizeof *b.more, "the backward plan");
    if (status == FUL_OK) status = ful__calloc(&b.two, (size_t)forward, sizeof *b.two, "the backward plan");
    if (status == FUL_OK) {
        for (int t = 0; t < forward; t++) b.gradient[t] = b.more[t] = -1;
        for (int i = 0; i < p->n_steps && fusing(p); i++) b.two[p->steps[i].y] = p->steps[i].op->need.backward_two;
        b.wanted[0] = p->spec.need_dx;
        for (int i = 0; i < p->n_steps; i++) {
            const ful__step *s = &p->steps[i];
            b.wanted[s->y] = trains(s) || b.wanted[s->x[0]] || (s->op->n_x > 1 && b.wanted[s->x[1]]);
        }
        p->dy = b.gradient[p->output] = like(p, p->output);
        for (int i = p->n_steps - 1; i >= 0; i--)
            if (b.wanted[p->steps[i].y]) step_back(&b, i);
        if (p->spec.need_dx) {
            p->dx = b.gradient[0];
            if (p->dx == p->dy) { /* dy itself: the caller's dx must still be written */
                p->dx = like(p, 0);
                instruct(p, -1, p->dy, -1, p->dx);
            }
        }
    }
    ful__free(b.wanted);
    ful__free(b.gradient);
    ful__free(b.more);
    ful__free(b.two);
    return status;
}

/* Maps ------------------------------------------------------------------------------------------------------------------- */

static bool in_maps(const ful__tensor *t)
{
    return t->layout == FUL__BLOCKED && t->shape.h * t->shape.w > 1;
}

/* How many operands of forward tensor t is; the output counts as one. */
static int readers(const ful__program *p, int t)
{
    int count = t == p->output;
    for (int i = 0; i < p->n_steps; i++)
        for (int k = 0; k < p->steps[i].op->n_x; k++) count += p->steps[i].x[k] == t;
    return count;
}

/* Whether what step s leaves to the next to make need not be kept: backward, too, gets along with its maps made again. */
static bool made_again(const ful__program *p, const ful__step *s, const ful__step *next)
{
    return s->y_left && next->op->need.again && s->op->n_x == 1 && !s->op->need.backward_y && readers(p, s->y) == 1;
}

/* Links each step that goes map by map with the ones before and after it. */
static void link_maps(ful__program *p)
{
    for (int i = 0; i < p->n_steps; i++) {
        ful__step *s = &p->steps[i];
        if (!s->op->need.maps) continue;
        ful__step *before = i > 0 ? s - 1 : NULL, *after = i + 1 < p->n_steps ? s + 1 : NULL;
        if (before && before->op->type->make_y && before->y == s->x[0]) {
            before->y_left = in_maps(&p->tensors[s->x[0]]);
            before->y_again = made_again(p, before, s);
        }
        if (after && after->op->type->sum_x && after->x[0] == s->y) after->x_summed = in_maps(&p->tensors[s->y]);
    }
    for (int j = 0; j < p->n_instrs; j++) {
        const int i = p->instrs[j].step;
        if (i < 0 || !p->steps[i].op->need.maps) continue;
        const ful__step *s = &p->steps[i];
        const int first = j > 0 ? p->instrs[j - 1].step : -1, next = j + 1 < p->n_instrs ? p->instrs[j + 1].step : -1;
        ful__step *after = first >= 0 ? &p->steps[first] : NULL, *before = next >= 0 ? &p->steps[next] : NULL;
        if (after && after->op->type->make_dx && after->dx[0] == s->dy) after->dx_left = in_maps(&p->tensors[s->y]);
        if (!before || !before->op->type->sum_dy || s->dx[0] < 0 || !in_maps(&p->tensors[s->x[0]])) continue;
        if (before->dy_more == s->dx[0]) { /* what sum_dy finds near is dy */
            before->dy_more = before->dy;
            before->dy = s->dx[0];
        }
        before->dy_summed = before->dy == s->dx[0];
    }
}

/* Liveness -------------------------------------------------------------------------------------------------------------- */

static void reads(ful__program *p, int t, int time)
{
    ful__tensor *x = &p->tensors[t];
    if (x->last == time)
        x->last_reads++;
    else
        x->last_reads = 1;
    x->last = time; /* times only rise */
}

static void writes(ful__program *p, int t, int time)
{
    p->tensors[t].first = p->tensors[t].last = time;
    p->tensors[t].last_reads = 0;
}

static void find_lifetimes(ful__program *p)
{
    for (int i = 0; i < p->n_steps; i++) {
        const ful__step *s = &p->steps[i];
        const int time = i + s->y_left;
        for (int k = 0; k < s->op->n_x; k++) reads(p, s->x[k], time);
        writes(p, s->y, time);
    }
    for (int j = 0; j < p->n_instrs; j++) {
        const ful__instr *in = &p->instrs[j];
        const int time = p->n_steps + j;
        if (in->step < 0) {
            reads(p, in->a, time);
            if (in->b >= 0) reads(p, in->b, time);
            writes(p, in->c, time);
            continue;
        }
        const ful__step *s = &p->steps[in->step];
        const int made = time + s->dx_left; /* when dx[0] is */
        reads(p, s->dy, made);
        if (s->dy_more >= 0) reads(p, s->dy_more, made);
        if (s->dx_more >= 0) reads(p, s->dx_more, made);
        const ful__step *again = ful__step_again(p, in->step);
        if (again) reads(p, again->x[0], time);
        for (int k = 0; k < s->op->n_x; k++)
            if (s->op->need.backward_x >> k & 1u) reads(p, s->x[k], made);
        if (s->op->need.backward_y) reads(p, s->y, made);
        if (s->dx[0] >= 0) writes(p, s->dx[0], made);
        if (s->dx[1] >= 0) writes(p, s->dx[1], time - s->dy_summed);
        if (s->dx[1] >= 0 && s->dx_left) reads(p, s->dx[1], made);
    }
    /* What the caller gets is read after the last instruction. */
    const int end = p->n_steps + p->n_instrs;
    reads(p, p->output, end);
    if (p->dx >= 0) reads(p, p->dx, end);
}

/* Homes ------------------------------------------------------------------------------------------------------------------ */

static int add_home(ful__program *p, ful__base base, size_t per_image, size_t fixed, int first, int last)
{
    p->homes[p->n_homes] = (ful__home){
        .base = base, .per_image = ful__align64(per_image), .fixed = ful__align64(fixed), .first = first, .last = last};
    return p->n_homes++;
}

static void new_home(ful__program *p, int t)
{
    ful__tensor *x = &p->tensors[t];
    x->home = add_home(p, FUL__BASE_WORK, (size_t)ful__count(x->shape) * sizeof(float), 0, x->first, x->last);
}

/* Lets tensor `out`, written at `time`, take over the home of `in`, if that is the last use of `in`. */
static bool take_home(ful__program *p, int out, int in, int time)
{
    ful__tensor *x = &p->tensors[in], *y = &p->tensors[out];
    if (x->home < 0) return false;
    ful__home *h = &p->homes[x->home];
    if ((p->spec.off & FUL__EXEC_NO_REUSE) || h->base != FUL__BASE_WORK || x->last != time || x->last_reads != 1 ||
        ful__count(x->shape) != ful__count(y->shape))
        return false;
    if (y->home >= 0) h->base = p->homes[y->home].base; /* the chain that ends in the caller's buffer lives there */
    y->home = x->home;
    if (y->last > h->last) h->last = y->last;
    return true;
}

/* A home for tensor `out`: in place of one of the candidates, else its own. */
static void settle(ful__program *p, int out, int in_first, int in_second, int time)
{
    if (in_first >= 0 && take_home(p, out, in_first, time)) return;
    if (in_second >= 0 && take_home(p, out, in_second, time)) return;
    if (p->tensors[out].home < 0) new_home(p, out);
}

static void settle_forward(ful__program *p, int i)
{
    ful__step *s = &p->steps[i];
    const ful__need *need = &s->op->need;
    const bool either = s->op->type == &ful__op_add; /* elementwise and symmetric */
    if (!s->y_again)
        settle(p, s->y, need->inplace || either ? s->x[0] : -1, s->op->n_x > 1 && (need->inplace_1 || either) ? s->x[1] : -1,
               i + s->y_left);
    s->saved = s->scratch = s->scratch_back = -1;
    if (p->spec.train && need->saved_per_image + need->saved_fixed > 0)
        s->saved = add_home(p, FUL__BASE_WORK, need->saved_per_image, need->saved_fixed, i, i);
    if (need->scratch_per_image + need->scratch_fixed > 0)
        s->scratch = add_home(p, FUL__BASE_WORK, need->scratch_per_image, need->scratch_fixed, i - s->x_summed, i + s->y_left);
}

static void settle_backward(ful__program *p, int j)
{
    const ful__instr *in = &p->instrs[j];
    const int time = p->n_steps + j;
    if (in->step < 0) { /* b is the younger summand: the one more likely still in the cache */
        settle(p, in->c, in->b, in->a, time);
        return;
    }
    ful__step *s = &p->steps[in->step];
    const ful__need *need = &s->op->need;
    const int made = time + s->dx_left;
    if (s->dx[1] >= 0) settle(p, s->dx[1], need->inplace_dx_1 ? s->dy : -1, -1, made);
    /* dy may be given away once: to dx[0] only if dx[1] did not take it. */
    const bool given = s->dx[1] >= 0 && p->tensors[s->dx[1]].home == p->tensors[s->dy].home;
    if (s->dx[0] >= 0) settle(p, s->dx[0], need->inplace_dx && !given ? s->dy : -1, s->dx_more, made);
    if (s->saved >= 0) p->homes[s->saved].last = made;
    const ful__step *again = ful__step_again(p, in->step);
    if (again && again->saved >= 0) p->homes[again->saved].last = time; /* its own backward, if any, comes later */
    if (need->scratch_per_image + need->scratch_fixed > 0)
        s->scratch_back = add_home(p, FUL__BASE_WORK, need->scratch_per_image, need->scratch_fixed, time - s->dy_summed, made);
}

static ful_status plan_homes(ful__program *p)
{
    const int end = p->n_steps + p->n_instrs;
    FUL_TRY(ful__calloc(&p->homes, (size_t)p->n_tensors + 3 * (size_t)p->n_steps + 4, sizeof *p->homes,
                        "the buffers of an executor"));
    p->tensors[0].home = add_home(p, FUL__BASE_X, 0, 0, 0, end);
    p->tensors[p->output].home = add_home(p, FUL__BASE_Y, 0, 0, 0, end);
    if (p->dy >= 0) p->tensors[p->dy].home = add_home(p, FUL__BASE_DY, 0, 0, 0, end);
    if (p->dx >= 0) p->tensors[p->dx].home = add_home(p, FUL__BASE_DX, 0, 0, 0, end);
    for (int i = 0; i < p->n_steps; i++) settle_forward(p, i);
    for (int j = 0; j < p->n_instrs; j++) settle_backward(p, j);
    if (p->spec.off & FUL__EXEC_NO_REUSE)
        for (int i = 0; i < p->n_homes; i++) {
            p->homes[i].first = 0;
            p->homes[i].last = end;
        }
    return ful__place(p->homes, p->n_homes, p->spec.n_max, &p->work_per_image, &p->work_fixed);
}

ful_status ful__program_plan(ful__program *p)
{
    FUL_TRY(plan_ops(p));
    FUL_TRY(plan_backward(p));
    if (p->spec.train && fusing(p)) link_maps(p);
    find_lifetimes(p);
    return plan_homes(p);
}
