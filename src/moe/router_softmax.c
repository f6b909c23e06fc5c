/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax top-k (card A1: Shazeer et al. 2017, Switch 2021, GShard 2020; V-MoE's noise, card A2):
 *
 *   P = softmax(H) over all experts, S = the k largest
 *   softmax_all   g_e = P_e                          gradient reaches all logits, so k = 1 learns
 *   renorm        g_e = P_e / sum over S of P        gradient stays within S; k = 1 would give g = 1 and learn nothing
 */
#include "moe/router_softmax.h"
#include "core/error.h"
#include "moe/router_rows.h"

/* renorm is the softmax of the chosen logits alone: exact also where noise or a bias chose experts of vanishing probability. */
static void softmax_gate(const ful__router *r, const float *logits, const float *prob, const int32_t *expert, int64_t rows,
                         float *gate)
{
    const bool renorm = r->attr.gate == FUL_GATE_RENORM;
    const float *from = renorm ? logits : prob;
    for (int64_t i = 0; i < rows * r->k; i++) gate[i] = from[i / r->k * r->e + expert[i]];
    if (renorm) (void)ful__softmax_rows(gate, rows, r->k, gate); /* the logits are known to be finite */
}

/* METHODS 0.2: row 3 (softmax_all), row 2 (renorm), and row 1 for what the balance losses put on prob. */
static void softmax_gate_backward(const ful__router *r, const float *logits, const float *prob, const int32_t *expert,
                                  const float *gate, const float *dgate, const float *dprob, int64_t rows, float *dlogits)
{
    (void)logits;
    const int e = r->e, k = r->k;
    for (int64_t i = 0; i < rows * e; i++) dlogits[i] = dprob ? dprob[i] : 0;
    if (r->attr.gate == FUL_GATE_SOFTMAX_ALL) {
        for (int64_t i = 0; i < rows * k; i++) dlogits[i / k * e + expert[i]] += dgate[i];
        ful__softmax_rows_backward(prob, dlogits, rows, e, dlogits);
        return;
    }
    if (dprob) ful__softmax_rows_backward(prob, dlogits, rows, e, dlogits);
    for (int64_t t = 0; t < rows; t++) {
        const float *g = gate + t * k, *a = dgate + t * k;
        float dot = 0;
        for (int i = 0; i < k; i++) dot += a[i] * g[i];
        for (int i = 0; i < k; i++) dlogits[t * e + expert[t * k + i]] += g[i] * (a[i] - dot);
    }
}

static const ful__gating softmax_gating = {.score = ful__softmax_rows, .gate = softmax_gate, .backward = softmax_gate_backward};

ful_status ful__refuse_renorm_of_one(const ful__router_type *type, const char *name, const ful_moe_attr *attr)
{
    if (attr->gate != FUL_GATE_RENORM || attr->k != 1) return FUL_OK;
    return ful__router_refuse(type, name,
                              "k=1, gate=renorm: the renormalised gate of one expert is always 1 and trains no router; use "
                              "gate=softmax_all or k >= 2");
}

static ful_status softmax_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    FUL_TRY(ful__refuse_renorm_of_one(&ful__router_softmax, name, attr));
    return ful__linear_router_create(&ful__router_softmax, name, attr, d, false, out);
}

ful_status ful__softmax_forward(ful__router *r, const ful__router_run *run)
{
    return ful__linear_router_forward(r, run, &softmax_gating);
}

void ful__softmax_backward(ful__router *r, const ful__router_run *run)
{
    ful__linear_router_backward(r, run, &softmax_gating);
}

const ful__router_type ful__router_softmax = {
    .name = "softmax",
    .about = "top-k of a softmax over learned logits; optional noise, jitter, temperature and selection bias",
    .source = "cards A1, A2; Shazeer et al. 2017, GShard 2020, Switch 2021, V-MoE 2021",
    .create = softmax_create,
    .forward = ful__softmax_forward,
    .backward = ful__softmax_backward,
    .after_step = ful__linear_router_after_step,
    .noise = ful__linear_router_noise,
};
