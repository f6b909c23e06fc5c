/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, its relatives, transforms of router inputs, and products with router weights. */
#include "moe/router_rows.h"

#include <math.h>

#include "core/mem.h"
#include "ops/gemm.h"

enum { SUMS = 64, TOP_COLUMNS = 64, TOP_PASSES = 4 };

typedef struct kernels {
    void (*exp_array)(const float *x, float *y, int64_t n);
    void (*log_array)(const float *x, float *y, int64_t n);
    float (*sum_row)(const float *x, int64_t n);
    float (*dot_row)(const float *a, const float *x, float mean, int64_t n);
    void (*shift_row)(const float *x, float mean, float scale, float *u, int64_t n);
    void (*shift_row_backward)(const float *x, const float *du, float mean, float scale, float shift, float along, float *dx,
                               int64_t n);
    int64_t (*top_k)(const float *score, int64_t rows, int e, int k, int32_t *index);
} kernels;

#define SIMD_KERNELS "moe/router_rows_kernels.h"
#include "ops/simd_levels.h"

/* Scores -------------------------------------------------------------------------------------------------------------- */

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

double ful__entropy_sum(const float *p, int64_t n)
{
    enum { TILE = 256 };
    const kernels *f = SIMD_PICK(kernels);
    float tile[TILE];
    double sum = 0;
    for (int64_t first = 0; first < n; first += TILE) {
        const int64_t length = n - first < TILE ? n - first : TILE;
        f->log_array(p + first, tile, length);
        sum -= (double)f->dot_row(p + first, tile, 0, length);
    }
    return sum;
}

/*
 * A list of the best so far, best first; an element enters it behind all that are at least as large, so of equals the lowest
 * index stays ahead. false if the row holds a NaN.
 */
static bool best_of_row(const float *score, int e, int k, int32_t *index)
{
    bool ordered = true; /* a NaN equals nothing */
    int n = 0;
    for (int32_t j = 0; j < e; j++) {
        ordered &= score[j] == score[j];
        if (n == k && !(score[j] > score[index[k - 1]])) continue;
        int at = n < k ? n++ : k - 1;
        for (; at > 0 && score[j] > score[index[at - 1]]; at--) index[at] = index[at - 1];
        index[at] = j;
    }
    return ordered;
}

bool ful__top_k_rows(const float *score, int64_t rows, int e, int k, int32_t *index_out, float *score_out)
{
    const bool small = e <= TOP_COLUMNS && k <= TOP_PASSES;
    int64_t t = small ? SIMD_PICK(kernels)->top_k(score, rows, e, k, index_out) : 0;
    bool ordered = t >= 0;
    for (; ordered && t < rows; t++) ordered = best_of_row(score + t * e, e, k, index_out + t * k);
    for (int64_t i = 0; ordered && score_out && i < rows * k; i++) score_out[i] = score[i / k * e + index_out[i]];
    return ordered;
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
        if (sum < FUL__SIGMOID_LEAST) sum = FUL__SIGMOID_LEAST;
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

/* Router inputs ------------------------------------------------------------------------------------------------------- */

static const float layernorm_eps = 1e-5f, l2_eps = 1e-6f;

void ful__input_rows(ful_router_input kind, const float *x, int64_t rows, int d, float *u, float *stat)
{
    const kernels *f = SIMD_PICK(kernels);
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * d;
        float *ut = u + t * d, mean = 0, inverse = 1;
        if (kind == FUL_ROUTER_INPUT_LAYERNORM) {
            mean = f->sum_row(xt, d) / (float)d;
            f->shift_row(xt, mean, 1, ut, d);
            inverse = 1 / sqrtf(f->dot_row(ut, ut, 0, d) / (float)d + layernorm_eps);
        }
        if (kind == FUL_ROUTER_INPUT_L2) inverse = 1 / sqrtf(f->dot_row(xt, xt, 0, d) + l2_eps);
        f->shift_row(xt, mean, inverse, ut, d);
        stat[2 * t] = mean;
        stat[2 * t + 1] = inverse;
    }
}

/* With u = (x - mean) r: layernorm dx = r (du - mean(du) - u mean(du u)); l2 dx = r (du - u <du, u>), exact with the eps; raw
 * dx = du. */
void ful__input_rows_backward(ful_router_input kind, const float *x, const float *stat, const float *du, int64_t rows, int d,
                              float *dx)
{
    const kernels *f = SIMD_PICK(kernels);
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * d, *dut = du + t * d, mean = stat[2 * t], inverse = stat[2 * t + 1];
        float shift = 0, along = 0;
        if (kind != FUL_ROUTER_INPUT_RAW) along = f->dot_row(dut, xt, mean, d) * inverse;
        if (kind == FUL_ROUTER_INPUT_LAYERNORM) {
            shift = f->sum_row(dut, d) / (float)d;
            along /= (float)d;
        }
        f->shift_row_backward(xt, dut, mean, inverse, shift, along, dx + t * d, d);
    }
}

/* Products ------------------------------------------------------------------------------------------------------------ */

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
