/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From figures to a verdict in words: helps, hurts, no evidence; why, as far as the measurements tell; and what to try. The
 * rules and the thresholds' reasons are listed in doc/verdict.md. Pairs of runs are the unit, never test images (card I4).
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "study/judged.h"
#include "study/study.h"

enum { RESAMPLES = 10000 };

static const double LOW_RHO = 0.05, MODEST_RHO = 0.20, HIGH_DROP = 0.10, LATE_COLLAPSE = 0.005, SLOW_STEP = 1.15,
                    OVERFIT = 0.01, FAINT_GATES = 0.5;

typedef enum verdict { INCOMPLETE, NO_EVIDENCE, HELPS, HURTS } verdict;
static const char *const verdict_words[] = {"incomplete", "no evidence", "helps", "hurts"};

/* Everything the words are made from. */
typedef struct facts {
    const json_t *arm, *against;
    const char *arm_name, *against_name;
    bool control;
    ful_paired paired;
    double p, p_holm, p_bonferroni;
    double gap_capacity, gap_best, gap_train, macs_ratio, params_ratio, time_ratio;
    double rho_exec, rho_site, drop_rate, effective, dead, gate_mass;
    int experts, k, collapsed;
    bool paired_init;
    verdict verdict;
} facts;

static ful_status out_of_memory(void)
{
    return ful__fail(FUL_ERR_MEMORY, "cannot judge the study: out of memory for its verdicts");
}

static int say(json_t *list, const char *fmt, ...) FUL_PRINTF(2, 3);
static int say(json_t *list, const char *fmt, ...)
{
    char text[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return json_array_append_new(list, json_string(text));
}

/* ---- pairs ---- */

static const json_t *run_of(const json_t *arm, size_t i)
{
    return json_array_get(json_object_get(arm, "runs"), i);
}

/* Mean difference of a figure over seeds where both arms have it. */
static double mean_gap(const facts *f, const char *key, const char *other_key)
{
    double sum = 0.0;
    int n = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(f->arm, "runs")); i++) {
        const double gap = ful__json_number(run_of(f->arm, i), key) - ful__json_number(run_of(f->against, i), other_key);
        if (!isfinite(gap)) continue;
        sum += gap;
        n++;
    }
    return n ? sum / n : NAN;
}

/* Fills diff with accuracy gaps of finished pairs and the "gaps" list; returns how many. */
static int pairs_of(const facts *f, double *diff, json_t *gaps)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(f->arm, "runs")); i++) {
        const json_t *a = run_of(f->arm, i), *b = run_of(f->against, i);
        const double gap = ful__json_number(a, "acc") - ful__json_number(b, "acc");
        if (!isfinite(gap)) continue;
        diff[n++] = gap;
        json_array_append_new(gaps, json_pack("{s:O, s:f}", "seed", json_object_get(a, "seed"), "gap", gap));
    }
    return n;
}

/* Whether every finished pair began from the same shared weights. */
static bool same_init(const facts *f)
{
    for (size_t i = 0; i < json_array_size(json_object_get(f->arm, "runs")); i++) {
        const char *a = ful__json_string(run_of(f->arm, i), "init_hash"),
                   *b = ful__json_string(run_of(f->against, i), "init_hash");
        if (*a && *b && strcmp(a, b) != 0) return false;
    }
    return true;
}

static double mean_run(const json_t *arm, const char *key)
{
    const json_t *runs = json_object_get(arm, "runs");
    double sum = 0.0;
    int n = 0;
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const double value = ful__json_number(json_array_get(runs, i), key);
        if (!isfinite(value)) continue;
        sum += value;
        n++;
    }
    return n ? sum / n : NAN;
}

static void gather(facts *f)
{
    const json_t *runs = json_object_get(f->arm, "runs");
    f->arm_name = ful__json_string(f->arm, "name");
    f->against_name = ful__json_string(f->against, "name");
    f->control = strcmp(ful__json_string(f->arm, "kind"), "control") == 0;
    f->gap_capacity = mean_gap(f, "acc_capacity", "acc");
    f->gap_best = mean_gap(f, "best_acc_seen", "best_acc_seen");
    f->gap_train = mean_gap(f, "train_acc", "train_acc");
    f->macs_ratio = ful__json_number(f->arm, "macs.forward") / ful__json_number(f->against, "macs.forward");
    f->params_ratio = ful__json_number(f->arm, "params.total") / ful__json_number(f->against, "params.total");
    f->time_ratio = ful__json_number(f->against, "images_per_s_median") / ful__json_number(f->arm, "images_per_s_median");
    f->rho_exec = ful__json_number(f->arm, "rho.exec");
    f->rho_site = ful__json_number(f->arm, "rho.site");
    f->drop_rate = mean_run(f->arm, "drop_rate");
    f->effective = mean_run(f->arm, "effective_experts");
    f->dead = mean_run(f->arm, "dead");
    f->gate_mass = json_is_true(json_object_get(f->arm, "renorm")) ? 1.0 : mean_run(f->arm, "gate_mass");
    const double experts = ful__json_number(f->arm, "experts"), k = ful__json_number(f->arm, "k");
    f->experts = isfinite(experts) ? (int)experts : 0;
    f->k = isfinite(k) ? (int)k : 0;
    f->collapsed = 0;
    for (size_t i = 0; i < json_array_size(runs); i++)
        f->collapsed += json_is_true(json_object_get(json_array_get(runs, i), "collapsed"));
    f->paired_init = same_init(f);
}

/* ---- words ---- */

static verdict decide(const facts *f, double alpha)
{
    if (f->paired.n < 2) return INCOMPLETE;
    if (!(f->p_holm < alpha)) return NO_EVIDENCE;
    return f->paired.mean > 0.0 ? HELPS : HURTS;
}

static int sentence_of(const facts *f, double level, json_t *cell)
{
    char text[400];
    const ful_paired *p = &f->paired;
    if (f->verdict == INCOMPLETE)
        snprintf(text, sizeof text, "%s against %s: %d finished pair%s, at least 2 are needed for a verdict.", f->arm_name,
                 f->against_name, p->n, p->n == 1 ? "" : "s");
    else
        snprintf(text, sizeof text,
                 "%s %s %s %s: %+.2f points (%.0f %% interval %+.2f to %+.2f, %d paired seeds, p = %.3g after Holm).",
                 f->arm_name,
                 f->verdict == HELPS   ? "beats"
                 : f->verdict == HURTS ? "loses to"
                                       : "shows no clear difference from",
                 f->against_name, f->verdict == NO_EVIDENCE ? "so far" : "in this study", 100.0 * p->mean, 100.0 * level,
                 100.0 * p->t_low, 100.0 * p->t_high, p->n, f->p_holm);
    return json_object_set_new(cell, "sentence", json_string(text));
}

/* Too few seeds, and what that means. */
static int explain_power(const facts *f, double alpha, json_t *why, json_t *advice)
{
    const ful_paired *p = &f->paired;
    int bad = 0;
    if (p->n >= 2 && p->p_floor > alpha)
        bad |= say(why, "With %d pairs the exact sign and permutation tests cannot go below p = %.3g, whatever the gap.", p->n,
                   p->p_floor);
    if (f->verdict == NO_EVIDENCE && p->sd > 0.0) {
        const double seen = ful_stats_detectable(p->n) * p->sd;
        bad |= say(
            why,
            "With %d seeds and a spread of %.2f points between pairs, a gap below about %.2f points would usually be missed.",
            p->n, 100.0 * p->sd, 100.0 * seen);
        if (fabs(p->mean) > 0.0 && seen > fabs(p->mean)) {
            const double ratio = 2.8 * p->sd / fabs(p->mean);
            const double need = ceil(ratio * ratio) + 2.0;
            if (need <= 60.0)
                bad |= say(advice, "About %.0f seeds would show a gap of the size seen here, if it is real.", need);
            else
                bad |= say(advice, "The gap seen is small beside the noise: more than 60 seeds would be needed to show it; "
                                   "change the model instead.");
        }
    }
    return bad;
}

/* Compute leverage: how much was routed at all, and with how many experts a token. */
static int explain_leverage(const facts *f, json_t *why, json_t *advice)
{
    int bad = 0;
    if (f->verdict == HELPS || !isfinite(f->rho_exec)) return 0;
    if (f->rho_exec < LOW_RHO) {
        bad |= say(why, "Only %.1f %% of the executed MACs were routed (rho): experts had next to nothing to decide.",
                   100.0 * f->rho_exec);
        bad |= say(advice, "Raise rho: larger hidden size, or a mixture in a backbone stage instead of the head.");
    } else if (f->rho_exec < MODEST_RHO) {
        bad |= say(why, "%.0f %% of the executed MACs were routed (rho); published gains need a substantial share.",
                   100.0 * f->rho_exec);
        bad |= say(advice, "Try a larger hidden size or one more mixture stage, so that rho grows above %.0f %%.",
                   100.0 * MODEST_RHO);
    }
    if (f->k == 1) {
        bad |= say(why,
                   "Each token used one expert (k = 1): a wrong choice has no second opinion, and its router learns slowly.");
        bad |= say(advice, "Try k = 2 at the same hidden size, compared with the dense block of width 2h.");
    }
    return bad;
}

/* What the routing statistics say. */
static int explain_health(const facts *f, json_t *why, json_t *advice)
{
    int bad = 0;
    if (f->experts == 0 || f->verdict == INCOMPLETE) return 0;
    if (f->collapsed > 0) {
        bad |= say(why, "The experts collapsed in %d of %d runs: %.1f of %d experts effective, %.1f dead.", f->collapsed,
                   f->paired.n, f->effective, f->experts, f->dead);
        bad |= say(
            advice,
            "Raise the balance loss (balance.switch), use noisy top-k, or the auxiliary-loss-free bias (balance.bias_rate).");
    } else if (isfinite(f->effective) && f->verdict != HELPS) {
        bad |= say(why, "The experts stayed alive: %.1f of %d effective, %.1f dead; collapse does not explain the result.",
                   f->effective, f->experts, f->dead);
    }
    if (f->gate_mass < FAINT_GATES && f->k > 1 && f->verdict != HELPS) {
        bad |= say(why, "The gates of the chosen experts summed to only %.2f: what they add to the residual path is faint.",
                   f->gate_mass);
        bad |= say(advice, "Try gate: renorm, which makes the chosen gates sum to one.");
    }
    if (f->drop_rate > HIGH_DROP) {
        bad |= say(why, "Capacity dropped %.0f %% of the routed pairs in training.", 100.0 * f->drop_rate);
        bad |= say(advice, "Raise capacity_factor, or train dropless (capacity_factor: inf).");
    }
    if (isfinite(f->gap_best) && f->gap_best - f->paired.mean > LATE_COLLAPSE && f->verdict != HELPS) {
        bad |= say(why, "The gap was better at its best epoch (%+.2f points) than at the end: the mixture fell back late.",
                   100.0 * f->gap_best);
        bad |= say(advice, "Look at the training curves; a temperature floor (temperature.min: 0.3) or a smaller last learning "
                           "rate may hold it.");
    }
    if (isfinite(f->gap_train) && f->gap_train > OVERFIT && f->paired.mean < f->gap_train - OVERFIT && f->verdict != HELPS) {
        bad |= say(
            why,
            "It fits the training set better (%+.2f points) than the test set shows (%+.2f): the extra parameters overfit.",
            100.0 * f->gap_train, 100.0 * f->paired.mean);
        bad |= say(advice, "More data or augmentation, fewer experts, or shared_init; the gain in fit is there to be used.");
    }
    if (isfinite(f->gap_train) && f->gap_train < -OVERFIT && f->k < f->experts && f->verdict != HELPS) {
        bad |= say(why,
                   "It fits the training set worse as well (%+.2f points): each expert learns from only %.0f %% of the images.",
                   100.0 * f->gap_train, 100.0 * f->k / f->experts);
        bad |= say(advice, "Train longer, start the experts from a trained dense block (train.init_from, in slices with "
                           "train.init_split), or use fewer experts.");
    }
    if (isfinite(f->gap_capacity) && fabs(f->gap_capacity - f->paired.mean) > LATE_COLLAPSE)
        bad |= say(why,
                   "Evaluated at the training capacity the gap is %+.2f points instead of %+.2f: predictions there depend on "
                   "the batch.",
                   100.0 * f->gap_capacity, 100.0 * f->paired.mean);
    return bad;
}

/* What the comparison itself costs or hides. */
static int explain_price(const facts *f, json_t *why, json_t *advice)
{
    int bad = 0;
    if (isfinite(f->macs_ratio) && fabs(f->macs_ratio - 1.0) > 0.05)
        bad |= say(why, "The arms do not execute the same MACs: ratio %.2f.", f->macs_ratio);
    if (f->params_ratio > 1.05)
        bad |= say(why, "It holds %.1f times the parameters; the MACs executed are %.2f times the other's.", f->params_ratio,
                   f->macs_ratio);
    if (f->time_ratio > SLOW_STEP) {
        bad |= say(why, "An image took %.2f times as long to train, at %.2f times the MACs.", f->time_ratio, f->macs_ratio);
        bad |= say(advice,
                   "Small experts waste the machine: fewer, wider experts or larger batches bring time closer to MACs.");
    }
    if (!f->paired_init)
        bad |= say(why, "The arms did not start from the same shared weights: pairs are weaker than they look.");
    if (f->control && f->verdict == HELPS)
        bad |= say(why,
                   "This arm's router is frozen: the gain needs no learned routing (extra capacity or averaging explains it).");
    return bad;
}

/* ---- assembling ---- */

static int figures_of(const facts *f, json_t *cell)
{
    const ful_paired *p = &f->paired;
    const struct {
        const char *key;
        double value;
    } figures[] = {{"mean", p->mean},
                   {"sd", p->sd},
                   {"t", p->t},
                   {"p_t", p->p_t},
                   {"p_sign", p->p_sign},
                   {"p_flip", p->p_flip},
                   {"p_floor", p->p_floor},
                   {"p", f->p},
                   {"p_holm", f->p_holm},
                   {"p_bonferroni", f->p_bonferroni},
                   {"detectable", ful_stats_detectable(p->n) * p->sd},
                   {"macs_ratio", f->macs_ratio},
                   {"params_ratio", f->params_ratio},
                   {"step_time_ratio", f->time_ratio},
                   {"gap_capacity_mean", f->gap_capacity},
                   {"gap_best_mean", f->gap_best},
                   {"gap_train_mean", f->gap_train},
                   {"rho_exec", f->rho_exec},
                   {"rho_site", f->rho_site}};
    int bad = json_object_set_new(cell, "n", json_integer(p->n));
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        bad |= json_object_set_new(cell, figures[i].key, ful__json_real(p->n ? figures[i].value : NAN));
    bad |= json_object_set_new(cell, "ci", json_pack("[o,o]", ful__json_real(p->t_low), ful__json_real(p->t_high)));
    bad |= json_object_set_new(cell, "bca", json_pack("[o,o]", ful__json_real(p->bca_low), ful__json_real(p->bca_high)));
    return bad | json_object_set_new(cell, "paired_init", json_boolean(f->paired_init));
}

static ful_status words_of(const ful_study *s, const facts *f, json_t *cell)
{
    json_t *why = json_array(), *advice = json_array();
    const double alpha = 1.0 - s->level;
    int bad = json_object_set(cell, "why", why) | json_object_set(cell, "try", advice);
    bad |= json_object_set_new(cell, "verdict", json_string(verdict_words[f->verdict]));
    bad |= sentence_of(f, s->level, cell);
    bad |= explain_power(f, alpha, why, advice);
    bad |= explain_leverage(f, why, advice);
    bad |= explain_health(f, why, advice);
    bad |= explain_price(f, why, advice);
    if (f->verdict == HELPS)
        bad |= say(advice,
                   "Check it with more seeds and at another hidden size; then look at the price per image before shipping.");
    json_decref(why);
    json_decref(advice);
    return bad ? out_of_memory() : FUL_OK;
}

static ful_status measure(const ful_study *s, facts *f, json_t *cell)
{
    json_t *gaps = json_array();
    double *diff = NULL;
    char name[2 * FUL_NAME_MAX + 8];
    gather(f);
    snprintf(name, sizeof name, "%s vs %s", f->arm_name, f->against_name);
    int bad = json_object_set_new(cell, "name", json_string(name));
    bad |= json_object_set_new(cell, "arm", json_string(f->arm_name)) |
           json_object_set_new(cell, "against", json_string(f->against_name));
    bad |= json_object_set(cell, "gaps", gaps);
    ful_status status = bad ? out_of_memory() : ful__calloc(&diff, (size_t)s->n_seeds, sizeof *diff, "gaps");
    if (status == FUL_OK) {
        const int n = pairs_of(f, diff, gaps);
        f->paired = (ful_paired){.n = 0};
        if (n > 0) status = ful_stats_paired(diff, n, s->level, RESAMPLES, 1, &f->paired);
        f->p = n < 2 ? NAN : s->test == FUL__P_T ? f->paired.p_t : s->test == FUL__P_FLIP ? f->paired.p_flip : f->paired.p_sign;
    }
    if (status == FUL_OK) status = ful__judge_cell(cell, f->arm, f->against, s->level);
    ful__free(diff);
    json_decref(gaps);
    return status;
}

/* The cell a reader should see first: a learned mixture before controls, the clearest p first. */
static int set_headline(json_t *root, const facts *f, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++) {
        if (best < 0 || (f[best].control && !f[i].control) || (f[best].control == f[i].control && f[i].p_holm < f[best].p_holm))
            best = i;
    }
    if (best < 0) return json_object_set_new(root, "headline", json_null());
    const json_t *cell = json_array_get(json_object_get(root, "cells"), (size_t)best);
    return json_object_set_new(root, "headline",
                               json_pack("{s:i, s:s, s:s}", "cell", best, "verdict", ful__json_string(cell, "verdict"),
                                         "sentence", ful__json_string(cell, "sentence")));
}

static int set_power(json_t *root, const ful_study *s)
{
    char text[500];
    const double alpha = 1.0 - s->level, floor = fmin(1.0, 2.0 * pow(0.5, s->n_seeds));
    if (s->n_seeds < 2)
        snprintf(text, sizeof text, "One seed has no error bar: it can show nothing about a gap.");
    else
        snprintf(text, sizeof text,
                 "%d paired seeds: a paired t-test sees gaps of about %.1f times the spread between pairs (80 %% power); exact "
                 "tests "
                 "cannot give p below %.3g%s.%s",
                 s->n_seeds, ful_stats_detectable(s->n_seeds), floor,
                 floor > alpha ? ", so on their own they can never call a difference" : "",
                 s->n_seeds < 6 ? " The bootstrap interval is too narrow at so few seeds; trust the Student interval." : "");
    json_t *power = json_pack("{s:s}", "sentence", text);
    return json_object_set_new(root, "power", power);
}

ful_status ful__study_judge(const ful_study *s, json_t *root)
{
    facts *f = NULL;
    double *p = NULL, *holm, *bonferroni;
    const size_t n = (size_t)(s->n_cells ? s->n_cells : 1);
    json_t *cells = json_array();
    const json_t *arms = json_object_get(root, "arms");
    ful_status status = cells && json_object_set(root, "cells", cells) == 0 ? FUL_OK : out_of_memory();
    if (status == FUL_OK) status = ful__calloc(&f, n, sizeof *f, "cells");
    if (status == FUL_OK) status = ful__calloc(&p, 3 * n, sizeof *p, "p-values");
    for (int i = 0; i < s->n_cells && status == FUL_OK; i++) {
        json_t *cell = json_object();
        f[i].arm = json_array_get(arms, (size_t)s->cells[i].arm);
        f[i].against = json_array_get(arms, (size_t)s->cells[i].against);
        status = json_array_append_new(cells, cell) ? out_of_memory() : measure(s, &f[i], cell);
        p[i] = f[i].p;
    }
    if (status == FUL_OK) {
        holm = p + n;
        bonferroni = p + 2 * n;
        ful_stats_holm(p, s->n_cells, holm);
        ful_stats_bonferroni(p, s->n_cells, bonferroni);
        for (int i = 0; i < s->n_cells && status == FUL_OK; i++) {
            json_t *cell = json_array_get(cells, (size_t)i);
            f[i].p_holm = holm[i];
            f[i].p_bonferroni = bonferroni[i];
            f[i].verdict = decide(&f[i], 1.0 - s->level);
            status = figures_of(&f[i], cell) ? out_of_memory() : words_of(s, &f[i], cell);
        }
        if (status == FUL_OK && (set_headline(root, f, s->n_cells) | set_power(root, s))) status = out_of_memory();
    }
    json_decref(cells);
    ful__free(f);
    ful__free(p);
    return status;
}
