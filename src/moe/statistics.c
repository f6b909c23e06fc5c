/* SPDX-License-Identifier: Apache-2.0 */
/* What a layer did, summed over batches, and the figures of health that follow from it (cards H1 to H4). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "moe/router_rows.h"
#include "moe/router_types.h"
#include "moe/sums.h"

/* Life ---------------------------------------------------------------------------------------------------------------- */

ful_status ful__moe_stats_init(ful_moe_stats *stats, const char *layer, int experts, int k, int classes)
{
    *stats = (ful_moe_stats){.experts = experts, .k = k, .classes = classes};
    snprintf(stats->layer, sizeof stats->layer, "%s", layer);
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, failed, ful__calloc(&stats->chosen, (size_t)experts, sizeof *stats->chosen, "routing statistics"));
    FUL_TRY_GOTO(status, failed, ful__calloc(&stats->kept, (size_t)experts, sizeof *stats->kept, "routing statistics"));
    FUL_TRY_GOTO(status, failed,
                 ful__calloc(&stats->importance, (size_t)experts, sizeof *stats->importance, "routing statistics"));
    if (classes > 0)
        FUL_TRY_GOTO(status, failed,
                     ful__calloc(&stats->class_expert, (size_t)classes * (size_t)experts, sizeof *stats->class_expert,
                                 "routing statistics"));
    return FUL_OK;
failed:
    ful__moe_stats_deinit(stats);
    return status;
}

void ful__moe_stats_deinit(ful_moe_stats *stats)
{
    ful__free(stats->chosen);
    ful__free(stats->kept);
    ful__free(stats->importance);
    ful__free(stats->class_expert);
    *stats = (ful_moe_stats){0};
}

void ful__moe_stats_reset(ful_moe_stats *stats)
{
    const ful_moe_stats old = *stats;
    *stats = (ful_moe_stats){.experts = old.experts,
                             .k = old.k,
                             .classes = old.classes,
                             .chosen = old.chosen,
                             .kept = old.kept,
                             .importance = old.importance,
                             .class_expert = old.class_expert};
    memcpy(stats->layer, old.layer, sizeof stats->layer);
    memset(stats->chosen, 0, (size_t)stats->experts * sizeof *stats->chosen);
    memset(stats->kept, 0, (size_t)stats->experts * sizeof *stats->kept);
    memset(stats->importance, 0, (size_t)stats->experts * sizeof *stats->importance);
    if (stats->class_expert)
        memset(stats->class_expert, 0, (size_t)stats->classes * (size_t)stats->experts * sizeof *stats->class_expert);
}

/* One batch ----------------------------------------------------------------------------------------------------------- */

typedef struct route_sums {
    double entropy, margin, mass;
    int64_t all_dropped;
} route_sums;

typedef struct route_job {
    const ful__router *r;
    const ful__router_run *run;
    const uint8_t *kept;
    int64_t pieces;
    route_sums sums[FUL__SUM_PIECES];
} route_job;

/* Score of each expert for one token: for slots, what the expert's p slots have together. */
static const float *expert_scores(const ful__router *r, const float *prob, float *folded)
{
    const int p = r->kind == FUL__ROUTE_PAIRS ? 1 : r->attr.soft_slots;
    if (p == 1) return prob;
    for (int j = 0; j < r->e; j++) {
        folded[j] = 0;
        for (int i = 0; i < p; i++) folded[j] += prob[j * p + i];
    }
    return folded;
}

static int64_t score_columns(const ful__router *r)
{
    return r->kind == FUL__ROUTE_PAIRS ? r->e : r->k;
}

static void add_token(route_sums *sums, const ful__router *r, const float *score, const int32_t *expert, const uint8_t *kept)
{
    float first = 0, second = 0;
    for (int j = 0; j < r->e; j++) {
        const float s = score[j];
        if (s > first) {
            second = first;
            first = s;
        } else if (s > second) {
            second = s;
        }
    }
    sums->margin += (double)first - (double)second;
    if (!expert) { /* slots: all of them are used */
        sums->mass += 1;
        return;
    }
    bool any = !kept;
    for (int i = 0; i < r->k; i++) {
        sums->mass += (double)score[expert[i]];
        any = any || kept[i];
    }
    sums->all_dropped += !any;
}

static void route_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    route_job *job = ctx;
    const ful__router *r = job->r;
    const bool pairs = r->kind == FUL__ROUTE_PAIRS;
    float folded[FUL_EXPERTS_MAX];
    int64_t begin, end;
    ful__share(job->run->t, job->pieces, piece, &begin, &end);
    route_sums *sums = &job->sums[piece];
    for (int64_t t = begin; t < end; t++) {
        const float *score = expert_scores(r, job->run->prob + t * score_columns(r), folded);
        if (score == folded) sums->entropy += ful__entropy_sum(score, r->e);
        add_token(sums, r, score, pairs ? job->run->expert + t * r->k : NULL, job->kept ? job->kept + t * r->k : NULL);
    }
    if (score_columns(r) == r->e) /* rows lie one after the other: all at once */
        sums->entropy += ful__entropy_sum(job->run->prob + begin * r->e, (end - begin) * r->e);
}

static void add_importance(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run)
{
    const int n = (int)score_columns(r), slots = n / r->e; /* columns of an expert */
    for (int first = 0; first < n; first += FUL__SUM_COLUMNS) {
        double sum[FUL__SUM_COLUMNS];
        const int columns = n - first < FUL__SUM_COLUMNS ? n - first : FUL__SUM_COLUMNS;
        ful__column_sums_of(run->prob, run->t, n, first, columns, sum);
        for (int j = 0; j < columns; j++) stats->importance[(first + j) / slots] += sum[j];
    }
}

static void add_classes(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run, const int32_t *label)
{
    float folded[FUL_EXPERTS_MAX];
    for (int64_t t = 0; t < run->t; t++) {
        if (label[t] < 0 || label[t] >= stats->classes) continue;
        int32_t first = 0;
        if (r->kind == FUL__ROUTE_PAIRS) {
            first = run->expert[t * r->k];
        } else {
            const float *score = expert_scores(r, run->prob + t * score_columns(r), folded);
            for (int j = 1; j < r->e; j++)
                if (score[j] > score[first]) first = j;
        }
        stats->class_expert[(int64_t)label[t] * stats->experts + first]++;
    }
}

/* Slots: each group runs p rows through every expert. */
static void add_slot_counts(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run)
{
    const int64_t rows = run->t / run->group * r->attr.soft_slots;
    stats->pairs += rows * r->e;
    for (int j = 0; j < r->e; j++) {
        stats->chosen[j] += rows;
        stats->kept[j] += rows;
    }
}

void ful__moe_stats_add_route(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run, const uint8_t *kept,
                              const int64_t *chosen, const int64_t *counts, const int32_t *label_of_token)
{
    stats->batches++;
    if (run->t == 0) return;
    const bool pairs = r->kind == FUL__ROUTE_PAIRS;
    route_job job = {.r = r, .run = run, .kept = pairs ? kept : NULL, .pieces = ful__sum_pieces(run->t)};
    ful__parallel_for(job.pieces, route_piece, &job);
    for (int64_t piece = 0; piece < job.pieces; piece++) {
        stats->entropy_sum += job.sums[piece].entropy;
        stats->margin_sum += job.sums[piece].margin;
        stats->gate_mass_sum += job.sums[piece].mass;
        stats->all_dropped += job.sums[piece].all_dropped;
    }
    stats->tokens += run->t;
    if (!pairs) add_slot_counts(stats, r, run);
    for (int j = 0; pairs && j < r->e; j++) {
        const int64_t taken = counts ? counts[j] : chosen[j];
        stats->chosen[j] += chosen[j];
        stats->kept[j] += taken;
        stats->pairs += chosen[j];
        stats->dropped += chosen[j] - taken;
    }
    add_importance(stats, r, run);
    if (label_of_token && stats->class_expert) add_classes(stats, r, run, label_of_token);
}

void ful__moe_stats_add_losses(ful_moe_stats *stats, const ful__balance_run *balance)
{
    stats->loss_switch += balance->switch_loss;
    stats->loss_importance += balance->importance_loss;
    stats->loss_load += balance->load_loss;
    stats->loss_z += balance->z_loss;
    stats->loss_entropy += balance->entropy_loss;
}

void ful__moe_stats_add_gate_grad(ful_moe_stats *stats, const ful__router_run *run)
{
    double sum = 0;
    for (int64_t i = 0; i < run->t * stats->k; i++) sum += (double)run->dgate[i] * (double)run->dgate[i];
    stats->gate_grad_sq_sum += sum;
}

/* Figures of health --------------------------------------------------------------------------------------------------- */

/* -sum q ln q of q = x/total. */
static double entropy(const double *x, int64_t n, double total)
{
    double h = 0;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > 0) h -= x[i] / total * log(x[i] / total);
    return h;
}

static void load_figures(const ful_moe_stats *stats, ful_moe_health *out)
{
    const int e = stats->experts;
    const double total = (double)stats->pairs, mean = total / e;
    double variance = 0, most = 0, differences = 0, h = 0;
    for (int i = 0; i < e; i++) {
        const double load = (double)stats->chosen[i];
        variance += (load - mean) * (load - mean) / e;
        if (load > most) most = load;
        if (load > 0) h -= load / total * log(load / total);
        for (int j = 0; j < e; j++) differences += fabs(load - (double)stats->chosen[j]);
        out->dead += load < 0.01 / e * total;
        out->unused += load == 0;
    }
    out->load_cv2 = variance / (mean * mean);
    out->max_over_mean = most / mean;
    out->gini = differences / (2.0 * e * e * mean);
    out->effective_experts = exp(h);
    out->collapse_sign = out->effective_experts < 0.5 * e || 4 * out->dead >= e;
}

static void class_figures(const ful_moe_stats *stats, ful_moe_health *out)
{
    const int e = stats->experts;
    double total = 0, h_class = 0, h_joint = 0, h_expert = 0;
    for (int64_t i = 0; i < (int64_t)stats->classes * e; i++) total += (double)stats->class_expert[i];
    if (!(total > 0)) return;
    for (int c = 0; c < stats->classes; c++) {
        double row = 0;
        for (int j = 0; j < e; j++) {
            const double n = (double)stats->class_expert[(int64_t)c * e + j];
            row += n;
            h_joint += entropy(&n, 1, total);
        }
        h_class += entropy(&row, 1, total);
    }
    for (int j = 0; j < e; j++) {
        double column = 0;
        for (int c = 0; c < stats->classes; c++) column += (double)stats->class_expert[(int64_t)c * e + j];
        h_expert += entropy(&column, 1, total);
    }
    const double mi = h_class + h_expert - h_joint;
    out->class_mi = mi > 0 ? mi : 0; /* the difference of equal sums may round below 0 */
    out->class_nmi = h_class > 0 && h_expert > 0 ? out->class_mi / sqrt(h_class * h_expert) : 0;
    out->class_entropy_experts = h_expert;
}

void ful_moe_health_compute(const ful_moe_stats *stats, ful_moe_health *out)
{
    *out = (ful_moe_health){0};
    if (stats->tokens == 0 || stats->pairs == 0) return;
    const double tokens = (double)stats->tokens, pairs = (double)stats->pairs;
    double importance = 0;
    for (int j = 0; j < stats->experts; j++) importance += stats->importance[j];
    out->entropy = stats->entropy_sum / tokens;
    if (importance > 0) out->entropy_marginal = entropy(stats->importance, stats->experts, importance);
    out->entropy_marginal_norm = stats->experts > 1 ? out->entropy_marginal / log(stats->experts) : 0;
    out->margin = stats->margin_sum / tokens;
    out->gate_mass = stats->gate_mass_sum / tokens;
    const double kept = pairs - (double)stats->dropped;
    out->gate_grad_rms = kept > 0 ? sqrt(stats->gate_grad_sq_sum / kept) : 0;
    load_figures(stats, out);
    out->drop_rate = (double)stats->dropped / pairs;
    out->all_dropped_rate = (double)stats->all_dropped / tokens;
    if (stats->class_expert) class_figures(stats, out);
}

/* Card H3 ------------------------------------------------------------------------------------------------------------- */

double ful__router_change_rate(const int32_t *before, const int32_t *after, int64_t t, int k, double *any_out)
{
    int64_t lost = 0, changed = 0;
    for (int64_t i = 0; i < t; i++) {
        int shared = 0;
        for (int a = 0; a < k; a++)
            for (int b = 0; b < k; b++) shared += before[i * k + a] == after[i * k + b];
        lost += k - shared;
        changed += shared < k;
    }
    if (any_out) *any_out = t > 0 ? (double)changed / (double)t : 0;
    return t > 0 ? (double)lost / ((double)t * k) : 0;
}
