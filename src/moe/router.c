/* SPDX-License-Identifier: Apache-2.0 */
/* The routers there are, and what all of them share. */
#include "moe/router.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "moe/router_rows.h"
#include "moe/router_types.h"

/* A new router is one file and one line here (doc/adding-a-router.md). */
static const ful__router_type *const types[] = {
    &ful__router_softmax, &ful__router_sigmoid,    &ful__router_random,      &ful__router_hash,
    &ful__router_fixed,   &ful__router_soft_patch, &ful__router_soft_sample, &ful__router_soft_batch,
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static ful_router_about about[N_TYPES + 1];

static void fill_about(void)
{
    for (int i = 0; i < N_TYPES; i++) about[i] = (ful_router_about){types[i]->name, types[i]->about, types[i]->source};
}

const ful_router_about *ful_router_names(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fill_about);
    return about;
}

static const ful__router_type *type_by_name(const char *name)
{
    for (int i = 0; i < N_TYPES; i++)
        if (strcmp(types[i]->name, name) == 0) return types[i];
    return NULL;
}

ful_status ful__router_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out)
{
    *out = NULL;
    const ful__router_type *type = type_by_name(attr->router);
    if (!type) {
        char known[256] = "";
        for (int i = 0; i < N_TYPES; i++)
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", types[i]->name);
        return ful__fail(FUL_ERR_CONFIG, "cannot build router '%s' with router=%.32s: known routers are %s", name, attr->router,
                         known);
    }
    return type->create(name, attr, d, out);
}

void ful__router_destroy(ful__router **r)
{
    if (!*r) return;
    if ((*r)->type->destroy) (*r)->type->destroy(*r);
    ful__free(*r);
    *r = NULL;
}

/* A parameter's name must fit behind it: "<name>.weight". */
enum { NAME_MOST = FUL__OP_NAME_MAX - (int)sizeof ".weight" };

/* For implementers ---------------------------------------------------------------------------------------------------- */

ful_status ful__router_refuse(const ful__router_type *type, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return ful__fail(FUL_ERR_CONFIG, "cannot build router '%s' (%s) with %s", name, type->name, text);
}

static ful_status check_common(const ful__router_type *type, const char *name, const ful_moe_attr *a, int d)
{
    if (strlen(name) > NAME_MOST)
        return ful__router_refuse(type, name, "a name of %zu bytes: must be at most %d", strlen(name), NAME_MOST);
    if (d < 1) return ful__router_refuse(type, name, "d=%d: the width must be at least 1", d);
    if (a->experts < 1 || a->experts > FUL_EXPERTS_MAX)
        return ful__router_refuse(type, name, "experts=%d: must be in 1..%d", a->experts, FUL_EXPERTS_MAX);
    if (a->k < 1 || a->k > a->experts)
        return ful__router_refuse(type, name, "k=%d, experts=%d: k must be in 1..experts", a->k, a->experts);
    if (!(isfinite(a->tau0) && isfinite(a->tau_min) && a->tau_min > 0 && a->tau0 >= a->tau_min))
        return ful__router_refuse(type, name, "tau0=%g, tau_min=%g: both must be above 0, and tau_min at most tau0",
                                  (double)a->tau0, (double)a->tau_min);
    if (!(isfinite(a->noise_std) && a->noise_std >= 0))
        return ful__router_refuse(type, name, "noise_std=%g: must be 0 or more", (double)a->noise_std);
    if (!(a->jitter >= 0 && a->jitter < 1))
        return ful__router_refuse(type, name, "jitter=%g: must be in [0, 1)", (double)a->jitter);
    if (!(isfinite(a->bias_rate) && a->bias_rate >= 0))
        return ful__router_refuse(type, name, "bias_rate=%g: must be 0 or more", (double)a->bias_rate);
    return FUL_OK;
}

ful_status ful__router_alloc(const ful__router_type *type, const char *name, const ful_moe_attr *attr, int d, size_t bytes,
                             void *out_ptr)
{
    FUL_TRY(check_common(type, name, attr, d));
    ful__router *r;
    FUL_TRY(ful__calloc(&r, 1, bytes, "a router"));
    r->type = type;
    snprintf(r->name, sizeof r->name, "%s", name);
    r->attr = *attr;
    r->d = d;
    r->e = attr->experts;
    r->k = attr->k;
    r->kind = FUL__ROUTE_PAIRS;
    r->capacity = r->balance = true;
    memcpy(out_ptr, &r, sizeof r);
    return FUL_OK;
}

ful_status ful__router_plain(const ful__router_type *type, const char *name, const ful_moe_attr *a)
{
    if (a->noisy) return ful__router_refuse(type, name, "noisy=true: this router has no noise to learn");
    if (a->noise_std > 0)
        return ful__router_refuse(type, name, "noise_std=%g: this router takes no noise", (double)a->noise_std);
    if (a->jitter > 0) return ful__router_refuse(type, name, "jitter=%g: this router takes no jitter", (double)a->jitter);
    if (a->bias_rate > 0)
        return ful__router_refuse(type, name, "bias_rate=%g: this router has no bias to learn", (double)a->bias_rate);
    return FUL_OK;
}

void ful__router_add_param(ful__router *r, const char *suffix, int rank, int64_t rows, int64_t columns, ful_init init,
                           float gain, bool trainable)
{
    ful__param *p = &r->params[r->n_params++];
    snprintf(p->name, sizeof p->name, "%.*s.%s", NAME_MOST, r->name, suffix);
    p->rank = rank;
    p->shape[0] = rows;
    p->shape[1] = rank == 2 ? columns : 0;
    p->count = rank == 2 ? rows * columns : rows; /* both are ints, so the product fits */
    p->init = init;
    p->gain = gain;
    p->fan_in = columns;
    p->trainable = trainable;
    p->decay = trainable && rank == 2;
}

ful_status ful__router_not_finite(const ful__router *r, int64_t token)
{
    return ful__fail(FUL_ERR_NUMERIC, "cannot route token %lld with router '%s': its logits are not finite", (long long)token,
                     r->name);
}

/* Top-k --------------------------------------------------------------------------------------------------------------- */

typedef struct top_k_job {
    const float *score;
    int64_t t;
    int e, k;
    int32_t *index_out;
    float *score_out;
    atomic_bool failed;
} top_k_job;

static void top_k_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    top_k_job *job = ctx;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->t, chunk, &begin);
    if (!ful__top_k_rows(job->score + begin * job->e, rows, job->e, job->k, job->index_out + begin * job->k,
                         job->score_out ? job->score_out + begin * job->k : NULL))
        atomic_store(&job->failed, true);
}

bool ful__top_k(const float *score, int64_t t, int e, int k, int32_t *index_out, float *score_out)
{
    top_k_job job = {score, t, e, k, index_out, score_out, false};
    ful__parallel_for(ful__rows_chunks(t), top_k_chunk, &job);
    return !atomic_load(&job.failed);
}
