/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sigmoid gating (card A3: DeepSeekMoE 2024, DeepSeek-V3 2024; without shared experts, groups and route scale):
 *
 *   s_e = 1/(1 + e^{-l_e}), each expert judged by itself; S = the k largest
 *   renorm        g_e = s_e / sum over S of s, the published form; k >= 2
 *   softmax_all   g_e = s_e as it is, for k = 1
 *
 * prob, which balance losses and statistics see, is q_e = s_e / sum over all experts of s. The selection bias (card D5) is
 * added to s.
 */
#include "core/error.h"
#include "moe/router_rows.h"
#include "moe/router_softmax.h"

enum { TILE = 256 };

/* s = sigma(l) for n <= TILE values. */
static void sigmoids(const float *logits, int n, float *s)
{
    for (int i = 0; i < n; i++) s[i] = -logits[i];
    ful__exp_array(s, s, n);
    for (int i = 0; i < n; i++) s[i] = 1 / (1 + s[i]);
}

static int tile(int64_t left)
{
    return left < TILE ? (int)left : TILE;
}

static void sigmoid_rank(const float *logits, int64_t n, float *rank)
{
    for (int64_t i = 0; i < n; i += TILE) sigmoids(logits + i, tile(n - i), rank + i);
}

static void sigmoid_gate(const ful__router *r, const float *logits, const float *prob, const int32_t *expert, int64_t rows,
                         float *gate)
{
    (void)prob;
    for (int64_t t = 0; t < rows; t++) {
        float *g = gate + t * r->k, sum = 0;
        for (int i = 0; i < r->k; i++) g[i] = logits[t * r->e + expert[t * r->k + i]];
        for (int i = 0; i < r->k; i += TILE) sigmoids(g + i, tile(r->k - i), g + i);
        for (int i = 0; i < r->k; i++) sum += g[i];
        for (int i = 0; r->attr.gate == FUL_GATE_RENORM && i < r->k; i++)
            g[i] /= sum > FUL__SIGMOID_LEAST ? sum : FUL__SIGMOID_LEAST;
    }
}

/*
 * d s/d l = s (1 - s), so with a the gradient of what is normalised: dl_e = (1 - s_e) q_e (a_e - sum_j a_j q_j) through q, and
 * METHODS 0.2 row 4, the same over S, through renormalised gates; (1 - s_e) s_e a_e through plain ones.
 */
static void sigmoid_gate_backward(const ful__router *r, const float *logits, const float *prob, const int32_t *expert,
                                  const float *gate, const float *dgate, const float *dprob, int64_t rows, float *dlogits)
{
    const int e = r->e, k = r->k;
    for (int64_t i = 0; i < rows * e; i++) dlogits[i] = dprob ? dprob[i] : 0;
    if (dprob) ful__softmax_rows_backward(prob, dlogits, rows, e, dlogits);
    for (int64_t t = 0; t < rows; t++) {
        const float *g = gate + t * k, *a = dgate + t * k;
        float dot = 0;
        for (int i = 0; r->attr.gate == FUL_GATE_RENORM && i < k; i++) dot += a[i] * g[i];
        for (int i = 0; i < k; i++) dlogits[t * e + expert[t * k + i]] += g[i] * (a[i] - dot);
    }
    for (int64_t i = 0; i < rows * e; i += TILE) {
        float s[TILE];
        const int n = tile(rows * e - i);
        sigmoids(logits + i, n, s);
        for (int j = 0; j < n; j++) dlogits[i + j] *= 1 - s[j];
    }
}

static const ful__gating sigmoid_gating = {
    .score = ful__sigmoid_rows, .rank = sigmoid_rank, .gate = sigmoid_gate, .backward = sigmoid_gate_backward};

static ful_status sigmoid_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    FUL_TRY(ful__refuse_renorm_of_one(&ful__router_sigmoid, name, attr));
    return ful__linear_router_create(&ful__router_sigmoid, name, attr, d, false, out);
}

static ful_status sigmoid_forward(ful__router *r, const ful__router_run *run)
{
    return ful__linear_router_forward(r, run, &sigmoid_gating);
}

static void sigmoid_backward(ful__router *r, const ful__router_run *run)
{
    ful__linear_router_backward(r, run, &sigmoid_gating);
}

const ful__router_type ful__router_sigmoid = {
    .name = "sigmoid",
    .about = "top-k of learned sigmoid scores, normalised over the chosen (gate: renorm)",
    .source = "card A3; Dai et al. 2024 (DeepSeekMoE), DeepSeek-AI 2024 (V3)",
    .create = sigmoid_create,
    .forward = sigmoid_forward,
    .backward = sigmoid_backward,
    .after_step = ful__linear_router_after_step,
    .noise = ful__linear_router_noise,
};
