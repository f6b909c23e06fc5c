/* SPDX-License-Identifier: Apache-2.0 */
/* Most operations map values to values, so they are a table for each channel. */
#include "data/pixel_ops.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct luts {
    uint8_t value[3][256];
} luts;

static size_t pixels_of(ful__image8 m)
{
    return (size_t)m.h * (size_t)m.w;
}

static uint8_t clip(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void apply(ful__image8 m, const luts *t)
{
    const size_t n = pixels_of(m);
    uint8_t *p = m.data;
    if (m.channels == 1) {
        for (size_t i = 0; i < n; i++) p[i] = t->value[0][p[i]];
        return;
    }
    for (size_t i = 0; i < n; i++, p += 3) {
        p[0] = t->value[0][p[0]];
        p[1] = t->value[1][p[1]];
        p[2] = t->value[2][p[2]];
    }
}

static void apply_to_all(ful__image8 m, luts *t)
{
    memcpy(t->value[1], t->value[0], 256);
    memcpy(t->value[2], t->value[0], 256);
    apply(m, t);
}

/* from + factor (to - from), cut off, as Pillow's Image.blend has it */
static uint8_t blend(int from, int to, float factor)
{
    const float v = (float)from + factor * (float)(to - from);
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

/* ITU-R 601 luma in 16 bits */
static int luma(const uint8_t *p)
{
    return (int)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

void ful__brightness(ful__image8 m, float factor)
{
    luts t;
    for (int v = 0; v < 256; v++) t.value[0][v] = blend(0, v, factor);
    apply_to_all(m, &t);
}

void ful__contrast(ful__image8 m, float factor)
{
    const size_t n = pixels_of(m);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += m.channels == 1 ? m.data[i] : (uint64_t)luma(m.data + 3 * i);
    const int mean = (int)((double)sum / (double)n + 0.5);
    luts t;
    for (int v = 0; v < 256; v++) t.value[0][v] = blend(mean, v, factor);
    apply_to_all(m, &t);
}

void ful__saturation(ful__image8 m, float factor)
{
    if (m.channels != 3) return;
    uint8_t *p = m.data, *const end = p + 3 * pixels_of(m);
    for (; p < end; p += 3) {
        const int grey = luma(p);
        for (int c = 0; c < 3; c++) p[c] = blend(grey, p[c], factor);
    }
}

void ful__sharpness(const ful__image8 *in, float factor, uint8_t *out)
{
    const ptrdiff_t c = in->channels, row = (ptrdiff_t)in->w * c;
    memcpy(out, in->data, (size_t)row * (size_t)in->h);
    for (int y = 1; y < in->h - 1; y++) {
        const uint8_t *p = in->data + y * row;
        for (ptrdiff_t x = c; x < row - c; x++) {
            int sum = 4 * p[x];
            for (ptrdiff_t dy = -row; dy <= row; dy += row) sum += p[x + dy - c] + p[x + dy] + p[x + dy + c];
            out[y * row + x] = blend((2 * sum + 13) / 26, p[x], factor);
        }
    }
}

/* ---- hue ---- */

static void to_hsv(const uint8_t *p, uint8_t *hsv)
{
    const int r = p[0], g = p[1], b = p[2];
    const int most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least) return;
    const float range = (float)(most - least), saturation = range / (float)most;
    const float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    float h = r == most ? bc - gc : g == most ? (float)(2.0 + (double)rc - (double)bc) : (float)(4.0 + (double)gc - (double)rc);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    hsv[0] = clip((int)((double)h * 255.0));
    hsv[1] = clip((int)((double)saturation * 255.0));
}

static void to_rgb(const uint8_t *hsv, uint8_t *p)
{
    const int v = hsv[2];
    const float sixth = (float)((double)hsv[0] * 6.0 / 255.0), s = (float)((double)hsv[1] / 255.0);
    const int i = (int)sixth;
    const double f = (double)(sixth - (float)i);
    const uint8_t full = (uint8_t)v, low = clip((int)round(v * (1.0 - (double)s)));
    const uint8_t down = clip((int)round(v * (1.0 - (double)s * f))), up = clip((int)round(v * (1.0 - (double)s * (1.0 - f))));
    const uint8_t rgb[6][3] = {{full, up, low},   {down, full, low}, {low, full, up},
                               {low, down, full}, {up, low, full},   {full, low, down}};
    memcpy(p, rgb[i % 6], 3);
}

void ful__hue(ful__image8 m, double shift)
{
    if (m.channels != 3) return;
    const uint8_t by = (uint8_t)(int)(shift * 255);
    uint8_t *p = m.data, *const end = p + 3 * pixels_of(m);
    for (; p < end; p += 3) {
        uint8_t hsv[3];
        to_hsv(p, hsv);
        hsv[0] = (uint8_t)(hsv[0] + by);
        to_rgb(hsv, p);
    }
}

/* ---- tables ---- */

void ful__posterize(ful__image8 m, int bits)
{
    luts t;
    for (int v = 0; v < 256; v++) t.value[0][v] = (uint8_t)(v & (0xff00 >> bits));
    apply_to_all(m, &t);
}

void ful__solarize(ful__image8 m, double threshold)
{
    luts t;
    for (int v = 0; v < 256; v++) t.value[0][v] = (uint8_t)(v < threshold ? v : 255 - v);
    apply_to_all(m, &t);
}

void ful__invert(ful__image8 m)
{
    ful__solarize(m, 0);
}

typedef struct histogram {
    uint32_t count[3][256];
} histogram;

static void count_values(ful__image8 m, histogram *h)
{
    memset(h, 0, sizeof *h);
    const size_t n = pixels_of(m);
    const uint8_t *p = m.data;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < m.channels; c++) h->count[c][*p++]++;
}

static void keep_values(uint8_t *value)
{
    for (int v = 0; v < 256; v++) value[v] = (uint8_t)v;
}

void ful__autocontrast(ful__image8 m)
{
    histogram h;
    luts t;
    count_values(m, &h);
    for (int c = 0; c < m.channels; c++) {
        int lo = 0, hi = 255;
        while (lo < 255 && h.count[c][lo] == 0) lo++;
        while (hi > 0 && h.count[c][hi] == 0) hi--;
        const double scale = hi > lo ? 255.0 / (hi - lo) : 1, offset = hi > lo ? -lo * scale : 0;
        for (int v = 0; v < 256; v++) t.value[c][v] = clip((int)(v * scale + offset));
    }
    apply(m, &t);
}

void ful__equalize(ful__image8 m)
{
    histogram h;
    luts t;
    count_values(m, &h);
    for (int c = 0; c < m.channels; c++) {
        int last = 255;
        while (last > 0 && h.count[c][last] == 0) last--;
        const uint64_t step = (pixels_of(m) - h.count[c][last]) / 255;
        uint64_t n = step / 2;
        if (step == 0) keep_values(t.value[c]); /* one value only, or too few pixels to move any */
        for (int v = 0; v < 256 && step > 0; v++) {
            t.value[c][v] = clip((int)(n / step));
            n += h.count[c][v];
        }
    }
    apply(m, &t);
}

/* ---- geometry ---- */

static int64_t fixed(double v)
{
    return (int64_t)floor(v * 65536.0 + 0.5);
}

void ful__affine(const ful__image8 *in, const double m[6], uint8_t *out)
{
    const int64_t dx[2] = {fixed(m[0]), fixed(m[3])}, dy[2] = {fixed(m[1]), fixed(m[4])};
    const size_t c = (size_t)in->channels;
    int64_t row[2] = {fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), fixed(m[5] + m[3] * 0.5 + m[4] * 0.5)};
    for (int y = 0; y < in->h; y++, row[0] += dy[0], row[1] += dy[1]) {
        int64_t at[2] = {row[0], row[1]};
        for (int x = 0; x < in->w; x++, out += c, at[0] += dx[0], at[1] += dx[1]) {
            const int64_t from_x = at[0] >> 16, from_y = at[1] >> 16;
            const bool inside = from_x >= 0 && from_x < in->w && from_y >= 0 && from_y < in->h;
            if (inside)
                memcpy(out, in->data + ((size_t)from_y * (size_t)in->w + (size_t)from_x) * c, c);
            else
                memset(out, 0, c);
        }
    }
}

void ful__rotate(const ful__image8 *in, double degrees, uint8_t *out)
{
    const double angle = -degrees * 0.017453292519943295, cosine = cos(angle), sine = sin(angle);
    const double cx = in->w / 2.0, cy = in->h / 2.0;
    const double m[6] = {cosine, sine, cx - cosine * cx - sine * cy, -sine, cosine, cy + sine * cx - cosine * cy};
    ful__affine(in, m, out);
}
