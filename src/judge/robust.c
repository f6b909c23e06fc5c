/* SPDX-License-Identifier: Apache-2.0 */
/* Errors on corrupted images: mean corruption errors, and a chart. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "judge/charts.h"

/* ---- means ---- */

/* Sums over the severities that were run (by both, where there is another). */
static void fill_row(ful_robust_row *row, double clean, double other_clean)
{
    double sum = 0.0, other = 0.0;
    int n = 0, n_other = 0;
    for (int s = 0; s < FUL_SEVERITIES; s++) {
        if (!isnan(row->error[s])) sum += row->error[s], n++;
        if (!isnan(row->other[s])) other += row->other[s], n_other++;
    }
    row->mean = n > 0 ? sum / n : NAN;
    row->other_mean = n_other > 0 ? other / n_other : NAN;
    const bool both = n > 0 && n == n_other;
    row->ce = both && other > 0.0 ? sum / other : NAN;
    const double lost = sum - n * clean, other_lost = other - n * other_clean;
    row->relative = both && other_lost > 0.0 ? lost / other_lost : NAN;
}

void ful_judge_robust(ful_robust *r)
{
    double sum = 0.0, ce = 0.0, relative = 0.0;
    int n = 0;
    for (int i = 0; i < r->n_rows; i++) {
        ful_robust_row *row = &r->rows[i];
        fill_row(row, r->clean, r->other_clean);
        if (!row->corruption->common) continue;
        sum += row->mean; /* a figure that is missing in one row is missing in the mean */
        ce += row->ce;
        relative += row->relative;
        n++;
    }
    r->n_common = n;
    r->mean = n > 0 ? sum / n : NAN;
    r->mce = n > 0 ? ce / n : NAN;
    r->relative_mce = n > 0 ? relative / n : NAN;
}

/* ---- chart ---- */

enum { LEFT = 150, WIDTH = 640, TOP = 40 };

static void draw_errors(ful__chart *c, double y, const double error[FUL_SEVERITIES], double mean, int color, const char *who)
{
    char hint[200];
    const double room = c->right - LEFT;
    if (isnan(mean)) return;
    snprintf(hint, sizeof hint, "%.80s: mean error %.2f %%", who, 100.0 * mean);
    ful__svg_rect(c, LEFT, y, room * mean, 9, color, 0.75, hint);
    for (int s = 0; s < FUL_SEVERITIES; s++) {
        if (isnan(error[s])) continue;
        snprintf(hint, sizeof hint, "%.80s, severity %d: error %.2f %%", who, s + 1, 100.0 * error[s]);
        ful__str_addf(c->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"var(--paper)\" stroke=\"var(--c%d)\"><title>",
                      LEFT + room * error[s], y + 4.5, 1.5 + 0.4 * (s + 1), color);
        ful__str_add_html(c->out, hint);
        ful__str_add(c->out, "</title></circle>\n");
    }
}

static void draw_clean(ful__chart *c, double clean, int color, double bottom)
{
    const double x = LEFT + (c->right - LEFT) * clean;
    if (!isnan(clean))
        ful__str_addf(c->out,
                      "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.1f\" stroke=\"var(--c%d)\" stroke-dasharray=\"3 3\"/>\n",
                      x, x, TOP - 6, bottom, color);
}

void ful__robust_svg(const ful_robust *r, const char *name, const char *other, bool standalone, ful__str *out)
{
    const bool two = !isnan(r->other_clean);
    const double step = two ? 30.0 : 19.0, bottom = TOP + step * r->n_rows;
    const char *names[2] = {name, other};
    const int colors[2] = {0, 1};
    ful__chart c;
    ful__svg_begin(&c, out, WIDTH, bottom + 46.0, "Error on corrupted images", standalone);
    c.right = WIDTH - 60.0;
    ful__svg_legend(&c, LEFT, 18, names, colors, two ? 2 : 1);
    for (int t = 0; t <= 5; t++) {
        const double x = LEFT + (c.right - LEFT) * 0.2 * t;
        ful__str_addf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.1f\"/>", x, x, TOP - 6, bottom);
        ful__svg_text(&c, x, bottom + 15, "middle", "soft", "%d", 20 * t);
    }
    draw_clean(&c, r->clean, 0, bottom);
    draw_clean(&c, r->other_clean, 1, bottom);
    for (int i = 0; i < r->n_rows; i++) {
        const ful_robust_row *row = &r->rows[i];
        const double y = TOP + step * i;
        ful__svg_text(&c, LEFT - 8, y + (two ? 14 : 9), "end", "", "%s%s", row->corruption->name,
                      row->corruption->common ? "" : " *");
        draw_errors(&c, y, row->error, row->mean, 0, name);
        draw_errors(&c, y + 11, row->other, row->other_mean, 1, two ? other : "");
        ful__svg_text(&c, c.right + 8, y + 9, "start", "soft", "%.1f", 100.0 * row->mean);
        if (two) ful__svg_text(&c, c.right + 8, y + 20, "start", "soft", "%.1f", 100.0 * row->other_mean);
    }
    ful__svg_text(&c, 0.5 * (LEFT + c.right), bottom + 34, "middle", "soft",
                  "error, %%; bars: mean, dots: severities 1 to 5, dashed: clean; * not in the mCE");
    ful__svg_end(&c);
}

ful_status ful_judge_robust_svg(const ful_robust *r, const char *name, const char *other, char **svg_out)
{
    ful__str out = {0};
    FUL_FAIL_IF(!r || !name || !svg_out, FUL_ERR_ARG,
                "cannot draw corruptions with results, name or output NULL: all are needed");
    ful__robust_svg(r, name, other ? other : "", true, &out);
    const ful_status status = ful__str_status(&out);
    *svg_out = status == FUL_OK ? ful__str_take(&out) : NULL;
    ful__str_deinit(&out);
    return status;
}
