/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opcheck grad: the fast op's gradients against central differences of the double reference. For f(x, w) = sum dy y(x, w) and
 * a direction d: (f(v + h d) - f(v - h d)) / 2h = <gradient, d>. Directions: random ones over each input, each parameter and
 * all together; single elements, all of them in small cases.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "ops/opcheck_rig.h"
#include "ops/ref.h"
#include <fulcrum/core.h>

enum { VARIABLES = FUL__X_MAX + CHECK_PARAMS, RANDOM_DIRECTIONS = 3 };

/* Of reference steps for the single elements of a case. */
static double budget(void)
{
    return check_quick() ? 4e6 : 3e7;
}

/* What f depends on: inputs, then trainable parameters; each with the fast op's gradient and a direction. */
typedef struct variable {
    const char *name;
    double *value, *direction;
    const float *gradient;
    const double *size; /* of the gradient, that tolerance is relative to */
    int64_t count;
} variable;

typedef struct problem {
    const check_suite *suite;
    const check_case *c;
    const ful__op *op;
    const check_inputs *in;
    int n, n_variables;
    variable v[VARIABLES];
    double *x[FUL__X_MAX], *w[CHECK_PARAMS], *y, *moved[VARIABLES], *moved_w[CHECK_PARAMS];
    double worst; /* difference / allowed */
} problem;

static double *doubles(const float *from, int64_t count)
{
    double *to = check_alloc((size_t)count * sizeof *to);
    for (int64_t i = 0; i < count; i++) to[i] = (double)from[i];
    return to;
}

/* f at v + h d; *size = sum |dy y|. The reference may move statistics, so it gets copies. */
static double f_at(problem *p, double h, double *size)
{
    const ful__op *op = p->op;
    ful__ref r = {.op = op, .attr = p->c->attr, .n = p->n, .train = true, .seed = 77, .step = 3, .y = p->y};
    for (int i = 0; i < p->n_variables; i++)
        for (int64_t j = 0; j < p->v[i].count; j++) p->moved[i][j] = p->v[i].value[j] + h * p->v[i].direction[j];
    for (int i = 0; i < op->n_x; i++) r.x[i] = p->moved[i];
    for (int i = 0, at = op->n_x; i < op->n_params; i++) {
        if (op->params[i].trainable)
            p->moved_w[i] = p->moved[at++];
        else
            memcpy(p->moved_w[i], p->w[i], (size_t)op->params[i].count * sizeof(double));
    }
    r.w = p->moved_w;
    ful__ref_find(op->type->name)->forward(&r);
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < p->n * ful__count(op->y); i++) {
        sum += (double)p->in->dy[i] * p->y[i];
        *size += fabs((double)p->in->dy[i] * p->y[i]);
    }
    return sum;
}

/* <gradient, d> agrees with the difference; a kink between two points is no error, so a second, smaller step may agree too. */
static bool agrees(problem *p, const char *what, int64_t element, char *why)
{
    const double tol = 2 * (p->c->tolerance > 0 ? p->c->tolerance : p->suite->tolerance), steps[] = {1e-5, 1e-7};
    double analytic = 0, size = 0, numeric = 0, allowed = 0;
    for (int i = 0; i < p->n_variables; i++)
        for (int64_t j = 0; j < p->v[i].count; j++) {
            analytic += (double)p->v[i].gradient[j] * p->v[i].direction[j];
            size += p->v[i].size[j] * fabs(p->v[i].direction[j]);
        }
    for (int s = 0; s < 2; s++) {
        double f_size;
        const double above = f_at(p, steps[s], &f_size), below = f_at(p, -steps[s], &f_size);
        numeric = (above - below) / (2 * steps[s]);
        allowed = tol * size + 2e-15 * f_size / steps[s] + 1e-9 * size;
        p->worst = fmax(p->worst, fabs(numeric - analytic) / allowed);
        if (fabs(numeric - analytic) <= allowed) return true;
    }
    snprintf(why, CHECK_WHY, "along %s (element %lld): gradient %.9g, central difference %.9g: off by %.3g, allowed %.3g", what,
             (long long)element, analytic, numeric, fabs(numeric - analytic), allowed);
    return false;
}

static void aim(variable *v, ful__stream s, uint64_t draw, bool zero)
{
    for (int64_t j = 0; j < v->count; j++) v->direction[j] = zero ? 0 : (double)ful__rng_normal(s, draw, (uint64_t)j);
}

static bool try_random(problem *p, char *why)
{
    const ful__stream s = ful__stream_make(21, "opcheck-direction", p->c->text);
    for (int only = -1; only < p->n_variables; only++)
        for (int k = 0; k < RANDOM_DIRECTIONS; k++) {
            for (int i = 0; i < p->n_variables; i++) aim(&p->v[i], s, (uint64_t)(k * VARIABLES + i), only >= 0 && i != only);
            if (!agrees(p, only < 0 ? "a random direction" : p->v[only].name, -1, why)) return false;
        }
    return true;
}

/* All elements where the reference is cheap, otherwise as many as the budget allows, spread over the variable. */
static bool try_elements(problem *p, char *why)
{
    int64_t count = 0;
    for (int i = 0; i < p->n_variables; i++) count += p->v[i].count;
    const double cost = 4.0 * (double)p->n *
                        (double)(p->op->cost.macs + 8 * ful__count(p->op->y) + 8 * ful__count(p->op->x[0]));
    const int64_t room = (int64_t)(budget() / cost), step = count <= room ? 1 : room < 1 ? count : 1 + count / room;
    for (int i = 0; i < p->n_variables; i++) memset(p->v[i].direction, 0, (size_t)p->v[i].count * sizeof(double));
    for (int i = 0; i < p->n_variables; i++)
        for (int64_t j = 0; j < p->v[i].count; j += step) {
            p->v[i].direction[j] = 1;
            const bool good = agrees(p, p->v[i].name, j, why);
            p->v[i].direction[j] = 0;
            if (!good) return false;
        }
    return true;
}

static void add_variable(problem *p, const char *name, const float *value, const float *gradient, const check_values *truth)
{
    variable *v = &p->v[p->n_variables];
    *v = (variable){.name = name, .count = truth->count, .size = truth->size, .gradient = gradient};
    v->value = doubles(value, v->count);
    v->direction = check_alloc((size_t)v->count * sizeof(double));
    p->moved[p->n_variables++] = check_alloc((size_t)v->count * sizeof(double));
}

static void problem_init(problem *p, const check_rig *rig, int n, const check_result *got, const check_truth *truth)
{
    static const char *const x_names[] = {"x[0]", "x[1]"};
    const ful__op *op = rig->op;
    *p = (problem){.suite = rig->suite, .c = rig->c, .op = op, .in = rig->in, .n = n};
    p->y = check_alloc((size_t)(n * ful__count(op->y)) * sizeof(double));
    for (int i = 0; i < op->n_x; i++) add_variable(p, x_names[i], rig->in->x[i], got->dx[i], &truth->dx[i]);
    for (int i = 0; i < op->n_params; i++) {
        if (op->params[i].trainable) {
            for (int64_t j = 0; j < op->params[i].count; j++) got->dw[i][j] -= rig->in->dw[i][j]; /* what backward added to */
            add_variable(p, op->params[i].name, rig->in->w[0][i], got->dw[i], &truth->dw[i]);
        } else {
            p->w[i] = doubles(rig->in->w[0][i], op->params[i].count);
            p->moved_w[i] = check_alloc((size_t)op->params[i].count * sizeof(double));
        }
    }
}

static void problem_deinit(problem *p)
{
    for (int i = 0; i < p->n_variables; i++) {
        free(p->v[i].value);
        free(p->v[i].direction);
        free(p->moved[i]);
    }
    for (int i = 0; i < p->op->n_params; i++) {
        if (p->w[i]) free(p->moved_w[i]);
        free(p->w[i]);
    }
    free(p->y);
}

static bool try_gradients(check_rig *rig, const check_knobs *k)
{
    check_result got;
    check_truth truth;
    problem p;
    check_result_init(&got, rig->c, rig->op);
    bool good = check_rig_run(rig, k, &got);
    if (good) {
        check_truth_init(&truth, rig->suite, rig->c, rig->op, rig->in, k);
        problem_init(&p, rig, k->n, &got, &truth);
        good = try_random(&p, rig->why) && try_elements(&p, rig->why);
        problem_deinit(&p);
        check_truth_deinit(&truth);
    }
    check_result_deinit(&got, rig->op);
    return good;
}

bool check_grad(const check_suite *suite, const check_case *c)
{
    check_level levels[3];
    ful__layout offers[4][FUL__X_MAX] = {{0}};
    check_inputs in;
    ful__op *op = NULL;
    bool good = true;
    (void)check_levels(levels);
    ful_cpu_mask_set(levels[0].mask);
    if (suite->type->create("the.op", c->attr, c->x, c->n_x, &op) != FUL_OK) {
        check_say("FAILED %s (%s): %s\n", suite->name, c->text, ful_error_message());
        return false;
    }
    check_inputs_init(&in, c, op);
    suite->type->destroy(op);
    const int count = check_offers(c, offers);
    for (int i = 0; i < count && good; i++) {
        check_knobs k = {.mask = levels[0].mask, .train = true, .threads = 1, .n = c->n_max < 3 ? c->n_max : 3};
        k.y_over = k.dx_over = CHECK_NONE;
        memcpy(k.offer, offers[i], sizeof k.offer);
        check_rig rig;
        good = check_rig_init(&rig, suite, c, &in, &k) && try_gradients(&rig, &k);
        if (!good) {
            char text[640];
            check_knobs_text(&rig, &k, text, sizeof text);
            check_say("FAILED %s\n       %s\n", text, rig.why);
        }
        check_rig_deinit(&rig);
    }
    check_inputs_deinit(&in);
    return good;
}
