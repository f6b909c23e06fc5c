/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum eval --corrupt: the passes over corrupted images, as a table and as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/eval.h"

/* ---- what was asked for ---- */

static int add_corruptions(const command *self, const char *name, size_t length, eval_request *q)
{
    const bool all = length == 3 && strncmp(name, "all", 3) == 0, common_ones = length == 6 && strncmp(name, "common", 6) == 0;
    bool found = false;
    for (const ful_corruption *c = ful_corruptions(); c->name; c++) {
        if (!(all || (common_ones && c->common) || (strlen(c->name) == length && strncmp(c->name, name, length) == 0)))
            continue;
        found = true;
        bool known = false;
        for (int i = 0; i < q->n_corrupt; i++) known = known || q->corrupt[i] == c;
        if (!known && q->n_corrupt < FUL_CORRUPTIONS_MAX) q->corrupt[q->n_corrupt++] = c;
    }
    if (found) return -1;
    fprintf(stderr, "corruptions:");
    for (const ful_corruption *c = ful_corruptions(); c->name; c++) fprintf(stderr, " %s", c->name);
    fprintf(stderr, "\n");
    return usage_error(self, "--corrupt %.*s: must be all, common, or names from the list above", (int)length, name);
}

/* "3", "1,5", "2-4" */
static int parse_severities(const command *self, const char *text, eval_request *q)
{
    const char *at = text;
    while (*at) {
        char *end;
        const long low = strtol(at, &end, 10);
        const long high = *end == '-' ? strtol(end + 1, &end, 10) : low;
        if (low < 1 || high > FUL_SEVERITIES || low > high || (*end && *end != ','))
            return usage_error(self, "--severity %s: must be of 1..%d, e.g. 3 or 1-5", text, FUL_SEVERITIES);
        for (long s = low; s <= high; s++) q->severity[s - 1] = true;
        at = *end ? end + 1 : end;
    }
    return -1;
}

int parse_corrupt(const command *self, const char *list, const char *severities, eval_request *q)
{
    if (!list && severities) return usage_error(self, "--severity goes with --corrupt");
    while (list && *list) {
        const size_t length = strcspn(list, ",");
        const int code = add_corruptions(self, list, length, q);
        if (code >= 0) return code;
        list += length + (list[length] == ',');
    }
    return parse_severities(self, severities ? severities : "1-5", q);
}

/* ---- passes ---- */

static double error_of(const ful_predictions *p)
{
    int64_t wrong = 0;
    for (int64_t i = 0; i < p->count; i++) wrong += p->outcome[i].rank != 0;
    return (double)wrong / (double)p->count;
}

static ful_status run_cell(const eval_request *q, const eval_subject *u, ful_robust_row *row, int s)
{
    ful_predictions p = {0};
    ful_judgement j = {0};
    const ful_judge_options options = {.bins = q->bins, .level = 0.95};
    ful_status status = eval_predict(q, u->model, u->set, 0, false, row->corruption->name, s + 1, &p);
    if (status == FUL_OK) status = ful_judge(p.outcome, p.count, p.classes, &options, &j);
    if (status == FUL_OK) {
        row->error[s] = 1.0 - j.accuracy;
        row->nll[s] = j.nll;
        row->ece[s] = j.ece_width;
    }
    ful_judgement_deinit(&j);
    ful_predictions_deinit(&p);
    if (status != FUL_OK || !u->other) return status;
    status = eval_predict(q, u->other, u->other_set, 0, false, row->corruption->name, s + 1, &p);
    if (status == FUL_OK) row->other[s] = error_of(&p);
    ful_predictions_deinit(&p);
    return status;
}

ful_status eval_corruptions(const eval_request *q, const eval_subject *u, eval_result *r)
{
    ful_robust *robust = &r->robust;
    ful_status status = FUL_OK;
    const bool show = !common.quiet && isatty(STDERR_FILENO);
    robust->clean = 1.0 - r->judgement.accuracy;
    robust->other_clean = u->other ? 1.0 - r->other_accuracy : NAN;
    for (int i = 0; i < q->n_corrupt && status == FUL_OK; i++) {
        ful_robust_row *row = &robust->rows[robust->n_rows++];
        row->corruption = q->corrupt[i];
        for (int s = 0; s < FUL_SEVERITIES; s++) row->error[s] = row->other[s] = row->nll[s] = row->ece[s] = NAN;
        for (int s = 0; s < FUL_SEVERITIES && status == FUL_OK; s++) {
            if (!q->severity[s]) continue;
            if (show) fprintf(stderr, "\r%-24s severity %d  (%d of %d)", row->corruption->name, s + 1, i + 1, q->n_corrupt);
            status = run_cell(q, u, row, s);
        }
    }
    if (show) fprintf(stderr, "\r%60s\r", "");
    ful_judge_robust(robust);
    return status;
}

/* ---- showing ---- */

void show_robust_text(const eval_request *q, const ful_robust *r)
{
    char text[8][16];
    printf("\nerror in %% on corrupted images, by severity (clean: %s", percent(r->clean, text[0]));
    if (q->against) printf("; other: %s", percent(r->other_clean, text[1]));
    printf(")\n%-20s", "");
    for (int s = 0; s < FUL_SEVERITIES; s++)
        if (q->severity[s]) printf(" %7d", s + 1);
    printf(" %8s", "mean");
    if (q->against) printf(" %8s %8s %9s", "other", "CE %", "relative");
    printf("\n");
    for (int i = 0; i < r->n_rows; i++) {
        const ful_robust_row *row = &r->rows[i];
        printf("%-18s %s", row->corruption->name, row->corruption->common ? " " : "*");
        for (int s = 0; s < FUL_SEVERITIES; s++)
            if (q->severity[s]) printf(" %7s", percent(row->error[s], text[0]));
        printf(" %8s", percent(row->mean, text[0]));
        if (q->against)
            printf(" %8s %8s %9s", percent(row->other_mean, text[1]), percent(row->ce, text[2]),
                   percent(row->relative, text[3]));
        printf("\n");
    }
    printf("mean over the %d common ones: error %s %%", r->n_common, percent(r->mean, text[0]));
    if (q->against)
        printf(", mCE %s %%, relative mCE %s %% (of %s)", percent(r->mce, text[1]), percent(r->relative_mce, text[2]),
               q->against);
    printf("\n");
}

static json_t *severities_json(const eval_request *q, const double values[FUL_SEVERITIES])
{
    json_t *list = json_array();
    for (int s = 0; s < FUL_SEVERITIES; s++)
        json_array_append_new(list, q->severity[s] ? real_or_null(values[s]) : json_null());
    return list;
}

json_t *robust_json(const eval_request *q, const ful_robust *r)
{
    json_t *rows = json_array();
    for (int i = 0; i < r->n_rows; i++) {
        const ful_robust_row *row = &r->rows[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", row->corruption->name,
                                        "common", row->corruption->common, "error", severities_json(q, row->error), "nll",
                                        severities_json(q, row->nll), "ece", severities_json(q, row->ece), "mean_error",
                                        real_or_null(row->mean), "other_error", severities_json(q, row->other),
                                        "other_mean_error", real_or_null(row->other_mean), "ce", real_or_null(row->ce),
                                        "relative_ce", real_or_null(row->relative)));
    }
    return json_pack("{s:i, s:o, s:o, s:i, s:o, s:o, s:o, s:o}", "seed", q->corrupt_seed, "clean_error", real_or_null(r->clean),
                     "other_clean_error", real_or_null(r->other_clean), "common", r->n_common, "mean_error",
                     real_or_null(r->mean), "mce", real_or_null(r->mce), "relative_mce", real_or_null(r->relative_mce), "rows",
                     rows);
}
