/* SPDX-License-Identifier: Apache-2.0 */
/* The page of fulcrum predict --explain: each image beside the experts it took. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/str.h"
#include "data/png_write.h"
#include <fulcrum/judge.h>

enum { TOP = 5, SHARES_MAX = 16, DIGITS_MAX = 8, PICTURE = 224 };

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width,initial-scale=1\"><title>Experts by image</title><style>\n"
    ":root{--ink:#1c2430;--soft:#5d6b7e;--grid:#dde3ea;--paper:#f6f8fa;--card:#fff;color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8edf4;--soft:#9aa7b8;--grid:#303946;--paper:#0d1117;--card:#161b22}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}main{max-width:1080px;margin:0 "
    "auto;padding:20px 16px 60px}h1{font-size:1.4rem}h2{font-size:1.05rem;margin:0 0 .5em;overflow-wrap:anywhere}h3{font-size:"
    ".95rem;margin:0 0 .3em}.soft{color:var(--soft);font-weight:400;font-size:.87rem}\n"
    ".card{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:16px;margin:14px 0}\n"
    ".row{display:flex;flex-wrap:wrap;gap:20px}.row>div{min-width:0}figure{margin:0;width:224px}svg{display:block;width:224px;"
    "height:224px}image{image-rendering:pixelated}\n"
    ".bars{display:grid;grid-template-columns:auto 150px auto;gap:2px 8px;align-items:center;font-size:.87rem;font-variant-"
    "numeric:tabular-nums}.bar{height:11px;border-radius:2px}.track{background:var(--grid);border-radius:2px}\n"
    "</style></head><body><main><h1>Experts by image</h1><p class=\"soft\">Left: what the net saw, and its five most probable "
    "classes. Then each mixture layer: the experts it took. Where patches or pixels are routed, the map shows the first choice "
    "of "
    "each place.</p>\n";

static void add_base64(ful__str *out, const char *data, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < n ? (unsigned char)data[i + k] : 0u);
        char four[4];
        for (int k = 0; k < 4; k++) four[k] = i + (size_t)k <= n ? letters[bits >> (18 - 6 * k) & 63] : '=';
        ful__str_add_bytes(out, four, 4);
    }
}

/* The picture's bytes stand once on the page; maps use them again. */
static void add_picture(ful__str *out, const ful_explanation *e, int number)
{
    ful__str png = {0};
    ful__png_write(&png, e->pixels, e->side, e->side, e->channels);
    ful__str_addf(out,
                  "<svg viewBox=\"0 0 %d %d\" role=\"img\"><image id=\"image%d\" width=\"%d\" height=\"%d\" "
                  "href=\"data:image/png;base64,",
                  PICTURE, PICTURE, number, PICTURE, PICTURE);
    if (ful__str_status(&png) == FUL_OK)
        add_base64(out, png.data, png.length);
    else
        out->status = FUL_ERR_MEMORY;
    ful__str_add(out, "\"/></svg>");
    ful__str_deinit(&png);
}

/* Hues a golden angle apart: neighbours differ. */
static double hue_of(int expert)
{
    return fmod(137.508 * expert + 210.0, 360.0);
}

static void add_bar(ful__str *out, const char *name, double share, double hue, const char *text)
{
    ful__str_add(out, "<span>");
    ful__str_add_html(out, name);
    ful__str_addf(out,
                  "</span><span class=\"track\"><span class=\"bar\" style=\"display:block;width:%.1f%%;background:hsl(%.0f "
                  "65%% 50%%)\"></span></span><span>%s</span>\n",
                  100.0 * fmin(1.0, fmax(0.0, share)), hue, text);
}

static void add_classes(ful__str *out, const ful_explanation *e, const char *const *names)
{
    char text[32], name[80];
    int taken[TOP];
    ful__str_add(out, "<div class=\"bars\">");
    for (int n = 0; n < TOP && n < e->classes; n++) {
        int best = -1;
        for (int c = 0; c < e->classes; c++) {
            bool used = false;
            for (int i = 0; i < n; i++) used = used || taken[i] == c;
            if (!used && (best < 0 || e->prob[c] > e->prob[best])) best = c;
        }
        taken[n] = best;
        if (names && *names[best])
            snprintf(name, sizeof name, "%s", names[best]);
        else
            snprintf(name, sizeof name, "class %d", best);
        snprintf(text, sizeof text, "%.1f %%", 100.0 * (double)e->prob[best]);
        add_bar(out, name, (double)e->prob[best], 215, text);
    }
    ful__str_add(out, "</div>");
}

static void add_map(ful__str *out, const ful_route *r, int number)
{
    const double cell = (double)PICTURE / r->columns;
    ful__str_addf(out, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\"><use href=\"#image%d\"/>", PICTURE, PICTURE, number);
    for (int t = r->before; t < r->tokens; t++) {
        const int at = t - r->before, expert = r->expert[t * r->k];
        const double x = cell * (at % r->columns), y = cell * floor((double)at / r->columns);
        ful__str_addf(out,
                      "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"hsl(%.0f 75%% 50%%)\" "
                      "fill-opacity=\".5\"><title>expert %d, gate %.3f</title></rect>",
                      x, y, cell, cell, hue_of(expert), expert, (double)r->gate[t * r->k]);
        if (r->columns <= DIGITS_MAX)
            ful__str_addf(out,
                          "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" text-anchor=\"middle\" fill=\"#fff\" stroke=\"#000\" "
                          "stroke-width=\".3\">%d</text>",
                          x + 0.5 * cell, y + 0.5 * cell + 4.0, fmin(13.0, 0.6 * cell), expert);
    }
    ful__str_add(out, "</svg></figure>");
}

/* Of one token its gates; of many how they spread over the experts. */
static void add_shares(ful__str *out, const ful_route *r)
{
    double share[FUL_EXPERTS_MAX];
    char name[32], text[48];
    ful__str_add(out, "<div class=\"bars\">");
    if (r->tokens == 1) {
        for (int i = 0; i < r->k; i++) {
            snprintf(name, sizeof name, "expert %d", r->expert[i]);
            snprintf(text, sizeof text, "gate %.3f", (double)r->gate[i]);
            add_bar(out, name, (double)r->gate[i], hue_of(r->expert[i]), text);
        }
    } else {
        ful_route_shares(r, share);
        for (int n = 0; n < SHARES_MAX && n < r->experts; n++) {
            int best = 0;
            for (int x = 1; x < r->experts; x++)
                if (share[x] > share[best]) best = x;
            if (!(share[best] > 0.0)) break;
            snprintf(name, sizeof name, "expert %d", best);
            snprintf(text, sizeof text, "%.1f %% of the pairs", 100.0 * share[best]);
            add_bar(out, name, share[best], hue_of(best), text);
            share[best] = -1.0;
        }
    }
    ful__str_add(out, "</div>");
}

static void add_layer(ful__str *out, const ful_route *r, int number)
{
    ful__str_add(out, "<div><h3>");
    ful__str_add_html(out, r->layer);
    ful__str_addf(out, " <span class=\"soft\">top-%d of %d experts, %d token%s</span></h3>", r->k, r->experts, r->tokens,
                  r->tokens == 1 ? "" : "s");
    if (r->soft) {
        ful__str_add(out, "<p class=\"soft\">Soft routes: every expert takes a blend of all tokens.</p>");
    } else {
        if (r->rows > 0) add_map(out, r, number);
        add_shares(out, r);
    }
    ful__str_add(out, "</div>");
}

ful_status ful_judge_explain_page(const ful_explanation *list, int n, const char *const *names, char **html_out)
{
    ful__str out = {0};
    FUL_FAIL_IF(!list || n < 1 || !html_out, FUL_ERR_ARG, "cannot write a page about %d images: at least one is needed", n);
    ful__str_add(&out, head);
    for (int i = 0; i < n; i++) {
        ful__str_add(&out, "<article class=\"card\"><h2>");
        ful__str_add_html(&out, list[i].image);
        ful__str_add(&out, "</h2><div class=\"row\"><div><figure>");
        add_picture(&out, &list[i], i);
        ful__str_add(&out, "</figure>");
        add_classes(&out, &list[i], names);
        ful__str_add(&out, "</div>");
        for (int l = 0; l < list[i].n_layers; l++) add_layer(&out, &list[i].layers[l], i);
        if (list[i].n_layers == 0) ful__str_add(&out, "<p class=\"soft\">This net has no mixture layers.</p>");
        ful__str_add(&out, "</div></article>\n");
    }
    ful__str_add(&out, "</main></body></html>\n");
    const ful_status status = ful__str_status(&out);
    *html_out = status == FUL_OK ? ful__str_take(&out) : NULL;
    ful__str_deinit(&out);
    return status;
}
