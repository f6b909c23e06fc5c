/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What routers with linear logits share (softmax, sigmoid, frozen random): parameters, input transform and jitter, temperature,
 * noise, selection bias, and the gradients of all that. A router file adds only how logits become scores and gates.
 *
 *   u = jitter * transform(x)             jitter ~ U(1-j, 1+j) in training
 *   clean = u W^T / tau                   weight [e][d]
 *   H = clean + noise                     training only: N(0,1) softplus(u Wn^T) (noisy), or N(0, (noise_std/E)^2)
 *   S = top-k of H, or of H + noise_std U(0,1) (uniform noise), or of score + bias (card D5)
 *
 * Draws are addressed by (seed, router name, step and token id, position), so a token's noise does not depend on the batch.
 */
#ifndef FUL_MOE_ROUTER_LINEAR_H
#define FUL_MOE_ROUTER_LINEAR_H

#include "moe/router_types.h"

typedef struct ful__linear_router {
    ful__router base;
    int weight, noise, bias; /* indices of parameters, -1 where there is none */
    bool transforms;         /* the router input is not x itself */
} ful__linear_router;

/* frozen: weight [e][d] is drawn once and never trained. */
ful_status ful__linear_router_create(const ful__router_type *type, const char *name, const ful_moe_attr *attr, int d,
                                     bool frozen, ful__router **out) FUL_CHECK_RESULT;

/* How a router turns logits into scores and gates. Rows are those of one chunk. */
typedef struct ful__gating {
    /* prob from logits; the first row that is not finite, or -1. */
    int64_t (*score)(const float *logits, int64_t rows, int e, float *prob);
    /* What the selection bias is added to, n values; NULL: prob. */
    void (*rank)(const float *logits, int64_t n, float *rank);
    /* gate [rows][k] of the chosen experts. */
    void (*gate)(const ful__router *r, const float *logits, const float *prob, const int32_t *expert, int64_t rows,
                 float *gate);
    /* dlogits [rows][e] = gradient through gates (dgate [rows][k]) and through prob (dprob [rows][e] or NULL). */
    void (*backward)(const ful__router *r, const float *logits, const float *prob, const int32_t *expert, const float *gate,
                     const float *dgate, const float *dprob, int64_t rows, float *dlogits);
} ful__gating;

ful_status ful__linear_router_forward(ful__router *r, const ful__router_run *run, const ful__gating *gating) FUL_CHECK_RESULT;
void ful__linear_router_backward(ful__router *r, const ful__router_run *run, const ful__gating *gating);

/* The type's after_step and noise. */
void ful__linear_router_after_step(ful__router *r, float *const *w, const int64_t *chosen);
void ful__linear_router_noise(const ful__router *r, const ful__router_run *run, ful__balance_run *out);

#endif
