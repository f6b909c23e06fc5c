/* SPDX-License-Identifier: Apache-2.0 */
/* What an op should give: the double reference on the same inputs, the magnitudes that errors are relative to, comparing. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/opcheck_rig.h"
#include "ops/ref.h"

/* The reference's own arrays -------------------------------------------------------------------------------------------- */

typedef struct arrays {
    double *x[FUL__X_MAX], *y, *dy, *dx[FUL__X_MAX], *w[CHECK_PARAMS], *dw[CHECK_PARAMS];
    uint32_t *row;
} arrays;

static double *take(const float *from, int64_t count, bool absolute)
{
    double *to = check_alloc((size_t)count * sizeof *to);
    for (int64_t i = 0; from && i < count; i++) to[i] = absolute ? fabs((double)from[i]) : (double)from[i];
    return to;
}

static double *take_images(const float *from, ful_shape s, const check_case *c, const check_knobs *k, bool absolute)
{
    const int64_t per_image = ful__count(s);
    double *to = check_alloc((size_t)(k->n * per_image) * sizeof *to);
    for (int64_t i = 0; i < k->n * per_image; i++) {
        const double v = (double)from[(k->first + i / per_image) % c->n_max * per_image + i % per_image];
        to[i] = absolute ? fabs(v) : v;
    }
    return to;
}

/* Which inputs are taken as absolute values. */
typedef enum absolute { AS_THEY_ARE, ABSOLUTE_DY, ABSOLUTE_ALL } absolute;

static void run_reference(arrays *a, const check_case *c, const ful__op *op, const check_inputs *in, const check_knobs *k,
                          absolute which)
{
    const bool all = which == ABSOLUTE_ALL;
    const ful__ref_entry *entry = ful__ref_find(op->type->name);
    *a = (arrays){.y = take(NULL, k->n * ful__count(op->y), false),
                  .dy = take_images(in->dy, op->y, c, k, which != AS_THEY_ARE)};
    ful__ref r = {.op = op, .attr = c->attr, .n = k->n, .train = k->train, .seed = 77, .step = 3, .y = a->y, .dy = a->dy};
    r.row = k->rows ? in->row : NULL;
    for (int i = 0; i < op->n_x; i++) {
        r.x[i] = a->x[i] = take_images(in->x[i], op->x[i], c, k, all);
        r.dx[i] = a->dx[i] = take(NULL, k->n * ful__count(op->x[i]), false);
    }
    for (int i = 0; i < op->n_params; i++) {
        a->w[i] = take(in->w[k->set][i], op->params[i].count, all);
        a->dw[i] = take(in->dw[i], op->params[i].count, which != AS_THEY_ARE);
    }
    r.w = a->w;
    r.dw = a->dw;
    entry->forward(&r);
    if (k->train && entry->backward) entry->backward(&r);
}

static void release(arrays *a)
{
    for (int i = 0; i < FUL__X_MAX; i++) {
        free(a->x[i]);
        free(a->dx[i]);
    }
    for (int i = 0; i < CHECK_PARAMS; i++) {
        free(a->w[i]);
        free(a->dw[i]);
    }
    free(a->y);
    free(a->dy);
}

/* Values and magnitudes ------------------------------------------------------------------------------------------------- */

/* at_least: magnitudes known otherwise (SUM: the array of the reference run on absolute values), or NULL. */
static check_values judge(check_magnitude how, const double *value, const double *at_least, int64_t count)
{
    check_values v = {check_alloc((size_t)count * sizeof(double)), check_alloc((size_t)count * sizeof(double)), count};
    double range = 0;
    for (int64_t i = 0; i < count; i++) range = isfinite(value[i]) ? fmax(range, fabs(value[i])) : range;
    for (int64_t i = 0; i < count; i++) {
        v.value[i] = value[i];
        v.size[i] = how == CHECK_RANGE ? range : fmax(fabs(value[i]), at_least ? fabs(at_least[i]) : 1e-30);
    }
    return v;
}

void check_truth_init(check_truth *t, const check_suite *suite, const check_case *c, const ful__op *op, const check_inputs *in,
                      const check_knobs *k)
{
    const bool sums = suite->magnitude == CHECK_SUM;
    arrays a, b = {0}, d = {0};
    *t = (check_truth){0};
    run_reference(&a, c, op, in, k, AS_THEY_ARE);
    if (sums) run_reference(&b, c, op, in, k, ABSOLUTE_ALL);
    if (suite->selects) run_reference(&d, c, op, in, k, ABSOLUTE_DY);
    t->y = judge(suite->magnitude, a.y, b.y, k->n * ful__count(op->y));
    for (int i = 0; i < op->n_x; i++) {
        const double *at_least = suite->magnitude == CHECK_VALUE ? a.dy : suite->selects ? d.dx[i] : b.dx[i];
        t->dx[i] = judge(suite->magnitude, a.dx[i], at_least, k->n * ful__count(op->x[i]));
    }
    for (int i = 0; i < op->n_params; i++) {
        t->w[i] = judge(suite->magnitude, a.w[i], b.w[i], op->params[i].count);
        t->dw[i] = judge(suite->magnitude, a.dw[i], b.dw[i], op->params[i].count);
    }
    release(&a);
    release(&b);
    release(&d);
}

static void values_deinit(check_values *v)
{
    free(v->value);
    free(v->size);
}

void check_truth_deinit(check_truth *t)
{
    values_deinit(&t->y);
    for (int i = 0; i < FUL__X_MAX; i++) values_deinit(&t->dx[i]);
    for (int i = 0; i < CHECK_PARAMS; i++) {
        values_deinit(&t->w[i]);
        values_deinit(&t->dw[i]);
    }
    *t = (check_truth){0};
}

/* Comparing ------------------------------------------------------------------------------------------------------------- */

static void place(char *text, size_t bytes, const char *what, ful_shape s, int64_t i)
{
    if (s.h == 0)
        snprintf(text, bytes, "%s[%lld]", what, (long long)i);
    else
        snprintf(text, bytes, "%s[image %lld (%lld,%lld) channel %lld]", what, (long long)(i / ful__count(s)),
                 (long long)(i / s.c / s.w % s.h), (long long)(i / s.c % s.w), (long long)(i % s.c));
}

static bool near(float got, double want, double allowed)
{
    if (isnan(want)) return isnan(got);
    if (fabs(want) > (double)FLT_MAX) return isinf(got) && (got > 0) == (want > 0);
    return fabs((double)got - want) <= allowed;
}

/* Near 0 a float is at best half a denormal off. */
bool check_close(const char *what, const float *got, const check_values *want, double tolerance, ful_shape s, char *why)
{
    for (int64_t i = 0; i < want->count; i++) {
        const double allowed = tolerance * want->size[i] + 0x1p-149;
        if (near(got[i], want->value[i], allowed)) continue;
        char at[128];
        place(at, sizeof at, what, s, i);
        snprintf(why, CHECK_WHY, "%s is %.9g, the reference %.9g: off by %.3g, allowed %.3g", at, (double)got[i],
                 want->value[i], fabs((double)got[i] - want->value[i]), allowed);
        return false;
    }
    return true;
}

bool check_same_bits(const char *what, const float *a, const float *b, int64_t count, ful_shape s, char *why)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) == 0 || (isnan(a[i]) && isnan(b[i]))) continue;
        char at[128];
        place(at, sizeof at, what, s, i);
        snprintf(why, CHECK_WHY, "%s is %.9g (%a), other bits than before: %.9g (%a)", at, (double)a[i], (double)a[i],
                 (double)b[i], (double)b[i]);
        return false;
    }
    return true;
}

static const char *const dx_names[] = {"dx[0]", "dx[1]"};

static const char *param_name(const char *prefix, const ful__op *op, int i, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s%s", prefix, op->params[i].name + strlen(op->name) + 1);
    return text;
}

bool check_result_close(const check_rig *rig, const check_knobs *k, const check_result *got, const check_truth *want, char *why)
{
    const ful__op *op = rig->op;
    const double tol = rig->c->tolerance > 0 ? rig->c->tolerance : rig->suite->tolerance;
    const ful_shape none = {0};
    char name[FUL__OP_NAME_MAX];
    if (!check_close("y", got->y, &want->y, tol, op->y, why)) return false;
    for (int i = 0; i < op->n_params; i++)
        if (!op->params[i].trainable &&
            !check_close(param_name("", op, i, name, sizeof name), got->w[i], &want->w[i], tol, none, why))
            return false;
    if (!got->backward) return true;
    for (int i = 0; i < op->n_x; i++)
        if (!(k->dx_null & 1u << i) && !check_close(dx_names[i], got->dx[i], &want->dx[i], tol, op->x[i], why)) return false;
    for (int i = 0; i < op->n_params; i++)
        if (op->params[i].trainable &&
            !check_close(param_name("d ", op, i, name, sizeof name), got->dw[i], &want->dw[i], tol, none, why))
            return false;
    return true;
}

bool check_result_same(const check_rig *rig, const check_knobs *k, const check_result *a, const check_result *b, char *why)
{
    const ful__op *op = rig->op;
    const ful_shape none = {0};
    char name[FUL__OP_NAME_MAX];
    if (!check_same_bits("y", a->y, b->y, k->n * ful__count(op->y), op->y, why)) return false;
    for (int i = 0; i < op->n_params; i++)
        if (!check_same_bits(param_name("", op, i, name, sizeof name), a->w[i], b->w[i], op->params[i].count, none, why))
            return false;
    if (!a->backward || !b->backward) return true;
    for (int i = 0; i < op->n_x; i++)
        if (!(k->dx_null & 1u << i) &&
            !check_same_bits(dx_names[i], a->dx[i], b->dx[i], k->n * ful__count(op->x[i]), op->x[i], why))
            return false;
    for (int i = 0; i < op->n_params; i++)
        if (op->params[i].trainable &&
            !check_same_bits(param_name("d ", op, i, name, sizeof name), a->dw[i], b->dw[i], op->params[i].count, none, why))
            return false;
    return true;
}
