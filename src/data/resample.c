/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output row i is a weighted sum of source rows, which vectorises along the row; that sum is then brought to its width, three
 * channels of a pixel at a time. Rows first: of a crop that shrinks, fewer rows are left to go through column by column.
 *
 *   output i lies at c = begin + (i + 1/2) s, s = length / size; tap j (a pixel centre j + 1/2) weighs f((j + 1/2 - c) / max(s,
 * 1))
 *
 * All in float, each value one chain of multiplications and additions in the order of the taps, so a vector unit changes
 * nothing.
 */
#include "data/resample.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include <fulcrum/core.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

void ful__resampler_deinit(ful__resampler *r)
{
    ful__free(r->row);
    ful__free(r->weight);
    ful__free(r->first);
    *r = (ful__resampler){0};
}

/* One axis: `size` outputs over [begin, begin + length) of `pixels`. */
typedef struct axis {
    double begin, scale, stretch, reach;
    int pixels;
    ful_filter filter;
} axis;

static axis axis_of(double begin, double length, int size, int pixels, ful_filter filter)
{
    const double scale = length / size, stretch = scale > 1 ? scale : 1;
    return (axis){begin, scale, stretch, (filter == FUL_FILTER_BICUBIC ? 2 : 1) * stretch, pixels, filter};
}

static int taps_most(const axis *a)
{
    return (int)ceil(a->reach) * 2 + 1;
}

static double filter_at(ful_filter filter, double x)
{
    x = fabs(x);
    if (filter == FUL_FILTER_BILINEAR) return x < 1 ? 1 - x : 0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* The weights of output i, which sum to 1, and how many; *first: the pixel of the first. */
static int taps_of(const axis *a, int i, float *weight, int32_t *first)
{
    const double centre = a->begin + (i + 0.5) * a->scale;
    const int least = (int)fmax(0, floor(centre - a->reach + 0.5));
    const int end = (int)fmin(a->pixels, floor(centre + a->reach + 0.5));
    double sum = 0;
    for (int j = least; j < end; j++) sum += filter_at(a->filter, (j + 0.5 - centre) / a->stretch);
    for (int j = least; j < end; j++) weight[j - least] = (float)(filter_at(a->filter, (j + 0.5 - centre) / a->stretch) / sum);
    *first = least;
    return end - least;
}

/* ---- rows ---- */

typedef void rows_fn(const uint8_t *in, size_t stride, const float *weight, int taps, size_t n, float *out);

static inline __attribute__((always_inline)) void rows_tail(const uint8_t *in, size_t stride, const float *weight, int taps,
                                                            size_t x, size_t n, float *out)
{
    for (; x < n; x++) {
        float sum = 0;
        for (int k = 0; k < taps; k++) sum += weight[k] * (float)in[(size_t)k * stride + x];
        out[x] = sum;
    }
}

static void rows__scalar(const uint8_t *in, size_t stride, const float *weight, int taps, size_t n, float *out)
{
    rows_tail(in, stride, weight, taps, 0, n, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline __m256 eight(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

__attribute__((target("avx2"))) static void rows__avx2(const uint8_t *in, size_t stride, const float *weight, int taps,
                                                       size_t n, float *out)
{
    size_t x = 0;
    for (; x + 16 <= n; x += 16) {
        __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
        const uint8_t *p = in + x;
        for (int k = 0; k < taps; k++, p += stride) {
            const __m256 w = _mm256_set1_ps(weight[k]);
            low = _mm256_add_ps(low, _mm256_mul_ps(w, eight(p)));
            high = _mm256_add_ps(high, _mm256_mul_ps(w, eight(p + 8)));
        }
        _mm256_storeu_ps(out + x, low);
        _mm256_storeu_ps(out + x + 8, high);
    }
    rows_tail(in, stride, weight, taps, x, n, out);
}
#endif

static rows_fn *choose_rows(void)
{
#if defined(__x86_64__)
    if (ful_cpu_flags() & FUL_CPU_AVX2) return rows__avx2;
#endif
    return rows__scalar;
}

/* ---- columns ---- */

static uint8_t round_clip(float v)
{
    const float at = v + 0.5f;
    return at <= 0 ? 0 : at >= 255 ? 255 : (uint8_t)at;
}

#if defined(__x86_64__)
/* SSE2, which every x86-64 has. Four floats from a pixel on: its channels, and one of the next that is not used. */
static void pixel_rgb(const float *p, const float *weight, int taps, uint8_t *out)
{
    __m128 sum = _mm_setzero_ps();
    for (int k = 0; k < taps; k++, p += 3) sum = _mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(weight[k]), _mm_loadu_ps(p)));
    const __m128i whole = _mm_cvttps_epi32(_mm_add_ps(sum, _mm_set1_ps(0.5f))), words = _mm_packs_epi32(whole, whole);
    const uint32_t bytes = (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(words, words)); /* saturates at 0 and 255 */
    out[0] = (uint8_t)bytes;
    out[1] = (uint8_t)(bytes >> 8);
    out[2] = (uint8_t)(bytes >> 16);
}
#else
static void pixel_rgb(const float *p, const float *weight, int taps, uint8_t *out)
{
    for (int c = 0; c < 3; c++) {
        float sum = 0;
        for (int k = 0; k < taps; k++) sum += weight[k] * p[3 * k + c];
        out[c] = round_clip(sum);
    }
}
#endif

static void columns_rgb(const float *row, const int32_t *first, const float *weight, int most, int out_w, bool mirror,
                        uint8_t *out)
{
    if (mirror) out += 3 * (out_w - 1);
    for (int x = 0; x < out_w; x++, first += 2, weight += most, out += mirror ? -3 : 3)
        pixel_rgb(row + 3 * (size_t)first[0], weight, first[1], out);
}

static void columns_grey(const float *row, const int32_t *first, const float *weight, int most, int out_w, bool mirror,
                         uint8_t *out)
{
    for (int x = 0; x < out_w; x++, first += 2, weight += most) {
        float sum = 0;
        for (int k = 0; k < first[1]; k++) sum += weight[k] * row[first[0] + k];
        out[mirror ? out_w - 1 - x : x] = round_clip(sum);
    }
}

/* ---- all ---- */

static ful_status reserve(float **block, size_t *have, size_t want)
{
    if (want <= *have) return FUL_OK;
    FUL_TRY(ful__realloc(block, want, sizeof **block, "a resampling buffer"));
    *have = want;
    return FUL_OK;
}

ful_status ful__resample(ful__resampler *r, const ful__view *in, const ful__box *box, ful_filter filter, bool mirror, int out_h,
                         int out_w, uint8_t *out)
{
    const axis down = axis_of(box->y, box->h, out_h, in->h, filter), across = axis_of(box->x, box->w, out_w, in->w, filter);
    const size_t most = (size_t)taps_most(&across), c = (size_t)in->channels;
    FUL_TRY(reserve(&r->row, &r->row_values, (size_t)in->w * c + 1));
    FUL_TRY(reserve(&r->weight, &r->weights, most * (size_t)out_w + (size_t)taps_most(&down)));
    if ((size_t)out_w > r->columns) {
        FUL_TRY(ful__realloc(&r->first, 2 * (size_t)out_w, sizeof *r->first, "a resampling buffer"));
        r->columns = (size_t)out_w;
    }
    float *const row_weight = r->weight + most * (size_t)out_w;
    int begin = in->w, end = 0; /* columns that take part */
    for (int x = 0; x < out_w; x++) {
        r->first[2 * x + 1] = taps_of(&across, x, r->weight + most * (size_t)x, &r->first[2 * x]);
        if (r->first[2 * x] < begin) begin = r->first[2 * x];
        if (r->first[2 * x] + r->first[2 * x + 1] > end) end = r->first[2 * x] + r->first[2 * x + 1];
    }
    rows_fn *const rows = choose_rows();
    for (int y = 0; y < out_h; y++, out += (size_t)out_w * c) {
        int32_t first;
        const int taps = taps_of(&down, y, row_weight, &first);
        const size_t at = (size_t)begin * c;
        rows(in->data + (size_t)first * in->stride + at, in->stride, row_weight, taps, (size_t)(end - begin) * c, r->row + at);
        (in->channels == 3 ? columns_rgb : columns_grey)(r->row, r->first, r->weight, (int)most, out_w, mirror, out);
    }
    return FUL_OK;
}
