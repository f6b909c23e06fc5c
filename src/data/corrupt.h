/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the corruptions share. An image is worked on as floats in 0..1, HWC; each function changes w->x in place and may use the
 * rest of its worker's memory. Lengths in the tables are for images of 32 pixels; others scale them.
 *
 *   corrupt.c          tables, life, from bytes to bytes
 *   corrupt_planes.c   blur, sampling, fractal noise: what the others are made of
 *   corrupt_noise.c, corrupt_blur.c, corrupt_weather.c, corrupt_digital.c,
 *   corrupt_jpeg.c      the corruptions
 */
#ifndef FUL_DATA_CORRUPT_H
#define FUL_DATA_CORRUPT_H

#include <stddef.h>

#include "core/rng.h"
#include <fulcrum/corrupt.h>

enum { FUL__CORRUPT_PARAMS = 7, FUL__CORRUPT_PLANES = 4 };

/* One worker's memory, and the image it works on. */
typedef struct ful__corrupt {
    int h, w, c;
    double scale;    /* lengths at this size over those of the tables: (shorter side / 32)^0.75 */
    const double *p; /* parameters of the severity */
    ful__stream stream;
    uint64_t step;                     /* address of this image's draws */
    float *x, *y;                      /* [h][w][c]: the image; free */
    float *plane[FUL__CORRUPT_PLANES]; /* [side * side]: free */
    int side;                          /* power of two >= h and w */
    float *row;                        /* [max(h, w) * c + kernel]: free */
} ful__corrupt;

typedef void (*ful__corrupt_fn)(ful__corrupt *w);

/* ---- corrupt_planes.c ---- */

static inline float ful__corrupt_clip01(float v)
{
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}
/* Gaussian of sd sigma pixels over images [h][w][c] in place, edges repeated, cut at `truncate` sd. */
void ful__corrupt_gaussian(ful__corrupt *w, float *image, int h, int width, int c, double sigma, double truncate);
/* from at (y, x), between pixels, mirrored at the edges (reflect: ...2 1 0 1 2...) or repeated. */
float ful__corrupt_sample(const float *from, int h, int w, int c, int channel, double y, double x, bool reflect);
/* out(y, x) = sum over i of kernel[i] from(y + i dy, x + i dx), each channel, edges repeated. */
void ful__corrupt_along_line(const float *from, int h, int w, int c, const double *kernel, int taps, double dy, double dx,
                             float *out);
/* Fractal noise by diamond-square in 0..1, [side][side], wrapping; decay: by what the wibble shrinks a level. */
void ful__corrupt_plasma(ful__corrupt *w, uint64_t which, double decay, float *out);
/* Half a Gaussian of `taps` weights that sum to 1: motion. */
int ful__corrupt_half_gaussian(double radius, double sigma, double *kernel, int most);
/* A uniform draw in low..high; each `which` its own. */
double ful__corrupt_draw(const ful__corrupt *w, uint64_t which, double low, double high);

/* ---- the corruptions ---- */
void ful__corrupt_gaussian_noise(ful__corrupt *w);
void ful__corrupt_shot_noise(ful__corrupt *w);
void ful__corrupt_impulse_noise(ful__corrupt *w);
void ful__corrupt_speckle_noise(ful__corrupt *w);
void ful__corrupt_gaussian_blur(ful__corrupt *w);
void ful__corrupt_defocus_blur(ful__corrupt *w);
void ful__corrupt_glass_blur(ful__corrupt *w);
void ful__corrupt_motion_blur(ful__corrupt *w);
void ful__corrupt_zoom_blur(ful__corrupt *w);
void ful__corrupt_snow(ful__corrupt *w);
void ful__corrupt_frost(ful__corrupt *w);
void ful__corrupt_fog(ful__corrupt *w);
void ful__corrupt_spatter(ful__corrupt *w);
void ful__corrupt_brightness(ful__corrupt *w);
void ful__corrupt_contrast(ful__corrupt *w);
void ful__corrupt_saturate(ful__corrupt *w);
void ful__corrupt_elastic(ful__corrupt *w);
void ful__corrupt_pixelate(ful__corrupt *w);
void ful__corrupt_jpeg(ful__corrupt *w);

#endif
