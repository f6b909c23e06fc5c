/* SPDX-License-Identifier: Apache-2.0 */
/* Corruptions: the table of them, their memory, and from bytes to bytes. */
#include "data/corrupt.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"

enum { LEAST_SIDE = 8, LEAST_PLANE = 16 };

static const ful_corruption names[] = {
    {"gaussian_noise", "noise", "normal noise of sd p0", true},
    {"shot_noise", "noise", "Poisson noise: counts of p0 at full brightness", true},
    {"impulse_noise", "noise", "a share p0 of the values is black or white", true},
    {"speckle_noise", "noise", "normal noise of sd p0 times the value", false},
    {"gaussian_blur", "blur", "Gaussian of sd p0 pixels", false},
    {"defocus_blur", "blur", "disk of radius p0 pixels, softened by a Gaussian of sd p1", true},
    {"glass_blur", "blur", "Gaussian of sd p0, pixels swapped within p1 pixels p2 times, Gaussian again", true},
    {"motion_blur", "blur", "half Gaussian of sd p1 over 2 p0 + 1 pixels, at -45..45 degrees", true},
    {"zoom_blur", "blur", "mean of zooms from 1 to p0 in steps of p1", true},
    {"snow", "weather", "flakes of moved noise, and a whitened image", true},
    {"frost", "weather", "p0 of the image and p1 of a frozen pane (procedural)", true},
    {"fog", "weather", "fractal noise times p0, decay p1", true},
    {"spatter", "weather", "drops of water, from severity 4 on of mud", false},
    {"brightness", "digital", "p0 added to the value (HSV)", true},
    {"contrast", "digital", "distance from the mean times p0", true},
    {"saturate", "digital", "saturation (HSV) times p0 plus p1", false},
    {"elastic_transform", "digital", "random affine map of p2 pixels, and a field of p0 pixels smoothed over p1", true},
    {"pixelate", "digital", "brought to p0 of its side and back, by boxes", true},
    {"jpeg_compression", "digital", "what JPEG of quality p0 with halved chroma loses", true},
    {NULL, NULL, NULL, false},
};

typedef struct recipe {
    ful__corrupt_fn apply;
    double p[FUL_SEVERITIES][FUL__CORRUPT_PARAMS];
} recipe;

/* In the order of names. The numbers are those published for 32-pixel images, where the corruption has numbers of that kind. */
static const recipe recipes[] = {
    {ful__corrupt_gaussian_noise, {{.04}, {.06}, {.08}, {.09}, {.10}}},
    {ful__corrupt_shot_noise, {{500}, {250}, {100}, {75}, {50}}},
    {ful__corrupt_impulse_noise, {{.01}, {.02}, {.03}, {.05}, {.07}}},
    {ful__corrupt_speckle_noise, {{.06}, {.1}, {.12}, {.16}, {.2}}},
    {ful__corrupt_gaussian_blur, {{.4}, {.6}, {.7}, {.8}, {1}}},
    {ful__corrupt_defocus_blur, {{.3, .4}, {.4, .5}, {.5, .6}, {1, .2}, {1.5, .1}}},
    {ful__corrupt_glass_blur, {{.05, 1, 1}, {.25, 1, 1}, {.4, 1, 1}, {.25, 1, 2}, {.4, 1, 2}}},
    {ful__corrupt_motion_blur, {{6, 1}, {6, 1.5}, {6, 2}, {8, 2}, {9, 2.5}}},
    {ful__corrupt_zoom_blur, {{1.05, .01}, {1.10, .01}, {1.15, .01}, {1.20, .01}, {1.25, .01}}},
    {ful__corrupt_snow,
     {{.1, .2, 1, .6, 8, 3, .95},
      {.1, .2, 1, .5, 10, 4, .9},
      {.15, .3, 1.75, .55, 10, 4, .9},
      {.25, .3, 2.25, .6, 12, 6, .85},
      {.3, .3, 1.25, .65, 14, 12, .8}}},
    {ful__corrupt_frost, {{1, .2}, {1, .3}, {.9, .4}, {.85, .4}, {.75, .45}}},
    {ful__corrupt_fog, {{.2, 3}, {.5, 3}, {.75, 2.5}, {1, 2}, {1.5, 1.75}}},
    {ful__corrupt_spatter,
     {{.62, .1, .7, .65, .5, 0},
      {.65, .1, .8, .67, .5, 0},
      {.65, .3, 1, .72, .5, 0},
      {.65, .1, .7, .68, .6, 1},
      {.65, .1, .5, .68, .6, 1}}},
    {ful__corrupt_brightness, {{.05}, {.1}, {.15}, {.2}, {.3}}},
    {ful__corrupt_contrast, {{.75}, {.5}, {.4}, {.3}, {.15}}},
    {ful__corrupt_saturate, {{.3, 0}, {.1, 0}, {1.5, 0}, {2, .1}, {2.5, .2}}},
    {ful__corrupt_elastic, {{0, 1, 2.56}, {1.6, 6.4, 2.24}, {2.56, 1.92, 1.92}, {3.2, 1.28, 1.6}, {3.2, .96, .96}}},
    {ful__corrupt_pixelate, {{.95}, {.9}, {.85}, {.75}, {.65}}},
    {ful__corrupt_jpeg, {{80}, {65}, {58}, {50}, {40}}},
};

struct ful_corruptor {
    const recipe *recipe;
    int severity;
    size_t values;
    int n_workers;
    ful__corrupt *workers;
};

const ful_corruption *ful_corruptions(void)
{
    return names;
}

/* ---- life ---- */

static ful_status init_worker(const ful_corruptor *k, ful__corrupt *w, const ful__corrupt *like)
{
    *w = *like;
    const size_t plane = (size_t)w->side * (size_t)w->side, longer = (size_t)(w->h > w->w ? w->h : w->w);
    FUL_TRY(ful__calloc(&w->x, k->values, sizeof *w->x, "an image to corrupt"));
    FUL_TRY(ful__calloc(&w->y, k->values, sizeof *w->y, "an image to corrupt"));
    FUL_TRY(ful__calloc(&w->row, longer * (size_t)w->c, sizeof *w->row, "a row"));
    for (int i = 0; i < FUL__CORRUPT_PLANES; i++) FUL_TRY(ful__calloc(&w->plane[i], plane, sizeof(float), "noise"));
    return FUL_OK;
}

static ful_status build(ful_corruptor *k, const ful__corrupt *like)
{
    FUL_TRY(ful__calloc(&k->workers, (size_t)k->n_workers, sizeof *k->workers, "corruptors"));
    for (int i = 0; i < k->n_workers; i++) FUL_TRY(init_worker(k, &k->workers[i], like));
    return FUL_OK;
}

ful_status ful_corruptor_create(const char *name, int severity, uint64_t seed, int height, int width, int channels, int workers,
                                ful_corruptor **out)
{
    int at = 0;
    FUL_FAIL_IF(!name || !out, FUL_ERR_ARG, "cannot corrupt with a null name or output: both must be given");
    *out = NULL;
    while (names[at].name && strcmp(names[at].name, name) != 0) at++;
    FUL_FAIL_IF(!names[at].name, FUL_ERR_ARG, "cannot corrupt by '%s': there is no corruption of that name", name);
    FUL_FAIL_IF(severity < 1 || severity > FUL_SEVERITIES, FUL_ERR_ARG, "cannot corrupt at severity %d: it must be in 1..%d",
                severity, FUL_SEVERITIES);
    FUL_FAIL_IF(height < LEAST_SIDE || width < LEAST_SIDE || height > FUL__SIZE_MAX || width > FUL__SIZE_MAX ||
                    (channels != 1 && channels != 3) || workers < 1,
                FUL_ERR_ARG,
                "cannot corrupt images of %dx%dx%d by %d workers: sides must be in %d..%d, channels 1 or 3, workers >= 1",
                height, width, channels, workers, LEAST_SIDE, FUL__SIZE_MAX);
    ful_corruptor *k = NULL;
    const int shorter = height < width ? height : width, longer = height < width ? width : height;
    ful__corrupt like = {.h = height,
                         .w = width,
                         .c = channels,
                         .scale = pow(shorter / 32.0, 0.75),
                         .p = recipes[at].p[severity - 1],
                         .stream = ful__stream_make(seed, "corruption", name),
                         .side = LEAST_PLANE};
    while (like.side < longer) like.side *= 2;
    FUL_TRY(ful__calloc(&k, 1, sizeof *k, "a corruptor"));
    k->recipe = &recipes[at];
    k->severity = severity;
    k->n_workers = workers;
    k->values = (size_t)height * (size_t)width * (size_t)channels;
    const ful_status status = build(k, &like);
    if (status != FUL_OK) ful_corruptor_destroy(&k);
    *out = k;
    return status;
}

void ful_corruptor_destroy(ful_corruptor **corruptor)
{
    if (!corruptor || !*corruptor) return;
    ful_corruptor *k = *corruptor;
    for (int i = 0; k->workers && i < k->n_workers; i++) {
        ful__corrupt *w = &k->workers[i];
        ful__free(w->x);
        ful__free(w->y);
        ful__free(w->row);
        for (int p = 0; p < FUL__CORRUPT_PLANES; p++) ful__free(w->plane[p]);
    }
    ful__free(k->workers);
    ful__free(k);
    *corruptor = NULL;
}

/* ---- use ---- */

void ful_corruptor_apply(void *corruptor, int worker, uint32_t index, const uint8_t *in, uint8_t *out)
{
    ful_corruptor *k = corruptor;
    ful__corrupt *w = &k->workers[worker];
    w->step = (uint64_t)index << 3 | (uint64_t)k->severity;
    for (size_t i = 0; i < k->values; i++) w->x[i] = (float)in[i] / 255.0f;
    k->recipe->apply(w);
    for (size_t i = 0; i < k->values; i++) out[i] = (uint8_t)(255.0f * ful__corrupt_clip01(w->x[i]) + 0.5f);
}
