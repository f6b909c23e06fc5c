/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch-norm, bound by memory: forward reads x twice and writes y; backward reads x and dy twice (y too behind a fused
 * residual and activation) and writes dx. In the blocked layout all goes map by map (op.h), and a convolution beside it may do
 * half of a pass while its own maps are in the cache. Else the tensor is one matrix, cut into chunks of rows.
 *
 * Variance. Each chunk sums x - shift and (x - shift)^2, shift being the mean of its own first rows. The chunk holds
 * those rows too, so (mean - shift)^2 <= var * rows of chunk / rows of shift: the cancellation in E[d^2] - E[d]^2 stays mild
 * whatever the data. Chunks are combined in double (Chan, Golub & LeVeque 1979).
 */
#include "ops/batchnorm/batchnorm.h"

#include <math.h>

#include "core/mem.h"
#include "ops/act_math.h"
#include "ops/slabs.h"

/* What a kernel walks over: a matrix [rows][width]. */
typedef struct bn_span {
    int64_t rows;
    int width;
    bool stream; /* store past the caches (reduce: what it keeps) */
    float *near; /* in a neighbour's work: where the map stands in the cache, or NULL */
} bn_span;

/* Per channel: what apply, reduce and dx need of it. */
typedef struct bn_affine {
    const float *mean, *a, *beta, *m1, *m2;
} bn_affine;

typedef struct bn_sums {
    const float *shift;
    double *s1, *s2;
} bn_sums;

/* Streams of the backward passes. act: to be gone back through. dy_more: a second summand, or NULL. y: what act made, to tell
 * its slope from; NULL: from x. g: where to keep the gradient behind the activation, or NULL. */
typedef struct bn_grad {
    ful_act act;
    const float *x, *dy, *dy_more, *y;
    float *g;
} bn_grad;

enum { BN_AHEAD = 1024 }; /* floats */

typedef struct bn_kernels {
    void (*stats)(const bn_span *s, const float *x, const bn_sums *out);
    void (*apply)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, ful_act act);
    void (*reduce)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out);
    void (*dx)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx);
} bn_kernels;

#define SIMD_KERNELS "ops/batchnorm/batchnorm_kernels.h"
#include "ops/simd_levels.h"

enum { SHIFT_ROWS = 16 };

/* One run, as its parallel pieces see it. */
typedef struct bn_pass {
    const bn_kernels *kernels;
    const ful__run *run;
    ful__slabs slabs;
    ful__cut cut;
    int64_t channels, chunks, pieces;
    /* scratch */
    double *s1, *s2;         /* [chunks][c] sums of each chunk; after stats: mean and sum of squared deviations */
    double *total1, *total2; /* [c] */
    float *shift;            /* [chunks][c] */
    float *m1, *m2;          /* [c] */
    float *rstd, *a;         /* [c], saved in training */
    bn_affine affine;
    bn_grad grad;
    ful_act act;
    bool stream;
} bn_pass;

/* Some rows of an image, and one group, of a chunk. */
typedef struct bn_part {
    int64_t chunk;
    ful__chunk whole; /* the chunk's own range */
    int64_t image, row, row_end;
    int group;
    float *near; /* its map (op.h), or NULL */
} bn_part;

static bool in_maps(const ful__op *op)
{
    return op->x_layout[0] == FUL__BLOCKED && op->x[0].h * op->x[0].w > 1;
}

size_t ful__batchnorm_scratch_bytes(const ful__batchnorm *bn, int n_max, bool train)
{
    const size_t c = (size_t)bn->base.x[0].c;
    size_t chunks = ful__chunks_bound(n_max * ful__count(bn->base.x[0]));
    if (in_maps(&bn->base)) chunks = (size_t)ful__map_chunks(n_max);
    if (!train) chunks = 0;
    return (2 * chunks + 2) * c * sizeof(double) + (chunks + 3) * c * sizeof(float);
}

/*
 * Pieces: a chunk, in `split` shares of its groups where there are more threads than chunks. Within a piece memory is walked in
 * its order. The second pass over the data goes through the pieces backwards, to meet first what the caches still hold.
 */
static int64_t pieces(const bn_pass *p)
{
    const int64_t split = (4 * ful_threads_get() + p->chunks - 1) / p->chunks;
    return p->chunks * (split < p->slabs.groups ? split : p->slabs.groups);
}

static bn_pass begin(ful__op *op, const ful__run *run)
{
    const ful__batchnorm *bn = (const ful__batchnorm *)op;
    bn_pass p = {.kernels = SIMD_PICK(kernels), .run = run};
    if (in_maps(op)) {
        p.slabs = ful__slabs_per_image(op->x[0], FUL__BLOCKED, bn->block, run->n);
        p.cut = (ful__cut){ful__map_chunks(run->n), 1};
    } else {
        p.slabs = ful__slabs_of(op->x[0], op->x_layout[0], bn->block, run->n);
        p.cut = ful__cut_of(&p.slabs);
    }
    p.chunks = ful__cut_chunks(p.cut);
    p.pieces = pieces(&p);
    p.channels = op->x[0].c;
    p.act = bn->attr.act;

    const int64_t c = p.channels, chunks = run->train ? p.chunks : 0;
    p.s1 = run->scratch;
    p.s2 = p.s1 + chunks * c;
    p.total1 = p.s2 + chunks * c;
    p.total2 = p.total1 + c;
    p.m1 = (float *)(p.total2 + c);
    p.m2 = p.m1 + c;
    p.a = p.m2 + c;
    p.shift = p.a + c;
    const float *mean = run->w[FUL__BN_MEAN];
    if (run->train) {
        mean = run->saved;
        p.rstd = (float *)run->saved + c;
        p.a = p.rstd + c;
    }
    p.affine = (bn_affine){.mean = mean, .a = p.a, .beta = run->w[FUL__BN_BETA], .m1 = p.m1, .m2 = p.m2};
    return p;
}

typedef void (*bn_part_fn)(const bn_pass *p, const bn_part *part);

static void each_part(const bn_pass *p, int64_t piece, bn_part_fn work)
{
    const int64_t split = p->pieces / p->chunks;
    bn_part part = {.chunk = piece / split};
    part.whole = ful__chunk_of(&p->slabs, p->cut, part.chunk);
    int64_t group, group_end;
    part.row = part.whole.row;
    part.row_end = part.whole.row_end;
    ful__share(p->slabs.groups, split, piece % split, &group, &group_end);
    for (part.image = part.whole.image; part.image < part.whole.image_end; part.image++)
        for (part.group = (int)group; part.group < group_end; part.group++) work(p, &part);
}

static void each_group(const bn_pass *p, const ful__maps *m, bn_part_fn work)
{
    bn_part part = {.chunk = m->chunk, .row = m->row, .row_end = m->row_end};
    const int64_t map = (m->row_end - m->row) * p->slabs.width;
    part.whole = ful__chunk_of(&p->slabs, p->cut, m->chunk);
    for (part.image = m->image; part.image < m->image_end; part.image++)
        for (part.group = m->group; part.group < m->group_end; part.group++) {
            if (m->near) part.near = m->near + (part.group - m->group) * m->near_block + (part.image - m->image) * map;
            work(p, &part);
        }
}

/* The values of group g's channels. */
static bn_affine affine_of(const bn_pass *p, int group)
{
    const int64_t at = (int64_t)group * p->slabs.width;
    const bn_affine f = p->affine;
    return (bn_affine){f.mean + at, f.a + at, f.beta + at, f.m1 + at, f.m2 + at};
}

static bn_sums sums_of(const bn_pass *p, const bn_part *part)
{
    const int64_t at = part->chunk * p->channels + part->group * p->slabs.width;
    return (bn_sums){p->shift + at, p->s1 + at, p->s2 + at};
}

/* Calls walk for the rows of a part, so many at a time that float sums stay short, that tiles stay in the cache. */
typedef void (*bn_walk_fn)(const bn_pass *p, const bn_span *span, int64_t at, const bn_affine *f, const bn_sums *sums);

static void walk_part(const bn_pass *p, const bn_part *part, int64_t rows_max, bn_walk_fn walk)
{
    const bn_affine f = affine_of(p, part->group);
    const bn_sums sums = sums_of(p, part);
    bn_span span = {.width = p->slabs.width, .stream = p->stream};
    for (int64_t r = part->row; r < part->row_end; r += span.rows) {
        span.rows = part->row_end - r < rows_max ? part->row_end - r : rows_max;
        if (part->near) span.near = part->near + (r - part->row) * span.width;
        walk(p, &span, ful__slab_at(&p->slabs, part->image, part->group, r), &f, &sums);
    }
}

/* Rows a kernel sums in float before it adds to the doubles. */
static int64_t sum_rows(const bn_pass *p)
{
    const int64_t rows = 16384 / p->slabs.width;
    return rows < 64 ? 64 : rows > 1024 ? 1024 : rows;
}

/* Rows of a tile that stays in the first-level cache while strips of its columns go by. */
static int64_t tile_rows(const bn_pass *p)
{
    const int64_t rows = 2048 / p->slabs.width;
    return p->slabs.width <= 64 ? p->slabs.rows : rows < 1 ? 1 : rows; /* one strip: nothing comes back */
}

/* Whether a part is its chunk's first. */
static bool begins(const bn_part *part)
{
    return part->image == part->whole.image && part->row == part->whole.row;
}

static int64_t chunk_rows(const ful__chunk *c)
{
    return (c->image_end - c->image) * (c->row_end - c->row);
}

/* Forward ----------------------------------------------------------------------------------------------------------------- */

static void stats_walk(const bn_pass *p, const bn_span *span, int64_t at, const bn_affine *f, const bn_sums *sums)
{
    (void)f;
    p->kernels->stats(span, span->near ? span->near : p->run->x[0] + at, sums);
}

/* shift = mean of the chunk's first rows; the sums are zero before and after. */
static void find_shift(const bn_pass *p, const bn_part *part, float *shift, const bn_sums *sums)
{
    const int width = p->slabs.width;
    const ful__chunk c = part->whole;
    bn_span first = {.rows = c.row_end - c.row, .width = width};
    if (first.rows > SHIFT_ROWS) first.rows = SHIFT_ROWS;
    memset(shift, 0, (size_t)width * sizeof *shift);
    const float *x = p->run->x[0] + ful__slab_at(&p->slabs, c.image, part->group, c.row);
    p->kernels->stats(&first, part->near ? part->near : x, sums);
    for (int j = 0; j < width; j++) {
        shift[j] = (float)(sums->s1[j] / (double)first.rows);
        sums->s1[j] = sums->s2[j] = 0;
    }
}

static void sum_x(const bn_pass *p, const bn_part *part)
{
    const int width = p->slabs.width;
    const bn_sums sums = sums_of(p, part);
    if (begins(part)) {
        for (int j = 0; j < width; j++) sums.s1[j] = sums.s2[j] = 0;
        find_shift(p, part, p->shift + (sums.shift - p->shift), &sums);
    }
    walk_part(p, part, sum_rows(p), stats_walk);
    if (part->image + 1 != part->whole.image_end || part->row_end != part->whole.row_end) return;
    const double rows = (double)chunk_rows(&part->whole);
    for (int j = 0; j < width; j++) {
        sums.s2[j] -= sums.s1[j] * sums.s1[j] / rows;
        sums.s1[j] = (double)sums.shift[j] + sums.s1[j] / rows;
    }
}

static void stats_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    each_part(ctx, piece, sum_x);
}

/* total1 = mean, total2 = sum of squared deviations from it, over all rows. */
static void combine_stats(const bn_pass *p)
{
    const int64_t c = p->channels, n = p->slabs.images * p->slabs.rows;
    for (int64_t j = 0; j < c; j++) p->total1[j] = p->total2[j] = 0;
    for (int64_t k = 0; k < p->chunks; k++) {
        const ful__chunk chunk = ful__chunk_of(&p->slabs, p->cut, k);
        const double share = (double)chunk_rows(&chunk) / (double)n;
        const double *mean = p->s1 + k * c;
        for (int64_t j = 0; j < c; j++) p->total1[j] += share * mean[j];
    }
    for (int64_t k = 0; k < p->chunks; k++) {
        const ful__chunk chunk = ful__chunk_of(&p->slabs, p->cut, k);
        const double rows = (double)chunk_rows(&chunk);
        const double *mean = p->s1 + k * c, *m2 = p->s2 + k * c;
        for (int64_t j = 0; j < c; j++) {
            const double d = mean[j] - p->total1[j];
            p->total2[j] += m2[j] + rows * d * d;
        }
    }
}

/* Batch statistics to saved, to the running statistics, and to what apply uses. */
static void finish_stats(bn_pass *p, const ful_batchnorm_attr *attr)
{
    float *const *w = p->run->w;
    float *mean = p->run->saved;
    const double n = (double)(p->slabs.images * p->slabs.rows), m = (double)attr->momentum;
    for (int64_t j = 0; j < p->channels; j++) {
        const double var = p->total2[j] > 0 || isnan(p->total2[j]) ? p->total2[j] / n : 0; /* rounding may leave -tiny */
        mean[j] = (float)p->total1[j];
        p->rstd[j] = (float)(1 / sqrt(var + (double)attr->eps));
        p->a[j] = w[FUL__BN_GAMMA][j] * p->rstd[j];
        float *running_mean = &w[FUL__BN_MEAN][j], *running_var = &w[FUL__BN_VAR][j];
        *running_mean = (float)((1 - m) * (double)*running_mean + m * p->total1[j]);
        if (n > 1) *running_var = (float)((1 - m) * (double)*running_var + m * var * n / (n - 1));
    }
}

static void use_running_stats(bn_pass *p, const ful_batchnorm_attr *attr)
{
    float *const *w = p->run->w;
    for (int64_t j = 0; j < p->channels; j++)
        p->a[j] = (float)((double)w[FUL__BN_GAMMA][j] / sqrt((double)w[FUL__BN_VAR][j] + (double)attr->eps));
}

static void apply_walk(const bn_pass *p, const bn_span *span, int64_t at, const bn_affine *f, const bn_sums *sums)
{
    (void)sums;
    const float *residual = p->run->x[1];
    bn_span to = *span;
    float *y = p->run->y ? p->run->y + at : span->near; /* NULL: it is not kept */
    if (!p->run->y) to.near = NULL;
    p->kernels->apply(&to, f, p->run->x[0] + at, residual ? residual + at : NULL, y, p->act);
}

static void make_y(const bn_pass *p, const bn_part *part)
{
    walk_part(p, part, tile_rows(p), apply_walk);
}

static void apply_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    each_part(p, p->pieces - 1 - piece, make_y);
}

ful_status ful__batchnorm_forward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    const ful_batchnorm_attr *attr = &((const ful__batchnorm *)op)->attr;
    bn_pass p = begin(op, run);
    if (run->train) {
        if (!run->summed) ful__parallel_for(p.pieces, stats_piece, &p);
        combine_stats(&p);
        finish_stats(&p, attr);
    } else {
        use_running_stats(&p, attr);
    }
    if (run->leave) return FUL_OK;
    p.stream = run->y != run->x[0] && run->y != run->x[1] &&
               ful__worth_streaming(run->y, run->n * ful__count(op->y), p.slabs.width);
    ful__parallel_for(p.pieces, apply_piece, &p);
    return FUL_OK;
}

void ful__batchnorm_sum_x(ful__op *op, const ful__run *run, const ful__maps *maps)
{
    const bn_pass p = begin(op, run);
    each_group(&p, maps, sum_x);
}

void ful__batchnorm_make_y(ful__op *op, const ful__run *run, const ful__maps *maps)
{
    bn_pass p = begin(op, run);
    p.stream = maps->near && run->y;
    each_group(&p, maps, make_y);
}

/* Backward ---------------------------------------------------------------------------------------------------------------- */

static bn_pass begin_backward(ful__op *op, const ful__run *run)
{
    const ful_batchnorm_attr *attr = &((const ful__batchnorm *)op)->attr;
    bn_pass p = begin(op, run);
    const bool masked = attr->residual && p.act != FUL_ACT_NONE;
    p.grad = (bn_grad){.act = p.act, .x = run->x[0], .dy = run->dy, .dy_more = run->dy_more, .y = masked ? run->y : NULL};
    if (attr->residual && (masked || run->dy_more || run->dx[1] != run->dy)) p.grad.g = run->dx[1];
    p.stream = p.grad.g && p.grad.g != run->dy && p.grad.g != run->dy_more &&
               ful__worth_streaming(p.grad.g, run->n * ful__count(op->y), p.slabs.width);
    return p;
}

/* What the first pass kept is already behind the activation, and one sum. */
static void use_kept(bn_pass *p)
{
    if (!p->grad.g) return;
    p->grad = (bn_grad){.act = FUL_ACT_NONE, .x = p->grad.x, .dy = p->grad.g};
}

static bn_grad grad_at(const bn_grad *t, int64_t at)
{
    bn_grad g = {.act = t->act, .x = t->x + at, .dy = t->dy + at};
    if (t->dy_more) g.dy_more = t->dy_more + at;
    if (t->y) g.y = t->y + at;
    if (t->g) g.g = t->g + at;
    return g;
}

static void reduce_walk(const bn_pass *p, const bn_span *span, int64_t at, const bn_affine *f, const bn_sums *sums)
{
    bn_grad t = grad_at(&p->grad, at);
    if (span->near) t.dy = span->near;
    p->kernels->reduce(span, f, &t, sums);
}

static void sum_dy(const bn_pass *p, const bn_part *part)
{
    const bn_sums sums = sums_of(p, part);
    if (begins(part))
        for (int j = 0; j < p->slabs.width; j++) sums.s1[j] = sums.s2[j] = 0;
    walk_part(p, part, sum_rows(p), reduce_walk);
}

static void reduce_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    each_part(ctx, piece, sum_dy);
}

/* The chunks' sums to the gradients of gamma and beta, and to the two means that dx uses. */
static void finish_reduce(const bn_pass *p)
{
    const int64_t c = p->channels;
    const double n = (double)(p->slabs.images * p->slabs.rows);
    for (int64_t j = 0; j < c; j++) p->total1[j] = p->total2[j] = 0;
    for (int64_t k = 0; k < p->chunks; k++)
        for (int64_t j = 0; j < c; j++) {
            p->total1[j] += p->s1[k * c + j];
            p->total2[j] += p->s2[k * c + j];
        }
    for (int64_t j = 0; j < c; j++) {
        const double r = (double)p->rstd[j];
        p->run->dw[FUL__BN_GAMMA][j] += (float)(p->total2[j] * r);
        p->run->dw[FUL__BN_BETA][j] += (float)p->total1[j];
        p->m1[j] = (float)(p->total1[j] / n);
        p->m2[j] = (float)(p->total2[j] / n * r * r);
    }
}

static void dx_walk(const bn_pass *p, const bn_span *span, int64_t at, const bn_affine *f, const bn_sums *sums)
{
    (void)sums;
    const bn_grad t = grad_at(&p->grad, at);
    p->kernels->dx(span, f, &t, span->near ? span->near : p->run->dx[0] + at);
}

static void make_dx(const bn_pass *p, const bn_part *part)
{
    walk_part(p, part, tile_rows(p), dx_walk);
}

static void dx_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    each_part(p, p->pieces - 1 - piece, make_dx);
}

ful_status ful__batchnorm_backward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    bn_pass p = begin_backward(op, run);
    if (!run->summed) ful__parallel_for(p.pieces, reduce_piece, &p);
    finish_reduce(&p);
    if (!run->dx[0] || run->leave) return FUL_OK;
    use_kept(&p);
    p.stream = run->dx[0] != run->dy && run->dx[0] != run->dy_more &&
               ful__worth_streaming(run->dx[0], run->n * ful__count(op->y), p.slabs.width);
    ful__parallel_for(p.pieces, dx_piece, &p);
    return FUL_OK;
}

void ful__batchnorm_sum_dy(ful__op *op, const ful__run *run, const ful__maps *maps)
{
    const bn_pass p = begin_backward(op, run);
    each_group(&p, maps, sum_dy);
}

void ful__batchnorm_make_dx(ful__op *op, const ful__run *run, const ful__maps *maps)
{
    bn_pass p = begin_backward(op, run);
    use_kept(&p);
    p.stream = false;
    each_group(&p, maps, make_dx);
}
