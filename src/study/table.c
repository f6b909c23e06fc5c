/* SPDX-License-Identifier: Apache-2.0 */
/* The study's results for a terminal and as study.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/str.h"
#include "study/judged.h"
#include "study/study.h"

/* A cell of the table: the number, or a dash. */
static void add_number(ful__str *s, const char *fmt, int width, double value)
{
    if (!isfinite(value)) {
        ful__str_addf(s, "%*s", width, "-");
        return;
    }
    char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, fmt, value);
#pragma GCC diagnostic pop
    ful__str_addf(s, "%*s", width, text);
}

static void add_arms(ful__str *s, const json_t *root)
{
    size_t i;
    json_t *arm;
    ful__str_addf(s, "%-16s %5s %16s %9s %9s %7s %9s  %s\n", "arm", "runs", "accuracy %", "MMACs", "params", "rho", "images/s",
                  "what");
    json_array_foreach(json_object_get(root, "arms"), i, arm)
    {
        const double n = ful__json_number(arm, "n"), mean = 100.0 * ful__json_number(arm, "acc_mean");
        char accuracy[48] = "-";
        if (isfinite(mean) && n > 1)
            snprintf(accuracy, sizeof accuracy, "%.2f +- %.2f", mean, 100.0 * ful__json_number(arm, "acc_sd"));
        else if (isfinite(mean))
            snprintf(accuracy, sizeof accuracy, "%.2f", mean);
        ful__str_addf(s, "%-16s %2.0f/%-2zu %16s", ful__json_string(arm, "name"), n,
                      json_array_size(json_object_get(arm, "runs")), accuracy);
        add_number(s, "%.2f", 10, 1e-6 * ful__json_number(arm, "macs.forward"));
        add_number(s, "%.0fk", 10, 1e-3 * ful__json_number(arm, "params.total"));
        add_number(s, "%.3f", 8, ful__json_number(arm, "rho.exec"));
        add_number(s, "%.0f", 10, ful__json_number(arm, "images_per_s_median"));
        ful__str_addf(s, "  %s\n", ful__json_string(arm, "label"));
    }
}

enum { FIGURE_BYTES = 32 };

/* A figure of judging as it is shown, signed where it is a difference. */
static const char *figure_text(const ful__judged_figure *f, double value, bool difference, char text[FIGURE_BYTES])
{
    if (difference)
        snprintf(text, FIGURE_BYTES, "%+.*f", f->digits, f->factor * value);
    else
        snprintf(text, FIGURE_BYTES, "%.*f", f->digits, f->factor * value);
    return text;
}

/* " 12.34 [11.90, 12.78]"; a dash for what there is not, or what says nothing: top-5 of at most five classes. */
static void add_judged_figure(ful__str *s, const json_t *judge, int which, double classes, bool difference)
{
    const ful__judged_figure *f = &ful__judged_figures[which];
    const json_t *value = json_object_get(judge, f->key), *ci = json_object_get(value, "ci");
    const double mean = ful__json_number(value, "mean");
    char mean_text[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES], text[3 * FIGURE_BYTES + 8] = "-";
    const bool shown = isfinite(mean) && (which != FUL__JUDGED_TOP5 || !(classes <= FUL_JUDGE_TOP));
    if (shown && json_is_array(ci))
        snprintf(text, sizeof text, "%s [%s, %s]", figure_text(f, mean, difference, mean_text),
                 figure_text(f, json_number_value(json_array_get(ci, 0)), difference, low),
                 figure_text(f, json_number_value(json_array_get(ci, 1)), difference, high));
    else if (shown)
        figure_text(f, mean, difference, text);
    ful__str_addf(s, " %25s", text);
}

/* A row for each arm, or each cell, that has figures; nothing, not even the heading, where none has. */
static void add_judged_rows(ful__str *s, const json_t *root, const char *list, int name_width, const char *heading)
{
    static const int shown[] = {FUL__JUDGED_TOP5, FUL__JUDGED_NLL, FUL__JUDGED_ECE};
    const double classes = ful__json_number(root, "data.classes");
    const bool difference = strcmp(list, "cells") == 0;
    size_t i;
    json_t *row;
    bool begun = false;
    json_array_foreach(json_object_get(root, list), i, row)
    {
        const json_t *judge = json_object_get(row, "judge");
        if (!json_is_object(judge)) continue;
        if (!begun) ful__str_add(s, heading);
        begun = true;
        ful__str_addf(s, "%-*s %5.0f", name_width, ful__json_string(row, "name"), ful__json_number(judge, "n"));
        for (int k = 0; k < 3; k++) add_judged_figure(s, judge, shown[k], classes, difference);
        ful__str_add(s, "\n");
    }
}

/* What the nets said of the test images: means and intervals over seeds. */
static void add_judged(ful__str *s, const json_t *root)
{
    char heading[200];
    snprintf(heading, sizeof heading, "\n%-16s %5s %25s %25s %25s  (%.0f %% intervals over seeds)\n", "on test images", "seeds",
             "top-5 %", "NLL", "ECE %", 100.0 * ful__json_number(root, "level"));
    add_judged_rows(s, root, "arms", 16, heading);
}

/* The same of the differences between the arms of each cell. */
static void add_judged_cells(ful__str *s, const json_t *root)
{
    char heading[200];
    snprintf(heading, sizeof heading,
             "\n%-28s %5s %25s %25s %25s  (paired, %.0f %% intervals; no verdict is drawn from these)\n",
             "secondary differences", "pairs", "top-5 points", "NLL", "ECE points", 100.0 * ful__json_number(root, "level"));
    add_judged_rows(s, root, "cells", 28, heading);
}

static void add_cells(ful__str *s, const json_t *root)
{
    size_t i, j;
    json_t *cell, *line;
    const double level = 100.0 * ful__json_number(root, "level");
    ful__str_addf(s, "\n%-28s %5s %8s  %.0f %% interval %*s %8s %9s  %s\n", "gap in points", "pairs", "mean", level, 6, "", "p",
                  "p (Holm)", "verdict");
    json_array_foreach(json_object_get(root, "cells"), i, cell)
    {
        const json_t *ci = json_object_get(cell, "ci");
        const double low = json_number_value(json_array_get(ci, 0)), high = json_number_value(json_array_get(ci, 1));
        ful__str_addf(s, "%-28s %5.0f", ful__json_string(cell, "name"), ful__json_number(cell, "n"));
        add_number(s, "%+.2f", 9, 100.0 * ful__json_number(cell, "mean"));
        if (json_is_number(json_array_get(ci, 0)))
            ful__str_addf(s, "  [%+6.2f, %+6.2f]   ", 100.0 * low, 100.0 * high);
        else
            ful__str_addf(s, "  %-19s", "-");
        add_number(s, "%.4f", 9, ful__json_number(cell, "p"));
        add_number(s, "%.4f", 10, ful__json_number(cell, "p_holm"));
        ful__str_addf(s, "  %s\n", ful__json_string(cell, "verdict"));
    }
    add_judged_cells(s, root);
    json_array_foreach(json_object_get(root, "cells"), i, cell)
    {
        ful__str_addf(s, "\n%s\n", ful__json_string(cell, "sentence"));
        json_array_foreach(json_object_get(cell, "why"), j, line) ful__str_addf(s, "  - %s\n", json_string_value(line));
        json_array_foreach(json_object_get(cell, "try"), j, line) ful__str_addf(s, "  > try: %s\n", json_string_value(line));
    }
}

static void add_failures(ful__str *s, const json_t *root)
{
    size_t i, j;
    json_t *arm, *run;
    json_array_foreach(json_object_get(root, "arms"), i, arm) json_array_foreach(json_object_get(arm, "runs"), j, run)
    {
        const char *state = ful__json_string(run, "status");
        if (strcmp(state, "done") == 0) continue;
        ful__str_addf(s, "%s seed %.0f is %s%s%s\n", ful__json_string(arm, "name"), ful__json_number(run, "seed"), state,
                      *ful__json_string(run, "error") ? ": " : "", ful__json_string(run, "error"));
    }
}

ful_status ful__study_table(const json_t *root, char **text_out)
{
    ful__str s = {0};
    ful__str_addf(&s, "%s", ful__json_string(root, "name"));
    if (*ful__json_string(root, "about")) ful__str_addf(&s, ": %s", ful__json_string(root, "about"));
    ful__str_add(&s, "\n\n");
    add_arms(&s, root);
    add_judged(&s, root);
    add_cells(&s, root);
    ful__str_addf(&s, "\n%s\n", ful__json_string(root, "power.sentence"));
    add_failures(&s, root);
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK)
        *text_out = ful__str_take(&s);
    else
        ful__str_deinit(&s);
    return status;
}

ful_status ful__study_save(const ful_study *study, const json_t *judged)
{
    char *path = NULL, *text = json_dumps(judged, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    FUL_FAIL_IF(!text, FUL_ERR_MEMORY, "cannot write study.json: out of memory");
    ful_status status = ful__path_join(&path, study->folder, "study.json");
    if (status == FUL_OK) status = ful__file_write(path, text, strlen(text));
    ful__free(path);
    free(text);
    return status;
}

ful_status ful_study_results(ful_study *study, bool json, char **text_out)
{
    json_t *root = json_incref(study->judged);
    *text_out = NULL;
    FUL_FAIL_IF(!study->folder, FUL_ERR_ARG,
                "cannot show the results of study '%s': it was neither run nor opened from a folder", study->name);
    ful_status status = root ? FUL_OK : ful__study_collect(study, &root);
    if (status == FUL_OK && !study->judged) status = ful__study_judge(study, root);
    if (status == FUL_OK && json) {
        char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
        status = text ? ful__strdup(text_out, text)
                      : ful__fail(FUL_ERR_MEMORY, "cannot write the study as JSON: out of memory");
        free(text);
    } else if (status == FUL_OK) {
        status = ful__study_table(root, text_out);
    }
    json_decref(root);
    return status;
}
