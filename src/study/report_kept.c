/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the page about what `fulcrum eval --keep` left in the folders of runs (evaluation.json, doc/judging.md): several
 * views, a temperature, other batches, another classifier, corrupted images. Needs neither images nor nets.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "judge/charts.h"
#include "study/report.h"

static void add_percent(ful__str *out, double share)
{
    if (isfinite(share))
        ful__str_addf(out, "<td>%.2f</td>", 100.0 * share);
    else
        ful__str_add(out, "<td>–</td>");
}

static double item(const json_t *list, size_t i)
{
    const json_t *value = json_array_get(list, i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* "top-1 40.10 % (37.11 … 43.17), top-5 89.50 %, NLL 1.6089, ECE 3.30 % on 1000 images of the test split" */
static void add_summary(const json_t *kept, ful__str *out)
{
    const json_t *ci = json_object_get(kept, "accuracy_ci"), *views = json_object_get(kept, "tta");
    ful__str_addf(out, "<p>top-1 <b>%.2f %%</b> (%.2f … %.2f), top-5 %.2f %%, NLL %.4f, ECE %.2f %% on %.0f images of the ",
                  100.0 * ful__json_number(kept, "accuracy"), 100.0 * item(ci, 0), 100.0 * item(ci, 1),
                  100.0 * ful__json_number(kept, "top5"), ful__json_number(kept, "calibration.nll"),
                  100.0 * ful__json_number(kept, "calibration.ece"), ful__json_number(kept, "images"));
    ful__str_add_html(out, ful__json_string(kept, "split"));
    ful__str_add(out, " split");
    if (ful__json_number(kept, "skipped") > 0)
        ful__str_addf(out, "; %.0f damaged ones left out", ful__json_number(kept, "skipped"));
    if (json_is_object(views)) {
        ful__str_addf(out, "; probabilities averaged over %.0f views (", ful__json_number(views, "views"));
        ful__str_add_html(out, ful__json_string(views, "views_of"));
        ful__str_add(out, ")");
    }
    ful__str_add(out, ".</p>");
}

static void add_temperature(const json_t *kept, ful__str *out)
{
    const json_t *t = json_object_get(kept, "temperature");
    if (!json_is_object(t)) return;
    ful__str_addf(out,
                  "<p>At temperature %.3f, fitted on %.0f validation images: NLL %.4f instead of %.4f, ECE %.2f %% instead of "
                  "%.2f %%.</p>",
                  ful__json_number(t, "value"), ful__json_number(t, "images"), ful__json_number(t, "calibration.nll"),
                  ful__json_number(kept, "calibration.nll"), 100.0 * ful__json_number(t, "calibration.ece"),
                  100.0 * ful__json_number(kept, "calibration.ece"));
}

static void add_batches(const json_t *kept, ful__str *out)
{
    const json_t *rows = json_object_get(kept, "batches");
    size_t i;
    json_t *row;
    if (json_array_size(rows) == 0) return;
    ful__str_addf(out,
                  "<div class=\"scroll\"><table><caption>Evaluated in other batches: %s</caption><thead><tr><th>batch</th>"
                  "<th>other predictions</th><th>largest logit difference</th><th>same bits</th></tr></thead><tbody>",
                  json_is_true(json_object_get(kept, "batches_may_differ"))
                      ? "images of a batch compete here, so they may differ"
                      : "a prediction must not depend on its batch");
    json_array_foreach(rows, i, row)
        ful__str_addf(out, "<tr><td>%.0f</td><td>%.0f</td><td>%.3g</td><td>%s</td></tr>", ful__json_number(row, "batch"),
                      ful__json_number(row, "differ"), ful__json_number(row, "largest_logit_difference"),
                      json_is_true(json_object_get(row, "same_bits")) ? "yes" : "no");
    ful__str_add(out, "</tbody></table></div>");
}

static void add_against(const json_t *kept, ful__str *out)
{
    const json_t *a = json_object_get(kept, "against"), *ci = json_object_get(a, "difference_ci");
    if (!json_is_object(a)) return;
    ful__str_add(out, "<p>Against ");
    ful__str_add_html(out, ful__json_string(a, "model"));
    ful__str_addf(out,
                  ": %+.2f points (%+.2f … %+.2f); both right %.0f, only this %.0f, only the other %.0f, both wrong %.0f; "
                  "McNemar's test p = %.4g (mid-p %.4g).</p>",
                  100.0 * ful__json_number(a, "difference"), 100.0 * item(ci, 0), 100.0 * item(ci, 1),
                  ful__json_number(a, "table.both_right"), ful__json_number(a, "table.only_this"),
                  ful__json_number(a, "table.only_other"), ful__json_number(a, "table.both_wrong"), ful__json_number(a, "p"),
                  ful__json_number(a, "p_mid"));
}

/* ---- corrupted images ---- */

static const ful_corruption *corruption_named(const char *name)
{
    const ful_corruption *c = ful_corruptions();
    while (c->name && strcmp(c->name, name) != 0) c++;
    return c->name ? c : NULL;
}

/* The errors as they were; the means follow from them again. */
static void read_robust(const json_t *kept, ful_robust *r)
{
    const json_t *rows = json_object_get(kept, "rows");
    *r = (ful_robust){.clean = ful__json_number(kept, "clean_error"),
                      .other_clean = ful__json_number(kept, "other_clean_error")};
    for (size_t i = 0; i < json_array_size(rows) && r->n_rows < FUL_CORRUPTIONS_MAX; i++) {
        const json_t *from = json_array_get(rows, i);
        ful_robust_row *row = &r->rows[r->n_rows];
        row->corruption = corruption_named(ful__json_string(from, "name"));
        if (!row->corruption) continue; /* of another version */
        for (size_t s = 0; s < FUL_SEVERITIES; s++) {
            row->error[s] = item(json_object_get(from, "error"), s);
            row->other[s] = item(json_object_get(from, "other_error"), s);
        }
        r->n_rows++;
    }
    ful_judge_robust(r);
}

static void add_robust(const json_t *kept, const char *name, ful__str *out)
{
    const json_t *corruptions = json_object_get(kept, "corruptions");
    ful_robust r;
    if (!json_is_object(corruptions)) return;
    read_robust(corruptions, &r);
    if (r.n_rows == 0) return;
    ful__str_add(out, "<div class=\"pair\"><figure>");
    ful__robust_svg(&r, name, ful__json_string(kept, "against.model"), false, out);
    ful__str_addf(out, "<figcaption>Error on corrupted images (seed %.0f; %.2f %% as they are).",
                  ful__json_number(corruptions, "seed"), 100.0 * r.clean);
    if (isfinite(r.mean)) ful__str_addf(out, " Mean over the %d common ones: %.2f %%.", r.n_common, 100.0 * r.mean);
    if (isfinite(r.mce)) ful__str_addf(out, " mCE %.2f %%.", 100.0 * r.mce);
    ful__str_add(out, "</figcaption></figure><div class=\"scroll\"><table><thead><tr><th>error, %</th>");
    for (int s = 1; s <= FUL_SEVERITIES; s++) ful__str_addf(out, "<th>%d</th>", s);
    ful__str_add(out, "<th>mean</th><th>CE</th></tr></thead><tbody>");
    for (int i = 0; i < r.n_rows; i++) {
        const ful_robust_row *row = &r.rows[i];
        ful__str_addf(out, "<tr><td>%s</td>", row->corruption->name);
        for (int s = 0; s < FUL_SEVERITIES; s++) add_percent(out, row->error[s]);
        add_percent(out, row->mean);
        add_percent(out, row->ce);
        ful__str_add(out, "</tr>");
    }
    ful__str_add(out, "</tbody></table></div></div>");
}

/* ---- the section ---- */

/* evaluation.json of a run; NULL where there is none. A damaged one is told on the page. */
static ful_status read_kept(const ful__report *r, const json_t *run, ful__str *out, json_t **kept)
{
    char *folder = NULL, *path = NULL;
    ful_status status = FUL_OK;
    *kept = NULL;
    if (strcmp(ful__json_string(run, "status"), "done") != 0) return FUL_OK;
    FUL_TRY_GOTO(status, done, ful__path_join(&folder, r->folder, ful__json_string(run, "folder")));
    FUL_TRY_GOTO(status, done, ful__path_join(&path, folder, "evaluation.json"));
    if (ful__path_exists(path)) status = ful__json_load(path, kept);
    if (status == FUL_OK && *kept && strcmp(ful__json_string(*kept, "format"), "fulcrum-evaluation-1") != 0) {
        status = ful__fail(FUL_ERR_FORMAT, "cannot use %s: its format must be fulcrum-evaluation-1", path);
        json_decref(*kept);
        *kept = NULL;
    }
    if (status == FUL_ERR_FORMAT || status == FUL_ERR_IO) {
        ful__str_add(out, "<p class=\"note\">");
        ful__str_add_html(out, ful_error_message());
        ful__str_add(out, "</p>");
        status = FUL_OK;
    }
done:
    ful__free(path);
    ful__free(folder);
    return status;
}

static void add_kept(const ful__report *r, int arm, const json_t *run, const json_t *kept, ful__str *out)
{
    ful__str_addf(out, "<details class=\"card\"%s><summary>", r->n_arms * r->n_seeds == 1 ? " open" : "");
    ful__str_add_html(out, ful__report_arm_name(r, arm));
    ful__str_addf(out, ", seed %.0f</summary>", ful__json_number(run, "seed"));
    add_summary(kept, out);
    add_temperature(kept, out);
    add_against(kept, out);
    add_batches(kept, out);
    add_robust(kept, ful__report_arm_name(r, arm), out);
    ful__str_add(out, "</details>");
}

ful_status ful__report_kept(const ful__report *r, ful__str *out)
{
    ful__str section = {0};
    ful_status status = FUL_OK;
    for (int a = 0; a < r->n_arms && status == FUL_OK; a++) {
        size_t i;
        json_t *run, *kept;
        json_array_foreach(json_object_get(ful__report_arm(r, a), "runs"), i, run)
        {
            status = read_kept(r, run, &section, &kept);
            if (status != FUL_OK) break;
            if (kept) add_kept(r, a, run, kept, &section);
            json_decref(kept);
        }
    }
    if (status == FUL_OK) status = ful__str_status(&section);
    if (status == FUL_OK && section.length > 0) {
        ful__str_add(out,
                     "<section><h2>Further evaluations</h2><p class=\"note\">What fulcrum eval --keep left beside these runs. "
                     "Intervals are at 95 %, over images, not seeds.</p>");
        ful__str_add_bytes(out, section.data, section.length);
        ful__str_add(out, "</section>");
    }
    ful__str_deinit(&section);
    return status;
}
