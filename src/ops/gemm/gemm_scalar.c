/* SPDX-License-Identifier: Apache-2.0 */
/* The reference micro-kernel: fmaf, one element after the other. Runs on any machine. */
#include <math.h>

#include "ops/gemm/gemm_level.h"

enum { MR = 4, NR = 8, STRIP = 8, VECTOR = 4, KC = 192, TILES = 20 };

#define TARGET
#include "ops/gemm/gemm_copies.h"

static void run_tile(const ful__gemm_tile *t)
{
    for (int i = 0; i < t->rows; i++) {
        float *c = t->c + i * t->ldc;
        float sum[NR] = {0};
        for (int j = 0; j < t->cols && t->start != FUL__GEMM_FROM_ZERO; j++)
            sum[j] = t->start == FUL__GEMM_FROM_C ? c[j] : t->bias[j];
        for (int64_t p = 0; p < t->k; p++) {
            const float a = t->a[p * STRIP + i];
            const float *b = t->b + p * t->b_stride;
            for (int j = 0; j < NR; j++) sum[j] = fmaf(a, b[j], sum[j]);
            for (int j = 0; j < NR && t->b_copy; j++) t->b_copy[p * NR + j] = b[j];
        }
        for (int j = 0; j < t->cols; j++) c[j] = sum[j];
    }
}

#include "ops/gemm/gemm_tiles.h"

/* By squares, so that both sides stay in cache. */
static void transpose_scalar(float *to, int64_t stride, const float *const *line, int count, int64_t k)
{
    enum { SQUARE = 16 };
    for (int64_t begin = 0; begin < k; begin += SQUARE) {
        const int64_t end = begin + SQUARE < k ? begin + SQUARE : k;
        for (int i = 0; i < NR; i++)
            for (int64_t p = begin; p < end; p++) to[p * stride + i] = i < count ? line[i][p] : 0;
    }
}

const ful__gemm_level ful__gemm_scalar = {
    .name = "scalar",
    .mr = MR,
    .nr = NR,
    .strip = STRIP,
    .kc = KC,
    .tiles = TILES,
    .run = run_tiles,
    .lanes = NR,
    .transpose = transpose_scalar,
    .copy_panel = copy_panel,
    .copy_strips = copy_strips,
    .sum_strips = sum_strips,
};
