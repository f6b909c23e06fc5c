/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A router with everything it needs around it, for tests: parameters, inputs, outputs, gradients, each block exactly as large
 * as the contract says, so that AddressSanitizer sees one byte too many.
 */
#ifndef FUL_TESTS_MOE_ROUTER_KIT_H
#define FUL_TESTS_MOE_ROUTER_KIT_H

#include <stdlib.h>

#include "core/rng.h"
#include "moe/router.h"
#include "support/test.h"

enum { KIT_BLOCKS = 32 };

typedef struct kit {
    ful__router *r;
    ful__router_run run;
    float *x, *w[4], *dw[4], *dgate, *ddispatch, *dx;
    int64_t t, columns; /* tokens; columns of logits */
    void *blocks[KIT_BLOCKS];
    int n_blocks;
} kit;

/* The defaults of a router test: softmax, e experts, nothing extra. */
static inline ful_moe_attr kit_attr(const char *router, int experts, int k)
{
    ful_moe_attr a = {.experts = experts, .k = k, .router_init = -1, .tau0 = 1, .tau_min = 1, .soft_slots = 1};
    snprintf(a.router, sizeof a.router, "%s", router);
    return a;
}

static inline void *kit_block(kit *q, size_t bytes)
{
    void *p = NULL;
    if (q->n_blocks == KIT_BLOCKS || posix_memalign(&p, 64, bytes ? bytes : 1) != 0) abort();
    memset(p, 0x7f, bytes); /* large floats, not zeros: who forgets to write is seen */
    q->blocks[q->n_blocks++] = p;
    return p;
}

static inline float *kit_floats(kit *q, int64_t n)
{
    return kit_block(q, (size_t)n * sizeof(float));
}

static inline float *kit_zeros(kit *q, int64_t n)
{
    return memset(kit_floats(q, n), 0, (size_t)n * sizeof(float));
}

static inline void kit_normal(uint64_t seed, const char *what, float sd, float *x, int64_t n)
{
    ful__rng_fill_normal(ful__stream_make(seed, "test", what), 0, sd, x, (size_t)n);
}

/* Weights and inputs are drawn from `seed`; group = t. */
static inline void kit_init(kit *q, const ful_moe_attr *attr, int d, int64_t t, uint64_t seed)
{
    *q = (kit){.t = t};
    assert_ok(ful__router_create("net.moe.router", attr, d, &q->r));
    ful__router *r = q->r;
    const bool pairs = r->kind == FUL__ROUTE_PAIRS;
    q->columns = pairs ? r->e : r->k;
    q->x = kit_floats(q, t * d);
    kit_normal(seed, "x", 1, q->x, t * d);
    for (int i = 0; i < r->n_params; i++) {
        q->w[i] = kit_floats(q, r->params[i].count);
        q->dw[i] = r->params[i].trainable ? kit_zeros(q, r->params[i].count) : NULL;
        kit_normal(seed, r->params[i].name, 0.6f, q->w[i], r->params[i].count);
    }
    q->dgate = kit_floats(q, t * r->k);
    q->ddispatch = kit_floats(q, t * r->k);
    q->dx = kit_zeros(q, t * d);
    kit_normal(seed, "dgate", 1, q->dgate, t * r->k);
    kit_normal(seed, "ddispatch", 1, q->ddispatch, t * r->k);
    q->run = (ful__router_run){
        .t = t,
        .group = t,
        .train = true,
        .seed = seed,
        .step = 3,
        .x = q->x,
        .w = q->w,
        .dw = q->dw,
        .logits = kit_floats(q, t * q->columns),
        .prob = kit_floats(q, t * q->columns),
        .dispatch = pairs ? NULL : kit_floats(q, t * q->columns),
        .expert = pairs ? kit_block(q, (size_t)(t * r->k) * sizeof(int32_t)) : NULL,
        .gate = pairs ? kit_floats(q, t * r->k) : NULL,
        .dgate = q->dgate,
        .ddispatch = pairs ? NULL : q->ddispatch,
        .dx = q->dx,
        .saved = kit_block(q, r->saved_fixed + (size_t)t * r->saved_per_token),
        .scratch = kit_block(q, r->scratch_fixed + (size_t)t * r->scratch_per_token),
    };
}

static inline ful_status kit_forward(kit *q)
{
    return q->r->type->forward(q->r, &q->run);
}

static inline void kit_backward(kit *q)
{
    q->r->type->backward(q->r, &q->run);
}

static inline void kit_deinit(kit *q)
{
    ful__router_destroy(&q->r);
    for (int i = 0; i < q->n_blocks; i++) free(q->blocks[i]);
    *q = (kit){0};
}

#endif
