/* SPDX-License-Identifier: Apache-2.0 */
/* The reference micro-kernel: fmaf, one element after the other. Runs on any machine. */
#include <math.h>

#include "ops/gemm/gemm_level.h"

enum { MR = 4, NR = 8 };

static void tile_scalar(const ful__gemm_tile *t, int64_t row_stride, int64_t k_stride)
{
    for (int i = 0; i < t->rows; i++) {
        float *c = t->c + i * t->ldc;
        float sum[NR] = {0};
        for (int j = 0; j < t->cols && t->start != FUL__GEMM_FROM_ZERO; j++)
            sum[j] = t->start == FUL__GEMM_FROM_C ? c[j] : t->bias[j];
        for (int64_t p = 0; p < t->k; p++) {
            const float a = t->a[i * row_stride + p * k_stride];
            const float *b = t->b + p * NR;
            for (int j = 0; j < NR; j++) sum[j] = fmaf(a, b[j], sum[j]);
        }
        for (int j = 0; j < t->cols; j++) c[j] = sum[j];
    }
}

static void nn_scalar(const ful__gemm_tile *t)
{
    tile_scalar(t, FUL__GEMM_A_STRIDE, 1);
}

static void tn_scalar(const ful__gemm_tile *t)
{
    tile_scalar(t, 1, FUL__GEMM_TN_STRIDE);
}

const ful__gemm_level ful__gemm_scalar = {.name = "scalar", .mr = MR, .nr = NR, .nn = nn_scalar, .tn = tn_scalar};
