/* SPDX-License-Identifier: Apache-2.0 */
/* Blurs. */
#include <math.h>
#include <string.h>

#include "data/corrupt.h"

enum { DISK_MAX = 65, TAPS_MAX = 256 };
static const double pi = 3.14159265358979323846;

static size_t bytes_of(const ful__corrupt *w)
{
    return (size_t)w->h * (size_t)w->w * (size_t)w->c * sizeof(float);
}

void ful__corrupt_gaussian_blur(ful__corrupt *w)
{
    ful__corrupt_gaussian(w, w->x, w->h, w->w, w->c, w->p[0] * w->scale, 4.0);
}

/* ---- defocus ---- */

/* A disk of pixels, softened: disk * Gaussian, sampled, normalised. Returns its radius. */
static int make_disk(double radius, double soft, double out[DISK_MAX * DISK_MAX])
{
    const int reach = (int)ceil(3.0 * soft) < 1 ? 1 : (int)ceil(3.0 * soft);
    int half = (int)floor(radius) + reach;
    double sum = 0.0;
    if (half > DISK_MAX / 2) half = DISK_MAX / 2;
    const int side = 2 * half + 1, disk = (int)floor(radius);
    for (int y = -half; y <= half; y++)
        for (int x = -half; x <= half; x++) {
            double value = 0.0;
            for (int v = -disk; v <= disk; v++)
                for (int u = -disk; u <= disk; u++) {
                    const double away = (double)((y - v) * (y - v) + (x - u) * (x - u));
                    if (v * v + u * u <= radius * radius && away <= 2.0 * reach * reach)
                        value += exp(-0.5 * away / (soft * soft));
                }
            sum += out[(y + half) * side + x + half] = value;
        }
    for (int i = 0; i < side * side; i++) out[i] /= sum;
    return half;
}

void ful__corrupt_defocus_blur(ful__corrupt *w)
{
    double kernel[DISK_MAX * DISK_MAX];
    const int half = make_disk(w->p[0] * w->scale, w->p[1] * w->scale, kernel), side = 2 * half + 1;
    memcpy(w->y, w->x, bytes_of(w));
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++)
            for (int c = 0; c < w->c; c++) {
                double sum = 0.0;
                for (int v = -half; v <= half; v++)
                    for (int u = -half; u <= half; u++) {
                        const int at_y = y + v < 0 ? 0 : y + v >= w->h ? w->h - 1 : y + v;
                        const int at_x = x + u < 0 ? 0 : x + u >= w->w ? w->w - 1 : x + u;
                        sum += kernel[(v + half) * side + u + half] * (double)w->y[(at_y * w->w + at_x) * w->c + c];
                    }
                w->x[(y * w->w + x) * w->c + c] = (float)sum;
            }
}

/* ---- glass ---- */

static void swap_pixels(ful__corrupt *w, int a, int b)
{
    for (int c = 0; c < w->c; c++) {
        const float held = w->x[a * w->c + c];
        w->x[a * w->c + c] = w->x[b * w->c + c];
        w->x[b * w->c + c] = held;
    }
}

void ful__corrupt_glass_blur(ful__corrupt *w)
{
    const double sigma = w->p[0] * w->scale;
    const int reach = (int)fmax(1.0, floor(w->p[1] * w->scale + 0.5)), times = (int)w->p[2];
    uint64_t at = 0;
    ful__corrupt_gaussian(w, w->x, w->h, w->w, w->c, sigma, 4.0);
    for (int t = 0; t < times; t++)
        for (int y = w->h - 1 - reach; y >= reach; y--)
            for (int x = w->w - 1 - reach; x >= reach; x--, at += 2) {
                const int dy = (int)floor(ful__corrupt_draw(w, at, -reach, reach + 1)),
                          dx = (int)floor(ful__corrupt_draw(w, at + 1, -reach, reach + 1));
                swap_pixels(w, y * w->w + x, (y + dy) * w->w + x + dx);
            }
    ful__corrupt_gaussian(w, w->x, w->h, w->w, w->c, sigma, 4.0);
}

/* ---- motion, zoom ---- */

void ful__corrupt_motion_blur(ful__corrupt *w)
{
    double kernel[TAPS_MAX];
    const int taps = ful__corrupt_half_gaussian(w->p[0] * w->scale, w->p[1] * w->scale, kernel, TAPS_MAX);
    const double angle = ful__corrupt_draw(w, 0, -0.25 * pi, 0.25 * pi);
    memcpy(w->y, w->x, bytes_of(w));
    ful__corrupt_along_line(w->y, w->h, w->w, w->c, kernel, taps, sin(angle), cos(angle), w->x);
}

void ful__corrupt_zoom_blur(ful__corrupt *w)
{
    const int zooms = (int)floor((w->p[0] - 1.0) / w->p[1] + 0.5) + 1;
    const double cy = 0.5 * (w->h - 1), cx = 0.5 * (w->w - 1);
    memcpy(w->y, w->x, bytes_of(w));
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++)
            for (int c = 0; c < w->c; c++) {
                double sum = (double)w->y[(y * w->w + x) * w->c + c];
                for (int z = 0; z < zooms; z++) {
                    const double factor = 1.0 + z * w->p[1];
                    sum += (double)ful__corrupt_sample(w->y, w->h, w->w, w->c, c, cy + (y - cy) / factor,
                                                       cx + (x - cx) / factor, false);
                }
                w->x[(y * w->w + x) * w->c + c] = (float)(sum / (zooms + 1));
            }
}
