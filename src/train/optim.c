/* SPDX-License-Identifier: Apache-2.0 */
/* SGD, AdamW, clipping and the averaged weights; formulas in the header. */
#include "train/optim.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/parallel.h"

enum { PIECE = 8192, LANES = 8 };

/* PIECE values of one tensor, and its share of the state. grad NULL: a buffer, which only the average follows. */
typedef struct piece {
    float *value, *grad, *first, *second, *average;
    int count, tensor;
    bool decay;
    double square; /* sum of squared gradients */
} piece;

/* The numbers of one step. */
typedef struct numbers {
    float lr, scale, decay, momentum, beta1, beta2, eps, step_size, root, average;
    bool nesterov;
} numbers;

struct ful__optim {
    ful_train_config config;
    ful_tensor *tensors;
    int n_tensors, n_pieces, n_states;
    piece *pieces;
    ful__optim_state *states;
    ful__pages memory;
    numbers now;
};

/* Creation -------------------------------------------------------------------------------------------------------------- */

static int states_of(const ful_train_config *config, const ful_tensor *t)
{
    const int moments = config->optimizer == FUL_OPT_ADAMW ? 2 : config->momentum > 0 ? 1 : 0;
    return (t->grad ? moments : 0) + (config->ema > 0 ? 1 : 0);
}

static ful_status allocate(ful__optim *o, const ful_tensor *tensors, int n)
{
    size_t pieces = 0, states = 0, floats = 0;
    for (int i = 0; i < n; i++) {
        const size_t count = (size_t)tensors[i].count, own = (size_t)states_of(&o->config, &tensors[i]);
        pieces += (count + PIECE - 1) / PIECE;
        states += own;
        floats += own * (ful__align64(count * sizeof(float)) / sizeof(float));
    }
    FUL_TRY(ful__calloc(&o->tensors, (size_t)n, sizeof *o->tensors, "the optimiser's tensors"));
    FUL_TRY(ful__calloc(&o->pieces, pieces, sizeof *o->pieces, "the optimiser's pieces"));
    FUL_TRY(ful__calloc(&o->states, states, sizeof *o->states, "the optimiser's states"));
    if (floats > 0) FUL_TRY(ful__pages_alloc(&o->memory, floats * sizeof(float), "the optimiser's state"));
    if (n > 0) memcpy(o->tensors, tensors, (size_t)n * sizeof *tensors);
    o->n_tensors = n;
    return FUL_OK;
}

static float *add_state(ful__optim *o, const char *kind, const ful_tensor *t, float **free_floats)
{
    float *value = *free_floats;
    *free_floats += ful__align64((size_t)t->count * sizeof(float)) / sizeof(float);
    o->states[o->n_states++] = (ful__optim_state){.kind = kind, .tensor = t, .value = value};
    return value;
}

static float *at(float *base, int64_t i)
{
    return base ? base + i : NULL;
}

static void lay_out(ful__optim *o)
{
    float *memory = o->memory.ptr;
    const bool adam = o->config.optimizer == FUL_OPT_ADAMW;
    for (int i = 0; i < o->n_tensors; i++) {
        const ful_tensor *t = &o->tensors[i];
        float *first = NULL, *second = NULL, *average = NULL;
        if (t->grad && adam) first = add_state(o, "optim.exp_avg", t, &memory);
        if (t->grad && adam) second = add_state(o, "optim.exp_avg_sq", t, &memory);
        if (t->grad && !adam && o->config.momentum > 0) first = add_state(o, "optim.momentum", t, &memory);
        if (o->config.ema > 0) average = add_state(o, "ema", t, &memory);
        if (average) memcpy(average, t->value, (size_t)t->count * sizeof(float));
        for (int64_t begin = 0; begin < t->count; begin += PIECE) {
            const int64_t left = t->count - begin;
            o->pieces[o->n_pieces++] = (piece){.value = t->value + begin,
                                               .grad = at(t->grad, begin),
                                               .first = at(first, begin),
                                               .second = at(second, begin),
                                               .average = at(average, begin),
                                               .count = (int)(left < PIECE ? left : PIECE),
                                               .tensor = i,
                                               .decay = t->decay};
        }
    }
}

ful_status ful__optim_create(const ful_train_config *config, const ful_tensor *tensors, int n, ful__optim **out)
{
    *out = NULL;
    ful__optim *o = NULL;
    FUL_TRY(ful__calloc(&o, 1, sizeof *o, "an optimiser"));
    o->config = *config;
    const ful_status status = allocate(o, tensors, n);
    if (status != FUL_OK) {
        ful__optim_destroy(&o);
        return status;
    }
    lay_out(o);
    *out = o;
    return FUL_OK;
}

void ful__optim_destroy(ful__optim **optim)
{
    ful__optim *o = *optim;
    if (!o) return;
    ful__free(o->tensors);
    ful__free(o->pieces);
    ful__free(o->states);
    ful__pages_free(&o->memory);
    ful__free(o);
    *optim = NULL;
}

/* Kernels ---------------------------------------------------------------------------------------------------------------- */

/* Sum of squares in double, in LANES interleaved sums that are added in order. */
static double sum_of_squares(const float *restrict g, int n)
{
    double lane[LANES] = {0}, sum = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += (double)g[i + j] * (double)g[i + j];
    for (; i < n; i++) lane[i % LANES] += (double)g[i] * (double)g[i];
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

static void sgd(float *restrict w, float *restrict g, const numbers *p, float decay, int n)
{
    const float lr = p->lr, s = p->scale;
    for (int i = 0; i < n; i++) {
        w[i] -= lr * (s * g[i] + decay * w[i]);
        g[i] = 0;
    }
}

static void sgd_momentum(float *restrict w, float *restrict g, float *restrict m, const numbers *p, float decay, int n)
{
    const float lr = p->lr, s = p->scale, mu = p->momentum;
    for (int i = 0; i < n; i++) {
        m[i] = mu * m[i] + (s * g[i] + decay * w[i]);
        w[i] -= lr * m[i];
        g[i] = 0;
    }
}

static void sgd_nesterov(float *restrict w, float *restrict g, float *restrict m, const numbers *p, float decay, int n)
{
    const float lr = p->lr, s = p->scale, mu = p->momentum;
    for (int i = 0; i < n; i++) {
        const float d = s * g[i] + decay * w[i];
        m[i] = mu * m[i] + d;
        w[i] -= lr * (d + mu * m[i]);
        g[i] = 0;
    }
}

static void adamw(float *restrict w, float *restrict g, float *restrict m, float *restrict v, const numbers *p, float decay,
                  int n)
{
    const float s = p->scale, b1 = p->beta1, b2 = p->beta2, eps = p->eps, size = p->step_size, root = p->root;
    const float keep = 1 - p->lr * decay;
    for (int i = 0; i < n; i++) {
        const float d = s * g[i];
        m[i] = b1 * m[i] + (1 - b1) * d;
        v[i] = b2 * v[i] + (1 - b2) * (d * d);
        w[i] = w[i] * keep - size * (m[i] / (sqrtf(v[i]) * root + eps));
        g[i] = 0;
    }
}

static void follow(float *restrict a, const float *restrict w, float rate, int n)
{
    for (int i = 0; i < n; i++) a[i] += rate * (w[i] - a[i]);
}

/* The step -------------------------------------------------------------------------------------------------------------- */

static void measure_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    piece *p = &((ful__optim *)ctx)->pieces[chunk];
    p->square = p->grad ? sum_of_squares(p->grad, p->count) : 0;
}

static void update_piece(void *ctx, int64_t chunk, int thread)
{
    const ful__optim *o = ctx;
    const numbers *now = &o->now;
    piece *p = &o->pieces[chunk];
    const float decay = p->decay ? now->decay : 0;
    if (o->config.clip_norm == 0) measure_piece(ctx, chunk, thread); /* while it is on its way through the cache */
    if (!p->grad)
        ;
    else if (p->second)
        adamw(p->value, p->grad, p->first, p->second, now, decay, p->count);
    else if (p->first && now->nesterov)
        sgd_nesterov(p->value, p->grad, p->first, now, decay, p->count);
    else if (p->first)
        sgd_momentum(p->value, p->grad, p->first, now, decay, p->count);
    else
        sgd(p->value, p->grad, now, decay, p->count);
    if (p->average) follow(p->average, p->value, now->average, p->count);
}

static double gradient_norm(const ful__optim *o)
{
    double sum = 0;
    for (int i = 0; i < o->n_pieces; i++) sum += o->pieces[i].square;
    return sqrt(sum);
}

static void set_numbers(ful__optim *o, double lr, int64_t step)
{
    const ful_train_config *c = &o->config;
    const double t = (double)step + 1, young = (1 + t) / (10 + t);
    const double decay = c->ema < young ? c->ema : young;
    o->now = (numbers){.lr = (float)lr,
                       .scale = 1,
                       .decay = (float)c->weight_decay,
                       .momentum = (float)c->momentum,
                       .beta1 = (float)c->beta1,
                       .beta2 = (float)c->beta2,
                       .eps = (float)c->eps,
                       .step_size = (float)(lr / (1 - pow(c->beta1, t))),
                       .root = (float)(1 / sqrt(1 - pow(c->beta2, t))),
                       .average = (float)(1 - decay),
                       .nesterov = c->nesterov};
}

static ful_status blame(const ful__optim *o)
{
    for (int i = 0; i < o->n_pieces; i++)
        if (!isfinite(o->pieces[i].square))
            return ful__fail(FUL_ERR_NUMERIC, "cannot go on training with the gradient of '%s': it became NaN or infinite",
                             o->tensors[o->pieces[i].tensor].name);
    return ful__fail(FUL_ERR_NUMERIC, "cannot go on training: the norm of all gradients is beyond the range of numbers");
}

ful_status ful__optim_step(ful__optim *o, double lr, int64_t step, double *norm_out)
{
    const double limit = o->config.clip_norm;
    set_numbers(o, lr, step);
    if (limit > 0) {
        ful__parallel_for(o->n_pieces, measure_piece, o);
        const double shrink = limit / (gradient_norm(o) + 1e-6);
        if (shrink < 1) o->now.scale = (float)shrink;
    }
    ful__parallel_for(o->n_pieces, update_piece, o);
    *norm_out = gradient_norm(o);
    return isfinite(*norm_out) ? FUL_OK : blame(o);
}

/* Averaged weights and state --------------------------------------------------------------------------------------------- */

static void swap_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const piece *p = &((ful__optim *)ctx)->pieces[chunk];
    for (int i = 0; i < p->count; i++) {
        const float held = p->value[i];
        p->value[i] = p->average[i];
        p->average[i] = held;
    }
}

void ful__optim_swap_average(ful__optim *o)
{
    if (ful__optim_has_average(o)) ful__parallel_for(o->n_pieces, swap_piece, o);
}

bool ful__optim_has_average(const ful__optim *o)
{
    return o->config.ema > 0;
}

int ful__optim_state_count(const ful__optim *o)
{
    return o->n_states;
}

ful__optim_state ful__optim_state_at(const ful__optim *o, int i)
{
    return o->states[i];
}
