/* SPDX-License-Identifier: Apache-2.0 */
#include "data/augment.h"

void ful__norm_table_init(ful__norm_table *t, const float mean[3], const float std[3])
{
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++) t->value[c][v] = ((float)v / 255.0f - mean[c]) / std[c];
    }
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

/* A row is black, image, black: [0, first) [first, last) [last, w) in output columns. */
void ful__augment(const uint8_t *hwc, int h, int w, int channels, int dy, int dx, bool mirror, const ful__norm_table *table,
                  float *out)
{
    const int left = dx < 0 ? -dx : 0, right = dx > 0 ? dx : 0; /* black columns before mirroring */
    const int first = mirror ? right : left, inside = w - left - right;
    for (int y = 0; y < h; y++) {
        const int from_y = y + dy;
        if (from_y < 0 || from_y >= h || inside <= 0) {
            out = black(table, channels, w, out);
            continue;
        }
        const int from_x = mirror ? w - 1 - right + dx : first + dx;
        const uint8_t *p = hwc + ((int64_t)from_y * w + from_x) * channels;
        out = black(table, channels, first, out);
        out = copy_pixels(table, p, mirror ? -channels : channels, inside, out);
        out = black(table, channels, w - first - inside, out);
    }
}
