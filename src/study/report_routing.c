/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the page about experts: load by epoch, classes by expert, health in numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "judge/svg.h"
#include "study/report.h"

enum { LAYERS_MAX = 64, LOAD_CELLS_MAX = 2048 };

static bool row_is(const json_t *row, const char *layer, const char *split)
{
    return strcmp(ful__json_string(row, "layer"), layer) == 0 && strcmp(ful__json_string(row, "split"), split) == 0;
}

/* Names of the mixture layers a run logged, in order of appearance. */
static int layers_of(const json_t *routing, const char *names[LAYERS_MAX])
{
    int n = 0;
    size_t i;
    json_t *row;
    json_array_foreach(routing, i, row)
    {
        const char *layer = ful__json_string(row, "layer");
        bool known = false;
        for (int l = 0; l < n; l++) known = known || strcmp(names[l], layer) == 0;
        if (!known && n < LAYERS_MAX) names[n++] = layer;
    }
    return n;
}

/* Experts down, epochs across; full colour is twice the even share. */
static void draw_load(const json_t *routing, const char *layer, const char *split, ful__str *out)
{
    int epochs = 0, experts = 0;
    size_t i, e;
    json_t *row, *value;
    json_array_foreach(routing, i, row)
    {
        if (!row_is(row, layer, split)) continue;
        epochs++;
        experts = (int)json_array_size(json_object_get(row, "load"));
    }
    if (epochs == 0 || experts == 0) return;
    /* a long run shows every so many epochs: the page stays light */
    const int stride = (epochs * experts + LOAD_CELLS_MAX - 1) / LOAD_CELLS_MAX, columns = (epochs + stride - 1) / stride;
    ful__chart c;
    const double cell_h = experts <= 16 ? 18.0 : 288.0 / experts, width = 440.0, left = 34.0;
    const double cell_w = fmin(40.0, (width - left - 10.0) / columns);
    char title[200];
    snprintf(title, sizeof title, "Load of each expert of %s by epoch (%s)", layer, split);
    ful__svg_begin(&c, out, width, cell_h * experts + 40.0, title, false);
    int column = 0, seen = 0;
    json_array_foreach(routing, i, row)
    {
        if (!row_is(row, layer, split) || seen++ % stride != 0) continue;
        json_array_foreach(json_object_get(row, "load"), e, value)
        {
            const double share = json_number_value(value), even = 1.0 / experts;
            char hint[128];
            snprintf(hint, sizeof hint, "epoch %.0f, expert %zu: %.1f %% of the pairs", ful__json_number(row, "epoch"), e,
                     100.0 * share);
            ful__svg_rect(&c, left + column * cell_w, 6.0 + (double)e * cell_h, cell_w - 1.0, cell_h - 1.0, 0,
                          fmin(1.0, 0.04 + 0.48 * share / even), hint);
        }
        column++;
    }
    for (int k = 0; k < experts && experts <= 16; k++)
        ful__svg_text(&c, left - 6, 6.0 + cell_h * (k + 0.5) + 4.0, "end", "soft", "%d", k);
    ful__svg_text(&c, left, cell_h * experts + 22.0, "start", "soft", "epoch 1");
    ful__svg_text(&c, left + column * cell_w, cell_h * experts + 22.0, "end", "soft", "%d", epochs);
    ful__svg_end(&c);
}

/* Share of each class's images whose first choice was the expert. */
static void draw_classes(const json_t *row, const json_t *names, ful__str *out)
{
    const json_t *table = json_object_get(row, "class_expert");
    const size_t classes = json_array_size(table), experts = json_array_size(json_array_get(table, 0));
    if (classes == 0 || experts == 0 || experts > 64) return;
    ful__str_add(out, "<div class=\"scroll tall\"><table class=\"heat\"><caption>First choices by class, % of the "
                      "class</caption><thead><tr><th></th>");
    for (size_t e = 0; e < experts; e++) ful__str_addf(out, "<th>e%zu</th>", e);
    ful__str_add(out, "</tr></thead><tbody>");
    for (size_t c = 0; c < classes && c < 100; c++) {
        const json_t *counts = json_array_get(table, c), *name = json_array_get(names, c);
        double total = 0.0;
        for (size_t e = 0; e < experts; e++) total += json_number_value(json_array_get(counts, e));
        ful__str_add(out, "<tr><th>");
        if (json_is_string(name))
            ful__str_add_html(out, json_string_value(name));
        else
            ful__str_addf(out, "class %zu", c);
        ful__str_add(out, "</th>");
        for (size_t e = 0; e < experts; e++) {
            const double share = total > 0.0 ? json_number_value(json_array_get(counts, e)) / total : 0.0;
            ful__str_addf(out, "<td style=\"--a:%.2f\">%.0f</td>", share, 100.0 * share);
        }
        ful__str_add(out, "</tr>");
    }
    ful__str_add(out, "</tbody></table></div>");
}

static void add_figure_text(ful__str *out, const char *name, const char *fmt, double value, const char *about)
{
    char text[48] = "-";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (isfinite(value)) snprintf(text, sizeof text, fmt, value);
#pragma GCC diagnostic pop
    ful__str_addf(out, "<div class=\"fact\" title=\"%s\"><b>%s</b><span>%s</span></div>", about, text, name);
}

static void add_facts(const json_t *test, const json_t *train, ful__str *out)
{
    ful__str_add(out, "<div class=\"facts\">");
    add_figure_text(out, "effective experts", "%.2f", ful__json_number(test, "effective_experts"),
                    "exp of the entropy of the loads");
    add_figure_text(out, "dead", "%.0f", ful__json_number(test, "dead"), "experts with less than 1 % of the even share");
    add_figure_text(out, "dropped in training", "%.3f", ful__json_number(train, "drop_rate"),
                    "share of routed pairs beyond capacity");
    add_figure_text(out, "router entropy, nats", "%.3f", ful__json_number(test, "entropy"), "mean over tokens; 0 is certain");
    add_figure_text(out, "load CV²", "%.3f", ful__json_number(test, "load_cv2"),
                    "squared coefficient of variation of the loads; 0 is even");
    add_figure_text(out, "class-expert MI, nats", "%.3f", ful__json_number(test, "class_mi"),
                    "how much the expert tells about the class");
    add_figure_text(out, "route change", "%.3f", ful__json_number(test, "change_rate"),
                    "share of first choices that changed since the epoch before");
    add_figure_text(out, "gate gradient, rms", "%.2g", ful__json_number(train, "gate_grad_rms"),
                    "the signal the router learns from");
    ful__str_add(out, "</div>");
}

static const json_t *last_row(const json_t *routing, const char *layer, const char *split)
{
    const json_t *last = NULL;
    size_t i;
    json_t *row;
    json_array_foreach(routing, i, row) if (row_is(row, layer, split)) last = row;
    return last;
}

static void add_layer(const ful__report *r, int arm, const json_t *routing, const char *layer, ful__str *out)
{
    const json_t *class_names = json_object_get(json_object_get(r->study, "data"), "class_names");
    const json_t *test = last_row(routing, layer, "test"), *train = last_row(routing, layer, "train");
    ful__str_add(out, "<article class=\"card\"><h3>");
    ful__str_add_html(out, ful__report_arm_name(r, arm));
    ful__str_add(out, " <span class=\"soft\">");
    ful__str_add_html(out, layer);
    ful__str_add(out, "</span></h3>");
    add_facts(test ? test : train, train, out);
    ful__str_add(out, "<div class=\"pair\"><figure>");
    draw_load(routing, layer, train ? "train" : "test", out);
    ful__str_add(out, "<figcaption>Load of each expert by epoch (training, before capacity); full colour is twice the "
                      "even share.</figcaption></figure>");
    if (test) draw_classes(test, class_names, out);
    ful__str_add(out, "</div></article>");
}

ful_status ful__report_routing(const ful__report *r, ful__str *out)
{
    bool any = false;
    ful_status status = FUL_OK;
    for (int a = 0; a < r->n_arms && status == FUL_OK; a++) {
        json_t *routing = NULL;
        const char *layers[LAYERS_MAX];
        status = ful__report_read_routing(r, a, &routing);
        const int n = status == FUL_OK ? layers_of(routing, layers) : 0;
        if (n > 0 && !any)
            ful__str_add(
                out, "<section><h2>The experts</h2><p class=\"note\">The first seed of each arm; tables below have all.</p>");
        any = any || n > 0;
        for (int l = 0; l < n; l++) add_layer(r, a, routing, layers[l], out);
        json_decref(routing);
    }
    if (any) ful__str_add(out, "</section>");
    return status;
}
