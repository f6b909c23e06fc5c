/* SPDX-License-Identifier: Apache-2.0 */
/* The plan as a table: one line a step, then the totals. */
#include <stdio.h>
#include <string.h>

#include "core/str.h"
#include "graph/program.h"
#include "ops/act_math.h"

static const char *base_name(ful__base base)
{
    static const char *const names[FUL__BASES] = {"work", "x", "y", "dy", "dx"};
    return names[base];
}

static const char *layout_name(const ful__tensor *t)
{
    return t->shape.h == 1 && t->shape.w == 1 ? "vector" : t->layout == FUL__BLOCKED ? "blocked" : "nhwc";
}

static void add_act(ful__str *s, ful_act act)
{
    if (act != FUL_ACT_NONE) ful__str_addf(s, "+%s", ful__act_names[act]);
}

/* "conv+bn+add+relu" */
static void add_fusion(ful__str *s, const ful__step *step)
{
    const ful__fused *f = &step->fused;
    if (f->linear >= 0) {
        ful__str_add(s, "linear+attention");
        return;
    }
    if (f->norm < 0 || (f->conv < 0 && f->add < 0 && f->act < 0)) {
        ful__str_add(s, "-");
        return;
    }
    if (f->depthwise >= 0) {
        ful__str_add(s, "conv+bn");
        add_act(s, f->depthwise_act);
        ful__str_add(s, "+");
    }
    ful__str_addf(s, "%sbn%s", f->conv >= 0 ? "conv+" : "", f->add >= 0 ? "+add" : "");
    add_act(s, f->act_kind);
}

/* Where forward writes: the caller's buffer, or its place in the arena for one image ("work+a*n+b"); "=x" where in place. */
static void add_home(ful__str *s, const ful__program *p, const ful__step *step)
{
    const int home = p->tensors[step->y].home;
    char text[64];
    bool in_place = false;
    if (home < 0) {
        ful__str_addf(s, " %-22s", "not kept");
        return;
    }
    const ful__home *h = &p->homes[home];
    for (int k = 0; k < step->op->n_x; k++) in_place |= p->tensors[step->x[k]].home == p->tensors[step->y].home;
    if (h->base == FUL__BASE_WORK)
        snprintf(text, sizeof text, "%zu*n+%zu%s", h->offset_per_image, h->offset_fixed, in_place ? " =x" : "");
    else
        snprintf(text, sizeof text, "%s%s", base_name(h->base), in_place ? " =x" : "");
    ful__str_addf(s, " %-22s", text);
}

static double kib(size_t bytes)
{
    return (double)bytes / 1024;
}

static void add_line(ful__str *s, const ful__program *p, const ful__step *step)
{
    const ful__tensor *y = &p->tensors[step->y];
    const ful__home *saved = step->saved >= 0 ? &p->homes[step->saved] : NULL;
    char shape[40];
    snprintf(shape, sizeof shape, "%d x %d x %d", y->shape.h, y->shape.w, y->shape.c);
    ful__str_addf(s, "%-24s %-18s %-16s %-8s", step->node < 0 ? "" : step->op->name, step->op->type->name, shape,
                  layout_name(y));
    add_home(s, p, step);
    ful__str_addf(s, " %9.1f %9.1f %9.1f %9.1f  ", kib((size_t)ful__count(y->shape) * sizeof(float)),
                  saved ? kib(saved->per_image) : 0.0, kib(step->op->need.scratch_per_image + step->op->need.scratch_fixed),
                  kib(step->op->need.packed));
    add_fusion(s, step);
    ful__str_add(s, "\n");
}

ful_status ful__program_describe(const ful__program *p, char **text_out)
{
    ful__str s = {0};
    size_t separate = 0;
    for (int i = 0; i < p->n_homes; i++)
        if (p->homes[i].base == FUL__BASE_WORK) separate += p->homes[i].per_image;
    ful__str_addf(&s, "%-24s %-18s %-16s %-8s %-22s %9s %9s %9s %9s  %s\n", "name", "op", "output", "layout", "at", "out KiB",
                  "saved KiB", "scratch", "packed", "fused");
    for (int i = 0; i < p->n_steps; i++) add_line(&s, p, &p->steps[i]);
    ful__str_addf(&s,
                  "%s for up to %d images: %d ops, %d backward instructions; work %.1f KiB an image (%.1f without sharing) + "
                  "%.1f KiB, packed %.1f KiB\n",
                  p->spec.train ? "training" : "inference", p->spec.n_max, p->n_steps, p->n_instrs, kib(p->work_per_image),
                  kib(separate), kib(p->work_fixed), kib(p->packed_bytes));
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK)
        *text_out = ful__str_take(&s);
    else
        ful__str_deinit(&s);
    return status;
}
