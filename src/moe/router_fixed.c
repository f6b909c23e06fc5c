/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routers that learn nothing: the control arms of a study.
 *
 *   random   a softmax router whose weights are drawn once and frozen (SMoE-Dropout's, Chen et al. 2023; card A8): is learned
 *            routing needed at all? Gradients still reach the router's input through the gates.
 *   hash     the expert is a hash of the input (Roller et al. 2021; card A8). An image has no id, so what is hashed is a
 *            descriptor: the sign bits of HASH_BITS fixed random projections of the router input. Similar inputs mostly share
 * it. Gates are 1/k; no gradient. fixed    experts 0..k-1, each with gate 1: with one expert, the dense block, bit for bit.
 */
#include <string.h>

#include "core/error.h"
#include "moe/router_rows.h"
#include "moe/router_softmax.h"

static ful_status random_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    FUL_TRY(ful__refuse_renorm_of_one(&ful__router_random, name, attr));
    return ful__linear_router_create(&ful__router_random, name, attr, d, true, out);
}

const ful__router_type ful__router_random = {
    .name = "random",
    .about = "frozen random softmax router: the control for learned routing",
    .source = "card A8; Chen et al. 2023 (SMoE-Dropout)",
    .create = random_create,
    .forward = ful__softmax_forward,
    .backward = ful__softmax_backward,
};

/* Hash ---------------------------------------------------------------------------------------------------------------- */

enum { HASH_BITS = 16 };

/* Scratch: packed projections, then bits [t][HASH_BITS], then, if the input is transformed, it [t][d] and its [t][2]. */
static ful_status hash_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    FUL_TRY(ful__router_plain(&ful__router_hash, name, attr));
    ful__router *r;
    FUL_TRY(ful__router_alloc(&ful__router_hash, name, attr, d, sizeof *r, &r));
    ful__router_add_param(r, "weight", 2, HASH_BITS, d, FUL_INIT_NORMAL, 1, false);
    r->balance = false;
    r->macs_per_token = (int64_t)HASH_BITS * d;
    r->scratch_fixed = ful__project_packed_floats(r->d, HASH_BITS) * sizeof(float);
    r->scratch_per_token = HASH_BITS * sizeof(float);
    if (attr->router_input != FUL_ROUTER_INPUT_RAW) r->scratch_per_token += (2 + (size_t)d) * sizeof(float);
    *out = r;
    return FUL_OK;
}

/* A bijection of 32-bit words in which every input bit reaches every output bit (finaliser of MurmurHash3). */
static uint32_t mix(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* k distinct experts: the i-th hash picks one of the e - i that are left, as its place among them. */
static void hash_experts(uint32_t code, int e, int k, int32_t *expert)
{
    for (int i = 0; i < k; i++) {
        const uint32_t h = mix(code + 0x9e3779b9u * (uint32_t)(i + 1));
        const int32_t place = (int32_t)((uint64_t)h * (unsigned)(e - i) >> 32);
        int32_t pick = place, before;
        do { /* pick = place + taken experts at or below pick; grows until it holds */
            before = pick;
            pick = place;
            for (int j = 0; j < i; j++) pick += expert[j] <= before;
        } while (pick != before);
        expert[i] = pick;
    }
}

typedef struct hash_job {
    const ful__router *r;
    const ful__router_run *run;
    float *bits, *stat, *u;
    ful__lowest bad;
} hash_job;

static void hash_input_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const hash_job *job = ctx;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin), at = begin * job->r->d;
    ful__input_rows(job->r->attr.router_input, job->run->x + at, rows, job->r->d, job->u + at, job->stat + 2 * begin);
}

static void hash_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    hash_job *job = ctx;
    const int e = job->r->e, k = job->r->k;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin);
    for (int64_t t = begin; t < begin + rows; t++) {
        uint32_t code = 0;
        float strange = 0;
        for (int i = 0; i < HASH_BITS; i++) {
            const float y = job->bits[t * HASH_BITS + i];
            code |= (uint32_t)(y > 0) << i;
            strange += y - y;
        }
        if (strange != 0) ful__lowest_keep(&job->bad, t);
        int32_t *expert = job->run->expert + t * k;
        float *prob = job->run->prob + t * e;
        hash_experts(code, e, k, expert);
        memset(job->run->logits + t * e, 0, (size_t)e * sizeof(float));
        memset(prob, 0, (size_t)e * sizeof(float));
        for (int i = 0; i < k; i++) prob[expert[i]] = job->run->gate[t * k + i] = 1 / (float)k;
    }
}

static ful_status hash_forward(ful__router *r, const ful__router_run *run)
{
    float *packed = run->scratch, *bits = packed + ful__project_packed_floats(r->d, HASH_BITS);
    hash_job job = {.r = r, .run = run, .bits = bits, .stat = bits + run->t * HASH_BITS};
    job.u = job.stat + 2 * run->t;
    ful__lowest_init(&job.bad);
    const bool raw = r->attr.router_input == FUL_ROUTER_INPUT_RAW;
    if (!raw) ful__parallel_for(ful__rows_chunks(run->t), hash_input_chunk, &job);
    ful__project(raw ? run->x : job.u, run->t, r->d, HASH_BITS, run->w[0], packed, bits);
    ful__parallel_for(ful__rows_chunks(run->t), hash_chunk, &job);
    const int64_t bad = ful__lowest_get(&job.bad);
    return bad < 0 ? FUL_OK : ful__router_not_finite(r, bad);
}

static void no_gradient(ful__router *r, const ful__router_run *run)
{
    (void)r;
    (void)run;
}

const ful__router_type ful__router_hash = {
    .name = "hash",
    .about = "expert = hash of the sign bits of fixed random projections; gates 1/k",
    .source = "card A8; Roller et al. 2021 (hash layers)",
    .create = hash_create,
    .forward = hash_forward,
    .backward = no_gradient,
};

/* Fixed --------------------------------------------------------------------------------------------------------------- */

static ful_status fixed_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    FUL_TRY(ful__router_plain(&ful__router_fixed, name, attr));
    FUL_TRY(ful__router_alloc(&ful__router_fixed, name, attr, d, sizeof **out, out));
    (*out)->balance = (*out)->capacity = false;
    return FUL_OK;
}

static ful_status fixed_forward(ful__router *r, const ful__router_run *run)
{
    memset(run->logits, 0, (size_t)(run->t * r->e) * sizeof(float));
    memset(run->prob, 0, (size_t)(run->t * r->e) * sizeof(float));
    for (int64_t t = 0; t < run->t; t++) {
        for (int i = 0; i < r->k; i++) {
            run->expert[t * r->k + i] = i;
            run->gate[t * r->k + i] = 1;
            run->prob[t * r->e + i] = 1 / (float)r->k;
        }
    }
    return FUL_OK;
}

const ful__router_type ful__router_fixed = {
    .name = "fixed",
    .about = "experts 0..k-1 with gate 1 each: with one expert, the dense block",
    .source = "control; no paper",
    .create = fixed_create,
    .forward = fixed_forward,
    .backward = no_gradient,
};
