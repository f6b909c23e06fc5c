/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention by blocks (Dao et al. 2022): scores of at most 64 queries on 256 keys are made, turned into probabilities and used
 * up while they stand in a cache; nothing of t x t ever exists. Forward goes over the blocks of keys with a running maximum and
 * sum of each row, by which what was gathered so far is scaled; it leaves both to backward, which makes the same probabilities
 * again:
 *
 *   dV += P^T dY,  dP = dY V^T,  dS = P (dP - rowsum(dY Y)) scale,  dQ += dS K,  dK += dS^T Q
 *
 * A piece of work is a block of queries of one head of one image in forward, all of one head of one image in backward.
 *
 *   saved    [n][heads][t][maximum, 1/sum] | qk_norm: [n][t][2d] queries and keys normalised
 *   scratch  qk_norm: the normalised ones at inference; in backward [n][heads][4][head] gradients of its weights, and room for
 *            dx where nobody else wants it
 */
#include "ops/attention/attention.h"

#include <math.h>

#include "core/parallel.h"
#include "ops/gemm.h"

enum { QUERIES = 64, KEYS = 256, KEYS_UNIT = 16 };

typedef struct at_kernels {
    /* s [rows][cols] becomes exp(scale s - most); the running maximum of scale * s and sum of each row; factor: what the sums
     * of the blocks before are now worth */
    void (*softmax_rows)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, bool first, float *most, float *sum,
                         float *factor);
    void (*scale_rows)(float *y, int64_t ld, int64_t rows, int64_t cols, const float *factor);
    /* s becomes the probabilities; saved [rows][2] */
    void (*probabilities)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, const float *saved);
    void (*dscores)(const float *p, float *dp, int64_t ld, int64_t rows, int64_t cols, float scale, const float *mean);
    void (*dots)(const float *a, const float *b, int64_t ld, int64_t rows, int64_t cols, float *out);
    void (*norm)(const float *x, int64_t n, float eps, const float *gamma, const float *beta, float *y);
    void (*norm_back)(const float *x, int64_t n, float eps, const float *gamma, float *g, float *dgamma, float *dbeta);
} at_kernels;

#define SIMD_KERNELS "ops/attention/attention_kernels.h"
#include "ops/simd_levels.h"

typedef struct at_pass {
    const ful__attention *at;
    const ful__run *run;
    const at_kernels *kernels;
    float scale;
    float *stats;   /* [n][heads][t][2], NULL at inference */
    float *normed;  /* [n][t][2d], NULL without qk_norm */
    float *weights; /* [n][heads][4][head], NULL but in backward with qk_norm */
    float *dx;      /* backward */
    int64_t blocks; /* of queries */
} at_pass;

static size_t stats_floats(const ful__attention *at)
{
    return 2 * (size_t)(at->attr.heads * at->tokens);
}

static size_t normed_floats(const ful__attention *at)
{
    return at->attr.qk_norm ? 2 * (size_t)(at->tokens * at->d) : 0;
}

void ful__attention_need(ful__attention *at)
{
    ful__need *need = &at->base.need;
    *need = (ful__need){.scratch_per_image = at->train ? 0 : normed_floats(at) * sizeof(float)};
    if (!at->train) return;
    need->saved_per_image = (stats_floats(at) + normed_floats(at)) * sizeof(float);
    if (at->attr.qk_norm) need->scratch_per_image = (4 * (size_t)at->d + (size_t)ful__count(at->base.x[0])) * sizeof(float);
    need->backward_x = 1;
    need->backward_y = true;
}

static at_pass begin(const ful__op *op, const ful__run *run)
{
    const ful__attention *at = (const ful__attention *)op;
    at_pass p = {.at = at, .run = run, .kernels = SIMD_PICK(kernels), .scale = (float)(1 / sqrt((double)at->head))};
    p.stats = at->train ? run->saved : NULL;
    p.normed = !at->attr.qk_norm ? NULL : at->train ? p.stats + (size_t)run->n * stats_floats(at) : run->scratch;
    p.weights = at->attr.qk_norm && at->train ? run->scratch : NULL;
    p.dx = run->dx[0] || !p.weights ? run->dx[0] : p.weights + (int64_t)run->n * 4 * at->d;
    p.blocks = (at->tokens + QUERIES - 1) / QUERIES;
    return p;
}

/* Matrices of one head of one image, from row t on: which = 0, 1, 2 for queries, keys, values. */
typedef struct matrix {
    float *at;
    int64_t ld;
} matrix;

static matrix raw_matrix(const at_pass *p, const float *x, int64_t image, int64_t head, int which, int64_t t)
{
    const ful__attention *at = p->at;
    const int64_t ld = 3 * (int64_t)at->d;
    return (matrix){(float *)x + (image * at->tokens + t) * ld + which * at->d + head * at->head, ld};
}

static matrix input_matrix(const at_pass *p, int64_t image, int64_t head, int which, int64_t t)
{
    const ful__attention *at = p->at;
    if (which == 2 || !p->normed) return raw_matrix(p, p->run->x[0], image, head, which, t);
    const int64_t ld = 2 * (int64_t)at->d;
    return (matrix){p->normed + (image * at->tokens + t) * ld + which * at->d + head * at->head, ld};
}

/* c (+)= a b^T, or a b; a^T b. */
static void times_transposed(matrix a, int64_t m, matrix b, int64_t n, int64_t k, matrix c)
{
    ful__gemm_one(&(ful__gemm_job){.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a.at,
                                   .a_rs = a.ld,
                                   .a_cs = 1,
                                   .b = b.at,
                                   .b_rs = 1,
                                   .b_cs = b.ld,
                                   .c = c.at,
                                   .ldc = c.ld});
}

static void times(matrix a, int64_t m, matrix b, int64_t n, int64_t k, matrix c, bool add)
{
    ful__gemm_one(&(ful__gemm_job){.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a.at,
                                   .a_rs = a.ld,
                                   .a_cs = 1,
                                   .b = b.at,
                                   .b_rs = b.ld,
                                   .b_cs = 1,
                                   .c = c.at,
                                   .ldc = c.ld,
                                   .accumulate = add});
}

static void transposed_times(matrix a, int64_t m, matrix b, int64_t n, int64_t k, matrix c, bool add)
{
    ful__gemm_one(&(ful__gemm_job){.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a.at,
                                   .a_rs = 1,
                                   .a_cs = a.ld,
                                   .b = b.at,
                                   .b_rs = b.ld,
                                   .b_cs = 1,
                                   .c = c.at,
                                   .ldc = c.ld,
                                   .accumulate = add});
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of a block of scores lie so far apart. */
static int64_t scores_ld(int64_t tokens)
{
    return least(KEYS, (tokens + KEYS_UNIT - 1) / KEYS_UNIT * KEYS_UNIT);
}

static void normalise_token(void *ctx, int64_t token, int thread)
{
    (void)thread;
    const at_pass *p = ctx;
    const ful__attention *at = p->at;
    const float *x = p->run->x[0] + token * 3 * at->d;
    float *y = p->normed + token * 2 * at->d;
    for (int64_t c = 0; c < 2 * (int64_t)at->d; c += at->head) {
        const int side = c < at->d ? FUL__ATTENTION_Q_GAMMA : FUL__ATTENTION_K_GAMMA;
        p->kernels->norm(x + c, at->head, at->attr.eps, p->run->w[side], p->run->w[side + 1], y + c);
    }
}

static void forward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const at_pass *p = ctx;
    const ful__attention *at = p->at;
    const int64_t head = piece / p->blocks % at->attr.heads, image = piece / p->blocks / at->attr.heads;
    const int64_t first = piece % p->blocks * QUERIES, rows = least(QUERIES, at->tokens - first);
    _Alignas(64) float scores[QUERIES * KEYS];
    float most[QUERIES], sum[QUERIES], factor[QUERIES];
    const matrix q = input_matrix(p, image, head, 0, first), s = {scores, scores_ld(at->tokens)};
    const matrix y = {p->run->y + (image * at->tokens + first) * at->d + head * at->head, at->d};
    for (int64_t key = 0; key < at->tokens; key += KEYS) {
        const int64_t keys = least(KEYS, at->tokens - key);
        times_transposed(q, rows, input_matrix(p, image, head, 1, key), keys, at->head, s);
        p->kernels->softmax_rows(s.at, s.ld, rows, keys, p->scale, key == 0, most, sum, factor);
        if (key > 0) p->kernels->scale_rows(y.at, y.ld, rows, at->head, factor);
        times(s, rows, input_matrix(p, image, head, 2, key), at->head, keys, y, key > 0);
    }
    float *stats = p->stats ? p->stats + 2 * ((image * at->attr.heads + head) * at->tokens + first) : NULL;
    for (int64_t r = 0; r < rows; r++) {
        factor[r] = 1 / sum[r];
        if (!stats) continue;
        stats[2 * r] = most[r];
        stats[2 * r + 1] = factor[r];
    }
    p->kernels->scale_rows(y.at, y.ld, rows, at->head, factor);
}

ful_status ful__attention_forward(ful__op *op, const ful__run *run)
{
    at_pass p = begin(op, run);
    if (p.normed) ful__parallel_for(run->n * p.at->tokens, normalise_token, &p);
    ful__parallel_for((int64_t)run->n * p.at->attr.heads * p.blocks, forward_piece, &p);
    if (run->counters) run->counters->macs += run->n * op->cost.macs;
    return FUL_OK;
}

/* The gradients of queries and keys of one head of one image, through their norm. */
static void norm_back(const at_pass *p, int64_t image, int64_t head)
{
    const ful__attention *at = p->at;
    float *weights = p->weights + (image * at->attr.heads + head) * 4 * at->head;
    for (int64_t i = 0; i < 4 * (int64_t)at->head; i++) weights[i] = 0;
    for (int64_t t = 0; t < at->tokens; t++)
        for (int side = 0; side < 2; side++)
            p->kernels->norm_back(raw_matrix(p, p->run->x[0], image, head, side, t).at, at->head, at->attr.eps,
                                  p->run->w[2 * side], raw_matrix(p, p->dx, image, head, side, t).at,
                                  weights + 2 * side * at->head, weights + (2 * side + 1) * at->head);
}

static void backward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const at_pass *p = ctx;
    const ful__attention *at = p->at;
    const int64_t head = piece % at->attr.heads, image = piece / at->attr.heads, width = at->head;
    _Alignas(64) float scores[QUERIES * KEYS], dscores[QUERIES * KEYS];
    float mean[QUERIES];
    const int64_t ld = scores_ld(at->tokens);
    const matrix s = {scores, ld}, ds = {dscores, ld};
    for (int64_t first = 0; first < at->tokens; first += QUERIES) {
        const int64_t rows = least(QUERIES, at->tokens - first);
        const int64_t out = (image * at->tokens + first) * at->d + head * width;
        const matrix q = input_matrix(p, image, head, 0, first), dy = {(float *)p->run->dy + out, at->d};
        p->kernels->dots(dy.at, p->run->y + out, at->d, rows, width, mean);
        for (int64_t key = 0; key < at->tokens; key += KEYS) {
            const int64_t keys = least(KEYS, at->tokens - key);
            const matrix k = input_matrix(p, image, head, 1, key);
            times_transposed(q, rows, k, keys, width, s);
            p->kernels->probabilities(s.at, ld, rows, keys, p->scale,
                                      p->stats + 2 * ((image * at->attr.heads + head) * at->tokens + first));
            transposed_times(s, keys, dy, width, rows, raw_matrix(p, p->dx, image, head, 2, key), first > 0);
            times_transposed(dy, rows, input_matrix(p, image, head, 2, key), keys, width, ds);
            p->kernels->dscores(s.at, ds.at, ld, rows, keys, p->scale, mean);
            times(ds, rows, k, width, keys, raw_matrix(p, p->dx, image, head, 0, first), key > 0);
            transposed_times(ds, keys, q, width, rows, raw_matrix(p, p->dx, image, head, 1, key), first > 0);
        }
    }
    if (p->weights) norm_back(p, image, head);
}

/* dw += what the heads of all images gave, in order. */
static void add_weights(const at_pass *p)
{
    const ful__attention *at = p->at;
    for (int i = 0; i < 4; i++)
        for (int64_t j = 0; j < at->head; j++) {
            double sum = 0;
            for (int64_t h = 0; h < (int64_t)p->run->n * at->attr.heads; h++)
                sum += (double)p->weights[(h * 4 + i) * at->head + j];
            if (p->run->dw && p->run->dw[i]) p->run->dw[i][j] += (float)sum;
        }
}

ful_status ful__attention_backward(ful__op *op, const ful__run *run)
{
    at_pass p = begin(op, run);
    if (run->n == 0 || !p.dx) return FUL_OK;
    ful__parallel_for((int64_t)run->n * p.at->attr.heads, backward_piece, &p);
    if (p.weights) add_weights(&p);
    return FUL_OK;
}
