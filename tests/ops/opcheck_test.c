/* SPDX-License-Identifier: Apache-2.0 */
/* opcheck test: one case in every layout, at every CPU level, in training and at eval, with every n and every aliasing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "ops/opcheck_rig.h"
#include <fulcrum/core.h>

enum { TRUTHS = 32 };

/* A case on trial: its inputs, the truths computed so far, and what the first layout at the best level gave for n_max. */
typedef struct trial {
    const check_suite *suite;
    const check_case *c;
    const ful__op *op; /* a plain one, for shapes */
    check_inputs in;
    struct {
        check_knobs k;
        check_truth truth;
    } truths[TRUTHS];
    int n_truths;
    check_result first[2]; /* by train */
    bool have_first[2];
    unsigned first_mask;
    check_result a, b;
} trial;

static bool same_truth(const check_knobs *a, const check_knobs *b)
{
    return a->n == b->n && a->train == b->train && a->first == b->first && a->set == b->set && a->rows == b->rows;
}

static const check_truth *truth_of(trial *t, const check_knobs *k)
{
    for (int i = 0; i < t->n_truths; i++)
        if (same_truth(&t->truths[i].k, k)) return &t->truths[i].truth;
    if (t->n_truths == TRUTHS) {
        fprintf(stderr, "opcheck: more than %d truths of one case\n", TRUTHS);
        exit(2);
    }
    t->truths[t->n_truths].k = *k;
    check_truth_init(&t->truths[t->n_truths].truth, t->suite, t->c, t->op, &t->in, k);
    return &t->truths[t->n_truths++].truth;
}

static bool report(const check_rig *rig, const check_knobs *k)
{
    char text[640];
    check_knobs_text(rig, k, text, sizeof text);
    check_say("FAILED %s\n       %s\n", text, rig->why);
    return false;
}

/* Variants -------------------------------------------------------------------------------------------------------------- */

static bool run_close(trial *t, check_rig *rig, const check_knobs *k, check_result *out)
{
    return (check_rig_run(rig, k, out) && check_result_close(rig, k, out, truth_of(t, k), rig->why)) || report(rig, k);
}

/* … and with the same bits as `was`. */
static bool run_same(trial *t, check_rig *rig, const check_knobs *k, const check_result *was)
{
    return run_close(t, rig, k, &t->b) && (check_result_same(rig, k, &t->b, was, rig->why) || report(rig, k));
}

/* The same n in other ways. t->a: what the plain way gave. */
static bool try_repack(trial *t, check_rig *rig, check_knobs k)
{
    k.stale = true;
    if (!run_same(t, rig, &k, &t->a)) return false;
    if (rig->op->n_params == 0) return true;
    k.stale = false;
    k.set = 1; /* as another expert on the same op, with a packed copy of its own */
    if (!run_close(t, rig, &k, &t->b)) return false;
    k.set = 0;
    k.stale = true;
    return run_same(t, rig, &k, &t->a);
}

static bool try_over(trial *t, check_rig *rig, const check_knobs *k)
{
    const ful__need *need = &rig->op->need;
    const bool y_over[] = {need->inplace, need->inplace_1}, dx_over[] = {need->inplace_dx, need->inplace_dx_1};
    for (int i = 0; i < rig->op->n_x; i++) {
        check_knobs over = *k;
        over.y_over = i;
        if (y_over[i] && !t->c->twin && !run_close(t, rig, &over, &t->b)) return false;
        over.y_over = CHECK_NONE;
        over.dx_over = i;
        if (k->train && dx_over[i] && !run_close(t, rig, &over, &t->b)) return false;
        for (unsigned null = 1; i == 1 && k->train && null < 3; null++) { /* in place while nobody wants the other */
            over.dx_over = null == 1 ? 1 : 0;
            over.dx_null = null;
            if (dx_over[over.dx_over] && !run_close(t, rig, &over, &t->b)) return false;
        }
    }
    return true;
}

static bool try_null(trial *t, check_rig *rig, check_knobs k)
{
    for (k.dx_null = 1; k.train && k.dx_null < 1u << rig->op->n_x; k.dx_null++)
        if (!run_close(t, rig, &k, &t->b)) return false;
    return true;
}

static bool try_threads(trial *t, check_rig *rig, check_knobs k)
{
    const bool same = t->suite->same_bits & CHECK_SAME_THREADS;
    k.threads = 2;
    if (!t->suite->late && (same ? !run_same(t, rig, &k, &t->a) : !run_close(t, rig, &k, &t->b))) return false;
    k.inside = true;
    return same ? run_same(t, rig, &k, &t->a) : run_close(t, rig, &k, &t->b);
}

static bool try_others(trial *t, check_rig *rig, const check_knobs *k)
{
    check_knobs shift = *k, rows = *k;
    shift.shift = 1;
    rows.rows = true;
    return run_close(t, rig, &shift, &t->b) && run_close(t, rig, &rows, &t->b);
}

/* Images of the whole batch (t->a) again, alone and in pairs, at other places. */
static bool try_batches(trial *t, check_rig *rig, check_knobs k)
{
    const int64_t per_image = ful__count(rig->op->y);
    const int n_max = k.n;
    if (k.train || !(t->suite->same_bits & CHECK_SAME_BATCH)) return true;
    for (k.n = 1; k.n <= 2 && k.n <= n_max; k.n++) {
        k.first = n_max - k.n;
        if (!run_close(t, rig, &k, &t->b)) return false;
        if (!check_same_bits("y", t->b.y, t->a.y + k.first * per_image, k.n * per_image, rig->op->y, rig->why))
            return report(rig, &k);
    }
    return true;
}

/* One layout at one level ----------------------------------------------------------------------------------------------- */

/* The results for n_max keep their bits over levels and layouts where that is promised. */
static bool try_first(trial *t, check_rig *rig, const check_knobs *k)
{
    const unsigned promised = t->suite->same_bits;
    if (!t->have_first[k->train]) {
        check_result *first = &t->first[k->train];
        check_result_init(first, t->c, t->op);
        t->have_first[k->train] = true;
        t->first_mask = k->mask;
        return run_close(t, rig, k, first);
    }
    const bool level = k->mask == t->first_mask;
    if (promised & CHECK_SAME_LAYOUTS && (level || promised & CHECK_SAME_LEVELS))
        return run_same(t, rig, k, &t->first[k->train]);
    if (!level && promised & CHECK_SAME_LEVELS && k->offer[0] == FUL__NHWC && k->offer[1] == FUL__NHWC)
        return run_same(t, rig, k, &t->first[k->train]);
    return true;
}

static bool try_all(trial *t, check_rig *rig, check_knobs k)
{
    const int n_max = t->c->n_max, prime = n_max > 5 ? 5 : n_max > 3 ? 3 : n_max, counts[] = {0, 1, 2, prime};
    for (int i = 0; i < 4; i++) {
        k.n = counts[i];
        if (k.n <= n_max && !run_close(t, rig, &k, &t->a)) return false;
    }
    if (!try_repack(t, rig, k) || !try_over(t, rig, &k) || !try_null(t, rig, k) || !try_threads(t, rig, k)) return false;
    if (!try_others(t, rig, &k)) return false;
    k.n = n_max;
    return run_close(t, rig, &k, &t->a) && try_first(t, rig, &k) && try_batches(t, rig, k);
}

static bool try_planned(trial *t, const check_knobs *k)
{
    check_rig rig;
    const bool good = check_rig_init(&rig, t->suite, t->c, &t->in, k) ? try_all(t, &rig, *k) : report(&rig, k);
    check_rig_deinit(&rig);
    return good;
}

/* An op with late kernels, planned for as many threads as its runs have. */
static bool try_planned_for_two(trial *t, check_knobs k)
{
    check_rig rig;
    k.threads = 2;
    k.n = t->c->n_max;
    bool good = (check_rig_init(&rig, t->suite, t->c, &t->in, &k) || report(&rig, &k)) && run_close(t, &rig, &k, &t->a);
    k.inside = true;
    good = good && run_close(t, &rig, &k, &t->b);
    k.inside = false;
    k.threads = 1;
    good = good && run_close(t, &rig, &k, &t->b);
    check_rig_deinit(&rig);
    return good;
}

/* Whether the op demands the same of this offer as of an earlier one. */
static bool tried_before(trial *t, ful__layout offers[4][FUL__X_MAX], int i)
{
    ful__layout demand[4][FUL__X_MAX + 1] = {{0}};
    for (int j = 0; j <= i; j++) {
        ful__op *op = NULL;
        if (t->suite->type->create("the.op", t->c->attr, t->c->x, t->c->n_x, &op) != FUL_OK) return false;
        for (int x = 0; x < op->n_x; x++) op->x_layout[x] = offers[j][x];
        op->type->layouts(op);
        for (int x = 0; x < op->n_x; x++) demand[j][x] = op->x_layout[x];
        demand[j][FUL__X_MAX] = op->y_layout;
        op->type->destroy(op);
    }
    for (int j = 0; j < i; j++)
        if (memcmp(demand[j], demand[i], sizeof demand[i]) == 0) return true;
    return false;
}

static bool try_level(trial *t, unsigned mask)
{
    ful__layout offers[4][FUL__X_MAX] = {{0}};
    ful_cpu_mask_set(mask);
    const int count = check_offers(t->c, offers);
    for (int i = 0; i < count; i++) {
        if (tried_before(t, offers, i)) continue;
        for (int train = t->suite->type->backward != NULL; train >= 0; train--) {
            check_knobs k = {.mask = mask, .train = train, .threads = 1, .y_over = CHECK_NONE, .dx_over = CHECK_NONE};
            memcpy(k.offer, offers[i], sizeof k.offer);
            if (!try_planned(t, &k) || (t->suite->late && !try_planned_for_two(t, k))) return false;
        }
    }
    return true;
}

/* Building -------------------------------------------------------------------------------------------------------------- */

static bool complain(const check_suite *suite, const check_case *c, const char *what)
{
    check_say("FAILED %s (%s) x0=%dx%dx%d: %s\n", suite->name, c->text, c->x[0].h, c->x[0].w, c->x[0].c, what);
    return false;
}

static bool check_refusal(const check_suite *suite, const check_case *c)
{
    ful__op *op = NULL;
    char what[CHECK_WHY];
    const ful_status status = suite->type->create("the.op", c->attr, c->x, c->n_x, &op);
    const char *sentence = ful_error_message();
    if (status == FUL_ERR_ARG && !op && strstr(sentence, "cannot build") && strstr(sentence, c->refused)) return true;
    snprintf(what, sizeof what, "create gave %s (%.300s), not a refusal with '%s'", ful_status_name(status),
             status == FUL_OK ? "" : sentence, c->refused);
    if (op) suite->type->destroy(op);
    return complain(suite, c, what);
}

static ful_status build(const check_suite *suite, const check_case *c, ful__op **out)
{
    *out = NULL;
    ful_status status = suite->type->create("the.op", c->attr, c->x, c->n_x, out);
    if (status != FUL_OK) return status;
    (*out)->type->layouts(*out);
    status = (*out)->type->plan(*out, c->n_max, suite->type->backward != NULL);
    if (status == FUL_OK) return FUL_OK;
    (*out)->type->destroy(*out);
    *out = NULL;
    return status;
}

/* Every allocation of create and plan fails once: a clean failure each time. (What leaks, AddressSanitizer finds.) */
static bool check_allocations(const check_suite *suite, const check_case *c)
{
    for (long n = 1;; n++) {
        ful__op *op;
        char what[CHECK_WHY];
        ful__fault_fail_at(FUL__FAULT_ALLOC, n);
        const ful_status status = build(suite, c, &op);
        const bool failed = ful__fault_count(FUL__FAULT_ALLOC) >= n;
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        if (op) suite->type->destroy(op);
        if (status == FUL_OK && !failed) return true;
        if (status == FUL_ERR_MEMORY && failed) continue;
        snprintf(what, sizeof what, "with allocation %ld failing, create and plan gave %s: %.300s", n, ful_status_name(status),
                 ful_error_message());
        return complain(suite, c, what);
    }
}

static bool check_built(const check_suite *suite, const check_case *c, const ful__op *op)
{
    char what[CHECK_WHY];
    if (memcmp(&op->y, &c->y, sizeof c->y) != 0)
        snprintf(what, sizeof what, "its output is %dx%dx%d, not %dx%dx%d", op->y.h, op->y.w, op->y.c, c->y.h, c->y.w, c->y.c);
    else if (op->cost.macs != c->macs || op->cost.macs_routed != 0 || op->cost.macs_router != 0)
        snprintf(what, sizeof what, "it costs %lld macs, not %lld", (long long)op->cost.macs, (long long)c->macs);
    else if (op->cost.bytes <= 0)
        snprintf(what, sizeof what, "its bytes are not counted");
    else
        return true;
    return complain(suite, c, what);
}

bool check_test(const check_suite *suite, const check_case *c)
{
    trial t = {.suite = suite, .c = c};
    check_level levels[3];
    ful__op *op;
    const int n_levels = suite->late ? check_levels(levels), 1 : check_levels(levels);
    if (c->refused) return check_refusal(suite, c);
    if (build(suite, c, &op) != FUL_OK) return complain(suite, c, ful_error_message());
    t.op = op;
    bool good = check_built(suite, c, op) && check_allocations(suite, c);
    check_inputs_init(&t.in, c, op);
    check_result_init(&t.a, c, op);
    check_result_init(&t.b, c, op);
    for (int i = 0; i < n_levels && good; i++) good = try_level(&t, levels[i].mask);
    for (int i = 0; i < t.n_truths; i++) check_truth_deinit(&t.truths[i].truth);
    for (int i = 0; i < 2; i++)
        if (t.have_first[i]) check_result_deinit(&t.first[i], op);
    check_result_deinit(&t.a, op);
    check_result_deinit(&t.b, op);
    check_inputs_deinit(&t.in);
    suite->type->destroy(op);
    ful_cpu_mask_set(~0u);
    return good;
}
