/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report: one HTML page without scripts or outside files. Verdict first, then what it rests on, then every number and the
 * exact configurations. Works on a study's folder and on a single run's.
 */
#include "study/report.h"

#include <fulcrum/core.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/judged.h"

const json_t *ful__report_arm(const ful__report *r, int arm)
{
    return json_array_get(json_object_get(r->study, "arms"), (size_t)arm);
}

const char *ful__report_arm_name(const ful__report *r, int arm)
{
    return ful__json_string(ful__report_arm(r, arm), "name");
}

/* ---- loading ---- */

/* A single run dressed as a study of one arm and one seed. */
static ful_status study_of_run(const char *folder, json_t **out)
{
    char *path = NULL;
    json_t *result = NULL;
    *out = NULL;
    FUL_TRY(ful__path_join(&path, folder, "result.json"));
    ful_status status = ful__path_exists(path)
                            ? ful__json_load(path, &result)
                            : ful__fail(FUL_ERR_DATA, "cannot report on %s: it holds neither plan.yaml nor result.json",
                                        folder);
    ful__free(path);
    if (status != FUL_OK) return status;
    const char *arm = ful__json_string(result, "arm");
    *out = json_pack("{s:s, s:s, s:s, s:O*, s:f, s:[O*], s:[{s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:O*, s:O*, s:O*, "
                     "s:[{s:O*, s:s, s:s, s:o, s:o}]}], s:[]}",
                     "name", *arm ? arm : "run", "about", "one run", "version", ful__json_string(result, "version"), "data",
                     json_object_get(result, "data"), "level", 0.95, "seeds", json_object_get(result, "seed"), "arms", "name",
                     *arm ? arm : "run", "kind", "run", "label", "one run", "config", "", "n", 1, "acc_mean",
                     ful__json_real(ful__json_number(result, "test.acc")), "train_acc_mean",
                     ful__json_real(ful__json_number(result, "train.acc")), "images_per_s_median",
                     ful__json_real(ful__json_number(result, "images_per_s")), "infer_images_per_s_median",
                     ful__json_real(ful__json_number(result, "infer_images_per_s")), "macs", json_object_get(result, "macs"),
                     "params", json_object_get(result, "params"), "rho", json_object_get(result, "rho"), "runs", "seed",
                     json_object_get(result, "seed"), "status", "done", "folder", ".", "acc",
                     ful__json_real(ful__json_number(result, "test.acc")), "seconds",
                     ful__json_real(ful__json_number(result, "seconds.train")), "cells");
    json_decref(result);
    FUL_FAIL_IF(!*out, FUL_ERR_FORMAT, "cannot report on %s: its result.json lacks required figures", folder);
    json_t *only = json_array_get(json_object_get(*out, "arms"), 0);
    FUL_TRY(ful__judge_run(folder, json_array_get(json_object_get(only, "runs"), 0)));
    return ful__judge_arm(only, ful__json_number(*out, "level"));
}

static ful_status load_study(const char *folder, json_t **out)
{
    char *plan = NULL;
    FUL_TRY(ful__path_join(&plan, folder, "plan.yaml"));
    const bool is_study = ful__path_exists(plan);
    ful__free(plan);
    if (!is_study) return study_of_run(folder, out);
    ful_study *study = NULL;
    *out = NULL;
    ful_status status = ful_study_open(folder, &study);
    if (status == FUL_OK) status = ful__study_collect(study, out);
    if (status == FUL_OK) status = ful__study_judge(study, *out);
    ful_study_destroy(&study);
    return status;
}

static void report_deinit(ful__report *r)
{
    ful__report_free_curves(r);
    json_decref(r->study);
}

static ful_status report_load(ful__report *r, const char *folder)
{
    *r = (ful__report){.folder = folder};
    FUL_TRY(load_study(folder, &r->study));
    r->n_arms = (int)json_array_size(json_object_get(r->study, "arms"));
    r->n_seeds = (int)json_array_size(json_object_get(r->study, "seeds"));
    return ful__report_read_curves(r);
}

/* ---- sections ---- */

static const char *verdict_class(const char *verdict)
{
    return strcmp(verdict, "helps") == 0 ? "helps" : strcmp(verdict, "hurts") == 0 ? "hurts" : "open";
}

static void add_list(ful__str *out, const char *title, const json_t *lines)
{
    size_t i;
    json_t *line;
    if (json_array_size(lines) == 0) return;
    ful__str_addf(out, "<p><b>%s</b></p><ul>", title);
    json_array_foreach(lines, i, line)
    {
        ful__str_add(out, "<li>");
        ful__str_add_html(out, json_string_value(line));
        ful__str_add(out, "</li>");
    }
    ful__str_add(out, "</ul>");
}

static void add_verdict(ful__str *out, const json_t *cell, bool hero)
{
    const char *verdict = ful__json_string(cell, "verdict");
    ful__str_addf(out, "<article class=\"card verdict %s%s\"><span class=\"word\">", verdict_class(verdict),
                  hero ? " hero" : "");
    ful__str_add_html(out, verdict);
    ful__str_add(out, "</span> <span class=\"soft\">");
    ful__str_add_html(out, ful__json_string(cell, "name"));
    ful__str_add(out, "</span><p class=\"says\">");
    ful__str_add_html(out, ful__json_string(cell, "sentence"));
    ful__str_add(out, "</p>");
    add_list(out, "Why", json_object_get(cell, "why"));
    add_list(out, "What to try", json_object_get(cell, "try"));
    ful__str_add(out, "</article>");
}

static void add_header(ful__str *out, const ful__report *r)
{
    const json_t *data = json_object_get(r->study, "data");
    ful__str_add(out, "<h1>");
    ful__str_add_html(out, ful__json_string(r->study, "name"));
    ful__str_add(out, "</h1><p>");
    ful__str_add_html(out, ful__json_string(r->study, "about"));
    ful__str_add(out, "</p><p class=\"note\">");
    if (json_is_object(data)) {
        ful__str_add_html(out, ful__json_string(data, "name"));
        ful__str_addf(out, ": %.0f training and %.0f test images, %.0f classes · ", ful__json_number(data, "train"),
                      ful__json_number(data, "test"), ful__json_number(data, "classes"));
    }
    ful__str_addf(out, "%d arm%s × %d seed%s · fulcrum %s</p>", r->n_arms, r->n_arms == 1 ? "" : "s", r->n_seeds,
                  r->n_seeds == 1 ? "" : "s", ful__json_string(r->study, "version"));
}

static void add_verdicts(ful__str *out, const ful__report *r)
{
    const json_t *cells = json_object_get(r->study, "cells");
    const double headline = ful__json_number(r->study, "headline.cell");
    size_t i;
    json_t *cell;
    if (json_array_size(cells) == 0) return;
    if (isfinite(headline)) add_verdict(out, json_array_get(cells, (size_t)headline), true);
    json_array_foreach(cells, i, cell) if (!isfinite(headline) || i != (size_t)headline) add_verdict(out, cell, false);
    ful__str_add(out, "<p class=\"note\">");
    ful__str_add_html(out, ful__json_string(r->study, "power.sentence"));
    ful__str_add(out, " Verdicts use the Holm-adjusted p-value over all cells of the plan.</p>");
}

static void add_figures(ful__str *out, const ful__report *r)
{
    ful__str_add(out, "<section class=\"figures\">");
    for (const ful__figure *f = ful__figures; f->file; f++) {
        ful__str body = {0};
        if (f->draw(r, &body, false) && ful__str_status(&body) == FUL_OK) {
            ful__str_addf(out, "<figure class=\"card\"><h3>%s</h3>", f->title);
            ful__str_add_bytes(out, body.data, body.length);
            ful__str_addf(out, "<figcaption>%s</figcaption></figure>", f->caption);
        }
        ful__str_deinit(&body);
    }
    ful__str_add(out, "</section>");
}

/* A table cell: the value by the format, or a dash. */
static void add_td(ful__str *out, const char *fmt, double value)
{
    char text[64] = "–";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (isfinite(value)) snprintf(text, sizeof text, fmt, value);
#pragma GCC diagnostic pop
    ful__str_addf(out, "<td>%s</td>", text);
}

static void add_text_td(ful__str *out, const char *text)
{
    ful__str_add(out, "<td class=\"left\">");
    ful__str_add_html(out, text);
    ful__str_add(out, "</td>");
}

static void add_arm_table(ful__str *out, const ful__report *r)
{
    ful__str_add(out, "<h2>Arms</h2><div class=\"scroll card\"><table><thead><tr><th>arm</th><th "
                      "class=\"left\">what</th><th>runs</th><th>test %</th><th>sd</th>"
                      "<th>train %</th><th>at capacity %</th><th>MMACs</th><th>params k</th><th>active k</th><th>ρ "
                      "exec</th><th>ρ measured</th><th>ρ site</th>"
                      "<th>ρ total</th><th>ρ params</th><th>train images/s</th><th>infer images/s</th></tr></thead><tbody>");
    for (int a = 0; a < r->n_arms; a++) {
        const json_t *arm = ful__report_arm(r, a);
        static const struct {
            const char *path, *fmt;
            double factor;
        } columns[] = {{"n", "%.0f", 1},
                       {"acc_mean", "%.2f", 100},
                       {"acc_sd", "%.2f", 100},
                       {"train_acc_mean", "%.2f", 100},
                       {"acc_capacity_mean", "%.2f", 100},
                       {"macs.forward", "%.2f", 1e-6},
                       {"params.total", "%.0f", 1e-3},
                       {"params.active", "%.0f", 1e-3},
                       {"rho.exec", "%.3f", 1},
                       {"rho.exec_measured", "%.3f", 1},
                       {"rho.site", "%.3f", 1},
                       {"rho.total", "%.3f", 1},
                       {"rho.params", "%.3f", 1},
                       {"images_per_s_median", "%.0f", 1},
                       {"infer_images_per_s_median", "%.0f", 1}};
        ful__str_add(out, "<tr>");
        add_text_td(out, ful__json_string(arm, "name"));
        add_text_td(out, ful__json_string(arm, "label"));
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
            add_td(out, columns[i].fmt, columns[i].factor * ful__json_number(arm, columns[i].path));
        ful__str_add(out, "</tr>");
    }
    ful__str_add(out, "</tbody></table></div>");
}

static void add_cell_table(ful__str *out, const ful__report *r)
{
    size_t i;
    json_t *cell;
    const json_t *cells = json_object_get(r->study, "cells");
    if (json_array_size(cells) == 0) return;
    ful__str_addf(
        out,
        "<h2>Cells</h2><div class=\"scroll card\"><table><thead><tr><th>cell</th><th>pairs</th><th>gap, points</th><th>sd</th>"
        "<th>t interval (%.0f %%)</th><th>BCa interval</th><th>p (t)</th><th>p (flip)</th><th>p "
        "(sign)</th><th>Holm</th><th>Bonferroni</th>"
        "<th>MACs ratio</th><th>params ratio</th><th>time ratio</th><th class=\"left\">verdict</th></tr></thead><tbody>",
        100.0 * ful__json_number(r->study, "level"));
    json_array_foreach(cells, i, cell)
    {
        ful__str_add(out, "<tr>");
        add_text_td(out, ful__json_string(cell, "name"));
        add_td(out, "%.0f", ful__json_number(cell, "n"));
        add_td(out, "%+.2f", 100.0 * ful__json_number(cell, "mean"));
        add_td(out, "%.2f", 100.0 * ful__json_number(cell, "sd"));
        static const char *const intervals[] = {"ci", "bca"};
        for (int k = 0; k < 2; k++) {
            const json_t *pair = json_object_get(cell, intervals[k]);
            if (json_is_number(json_array_get(pair, 0)))
                ful__str_addf(out, "<td>%+.2f … %+.2f</td>", 100.0 * json_number_value(json_array_get(pair, 0)),
                              100.0 * json_number_value(json_array_get(pair, 1)));
            else
                ful__str_add(out, "<td>–</td>");
        }
        static const char *const numbers[] = {"p_t", "p_flip", "p_sign", "p_holm", "p_bonferroni"};
        for (int k = 0; k < 5; k++) add_td(out, "%.4f", ful__json_number(cell, numbers[k]));
        static const char *const ratios[] = {"macs_ratio", "params_ratio", "step_time_ratio"};
        for (int k = 0; k < 3; k++) add_td(out, "%.2f", ful__json_number(cell, ratios[k]));
        add_text_td(out, ful__json_string(cell, "verdict"));
        ful__str_add(out, "</tr>");
    }
    ful__str_add(out, "</tbody></table></div>");
}

static void add_run_table(ful__str *out, const ful__report *r)
{
    ful__str_add(out, "<h2>Runs</h2><div class=\"scroll card\"><table><thead><tr><th>arm</th><th>seed</th><th "
                      "class=\"left\">status</th><th>test %</th><th>at capacity %</th>"
                      "<th>train %</th><th>best seen %</th><th>effective experts</th><th>dead</th><th>dropped</th><th>class "
                      "MI</th><th>seconds</th></tr></thead><tbody>");
    for (int a = 0; a < r->n_arms; a++) {
        size_t i;
        json_t *run;
        json_array_foreach(json_object_get(ful__report_arm(r, a), "runs"), i, run)
        {
            char state[300];
            snprintf(state, sizeof state, "%s%s%s", ful__json_string(run, "status"),
                     *ful__json_string(run, "error") ? ": " : "", ful__json_string(run, "error"));
            ful__str_add(out, "<tr>");
            add_text_td(out, ful__report_arm_name(r, a));
            add_td(out, "%.0f", ful__json_number(run, "seed"));
            add_text_td(out, state);
            static const char *const shares[] = {"acc", "acc_capacity", "train_acc", "best_acc_seen"};
            for (int k = 0; k < 4; k++) add_td(out, "%.2f", 100.0 * ful__json_number(run, shares[k]));
            add_td(out, "%.2f", ful__json_number(run, "effective_experts"));
            add_td(out, "%.0f", ful__json_number(run, "dead"));
            add_td(out, "%.3f", ful__json_number(run, "drop_rate"));
            add_td(out, "%.3f", ful__json_number(run, "class_mi"));
            add_td(out, "%.1f", ful__json_number(run, "seconds"));
            ful__str_add(out, "</tr>");
        }
    }
    ful__str_add(out, "</tbody></table></div>");
}

static void add_configs(ful__str *out, const ful__report *r)
{
    ful__str_add(out, "<h2>Exact configurations</h2>");
    for (int a = 0; a < r->n_arms; a++) {
        const char *config = ful__json_string(ful__report_arm(r, a), "config");
        if (!*config) continue;
        ful__str_add(out, "<details class=\"card\"><summary>");
        ful__str_add_html(out, ful__report_arm_name(r, a));
        ful__str_add(out, "</summary><pre>");
        ful__str_add_html(out, config);
        ful__str_add(out, "</pre></details>");
    }
}

static ful_status build_page(ful__str *out, const ful__report *r)
{
    ful__str_add(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                      "content=\"width=device-width,initial-scale=1\"><title>");
    ful__str_add_html(out, ful__json_string(r->study, "name"));
    ful__str_add(out, " – Fulcrum</title><style>\n");
    ful__str_add(out, ful__report_css);
    ful__str_add(out, "</style></head><body><main>\n");
    add_header(out, r);
    add_verdicts(out, r);
    add_figures(out, r);
    FUL_TRY(ful__report_routing(r, out));
    FUL_TRY(ful__report_judge(r, out));
    FUL_TRY(ful__report_kept(r, out));
    add_cell_table(out, r);
    add_arm_table(out, r);
    add_run_table(out, r);
    add_configs(out, r);
    ful__str_add(out, "</main></body></html>\n");
    return ful__str_status(out);
}

/* ---- entry points ---- */

ful_status ful_report_write(const char *folder, const char *html_path)
{
    ful__report r;
    ful__str page = {0};
    ful_status status = report_load(&r, folder);
    if (status == FUL_OK) status = build_page(&page, &r);
    if (status == FUL_OK) status = ful__file_write(html_path, page.data, page.length);
    ful__str_deinit(&page);
    report_deinit(&r);
    return status;
}

ful_status ful_report_figures(const char *folder, const char *out_folder)
{
    ful__report r;
    ful_status status = report_load(&r, folder);
    if (status == FUL_OK) status = ful__mkdirs(out_folder);
    for (const ful__figure *f = ful__figures; f->file && status == FUL_OK; f++) {
        ful__str picture = {0};
        char name[64], *path = NULL;
        snprintf(name, sizeof name, "%s.svg", f->file);
        if (f->draw(&r, &picture, true)) {
            status = ful__str_status(&picture);
            if (status == FUL_OK) status = ful__path_join(&path, out_folder, name);
            if (status == FUL_OK) status = ful__file_write(path, picture.data, picture.length);
        }
        ful__free(path);
        ful__str_deinit(&picture);
    }
    report_deinit(&r);
    return status;
}
