/* SPDX-License-Identifier: Apache-2.0 */
/* What corruptions are made of: blur, sampling between pixels, fractal noise. */
#include <math.h>
#include <string.h>

#include "data/corrupt.h"

enum { KERNEL_MAX = 513 };

static int clamp(int v, int n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

static int mirror(int v, int n)
{
    if (n == 1) return 0;
    const int period = 2 * (n - 1);
    v = ((v % period) + period) % period;
    return v < n ? v : period - v;
}

/* ---- Gaussian ---- */

/* n positions `stride` floats apart, for `lanes` neighbours at once; line: n * lanes free floats. */
static void blur_line(float *at, int n, size_t stride, int lanes, const double *kernel, int radius, float *line)
{
    for (int i = 0; i < n; i++) memcpy(line + (size_t)i * (size_t)lanes, at + (size_t)i * stride, (size_t)lanes * sizeof *line);
    for (int i = 0; i < n; i++)
        for (int l = 0; l < lanes; l++) {
            double sum = 0.0;
            for (int k = -radius; k <= radius; k++) sum += kernel[k + radius] * (double)line[clamp(i + k, n) * lanes + l];
            at[(size_t)i * stride + (size_t)l] = (float)sum;
        }
}

void ful__corrupt_gaussian(ful__corrupt *w, float *image, int h, int width, int c, double sigma, double truncate)
{
    double kernel[KERNEL_MAX], sum = 0.0;
    int radius = (int)(truncate * sigma + 0.5);
    if (radius > KERNEL_MAX / 2) radius = KERNEL_MAX / 2;
    if (radius < 1) return;
    for (int k = -radius; k <= radius; k++) sum += kernel[k + radius] = exp(-0.5 * k * k / (sigma * sigma));
    for (int k = 0; k <= 2 * radius; k++) kernel[k] /= sum;
    const size_t row = (size_t)width * (size_t)c;
    for (int y = 0; y < h; y++) blur_line(image + (size_t)y * row, width, (size_t)c, c, kernel, radius, w->row);
    for (int x = 0; x < width; x++) blur_line(image + (size_t)x * (size_t)c, h, row, c, kernel, radius, w->row);
}

/* ---- sampling ---- */

float ful__corrupt_sample(const float *from, int h, int w, int c, int channel, double y, double x, bool reflect)
{
    const double fy = floor(y), fx = floor(x);
    const double part_y = y - fy, part_x = x - fx;
    int at_y[2], at_x[2];
    for (int i = 0; i < 2; i++) {
        at_y[i] = reflect ? mirror((int)fy + i, h) : clamp((int)fy + i, h);
        at_x[i] = reflect ? mirror((int)fx + i, w) : clamp((int)fx + i, w);
    }
    double value[2];
    for (int i = 0; i < 2; i++) {
        const float *row = from + (ptrdiff_t)at_y[i] * w * c + channel;
        value[i] = (1.0 - part_x) * (double)row[at_x[0] * c] + part_x * (double)row[at_x[1] * c];
    }
    return (float)((1.0 - part_y) * value[0] + part_y * value[1]);
}

int ful__corrupt_half_gaussian(double radius, double sigma, double *kernel, int most)
{
    int taps = (int)(2.0 * radius + 1.0);
    double sum = 0.0;
    if (taps > most) taps = most;
    for (int i = 0; i < taps; i++) sum += kernel[i] = exp(-0.5 * i * i / (sigma * sigma));
    for (int i = 0; i < taps; i++) kernel[i] /= sum;
    return taps;
}

void ful__corrupt_along_line(const float *from, int h, int w, int c, const double *kernel, int taps, double dy, double dx,
                             float *out)
{
    while (taps > 1 && kernel[taps - 1] < 1e-6) taps--;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int k = 0; k < c; k++) {
                double sum = 0.0;
                for (int i = 0; i < taps; i++)
                    sum += kernel[i] * (double)ful__corrupt_sample(from, h, w, c, k, y + i * dy, x + i * dx, false);
                *out++ = (float)sum;
            }
}

/* ---- draws ---- */

double ful__corrupt_draw(const ful__corrupt *w, uint64_t which, double low, double high)
{
    uint32_t words[4];
    ful__rng_words(w->stream, w->step, (uint64_t)1 << 62 | which, words);
    return low + (high - low) * (((double)words[0] + 0.5) * 0x1p-32);
}

/* Mean of four corners plus a wibble; wraps at the edges. */
static float middle(const ful__corrupt *w, const float *map, const int corner[4][2], double wibble, uint64_t which)
{
    const int mask = w->side - 1;
    float sum = 0.0f;
    for (int i = 0; i < 4; i++) sum += map[(corner[i][0] & mask) * w->side + (corner[i][1] & mask)];
    return 0.25f * sum + (float)ful__corrupt_draw(w, which, -wibble, wibble);
}

void ful__corrupt_plasma(ful__corrupt *w, uint64_t which, double decay, float *out)
{
    const int side = w->side, mask = side - 1;
    double wibble = 1.0;
    uint64_t at = which << 32;
    memset(out, 0, (size_t)side * (size_t)side * sizeof *out);
    for (int step = side; step >= 2; step /= 2, wibble /= decay) {
        const int half = step / 2;
        for (int y = 0; y < side; y += step) /* squares: the middle of four corners */
            for (int x = 0; x < side; x += step) {
                const int corner[4][2] = {{y, x}, {y, x + step}, {y + step, x}, {y + step, x + step}};
                out[(y + half) * side + x + half] = middle(w, out, corner, wibble, at++);
            }
        for (int y = 0; y < side; y += half) /* diamonds: between the middles */
            for (int x = (y / half + 1) % 2 * half; x < side; x += step) {
                const int corner[4][2] = {{y - half, x}, {y + half, x}, {y, x - half}, {y, x + half}};
                out[(y & mask) * side + x] = middle(w, out, corner, wibble, at++);
            }
    }
    float low = out[0], high = out[0];
    for (int i = 0; i < side * side; i++) {
        low = fminf(low, out[i]);
        high = fmaxf(high, out[i]);
    }
    const float range = high > low ? high - low : 1.0f;
    for (int i = 0; i < side * side; i++) out[i] = (out[i] - low) / range;
}
