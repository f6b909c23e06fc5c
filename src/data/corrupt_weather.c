/* SPDX-License-Identifier: Apache-2.0 */
/* Weather: snow, frost, fog, spatter. All textures are made from noise; there are no picture files. */
#include <math.h>
#include <string.h>

#include "data/corrupt.h"

enum { TAPS_MAX = 256 };
static const double pi = 3.14159265358979323846;

static float grey_of(const ful__corrupt *w, const float *pixel)
{
    return w->c == 1 ? pixel[0] : 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
}

/* plane[which] as an image [h][w]. */
static void fill_normal(ful__corrupt *w, int which, double mean, double sd)
{
    const size_t n = (size_t)w->h * (size_t)w->w;
    ful__rng_fill_normal(w->stream, w->step, (float)sd, w->plane[which], n);
    for (size_t i = 0; i < n; i++) w->plane[which][i] += (float)mean;
}

/* ---- fog ---- */

void ful__corrupt_fog(ful__corrupt *w)
{
    const float amount = (float)w->p[0];
    float most = 0.0f;
    ful__corrupt_plasma(w, 0, w->p[1], w->plane[0]);
    for (int i = 0; i < w->h * w->w * w->c; i++) most = fmaxf(most, w->x[i]);
    const float keep = most > 0.0f ? most / (most + amount) : 1.0f / (1.0f + amount);
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++)
            for (int c = 0; c < w->c; c++) {
                float *v = &w->x[(y * w->w + x) * w->c + c];
                *v = (*v + amount * w->plane[0][y * w->side + x]) * keep;
            }
}

/* ---- frost ---- */

/* Ice: bright ridges where fractal noises cross their middle, of three sizes, on a dull pane that thickens by patches. */
static void make_frost(ful__corrupt *w)
{
    const int n = w->side * w->side;
    float *ice = w->plane[0], *noise = w->plane[1];
    ful__corrupt_plasma(w, 0, 1.6, ice); /* patches */
    for (int i = 0; i < n; i++) ice[i] = 0.25f + 0.35f * ice[i];
    for (uint64_t layer = 1; layer <= 3; layer++) {
        ful__corrupt_plasma(w, layer, 1.3 + 0.25 * (double)layer, noise);
        for (int i = 0; i < n; i++) {
            const float ridge = 1.0f - fabsf(2.0f * noise[i] - 1.0f);
            const float sharp = ridge * ridge * ridge * ridge;
            ice[i] += 0.45f * sharp * sharp;
        }
    }
    for (int i = 0; i < n; i++) ice[i] = ful__corrupt_clip01(ice[i]);
}

void ful__corrupt_frost(ful__corrupt *w)
{
    static const float tint[3] = {0.86f, 0.95f, 1.0f};
    const float keep = (float)w->p[0], amount = (float)w->p[1];
    make_frost(w);
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++)
            for (int c = 0; c < w->c; c++) {
                float *v = &w->x[(y * w->w + x) * w->c + c];
                *v = keep * *v + amount * w->plane[0][y * w->side + x] * (w->c == 1 ? 0.94f : tint[c]);
            }
}

/* ---- snow ---- */

/* The middle of plane[from], enlarged to the whole, into plane[to]. */
static void enlarge(ful__corrupt *w, int from, int to, double factor)
{
    const double cy = 0.5 * (w->h - 1), cx = 0.5 * (w->w - 1);
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++)
            w->plane[to][y * w->w + x] = ful__corrupt_sample(w->plane[from], w->h, w->w, 1, 0, cy + (y - cy) / factor,
                                                             cx + (x - cx) / factor, false);
}

void ful__corrupt_snow(ful__corrupt *w)
{
    double kernel[TAPS_MAX];
    const int n = w->h * w->w;
    fill_normal(w, 0, w->p[0], w->p[1]);
    enlarge(w, 0, 1, w->p[2] * fmax(1.0, w->scale));
    for (int i = 0; i < n; i++) w->plane[1][i] = w->plane[1][i] < (float)w->p[3] ? 0.0f : ful__corrupt_clip01(w->plane[1][i]);
    const int taps = ful__corrupt_half_gaussian(w->p[4] * w->scale, w->p[5] * w->scale, kernel, TAPS_MAX);
    const double angle = ful__corrupt_draw(w, 0, -0.75 * pi, -0.25 * pi);
    ful__corrupt_along_line(w->plane[1], w->h, w->w, 1, kernel, taps, sin(angle), cos(angle), w->plane[2]);
    const float keep = (float)w->p[6];
    for (int i = 0; i < n; i++) {
        float *pixel = &w->x[i * w->c];
        const float white = 1.5f * grey_of(w, pixel) + 0.5f, flakes = w->plane[2][i] + w->plane[2][n - 1 - i];
        for (int c = 0; c < w->c; c++) pixel[c] = keep * pixel[c] + (1.0f - keep) * fmaxf(pixel[c], white) + flakes;
    }
}

/* ---- spatter ---- */

/* Water bends light: bright where the film rises towards the upper left, darker where it falls. */
static void add_water(ful__corrupt *w, const float *film)
{
    static const float turquoise[3] = {0.686f, 0.933f, 0.933f};
    float most = 1e-6f;
    for (int i = 0; i < w->h * w->w; i++) most = fmaxf(most, film[i]);
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++) {
            const int at = y * w->w + x, above = (y > 0 ? y - 1 : y) * w->w + (x > 0 ? x - 1 : x);
            const float slope = (float)w->scale * (film[at] - film[above]) / most, thick = sqrtf(film[at] / most);
            const float amount = (float)w->p[4] * (0.6f * thick + 0.8f * slope);
            for (int c = 0; c < w->c; c++) w->x[at * w->c + c] += amount * (w->c == 1 ? 0.85f : turquoise[c]);
        }
}

static void add_mud(ful__corrupt *w, float *film)
{
    static const float brown[3] = {0.247f, 0.165f, 0.078f};
    for (int i = 0; i < w->h * w->w; i++) film[i] = film[i] > 0.0f ? 1.0f : 0.0f;
    ful__corrupt_gaussian(w, film, w->h, w->w, 1, w->p[4] * w->scale, 4.0);
    for (int i = 0; i < w->h * w->w; i++) {
        const float cover = film[i] < 0.4f ? 0.0f : film[i];
        for (int c = 0; c < w->c; c++) {
            float *v = &w->x[i * w->c + c];
            *v = *v * (1.0f - cover) + cover * (w->c == 1 ? 0.18f : brown[c]);
        }
    }
}

void ful__corrupt_spatter(ful__corrupt *w)
{
    float *film = w->plane[0];
    fill_normal(w, 0, w->p[0], w->p[1] * fmax(1.0, w->scale)); /* a wider blur takes more of the noise away */
    ful__corrupt_gaussian(w, film, w->h, w->w, 1, w->p[2] * w->scale, 4.0);
    for (int i = 0; i < w->h * w->w; i++) film[i] = fmaxf(0.0f, film[i] - (float)w->p[3]);
    if (w->p[5] > 0.0)
        add_mud(w, film);
    else
        add_water(w, film);
}
