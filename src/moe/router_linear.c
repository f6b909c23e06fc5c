/* SPDX-License-Identifier: Apache-2.0 */
/* Linear router logits, with input transform, jitter, temperature, noise and selection bias, forward and backward. */
#include "moe/router_linear.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "moe/router_rows.h"

static const float default_init = 0.02f;

/* Memory -------------------------------------------------------------------------------------------------------------- */

static bool has_noise(const ful_moe_attr *a)
{
    return a->noisy || (a->noise_std > 0 && a->noise_kind == FUL_ROUTER_NOISE_NORMAL);
}

static bool has_choice_noise(const ful_moe_attr *a)
{
    return a->noise_std > 0 && a->noise_kind == FUL_ROUTER_NOISE_UNIFORM;
}

static bool has_load_loss(const ful__router *r)
{
    return r->balance && r->attr.load_coef > 0 && has_noise(&r->attr);
}

/* Written by a training forward; [t][e] each, NULL where not needed. */
typedef struct saved_view {
    float *noise_sd;       /* noisy top-k, or load loss */
    float *clean, *dclean; /* load loss */
    float *dnoise_sd;      /* load loss of noisy top-k */
    int64_t floats_per_token;
} saved_view;

static float *take(float **next, int64_t floats)
{
    float *p = *next;
    if (p) *next += floats;
    return p;
}

static saved_view saved_of(const ful__router *r, void *saved, int64_t t)
{
    const bool load = has_load_loss(r), noisy = r->attr.noisy;
    float *next = saved;
    saved_view v = {0};
    if (noisy || load) v.noise_sd = take(&next, t * r->e);
    if (load) v.clean = take(&next, t * r->e);
    if (load) v.dclean = take(&next, t * r->e);
    if (load && noisy) v.dnoise_sd = take(&next, t * r->e);
    v.floats_per_token = (int64_t)r->e * ((noisy || load) + 2 * load + (load && noisy));
    return v;
}

typedef struct scratch_view {
    float *packed, *gradient; /* packed weight; scratch of dW */
    float *stat, *u, *du;     /* [t][2], [t][d], [t][d]: only where the input is transformed */
    float *dlogits;           /* [t][e]; forward: choice */
    float *draw;              /* [t][e] gradient of the noise logits; noisy only */
    float *choice;            /* [t][e] what top-k sees where it is not the logits; same memory as dlogits */
    size_t fixed_floats, floats_per_token;
} scratch_view;

static scratch_view scratch_of(const ful__linear_router *lr, void *scratch, int64_t t)
{
    const ful__router *r = &lr->base;
    const size_t packed = ful__project_packed_floats(r->d, r->e), gradient = ful__weight_gradient_floats(r->d, r->e);
    float *next = scratch;
    scratch_view v = {.fixed_floats = packed + gradient};
    v.packed = take(&next, (int64_t)packed);
    v.gradient = take(&next, (int64_t)gradient);
    v.choice = v.dlogits = take(&next, t * r->e);
    v.floats_per_token = (size_t)r->e;
    if (lr->noise >= 0) {
        v.draw = take(&next, t * r->e);
        v.floats_per_token += (size_t)r->e;
    }
    if (lr->transforms) {
        v.stat = take(&next, t * 2);
        v.u = take(&next, t * r->d);
        v.du = take(&next, t * r->d);
        v.floats_per_token += 2 + 2 * (size_t)r->d;
    }
    return v;
}

/* Create -------------------------------------------------------------------------------------------------------------- */

static ful_status check(const ful__router_type *type, const char *name, const ful_moe_attr *a, bool frozen)
{
    if (!isfinite(a->router_init))
        return ful__router_refuse(type, name, "router_init=%g: must be a number", (double)a->router_init);
    if (a->noisy && a->noise_std > 0)
        return ful__router_refuse(type, name, "noisy=true, noise_std=%g: noisy top-k learns its own noise; set one of the two",
                                  (double)a->noise_std);
    if (a->bias_rate > 0 && has_choice_noise(a))
        return ful__router_refuse(
            type, name, "bias_rate=%g, noise_kind=uniform: the bias ranks scores, the noise ranks logits; set one of the two",
            (double)a->bias_rate);
    if (!frozen) return FUL_OK;
    if (a->router_init == 0)
        return ful__router_refuse(type, name, "router_init=0: a frozen router of zeros sends every token to expert 0");
    if (a->noisy) return ful__router_refuse(type, name, "noisy=true: a frozen router learns no noise");
    if (a->bias_rate > 0)
        return ful__router_refuse(type, name, "bias_rate=%g: a frozen router learns no bias", (double)a->bias_rate);
    return FUL_OK;
}

ful_status ful__linear_router_create(const ful__router_type *type, const char *name, const ful_moe_attr *attr, int d,
                                     bool frozen, ful__router **out)
{
    FUL_TRY(check(type, name, attr, frozen));
    ful__linear_router *lr;
    FUL_TRY(ful__router_alloc(type, name, attr, d, sizeof *lr, &lr));
    ful__router *r = &lr->base;
    const float init = attr->router_init >= 0 ? attr->router_init : attr->noisy ? 0 : default_init;
    lr->weight = r->n_params;
    ful__router_add_param(r, "weight", 2, r->e, d, init > 0 ? FUL_INIT_NORMAL : FUL_INIT_ZEROS, init, !frozen);
    lr->noise = attr->noisy ? r->n_params : -1;
    if (attr->noisy) ful__router_add_param(r, "noise", 2, r->e, d, FUL_INIT_ZEROS, 0, true);
    lr->bias = attr->bias_rate > 0 ? r->n_params : -1;
    if (attr->bias_rate > 0) ful__router_add_param(r, "bias", 1, r->e, 0, FUL_INIT_ZEROS, 0, false);
    lr->transforms = attr->router_input != FUL_ROUTER_INPUT_RAW || attr->jitter > 0;
    r->balance = !frozen;
    r->macs_per_token = (int64_t)r->e * d;
    const scratch_view scratch = scratch_of(lr, NULL, 0);
    r->saved_per_token = (size_t)saved_of(r, NULL, 0).floats_per_token * sizeof(float);
    r->scratch_fixed = scratch.fixed_floats * sizeof(float);
    r->scratch_per_token = scratch.floats_per_token * sizeof(float);
    *out = r;
    return FUL_OK;
}

/* Forward ------------------------------------------------------------------------------------------------------------- */

typedef struct linear_job {
    const ful__linear_router *lr;
    const ful__router_run *run;
    const ful__gating *gating;
    saved_view saved;
    scratch_view scratch;
    ful__stream noise, jitter;
    float tau;
    ful__lowest bad; /* token whose logits are not finite */
} linear_job;

static void job_init(linear_job *job, const ful__router *r, const ful__router_run *run, const ful__gating *gating)
{
    *job = (linear_job){.lr = (const ful__linear_router *)r, .run = run, .gating = gating};
    if (run->train) job->saved = saved_of(r, run->saved, run->t);
    job->scratch = scratch_of(job->lr, run->scratch, run->t);
    job->noise = ful__stream_make(run->seed, "router-noise", r->name);
    job->jitter = ful__stream_make(run->seed, "router-jitter", r->name);
    job->tau = ful__router_temperature(&r->attr, run->progress);
    ful__lowest_init(&job->bad);
}

/* Draws of a token have an address of their own, whatever the batch. */
static uint64_t draw_step(const ful__router_run *run, int64_t t)
{
    return run->step << 32 | (run->token_id ? run->token_id[t] : (uint32_t)t);
}

static void jitter_factors(const linear_job *job, int64_t begin, int64_t rows, float *factor)
{
    const float j = job->lr->base.attr.jitter;
    const int d = job->lr->base.d;
    for (int64_t t = 0; t < rows; t++)
        ful__rng_fill_uniform(job->jitter, draw_step(job->run, begin + t), 1 - j, 1 + j, factor + t * d, (size_t)d);
}

static void multiply(float *x, const float *factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] *= factor[i];
}

/* u = jitter * transform(x); du is free here and holds the factors. */
static void input_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const linear_job *job = ctx;
    const ful__router *r = &job->lr->base;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin), at = begin * r->d;
    ful__input_rows(r->attr.router_input, job->run->x + at, rows, r->d, job->scratch.u + at, job->scratch.stat + begin * 2);
    if (job->run->train && r->attr.jitter > 0) {
        jitter_factors(job, begin, rows, job->scratch.du + at);
        multiply(job->scratch.u + at, job->scratch.du + at, rows * r->d);
    }
}

static const float *router_input(linear_job *job)
{
    if (!job->lr->transforms) return job->run->x;
    ful__parallel_for(ful__rows_chunks(job->run->t), input_chunk, job);
    return job->scratch.u;
}

/* ln(1 + e^x) without loss for x far below 0. */
static float softplus(float x)
{
    const float small = ful__exp(-fabsf(x)), w = 1 + small;
    float log_w;
    ful__log_array(&w, &log_w, 1);
    const float log1p = w == 1 ? small : log_w * small / (w - 1);
    return (x > 0 ? x : 0) + log1p;
}

/* H = clean + noise for the rows of a chunk; z is memory for the draws. */
static void add_noise(const linear_job *job, int64_t begin, int64_t rows, float *logits, float *z)
{
    const ful__router *r = &job->lr->base;
    const int64_t at = begin * r->e, n = rows * r->e;
    float *sd = job->saved.noise_sd ? job->saved.noise_sd + at : NULL;
    const float common_sd = r->attr.noise_std / (float)r->e;
    if (job->saved.clean) {
        memcpy(job->saved.clean + at, logits, (size_t)n * sizeof *logits);
        memset(job->saved.dclean + at, 0, (size_t)n * sizeof *logits);
        if (job->saved.dnoise_sd) memset(job->saved.dnoise_sd + at, 0, (size_t)n * sizeof *logits);
    }
    for (int64_t i = 0; sd && i < n; i++) sd[i] = r->attr.noisy ? softplus(sd[i]) : common_sd;
    for (int64_t t = 0; t < rows; t++)
        ful__rng_fill_normal(job->noise, draw_step(job->run, begin + t), 1, z + t * r->e, (size_t)r->e);
    for (int64_t i = 0; i < n; i++) logits[i] += (sd ? sd[i] : common_sd) * z[i];
}

/* What top-k ranks: the logits, unless a bias or a noise for the choice alone is added. */
static const float *choice_scores(const linear_job *job, int64_t begin, int64_t rows, const float *logits, const float *prob)
{
    const ful__router *r = &job->lr->base;
    float *choice = job->scratch.choice + begin * r->e;
    if (job->lr->bias >= 0) {
        const float *bias = job->run->w[job->lr->bias];
        if (job->gating->rank)
            job->gating->rank(logits, rows * r->e, choice);
        else
            memcpy(choice, prob, (size_t)(rows * r->e) * sizeof *choice);
        for (int64_t i = 0; i < rows * r->e; i++) choice[i] += bias[i % r->e];
        return choice;
    }
    if (!job->run->train || !has_choice_noise(&r->attr)) return logits;
    for (int64_t t = 0; t < rows; t++)
        ful__rng_fill_uniform(job->noise, draw_step(job->run, begin + t), 0, r->attr.noise_std, choice + t * r->e,
                              (size_t)r->e);
    for (int64_t i = 0; i < rows * r->e; i++) choice[i] += logits[i];
    return choice;
}

static void route_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    linear_job *job = ctx;
    const ful__router_run *run = job->run;
    const ful__router *r = &job->lr->base;
    int64_t begin;
    const int64_t rows = ful__rows_of(run->t, chunk, &begin);
    float *logits = run->logits + begin * r->e, *prob = run->prob + begin * r->e;
    for (int64_t i = 0; job->tau != 1 && i < rows * r->e; i++) logits[i] /= job->tau;
    if (run->train && has_noise(&r->attr)) add_noise(job, begin, rows, logits, prob);
    const int64_t bad = job->gating->score(logits, rows, r->e, prob);
    if (bad >= 0) {
        ful__lowest_keep(&job->bad, begin + bad);
        return;
    }
    int32_t *expert = run->expert + begin * r->k;
    if (!ful__top_k_rows(choice_scores(job, begin, rows, logits, prob), rows, r->e, r->k, expert, NULL)) {
        ful__lowest_keep(&job->bad, begin);
        return;
    }
    job->gating->gate(r, logits, prob, expert, rows, run->gate + begin * r->k);
}

ful_status ful__linear_router_forward(ful__router *r, const ful__router_run *run, const ful__gating *gating)
{
    linear_job job;
    job_init(&job, r, run, gating);
    const float *u = router_input(&job);
    ful__project(u, run->t, r->d, r->e, run->w[job.lr->weight], job.scratch.packed, run->logits);
    if (run->train && r->attr.noisy)
        ful__project(u, run->t, r->d, r->e, run->w[job.lr->noise], job.scratch.packed, job.saved.noise_sd);
    ful__parallel_for(ful__rows_chunks(run->t), route_chunk, &job);
    const int64_t bad = ful__lowest_get(&job.bad);
    return bad < 0 ? FUL_OK : ful__router_not_finite(r, bad);
}

/* Backward ------------------------------------------------------------------------------------------------------------ */

/* dH, then through the noise (H = clean + sd z, sd = softplus(raw), d sd/d raw = 1 - e^-sd) and the temperature. */
static void dlogits_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const linear_job *job = ctx;
    const ful__router_run *run = job->run;
    const ful__router *r = &job->lr->base;
    int64_t begin;
    const int64_t rows = ful__rows_of(run->t, chunk, &begin), at = begin * r->e, n = rows * r->e, pair = begin * r->k;
    float *dl = job->scratch.dlogits + at;
    job->gating->backward(r, run->logits + at, run->prob + at, run->expert + pair, run->gate + pair, run->dgate + pair,
                          run->dprob_extra ? run->dprob_extra + at : NULL, rows, dl);
    for (int64_t i = 0; run->dlogits_extra && i < n; i++) dl[i] += run->dlogits_extra[at + i];
    if (r->attr.noisy) {
        float *draw = job->scratch.draw + at;
        const float *sd = job->saved.noise_sd + at;
        for (int64_t t = 0; t < rows; t++)
            ful__rng_fill_normal(job->noise, draw_step(run, begin + t), 1, draw + t * r->e, (size_t)r->e);
        for (int64_t i = 0; i < n; i++) {
            const float dsd = job->saved.dnoise_sd ? job->saved.dnoise_sd[at + i] : 0;
            draw[i] = (dl[i] * draw[i] + dsd) * (1 - ful__exp(-sd[i]));
        }
    }
    for (int64_t i = 0; job->saved.dclean && i < n; i++) dl[i] += job->saved.dclean[at + i];
    for (int64_t i = 0; job->tau != 1 && i < n; i++) dl[i] /= job->tau;
}

/* dx += through jitter and transform; u is free here and holds the factors. */
static void dinput_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const linear_job *job = ctx;
    const ful__router *r = &job->lr->base;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->run->t, chunk, &begin), at = begin * r->d;
    if (r->attr.jitter > 0) {
        jitter_factors(job, begin, rows, job->scratch.u + at);
        multiply(job->scratch.du + at, job->scratch.u + at, rows * r->d);
    }
    ful__input_rows_backward(r->attr.router_input, job->run->x + at, job->scratch.stat + begin * 2, job->scratch.du + at, rows,
                             r->d, job->run->dx + at);
}

void ful__linear_router_backward(ful__router *r, const ful__router_run *run, const ful__gating *gating)
{
    linear_job job;
    job_init(&job, r, run, gating);
    const ful__linear_router *lr = job.lr;
    const scratch_view *s = &job.scratch;
    ful__parallel_for(ful__rows_chunks(run->t), dlogits_chunk, &job);
    const bool learns = run->dw && run->dw[lr->weight];
    const float *u = lr->transforms || learns || lr->noise >= 0 ? router_input(&job) : NULL;
    if (learns) ful__weight_gradient(s->dlogits, u, run->t, r->d, r->e, s->gradient, run->dw[lr->weight]);
    if (lr->noise >= 0 && run->dw && run->dw[lr->noise])
        ful__weight_gradient(s->draw, u, run->t, r->d, r->e, s->gradient, run->dw[lr->noise]);
    if (!run->dx) return;
    float *du = lr->transforms ? s->du : run->dx;
    ful__project_back(s->dlogits, run->t, r->d, r->e, run->w[lr->weight], s->packed, du, !lr->transforms);
    if (lr->noise >= 0) ful__project_back(s->draw, run->t, r->d, r->e, run->w[lr->noise], s->packed, du, true);
    if (lr->transforms) ful__parallel_for(ful__rows_chunks(run->t), dinput_chunk, &job);
}

/* Hooks --------------------------------------------------------------------------------------------------------------- */

/* Card D5: b_e += u sign(mean - c_e), in integers so that equal loads move nothing. */
void ful__linear_router_after_step(ful__router *r, float *const *w, const int64_t *chosen)
{
    const ful__linear_router *lr = (const ful__linear_router *)r;
    if (lr->bias < 0) return;
    int64_t total = 0;
    for (int j = 0; j < r->e; j++) total += chosen[j];
    for (int j = 0; j < r->e; j++) {
        const int64_t lack = total - chosen[j] * r->e;
        w[lr->bias][j] += r->attr.bias_rate * (float)((lack > 0) - (lack < 0));
    }
}

void ful__linear_router_noise(const ful__router *r, const ful__router_run *run, ful__balance_run *out)
{
    if (!run->train || !has_load_loss(r)) return;
    const saved_view saved = saved_of(r, run->saved, run->t);
    out->noise_sd = saved.noise_sd;
    out->clean_logits = saved.clean;
    out->dclean = saved.dclean;
    out->dnoise_sd = saved.dnoise_sd;
}
