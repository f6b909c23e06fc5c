/* SPDX-License-Identifier: Apache-2.0 */
/* Colours and geometry. */
#include <math.h>
#include <string.h>

#include "data/corrupt.h"

/* ---- colours ---- */

static float largest(const float *pixel, int c)
{
    return c == 1 ? pixel[0] : fmaxf(pixel[0], fmaxf(pixel[1], pixel[2]));
}

/* HSV's value raised: hue and saturation stay, so all channels grow alike; black becomes grey. */
void ful__corrupt_brightness(ful__corrupt *w)
{
    for (int i = 0; i < w->h * w->w; i++) {
        float *pixel = &w->x[i * w->c];
        const float value = largest(pixel, w->c), raised = ful__corrupt_clip01(value + (float)w->p[0]);
        for (int c = 0; c < w->c; c++) pixel[c] = value > 0.0f ? pixel[c] * raised / value : raised;
    }
}

void ful__corrupt_contrast(ful__corrupt *w)
{
    const int n = w->h * w->w;
    for (int c = 0; c < w->c; c++) {
        double sum = 0.0;
        for (int i = 0; i < n; i++) sum += (double)w->x[i * w->c + c];
        const float mean = (float)(sum / n);
        for (int i = 0; i < n; i++) w->x[i * w->c + c] = mean + (w->x[i * w->c + c] - mean) * (float)w->p[0];
    }
}

/* HSV's saturation: the distance of each channel from the largest. Grey stays grey. */
void ful__corrupt_saturate(ful__corrupt *w)
{
    if (w->c == 1) return;
    for (int i = 0; i < w->h * w->w; i++) {
        float *pixel = &w->x[i * w->c];
        const float value = largest(pixel, 3), least = fminf(pixel[0], fminf(pixel[1], pixel[2]));
        if (value <= least) continue;
        const float saturation = (value - least) / value;
        const float wanted = ful__corrupt_clip01(saturation * (float)w->p[0] + (float)w->p[1]);
        for (int c = 0; c < 3; c++) pixel[c] = value - (value - pixel[c]) * wanted / saturation;
    }
}

/* ---- geometry ---- */

/* The affine map that moves three points of the middle by up to p[2] pixels: (y, x) -> m . (y, x, 1). */
static void draw_affine(const ful__corrupt *w, double m[2][3])
{
    const double side = w->h < w->w ? w->h / 3 : w->w / 3, cy = 0.5 * (w->h - 1), cx = 0.5 * (w->w - 1);
    const double from[3][2] = {{cy + side, cx + side}, {cy + side, cx - side}, {cy - side, cx - side}};
    const double far = w->p[2] * w->scale;
    double to[3][2];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++) to[i][k] = from[i][k] + ful__corrupt_draw(w, (uint64_t)(2 * i + k), -far, far);
    /* from[0] - from[1] lies along x, from[1] - from[2] along y */
    for (int k = 0; k < 2; k++) {
        m[k][1] = (to[0][k] - to[1][k]) / (2.0 * side);
        m[k][0] = (to[1][k] - to[2][k]) / (2.0 * side);
        m[k][2] = to[0][k] - m[k][0] * from[0][0] - m[k][1] * from[0][1];
    }
}

void ful__corrupt_elastic(ful__corrupt *w)
{
    const size_t n = (size_t)w->h * (size_t)w->w;
    const double amount = w->p[0] * w->scale, smooth = w->p[1] * w->scale;
    double m[2][3];
    draw_affine(w, m);
    ful__rng_fill_uniform(w->stream, w->step << 1, -1.0f, 1.0f, w->plane[0], n);
    ful__rng_fill_uniform(w->stream, w->step << 1 | 1, -1.0f, 1.0f, w->plane[1], n);
    for (int k = 0; k < 2; k++) ful__corrupt_gaussian(w, w->plane[k], w->h, w->w, 1, smooth, 3.0);
    memcpy(w->y, w->x, n * (size_t)w->c * sizeof *w->y);
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++) {
            const int at = y * w->w + x;
            const double by = y + amount * (double)w->plane[0][at], bx = x + amount * (double)w->plane[1][at];
            const double to_y = m[0][0] * by + m[0][1] * bx + m[0][2], to_x = m[1][0] * by + m[1][1] * bx + m[1][2];
            for (int c = 0; c < w->c; c++)
                w->x[at * w->c + c] = ful__corrupt_sample(w->y, w->h, w->w, w->c, c, to_y, to_x, true);
        }
}

/* Mean of one channel over [y0, y1) x [x0, x1), edges in parts of pixels. */
static double box_mean(const ful__corrupt *w, int c, double y0, double y1, double x0, double x1)
{
    double sum = 0.0;
    for (int y = (int)y0; y < y1 && y < w->h; y++)
        for (int x = (int)x0; x < x1 && x < w->w; x++) {
            const double in_y = fmin(y + 1, y1) - fmax(y, y0), in_x = fmin(x + 1, x1) - fmax(x, x0);
            sum += in_y * in_x * (double)w->y[(y * w->w + x) * w->c + c];
        }
    return sum / ((y1 - y0) * (x1 - x0));
}

void ful__corrupt_pixelate(ful__corrupt *w)
{
    const int rows = (int)(w->h * w->p[0]), columns = (int)(w->w * w->p[0]);
    memcpy(w->y, w->x, (size_t)w->h * (size_t)w->w * (size_t)w->c * sizeof *w->y);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < columns; k++)
            for (int c = 0; c < w->c; c++)
                w->plane[c][r * columns + k] = (float)box_mean(w, c, (double)r * w->h / rows, (double)(r + 1) * w->h / rows,
                                                               (double)k * w->w / columns, (double)(k + 1) * w->w / columns);
    for (int y = 0; y < w->h; y++) /* back: the box under each pixel's middle */
        for (int x = 0; x < w->w; x++)
            for (int c = 0; c < w->c; c++)
                w->x[(y * w->w + x) * w->c + c] =
                    w->plane[c][(int)((y + 0.5) * rows / w->h) * columns + (int)((x + 0.5) * columns / w->w)];
}
