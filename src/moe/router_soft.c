/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soft MoE (card B4: Puigcerver et al. 2023) in three forms. Logits are scaled cosines,
 *
 *   l_ts = (scale / tau) <x_t / sqrt(|x_t|^2 + 1e-6), phi_s / sqrt(|phi_s|^2 + 1e-6)>,   phi [s][d], scale starts at 1
 *
 *   soft_patch    s = e*p slots. C = softmax over the slots of a token, D = softmax over the tokens of ONE image for each slot.
 *   soft_batch    the same with the whole batch as the group: every prediction then depends on its neighbours, and slots are
 *                 blends of many images. Here to show that failure, not to be used.
 *   soft_sample   no dispatch: g_te = softmax over experts, all of them run on every token. A row of its own, in training and
 * at eval.
 *
 *   dl_ts = C_ts (dC_ts - sum_s' C_ts' dC_ts') + D_ts (dD_ts - sum_t' D_t's dD_t's)
 *   with G_s = sum_t dl_ts x^_t:   dphi_s = (scale/tau) r_s (G_s - phi^_s <phi^_s, G_s>),   dscale = sum_s <phi^_s, G_s> / tau
 */
#include <string.h>

#include "core/error.h"
#include "moe/router_rows.h"
#include "moe/router_types.h"

enum { WEIGHT = 0, SCALE = 1, SLOTS_MAX = 1 << 20, COLUMNS = 64 };

/* Memory -------------------------------------------------------------------------------------------------------------- */

typedef struct soft_scratch {
    float *packed, *gradient; /* of the products */
    float *phi, *phi_stat;    /* normalised rows [s][d]; their [s][2] */
    float *g;                 /* [s][d] */
    float *dlogits;           /* [t][s] */
    float *u, *du, *stat;     /* normalised tokens [t][d], their gradients, [t][2] */
    size_t fixed_floats, floats_per_token;
} soft_scratch;

static float *take(float **next, size_t floats)
{
    float *p = *next;
    if (p) *next += floats;
    return p;
}

static soft_scratch scratch_of(const ful__router *r, void *scratch, int64_t t)
{
    const size_t d = (size_t)r->d, s = (size_t)r->k, tokens = (size_t)t;
    const size_t packed = ful__project_packed_floats(r->d, r->k), gradient = ful__weight_gradient_floats(r->d, r->k);
    float *next = scratch;
    soft_scratch v = {.fixed_floats = packed + gradient + 2 * s * d + 2 * s, .floats_per_token = s + 2 * d + 2};
    v.packed = take(&next, packed);
    v.gradient = take(&next, gradient);
    v.phi = take(&next, s * d);
    v.g = take(&next, s * d);
    v.phi_stat = take(&next, 2 * s);
    v.dlogits = take(&next, tokens * s);
    v.u = take(&next, tokens * d);
    v.du = take(&next, tokens * d);
    v.stat = take(&next, tokens * 2);
    return v;
}

/* Create -------------------------------------------------------------------------------------------------------------- */

static ful_status soft_create(const ful__router_type *type, ful__route_kind kind, const char *name, const ful_moe_attr *a,
                              int d, ful__router **out)
{
    FUL_TRY(ful__router_plain(type, name, a));
    if (a->router_input == FUL_ROUTER_INPUT_LAYERNORM)
        return ful__router_refuse(type, name, "router_input=layernorm: soft routers take the length off by l2; use raw or l2");
    if (kind == FUL__ROUTE_PAIRS && a->soft_slots != 1)
        return ful__router_refuse(type, name, "soft_slots=%d: there are no slots in a sample of its own; use 1", a->soft_slots);
    if (a->soft_slots < 1 || (int64_t)a->experts * a->soft_slots > SLOTS_MAX)
        return ful__router_refuse(type, name, "experts=%d, soft_slots=%d: slots must be 1 or more an expert, at most %d in all",
                                  a->experts, a->soft_slots, SLOTS_MAX);
    ful__router *r;
    FUL_TRY(ful__router_alloc(type, name, a, d, sizeof *r, &r));
    r->kind = kind;
    r->k = r->e * a->soft_slots;
    r->capacity = r->balance = false;
    ful__router_add_param(r, "weight", 2, r->k, d, FUL_INIT_LECUN_NORMAL, 1, true);
    ful__router_add_param(r, "scale", 1, 1, 0, FUL_INIT_ONES, 1, true);
    r->macs_per_token = (int64_t)r->k * d;
    const soft_scratch scratch = scratch_of(r, NULL, 0);
    r->scratch_fixed = scratch.fixed_floats * sizeof(float);
    r->scratch_per_token = scratch.floats_per_token * sizeof(float);
    *out = r;
    return FUL_OK;
}

static ful_status patch_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    return soft_create(&ful__router_soft_patch, FUL__ROUTE_SLOTS_IMAGE, name, attr, d, out);
}

static ful_status batch_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    return soft_create(&ful__router_soft_batch, FUL__ROUTE_SLOTS_BATCH, name, attr, d, out);
}

static ful_status sample_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    return soft_create(&ful__router_soft_sample, FUL__ROUTE_PAIRS, name, attr, d, out);
}

/* Forward ------------------------------------------------------------------------------------------------------------- */

typedef struct soft_job {
    const ful__router *r;
    const ful__router_run *run;
    soft_scratch scratch;
    float factor; /* scale / tau */
    ful__lowest bad;
} soft_job;

static void normalise_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const soft_job *job = ctx;
    const int d = job->r->d;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin);
    ful__input_rows(FUL_ROUTER_INPUT_L2, job->run->x + begin * d, rows, d, job->scratch.u + begin * d,
                    job->scratch.stat + 2 * begin);
}

static void job_init(soft_job *job, const ful__router *r, const ful__router_run *run)
{
    *job = (soft_job){.r = r, .run = run, .scratch = scratch_of(r, run->scratch, run->t)};
    job->factor = run->w[SCALE][0] / ful__router_temperature(&r->attr, run->progress);
    ful__lowest_init(&job->bad);
    ful__input_rows(FUL_ROUTER_INPUT_L2, run->w[WEIGHT], r->k, r->d, job->scratch.phi, job->scratch.phi_stat);
    ful__parallel_for(ful__rows_chunks(run->t), normalise_chunk, job);
}

/* logits, C (or gates); rows of one chunk. */
static void combine_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    soft_job *job = ctx;
    const ful__router_run *run = job->run;
    const int s = job->r->k;
    int64_t begin;
    const int64_t rows = ful__rows_of(run->t, chunk, &begin);
    float *logits = run->logits + begin * s, *prob = run->prob + begin * s;
    for (int64_t i = 0; i < rows * s; i++) logits[i] *= job->factor;
    const int64_t bad = ful__softmax_rows(logits, rows, s, prob);
    if (bad >= 0) ful__lowest_keep(&job->bad, begin + bad);
    if (bad < 0 && job->r->kind == FUL__ROUTE_PAIRS) /* finite logits: top-k cannot fail */
        (void)ful__top_k_rows(prob, rows, s, s, run->expert + begin * s, run->gate + begin * s);
}

/* D of columns [first, first + n) of one group: softmax over its m tokens. */
static void dispatch_columns(const float *logits, int64_t m, int s, int first, int n, float *dispatch)
{
    float max[COLUMNS];
    double sum[COLUMNS] = {0};
    for (int j = 0; j < n; j++) max[j] = logits[first + j];
    for (int64_t t = 1; t < m; t++)
        for (int j = 0; j < n; j++)
            if (logits[t * s + first + j] > max[j]) max[j] = logits[t * s + first + j];
    for (int64_t t = 0; t < m; t++) {
        float *row = dispatch + t * s + first;
        for (int j = 0; j < n; j++) row[j] = logits[t * s + first + j] - max[j];
        ful__exp_array(row, row, n);
        for (int j = 0; j < n; j++) sum[j] += (double)row[j];
    }
    for (int64_t t = 0; t < m; t++)
        for (int j = 0; j < n; j++) dispatch[t * s + first + j] = (float)((double)dispatch[t * s + first + j] / sum[j]);
}

void ful__soft_dispatch(const float *logits, int64_t m, int s, float *dispatch)
{
    for (int first = 0; first < s; first += COLUMNS)
        dispatch_columns(logits, m, s, first, s - first < COLUMNS ? s - first : COLUMNS, dispatch);
}

static void dispatch_group(void *ctx, int64_t group, int thread)
{
    (void)thread;
    const soft_job *job = ctx;
    const int64_t at = group * job->run->group * job->r->k;
    ful__soft_dispatch(job->run->logits + at, job->run->group, job->r->k, job->run->dispatch + at);
}

static ful_status soft_forward(ful__router *r, const ful__router_run *run)
{
    if (run->t == 0) return FUL_OK;
    soft_job job;
    job_init(&job, r, run);
    ful__project(job.scratch.u, run->t, r->d, r->k, job.scratch.phi, job.scratch.packed, run->logits);
    ful__parallel_for(ful__rows_chunks(run->t), combine_chunk, &job);
    const int64_t bad = ful__lowest_get(&job.bad);
    if (bad >= 0) return ful__router_not_finite(r, bad);
    if (r->kind != FUL__ROUTE_PAIRS) ful__parallel_for(run->t / run->group, dispatch_group, &job);
    return FUL_OK;
}

/* Backward ------------------------------------------------------------------------------------------------------------ */

/* Through C, or through gates in the order of experts. */
static void dcombine_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const soft_job *job = ctx;
    const ful__router_run *run = job->run;
    const int s = job->r->k;
    int64_t begin;
    const int64_t rows = ful__rows_of(run->t, chunk, &begin), at = begin * s;
    float *dl = job->scratch.dlogits + at;
    for (int64_t i = 0; i < rows * s; i++) dl[i] = run->dprob_extra ? run->dprob_extra[at + i] : 0;
    for (int64_t i = 0; i < rows * s; i++) {
        const int64_t where = job->r->kind == FUL__ROUTE_PAIRS ? i / s * s + run->expert[at + i] : i;
        dl[where] += run->dgate[at + i];
    }
    ful__softmax_rows_backward(run->prob + at, dl, rows, s, dl);
    for (int64_t i = 0; run->dlogits_extra && i < rows * s; i++) dl[i] += run->dlogits_extra[at + i];
}

void ful__soft_dispatch_backward(const float *dispatch, const float *ddispatch, int64_t m, int s, float *dlogits)
{
    for (int first = 0; first < s; first += COLUMNS) {
        const int n = s - first < COLUMNS ? s - first : COLUMNS;
        double dot[COLUMNS] = {0};
        for (int64_t t = 0; t < m; t++)
            for (int j = 0; j < n; j++) dot[j] += (double)dispatch[t * s + first + j] * (double)ddispatch[t * s + first + j];
        for (int64_t t = 0; t < m; t++)
            for (int j = 0; j < n; j++) {
                const int64_t i = t * s + first + j;
                dlogits[i] += dispatch[i] * (float)((double)ddispatch[i] - dot[j]);
            }
    }
}

static void ddispatch_group(void *ctx, int64_t group, int thread)
{
    (void)thread;
    const soft_job *job = ctx;
    const int64_t at = group * job->run->group * job->r->k;
    ful__soft_dispatch_backward(job->run->dispatch + at, job->run->ddispatch + at, job->run->group, job->r->k,
                                job->scratch.dlogits + at);
}

static void weight_backward(const soft_job *job)
{
    const ful__router_run *run = job->run;
    const soft_scratch *s = &job->scratch;
    const int d = job->r->d, slots = job->r->k;
    memset(s->g, 0, (size_t)slots * (size_t)d * sizeof(float));
    ful__weight_gradient(s->dlogits, s->u, run->t, d, slots, s->gradient, s->g);
    double dfactor = 0;
    for (int64_t i = 0; i < (int64_t)slots * d; i++) dfactor += (double)s->phi[i] * (double)s->g[i];
    if (run->dw[SCALE]) run->dw[SCALE][0] += (float)(dfactor / (double)ful__router_temperature(&job->r->attr, run->progress));
    if (!run->dw[WEIGHT]) return;
    for (int64_t i = 0; i < (int64_t)slots * d; i++) s->g[i] *= job->factor;
    ful__input_rows_backward(FUL_ROUTER_INPUT_L2, run->w[WEIGHT], s->phi_stat, s->g, slots, d, run->dw[WEIGHT]);
}

static void dinput_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const soft_job *job = ctx;
    const int d = job->r->d;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin);
    ful__input_rows_backward(FUL_ROUTER_INPUT_L2, job->run->x + begin * d, job->scratch.stat + 2 * begin,
                             job->scratch.du + begin * d, rows, d, job->run->dx + begin * d);
}

static void soft_backward(ful__router *r, const ful__router_run *run)
{
    if (run->t == 0) return;
    soft_job job;
    job_init(&job, r, run);
    const soft_scratch *s = &job.scratch;
    ful__parallel_for(ful__rows_chunks(run->t), dcombine_chunk, &job);
    if (r->kind != FUL__ROUTE_PAIRS) ful__parallel_for(run->t / run->group, ddispatch_group, &job);
    if (run->dw) weight_backward(&job);
    if (!run->dx) return;
    for (int64_t i = 0; i < run->t * r->k; i++) s->dlogits[i] *= job.factor;
    ful__project_back(s->dlogits, run->t, r->d, r->k, s->phi, s->packed, s->du, false);
    ful__parallel_for(ful__rows_chunks(run->t), dinput_chunk, &job);
}

const ful__router_type ful__router_soft_patch = {
    .name = "soft_patch",
    .about = "Soft MoE over the patches of one image: slots are blends of its pixels",
    .source = "card B4; Puigcerver et al. 2023",
    .create = patch_create,
    .forward = soft_forward,
    .backward = soft_backward,
};

const ful__router_type ful__router_soft_sample = {
    .name = "soft_sample",
    .about = "per-sample Soft MoE: every token runs all experts, mixed by a softmax",
    .source = "card B4; after Sun et al. 2026 (abstract only: our reading)",
    .create = sample_create,
    .forward = soft_forward,
    .backward = soft_backward,
};

const ful__router_type ful__router_soft_batch = {
    .name = "soft_batch",
    .about = "Soft MoE over the batch axis: predictions depend on their neighbours; for study only",
    .source = "card B4; the failure mode named by Sun et al. 2026 (abstract only: our reading)",
    .create = batch_create,
    .forward = soft_forward,
    .backward = soft_backward,
};
