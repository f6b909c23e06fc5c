/* SPDX-License-Identifier: Apache-2.0 */
/* Charts as SVG text. */
#include "judge/svg.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a chart of its own needs; inside the page the page's own variables rule. */
static const char standalone_style[] = "<style>svg{--ink:#1c2430;--soft:#5d6b7e;--grid:#dde3ea;--paper:#ffffff;--c0:#2563c9;--"
                                       "c1:#c2570c;--c2:#1a7f4b;--c3:#8b3fc4;--c4:#c0264b;--c5:#0f7f8c;"
                                       "font:12px system-ui,sans-serif;background:var(--paper)}"
                                       "@media(prefers-color-scheme:dark){svg{--ink:#e8edf4;--soft:#9aa7b8;--grid:#303946;--"
                                       "paper:#12161c;--c0:#6ea3ff;--c1:#ff9d57;--c2:#58c98b;--c3:#c58bff;--c4:"
                                       "#ff7d98;--c5:#4fc3cf}}"
                                       "text{fill:var(--ink)}.soft{fill:var(--soft)}.grid{stroke:var(--grid)}.zero{stroke:var(-"
                                       "-ink);stroke-width:1.2}.strong{font-weight:600}</style>";

void ful__svg_begin(ful__chart *c, ful__str *out, double width, double height, const char *title, bool standalone)
{
    *c = (ful__chart){
        .out = out, .width = width, .height = height, .left = 52, .right = width - 12, .top = 14, .bottom = height - 40};
    ful__str_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width,
                  height);
    ful__str_add_html(out, title);
    ful__str_add(out, "\"><title>");
    ful__str_add_html(out, title);
    ful__str_add(out, "</title>");
    if (standalone) ful__str_add(out, standalone_style);
    ful__str_add(out, "\n");
}

void ful__svg_end(ful__chart *c)
{
    ful__str_add(c->out, "</svg>\n");
}

double ful__svg_x(const ful__chart *c, double x)
{
    return c->left + (x - c->x_low) / (c->x_high - c->x_low) * (c->right - c->left);
}

double ful__svg_y(const ful__chart *c, double y)
{
    return c->bottom - (y - c->y_low) / (c->y_high - c->y_low) * (c->bottom - c->top);
}

/* A step of 1, 2 or 5 times a power of ten that gives at most about `wanted` ticks. */
static double nice_step(double range, int wanted)
{
    const double rough = range / wanted, power = pow(10.0, floor(log10(rough)));
    const double lead = rough / power;
    return power * (lead <= 1.0 ? 1.0 : lead <= 2.0 ? 2.0 : lead <= 5.0 ? 5.0 : 10.0);
}

static void widen(double *low, double *high)
{
    if (!isfinite(*low) || !isfinite(*high)) *low = 0.0, *high = 1.0;
    if (*high - *low < 1e-12) {
        const double pad = fabs(*low) > 0.0 ? 0.1 * fabs(*low) : 1.0;
        *low -= pad;
        *high += pad;
    }
}

/* "0.05" and "12", never "5.0000e-02" for ordinary values. */
static void tick_text(double value, double step, char *text, size_t size)
{
    int digits = step >= 1.0 ? 0 : (int)ceil(-log10(step) - 1e-9);
    if (digits > 6) digits = 6;
    snprintf(text, size, "%.*f", digits, fabs(value) < 1e-9 * step ? 0.0 : value);
}

static void tick(ful__chart *c, bool vertical, double at, const char *text)
{
    if (vertical) {
        ful__str_addf(c->out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", c->left, c->right, at,
                      at);
        ful__svg_text(c, c->left - 6, at + 4, "end", "soft", "%s", text);
    } else {
        ful__str_addf(c->out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", at, at, c->top,
                      c->bottom);
        ful__svg_text(c, at, c->bottom + 16, "middle", "soft", "%s", text);
    }
}

void ful__svg_axes(ful__chart *c, double x_low, double x_high, double y_low, double y_high, const char *x_name,
                   const char *y_name)
{
    char text[32];
    widen(&x_low, &x_high);
    widen(&y_low, &y_high);
    c->x_low = x_low;
    c->x_high = x_high;
    c->y_low = y_low;
    c->y_high = y_high;
    const double y_step = nice_step(y_high - y_low, 5);
    double x_step = nice_step(x_high - x_low, 6);
    if (c->x_whole && x_step < 1.0) x_step = 1.0;
    for (double y = ceil(y_low / y_step - 1e-9) * y_step; y <= y_high + 1e-9 * y_step; y += y_step) {
        tick_text(y, y_step, text, sizeof text);
        tick(c, true, ful__svg_y(c, y), text);
    }
    for (double x = ceil(x_low / x_step - 1e-9) * x_step; x <= x_high + 1e-9 * x_step; x += x_step) {
        tick_text(x, x_step, text, sizeof text);
        tick(c, false, ful__svg_x(c, x), text);
    }
    ful__svg_text(c, 0.5 * (c->left + c->right), c->bottom + 33, "middle", "soft", "%s", x_name);
    ful__str_addf(c->out, "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(13 %.1f) rotate(-90)\">",
                  0.5 * (c->top + c->bottom));
    ful__str_add_html(c->out, y_name);
    ful__str_add(c->out, "</text>\n");
}

void ful__svg_line(ful__chart *c, const double *x, const double *y, int n, int color)
{
    bool open = false;
    ful__str_addf(c->out, "<path fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\" stroke-linejoin=\"round\" d=\"",
                  color % FUL__SVG_COLORS);
    for (int i = 0; i < n; i++) {
        if (!isfinite(y[i])) {
            open = false;
            continue;
        }
        ful__str_addf(c->out, "%c%.1f %.1f", open ? 'L' : 'M', ful__svg_x(c, x[i]), ful__svg_y(c, y[i]));
        open = true;
    }
    ful__str_add(c->out, "\"/>\n");
}

void ful__svg_band(ful__chart *c, const double *x, const double *low, const double *high, int n, int color)
{
    int used = 0;
    ful__str_addf(c->out, "<path fill=\"var(--c%d)\" fill-opacity=\".16\" d=\"", color % FUL__SVG_COLORS);
    for (int i = 0; i < n; i++)
        if (isfinite(low[i]))
            ful__str_addf(c->out, "%c%.1f %.1f", used++ ? 'L' : 'M', ful__svg_x(c, x[i]), ful__svg_y(c, low[i]));
    for (int i = n - 1; i >= 0; i--)
        if (isfinite(high[i])) ful__str_addf(c->out, "L%.1f %.1f", ful__svg_x(c, x[i]), ful__svg_y(c, high[i]));
    ful__str_add(c->out, used ? "Z\"/>\n" : "\"/>\n");
}

static void add_hint(ful__chart *c, const char *hint)
{
    if (!hint || !*hint) return;
    ful__str_add(c->out, "<title>");
    ful__str_add_html(c->out, hint);
    ful__str_add(c->out, "</title>");
}

void ful__svg_dot(ful__chart *c, double x, double y, double radius, int color, bool hollow, const char *hint)
{
    color %= FUL__SVG_COLORS;
    ful__str_addf(c->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" stroke=\"var(--c%d)\" stroke-width=\"1.5\" ",
                  ful__svg_x(c, x), ful__svg_y(c, y), radius, color);
    ful__str_addf(c->out, "fill=\"var(--c%d)\" fill-opacity=\"%d\">", color, !hollow);
    add_hint(c, hint);
    ful__str_add(c->out, "</circle>\n");
}

void ful__svg_interval(ful__chart *c, double x, double low, double centre, double high, int color, const char *hint)
{
    const double px = ful__svg_x(c, x);
    color %= FUL__SVG_COLORS;
    ful__str_addf(c->out, "<g stroke=\"var(--c%d)\" stroke-width=\"2\">", color);
    add_hint(c, hint);
    if (isfinite(low) && isfinite(high)) {
        const double y_low = ful__svg_y(c, low), y_high = ful__svg_y(c, high);
        ful__str_addf(c->out, "<path fill=\"none\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh10M%.1f %.1fh10\"/>", px, y_low, y_high,
                      px - 5, y_low, px - 5, y_high);
    }
    ful__str_addf(c->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"var(--c%d)\"/></g>\n", px, ful__svg_y(c, centre),
                  color);
}

void ful__svg_zero_line(ful__chart *c, double y)
{
    ful__str_addf(c->out, "<line class=\"zero\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", c->left, c->right,
                  ful__svg_y(c, y), ful__svg_y(c, y));
}

void ful__svg_rect(ful__chart *c, double x, double y, double w, double h, int color, double opacity, const char *hint)
{
    ful__str_addf(c->out,
                  "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"var(--c%d)\" fill-opacity=\"%.3f\">", x, y,
                  fmax(w, 0.0), fmax(h, 0.0), color % FUL__SVG_COLORS, opacity);
    add_hint(c, hint);
    ful__str_add(c->out, "</rect>\n");
}

void ful__svg_text(ful__chart *c, double x, double y, const char *anchor, const char *css, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ful__str_addf(c->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, css);
    ful__str_add_html(c->out, text);
    ful__str_add(c->out, "</text>");
}

double ful__svg_legend(ful__chart *c, double x, double y, const char *const *names, const int *colors, int n)
{
    const double begin = x;
    for (int i = 0; i < n; i++) {
        const double wide = 24.0 + 7.0 * (double)strlen(names[i]);
        if (x > begin && x + wide > c->width) {
            x = begin;
            y += 18.0;
        }
        ful__svg_rect(c, x, y - 9, 12, 10, colors[i], 1.0, NULL);
        ful__svg_text(c, x + 17, y, "start", "", "%s", names[i]);
        x += wide + 8.0;
    }
    return y + 10.0;
}
