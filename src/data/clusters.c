/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "clusters": the two-level mixture of Chen et al. 2022 (arXiv 2208.02813) as images. doc/dataset-clusters.md explains what it
 * is for. An image of class y in latent cluster k has four signs, one in each quarter, in random order:
 *
 *   signal      glyph meaning[k][y] in the hue of cluster k: the same glyph means another class in another cluster
 *   marker      the glyph of cluster k in a colour of its own: it tells which of the others counts, and how to read it
 *   distractor  a random class's glyph in the hue of another cluster
 *   clutter     a random grey pattern
 *
 * Everything is integer arithmetic on addressed random words, so the set is the same on every machine; a test pins its hash.
 */
#include "data/clusters.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "data/image.h"
#include <fulcrum/core.h>

enum {
    CELLS = 4, /* a glyph is CELLS x CELLS cells, GLYPH_ON of them set */
    GLYPH_ON = 8,
    GLYPH_APART = 6, /* cells in which two glyphs differ, where enough such glyphs can be found */
    FULL = 256,      /* opacities */
    SIGNAL_LEAST = 180,
    MARKER_LEAST = 200,
    DISTRACTOR_LEAST = 120, /* often fainter than the signal, so that learning can begin without the marker */
    CLUTTER_OPACITY = 128,
    HUE_LOW = 60,
    HUE_HIGH = 230,
    BLOCK_IMAGES = 512,
    CHUNK_IMAGES = 32
};

typedef struct plan {
    int classes, clusters, size, channels;
    uint32_t glyph[FUL__CLUSTERS_CLASSES_MAX + FUL__CLUSTERS_MAX];  /* signs, then markers */
    uint32_t meaning[FUL__CLUSTERS_MAX][FUL__CLUSTERS_CLASSES_MAX]; /* glyph of class y in cluster k */
    uint8_t hue[FUL__CLUSTERS_MAX][3], marker[FUL__CLUSTERS_MAX][3], dark[FUL__CLUSTERS_MAX][3]; /* colours of cluster k */
    ful__stream stream;
    int32_t noise;            /* 2^16 * sd / (sd of a sum of four uniform bytes) */
    int64_t first, count;     /* of the block */
    uint8_t *block, *scratch; /* scratch: an RGB image per thread */
} plan;

/* The random words of one image, one after another. */
typedef struct draws {
    ful__stream stream;
    uint64_t image, at;
    uint32_t words[4];
} draws;

static uint32_t draw(draws *d)
{
    if (d->at % 4 == 0) ful__rng_words(d->stream, d->image, d->at / 4, d->words);
    return d->words[d->at++ % 4];
}

/* 0..n-1; n is small, so the bias of 2^-32 n does not matter. */
static int below(draws *d, int n)
{
    return (int)((uint64_t)draw(d) * (uint64_t)n >> 32);
}

static int bits_set(uint32_t x)
{
    return __builtin_popcount(x);
}

static uint32_t random_glyph(draws *d)
{
    uint32_t glyph = 0;
    for (int on = 0; on < GLYPH_ON;) {
        const uint32_t cell = 1u << below(d, CELLS * CELLS);
        on += !(glyph & cell);
        glyph |= cell;
    }
    return glyph;
}

/* Glyphs that differ from each other in GLYPH_APART cells; one less pair of cells after every thousand failures. */
static void make_glyphs(plan *p, uint64_t seed)
{
    draws d = {.stream = ful__stream_make(seed, "clusters", "glyphs")};
    int apart = GLYPH_APART, failures = 0;
    for (int n = 0; n < p->classes + p->clusters;) {
        const uint32_t glyph = random_glyph(&d);
        bool good = true;
        for (int i = 0; i < n && good; i++) good = bits_set(glyph ^ p->glyph[i]) >= apart;
        if (good)
            p->glyph[n++] = glyph;
        else if (++failures % 1000 == 0 && apart > 2)
            apart -= 2;
    }
}

/* Point t of 1536 on the colour circle: red, yellow, green, cyan, blue, magenta. */
static void hue_colour(int t, uint8_t out[3])
{
    for (int c = 0; c < 3; c++) {
        const int from = (t + 1536 - 512 * c) % 1536,
                  away = from < 768 ? from : 1536 - from; /* distance on the circle, 0..768 */
        const int level = away <= 256 ? 256 : away >= 512 ? 0 : 512 - away;
        out[c] = (uint8_t)(HUE_LOW + (HUE_HIGH - HUE_LOW) * level / 256);
    }
}

static void make_plan(plan *p, const ful_data_config *config, ful_split split)
{
    *p = (plan){.classes = config->gen_classes,
                .clusters = config->gen_clusters,
                .size = config->size ? config->size : FUL__CLUSTERS_SIZE,
                .channels = config->channels ? config->channels : 3,
                .stream = ful__stream_make(config->gen_seed, "clusters", split == FUL_SPLIT_TEST ? "test" : "train"),
                .noise = (int32_t)(config->gen_noise * (65536 / 147.80054127) + 0.5)};
    make_glyphs(p, config->gen_seed);
    const ful__stream meaning = ful__stream_make(config->gen_seed, "clusters", "meaning");
    for (int k = 0; k < p->clusters; k++) {
        ful__rng_permutation(meaning, (uint64_t)k, p->meaning[k], (uint32_t)p->classes);
        hue_colour(1536 * k / p->clusters, p->hue[k]);
        hue_colour(1536 * k / p->clusters + 768 / p->clusters, p->marker[k]); /* half way to the next */
        for (int c = 0; c < 3; c++) p->dark[k][c] = p->marker[k][c] / 2;
    }
}

static void draw_background(const plan *p, draws *d, uint8_t *rgb)
{
    int from[3], to[3];
    const int s = p->size;
    const bool across = below(d, 2);
    for (int c = 0; c < 3; c++) from[c] = 60 + below(d, 80), to[c] = 60 + below(d, 80);
    for (int y = 0; y < s; y++) {
        for (int x = 0; x < s; x++) {
            const int t = across ? x : y;
            for (int c = 0; c < 3; c++) *rgb++ = (uint8_t)((from[c] * (s - 1 - t) + to[c] * t) / (s - 1));
        }
    }
}

typedef struct sign {
    uint32_t glyph;
    const uint8_t *on, *off; /* colours of the cells; off = NULL: the background shows */
    int opacity;
} sign;

/* Blends a sign into quarter `quarter` of the image, at a place that varies a little. */
static void draw_sign(const plan *p, draws *d, uint8_t *rgb, int quarter, sign s)
{
    const int half = p->size / 2, side = p->size * 3 / 8, slack = half - side, wander = slack / 2;
    const int x0 = (quarter & 1) * half + slack / 2 - wander + below(d, 2 * wander + 1);
    const int y0 = (quarter >> 1) * half + slack / 2 - wander + below(d, 2 * wander + 1);
    for (int y = 0; y < side; y++) {
        for (int x = 0; x < side; x++) {
            const int cell = y * CELLS / side * CELLS + x * CELLS / side;
            const uint8_t *colour = s.glyph >> cell & 1 ? s.on : s.off;
            uint8_t *pixel = rgb + 3 * ((y0 + y) * p->size + x0 + x);
            for (int c = 0; colour && c < 3; c++)
                pixel[c] = (uint8_t)((pixel[c] * (FULL - s.opacity) + colour[c] * s.opacity) / FULL);
        }
    }
}

/* Four uniform bytes of a word, summed, are near enough to a normal. */
static void add_noise(const plan *p, draws *d, uint8_t *rgb)
{
    for (int i = 0; p->noise > 0 && i < 3 * p->size * p->size; i++) {
        const uint32_t w = draw(d);
        const int32_t sum = (int32_t)((w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24)) - 510;
        const int64_t v = ((int64_t)rgb[i] << 16) + (int64_t)sum * p->noise + 32768;
        rgb[i] = (uint8_t)(v < 0 ? 0 : v >= 256 << 16 ? 255 : v >> 16);
    }
}

static int opacity(draws *d, int least)
{
    return least + below(d, FULL + 1 - least);
}

/*
 * Image i has class y = i mod classes. Of six images of a class three lie in cluster y (mod clusters), two in y + 1, one in y +
 * 2: the marker alone says a little about the class, and every class is a mixture.
 */
static int cluster_of(const plan *p, int64_t i)
{
    static const int home[6] = {0, 1, 0, 2, 0, 1};
    return (int)((i % p->classes + home[i / p->classes % 6]) % p->clusters);
}

static void draw_image(const plan *p, int64_t i, uint8_t *rgb)
{
    draws d = {.stream = p->stream, .image = (uint64_t)i};
    const int y = (int)(i % p->classes), k = cluster_of(p, i);
    int quarter[4] = {0, 1, 2, 3};
    for (int n = 4; n > 1; n--) {
        const int other = below(&d, n), held = quarter[n - 1];
        quarter[n - 1] = quarter[other];
        quarter[other] = held;
    }
    draw_background(p, &d, rgb);
    draw_sign(p, &d, rgb, quarter[0],
              (sign){.glyph = p->glyph[p->meaning[k][y]], .on = p->hue[k], .opacity = opacity(&d, SIGNAL_LEAST)});
    draw_sign(
        p, &d, rgb, quarter[1],
        (sign){.glyph = p->glyph[p->classes + k], .on = p->marker[k], .off = p->dark[k], .opacity = opacity(&d, MARKER_LEAST)});
    if (p->clusters > 1) {
        const int other = (k + 1 + below(&d, p->clusters - 1)) % p->clusters;
        const uint32_t glyph = p->glyph[below(&d, p->classes)];
        draw_sign(p, &d, rgb, quarter[2],
                  (sign){.glyph = glyph, .on = p->hue[other], .opacity = opacity(&d, DISTRACTOR_LEAST)});
    }
    const uint8_t level = (uint8_t)(60 + below(&d, 140)), grey[3] = {level, level, level};
    draw_sign(p, &d, rgb, quarter[3], (sign){.glyph = random_glyph(&d), .on = grey, .opacity = CLUTTER_OPACITY});
    add_noise(p, &d, rgb);
}

static void draw_chunk(void *ctx, int64_t chunk, int thread)
{
    const plan *p = ctx;
    const size_t pixels = (size_t)p->size * (size_t)p->size;
    uint8_t *rgb = p->scratch + (size_t)thread * 3 * pixels;
    for (int64_t i = chunk * CHUNK_IMAGES; i < p->count && i < (chunk + 1) * CHUNK_IMAGES; i++) {
        draw_image(p, p->first + i, rgb);
        const ful__pixels in = {.data = rgb, .height = p->size, .width = p->size, .channels = 3};
        ful__decoder unused = {0}; /* same size: nothing is resampled, nothing can fail */
        (void)!ful__fit(&unused, &in, p->size, p->size, p->channels, p->block + (size_t)i * pixels * (size_t)p->channels);
    }
}

static ful_status draw_all(plan *p, ful__pack_writer *w, int64_t images)
{
    const size_t pixels = (size_t)p->size * (size_t)p->size, bytes = pixels * (size_t)p->channels;
    FUL_TRY(ful__calloc(&p->block, BLOCK_IMAGES, bytes, "generated images"));
    FUL_TRY(ful__calloc(&p->scratch, (size_t)ful_threads_get(), 3 * pixels, "generated images"));
    for (p->first = 0; p->first < images; p->first += BLOCK_IMAGES) {
        p->count = images - p->first < BLOCK_IMAGES ? images - p->first : BLOCK_IMAGES;
        ful__parallel_for((p->count + CHUNK_IMAGES - 1) / CHUNK_IMAGES, draw_chunk, p);
        FUL_TRY(ful__pack_add(w, p->block, (size_t)p->count * bytes));
    }
    return FUL_OK;
}

static ful_status finish(const plan *p, ful__pack_writer *w, int64_t images, ful__pack *out)
{
    int32_t *numbers = NULL;
    char text[FUL__CLUSTERS_CLASSES_MAX][20];
    const char *names[FUL__CLUSTERS_CLASSES_MAX];
    FUL_TRY(ful__calloc(&numbers, 2 * (size_t)images, sizeof *numbers, "labels"));
    for (int64_t i = 0; i < images; i++) {
        numbers[i] = (int32_t)(i % p->classes);
        numbers[images + i] = cluster_of(p, i);
    }
    for (int c = 0; c < p->classes; c++) {
        snprintf(text[c], sizeof text[c], "class%02d", c);
        names[c] = text[c];
    }
    const ful__pack_index index = {
        .count = images, .labels = numbers, .clusters = numbers + images, .classes = p->classes, .names = names};
    const ful_status status = ful__pack_finish(w, &index, out);
    ful__free(numbers);
    return status;
}

ful_status ful__clusters_make(const ful_data_config *config, ful_split split, ful__pack *out)
{
    const int64_t images = split == FUL_SPLIT_TEST ? config->gen_test : config->gen_train;
    ful__pack_writer w = {0};
    plan *p = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__calloc(&p, 1, sizeof *p, "a generator"));
    make_plan(p, config, split);
    FUL_TRY_GOTO(status, done, ful__pack_begin(&w, NULL, p->size, p->size, p->channels, split, 0));
    FUL_TRY_GOTO(status, done, draw_all(p, &w, images));
    FUL_TRY_GOTO(status, done, finish(p, &w, images, out));
done:
    ful__pack_abort(&w);
    ful__free(p->block);
    ful__free(p->scratch);
    ful__free(p);
    return status;
}
