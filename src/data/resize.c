/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing an image to the size and channels of its set, in integer arithmetic, so that a cache is the same on every machine.
 *
 * The centre square of side m is resampled to side s, rows and columns alike, by taps (first pixel, weights):
 *
 *   shrinking (m > s): output i covers [i m, (i+1) m), pixel j covers [j s, (j+1) s) of the same line of length m s;
 *                      the weight is the overlap, and the weights of an output sum to m: an exact area average
 *   growing  (m < s): output i lies at pixel ((2i+1) m - s) / 2s; bilinear, weights sum to 2s; the edge pixel repeats
 *
 * One output is sum_y sum_x wy wx p / total^2, at most 255 (2 * 16384)^2 < 2^38: no rounding until the last division.
 */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/image.h"

typedef struct taps {
    uint32_t first, count;
    const uint32_t *weight;
} taps;

static void box_taps(uint64_t m, uint64_t s, uint32_t i, taps *t, uint32_t *weight)
{
    const uint64_t begin = i * m, end = begin + m;
    *t = (taps){.first = (uint32_t)(begin / s), .weight = weight};
    for (uint64_t j = t->first; j * s < end; j++) {
        const uint64_t from = j * s > begin ? j * s : begin, to = (j + 1) * s < end ? (j + 1) * s : end;
        weight[t->count++] = (uint32_t)(to - from);
    }
}

static void bilinear_taps(int64_t m, int64_t s, uint32_t i, taps *t, uint32_t *weight)
{
    int64_t at = (2 * (int64_t)i + 1) * m - s; /* in 1/(2s) of a pixel */
    if (at < 0) at = 0;
    int64_t j = at / (2 * s), part = at % (2 * s);
    if (j >= m - 1) { /* past the last centre */
        j = m - 1;
        part = 0;
    }
    *t = (taps){.first = (uint32_t)j, .count = part ? 2 : 1, .weight = weight};
    weight[0] = (uint32_t)(2 * s - part);
    if (part) weight[1] = (uint32_t)part;
}

/* Element (y, x, c) lies at y*row + x*column + c*channel of the centre square. */
typedef struct grid {
    const uint8_t *data;
    size_t row, column, channel;
    int channels;
} grid;

static void row_resample(const grid *g, uint32_t y, const taps *tap, uint32_t s, uint32_t *out)
{
    const uint8_t *row = g->data + y * g->row;
    for (uint32_t i = 0; i < s; i++) {
        for (int c = 0; c < g->channels; c++) {
            const uint8_t *p = row + tap[i].first * g->column + (size_t)c * g->channel;
            uint32_t sum = 0;
            for (uint32_t j = 0; j < tap[i].count; j++, p += g->column) sum += tap[i].weight[j] * *p;
            *out++ = sum;
        }
    }
}

/* Writes 1 or 3 output channels from 1 or 3 values of a pixel. */
static inline uint8_t *put_pixel(uint8_t *out, int to, const uint8_t *value, int from)
{
    if (to == from) {
        for (int c = 0; c < to; c++) out[c] = value[c];
    } else if (to == 1) {
        out[0] = (uint8_t)((77u * value[0] + 150u * value[1] + 29u * value[2] + 128u) >> 8);
    } else {
        out[0] = out[1] = out[2] = value[0];
    }
    return out + to;
}

/*
 * scratch: taps[s] | weights | two resampled rows (a source row is needed by at most two outputs that follow each other,
 * and rows are needed in order) | one row of sums.
 */
static ful_status resample(ful__decoder *d, const grid *g, uint32_t m, uint32_t s, int channels, uint8_t *out)
{
    const size_t row_values = (size_t)s * (size_t)g->channels;
    const size_t tap_words = s * sizeof(taps) / sizeof(uint64_t), weight_words = m + s; /* in uint64_t: ample */
    const size_t words = tap_words + weight_words + 2 * row_values;
    if (words > d->scratch_words) {
        FUL_TRY(ful__realloc(&d->scratch, words, sizeof *d->scratch, "a resize buffer"));
        d->scratch_words = words;
    }
    taps *tap = (taps *)(void *)d->scratch;
    uint32_t *weight = (uint32_t *)(void *)(d->scratch + tap_words);
    uint32_t *rows = (uint32_t *)(void *)(d->scratch + tap_words + weight_words);
    uint64_t *sums = d->scratch + tap_words + weight_words + row_values;
    for (uint32_t i = 0; i < s; i++) {
        if (m > s)
            box_taps(m, s, i, &tap[i], weight);
        else
            bilinear_taps(m, s, i, &tap[i], weight);
        weight += tap[i].count;
    }
    const uint64_t total = m > s ? (uint64_t)m * m : 4ull * s * s;
    int64_t held[2] = {-1, -1};
    for (uint32_t i = 0; i < s; i++) {
        memset(sums, 0, row_values * sizeof *sums);
        for (uint32_t j = 0; j < tap[i].count; j++) {
            const uint32_t y = tap[i].first + j;
            uint32_t *row = rows + (y & 1) * row_values;
            if (held[y & 1] != y) row_resample(g, y, tap, s, row);
            held[y & 1] = y;
            for (size_t v = 0; v < row_values; v++) sums[v] += (uint64_t)tap[i].weight[j] * row[v];
        }
        for (uint32_t x = 0; x < s; x++) {
            uint8_t value[3];
            for (int c = 0; c < g->channels; c++) {
                value[c] = (uint8_t)((sums[x * (size_t)g->channels + (size_t)c] + total / 2) / total);
            }
            out = put_pixel(out, channels, value, g->channels);
        }
    }
    return FUL_OK;
}

ful_status ful__fit(ful__decoder *d, const ful__pixels *in, int height, int width, int channels, uint8_t *hwc_out)
{
    const size_t h = (size_t)in->height, w = (size_t)in->width, c = (size_t)in->channels;
    grid g = {.data = in->data,
              .row = in->planar   ? w
                     : in->stride ? in->stride
                                  : w * c,
              .column = in->planar ? 1 : c,
              .channel = in->planar ? h * w : 1,
              .channels = in->channels};
    if (in->height != height || in->width != width) {
        const size_t m = h < w ? h : w;
        g.data += (h - m) / 2 * g.row + (w - m) / 2 * g.column;
        if ((int)m != height) return resample(d, &g, (uint32_t)m, (uint32_t)height, channels, hwc_out);
    } else if (!in->planar && in->channels == channels && g.row == w * c) {
        memcpy(hwc_out, in->data, h * w * c);
        return FUL_OK;
    }
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint8_t value[3];
            for (size_t k = 0; k < c; k++) value[k] = g.data[(size_t)y * g.row + (size_t)x * g.column + k * g.channel];
            hwc_out = put_pixel(hwc_out, channels, value, in->channels);
        }
    }
    return FUL_OK;
}
