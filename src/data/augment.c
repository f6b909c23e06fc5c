/* SPDX-License-Identifier: Apache-2.0 */
#include "data/augment.h"

#include <stddef.h>
#include <string.h>

void ful__norm_table_init(ful__norm_table *t, const float mean[3], const float std[3])
{
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++) t->value[c][v] = ((float)v / 255.0f - mean[c]) / std[c];
    }
}

/* A row of the output is black, image, black: [0, first) [first, first + inside) [first + inside, w). */
typedef struct strip {
    const uint8_t *from; /* the pixel that comes first, the others follow by step bytes */
    int first, inside, step;
} strip;

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static strip strip_of(const uint8_t *hwc, const ful__window *q, int i)
{
    const int y = q->y + i, begin = clamp(q->x, 0, q->in_w), end = clamp(q->x + q->w, 0, q->in_w);
    if (y < 0 || y >= q->in_h || end <= begin) return (strip){hwc, q->w, 0, 0};
    const int first = q->mirror ? q->x + q->w - end : begin - q->x, from = q->mirror ? end - 1 : begin;
    return (strip){hwc + ((ptrdiff_t)y * q->in_w + from) * q->channels, first, end - begin,
                   q->mirror ? -q->channels : q->channels};
}

static float *black(const ful__norm_table *t, int channels, int pixels, float *out)
{
    for (int i = 0; i < pixels; i++) {
        for (int c = 0; c < channels; c++) *out++ = t->value[c][0];
    }
    return out;
}

/* n pixels that begin at p and follow each other by step (3, -3, 1, -1) bytes. */
static float *copy_pixels(const ful__norm_table *t, const uint8_t *p, int step, int n, float *out)
{
    if (step == 3 || step == -3) {
        for (int i = 0; i < n; i++, p += step, out += 3) {
            out[0] = t->value[0][p[0]];
            out[1] = t->value[1][p[1]];
            out[2] = t->value[2][p[2]];
        }
    } else {
        for (int i = 0; i < n; i++, p += step) *out++ = t->value[0][*p];
    }
    return out;
}

void ful__window_floats(const uint8_t *hwc, const ful__window *q, const ful__norm_table *table, float *out)
{
    for (int i = 0; i < q->h; i++) {
        const strip s = strip_of(hwc, q, i);
        out = black(table, q->channels, s.first, out);
        out = copy_pixels(table, s.from, s.step, s.inside, out);
        out = black(table, q->channels, q->w - s.first - s.inside, out);
    }
}

void ful__window_bytes(const uint8_t *hwc, const ful__window *q, uint8_t *out)
{
    const size_t c = (size_t)q->channels, row = (size_t)q->w * c;
    for (int i = 0; i < q->h; i++, out += row) {
        const strip s = strip_of(hwc, q, i);
        if (s.inside < q->w) memset(out, 0, row);
        uint8_t *to = out + (size_t)s.first * c;
        const uint8_t *from = s.from;
        if (!q->mirror) memcpy(to, from, (size_t)s.inside * c);
        for (int j = 0; q->mirror && j < s.inside; j++, to += c, from += s.step) memcpy(to, from, c);
    }
}
