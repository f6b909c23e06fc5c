/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of the report: gaps, curves, MACs and time. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "judge/svg.h"
#include "study/report.h"

/* More points than pixels, and more rings than can be told apart, only make the page heavy. */
enum { WIDTH = 440, HEIGHT = 290, POINTS_MAX = 240, RINGS_MAX = 20000 };

static void stretch(double value, double *low, double *high)
{
    if (!isfinite(value)) return;
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* ---- gaps ---- */

static const json_t *cells_of(const ful__report *r)
{
    return json_object_get(r->study, "cells");
}

/* Range in points over all gaps and intervals, zero included, with some air. */
static bool gap_range(const ful__report *r, double *low, double *high)
{
    size_t i, j;
    json_t *cell, *gap;
    int n = 0;
    *low = *high = 0.0;
    json_array_foreach(cells_of(r), i, cell)
    {
        const json_t *ci = json_object_get(cell, "ci");
        if (json_is_number(json_array_get(ci, 0))) {
            stretch(100.0 * json_number_value(json_array_get(ci, 0)), low, high);
            stretch(100.0 * json_number_value(json_array_get(ci, 1)), low, high);
        }
        json_array_foreach(json_object_get(cell, "gaps"), j, gap)
        {
            stretch(100.0 * ful__json_number(gap, "gap"), low, high);
            n++;
        }
    }
    const double air = 0.08 * fmax(*high - *low, 0.1);
    *low -= air;
    *high += air;
    return n > 0;
}

static void draw_cell(ful__chart *c, const json_t *cell, double x, int color, bool rings)
{
    const json_t *ci = json_object_get(cell, "ci"), *low = json_array_get(ci, 0), *high = json_array_get(ci, 1);
    const double mean = 100.0 * ful__json_number(cell, "mean");
    size_t j;
    json_t *gap;
    char hint[256];
    json_array_foreach(json_object_get(cell, "gaps"), j, gap)
    {
        if (!rings) break;
        const double points = 100.0 * ful__json_number(gap, "gap");
        snprintf(hint, sizeof hint, "seed %.0f: %+.2f points", ful__json_number(gap, "seed"), points);
        ful__svg_dot(c, x, points, 2.5, color, true, hint);
    }
    snprintf(hint, sizeof hint, "%s: %+.2f points, %s", ful__json_string(cell, "name"), mean,
             ful__json_string(cell, "verdict"));
    if (isfinite(mean))
        ful__svg_interval(c, x, json_is_number(low) ? 100.0 * json_number_value(low) : NAN, mean,
                          json_is_number(high) ? 100.0 * json_number_value(high) : NAN, color, hint);
}

static bool draw_gap_vs_rho(const ful__report *r, ful__str *out, bool standalone)
{
    ful__chart c;
    double low, high, most = 0.0;
    size_t i;
    json_t *cell;
    const char *names[FUL__CELLS_MAX];
    int colors[FUL__CELLS_MAX], n = 0;
    if (!gap_range(r, &low, &high)) return false;
    json_array_foreach(cells_of(r), i, cell)
    {
        most = fmax(most, isfinite(ful__json_number(cell, "rho_exec")) ? ful__json_number(cell, "rho_exec") : 0.0);
        names[n] = ful__json_string(cell, "name");
        colors[n] = n;
        n++;
    }
    const int lines = 1 + n / 2;
    ful__svg_begin(&c, out, WIDTH, HEIGHT + 18.0 * lines, "Accuracy gap against the routed share of compute", standalone);
    c.bottom = HEIGHT - 40;
    ful__svg_axes(&c, 0.0, fmin(1.0, 1.15 * most + 0.02), low, high, "\xcf\x81: routed share of executed MACs", "gap, points");
    ful__svg_zero_line(&c, 0.0);
    json_array_foreach(cells_of(r), i, cell)
    {
        /* cells of equal rho stand side by side */
        int same = 0;
        for (size_t j = 0; j < i; j++)
            same += fabs(ful__json_number(json_array_get(cells_of(r), j), "rho_exec") - ful__json_number(cell, "rho_exec")) <
                    0.01;
        const double rho = isfinite(ful__json_number(cell, "rho_exec")) ? ful__json_number(cell, "rho_exec") : 0.0;
        draw_cell(&c, cell, rho + 0.035 * same * (c.x_high - c.x_low), (int)i, n * r->n_seeds <= RINGS_MAX);
    }
    ful__svg_legend(&c, 52, HEIGHT + 10, names, colors, n);
    ful__svg_end(&c);
    return true;
}

/* ---- curves ---- */

/* A curve as it is drawn: x in epochs, values scaled; where there are too many epochs, several make a point. */
typedef struct drawn_curve {
    int n;
    double x[POINTS_MAX], mean[POINTS_MAX], low[POINTS_MAX], high[POINTS_MAX];
} drawn_curve;

static void thin_curve(const ful__curve *curve, double factor, drawn_curve *out)
{
    const int stride = (curve->epochs + POINTS_MAX - 1) / POINTS_MAX;
    out->n = 0;
    for (int begin = 0; begin < curve->epochs; begin += stride) {
        const int end = begin + stride < curve->epochs ? begin + stride : curve->epochs;
        double sum = 0.0, low = NAN, high = NAN;
        int n = 0;
        for (int e = begin; e < end; e++) {
            sum += curve->points[e].sum;
            n += curve->points[e].n;
            low = fmin(low, curve->points[e].low);
            high = fmax(high, curve->points[e].high);
        }
        out->x[out->n] = 0.5 * (begin + 1 + end);
        out->mean[out->n] = n ? factor * sum / n : NAN;
        out->low[out->n] = factor * low;
        out->high[out->n] = factor * high;
        out->n++;
    }
}

static bool draw_curves(const ful__report *r, ful__str *out, bool standalone, ful__curve_kind kind, double factor,
                        const char *title, const char *y_name)
{
    drawn_curve d;
    double y_low = INFINITY, y_high = -INFINITY;
    int most = 0;
    ful__chart c;
    for (int a = 0; a < r->n_arms; a++) {
        const ful__curve *curve = ful__report_curve(r, a, kind);
        for (int e = 0; e < curve->epochs; e++) {
            stretch(factor * curve->points[e].low, &y_low, &y_high);
            stretch(factor * curve->points[e].high, &y_low, &y_high);
        }
        most = curve->epochs > most ? curve->epochs : most;
    }
    if (!isfinite(y_low)) return false;
    const char *names[FUL__ARMS_MAX];
    int colors[FUL__ARMS_MAX];
    ful__svg_begin(&c, out, WIDTH, HEIGHT + 18.0 * (1 + r->n_arms / 3), title, standalone);
    c.bottom = HEIGHT - 40;
    const double air = 0.05 * (y_high - y_low);
    c.x_whole = true;
    ful__svg_axes(&c, 1, most > 1 ? most : 2, y_low - air, y_high + air, "epoch", y_name);
    for (int a = 0; a < r->n_arms; a++) {
        thin_curve(ful__report_curve(r, a, kind), factor, &d);
        ful__svg_band(&c, d.x, d.low, d.high, d.n, a);
        ful__svg_line(&c, d.x, d.mean, d.n, a);
        if (d.n == 1 && isfinite(d.mean[0])) ful__svg_dot(&c, 1, d.mean[0], 3, a, false, NULL);
        names[a] = ful__report_arm_name(r, a);
        colors[a] = a;
    }
    ful__svg_legend(&c, 52, HEIGHT + 10, names, colors, r->n_arms);
    ful__svg_end(&c);
    return true;
}

static bool draw_test_curves(const ful__report *r, ful__str *out, bool standalone)
{
    return draw_curves(r, out, standalone, FUL__CURVE_TEST_ACC, 100.0, "Test accuracy by epoch", "test accuracy, %");
}

static bool draw_loss_curves(const ful__report *r, ful__str *out, bool standalone)
{
    return draw_curves(r, out, standalone, FUL__CURVE_TRAIN_LOSS, 1.0, "Training loss by epoch", "training loss (task only)");
}

/* ---- costs ---- */

/* Horizontal bars: one group an arm, one bar a series; values are scaled by the largest. */
typedef struct bar_part {
    const char *path, *name;
    int color;
} bar_part;

static bool draw_macs(const ful__report *r, ful__str *out, bool standalone)
{
    static const bar_part parts[] = {
        {"macs.shared", "shared", 0}, {"macs.router", "router", 4}, {"macs.routed", "routed (executed)", 1}};
    const char *names[] = {"shared", "router", "routed (executed)"};
    const int colors[] = {0, 4, 1};
    double most = 0.0;
    ful__chart c;
    for (int a = 0; a < r->n_arms; a++) most = fmax(most, ful__json_number(ful__report_arm(r, a), "macs.forward"));
    if (!(most > 0.0)) return false;
    ful__svg_begin(&c, out, WIDTH, 48.0 + 40.0 * r->n_arms, "Multiply-accumulates of one image, forward", standalone);
    const double room = WIDTH - 24.0;
    ful__svg_legend(&c, 12, 18, names, colors, 3);
    for (int a = 0; a < r->n_arms; a++) {
        const json_t *arm = ful__report_arm(r, a);
        const double y = 38.0 + 40.0 * a, total = ful__json_number(arm, "macs.forward");
        double x = 12.0;
        if (!isfinite(total)) continue;
        ful__svg_text(&c, 12, y + 10, "start", "strong", "%s", ful__report_arm_name(r, a));
        ful__svg_text(&c, WIDTH - 12.0, y + 10, "end", "soft", "%.2f M, \xcf\x81 %.3f", 1e-6 * total,
                      ful__json_number(arm, "rho.exec"));
        for (int p = 0; p < 3; p++) {
            const double value = ful__json_number(arm, parts[p].path);
            char hint[96];
            if (!isfinite(value)) continue;
            snprintf(hint, sizeof hint, "%s: %.3f M MACs", parts[p].name, 1e-6 * value);
            ful__svg_rect(&c, x, y + 15, room * value / most, 13, parts[p].color, 1.0, hint);
            x += room * value / most;
        }
    }
    ful__svg_end(&c);
    return true;
}

static bool draw_time(const ful__report *r, ful__str *out, bool standalone)
{
    static const bar_part parts[] = {{"macs.forward", "MACs", 0},
                                     {"images_per_s_median", "training time an image", 1},
                                     {"infer_images_per_s_median", "inference time an image", 2}};
    const char *names[] = {"MACs", "training time an image", "inference time an image"};
    const int colors[] = {0, 1, 2};
    double most[3] = {0.0, 0.0, 0.0};
    ful__chart c;
    for (int a = 0; a < r->n_arms; a++)
        for (int p = 0; p < 3; p++) {
            const double value = ful__json_number(ful__report_arm(r, a), parts[p].path);
            most[p] = fmax(most[p], p == 0 ? value : 1.0 / value);
        }
    if (!(most[0] > 0.0) || !(most[1] > 0.0)) return false;
    ful__svg_begin(&c, out, WIDTH, 62.0 + 64.0 * r->n_arms,
                   "Wall-clock time of an image beside its MACs, each as a share of the largest arm", standalone);
    ful__svg_legend(&c, 12, 18, names, colors, 3);
    for (int a = 0; a < r->n_arms; a++) {
        const json_t *arm = ful__report_arm(r, a);
        const double y = 52.0 + 64.0 * a;
        ful__svg_text(&c, 12, y + 4, "start", "strong", "%s", ful__report_arm_name(r, a));
        for (int p = 0; p < 3; p++) {
            const double value = ful__json_number(arm, parts[p].path), length = p == 0 ? value : 1.0 / value;
            if (!isfinite(length)) continue;
            ful__svg_rect(&c, 12, y + 9 + 14 * p, (WIDTH - 132.0) * length / most[p], 11, parts[p].color, 1.0, NULL);
            if (p == 0)
                ful__svg_text(&c, WIDTH - 12.0, y + 18 + 14 * p, "end", "soft", "%.2f M MACs", 1e-6 * value);
            else
                ful__svg_text(&c, WIDTH - 12.0, y + 18 + 14 * p, "end", "soft", "%.3f ms", 1e3 / value);
        }
    }
    ful__svg_end(&c);
    return true;
}

const ful__figure ful__figures[] = {
    {"gap-vs-rho", "Accuracy gap against \xcf\x81",
     "Each cell of the plan: its mean gap with the Student interval, and one ring a paired seed (up to 20,000). Above zero the "
     "first arm is better.",
     draw_gap_vs_rho},
    {"test-curves", "Test accuracy while training",
     "Mean over seeds; the band runs from the worst to the best seed. Shown, never used to choose.", draw_test_curves},
    {"loss-curves", "Training loss", "Task loss only: balance losses are reported apart.", draw_loss_curves},
    {"macs", "Where the MACs go",
     "One image, forward, as executed nominally (k experts); batch-norm, activations and pooling are not counted.", draw_macs},
    {"time", "Wall-clock beside MACs",
     "Median over seeds, as measured in the training runs (several runs may have shared the machine).", draw_time},
    {NULL, NULL, NULL, NULL},
};
