/* SPDX-License-Identifier: Apache-2.0 */
/* Noise on each value of an image. */
#include <math.h>

#include "data/corrupt.h"

static size_t values_of(const ful__corrupt *w)
{
    return (size_t)w->h * (size_t)w->w * (size_t)w->c;
}

void ful__corrupt_gaussian_noise(ful__corrupt *w)
{
    const size_t n = values_of(w);
    ful__rng_fill_normal(w->stream, w->step, (float)w->p[0], w->y, n);
    for (size_t i = 0; i < n; i++) w->x[i] += w->y[i];
}

void ful__corrupt_speckle_noise(ful__corrupt *w)
{
    const size_t n = values_of(w);
    ful__rng_fill_normal(w->stream, w->step, (float)w->p[0], w->y, n);
    for (size_t i = 0; i < n; i++) w->x[i] += w->x[i] * w->y[i];
}

void ful__corrupt_impulse_noise(ful__corrupt *w)
{
    const size_t n = values_of(w);
    const float half = (float)(0.5 * w->p[0]);
    ful__rng_fill_uniform(w->stream, w->step, 0.0f, 1.0f, w->y, n);
    for (size_t i = 0; i < n; i++)
        if (w->y[i] < 2.0f * half) w->x[i] = w->y[i] < half ? 0.0f : 1.0f;
}

/* ---- Poisson ---- */

/* Two uniforms of (0, 1) at an address. */
static void uniforms(const ful__corrupt *w, uint64_t index, double out[2])
{
    uint32_t words[4];
    ful__rng_words(w->stream, w->step, index, words);
    for (int i = 0; i < 2; i++) out[i] = ((double)((uint64_t)words[2 * i] << 20 ^ words[2 * i + 1] >> 12) + 0.5) * 0x1p-52;
}

/* ln k! for k >= 0: Stirling's series where it is good to 1e-10, else the product. */
static double log_factorial(double k)
{
    if (k < 10.0) {
        double product = 1.0;
        for (double i = 2.0; i <= k; i += 1.0) product *= i;
        return log(product);
    }
    const double r = 1.0 / k;
    return (k + 0.5) * log(k) - k + 0.91893853320467274 + r * (1.0 / 12 - r * r * (1.0 / 360 - r * r / 1260));
}

/* Small means: how many steps of the distribution function a uniform climbs. */
static double poisson_by_steps(const ful__corrupt *w, uint64_t at, double mean)
{
    double u[2], term = exp(-mean), k = 0.0;
    uniforms(w, at, u);
    for (double sum = term; u[0] > sum && term > 0.0; sum += term) term *= mean / ++k;
    return k;
}

/* Large means: transformed rejection (Hörmann 1993, PTRS), exact. */
static double poisson_by_rejection(const ful__corrupt *w, uint64_t at, double mean)
{
    const double b = 0.931 + 2.53 * sqrt(mean), a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), v_right = 0.9277 - 3.6224 / (b - 2.0);
    for (uint64_t attempt = 0;; attempt++) {
        double u[2];
        uniforms(w, at + attempt, u);
        const double centred = u[0] - 0.5, us = 0.5 - fabs(centred);
        const double k = floor((2.0 * a / us + b) * centred + mean + 0.43);
        if (us >= 0.07 && u[1] <= v_right) return k;
        if (k < 0.0 || (us < 0.013 && u[1] > us)) continue;
        if (log(u[1] * inverse_alpha / (a / (us * us) + b)) <= k * log(mean) - mean - log_factorial(k)) return k;
    }
}

void ful__corrupt_shot_noise(ful__corrupt *w)
{
    const size_t n = values_of(w);
    for (size_t i = 0; i < n; i++) {
        const double mean = (double)w->x[i] * w->p[0];
        const uint64_t at = (uint64_t)i << 16; /* room for its attempts */
        w->x[i] = (float)((mean < 10.0 ? poisson_by_steps(w, at, mean) : poisson_by_rejection(w, at, mean)) / w->p[0]);
    }
}
