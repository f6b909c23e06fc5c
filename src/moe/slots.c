/* SPDX-License-Identifier: Apache-2.0 */
/* Dispatch and combine for soft routes. */
#include "moe/slots.h"

#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "moe/vec.h"

typedef struct job {
    const ful__slots *s;
    const ful__vec *f;
    const float *weight, *x, *in;
    float *out, *dweight;
} job;

static int64_t slot_count(const ful__slots *s)
{
    return (int64_t)s->e * s->p;
}

static int64_t row_of(const ful__slots *s, int64_t group, int64_t slot)
{
    return (slot / s->p * s->groups + group) * s->p + slot % s->p;
}

/* out_s = sum over the group's t of weight_ts in_t; a piece is one slot of one group. */
static void mix_in_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t n_slots = slot_count(j->s), w = j->s->width;
    const int64_t group = chunk / n_slots, slot = chunk % n_slots;
    float *out = j->out + row_of(j->s, group, slot) * w;
    memset(out, 0, (size_t)w * sizeof(float));
    for (int64_t t = group * j->s->m; t < (group + 1) * j->s->m; t++)
        j->f->add_scaled(out, j->weight[t * n_slots + slot], j->in + t * w, out, w);
}

static void mix_in(const ful__slots *s, const float *weight, const float *in, float *out)
{
    job j = {.s = s, .f = ful__vec_get(), .weight = weight, .in = in, .out = out};
    ful__parallel_for(s->groups * slot_count(s), mix_in_piece, &j);
}

enum { TOKENS_A_PIECE = 16 };

/* For the tokens of a piece, out_t = x_t + sum_s weight_ts in_s where out is wanted (x NULL: the sum alone), dweight_ts = <x_t,
 * in_s> where that is. */
static void mix_out_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t n_slots = slot_count(j->s), w = j->s->width, tokens = j->s->groups * j->s->m;
    const int64_t end = (chunk + 1) * TOKENS_A_PIECE < tokens ? (chunk + 1) * TOKENS_A_PIECE : tokens;
    for (int64_t t = chunk * TOKENS_A_PIECE; t < end; t++) {
        const float *sum = j->x ? j->x + t * w : NULL;
        for (int64_t slot = 0; slot < n_slots; slot++) {
            const float *in = j->in + row_of(j->s, t / j->s->m, slot) * w;
            if (j->dweight) j->dweight[t * n_slots + slot] = j->f->dot(j->x + t * w, in, w);
            if (!j->out) continue;
            if (sum)
                j->f->add_scaled(sum, j->weight[t * n_slots + slot], in, j->out + t * w, w);
            else
                j->f->scale(in, j->weight[t * n_slots + slot], j->out + t * w, w);
            sum = j->out + t * w;
        }
    }
}

static void mix_out(job *j)
{
    j->f = ful__vec_get();
    ful__parallel_for((j->s->groups * j->s->m + TOKENS_A_PIECE - 1) / TOKENS_A_PIECE, mix_out_piece, j);
}

void ful__slots_dispatch(const ful__slots *s, const float *dispatch, const float *x, float *z)
{
    mix_in(s, dispatch, x, z);
}

void ful__slots_combine(const ful__slots *s, const float *combine, const float *x, const float *o, float *y)
{
    mix_out(&(job){.s = s, .weight = combine, .x = x, .in = o, .out = y});
}

void ful__slots_combine_backward(const ful__slots *s, const float *combine, const float *dy, const float *o, float *d_o,
                                 float *dcombine)
{
    mix_in(s, combine, dy, d_o);
    mix_out(&(job){.s = s, .x = dy, .in = o, .dweight = dcombine});
}

void ful__slots_dispatch_backward(const ful__slots *s, const float *dispatch, const float *x, const float *dy, const float *dz,
                                  float *dx, float *ddispatch)
{
    mix_out(&(job){.s = s, .x = x, .in = dz, .dweight = ddispatch});
    if (dx) mix_out(&(job){.s = s, .weight = dispatch, .x = dy, .in = dz, .out = dx});
}

static double mean_norm(const ful__vec *f, const float *x, int64_t rows, int64_t width)
{
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) sum += sqrt((double)f->dot(x + r * width, x + r * width, width));
    return sum / (double)rows;
}

double ful__slots_norm(const ful__slots *s, const float *x, const float *z)
{
    const ful__vec *f = ful__vec_get();
    const double tokens = mean_norm(f, x, s->groups * s->m, s->width);
    return tokens > 0 ? mean_norm(f, z, s->groups * slot_count(s), s->width) / tokens : 0;
}
