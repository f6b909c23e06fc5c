/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Charts as SVG text: small on purpose. A general plotting tool cannot follow the page's light and dark colours or stay
 * readable on a phone, and what the report needs is axes, lines, bands, intervals, bars and cells. Colours are CSS variables
 * (--c0 … --c5, --ink, --soft, --grid) that the page defines; a stand-alone file carries them itself.
 */
#ifndef FUL_JUDGE_SVG_H
#define FUL_JUDGE_SVG_H

#include <stdbool.h>

#include "core/str.h"

enum { FUL__SVG_COLORS = 6 };

typedef struct ful__chart {
    ful__str *out;
    double width, height;                /* of the picture, in user units (about pixels) */
    double left, right, top, bottom;     /* plot area edges */
    double x_low, x_high, y_low, y_high; /* data ranges */
    bool x_whole;                        /* ticks on whole numbers only (epochs) */
} ful__chart;

/* Starts <svg> with an accessible title; standalone adds the style a file of its own needs. */
void ful__svg_begin(ful__chart *c, ful__str *out, double width, double height, const char *title, bool standalone);
void ful__svg_end(ful__chart *c);

/* Sets ranges (widened to be non-empty) and draws grid, tick labels and axis names. y_percent: labels as percent. */
void ful__svg_axes(ful__chart *c, double x_low, double x_high, double y_low, double y_high, const char *x_name,
                   const char *y_name);
double ful__svg_x(const ful__chart *c, double x);
double ful__svg_y(const ful__chart *c, double y);

void ful__svg_line(ful__chart *c, const double *x, const double *y, int n, int color); /* gaps at NaN */
void ful__svg_band(ful__chart *c, const double *x, const double *low, const double *high, int n, int color);
void ful__svg_dot(ful__chart *c, double x, double y, double radius, int color, bool hollow, const char *hint);
/* Interval low..high at x with its centre. */
void ful__svg_interval(ful__chart *c, double x, double low, double centre, double high, int color, const char *hint);
void ful__svg_zero_line(ful__chart *c, double y);
/* Picture coordinates: bars, cells, texts. anchor: "start", "middle", "end"; css: extra class or "". */
void ful__svg_rect(ful__chart *c, double x, double y, double w, double h, int color, double opacity, const char *hint);
void ful__svg_text(ful__chart *c, double x, double y, const char *anchor, const char *css, const char *fmt, ...)
    FUL_PRINTF(6, 7);
/* A legend line of (color, name) pairs starting at (x, y); wraps at the right edge; returns the y below it. */
double ful__svg_legend(ful__chart *c, double x, double y, const char *const *names, const int *colors, int n);

#endif
