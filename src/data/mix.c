/* SPDX-License-Identifier: Apache-2.0 */
#include "data/mix.h"

#include <math.h>
#include <string.h>

/* Gamma(shape, 1) by rejection (Marsaglia and Tsang 2000); below 1 by Gamma(shape + 1) U^(1/shape). */
static double gamma_draw(ful__draw *d, double shape)
{
    const double k = shape < 1 ? shape + 1 : shape, a = k - 1.0 / 3, b = 1 / sqrt(9 * a);
    const double boost = shape < 1 ? pow(1 - ful__draw_uniform(d, 0, 1), 1 / shape) : 1;
    for (;;) {
        const uint64_t at = d->index << 20 | d->taken;
        const double z = (double)ful__rng_normal(d->stream, d->step, at), v = pow(1 + b * z, 3);
        const double u = 1 - ful__draw_uniform(d, 0, 1);
        if (1 + b * z > 0 && log(u) < 0.5 * z * z + a * (1 - v + log(v))) return a * v * boost;
    }
}

static double beta_draw(ful__draw *d, double alpha)
{
    const double x = gamma_draw(d, alpha), y = gamma_draw(d, alpha);
    return x + y > 0 ? x / (x + y) : 0.5; /* both underflow where alpha is tiny */
}

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

ful__mix ful__mix_draw(const ful_augment *augment, ful__stream stream, int64_t epoch, int64_t batch, int h, int w)
{
    ful__draw d = ful__draw_at(stream, epoch, (uint32_t)batch, 0);
    const bool second = ful__draw_below(&d, 2);
    ful__mix mix = {.cut = augment->cutmix > 0 && (augment->mixup == 0 || second)};
    mix.share = beta_draw(&d, mix.cut ? augment->cutmix : augment->mixup);
    if (!mix.cut) return mix;
    const double half = 0.5 * sqrt(1 - mix.share);
    const int y = ful__draw_below(&d, h), x = ful__draw_below(&d, w), dy = (int)(half * h), dx = (int)(half * w);
    const int y0 = clamp(y - dy, 0, h), y1 = clamp(y + dy, 0, h), x0 = clamp(x - dx, 0, w), x1 = clamp(x + dx, 0, w);
    mix.rect = (ful__rect){y0, x0, y1 - y0, x1 - x0};
    mix.share = 1 - (double)mix.rect.h * mix.rect.w / ((double)h * w);
    return mix;
}

static void mix_pair(const ful__mix *mix, int h, int w, int c, float *x, const float *other)
{
    const float share = (float)mix->share;
    const size_t row = (size_t)w * (size_t)c, values = (size_t)h * row;
    if (mix->cut) {
        const ful__rect r = mix->rect;
        for (int y = r.y; y < r.y + r.h; y++) {
            const size_t at = (size_t)y * row + (size_t)r.x * (size_t)c;
            memcpy(x + at, other + at, (size_t)r.w * (size_t)c * sizeof *x);
        }
        return;
    }
    for (size_t i = 0; i < values; i++) x[i] = share * x[i] + (1 - share) * other[i];
}

void ful__mix_images(const ful__mix *mix, int n, int h, int w, int c, float *x, float *spare)
{
    const size_t values = (size_t)h * (size_t)w * (size_t)c;
    if (n < 1) return;
    memcpy(spare, x + (size_t)(n - 1) * values, values * sizeof *x); /* the first needs the last as it was */
    for (int i = n - 1; i > 0; i--) mix_pair(mix, h, w, c, x + (size_t)i * values, x + (size_t)(i - 1) * values);
    mix_pair(mix, h, w, c, x, spare);
}

void ful__mix_targets(const ful__mix *mix, int n, const int32_t *label, int classes, double smoothing, float *soft)
{
    const double rest = smoothing / classes;
    for (int i = 0; i < n; i++, soft += classes) {
        for (int c = 0; c < classes; c++) {
            const double own = c == label[i], other = c == label[i > 0 ? i - 1 : n - 1];
            soft[c] = (float)((1 - smoothing) * (mix->share * own + (1 - mix->share) * other) + rest);
        }
    }
}
