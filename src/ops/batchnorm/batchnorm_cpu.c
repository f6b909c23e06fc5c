/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch-norm, bound by memory: forward reads x twice and writes y; backward reads x and dy twice (y too behind a fused
 * residual + ReLU) and writes dx.
 *
 * Variance. Each chunk (slabs.h) sums x - shift and (x - shift)^2, shift being the mean of its own first rows. The chunk holds
 * those rows too, so (mean - shift)^2 <= var * rows of chunk / rows of shift: the cancellation in E[d^2] - E[d]^2 stays mild
 * whatever the data. Chunks are combined in double (Chan, Golub & LeVeque 1979).
 */
#include "ops/batchnorm/batchnorm.h"

#include <math.h>

#include "core/mem.h"
#include "ops/slabs.h"

/* What a kernel walks over: `slabs` matrices [rows][width], `stride` floats apart (slabs = 1 in apply and dx). */
typedef struct bn_span {
    int64_t slabs, stride, rows;
    int width;
    bool stream; /* store past the caches */
} bn_span;

/* Per channel: what apply, reduce and dx need of it. */
typedef struct bn_affine {
    const float *mean, *a, *beta, *m1, *m2;
} bn_affine;

typedef struct bn_sums {
    const float *shift;
    double *s1, *s2;
} bn_sums;

typedef enum bn_mask { BN_MASK_NONE, BN_MASK_X, BN_MASK_Y } bn_mask;

/* Streams of the backward passes. y: for BN_MASK_Y. g: where to keep the gradient behind the activation, or NULL. */
typedef struct bn_grad {
    const float *x, *dy, *y;
    float *g;
} bn_grad;

typedef struct bn_kernels {
    void (*stats)(const bn_span *s, const float *x, const bn_sums *out);
    void (*apply)(const bn_span *s, const bn_affine *f, const float *x, const float *residual, float *y, bool relu);
    void (*reduce)(const bn_span *s, const bn_affine *f, const bn_grad *t, const bn_sums *out, bn_mask mask);
    void (*dx)(const bn_span *s, const bn_affine *f, const bn_grad *t, float *dx, bn_mask mask);
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
    int64_t channels, chunks;
    int64_t piece_rows; /* rows a kernel sums in float before it adds to the doubles */
    /* scratch */
    double *s1, *s2;         /* [chunks][c] sums of each chunk; after stats: mean and sum of squared deviations */
    double *total1, *total2; /* [c] */
    float *shift;            /* [chunks][c] */
    float *a, *m1, *m2;      /* [c] */
    bn_affine affine;
    bn_mask mask;
    bn_grad grad;
    bool relu, stream;
} bn_pass;

size_t ful__batchnorm_scratch_bytes(const ful__batchnorm *bn, int n_max, bool train)
{
    const size_t c = (size_t)bn->base.x[0].c, chunks = train ? ful__chunks_bound(n_max * ful__count(bn->base.x[0])) : 0;
    return (2 * chunks + 2) * c * sizeof(double) + (chunks + 3) * c * sizeof(float);
}

static bn_pass begin(ful__op *op, const ful__run *run)
{
    const ful__batchnorm *bn = (const ful__batchnorm *)op;
    bn_pass p = {.kernels = SIMD_PICK(kernels), .run = run};
    p.slabs = ful__slabs_of(op->x[0], op->x_layout[0], bn->block, run->n);
    p.cut = ful__cut_of(&p.slabs);
    p.chunks = ful__cut_chunks(p.cut);
    p.channels = op->x[0].c;
    const int64_t rows = 16384 / p.slabs.width;
    p.piece_rows = rows < 64 ? 64 : rows > 1024 ? 1024 : rows;
    p.relu = bn->attr.act == FUL_ACT_RELU;

    const int64_t c = p.channels, chunks = run->train ? p.chunks : 0;
    p.s1 = run->scratch;
    p.s2 = p.s1 + chunks * c;
    p.total1 = p.s2 + chunks * c;
    p.total2 = p.total1 + c;
    p.a = (float *)(p.total2 + c);
    p.m1 = p.a + c;
    p.m2 = p.m1 + c;
    p.shift = p.m2 + c;
    p.affine = (bn_affine){.a = p.a, .beta = run->w[FUL__BN_BETA], .m1 = p.m1, .m2 = p.m2};
    return p;
}

/* Calls sum for the rows of a chunk and one group, so many at a time that float sums stay short and long enough. */
typedef void (*bn_sum_fn)(const bn_pass *p, const bn_span *span, int64_t at, int group, const bn_sums *out);

static void sum_chunk(const bn_pass *p, const ful__chunk *c, int group, const bn_sums *out, bn_sum_fn sum)
{
    const ful__slabs *s = &p->slabs;
    const int64_t rows = c->row_end - c->row, together = rows < p->piece_rows ? p->piece_rows / rows : 1;
    bn_span span = {.stride = s->groups * s->rows * s->width, .width = s->width};
    for (int64_t i = c->image; i < c->image_end; i += span.slabs) {
        span.slabs = c->image_end - i < together ? c->image_end - i : together;
        for (int64_t r = c->row; r < c->row_end; r += span.rows) {
            span.rows = c->row_end - r < p->piece_rows ? c->row_end - r : p->piece_rows;
            sum(p, &span, ful__slab_at(s, i, group, r), group, out);
        }
    }
}

static int64_t chunk_rows(const ful__chunk *c)
{
    return (c->image_end - c->image) * (c->row_end - c->row);
}

static void stats_span(const bn_pass *p, const bn_span *span, int64_t at, int group, const bn_sums *out)
{
    (void)group;
    p->kernels->stats(span, p->run->x[0] + at, out);
}

/* shift = mean of the chunk's first rows; out's sums are zero before and after. */
static void find_shift(const bn_pass *p, const ful__chunk *c, int group, float *shift, const bn_sums *out)
{
    const int width = p->slabs.width;
    bn_span first = {.slabs = 1, .rows = c->row_end - c->row, .width = width};
    if (first.rows > SHIFT_ROWS) first.rows = SHIFT_ROWS;
    memset(shift, 0, (size_t)width * sizeof *shift);
    p->kernels->stats(&first, p->run->x[0] + ful__slab_at(&p->slabs, c->image, group, c->row), out);
    for (int j = 0; j < width; j++) {
        shift[j] = (float)(out->s1[j] / (double)first.rows);
        out->s1[j] = out->s2[j] = 0;
    }
}

static void stats_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    const ful__chunk c = ful__chunk_of(&p->slabs, p->cut, chunk);
    const double rows = (double)chunk_rows(&c);
    for (int g = 0; g < p->slabs.groups; g++) {
        const int width = p->slabs.width;
        const int64_t at = chunk * p->channels + g * width;
        float *shift = p->shift + at;
        double *s1 = p->s1 + at, *s2 = p->s2 + at;
        for (int j = 0; j < width; j++) s1[j] = s2[j] = 0;
        const bn_sums sums = {.shift = shift, .s1 = s1, .s2 = s2};
        find_shift(p, &c, g, shift, &sums);
        sum_chunk(p, &c, g, &sums, stats_span);
        for (int j = 0; j < width; j++) {
            s2[j] -= s1[j] * s1[j] / rows;
            s1[j] = (double)shift[j] + s1[j] / rows;
        }
    }
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

static float *saved_mean(const bn_pass *p)
{
    return p->run->saved;
}

static float *saved_rstd(const bn_pass *p)
{
    return saved_mean(p) + p->channels;
}

/* Batch statistics to saved, to the running statistics, and to what apply uses. */
static void finish_stats(bn_pass *p, const ful_batchnorm_attr *attr)
{
    float *const *w = p->run->w;
    float *mean = saved_mean(p), *rstd = saved_rstd(p);
    const double n = (double)(p->slabs.images * p->slabs.rows), m = (double)attr->momentum;
    for (int64_t j = 0; j < p->channels; j++) {
        const double var = p->total2[j] > 0 || isnan(p->total2[j]) ? p->total2[j] / n : 0; /* rounding may leave -tiny */
        mean[j] = (float)p->total1[j];
        rstd[j] = (float)(1 / sqrt(var + (double)attr->eps));
        p->a[j] = w[FUL__BN_GAMMA][j] * rstd[j];
        float *running_mean = &w[FUL__BN_MEAN][j], *running_var = &w[FUL__BN_VAR][j];
        *running_mean = (float)((1 - m) * (double)*running_mean + m * p->total1[j]);
        if (n > 1) *running_var = (float)((1 - m) * (double)*running_var + m * var * n / (n - 1));
    }
    p->affine.mean = mean;
}

static void use_running_stats(bn_pass *p, const ful_batchnorm_attr *attr)
{
    float *const *w = p->run->w;
    for (int64_t j = 0; j < p->channels; j++)
        p->a[j] = (float)((double)w[FUL__BN_GAMMA][j] / sqrt((double)w[FUL__BN_VAR][j] + (double)attr->eps));
    p->affine.mean = w[FUL__BN_MEAN];
}

/* The values of group g's channels. */
static bn_affine affine_of(const bn_pass *p, int group)
{
    const int64_t at = (int64_t)group * p->slabs.width;
    const bn_affine f = p->affine;
    return (bn_affine){f.mean + at, f.a + at, f.beta + at, f.m1 + at, f.m2 + at};
}

/* The second pass over the data goes backwards, to meet first what the first pass left in the caches. */
static ful__chunk chunk_from_behind(const bn_pass *p, int64_t chunk)
{
    return ful__chunk_of(&p->slabs, p->cut, p->chunks - 1 - chunk);
}

/* Rows of a tile that stays in the first-level cache while strips of its columns go by. */
static int64_t tile_rows(const bn_pass *p)
{
    const int64_t rows = 2048 / p->slabs.width;
    return rows < 1 ? 1 : p->slabs.groups > 1 ? p->slabs.rows : rows;
}

static void apply_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    const ful__chunk c = chunk_from_behind(p, chunk);
    const int64_t tile = tile_rows(p);
    const float *residual = p->run->x[1];
    bn_span span = {.slabs = 1, .width = p->slabs.width, .stream = p->stream};
    for (int64_t i = c.image; i < c.image_end; i++)
        for (int g = 0; g < p->slabs.groups; g++) {
            const bn_affine f = affine_of(p, g);
            for (int64_t r = c.row; r < c.row_end; r += span.rows) {
                span.rows = c.row_end - r < tile ? c.row_end - r : tile;
                const int64_t at = ful__slab_at(&p->slabs, i, g, r);
                p->kernels->apply(&span, &f, p->run->x[0] + at, residual ? residual + at : NULL, p->run->y + at, p->relu);
            }
        }
}

ful_status ful__batchnorm_forward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    const ful_batchnorm_attr *attr = &((const ful__batchnorm *)op)->attr;
    bn_pass p = begin(op, run);
    if (run->train) {
        ful__parallel_for(p.chunks, stats_piece, &p);
        combine_stats(&p);
        finish_stats(&p, attr);
    } else {
        use_running_stats(&p, attr);
    }
    p.stream = run->y != run->x[0] && run->y != run->x[1] &&
               ful__worth_streaming(run->y, run->n * ful__count(op->y), p.slabs.width);
    ful__parallel_for(p.chunks, apply_piece, &p);
    return FUL_OK;
}

static bn_grad grad_at(const bn_grad *t, int64_t at)
{
    return (bn_grad){t->x + at, t->dy + at, t->y ? t->y + at : NULL, t->g ? t->g + at : NULL};
}

static void reduce_span(const bn_pass *p, const bn_span *span, int64_t at, int group, const bn_sums *out)
{
    const bn_affine f = affine_of(p, group);
    const bn_grad t = grad_at(&p->grad, at);
    p->kernels->reduce(span, &f, &t, out, p->mask);
}

static void reduce_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    const ful__chunk c = ful__chunk_of(&p->slabs, p->cut, chunk);
    for (int g = 0; g < p->slabs.groups; g++) {
        const int64_t at = chunk * p->channels + g * p->slabs.width;
        const bn_sums sums = {.s1 = p->s1 + at, .s2 = p->s2 + at};
        for (int j = 0; j < p->slabs.width; j++) sums.s1[j] = sums.s2[j] = 0;
        sum_chunk(p, &c, g, &sums, reduce_span);
    }
}

/* The chunks' sums to the gradients of gamma and beta, and to the two means that dx uses. */
static void finish_reduce(const bn_pass *p)
{
    const int64_t c = p->channels;
    const double n = (double)(p->slabs.images * p->slabs.rows);
    const float *rstd = saved_rstd(p);
    for (int64_t j = 0; j < c; j++) p->total1[j] = p->total2[j] = 0;
    for (int64_t k = 0; k < p->chunks; k++)
        for (int64_t j = 0; j < c; j++) {
            p->total1[j] += p->s1[k * c + j];
            p->total2[j] += p->s2[k * c + j];
        }
    for (int64_t j = 0; j < c; j++) {
        const double r = (double)rstd[j];
        p->run->dw[FUL__BN_GAMMA][j] += (float)(p->total2[j] * r);
        p->run->dw[FUL__BN_BETA][j] += (float)p->total1[j];
        p->m1[j] = (float)(p->total1[j] / n);
        p->m2[j] = (float)(p->total2[j] / n * r * r);
    }
}

static void dx_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const bn_pass *p = ctx;
    const ful__chunk c = chunk_from_behind(p, chunk);
    const int64_t tile = tile_rows(p);
    bn_span span = {.slabs = 1, .width = p->slabs.width, .stream = p->stream};
    for (int64_t i = c.image; i < c.image_end; i++)
        for (int g = 0; g < p->slabs.groups; g++) {
            const bn_affine f = affine_of(p, g);
            for (int64_t r = c.row; r < c.row_end; r += span.rows) {
                span.rows = c.row_end - r < tile ? c.row_end - r : tile;
                const int64_t at = ful__slab_at(&p->slabs, i, g, r);
                const bn_grad t = grad_at(&p->grad, at);
                p->kernels->dx(&span, &f, &t, p->run->dx[0] + at, p->mask);
            }
        }
}

ful_status ful__batchnorm_backward(ful__op *op, const ful__run *run)
{
    if (run->n == 0) return FUL_OK;
    const ful_batchnorm_attr *attr = &((const ful__batchnorm *)op)->attr;
    bn_pass p = begin(op, run);
    const float *mean = saved_mean(&p), *rstd = saved_rstd(&p);
    for (int64_t j = 0; j < p.channels; j++) p.a[j] = run->w[FUL__BN_GAMMA][j] * rstd[j];
    p.affine.mean = mean;
    p.mask = !p.relu ? BN_MASK_NONE : attr->residual ? BN_MASK_Y : BN_MASK_X;
    p.grad = (bn_grad){.x = run->x[0], .dy = run->dy, .y = p.mask == BN_MASK_Y ? run->y : NULL};
    if (attr->residual && (p.relu || run->dx[1] != run->dy)) p.grad.g = run->dx[1];

    ful__parallel_for(p.chunks, reduce_piece, &p);
    finish_reduce(&p);
    if (!run->dx[0]) return FUL_OK;
    if (p.grad.g) { /* what the first pass kept is already behind the activation */
        p.grad.dy = p.grad.g;
        p.mask = BN_MASK_NONE;
    }
    p.stream = run->dx[0] != run->dy && ful__worth_streaming(run->dx[0], run->n * ful__count(op->y), p.slabs.width);
    ful__parallel_for(p.chunks, dx_piece, &p);
    return FUL_OK;
}
