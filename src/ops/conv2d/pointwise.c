/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pointwise convolution on the blocked products (blocked.h): y = x w', dx = dy w, dw = dy' x over the pixels.
 *
 *   packed    w for forward [out/(N B)][in][N B] | for dx [in/(N B)][out][N B]
 *   scratch   [share of the images][out][in]: its sums for dw
 *             [place] maps of x, of dx, of y (dy): [c/B][pixels of a tile][B]
 *
 * The shares depend on n alone and are added in order: dw does not depend on the number of threads. So does a tile depend on
 * shapes alone: some images of a share, or some pixels of one, so many that their maps stay in the second-level cache.
 */
#include "ops/conv2d/pointwise.h"

#include <fulcrum/core.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/conv2d/blocked.h"
#include "ops/slabs.h"

/* TILE_FLOATS: of the maps of x, of y in a tile. STRIP_ROWS: pixels of one product, so that three blocks of them stay in the
 * first-level cache. */
enum { TILE_FLOATS = 1 << 14, STRIP_ROWS = 5 * FUL__BLOCKED_ROWS, CHANNELS_MAX = 512, SUM_FLOATS = 1024, SUM_LINE = 16 };

bool ful__pointwise_fits(const ful_conv2d_attr *a, ful_shape x)
{
    return (ful_cpu_flags() & (FUL_CPU_AVX2 | FUL_CPU_AVX512)) != 0 && a->kernel_h == 1 && a->kernel_w == 1 &&
           a->stride_h == 1 && a->stride_w == 1 && a->pad_h == 0 && a->pad_w == 0 && a->groups == 1 && !a->bias &&
           x.c % ful__block() == 0 && a->out_channels % ful__block() == 0 && x.c <= CHANNELS_MAX &&
           a->out_channels <= CHANNELS_MAX && x.h * x.w > 1;
}

void ful__pointwise_init(ful__pointwise *d, ful_shape x, ful_shape y, int n_max, bool train)
{
    *d = (ful__pointwise){.x = x, .y = y, .block = ful__block(), .n_max = n_max, .train = train};
    d->near = train ? ful_threads_get() : 0;
}

static int64_t weights(const ful__pointwise *d)
{
    return (int64_t)d->x.c * d->y.c;
}

static size_t packed_bytes(const ful__pointwise *d)
{
    return ful__align64((size_t)weights(d) * sizeof(float));
}

static int64_t pixels(const ful__pointwise *d)
{
    return (int64_t)d->x.h * d->x.w;
}

/* Pixels of a tile: of several images, or of one. */
static int64_t tile_pixels(const ful__pointwise *d)
{
    const int64_t image = pixels(d), most = TILE_FLOATS / (d->x.c > d->y.c ? d->x.c : d->y.c);
    if (image <= most) return most / image * image;
    const int64_t rows = most / FUL__BLOCKED_ROWS * FUL__BLOCKED_ROWS;
    return rows > 0 ? rows : FUL__BLOCKED_ROWS;
}

static int64_t near_floats(const ful__pointwise *d)
{
    return tile_pixels(d) * (2 * d->x.c + d->y.c);
}

static int64_t sums_floats(const ful__pointwise *d)
{
    return ful__map_chunks(d->n_max) * weights(d);
}

void ful__pointwise_need(const ful__pointwise *d, ful__need *need)
{
    need->packed = packed_bytes(d) * (d->train ? 2 : 1);
    need->scratch_fixed = d->train ? (size_t)(sums_floats(d) + d->near * near_floats(d)) * sizeof(float) : 0;
    need->scratch_per_image = 0;
    need->maps = need->again = d->train;
}

/* Blocks side by side in a panel of weights. */
static int panel_of(int channels, int block)
{
    return channels / block % 2 == 0 ? 2 : 1;
}

int64_t ful__pointwise_macs(const ful__pointwise *d)
{
    const int panel = panel_of(d->y.c, d->block) * d->block;
    return pixels(d) * (d->x.c / d->block * d->block) * (d->y.c / panel * panel);
}

const char *ful__pointwise_kernels(const ful__pointwise *d)
{
    if (d->block == 16) return d->train ? "pointwise:avx512, pointwise:avx512, pointwise:avx512" : "pointwise:avx512";
    return d->train ? "pointwise:avx2, pointwise:avx2, pointwise:avx2" : "pointwise:avx2";
}

/* Passes ----------------------------------------------------------------------------------------------------------------- */

/* One run, as its parallel pieces see it. */
typedef struct pw_pass {
    const ful__pointwise *d;
    const ful__run *run;
    ful__blocked_fn product;
    ful__blocked_outer_fn outer;
    const float *w, *w_dx;
    float *sums, *near; /* scratch; sums NULL: no dw */
    int64_t pixels, tile, chunks;
    bool stream_x, stream_y; /* these tensors are too large for the caches */
} pw_pass;

/* Where the maps of some images stand: floats between blocks, between images. */
typedef struct pw_maps {
    float *at;
    int64_t block, image;
} pw_maps;

/* Some images of a chunk, or some pixels of one. */
typedef struct pw_tile {
    ful__maps maps;
    bool first;                      /* of its chunk */
    pw_maps near_x, near_y, near_dx; /* room in the cache; none without training */
} pw_tile;

static pw_pass begin(const ful__pointwise *d, const ful__run *run)
{
    pw_pass p = {.d = d, .run = run, .product = ful__blocked_multiply(), .outer = ful__blocked_multiply_outer()};
    p.pixels = pixels(d);
    p.tile = tile_pixels(d);
    p.chunks = ful__map_chunks(run->n);
    if (d->near > 0) p.near = (float *)run->scratch + sums_floats(d);
    return p;
}

static const float *packed_weights(const ful__pointwise *d, const ful__run *run, bool for_dx)
{
    float *packed = (float *)(void *)((char *)run->packed + (for_dx ? packed_bytes(d) : 0));
    if (!run->repack) return packed;
    if (for_dx)
        ful__blocked_pack(run->w[0], d->y.c, d->x.c, d->x.c, 1, panel_of(d->x.c, d->block) * d->block, packed);
    else
        ful__blocked_pack(run->w[0], d->x.c, d->y.c, 1, d->x.c, panel_of(d->y.c, d->block) * d->block, packed);
    return packed;
}

/* Tiles ------------------------------------------------------------------------------------------------------------------ */

static int64_t tile_rows(const pw_tile *t)
{
    return t->maps.row_end - t->maps.row;
}

static int64_t tile_images(const pw_tile *t)
{
    return t->maps.image_end - t->maps.image;
}

static pw_maps in_tensor(const pw_pass *p, const pw_tile *t, const float *tensor, int channels)
{
    const int64_t map = p->pixels * p->d->block, image = p->pixels * channels;
    return (pw_maps){(float *)(uintptr_t)tensor + t->maps.image * image + t->maps.row * p->d->block, map, image};
}

static pw_maps near_maps(const pw_pass *p, const pw_tile *t, float *at)
{
    return (pw_maps){at, p->tile * p->d->block, tile_rows(t) * p->d->block};
}

static void each_tile(const pw_pass *p, int64_t chunk, int64_t place, void (*work)(const pw_pass *p, pw_tile *t))
{
    const ful__pointwise *d = p->d;
    float *near = p->near ? p->near + place * near_floats(d) : NULL;
    int64_t begin, end;
    ful__share(p->run->n, p->chunks, chunk, &begin, &end);
    pw_tile t = {.maps = {.chunk = chunk}, .first = true};
    for (int64_t image = begin, row = 0; image < end; t.first = false) {
        t.maps.image = image;
        t.maps.row = row;
        t.maps.row_end = p->pixels - row < p->tile ? p->pixels : row + p->tile;
        t.maps.image_end = p->tile < p->pixels ? image + 1 : image + p->tile / p->pixels;
        if (t.maps.image_end > end) t.maps.image_end = end;
        if (near) {
            t.near_x = near_maps(p, &t, near);
            t.near_dx = near_maps(p, &t, near + p->tile * d->x.c);
            t.near_y = near_maps(p, &t, near + 2 * p->tile * d->x.c);
        }
        row = t.maps.row_end == p->pixels ? 0 : t.maps.row_end;
        image = row ? image : t.maps.image_end;
        work(p, &t);
    }
}

/* A neighbour's work on the maps of all blocks; near: where they stand if not in the tensor. */
static void neighbour(const ful__map_work *w, pw_tile *t, const pw_maps *near, int groups)
{
    if (!w) return;
    t->maps.group_end = groups;
    t->maps.near = near ? near->at : NULL;
    t->maps.near_block = near ? near->block : 0;
    w->fn(w->op, w->run, &t->maps);
}

/* to = from times w; far: where to store it as well, past the caches, or NULL. */
static void multiply(const pw_pass *p, pw_tile *t, const pw_maps *from, int in, const float *w, const pw_maps *to, int out,
                     const pw_maps *far)
{
    const int64_t block = p->d->block, rows = tile_rows(t);
    const int group = panel_of(out, p->d->block), width = group * p->d->block;
    ful__blocked_product product = {.v_block = from->block, .m_block = to->block, .blocks = in / p->d->block, .group = group};
    if (far) product.far_block = far->block;
    for (int panel = 0; panel < out / width; panel++) {
        product.w = w + (int64_t)panel * in * width;
        for (int64_t k = 0; k < tile_images(t); k++)
            for (int64_t r = 0; r < rows; r += product.rows) {
                product.rows = (int)(rows - r < STRIP_ROWS ? rows - r : STRIP_ROWS);
                product.v = from->at + k * from->image + r * block;
                product.m = to->at + panel * group * to->block + k * to->image + r * block;
                if (far) product.far = far->at + panel * group * far->block + k * far->image + r * block;
                p->product(&product);
            }
    }
}

static void forward_tile(const pw_pass *p, pw_tile *t)
{
    const ful__pointwise *d = p->d;
    const ful__map_work *before = p->run->before, *after = p->run->after;
    const bool near_x = before && (p->stream_x || !before->store), near_y = after && p->stream_y;
    const pw_maps x = near_x ? t->near_x : in_tensor(p, t, p->run->x[0], d->x.c), y = in_tensor(p, t, p->run->y, d->y.c);
    neighbour(before, t, near_x ? &t->near_x : NULL, d->x.c / d->block);
    multiply(p, t, &x, d->x.c, p->w, near_y ? &t->near_y : &y, d->y.c, near_y ? &y : NULL);
    neighbour(after, t, near_y ? &t->near_y : NULL, d->y.c / d->block);
}

/* sums (+)= dy' x over the pixels of a tile. */
static void weigh(const pw_pass *p, pw_tile *t, const pw_maps *dy, const pw_maps *x)
{
    const ful__pointwise *d = p->d;
    const int64_t image = tile_rows(t) * d->block;
    const bool joined = dy->image == image && x->image == image; /* one image's pixels follow the other's */
    const int64_t runs = joined ? 1 : tile_images(t), rows = tile_rows(t) * (joined ? tile_images(t) : 1);
    ful__blocked_outer outer = {.out = p->sums + t->maps.chunk * weights(d),
                                .v_block = dy->block,
                                .e_block = x->block,
                                .width = d->x.c,
                                .v_blocks = d->y.c / d->block,
                                .e_blocks = d->x.c / d->block,
                                .add = !t->first};
    for (int64_t k = 0; k < runs; k++)
        for (int64_t r = 0; r < rows; r += outer.rows) {
            outer.rows = (int)(rows - r < STRIP_ROWS ? rows - r : STRIP_ROWS);
            outer.v = dy->at + k * dy->image + r * d->block;
            outer.e = x->at + k * x->image + r * d->block;
            p->outer(&outer);
            outer.add = true;
        }
}

static void backward_tile(const pw_pass *p, pw_tile *t)
{
    const ful__pointwise *d = p->d;
    const ful__run *run = p->run;
    const ful__map_work *before = run->before, *after = run->after, *again = run->again;
    const bool near_y = before && !before->store;
    const pw_maps dy = near_y ? t->near_y : in_tensor(p, t, run->dy, d->y.c);
    neighbour(before, t, near_y ? &t->near_y : NULL, d->y.c / d->block);
    if (p->sums) {
        const pw_maps x = again ? t->near_x : in_tensor(p, t, run->x[0], d->x.c);
        neighbour(again, t, &t->near_x, d->x.c / d->block);
        weigh(p, t, &dy, &x);
    }
    if (!p->w_dx) return;
    const bool near_x = after && (p->stream_x || !after->store);
    const pw_maps dx = in_tensor(p, t, run->dx[0], d->x.c);
    multiply(p, t, &dy, d->y.c, p->w_dx, near_x ? &t->near_dx : &dx, d->x.c, near_x && after->store ? &dx : NULL);
    neighbour(after, t, near_x ? &t->near_dx : NULL, d->x.c / d->block);
}

/*
 * Pieces: a chunk each; or, where there are more threads than places for their maps, a place each, with every so many chunks.
 * From the last chunk to the first: depthwise convolutions, which come before and behind these, go from the first to the last,
 * and so a pass meets first what the one before has left in the caches.
 */
typedef struct pieces {
    const pw_pass *p;
    bool by_place;
    int64_t step;
    void (*work)(const pw_pass *p, pw_tile *t);
} pieces;

static void work_piece(void *ctx, int64_t piece, int thread)
{
    const pieces *s = ctx;
    for (int64_t chunk = piece; chunk < s->p->chunks; chunk += s->step)
        each_tile(s->p, s->p->chunks - 1 - chunk, s->by_place ? piece : thread, s->work);
}

static void run_tiles(const pw_pass *p, void (*work)(const pw_pass *p, pw_tile *t))
{
    const int64_t places = p->d->near;
    pieces s = {.p = p, .by_place = places > 0 && places < ful_threads_get(), .step = p->chunks, .work = work};
    if (s.by_place && places < s.step) s.step = places;
    ful__parallel_for(s.step, work_piece, &s);
}

void ful__pointwise_forward(const ful__pointwise *d, const ful__run *run)
{
    pw_pass p = begin(d, run);
    p.w = packed_weights(d, run, false);
    p.stream_x = run->before && run->x[0] && ful__worth_streaming(run->x[0], run->n * ful__count(d->x), d->block);
    p.stream_y = run->after && ful__worth_streaming(run->y, run->n * ful__count(d->y), d->block);
    run_tiles(&p, forward_tile);
}

/* dw += the chunks' sums. A line of all of them at a time: so many streams come faster than one after the other. */
static void add_sums(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const pw_pass *p = ctx;
    const int64_t size = weights(p->d), begin = piece * SUM_FLOATS, end = size - begin < SUM_FLOATS ? size : begin + SUM_FLOATS;
    for (int64_t i = begin; i < end; i += SUM_LINE) {
        float total[SUM_LINE] = {0};
        for (const float *sum = p->sums + i; sum < p->sums + p->chunks * size; sum += size)
            for (int64_t l = 0; l < SUM_LINE; l++) total[l] += sum[l];
        for (int64_t l = 0; l < SUM_LINE; l++) p->run->dw[0][i + l] += total[l];
    }
}

void ful__pointwise_backward(const ful__pointwise *d, const ful__run *run)
{
    pw_pass p = begin(d, run);
    if (run->dx[0]) p.w_dx = packed_weights(d, run, true);
    p.stream_x = run->dx[0] && ful__worth_streaming(run->dx[0], run->n * ful__count(d->x), d->block);
    if (run->dw && run->dw[0]) p.sums = run->scratch;
    run_tiles(&p, backward_tile);
    if (p.sums) ful__parallel_for((weights(d) + SUM_FLOATS - 1) / SUM_FLOATS, add_sums, &p);
}
