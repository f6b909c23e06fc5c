/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the page about what the nets said of each test image (predictions.bin of the runs): accuracy and calibration of
 * each arm, confusion and reliability, recall by class, and McNemar's test between the arms of each seed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "judge/charts.h"
#include "study/judged.h"
#include "study/report.h"

enum { PICTURES_MAX = 12, CLASS_COLUMNS_MAX = 16, CLASS_ROWS_MAX = 20 };

/* An arm over its seeds. */
typedef struct judged {
    ful_judgement pooled; /* over the images of all seeds; count 0: there is nothing */
    int runs;
} judged;

/* ---- reading ---- */

static const json_t *run_of(const ful__report *r, int arm, int seed)
{
    return json_array_get(json_object_get(ful__report_arm(r, arm), "runs"), (size_t)seed);
}

/* Of a finished run. A file that is damaged is told on the page; one that is missing was written by an older version. */
static ful_status read_said(const ful__report *r, int arm, int seed, ful__str *notes, ful__said *out)
{
    *out = (ful__said){0};
    if (strcmp(ful__json_string(run_of(r, arm, seed), "status"), "done") != 0) return FUL_OK;
    const ful_status status = ful__said_read(r->folder, ful__json_string(run_of(r, arm, seed), "folder"), out);
    if (status != FUL_ERR_FORMAT && status != FUL_ERR_IO) return status;
    ful__str_add(notes, "<p class=\"note\">");
    ful__str_add_html(notes, ful_error_message());
    ful__str_add(notes, "</p>");
    return FUL_OK;
}

static ful_status judge_run(const ful__said *s, judged *arm)
{
    ful_judgement j = {0};
    if (!s->outcome || s->n == 0) return FUL_OK;
    FUL_TRY(ful_judge(s->outcome, s->n, s->classes, NULL, &j));
    ful_status status = FUL_OK;
    arm->runs++;
    if (arm->pooled.count == 0) {
        arm->pooled = j;
        return FUL_OK;
    }
    status = ful_judgement_add(&arm->pooled, &j);
    ful_judgement_deinit(&j);
    return status;
}

static ful_status judge_arms(const ful__report *r, judged *arms, ful__str *notes)
{
    for (int a = 0; a < r->n_arms; a++)
        for (int s = 0; s < r->n_seeds; s++) {
            ful__said it;
            FUL_TRY(read_said(r, a, s, notes, &it));
            const ful_status status = judge_run(&it, &arms[a]);
            ful_free(it.outcome);
            FUL_TRY(status);
        }
    return FUL_OK;
}

/* ---- table of the arms ---- */

static void add_figure(const ful__judged_figure *f, const json_t *value, bool difference, ful__str *out)
{
    const json_t *ci = json_object_get(value, "ci");
    const double mean = f->factor * ful__json_number(value, "mean"), low = f->factor * json_number_value(json_array_get(ci, 0)),
                 high = f->factor * json_number_value(json_array_get(ci, 1));
    if (!isfinite(mean))
        ful__str_add(out, "<td>–");
    else if (difference)
        ful__str_addf(out, "<td>%+.*f", f->digits, mean);
    else
        ful__str_addf(out, "<td>%.*f", f->digits, mean);
    if (json_is_array(ci) && difference)
        ful__str_addf(out, "<br><span class=\"soft\">%+.*f … %+.*f</span>", f->digits, low, f->digits, high);
    else if (json_is_array(ci))
        ful__str_addf(out, "<br><span class=\"soft\">%.*f … %.*f</span>", f->digits, low, f->digits, high);
    ful__str_add(out, "</td>");
}

/* A table of the arms, or of the differences in the cells; returns the largest number of seeds of a row, 0: nothing is added.
 */
static int add_figure_table(const json_t *rows, const char *what, int first, bool difference, ful__str *out)
{
    int most = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const json_t *judge = json_object_get(row, "judge");
        const int n = (int)json_integer_value(json_object_get(judge, "n"));
        if (n == 0) continue;
        if (most == 0) {
            ful__str_addf(out, "<div class=\"scroll card\"><table><thead><tr><th>%s</th><th>%s</th>", what,
                          difference ? "pairs" : "seeds");
            for (const ful__judged_figure *f = &ful__judged_figures[first]; f->key; f++)
                ful__str_addf(out, "<th>%s%s</th>", difference ? "Δ " : "", f->title);
            ful__str_add(out, "</tr></thead><tbody>");
        }
        if (n > most) most = n;
        ful__str_add(out, "<tr><td>");
        ful__str_add_html(out, ful__json_string(row, "name"));
        ful__str_addf(out, "</td><td>%d</td>", n);
        for (const ful__judged_figure *f = &ful__judged_figures[first]; f->key; f++)
            add_figure(f, json_object_get(judge, f->key), difference, out);
        ful__str_add(out, "</tr>");
    }
    if (most > 0) ful__str_add(out, "</tbody></table></div>");
    return most;
}

static void add_arm_figures(const ful__report *r, ful__str *out)
{
    const int most = add_figure_table(json_object_get(r->study, "arms"), "arm", 0, false, out);
    if (most == 0) return;
    ful__str_add(out, "<p class=\"note\">");
    if (most > 1)
        ful__str_addf(out, "Means over seeds, with Student's interval of the mean at %.0f %%. ",
                      100.0 * ful__json_number(r->study, "level"));
    ful__str_add(out, "ECE: 15 bins. Lower is better from NLL on.</p>");
}

static void add_cell_figures(const ful__report *r, ful__str *out)
{
    const int most = add_figure_table(json_object_get(r->study, "cells"), "secondary differences", FUL__JUDGED_TOP5, true, out);
    if (most == 0) return;
    ful__str_add(out, "<p class=\"note\">First arm of the cell minus the second, run by run of the same seed");
    if (most > 1)
        ful__str_addf(out, ", with Student's interval of the mean at %.0f %%", 100.0 * ful__json_number(r->study, "level"));
    ful__str_add(out,
                 ". Secondary: verdicts rest on accuracy alone, none is drawn from these, and nothing corrects for how many "
                 "they are. Below zero is better for the first arm from NLL on.</p>");
}

/* ---- pictures ---- */

static void add_pictures(const ful__report *r, const judged *arms, const char *const *names, ful__str *out)
{
    int drawn = 0, left = 0;
    for (int a = 0; a < r->n_arms; a++) {
        if (arms[a].runs == 0) continue;
        if (drawn == PICTURES_MAX) {
            left++;
            continue;
        }
        const char *const *own = arms[a].pooled.classes <=
                                         (int)json_array_size(json_object_get(json_object_get(r->study, "data"), "class_names"))
                                     ? names
                                     : NULL;
        drawn++;
        ful__str_add(out, "<article class=\"card\"><h3>");
        ful__str_add_html(out, ful__report_arm_name(r, a));
        ful__str_add(out, "</h3><div class=\"pair\"><figure>");
        ful__confusion_svg(&arms[a].pooled, own, false, out);
        ful__str_add(out,
                     "<figcaption>Confusion, all seeds together: rows are true classes; blue is right, orange wrong, by the "
                     "root of the share of the class.</figcaption></figure><figure>");
        ful__reliability_svg(&arms[a].pooled, false, out);
        ful__str_add(out, "<figcaption>Accuracy by confidence, all seeds together; red is the gap to the mean confidence, bars "
                          "below count images.</figcaption></figure></div></article>");
    }
    if (left > 0) ful__str_addf(out, "<p class=\"note\">%d more arms are not drawn.</p>", left);
}

/* ---- classes ---- */

static double recall_of(const judged *arm, int c)
{
    return arm->runs > 0 && c < arm->pooled.classes ? arm->pooled.per_class[c].recall : NAN;
}

/* How far the arms lie apart in a class. */
static double spread_of(const judged *arms, int n_arms, int c)
{
    double low = INFINITY, high = -INFINITY;
    for (int a = 0; a < n_arms; a++) {
        const double v = recall_of(&arms[a], c);
        if (isnan(v)) continue;
        low = fmin(low, v);
        high = fmax(high, v);
    }
    return high >= low ? high - low : 0.0;
}

/* The classes in order, or of many those in which the arms differ most; returns how many. */
static int choose_classes(const judged *arms, int n_arms, int classes, int chosen[CLASS_ROWS_MAX])
{
    int n = 0;
    for (int c = 0; c < classes; c++) {
        int at = n;
        if (classes > CLASS_ROWS_MAX)
            while (at > 0 && spread_of(arms, n_arms, chosen[at - 1]) < spread_of(arms, n_arms, c)) at--;
        if (at == CLASS_ROWS_MAX) continue;
        if (n < CLASS_ROWS_MAX) n++;
        for (int i = n - 1; i > at; i--) chosen[i] = chosen[i - 1];
        chosen[at] = c;
    }
    return n;
}

static void add_classes(const ful__report *r, const judged *arms, const char *const *names, int n_names, ful__str *out)
{
    int chosen[CLASS_ROWS_MAX], classes = 0;
    for (int a = 0; a < r->n_arms; a++)
        if (arms[a].runs > 0 && arms[a].pooled.classes > classes) classes = arms[a].pooled.classes;
    const int n = choose_classes(arms, r->n_arms, classes, chosen);
    ful__str_addf(out,
                  "<div class=\"scroll card\"><table class=\"heat\"><caption>Recall by class, %%, all seeds together%s"
                  "</caption><thead><tr><th></th>",
                  classes > CLASS_ROWS_MAX ? ": the classes in which the arms differ most" : "");
    const int columns = r->n_arms < CLASS_COLUMNS_MAX ? r->n_arms : CLASS_COLUMNS_MAX;
    for (int a = 0; a < columns; a++) {
        ful__str_add(out, "<th>");
        ful__str_add_html(out, ful__report_arm_name(r, a));
        ful__str_add(out, "</th>");
    }
    ful__str_add(out, "</tr></thead><tbody>");
    for (int i = 0; i < n; i++) {
        ful__str_add(out, "<tr><th>");
        if (chosen[i] < n_names)
            ful__str_add_html(out, names[chosen[i]]);
        else
            ful__str_addf(out, "class %d", chosen[i]);
        ful__str_add(out, "</th>");
        for (int a = 0; a < columns; a++) {
            const double v = recall_of(&arms[a], chosen[i]);
            if (isnan(v))
                ful__str_add(out, "<td>–</td>");
            else
                ful__str_addf(out, "<td style=\"--a:%.2f\">%.1f</td>", v, 100.0 * v);
        }
        ful__str_add(out, "</tr>");
    }
    ful__str_add(out, "</tbody></table></div>");
}

/* ---- McNemar ---- */

static int arm_named(const ful__report *r, const char *name)
{
    for (int a = 0; a < r->n_arms; a++)
        if (strcmp(ful__report_arm_name(r, a), name) == 0) return a;
    return -1;
}

static void add_comparison(const json_t *cell, double seed, const ful_mcnemar *m, ful__str *out)
{
    ful__str_add(out, "<tr><td>");
    ful__str_add_html(out, ful__json_string(cell, "name"));
    ful__str_addf(out,
                  "</td><td>%.0f</td><td>%lld</td><td>%lld</td><td>%lld</td><td>%lld</td><td>%+.2f</td><td>%+.2f … %+.2f</td>"
                  "<td>%.4f</td><td>%.4f</td><td class=\"left\">%s</td></tr>",
                  seed, (long long)m->both, (long long)m->only_a, (long long)m->only_b, (long long)m->neither,
                  100.0 * m->difference, 100.0 * m->low, 100.0 * m->high, m->p, m->p_mid, m->exact ? "exact" : "chi-square");
}

/* One seed of a cell, where both runs kept what they said of the same images. */
static ful_status compare_seed(const ful__report *r, const json_t *cell, int seed, ful__str *notes, ful__str *rows)
{
    const int a = arm_named(r, ful__json_string(cell, "arm")), b = arm_named(r, ful__json_string(cell, "against"));
    ful__said one = {0}, two = {0};
    ful_status status = FUL_OK;
    if (a < 0 || b < 0) return FUL_OK;
    FUL_TRY_GOTO(status, done, read_said(r, a, seed, notes, &one));
    FUL_TRY_GOTO(status, done, read_said(r, b, seed, notes, &two));
    if (one.outcome && two.outcome && one.n == two.n && one.n > 0 && one.fingerprint == two.fingerprint) {
        ful_mcnemar m;
        status = ful_judge_compare(one.outcome, two.outcome, one.n, 0.95, &m);
        if (status == FUL_OK) add_comparison(cell, ful__json_number(run_of(r, a, seed), "seed"), &m, rows);
    }
done:
    ful_free(one.outcome);
    ful_free(two.outcome);
    return status;
}

static ful_status add_comparisons(const ful__report *r, ful__str *out)
{
    ful__str rows = {0}, ignored = {0}; /* damaged files were told before */
    ful_status status = FUL_OK;
    size_t i;
    json_t *cell;
    json_array_foreach(json_object_get(r->study, "cells"), i, cell)
    {
        for (int s = 0; s < r->n_seeds && status == FUL_OK; s++) status = compare_seed(r, cell, s, &ignored, &rows);
    }
    if (status == FUL_OK) status = ful__str_status(&rows);
    if (status == FUL_OK && rows.length > 0) {
        ful__str_add(out,
                     "<details class=\"card\"><summary>McNemar's test between the arms of each seed</summary><p class=\"note\">"
                     "Whether two nets differ on these images in more than luck. It says nothing about other seeds: the "
                     "verdicts above do.</p><div class=\"scroll\"><table><thead><tr><th>cell</th><th>seed</th><th>both "
                     "right</th><th>only first</th><th>only second</th><th>both wrong</th><th>points</th><th>95 % "
                     "interval</th><th>p</th><th>mid-p</th><th class=\"left\">test</th></tr></thead><tbody>");
        ful__str_add_bytes(out, rows.data, rows.length);
        ful__str_add(out, "</tbody></table></div></details>");
    }
    ful__str_deinit(&rows);
    ful__str_deinit(&ignored);
    return status;
}

/* ---- the section ---- */

static ful_status list_names(const ful__report *r, const char ***out, int *n)
{
    const json_t *list = json_object_get(json_object_get(r->study, "data"), "class_names");
    *n = (int)json_array_size(list);
    FUL_TRY(ful__calloc(out, (size_t)*n + 1, sizeof **out, "class names"));
    for (int c = 0; c < *n; c++) {
        const char *name = json_string_value(json_array_get(list, (size_t)c));
        (*out)[c] = name ? name : "";
    }
    return FUL_OK;
}

ful_status ful__report_judge(const ful__report *r, ful__str *out)
{
    judged *arms = NULL;
    const char **names = NULL;
    int n_names = 0, runs = 0;
    ful__str notes = {0};
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__calloc(&arms, (size_t)r->n_arms + 1, sizeof *arms, "judged arms"));
    FUL_TRY_GOTO(status, done, list_names(r, &names, &n_names));
    FUL_TRY_GOTO(status, done, judge_arms(r, arms, &notes));
    FUL_TRY_GOTO(status, done, ful__str_status(&notes));
    for (int a = 0; a < r->n_arms; a++) runs += arms[a].runs;
    if (runs > 0 || notes.length > 0) ful__str_add(out, "<section><h2>What the nets said of the test images</h2>");
    if (notes.length > 0) ful__str_add_bytes(out, notes.data, notes.length);
    if (runs > 0) {
        add_arm_figures(r, out);
        add_cell_figures(r, out);
        add_pictures(r, arms, names, out);
        add_classes(r, arms, names, n_names, out);
        FUL_TRY_GOTO(status, done, add_comparisons(r, out));
    }
    if (runs > 0 || notes.length > 0) ful__str_add(out, "</section>");
done:
    for (int a = 0; arms && a < r->n_arms; a++) ful_judgement_deinit(&arms[a].pooled);
    ful__free(arms);
    ful__free(names);
    ful__str_deinit(&notes);
    return status;
}
