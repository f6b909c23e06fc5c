/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What baseline JPEG loses (ITU-T T.81): YCbCr in 8 bits, chroma halved both ways, 8x8 cosine transform, quantisation by the
 * tables of annex K scaled by the quality as the IJG's library does, and all of it back. Entropy coding loses nothing and is
 * left out.
 */
#include <math.h>

#include "data/corrupt.h"

enum { BLOCK = 8, MCU = 16 };

static const uint8_t luma[64] = {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
                                 14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
                                 18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
                                 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};
static const uint8_t chroma[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
                                   99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                                   99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

static void scale_table(const uint8_t base[64], int quality, double out[64])
{
    const int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    for (int i = 0; i < 64; i++) {
        const int value = (base[i] * scale + 50) / 100;
        out[i] = value < 1 ? 1 : value > 255 ? 255 : value;
    }
}

/* basis[u][x] = c(u)/2 cos((2x + 1) u pi/16): orthonormal, so its transpose goes back. */
static void make_basis(double basis[BLOCK][BLOCK])
{
    for (int u = 0; u < BLOCK; u++)
        for (int x = 0; x < BLOCK; x++)
            basis[u][x] = (u == 0 ? sqrt(0.125) : 0.5) * cos((2 * x + 1) * u * 3.14159265358979323846 / 16.0);
}

/* out = m a m^T, or m^T a m. */
static void transform(const double m[BLOCK][BLOCK], bool back, const double a[64], double out[64])
{
    double half[64];
    for (int i = 0; i < BLOCK; i++)
        for (int j = 0; j < BLOCK; j++) {
            double sum = 0.0;
            for (int k = 0; k < BLOCK; k++) sum += (back ? m[k][i] : m[i][k]) * a[k * BLOCK + j];
            half[i * BLOCK + j] = sum;
        }
    for (int i = 0; i < BLOCK; i++)
        for (int j = 0; j < BLOCK; j++) {
            double sum = 0.0;
            for (int k = 0; k < BLOCK; k++) sum += half[i * BLOCK + k] * (back ? m[k][j] : m[j][k]);
            out[i * BLOCK + j] = sum;
        }
}

static float to_byte(double v)
{
    return (float)floor(v < 0.0 ? 0.5 : v > 255.0 ? 255.5 : v + 0.5);
}

/* Quantises a plane of bytes, h and w multiples of 8, rows `stride` apart. */
static void quantise(float *plane, int h, int w, int stride, const double table[64])
{
    double basis[BLOCK][BLOCK], block[64], waves[64];
    make_basis(basis);
    for (int y = 0; y < h; y += BLOCK)
        for (int x = 0; x < w; x += BLOCK) {
            float *at = plane + (ptrdiff_t)y * stride + x;
            for (int i = 0; i < 64; i++) block[i] = (double)at[i / BLOCK * stride + i % BLOCK] - 128.0;
            transform(basis, false, block, waves);
            for (int i = 0; i < 64; i++) waves[i] = table[i] * round(waves[i] / table[i]);
            transform(basis, true, waves, block);
            for (int i = 0; i < 64; i++) at[i / BLOCK * stride + i % BLOCK] = to_byte(block[i] + 128.0);
        }
}

/* One of Y, Cb, Cr of a pixel, in bytes; beyond the edge the edge repeats. */
static float component(const ful__corrupt *w, int which, int y, int x)
{
    static const double weight[3][3] = {
        {0.299, 0.587, 0.114}, {-0.168735892, -0.331264108, 0.5}, {0.5, -0.418687589, -0.081312411}};
    y = y < w->h ? y : w->h - 1;
    x = x < w->w ? x : w->w - 1;
    const float *pixel = &w->x[(y * w->w + x) * w->c];
    if (w->c == 1) return to_byte(255.0 * (double)pixel[0]);
    double sum = which == 0 ? 0.0 : 128.0;
    for (int c = 0; c < 3; c++) sum += weight[which][c] * 255.0 * (double)pixel[c];
    return to_byte(sum);
}

/* Into plane[which]: whole, or the mean of each 2x2. Below the image its last row repeats, as it then is. */
static void split(const ful__corrupt *w, int which, int h, int width)
{
    float *out = w->plane[which];
    const int real = which == 0 ? w->h : (w->h + 1) / 2;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < width; x++) {
            double sum = 0.0;
            if (y >= real) {
                out[y * width + x] = out[(real - 1) * width + x];
                continue;
            }
            if (which == 0) {
                sum = (double)component(w, 0, y, x);
            } else {
                for (int k = 0; k < 4; k++) sum += 0.25 * (double)component(w, which, 2 * y + k / 2, 2 * x + k % 2);
            }
            out[y * width + x] = to_byte(sum);
        }
}

void ful__corrupt_jpeg(ful__corrupt *w)
{
    double table[2][64];
    const int h = (w->h + MCU - 1) / MCU * MCU, width = (w->w + MCU - 1) / MCU * MCU;
    scale_table(luma, (int)w->p[0], table[0]);
    scale_table(chroma, (int)w->p[0], table[1]);
    for (int k = 0; k < w->c; k++) {
        const int half = k > 0 ? 2 : 1;
        split(w, k, h / half, width / half);
        quantise(w->plane[k], h / half, width / half, width / half, table[k > 0]);
    }
    for (int y = 0; y < w->h; y++)
        for (int x = 0; x < w->w; x++) {
            const double light = (double)w->plane[0][y * width + x];
            float *pixel = &w->x[(y * w->w + x) * w->c];
            double colour[2] = {0.0, 0.0};
            for (int k = 1; k < w->c; k++) /* chroma between its samples, as libjpeg's "fancy" upsampling */
                colour[k - 1] = (double)ful__corrupt_sample(w->plane[k], h / 2, width / 2, 1, 0, 0.5 * y - 0.25, 0.5 * x - 0.25,
                                                            false) -
                                128.0;
            const double rgb[3] = {light + 1.402 * colour[1], light - 0.344136286 * colour[0] - 0.714136286 * colour[1],
                                   light + 1.772 * colour[0]};
            for (int c = 0; c < w->c; c++) pixel[c] = to_byte(w->c == 1 ? light : rgb[c]) / 255.0f;
        }
}
