/* SPDX-License-Identifier: Apache-2.0 */
/* The result of fulcrum eval as JSON (doc/judging.md). A figure that does not exist is null. */
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

enum { PAIRS = 100 };

static json_t *interval(double low, double high)
{
    return json_pack("[o, o]", real_or_null(low), real_or_null(high));
}

static json_t *bins_json(const ful_bin *bins, int n)
{
    json_t *list = json_array();
    for (int b = 0; b < n; b++)
        json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:o, s:o}", "low", real_or_null(bins[b].low), "high",
                                              real_or_null(bins[b].high), "images", (json_int_t)bins[b].count, "confidence",
                                              real_or_null(bins[b].confidence), "accuracy", real_or_null(bins[b].accuracy)));
    return list;
}

static json_t *calibration_json(const ful_judgement *j)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "nll", real_or_null(j->nll), "brier", real_or_null(j->brier),
                     "ece", real_or_null(j->ece_width), "ece_equal_mass", real_or_null(j->ece_mass), "mce",
                     real_or_null(j->mce), "confidence", real_or_null(j->confidence), "bins", bins_json(j->width, j->bins),
                     "bins_equal_mass", bins_json(j->mass, j->bins));
}

static json_t *classes_json(const eval_result *r)
{
    json_t *list = json_array();
    for (int c = 0; c < r->judgement.classes; c++) {
        const ful_class_figures *f = &r->judgement.per_class[c];
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "name", text_json(r->names[c]),
                                              "support", (json_int_t)f->support, "predicted", (json_int_t)f->predicted,
                                              "correct", (json_int_t)f->correct, "accuracy", real_or_null(f->accuracy),
                                              "precision", real_or_null(f->precision), "recall", real_or_null(f->recall),
                                              "recall_ci", interval(f->recall_low, f->recall_high), "f1", real_or_null(f->f1)));
    }
    return list;
}

static json_t *matrix_json(const ful_judgement *j)
{
    json_t *rows = json_array();
    for (int i = 0; i < j->classes; i++) {
        json_t *row = json_array();
        for (int k = 0; k < j->classes; k++)
            json_array_append_new(row, json_integer(j->confusion[(int64_t)i * j->classes + k]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *confused_json(const eval_result *r)
{
    ful_confused pairs[PAIRS];
    const int n = ful_judge_confused(&r->judgement, PAIRS, pairs);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:f}", "true", text_json(r->names[pairs[i].truth]), "predicted",
                                              text_json(r->names[pairs[i].predicted]), "images", (json_int_t)pairs[i].count,
                                              "share", pairs[i].share));
    return list;
}

static json_t *batches_json(const eval_request *q, const eval_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < q->n_batches; i++)
        json_array_append_new(list, json_pack("{s:i, s:I, s:o, s:b}", "batch", q->batches[i], "differ",
                                              (json_int_t)r->agreement[i].differ, "largest_logit_difference",
                                              real_or_null(r->agreement[i].largest), "same_bits", r->agreement[i].bits));
    return list;
}

static json_t *against_json(const eval_request *q, const eval_result *r)
{
    const ful_mcnemar *m = &r->compared;
    return json_pack("{s:o, s:f, s:f, s:o, s:f, s:{s:I, s:I, s:I, s:I}, s:f, s:s, s:f, s:f, s:f, s:f}", "model",
                     text_json(q->against), "accuracy", r->other_accuracy, "difference", m->difference, "difference_ci",
                     interval(m->low, m->high), "level", m->level, "table", "both_right", (json_int_t)m->both, "only_this",
                     (json_int_t)m->only_a, "only_other", (json_int_t)m->only_b, "both_wrong", (json_int_t)m->neither, "p",
                     m->p, "test", m->exact ? "exact" : "chi2", "p_exact", m->p_exact, "p_mid", m->p_mid, "chi2", m->chi2,
                     "p_chi2", m->p_chi2);
}

/* NULL: out of memory. */
static json_t *eval_json(const eval_request *q, const eval_result *r)
{
    static const char *const splits[] = {"train", "val", "test"};
    const ful_judgement *j = &r->judgement;
    json_t *out = json_pack("{s:s, s:s, s:I, s:f, s:o, s:f, s:o, s:o, s:f, s:f}", "format", "fulcrum-evaluation-1", "split",
                            splits[q->split], "images", (json_int_t)j->count, "accuracy", j->accuracy, "accuracy_ci",
                            interval(j->accuracy_low, j->accuracy_high), "top5", j->top5, "top5_ci",
                            interval(j->top5_low, j->top5_high), "loss", real_or_null(j->nll), "level", j->level, "seconds",
                            r->predictions.seconds);
    int bad = json_object_set_new(out, "skipped", json_integer(r->predictions.skipped));
    bad |= json_object_set_new(out, "calibration", calibration_json(j));
    if (r->temperature > 0) {
        bad |= json_object_set_new(out, "temperature",
                                   json_pack("{s:f, s:s, s:I, s:o}", "value", r->temperature, "fitted_on", "val", "images",
                                             (json_int_t)r->temperature_images, "calibration", calibration_json(&r->cooled)));
    }
    bad |= json_object_set_new(out, "macro",
                               json_pack("{s:o, s:o, s:o}", "precision", real_or_null(j->macro_precision), "recall",
                                         real_or_null(j->macro_recall), "f1", real_or_null(j->macro_f1)));
    bad |= json_object_set_new(out, "per_class", classes_json(r));
    bad |= json_object_set_new(out, "most_confused", confused_json(r));
    bad |= json_object_set_new(out, "confusion", matrix_json(j));
    if (q->n_batches > 0) {
        bad |= json_object_set_new(out, "batches", batches_json(q, r));
        bad |= json_object_set_new(out, "batches_may_differ", json_boolean(r->coupled));
    }
    if (q->against) bad |= json_object_set_new(out, "against", against_json(q, r));
    if (q->n_corrupt > 0) bad |= json_object_set_new(out, "corruptions", robust_json(q, &r->robust));
    if (q->tta)
        bad |= json_object_set_new(
            out, "tta", json_pack("{s:s, s:i}", "views_of", q->tta, "views", q->n_views * (q->ten_crop > 0 ? 10 : 1)));
    if (bad) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

int show_eval_json(const eval_request *q, const eval_result *r)
{
    return print_json(eval_json(q, r));
}

ful_status keep_eval(const eval_request *q, const eval_result *r)
{
    json_t *object = eval_json(q, r);
    char *text = object ? json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(8)) : NULL;
    json_decref(object);
    const ful_status status = text ? ful_judge_write_figure(q->model, "evaluation.json", text) : FUL_ERR_MEMORY;
    free(text);
    return status;
}
