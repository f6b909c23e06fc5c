/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer-norm, set by set: a set is what one mean is over, a position or an image. Mean, variance (of the deviations from that
 * mean) and result are three passes over a set, which stays in a cache. Sets are independent; only dgamma and dbeta are sums
 * over all of them, taken in chunks of sets.
 */
#include "ops/layernorm/layernorm.h"

#include <math.h>

#include "ops/slabs.h"

/* A set as matrices [rows][width] of channels, one a group; and, for plain sums over it, as few contiguous pieces. */
typedef struct ln_set {
    int64_t rows, group_stride;
    int groups, width;
    int64_t pieces, piece, piece_stride;
} ln_set;

typedef struct ln_kernels {
    float (*mean)(const ln_set *s, const float *x);
    double (*variance)(const ln_set *s, const float *x, float mean);
    void (*apply)(const ln_set *s, const float *x, float mean, float rstd, const float *gamma, const float *beta, float *y);
    /* adds to dgamma and dbeta; dx may be NULL, or dy, or more, which is added to it where not NULL */
    void (*backward)(const ln_set *s, const float *x, const float *dy, float mean, float rstd, const float *gamma,
                     float *dgamma, float *dbeta, const float *more, float *dx);
} ln_kernels;

#define SIMD_KERNELS "ops/layernorm/layernorm_kernels.h"
#include "ops/simd_levels.h"

typedef struct ln_pass {
    const ln_kernels *kernels;
    const ful__run *run;
    double eps;
    bool affine;
    const float *gamma, *beta;
    ful__slabs slabs; /* image by image */
    ln_set set;
    int64_t sets, sets_per_image, chunks;
    int c;
    double *sums;   /* [chunks][2][c]: dgamma, dbeta */
    float *partial; /* [chunks][2][c] of the sets since the last flush */
} ln_pass;

/* Sets of one position are so many to a flush; an image is flushed by itself. */
enum { FLUSH_VALUES = 1 << 16 };

size_t ful__layernorm_scratch_bytes(const ful__layernorm *ln, int n_max, bool train)
{
    const size_t c = (size_t)ln->base.x[0].c, chunks = ful__chunks_bound(n_max * ful__count(ln->base.x[0]));
    const size_t constants = ln->attr.affine ? 0 : 2 * c * sizeof(float);
    return constants + (train ? chunks * 2 * c * (sizeof(double) + sizeof(float)) : 0);
}

static ln_set set_of(const ful__slabs *s, ful_norm_scope scope)
{
    ln_set set = {.rows = s->rows, .group_stride = s->rows * s->width, .groups = s->groups, .width = s->width, .pieces = 1};
    set.piece = s->groups * s->rows * s->width;
    if (scope == FUL_NORM_IMAGE) return set;
    set.rows = 1;
    set.pieces = s->groups;
    set.piece = s->width;
    set.piece_stride = set.group_stride;
    return set;
}

static ln_pass begin(const ful__op *op, const ful__run *run)
{
    const ful__layernorm *ln = (const ful__layernorm *)op;
    ln_pass p = {.kernels = SIMD_PICK(kernels), .run = run, .eps = (double)ln->attr.eps, .affine = ln->attr.affine};
    p.c = op->x[0].c;
    p.slabs = ful__slabs_per_image(op->x[0], op->x_layout[0], ln->block, run->n);
    p.set = set_of(&p.slabs, ln->attr.scope);
    p.sets_per_image = ln->attr.scope == FUL_NORM_IMAGE ? 1 : p.slabs.rows;
    p.sets = run->n * p.sets_per_image;
    const int64_t want = run->n * ful__count(op->x[0]) / FUL__CHUNK_FLOATS,
                  most = want < FUL__CHUNKS_MAX ? want : FUL__CHUNKS_MAX;
    p.chunks = most < 1 ? 1 : most < p.sets ? most : p.sets;
    float *scratch = run->scratch;
    if (p.affine) {
        p.gamma = run->w[FUL__LN_GAMMA];
        p.beta = run->w[FUL__LN_BETA];
    } else {
        for (int j = 0; j < p.c; j++) {
            scratch[j] = 1;
            scratch[p.c + j] = 0;
        }
        p.gamma = scratch;
        p.beta = scratch + p.c;
        scratch += 2 * p.c;
    }
    p.sums = (double *)(void *)scratch;
    p.partial = (float *)(p.sums + p.chunks * 2 * p.c);
    return p;
}

/* Where set i begins. */
static int64_t set_at(const ln_pass *p, int64_t i)
{
    const ful__slabs *s = &p->slabs;
    return ful__slab_at(s, i / p->sets_per_image, 0, i % p->sets_per_image);
}

/* Sets that go through a pass one after the other: each pass ends in a chain of a few long operations, which the processor
 * then has under way for several sets; but they must stay in the first-level cache. */
enum { TOGETHER = 8, TOGETHER_FLOATS = 4096 };

static void forward_sets(const ln_pass *p, int64_t first, int64_t count)
{
    float *saved = p->run->train ? p->run->saved : NULL; /* [sets][mean, rstd] */
    int64_t at[TOGETHER];
    float mean[TOGETHER], rstd[TOGETHER];
    for (int64_t i = 0; i < count; i++) {
        at[i] = set_at(p, first + i);
        mean[i] = p->kernels->mean(&p->set, p->run->x[0] + at[i]);
    }
    for (int64_t i = 0; i < count; i++)
        rstd[i] = (float)(1 / sqrt(p->kernels->variance(&p->set, p->run->x[0] + at[i], mean[i]) + p->eps));
    for (int64_t i = 0; i < count; i++)
        p->kernels->apply(&p->set, p->run->x[0] + at[i], mean[i], rstd[i], p->gamma, p->beta, p->run->y + at[i]);
    for (int64_t i = 0; saved && i < count; i++) {
        saved[2 * (first + i)] = mean[i];
        saved[2 * (first + i) + 1] = rstd[i];
    }
}

static void forward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const ln_pass *p = ctx;
    const int64_t fit = TOGETHER_FLOATS / (p->set.pieces * p->set.piece);
    const int64_t together = fit < 1 ? 1 : fit < TOGETHER ? fit : TOGETHER;
    int64_t i, end;
    for (ful__share(p->sets, p->chunks, chunk, &i, &end); i < end; i += together)
        forward_sets(p, i, end - i < together ? end - i : together);
}

ful_status ful__layernorm_forward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    ln_pass p = begin(op, run);
    ful__parallel_for(p.chunks, forward_piece, &p);
    return FUL_OK;
}

static void flush(double *sums, float *partial, int count)
{
    for (int j = 0; j < count; j++) {
        sums[j] += (double)partial[j];
        partial[j] = 0;
    }
}

static void backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const ln_pass *p = ctx;
    const float *saved = p->run->saved;
    double *sums = p->sums + chunk * 2 * p->c;
    float *partial = p->partial + chunk * 2 * p->c, *dx = p->run->dx[0];
    const float *more = dx ? p->run->dx_more : NULL;
    for (int j = 0; j < 2 * p->c; j++) sums[j] = partial[j] = 0;
    const int64_t together = 1 + FLUSH_VALUES / 2 / ((int64_t)p->set.pieces * p->set.piece);
    int64_t i, end;
    for (ful__share(p->sets, p->chunks, chunk, &i, &end); i < end; i++) {
        const int64_t at = set_at(p, i);
        p->kernels->backward(&p->set, p->run->x[0] + at, p->run->dy + at, saved[2 * i], saved[2 * i + 1], p->gamma, partial,
                             partial + p->c, more ? more + at : NULL, dx ? dx + at : NULL);
        if (i % together == 0) flush(sums, partial, 2 * p->c);
    }
    flush(sums, partial, 2 * p->c);
}

ful_status ful__layernorm_backward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    ln_pass p = begin(op, run);
    ful__parallel_for(p.chunks, backward_piece, &p);
    for (int j = 0; p.affine && j < p.c; j++) {
        double dgamma = 0, dbeta = 0;
        for (int64_t k = 0; k < p.chunks; k++) {
            dgamma += p.sums[k * 2 * p.c + j];
            dbeta += p.sums[k * 2 * p.c + p.c + j];
        }
        run->dw[FUL__LN_GAMMA][j] += (float)dgamma;
        run->dw[FUL__LN_BETA][j] += (float)dbeta;
    }
    return FUL_OK;
}
