/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution, map by map (op.h), with the neighbours' work on the maps. Backward takes dx and dw of a map together,
 * so that dy comes from memory once.
 *
 *   packed    w for forward [c/B][k*k][B], and turned by 180 degrees for dx
 *   scratch   [share of the images][c/B][k*k + 1][B]: its sums for dw, then for db
 *             [thread] maps of x, maps of y that are worked on with a neighbour
 *
 * The shares depend on n alone and are added in order, in double: dw does not depend on the number of threads.
 */
#include "ops/conv2d/depthwise.h"

#include <string.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/conv2d/depthwise_rows.h"
#include "ops/slabs.h"

enum { DW_KERNEL_MAX = 7, DW_CELLS = 128, DW_BOARD = 128, DW_AHEAD = 2048, SPLIT_FLOATS = 8192, TOGETHER_FLOATS = 8192 };

/*
 * One pass over a map: pixel (y, x) of the source stands at (y, x) * up + pad of a grid that is 0 elsewhere, and output (y, x)
 * reads the kernel x kernel cells of the grid from (y, x) * step on. Forward: up 1, step the stride. dx: the other way round.
 */
typedef struct dw_walk {
    int src_h, src_w, out_h, out_w, kernel, up, step, pad_h, pad_w;
    ful_act act;
} dw_walk;

typedef struct dw_kernels {
    void (*slide)(const dw_walk *w, const float *src, const float *weights, const float *bias, float *out, float *far);
    void (*weigh)(const dw_walk *w, const float *x, const float *dy, float *sum);
    void (*total)(const float *dy, int64_t pixels, float *sum);
} dw_kernels;

#define SIMD_KERNELS "ops/conv2d/depthwise_kernels.h"
#include "ops/simd_levels.h"

bool ful__depthwise_fits(const ful_conv2d_attr *a, ful_shape x)
{
    if (a->groups != x.c || a->out_channels != x.c || x.c % ful__block() != 0) return false;
    if (a->kernel_h != a->kernel_w || a->stride_h != a->stride_w || a->dilation_h != 1 || a->dilation_w != 1) return false;
    const int k = a->kernel_h, s = a->stride_h;
    return ((k == 3 || k == 5) && (s == 1 || s == 2)) || (k == 7 && s == 1);
}

void ful__depthwise_init(ful__depthwise *d, const ful_conv2d_attr *a, ful_shape x, ful_shape y, ful_act act, bool train)
{
    *d = (ful__depthwise){.x = x, .y = y, .kernel = a->kernel_h, .stride = a->stride_h, .pad_h = a->pad_h, .pad_w = a->pad_w};
    d->block = ful__block();
    d->act = act;
    d->train = train;
    d->near = train ? ful_threads_get() : 0;
}

static int64_t taps_of(const ful__depthwise *d)
{
    return (int64_t)d->kernel * d->kernel;
}

static size_t packed_bytes(const ful__depthwise *d)
{
    return ful__align64((size_t)(d->x.c * taps_of(d)) * sizeof(float));
}

static int64_t map_floats(const ful__depthwise *d, ful_shape s)
{
    return (int64_t)s.h * s.w * d->block;
}

/* Blocks of an image whose maps are taken one after the other. */
static int together(const ful__depthwise *d)
{
    const int64_t x = map_floats(d, d->x), y = map_floats(d, d->y), map = x > y ? x : y, groups = d->x.c / d->block;
    const int64_t fit = map < TOGETHER_FLOATS ? TOGETHER_FLOATS / map : 1;
    return (int)(fit < groups ? fit : groups);
}

static int64_t near_floats(const ful__depthwise *d)
{
    return together(d) * (map_floats(d, d->x) + map_floats(d, d->y));
}

static int64_t sums_floats(const ful__depthwise *d)
{
    return FUL__MAP_CHUNKS * d->x.c * (taps_of(d) + 1);
}

void ful__depthwise_need(const ful__depthwise *d, ful__need *need)
{
    need->packed = packed_bytes(d) * (d->train ? 2 : 1);
    need->scratch_fixed = d->train ? (size_t)(sums_floats(d) + d->near * near_floats(d)) * sizeof(float) : 0;
    need->scratch_per_image = 0;
    need->maps = true;
}

int64_t ful__depthwise_macs(const ful__depthwise *d)
{
    return (int64_t)d->y.h * d->y.w * taps_of(d) * (d->y.c / d->block) * d->block;
}

const char *ful__depthwise_kernels(const ful__depthwise *d)
{
    if (d->block == 16) return d->train ? "depthwise:avx512, depthwise:avx512, depthwise:avx512" : "depthwise:avx512";
    if (ful_cpu_flags() & FUL_CPU_AVX2) return d->train ? "depthwise:avx2, depthwise:avx2, depthwise:avx2" : "depthwise:avx2";
    return d->train ? "depthwise:base, depthwise:base, depthwise:base" : "depthwise:base";
}

/* Weights ---------------------------------------------------------------------------------------------------------------- */

void ful__depthwise_pack(const float *w, int channels, int taps, int block, bool turn, float *packed)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t t = 0; t < taps; t++)
            packed[((c / block) * taps + (turn ? taps - 1 - t : t)) * block + c % block] = w[c * taps + t];
}

static const float *packed_weights(const ful__depthwise *d, const ful__run *run, bool turn)
{
    float *packed = (float *)(void *)((char *)run->packed + (turn ? packed_bytes(d) : 0));
    if (run->repack) ful__depthwise_pack(run->w[0], d->x.c, (int)taps_of(d), d->block, turn, packed);
    return packed;
}

/* Passes ----------------------------------------------------------------------------------------------------------------- */

/* One run, as its parallel pieces see it. */
typedef struct dw_pass {
    const ful__depthwise *d;
    const ful__run *run;
    const dw_kernels *kernels;
    ful__depthwise_rows_fn rows;
    dw_walk forward, dx;
    const float *w, *w_dx, *bias;
    int64_t x_map, y_map; /* floats of a map */
    int64_t groups, chunks, split;
    int together;
    float *sums; /* scratch; NULL: no dw */
    float *near; /* scratch, [thread] */
    bool db;
    bool stream_x, stream_y; /* these tensors are too large for the caches */
} dw_pass;

static dw_pass begin(const ful__depthwise *d, const ful__run *run)
{
    dw_pass p = {.d = d, .run = run, .kernels = SIMD_PICK(kernels), .groups = d->x.c / d->block};
    p.rows = ful__depthwise_rows_convolve();
    p.x_map = map_floats(d, d->x);
    p.y_map = map_floats(d, d->y);
    p.together = together(d);
    if (d->near > 0) p.near = (float *)run->scratch + sums_floats(d);
    p.forward = (dw_walk){.src_h = d->x.h, .src_w = d->x.w, .out_h = d->y.h, .out_w = d->y.w, .kernel = d->kernel};
    p.forward.up = 1;
    p.forward.step = d->stride;
    p.forward.pad_h = d->pad_h;
    p.forward.pad_w = d->pad_w;
    p.forward.act = d->act;
    p.dx = (dw_walk){.src_h = d->y.h, .src_w = d->y.w, .out_h = d->x.h, .out_w = d->x.w, .kernel = d->kernel};
    p.dx.up = d->stride;
    p.dx.step = 1;
    p.dx.pad_h = d->kernel - 1 - d->pad_h;
    p.dx.pad_w = d->kernel - 1 - d->pad_w;

    p.chunks = ful__map_chunks(run->n);
    const int64_t map = p.x_map > p.y_map ? p.x_map : p.y_map, chunk = run->n / p.chunks * map * p.groups;
    p.split = (4 * ful_threads_get() + p.chunks - 1) / p.chunks;
    if (p.split > chunk / SPLIT_FLOATS) p.split = chunk / SPLIT_FLOATS + 1;
    if (p.split > p.groups) p.split = p.groups;
    return p;
}

/* The maps of some blocks of an image. */
typedef struct dw_maps {
    ful__maps at;
    bool first;             /* image of the chunk */
    float *near_x, *near_y; /* room for them in the cache; NULL: none */
} dw_maps;

/* Pieces: a chunk, in `split` shares of its blocks. Maps go as they lie in memory, which comes faster in its order. */
static void each_maps(const dw_pass *p, int64_t piece, int thread, void (*work)(const dw_pass *p, dw_maps *m))
{
    dw_maps m = {.at = {.chunk = piece / p->split}};
    int64_t begin, end, group, group_end;
    ful__share(p->run->n, p->chunks, m.at.chunk, &begin, &end);
    ful__share(p->groups, p->split, piece % p->split, &group, &group_end);
    if (thread < p->d->near) m.near_x = p->near + thread * near_floats(p->d);
    if (m.near_x) m.near_y = m.near_x + p->together * p->x_map;
    for (m.at.image = begin; m.at.image < end; m.at.image = m.at.image_end) {
        m.first = m.at.image == begin;
        m.at.image_end = m.at.image + 1;
        for (m.at.group = (int)group; m.at.group < group_end; m.at.group = m.at.group_end) {
            m.at.group_end = (int)(group_end - m.at.group < p->together ? group_end : m.at.group + p->together);
            work(p, &m);
        }
    }
}

/* A neighbour's work on the maps, of so many floats each; near: where they stand if not in the tensor. */
static void neighbour(const dw_pass *p, const ful__map_work *w, dw_maps *m, float *near, int64_t map)
{
    if (!w) return;
    m->at.near = near;
    m->at.near_block = map;
    m->at.row_end = map / p->d->block;
    w->fn(w->op, w->run, &m->at);
}

/* One pass over a map: rows read where they lie are fastest; what has gaps, and the largest kernel, goes through copies. */
static void slide(const dw_pass *p, const dw_walk *w, const float *src, const float *weights, const float *bias, float *out,
                  float *far)
{
    if (w->up != 1 || w->kernel > FUL__ROWS_KERNEL_MAX) {
        p->kernels->slide(w, src, weights, bias, out, far);
        return;
    }
    const ful__depthwise_rows rows = {.x = src,
                                      .w = weights,
                                      .bias = bias,
                                      .out = out,
                                      .far = far,
                                      .x_pitch = (int64_t)w->src_w * p->d->block,
                                      .x_h = w->src_h,
                                      .x_w = w->src_w,
                                      .y_w = w->out_w,
                                      .end = w->out_h,
                                      .kernel = w->kernel,
                                      .stride = w->step,
                                      .pad_h = w->pad_h,
                                      .pad_w = w->pad_w,
                                      .act = w->act};
    p->rows(&rows);
}

static void forward_maps(const dw_pass *p, dw_maps *m)
{
    const int64_t block = p->d->block;
    float *near_x = p->run->before && p->stream_x ? m->near_x : NULL, *near_y = p->run->after && p->stream_y ? m->near_y : NULL;
    neighbour(p, p->run->before, m, near_x, p->x_map);
    for (int64_t g = m->at.group; g < m->at.group_end; g++) {
        const int64_t map = m->at.image * p->groups + g, k = g - m->at.group;
        const float *w = p->w + g * taps_of(p->d) * block, *bias = p->bias ? p->bias + g * block : NULL;
        const float *x = near_x ? near_x + k * p->x_map : p->run->x[0] + map * p->x_map;
        float *y = p->run->y + map * p->y_map;
        slide(p, &p->forward, x, w, bias, near_y ? near_y + k * p->y_map : y, near_y ? y : NULL);
    }
    neighbour(p, p->run->after, m, near_y, p->y_map);
}

static void forward_piece(void *ctx, int64_t piece, int thread)
{
    each_maps(ctx, piece, thread, forward_maps);
}

void ful__depthwise_forward(const ful__depthwise *d, const ful__run *run, bool has_bias)
{
    dw_pass p = begin(d, run);
    p.w = packed_weights(d, run, false);
    p.bias = has_bias ? run->w[1] : NULL;
    p.stream_x = run->before && ful__worth_streaming(run->x[0], run->n * ful__count(d->x), d->block);
    p.stream_y = run->after && ful__worth_streaming(run->y, run->n * ful__count(d->y), d->block);
    ful__parallel_for(p.chunks * p.split, forward_piece, &p);
}

/* Sums of one map, in float, are kept apart before they join the chunk's, so that they stay short. */
static void weigh(const dw_pass *p, int64_t map, const float *dy, float *sums)
{
    const int64_t block = p->d->block, taps = taps_of(p->d);
    float one[(DW_KERNEL_MAX * DW_KERNEL_MAX + 1) * 16];
    memset(one, 0, (size_t)((taps + 1) * block) * sizeof *one);
    p->kernels->weigh(&p->forward, p->run->x[0] + map * p->x_map, dy, one);
    if (p->db) p->kernels->total(dy, p->y_map / block, one + taps * block);
    for (int64_t j = 0; j < (taps + 1) * block; j++) sums[j] += one[j];
}

static void backward_maps(const dw_pass *p, dw_maps *m)
{
    const int64_t block = p->d->block, taps = taps_of(p->d), size = (taps + 1) * block;
    const ful__map_work *before = p->run->before, *after = p->run->after;
    float *near_dy = before && !before->store ? m->near_y : NULL;
    float *near_dx = after && (p->stream_x || !after->store) ? m->near_x : NULL;
    neighbour(p, before, m, near_dy, p->y_map);
    for (int64_t g = m->at.group; g < m->at.group_end; g++) {
        const int64_t map = m->at.image * p->groups + g, k = g - m->at.group;
        const float *dy = near_dy ? near_dy + k * p->y_map : p->run->dy + map * p->y_map;
        float *sums = p->sums ? p->sums + (m->at.chunk * p->groups + g) * size : NULL;
        if (sums && m->first) memset(sums, 0, (size_t)size * sizeof *sums);
        if (sums) weigh(p, map, dy, sums);
        if (!p->w_dx) continue;
        float *dx = p->run->dx[0] + map * p->x_map;
        slide(p, &p->dx, dy, p->w_dx + g * taps * block, NULL, near_dx ? near_dx + k * p->x_map : dx,
              near_dx && after->store ? dx : NULL);
    }
    neighbour(p, after, m, near_dx, p->x_map);
}

static void backward_piece(void *ctx, int64_t piece, int thread)
{
    each_maps(ctx, piece, thread, backward_maps);
}

/* dw and db += the chunks' sums */
static void add_sums(const dw_pass *p)
{
    const int64_t block = p->d->block, taps = taps_of(p->d), size = (taps + 1) * block;
    float *dw = p->run->dw[0], *db = p->db ? p->run->dw[1] : NULL;
    for (int64_t g = 0; g < p->groups; g++)
        for (int64_t t = 0; t < taps + (db != NULL); t++) {
            double total[16] = {0};
            for (int64_t k = 0; k < p->chunks; k++) {
                const float *sum = p->sums + (k * p->groups + g) * size + t * block;
                for (int64_t l = 0; l < block; l++) total[l] += (double)sum[l];
            }
            for (int64_t l = 0; l < block; l++) {
                const int64_t c = g * block + l;
                if (t == taps)
                    db[c] += (float)total[l];
                else if (dw)
                    dw[c * taps + t] += (float)total[l];
            }
        }
}

void ful__depthwise_backward(const ful__depthwise *d, const ful__run *run, bool has_bias)
{
    dw_pass p = begin(d, run);
    if (run->dx[0]) p.w_dx = packed_weights(d, run, true);
    p.stream_x = run->dx[0] && ful__worth_streaming(run->dx[0], run->n * ful__count(d->x), d->block);
    p.db = run->dw && has_bias && run->dw[1];
    if (run->dw && (run->dw[0] || p.db)) p.sums = run->scratch;
    ful__parallel_for(p.chunks * p.split, backward_piece, &p);
    if (p.sums) add_sums(&p);
}
