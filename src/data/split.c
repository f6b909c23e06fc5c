/* SPDX-License-Identifier: Apache-2.0 */
#include "data/split.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/rng.h"

/* The images of class c are members[begin[c]] … members[begin[c+1]-1], in the order of the file (a counting sort). */
typedef struct groups {
    int64_t *begin;
    uint32_t *members;
    bool *chosen; /* by position in the pack */
    uint32_t *perm;
} groups;

static ful_status groups_make(groups *g, const ful__pack *p)
{
    const size_t classes = (size_t)p->classes, count = (size_t)p->count;
    FUL_TRY(ful__calloc(&g->begin, classes + 2, sizeof *g->begin, "class sizes"));
    FUL_TRY(ful__calloc(&g->members, count, sizeof *g->members, "images by class"));
    FUL_TRY(ful__calloc(&g->chosen, count, sizeof *g->chosen, "a choice of images"));
    FUL_TRY(ful__calloc(&g->perm, count, sizeof *g->perm, "a permutation"));
    for (size_t i = 0; i < count; i++) g->begin[p->labels[i] + 2]++;
    for (size_t c = 2; c < classes + 2; c++) g->begin[c] += g->begin[c - 1];
    for (size_t i = 0; i < count; i++)
        g->members[g->begin[p->labels[i] + 1]++] = (uint32_t)i; /* leaves begin[c] shifted home */
    return FUL_OK;
}

static void groups_free(groups *g)
{
    ful__free(g->begin);
    ful__free(g->members);
    ful__free(g->chosen);
    ful__free(g->perm);
}

/* Images each class may give: as many rounds over the classes as fit, the last one cut short. taken[c] is the result. */
static void take_rounds(const groups *g, int classes, int64_t limit, int64_t *taken)
{
    int64_t left = limit;
    bool any = true;
    for (int64_t round = 0; left > 0 && any; round++) {
        any = false;
        for (int c = 0; c < classes && left > 0; c++) {
            if (g->begin[c + 1] - g->begin[c] <= round) continue;
            taken[c]++;
            left--;
            any = true;
        }
    }
}

/* Marks the validation images among the first n of class c. */
static void mark_validation(groups *g, int c, int64_t n, const ful_data_config *config)
{
    if (n < 2) return;
    int64_t share = (int64_t)floor(config->val_fraction * (double)n + 0.5);
    share = share < 1 ? 1 : share > n - 1 ? n - 1 : share;
    ful__rng_permutation(ful__stream_make(config->val_seed, "split", "val"), (uint64_t)c, g->perm, (uint32_t)n);
    for (int64_t i = 0; i < share; i++) g->chosen[g->members[g->begin[c] + g->perm[i]]] = true;
}

/* divided: between training and validation; otherwise all that was taken is chosen. */
static void choose(groups *g, const ful__pack *p, const ful_data_config *config, ful_split split, bool divided,
                   const int64_t *taken)
{
    for (int c = 0; c < p->classes; c++) {
        if (divided) mark_validation(g, c, taken[c], config);
        for (int64_t i = 0; i < taken[c]; i++) {
            bool *chosen = &g->chosen[g->members[g->begin[c] + i]];
            *chosen = !divided || *chosen == (split == FUL_SPLIT_VAL);
        }
    }
}

ful_status ful__select(const ful__pack *pack, const ful_data_config *config, ful_split split, uint32_t **order_out,
                       int64_t *count_out)
{
    groups g = {0};
    int64_t *taken = NULL;
    ful_status status = FUL_OK;
    *order_out = NULL;
    *count_out = 0;
    const bool training = split != FUL_SPLIT_TEST && pack->split == FUL_SPLIT_TRAIN;
    const int limit = training ? config->train_limit : split == FUL_SPLIT_TEST ? config->test_limit : 0;
    FUL_TRY_GOTO(status, done, groups_make(&g, pack));
    FUL_TRY_GOTO(status, done, ful__calloc(&taken, (size_t)pack->classes, sizeof *taken, "class sizes"));
    if (limit > 0 && limit < pack->count)
        take_rounds(&g, pack->classes, limit, taken);
    else
        for (int c = 0; c < pack->classes; c++) taken[c] = g.begin[c + 1] - g.begin[c];
    choose(&g, pack, config, split, training && config->val_fraction > 0, taken);
    FUL_TRY_GOTO(status, done, ful__calloc(order_out, (size_t)pack->count, sizeof **order_out, "an order of images"));
    for (int64_t i = 0; i < pack->count; i++) {
        if (g.chosen[i]) (*order_out)[(*count_out)++] = (uint32_t)i;
    }
done:
    groups_free(&g);
    ful__free(taken);
    return status;
}

/* ---- sums ---- */

enum { SUM_CHUNKS = 64 };

typedef struct sum_job {
    const ful__pack *pack;
    const uint32_t *order;
    int64_t count;
    uint64_t *hashes;
    ful__sums part[SUM_CHUNKS];
} sum_job;

/* At most 1,024 pixels at a time keep the partial sums within 32 bits: 1024 * 255^2 < 2^27. */
static void add_pixels(ful__sums *s, const uint8_t *p, size_t pixels, int channels)
{
    while (pixels > 0) {
        const size_t n = pixels < 1024 ? pixels : 1024;
        uint32_t sum[3] = {0}, square[3] = {0};
        if (channels == 3) {
            for (size_t i = 0; i < n; i++) {
                const uint32_t r = p[3 * i], g = p[3 * i + 1], b = p[3 * i + 2];
                sum[0] += r, sum[1] += g, sum[2] += b;
                square[0] += r * r, square[1] += g * g, square[2] += b * b;
            }
        } else {
            for (size_t i = 0; i < n; i++) sum[0] += p[i], square[0] += (uint32_t)p[i] * p[i];
        }
        for (int c = 0; c < 3; c++) s->sum[c] += sum[c], s->square[c] += square[c];
        p += n * (size_t)channels;
        pixels -= n;
    }
}

static void sum_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    sum_job *job = ctx;
    const ful__pack *p = job->pack;
    const size_t pixels = (size_t)p->height * (size_t)p->width;
    int64_t begin, end;
    ful__share(job->count, SUM_CHUNKS, chunk, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const uint8_t *image = p->pixels + job->order[i] * p->image_bytes;
        add_pixels(&job->part[chunk], image, pixels, p->channels);
        if (job->hashes) job->hashes[i] = ful__hash64(image, p->image_bytes, 0);
    }
}

ful_status ful__pixel_sums(const ful__pack *pack, const uint32_t *order, int64_t count, ful__sums *out, uint64_t *hashes)
{
    sum_job *job = NULL;
    FUL_TRY(ful__calloc(&job, 1, sizeof *job, "pixel sums"));
    *job = (sum_job){.pack = pack, .order = order, .count = count, .hashes = hashes};
    ful__parallel_for(SUM_CHUNKS, sum_chunk, job);
    *out = (ful__sums){.pixels = (uint64_t)count * (uint64_t)pack->height * (uint64_t)pack->width};
    for (int i = 0; i < SUM_CHUNKS; i++) {
        for (int c = 0; c < 3; c++) {
            out->sum[c] += job->part[i].sum[c];
            out->square[c] += job->part[i].square[c];
        }
    }
    ful__free(job);
    return FUL_OK;
}

/* variance = (n * square - sum^2) / n^2, the numerator exact in 128 bits. */
void ful__sums_norm(const ful__sums *s, int channels, float mean[3], float std[3])
{
    for (int c = 0; c < 3; c++) {
        mean[c] = 0;
        std[c] = 1;
        if (c >= channels || s->pixels == 0) continue;
        const double n = (double)s->pixels;
        const unsigned __int128 spread = (unsigned __int128)s->pixels * s->square[c] - (unsigned __int128)s->sum[c] * s->sum[c];
        mean[c] = (float)((double)s->sum[c] / n / 255);
        const double sd = sqrt((double)spread) / n / 255;
        std[c] = (float)(sd < 1.0 / 255 ? 1.0 / 255 : sd); /* one colour everywhere: nothing to divide by */
    }
}
