/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures of a judgement: the confusion matrix, and the reliability diagram. */
#include "judge/charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"

/* ---- confusion ---- */

enum { ROWS_MAX = 256, NAMED_MAX = 128, HINTS_ALL_MAX = 40, NAME_BYTES = 64, NAME_LETTERS = 14 };

/* Where the matrix lies, and what one row of it stands for. */
typedef struct matrix {
    const ful_judgement *j;
    const char *const *names;
    int rows, stride; /* classes a row */
    double left, top, cell, font;
    bool counts; /* numbers fit into the cells */
} matrix;

static double cell_side(int rows)
{
    return rows <= 12 ? 36.0 : rows <= 24 ? 24.0 : rows <= 48 ? 15.0 : rows <= NAMED_MAX ? 9.0 : 4.0;
}

/* The name of a row, cut to fit. */
static void row_name(const matrix *m, int row, char out[NAME_BYTES])
{
    const int c = row * m->stride;
    if (m->stride > 1)
        snprintf(out, NAME_BYTES, "%d…", c);
    else if (!m->names || !m->names[c] || !*m->names[c])
        snprintf(out, NAME_BYTES, "%d", c);
    else {
        int bytes = 0, letters = 0; /* whole UTF-8 letters only */
        const char *name = m->names[c];
        while (name[bytes] && letters < NAME_LETTERS && bytes < NAME_BYTES - 8) {
            do bytes++;
            while (((unsigned char)name[bytes] & 0xC0) == 0x80);
            letters++;
        }
        snprintf(out, NAME_BYTES, "%.*s%s", bytes, name, name[bytes] ? "…" : "");
    }
}

static int64_t cell_count(const matrix *m, int row, int column)
{
    const ful_judgement *j = m->j;
    int64_t sum = 0;
    for (int t = row * m->stride; t < (row + 1) * m->stride && t < j->classes; t++)
        for (int p = column * m->stride; p < (column + 1) * m->stride && p < j->classes; p++)
            sum += j->confusion[(int64_t)t * j->classes + p];
    return sum;
}

static int64_t row_support(const matrix *m, int row)
{
    int64_t sum = 0;
    for (int t = row * m->stride; t < (row + 1) * m->stride && t < m->j->classes; t++) sum += m->j->per_class[t].support;
    return sum;
}

static void draw_names(const matrix *m, ful__str *out)
{
    char name[NAME_BYTES];
    const int step = m->rows <= NAMED_MAX ? 1 : 10;
    for (int row = 0; row < m->rows; row += step) {
        const double at = m->cell * (row + 0.5);
        row_name(m, row, name);
        ful__str_addf(out, "<text class=\"soft\" font-size=\"%.1f\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", m->font,
                      m->left - 4, m->top + at + 0.35 * m->font);
        ful__str_add_html(out, name);
        ful__str_addf(out, "</text><text class=\"soft\" font-size=\"%.1f\" transform=\"translate(%.1f %.1f) rotate(-90)\">",
                      m->font, m->left + at + 0.35 * m->font, m->top - 4);
        ful__str_add_html(out, name);
        ful__str_add(out, "</text>\n");
    }
}

static void draw_cell(const matrix *m, ful__str *out, int row, int column, int64_t count, double share)
{
    const double x = m->left + m->cell * column, y = m->top + m->cell * row, gap = m->cell > 6 ? 1.0 : 0.0;
    const double opacity = 0.06 + 0.94 * sqrt(share); /* the root keeps rare confusions visible */
    ful__str_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"var(--c%d)\" fill-opacity=\"%.2f\"",
                  x, y, m->cell - gap, m->cell - gap, row == column ? 0 : 1, opacity);
    if (m->rows <= HINTS_ALL_MAX || share >= 0.02) {
        char truth[NAME_BYTES], predicted[NAME_BYTES];
        row_name(m, row, truth);
        row_name(m, column, predicted);
        ful__str_add(out, "><title>");
        ful__str_add_html(out, truth);
        ful__str_add(out, " → ");
        ful__str_add_html(out, predicted);
        ful__str_addf(out, ": %lld, %.1f %%</title></rect>", (long long)count, 100.0 * share);
    } else {
        ful__str_add(out, "/>");
    }
    if (m->counts)
        ful__str_addf(out, "<text font-size=\"%.1f\" text-anchor=\"middle\"%s x=\"%.1f\" y=\"%.1f\">%lld</text>",
                      m->cell > 30 ? 11.0 : 8.0, opacity > 0.6 ? " style=\"fill:var(--paper)\"" : "", x + 0.5 * (m->cell - gap),
                      y + 0.5 * m->cell + 3.5, (long long)count);
    ful__str_add(out, "\n");
}

void ful__confusion_svg(const ful_judgement *j, const char *const *names, bool standalone, ful__str *out)
{
    char name[NAME_BYTES];
    size_t longest = 1;
    matrix m = {.j = j, .names = names, .stride = (j->classes + ROWS_MAX - 1) / ROWS_MAX};
    m.rows = (j->classes + m.stride - 1) / m.stride;
    m.cell = cell_side(m.rows);
    m.font = fmin(12.0, 0.92 * fmax(m.cell, 8.0));
    m.counts = m.rows <= 24 && j->count <= 99999;
    for (int row = 0; row < m.rows; row++) {
        row_name(&m, row, name);
        size_t letters = 0;
        for (const char *p = name; *p; p++) letters += ((unsigned char)*p & 0xC0) != 0x80;
        longest = letters > longest ? letters : longest;
    }
    const double margin = 0.62 * m.font * (double)longest + 8.0, side = m.cell * m.rows;
    m.left = margin + 18.0;
    m.top = margin + 18.0;
    ful__chart c;
    ful__svg_begin(&c, out, m.left + side + 8.0, m.top + side + 8.0, "Confusion matrix", standalone);
    ful__str_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"var(--grid)\"/>",
                  m.left - 0.5, m.top - 0.5, side, side);
    ful__svg_text(&c, m.left + 0.5 * side, 12.0, "middle", "soft", "predicted");
    ful__str_addf(out, "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(12 %.1f) rotate(-90)\">true</text>\n",
                  m.top + 0.5 * side);
    draw_names(&m, out);
    for (int row = 0; row < m.rows; row++) {
        const int64_t support = row_support(&m, row);
        for (int column = 0; column < m.rows && support > 0; column++) {
            const int64_t count = cell_count(&m, row, column);
            if (count > 0) draw_cell(&m, out, row, column, count, (double)count / (double)support);
        }
    }
    ful__svg_end(&c);
}

/* ---- reliability ---- */

static void draw_bars(ful__chart *c, const ful_judgement *j)
{
    for (int b = 0; b < j->bins; b++) {
        const ful_bin *bin = &j->width[b];
        char hint[160];
        if (bin->count == 0) continue;
        const double x = ful__svg_x(c, bin->low) + 0.5, w = ful__svg_x(c, bin->high) - ful__svg_x(c, bin->low) - 1.0;
        const double y_right = ful__svg_y(c, bin->accuracy), y_sure = ful__svg_y(c, bin->confidence);
        snprintf(hint, sizeof hint, "%lld images of confidence %.2f to %.2f: accuracy %.3f, mean confidence %.3f",
                 (long long)bin->count, bin->low, bin->high, bin->accuracy, bin->confidence);
        ful__svg_rect(c, x, y_right, w, c->bottom - y_right, 0, 0.75, hint);
        ful__svg_rect(c, x, fmin(y_right, y_sure), w, fabs(y_right - y_sure), 4, 0.35, hint);
    }
}

/* Shares of the images, as bars that hang under the diagram. */
static void draw_masses(ful__chart *c, const ful_judgement *j, double top, double height)
{
    int64_t most = 1;
    for (int b = 0; b < j->bins; b++) most = j->width[b].count > most ? j->width[b].count : most;
    for (int b = 0; b < j->bins; b++) {
        const ful_bin *bin = &j->width[b];
        char hint[96];
        if (bin->count == 0) continue;
        const double x = ful__svg_x(c, bin->low) + 0.5, w = ful__svg_x(c, bin->high) - ful__svg_x(c, bin->low) - 1.0;
        snprintf(hint, sizeof hint, "%lld images, %.1f %%", (long long)bin->count,
                 100.0 * (double)bin->count / (double)j->count);
        ful__svg_rect(c, x, top, w, height * (double)bin->count / (double)most, 5, 0.7, hint);
    }
    ful__svg_text(c, c->left - 6, top + 10, "end", "soft", "images");
}

void ful__reliability_svg(const ful_judgement *j, bool standalone, ful__str *out)
{
    static const char *const names[] = {"accuracy", "gap to confidence", "bins of equal mass"};
    static const int colors[] = {0, 4, 1};
    const double hang = 50.0;
    ful__chart c;
    ful__svg_begin(&c, out, 400, 492, "Reliability: accuracy by confidence", standalone);
    c.bottom = 354.0;
    ful__svg_axes(&c, 0.0, 1.0, 0.0, 1.0, "confidence", "accuracy");
    draw_bars(&c, j);
    ful__str_addf(out, "<line class=\"zero\" stroke-dasharray=\"4 3\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                  ful__svg_x(&c, 0.0), ful__svg_y(&c, 0.0), ful__svg_x(&c, 1.0), ful__svg_y(&c, 1.0));
    int rings = 0; /* judgements that were added up have none */
    for (int b = 0; b < j->bins; b++) {
        if (j->mass[b].count == 0) continue;
        ful__svg_dot(&c, j->mass[b].confidence, j->mass[b].accuracy, 3.0, 1, true, NULL);
        rings++;
    }
    draw_masses(&c, j, c.bottom + 42.0, hang);
    ful__svg_legend(&c, c.left, 464, names, colors, rings > 0 ? 3 : 2);
    ful__svg_end(&c);
}

/* ---- public ---- */

static ful_status take(ful__str *out, char **svg_out)
{
    const ful_status status = ful__str_status(out);
    *svg_out = status == FUL_OK ? ful__str_take(out) : NULL;
    ful__str_deinit(out);
    return status;
}

ful_status ful_judge_confusion_svg(const ful_judgement *j, const char *const *names, char **svg_out)
{
    ful__str out = {0};
    FUL_FAIL_IF(!j || !svg_out || j->classes < 1, FUL_ERR_ARG, "cannot draw a confusion matrix without a judgement or output");
    ful__confusion_svg(j, names, true, &out);
    return take(&out, svg_out);
}

ful_status ful_judge_reliability_svg(const ful_judgement *j, char **svg_out)
{
    ful__str out = {0};
    FUL_FAIL_IF(!j || !svg_out || j->classes < 1, FUL_ERR_ARG, "cannot draw reliability without a judgement or output");
    ful__reliability_svg(j, true, &out);
    return take(&out, svg_out);
}

ful_status ful_judge_write_figure(const char *folder, const char *name, const char *text)
{
    char *path = NULL;
    FUL_FAIL_IF(!name || !text, FUL_ERR_ARG, "cannot write a figure with name or text NULL: both are needed");
    if (!folder) return ful__file_write(name, text, strlen(text));
    FUL_TRY(ful__mkdirs(folder));
    FUL_TRY(ful__path_join(&path, folder, name));
    const ful_status status = ful__file_write(path, text, strlen(text));
    ful__free(path);
    return status;
}
