/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, its relatives, transforms of router inputs, and products with router weights. */
#include "moe/router_rows.h"

#include <math.h>

#include "core/mem.h"
#include "ops/gemm.h"

typedef struct kernels {
    void (*exp_array)(const float *, float *, int64_t);
    void (*log_array)(const float *, float *, int64_t);
} kernels;

#define SIMD_KERNELS "moe/router_rows_kernels.h"
#include "ops/simd_levels.h"

/* Scores ------------------------------------------------------------------------------------------------------------------ */

void ful__exp_array(const float *x, float *y, int64_t n)
{
    SIMD_PICK(kernels)->exp_array(x, y, n);
}

void ful__log_array(const float *x, float *y, int64_t n)
{
    SIMD_PICK(kernels)->log_array(x, y, n);
}

float ful__exp(float x)
{
    float y;
    kernels_base.exp_array(&x, &y, 1);
    return y;
}

int64_t ful__softmax_rows(const float *logits, int64_t rows, int n, float *prob)
{
    int64_t bad = -1;
    for (int64_t t = 0; t < rows; t++) {
        const float *l = logits + t * n;
        float max = l[0], strange = 0; /* l - l is 0, or NaN for a NaN or an infinity */
        for (int j = 0; j < n; j++) {
            if (l[j] > max) max = l[j];
            strange += l[j] - l[j];
        }
        if (strange != 0 && bad < 0) bad = t;
        for (int j = 0; j < n; j++) prob[t * n + j] = l[j] - max;
    }
    if (bad >= 0) return bad;
    ful__exp_array(prob, prob, rows * n);
    for (int64_t t = 0; t < rows; t++) {
        float *p = prob + t * n, sum = 0;
        for (int j = 0; j < n; j++) sum += p[j];
        for (int j = 0; j < n; j++) p[j] /= sum;
    }
    return -1;
}

int64_t ful__sigmoid_rows(const float *logits, int64_t rows, int n, float *prob)
{
    for (int64_t t = 0; t < rows; t++) {
        float strange = 0;
        for (int j = 0; j < n; j++) {
            strange += logits[t * n + j] - logits[t * n + j];
            prob[t * n + j] = -logits[t * n + j];
        }
        if (strange != 0) return t;
    }
    ful__exp_array(prob, prob, rows * n);
    for (int64_t t = 0; t < rows; t++) {
        float *p = prob + t * n, sum = 0;
        for (int j = 0; j < n; j++) sum += p[j] = 1 / (1 + p[j]);
        for (int j = 0; j < n; j++) p[j] /= sum;
    }
    return -1;
}

void ful__softmax_rows_backward(const float *prob, const float *a, int64_t rows, int n, float *dl)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *p = prob + t * n, *at = a + t * n;
        float dot = 0;
        for (int j = 0; j < n; j++) dot += at[j] * p[j];
        for (int j = 0; j < n; j++) dl[t * n + j] = p[j] * (at[j] - dot);
    }
}

/* Router inputs ----------------------------------------------------------------------------------------------------------- */

static const double layernorm_eps = 1e-5, l2_eps = 1e-6;

void ful__input_rows(ful_router_input kind, const float *x, int64_t rows, int d, float *u, float *stat)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * d;
        double mean = 0, square = 0, inverse = 1;
        if (kind == FUL_ROUTER_INPUT_LAYERNORM) {
            for (int i = 0; i < d; i++) mean += (double)xt[i];
            mean /= d;
        }
        if (kind != FUL_ROUTER_INPUT_RAW)
            for (int i = 0; i < d; i++) square += ((double)xt[i] - mean) * ((double)xt[i] - mean);
        if (kind == FUL_ROUTER_INPUT_LAYERNORM) inverse = 1 / sqrt(square / d + layernorm_eps);
        if (kind == FUL_ROUTER_INPUT_L2) inverse = 1 / sqrt(square + l2_eps);
        stat[2 * t] = (float)mean;
        stat[2 * t + 1] = (float)inverse;
        for (int i = 0; i < d; i++) u[t * d + i] = (xt[i] - stat[2 * t]) * stat[2 * t + 1];
    }
}

/* With u = (x - mean) r: layernorm dx = r (du - mean(du) - u mean(du u)); l2 dx = r (du - u <du, u>), exact with the eps; raw
 * dx = du. */
void ful__input_rows_backward(ful_router_input kind, const float *x, const float *stat, const float *du, int64_t rows, int d,
                              float *dx)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * d, *dut = du + t * d, mean = stat[2 * t], inverse = stat[2 * t + 1];
        double sum = 0, along = 0;
        for (int i = 0; i < d; i++) {
            sum += (double)dut[i];
            along += (double)dut[i] * (double)((xt[i] - mean) * inverse);
        }
        if (kind == FUL_ROUTER_INPUT_RAW) along = 0;
        if (kind != FUL_ROUTER_INPUT_LAYERNORM) sum = 0;
        if (kind == FUL_ROUTER_INPUT_LAYERNORM) {
            sum /= d;
            along /= d;
        }
        for (int i = 0; i < d; i++) dx[t * d + i] += inverse * (dut[i] - (float)sum - (xt[i] - mean) * inverse * (float)along);
    }
}

/* Products ---------------------------------------------------------------------------------------------------------------- */

enum { GRADIENT_ROWS = 4096 }; /* tokens of one product for dw: bounds its scratch */

static size_t whole_lines(size_t floats)
{
    return ful__align64(floats * sizeof(float)) / sizeof(float);
}

size_t ful__project_packed_floats(int d, int n)
{
    const size_t forward = ful__gemm_packed_floats(d, n), back = ful__gemm_packed_floats(n, d);
    return whole_lines(forward > back ? forward : back);
}

size_t ful__weight_gradient_floats(int d, int n)
{
    return whole_lines(ful__gemm_tn_scratch_floats(GRADIENT_ROWS, n, d));
}

void ful__project(const float *x, int64_t t, int d, int n, const float *w, float *packed, float *y)
{
    ful__gemm_pack(packed, w, 1, d, d, n, 0, ful__gemm_panels(n));
    const ful__gemm_job job = {.m = t, .n = n, .k = d, .a = x, .a_rs = d, .a_cs = 1, .b_packed = packed, .c = y, .ldc = n};
    ful__gemm_grouped(&job, 1);
}

void ful__project_back(const float *dy, int64_t t, int d, int n, const float *w, float *packed, float *dx, bool accumulate)
{
    ful__gemm_pack(packed, w, d, 1, n, d, 0, ful__gemm_panels(d));
    const ful__gemm_job job = {
        .m = t, .n = d, .k = n, .a = dy, .a_rs = n, .a_cs = 1, .b_packed = packed, .c = dx, .ldc = d, .accumulate = accumulate};
    ful__gemm_grouped(&job, 1);
}

void ful__weight_gradient(const float *dy, const float *x, int64_t t, int d, int n, float *scratch, float *dw)
{
    for (int64_t begin = 0; begin < t; begin += GRADIENT_ROWS) {
        const int64_t rows = t - begin < GRADIENT_ROWS ? t - begin : GRADIENT_ROWS;
        const ful__gemm_tn_job job = {
            .rows = rows, .m = n, .n = d, .a = dy + begin * n, .lda = n, .b = x + begin * d, .ldb = d, .c = dw, .ldc = d};
        ful__gemm_tn_grouped(&job, 1, scratch);
    }
}
