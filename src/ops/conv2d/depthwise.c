/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution, map by map: a map is one block of channels of one image. Backward takes dx and dw of a map together,
 * so that dy comes from memory once.
 *
 *   packed    w for forward [c/B][k*k][B], and turned by 180 degrees for dx
 *   scratch   [chunk][c/B][k*k + 1][B]: sums of a chunk of images for dw, then for db
 *
 * The chunks depend on n alone and are added in order, in double: dw does not depend on the number of threads.
 */
#include "ops/conv2d/depthwise.h"

#include <string.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/slabs.h"

enum { DW_KERNEL_MAX = 5, DW_CELLS = 128, DW_CHUNKS_MAX = 16, DW_AHEAD = 1024 };

/*
 * One pass over a map: pixel (y, x) of the source stands at (y, x) * up + pad of a grid that is 0 elsewhere, and output (y, x)
 * reads the kernel x kernel cells of the grid from (y, x) * step on. Forward: up 1, step the stride. dx: the other way round.
 */
typedef struct dw_walk {
    int src_h, src_w, out_h, out_w, kernel, up, step, pad_h, pad_w;
    bool relu;
} dw_walk;

typedef struct dw_kernels {
    void (*slide)(const dw_walk *w, const float *src, const float *weights, const float *bias, float *out);
    void (*weigh)(const dw_walk *w, const float *x, const float *dy, float *sum);
    void (*total)(const float *dy, int64_t pixels, float *sum);
} dw_kernels;

#define SIMD_KERNELS "ops/conv2d/depthwise_kernels.h"
#include "ops/simd_levels.h"

bool ful__depthwise_fits(const ful_conv2d_attr *a, ful_shape x)
{
    return a->groups == x.c && a->out_channels == x.c && x.c % ful__block() == 0 && a->kernel_h == a->kernel_w &&
           (a->kernel_h == 3 || a->kernel_h == 5) && a->stride_h == a->stride_w && (a->stride_h == 1 || a->stride_h == 2) &&
           a->dilation_h == 1 && a->dilation_w == 1;
}

void ful__depthwise_init(ful__depthwise *d, const ful_conv2d_attr *a, ful_shape x, ful_shape y, bool relu, bool train)
{
    *d = (ful__depthwise){.x = x, .y = y, .kernel = a->kernel_h, .stride = a->stride_h, .pad_h = a->pad_h, .pad_w = a->pad_w};
    d->block = ful__block();
    d->relu = relu;
    d->train = train;
}

static int64_t taps_of(const ful__depthwise *d)
{
    return (int64_t)d->kernel * d->kernel;
}

static size_t packed_bytes(const ful__depthwise *d)
{
    return ful__align64((size_t)(d->x.c * taps_of(d)) * sizeof(float));
}

void ful__depthwise_need(const ful__depthwise *d, ful__need *need)
{
    need->packed = packed_bytes(d) * (d->train ? 2 : 1);
    need->scratch_fixed = d->train ? (size_t)(DW_CHUNKS_MAX * d->x.c * (taps_of(d) + 1)) * sizeof(float) : 0;
    need->scratch_per_image = 0;
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

/* [c][taps] to [c/B][taps][B], the taps in reverse where the pass is dx. */
static void pack(const ful__depthwise *d, const float *w, bool turn, float *packed)
{
    const int64_t taps = taps_of(d);
    for (int64_t c = 0; c < d->x.c; c++)
        for (int64_t t = 0; t < taps; t++)
            packed[((c / d->block) * taps + (turn ? taps - 1 - t : t)) * d->block + c % d->block] = w[c * taps + t];
}

static const float *packed_weights(const ful__depthwise *d, const ful__run *run, bool turn)
{
    float *packed = (float *)(void *)((char *)run->packed + (turn ? packed_bytes(d) : 0));
    if (run->repack) pack(d, run->w[0], turn, packed);
    return packed;
}

/* Passes ----------------------------------------------------------------------------------------------------------------- */

/* One run, as its parallel pieces see it. */
typedef struct dw_pass {
    const ful__depthwise *d;
    const ful__run *run;
    const dw_kernels *kernels;
    dw_walk forward, dx;
    const float *w, *w_dx, *bias;
    int64_t groups, chunks, x_map, y_map; /* floats of a map */
    float *sums;                          /* scratch; NULL: no dw */
    bool db;
} dw_pass;

static dw_pass begin(const ful__depthwise *d, const ful__run *run)
{
    dw_pass p = {.d = d, .run = run, .kernels = SIMD_PICK(kernels), .groups = d->x.c / d->block};
    p.x_map = (int64_t)d->x.h * d->x.w * d->block;
    p.y_map = (int64_t)d->y.h * d->y.w * d->block;
    p.forward = (dw_walk){.src_h = d->x.h, .src_w = d->x.w, .out_h = d->y.h, .out_w = d->y.w, .kernel = d->kernel};
    p.forward.up = 1;
    p.forward.step = d->stride;
    p.forward.pad_h = d->pad_h;
    p.forward.pad_w = d->pad_w;
    p.forward.relu = d->relu;
    p.dx = (dw_walk){.src_h = d->y.h, .src_w = d->y.w, .out_h = d->x.h, .out_w = d->x.w, .kernel = d->kernel};
    p.dx.up = d->stride;
    p.dx.step = 1;
    p.dx.pad_h = d->kernel - 1 - d->pad_h;
    p.dx.pad_w = d->kernel - 1 - d->pad_w;
    return p;
}

static void forward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const dw_pass *p = ctx;
    const int64_t taps = taps_of(p->d) * p->d->block;
    int64_t map, end;
    ful__share(p->run->n * p->groups, p->chunks, piece, &map, &end);
    for (; map < end; map++) {
        const int64_t g = map % p->groups;
        p->kernels->slide(&p->forward, p->run->x[0] + map * p->x_map, p->w + g * taps,
                          p->bias ? p->bias + g * p->d->block : NULL, p->run->y + map * p->y_map);
    }
}

void ful__depthwise_forward(const ful__depthwise *d, const ful__run *run, bool has_bias)
{
    dw_pass p = begin(d, run);
    p.w = packed_weights(d, run, false);
    p.bias = has_bias ? run->w[1] : NULL;
    const int64_t maps = run->n * p.groups, pieces = maps * (p.x_map + p.y_map) / (FUL__CHUNK_FLOATS / 4) + 1;
    p.chunks = maps < pieces ? maps : pieces;
    ful__parallel_for(p.chunks, forward_piece, &p);
}

/* One block of channels of one chunk of images. */
static void backward_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const dw_pass *p = ctx;
    const int64_t block = p->d->block, taps = taps_of(p->d), g = piece % p->groups;
    float *sums = p->sums ? p->sums + piece * (taps + 1) * block : NULL;
    float one[(DW_KERNEL_MAX * DW_KERNEL_MAX + 1) * 16]; /* of one image: float sums stay short */
    int64_t i, end;
    if (sums) memset(sums, 0, (size_t)((taps + 1) * block) * sizeof *sums);
    ful__share(p->run->n, p->chunks, piece / p->groups, &i, &end);
    for (; i < end; i++) {
        const int64_t map = i * p->groups + g;
        const float *dy = p->run->dy + map * p->y_map;
        if (p->run->dx[0]) p->kernels->slide(&p->dx, dy, p->w_dx + g * taps * block, NULL, p->run->dx[0] + map * p->x_map);
        if (!sums) continue;
        memset(one, 0, sizeof one);
        p->kernels->weigh(&p->forward, p->run->x[0] + map * p->x_map, dy, one);
        if (p->db) p->kernels->total(dy, p->y_map / block, one + taps * block);
        for (int64_t j = 0; j < (taps + 1) * block; j++) sums[j] += one[j];
    }
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
    p.db = run->dw && has_bias && run->dw[1];
    if (run->dw && (run->dw[0] || p.db)) p.sums = run->scratch;
    p.chunks = run->n < DW_CHUNKS_MAX ? run->n : DW_CHUNKS_MAX;
    ful__parallel_for(p.chunks * p.groups, backward_piece, &p);
    if (p.sums) add_sums(&p);
}
