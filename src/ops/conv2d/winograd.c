/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk of F(4x4, 3x3) over tiles; winograd.h has the formulas, winograd_kernels.h the arithmetic.
 *
 *   V        [36][in/B][tiles][B]            of the tiles in hand; M and E likewise with out
 *   U        [36][out/(N B)][in][N B]        N = 2 blocks side by side where their number is even, else 1
 *   dU       [36][in][out], one for each piece
 *   scratch  for each piece: V | M or E | dU
 *            backward map by map: for each piece V | M of dx, for each V | E | dU of dw, for each the maps of dy in hand
 */
#include "ops/conv2d/winograd.h"

#include <fulcrum/core.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/conv2d/blocked.h"

/* The points of interpolation are 0, +-a, +-b, infinity with ab = 1 (winograd_kernels.h). */
#define WINO_A  (2.0f / 3.0f)
#define WINO_B  1.5f
#define WINO_A2 (4.0f / 9.0f)
#define WINO_B2 2.25f
#define WINO_P  (2 * WINO_A2 * (WINO_A2 - WINO_B2))
#define WINO_Q  (2 * WINO_B2 * (WINO_B2 - WINO_A2))

enum { FREQUENCIES = 36, TILE = 4, WINDOW = 6 };

/* A tile of an image: pixels [top, bottom) x [left, right) of it exist. */
typedef struct wino_window {
    int64_t at; /* its pixel (0, 0), maybe outside, in floats from channel block 0 of the first image */
    int top, bottom, left, right;
} wino_window;

/* Some tiles in one channel block of their images. */
typedef struct wino_tiles {
    const wino_window *windows;
    int count;
    int64_t pitch;  /* floats between rows of the image */
    int64_t spread; /* and between frequencies */
} wino_tiles;

typedef struct wino_kernels {
    int lanes;
    void (*input)(const wino_tiles *t, const float *x, float *v);
    void (*gradient)(const wino_tiles *t, const float *dy, float *e);
    void (*output)(const wino_tiles *t, const float *m, const float *bias, const float *residual, ful_act act, float *y);
    void (*filter)(const float *g, int32_t stride, bool turned, float *u, int64_t spread);
    void (*filter_gradient)(const float *du, int64_t spread, int pieces, int64_t piece, float *dg);
    void (*add_filters)(const float *dg, float *dw, int64_t stride);
} wino_kernels;

#define SIMD_KERNELS "ops/conv2d/winograd_kernels.h"
#include "ops/simd_levels.h"

enum { ROWS = FUL__BLOCKED_ROWS, LANES_MAX = FUL__BLOCK_MAX, FILTERS_BYTES = 1 << 20, TILES_MAX = 8 * ROWS };
/* A piece with fewer tiles makes no good product: then pieces share the output channels, and each makes all of V. */
enum { TILES_LEAST = 8 };

/* Plan ------------------------------------------------------------------------------------------------------------------- */

bool ful__winograd_applies(const ful_conv2d_attr *a, ful_shape x, ful_shape y)
{
    return (ful_cpu_flags() & (FUL_CPU_AVX2 | FUL_CPU_AVX512)) != 0 && a->kernel_h == 3 && a->kernel_w == 3 &&
           a->stride_h == 1 && a->stride_w == 1 && a->dilation_h == 1 && a->dilation_w == 1 && a->groups == 1 &&
           a->pad_h <= 2 && a->pad_w <= 2 && x.c % ful__block() == 0 && y.c % ful__block() == 0;
}

static int64_t tiles_across(int pixels)
{
    return (pixels + TILE - 1) / TILE;
}

static int64_t tiles_of(const ful__winograd *plan, int n)
{
    return n * tiles_across(plan->y.h) * tiles_across(plan->y.w);
}

ful__winograd ful__winograd_plan(const ful_conv2d_attr *a, ful_shape x, ful_shape y, bool dx, int n_max)
{
    ful__winograd plan = {.x = x, .y = y, .pad_h = a->pad_h, .pad_w = a->pad_w, .pieces = ful_threads_get()};
    if (dx) plan = (ful__winograd){.x = y, .y = x, .pad_h = 2 - a->pad_h, .pad_w = 2 - a->pad_w, .pieces = plan.pieces};
    const int64_t share = (tiles_of(&plan, n_max) + plan.pieces - 1) / plan.pieces;
    /* Few tiles at once keep V and M in the second-level cache; where U is larger than that anyway, many make good use of it.
     */
    const int64_t most = ful__winograd_packed_bytes(&plan) <= FILTERS_BYTES ? ROWS : TILES_MAX;
    const int64_t rounds = (share + most - 1) / most;
    const int64_t even = rounds ? (share + rounds - 1) / rounds : 1;
    plan.tiles = (int)((even + ROWS - 1) / ROWS * ROWS);
    return plan;
}

/* Floats between frequencies: an odd number of cache lines, so that the 36 stores of a tile meet different cache sets. */
static int64_t spread_of(const ful__winograd *plan, int channels)
{
    const int64_t lines = (int64_t)channels * plan->tiles / LANES_MAX;
    return (lines | 1) * LANES_MAX;
}

/* Likewise of U and dU. */
static int64_t filter_spread(const ful__winograd *plan)
{
    return (int64_t)plan->x.c * plan->y.c + LANES_MAX;
}

/* Scratch of a piece, in floats. */
typedef struct areas {
    int64_t v_spread, m_spread, du, all;
} areas;

static areas areas_of(const ful__winograd *plan, bool dw)
{
    areas a = {.v_spread = spread_of(plan, plan->x.c), .m_spread = spread_of(plan, plan->y.c)};
    a.du = dw ? FREQUENCIES * filter_spread(plan) : 0;
    a.all = FREQUENCIES * (a.v_spread + a.m_spread) + a.du;
    return a;
}

size_t ful__winograd_packed_bytes(const ful__winograd *plan)
{
    return FREQUENCIES * (size_t)filter_spread(plan) * sizeof(float);
}

size_t ful__winograd_scratch_bytes(const ful__winograd *plan, bool dw)
{
    return (size_t)plan->pieces * (size_t)areas_of(plan, dw).all * sizeof(float);
}

int64_t ful__winograd_macs(const ful__winograd *plan)
{
    return (int64_t)plan->y.h * plan->y.w * 9 * plan->x.c * plan->y.c;
}

const char *ful__winograd_kernel(void)
{
    return SIMD_PICK(kernels)->lanes == LANES_MAX ? "winograd_4x4_3x3_avx512" : "winograd_4x4_3x3_avx2";
}

/* Tiles ------------------------------------------------------------------------------------------------------------------ */

static int within(int at, int end, int most)
{
    const int left = end - at;
    return left < 0 ? 0 : left < most ? left : most;
}

/* The `side` x `side` pixels from (y, x) on of an image; they may begin outside. */
static wino_window window_of(ful_shape s, int lanes, int64_t image, int y, int x, int side)
{
    return (wino_window){.at = image * ful__count(s) + ((int64_t)y * s.w + x) * lanes,
                         .top = y < 0 ? -y : 0,
                         .bottom = within(y, s.h, side),
                         .left = x < 0 ? -x : 0,
                         .right = within(x, s.w, side)};
}

/* The tiles a piece has in hand: their windows in x and in y. */
typedef struct hand {
    int count;
    wino_window in[TILES_MAX], out[TILES_MAX];
} hand;

/* Tiles first … end - 1 of the batch, or where they are too many to go at once, the first of equal parts. */
static void take_hand(const ful__winograd *plan, int lanes, int64_t first, int64_t end, hand *h)
{
    const int64_t wide = tiles_across(plan->y.w), all = wide * tiles_across(plan->y.h), rest = first % all;
    int64_t image = first / all;
    int y = (int)(rest / wide) * TILE, x = (int)(rest % wide) * TILE;
    const int64_t left = end - first, rounds = (left + plan->tiles - 1) / plan->tiles;
    h->count = (int)((left + rounds - 1) / rounds);
    for (int t = 0; t < h->count; t++) {
        h->in[t] = window_of(plan->x, lanes, image, y - plan->pad_h, x - plan->pad_w, WINDOW);
        h->out[t] = window_of(plan->y, lanes, image, y, x, TILE);
        x += TILE;
        if (x < plan->y.w) continue;
        x = 0;
        y += TILE;
        if (y < plan->y.h) continue;
        y = 0;
        image++;
    }
}

static void take_input(const ful__winograd *plan, const wino_kernels *k, const hand *h, const float *x, float *v,
                       int64_t spread)
{
    const wino_tiles tiles = {h->in, h->count, (int64_t)plan->x.w * k->lanes, spread};
    const int64_t plane = plan->x.h * tiles.pitch, block = (int64_t)plan->tiles * k->lanes;
    for (int b = 0; b < plan->x.c / k->lanes; b++) k->input(&tiles, x + b * plane, v + b * block);
}

static void take_gradient(const ful__winograd *plan, const wino_kernels *k, const hand *h, const float *dy, float *e,
                          int64_t spread)
{
    const wino_tiles tiles = {h->out, h->count, (int64_t)plan->y.w * k->lanes, spread};
    const int64_t plane = plan->y.h * tiles.pitch, block = (int64_t)plan->tiles * k->lanes;
    for (int b = 0; b < plan->y.c / k->lanes; b++) k->gradient(&tiles, dy + b * plane, e + b * block);
}

/* Forward and dx --------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const ful__winograd *plan;
    const wino_kernels *kernels;
    const ful__conv_run *run;
    const float *x, *dy; /* dw */
    float *scratch, *dw;
    areas areas;
    int64_t tiles;
    int group;   /* output blocks side by side */
    int pieces;  /* that have tiles */
    bool by_out; /* pieces share the output channels instead of the tiles: there are few tiles */
} pass;

static pass begin(const ful__winograd *plan, int n, float *scratch, bool dw)
{
    pass p = {.plan = plan, .kernels = SIMD_PICK(kernels), .scratch = scratch, .areas = areas_of(plan, dw)};
    p.tiles = tiles_of(plan, n);
    const int pieces = ful__parallel_active() ? 1 : plan->pieces; /* inside a piece the sums are those of one thread */
    p.pieces = pieces < p.tiles ? pieces : (int)p.tiles;
    p.group = plan->y.c / p.kernels->lanes % 2 == 0 ? 2 : 1;
    const int groups = plan->y.c / p.kernels->lanes / p.group;
    p.by_out = !dw && p.tiles < (int64_t)TILES_LEAST * pieces && groups >= pieces;
    if (p.by_out) p.pieces = pieces;
    return p;
}

/* M of output groups [first, end) from V and U. */
static void multiply(const pass *p, int count, const float *v, float *m, int first, int end)
{
    const ful__winograd *plan = p->plan;
    const ful__blocked_fn product = ful__blocked_multiply();
    const int64_t lanes = p->kernels->lanes, in = plan->x.c, block = plan->tiles * lanes;
    for (int f = 0; f < FREQUENCIES; f++) {
        for (int g = first; g < end; g++) {
            const ful__blocked_product one = {.v = v + f * p->areas.v_spread,
                                              .w = p->run->packed + f * filter_spread(plan) + g * in * p->group * lanes,
                                              .m = m + f * p->areas.m_spread + g * p->group * block,
                                              .v_block = block,
                                              .m_block = block,
                                              .blocks = (int)(in / lanes),
                                              .rows = count,
                                              .group = p->group};
            product(&one);
        }
    }
}

static void give_output(const pass *p, const hand *h, const float *m, int first, int end)
{
    const ful__winograd *plan = p->plan;
    const ful__conv_run *run = p->run;
    const int lanes = p->kernels->lanes;
    const wino_tiles tiles = {h->out, h->count, (int64_t)plan->y.w * lanes, p->areas.m_spread};
    for (int b = first; b < end; b++) {
        const int64_t plane = b * plan->y.h * tiles.pitch;
        p->kernels->output(&tiles, m + (int64_t)b * plan->tiles * lanes, run->bias ? run->bias + b * lanes : NULL,
                           run->residual ? run->residual + plane : NULL, run->act, run->y + plane);
    }
}

static void apply_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const ful__winograd *plan = p->plan;
    hand h;
    int64_t tile = 0, end = p->tiles, first = 0, last = plan->y.c / p->kernels->lanes / p->group;
    if (p->by_out)
        ful__share(last, p->pieces, piece, &first, &last);
    else
        ful__share(p->tiles, p->pieces, piece, &tile, &end);
    float *v = p->scratch + piece * p->areas.all, *m = v + FREQUENCIES * p->areas.v_spread;
    for (; tile < end; tile += h.count) {
        take_hand(plan, p->kernels->lanes, tile, end, &h);
        take_input(plan, p->kernels, &h, p->run->x, v, p->areas.v_spread);
        multiply(p, h.count, v, m, (int)first, (int)last);
        give_output(p, &h, m, (int)first * p->group, (int)last * p->group);
    }
}

void ful__winograd_apply(const ful__winograd *plan, const ful__conv_run *run)
{
    pass p = begin(plan, run->n, run->scratch, false);
    p.run = run;
    ful__parallel_for(p.pieces, apply_piece, &p);
}

/* Weights ---------------------------------------------------------------------------------------------------------------- */

typedef struct packing {
    const ful__winograd *plan;
    const wino_kernels *kernels;
    const float *w;
    bool dx;
    float *u;
    int group;
} packing;

/* U of one block of input channels times one of output channels. */
static void pack_square(void *ctx, int64_t square, int thread)
{
    (void)thread;
    const packing *p = ctx;
    const int64_t lanes = p->kernels->lanes, in = p->plan->x.c, out = p->plan->y.c;
    const int64_t c0 = square % (in / lanes) * lanes, b = square / (in / lanes), o0 = b * lanes;
    float *u = p->u + b / p->group * in * p->group * lanes + b % p->group * lanes;
    const int64_t lane = p->dx ? 9 : in * 9, channel = p->dx ? out * 9 : 9;
    for (int64_t c = c0; c < c0 + lanes; c++)
        p->kernels->filter(p->w + o0 * lane + c * channel, (int32_t)lane, p->dx, u + c * p->group * lanes,
                           filter_spread(p->plan));
}

void ful__winograd_pack(const ful__winograd *plan, const float *w, bool dx, float *packed)
{
    packing p = {.plan = plan, .kernels = SIMD_PICK(kernels), .w = w, .dx = dx, .u = packed};
    p.group = plan->y.c / p.kernels->lanes % 2 == 0 ? 2 : 1;
    ful__parallel_for(plan->x.c / p.kernels->lanes * (plan->y.c / p.kernels->lanes), pack_square, &p);
}

/* Gradient of the weights ------------------------------------------------------------------------------------------------ */

/* dU, behind V and E in `area`, (+)= what tiles first … end - 1 of the images at x and dy give. */
static void sum_tiles(const pass *p, int64_t first, int64_t end, const float *x, const float *dy, float *area, bool add)
{
    const ful__winograd *plan = p->plan;
    const ful__blocked_outer_fn product = ful__blocked_multiply_outer();
    const int64_t lanes = p->kernels->lanes, block = plan->tiles * lanes;
    float *v = area, *e = v + FREQUENCIES * p->areas.v_spread, *du = e + FREQUENCIES * p->areas.m_spread;
    hand h;
    for (int64_t tile = first; tile < end; tile += h.count, add = true) {
        take_hand(plan, p->kernels->lanes, tile, end, &h);
        take_input(plan, p->kernels, &h, x, v, p->areas.v_spread);
        take_gradient(plan, p->kernels, &h, dy, e, p->areas.m_spread);
        for (int f = 0; f < FREQUENCIES; f++) {
            const ful__blocked_outer outer = {.v = v + f * p->areas.v_spread,
                                              .e = e + f * p->areas.m_spread,
                                              .out = du + f * filter_spread(plan),
                                              .v_block = block,
                                              .e_block = block,
                                              .width = plan->y.c,
                                              .v_blocks = (int)(plan->x.c / lanes),
                                              .e_blocks = (int)(plan->y.c / lanes),
                                              .rows = h.count,
                                              .add = add};
            product(&outer);
        }
    }
}

static void grad_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const pass *p = ctx;
    int64_t first, end;
    ful__share(p->tiles, p->pieces, piece, &first, &end);
    sum_tiles(p, first, end, p->x, p->dy, p->scratch + piece * p->areas.all, false);
}

/* dw of one block of input channels times one of output channels. */
static void grad_filters(void *ctx, int64_t square, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const int64_t lanes = p->kernels->lanes, in = p->plan->x.c, out = p->plan->y.c;
    const int64_t c0 = square % (in / lanes) * lanes, o0 = square / (in / lanes) * lanes;
    const float *du = p->scratch + FREQUENCIES * (p->areas.v_spread + p->areas.m_spread);
    float dg[LANES_MAX * 3 * 3 * LANES_MAX];
    for (int64_t i = 0; i < lanes; i++)
        p->kernels->filter_gradient(du + (c0 + i) * out + o0, filter_spread(p->plan), p->pieces, p->areas.all,
                                    dg + i * 9 * lanes);
    p->kernels->add_filters(dg, p->dw + (o0 * in + c0) * 9, in * 9);
}

/* dw += from the pieces' dU. */
static void add_pieces(pass *p)
{
    ful__parallel_for(p->plan->x.c / p->kernels->lanes * (p->plan->y.c / p->kernels->lanes), grad_filters, p);
}

void ful__winograd_grad(const ful__winograd *plan, int n, const float *x, const float *dy, float *dw, void *scratch)
{
    pass p = begin(plan, n, scratch, true);
    p.x = x;
    p.dy = dy;
    p.dw = dw;
    ful__parallel_for(p.pieces, grad_piece, &p);
    add_pieces(&p);
}

/* Map by map ------------------------------------------------------------------------------------------------------------- */

/* Floats of x, of y, of the images that are taken at once, so that they stay in the second-level cache. */
enum { TOGETHER_FLOATS = 1 << 15 };

typedef struct by_maps {
    const ful__winograd *plan;
    const ful__conv_run *run;
    const ful__map_work *before, *after;
    const pass *grad; /* dw is taken along; NULL: it is not */
    int64_t chunks, step, together;
    bool by_place; /* whose scratch a piece takes: that of its own number, else the thread's */
    float *near;   /* room for each piece's maps of x, which are not stored; NULL: they are */
} by_maps;

static int64_t together(const ful__winograd *plan)
{
    const int64_t x = ful__count(plan->x), y = ful__count(plan->y), image = x > y ? x : y;
    return image < TOGETHER_FLOATS ? TOGETHER_FLOATS / image : 1;
}

bool ful__winograd_takes_maps(const ful__winograd *plan, int n)
{
    const int64_t chunks = ful__map_chunks(n);
    return ful__winograd_packed_bytes(plan) <= FILTERS_BYTES && tiles_of(plan, (int)(n / chunks)) >= ROWS &&
           2 * plan->pieces <= chunks;
}

bool ful__winograd_grad_takes_maps(const ful__winograd *plan)
{
    return 2 * ful__winograd_packed_bytes(plan) <= FILTERS_BYTES;
}

size_t ful__winograd_back_scratch_bytes(const ful__winograd *to_dx, const ful__winograd *to_y)
{
    return ful__winograd_scratch_bytes(to_dx, false) + ful__winograd_scratch_bytes(to_y, true) +
           (size_t)(to_dx->pieces * together(to_dx) * ful__count(to_dx->x)) * sizeof(float);
}

static void neighbour(const ful__map_work *w, ful__maps *m, ful_shape s)
{
    if (!w) return;
    m->row_end = (int64_t)s.h * s.w;
    m->group_end = s.c / ful__block();
    w->fn(w->op, w->run, m);
}

/* Has the maps of x made, image by image where they are near, so that they lie as in the tensor; returns where they begin. */
static const float *make_maps(const by_maps *p, const ful__maps *m, int64_t piece)
{
    const ful_shape s = p->plan->x;
    const int64_t image = ful__count(s);
    float *near = p->near ? p->near + piece * p->together * image : NULL;
    ful__maps part = *m;
    if (!near) {
        neighbour(p->before, &part, s);
        return p->run->x + m->image * image;
    }
    part.near_block = (int64_t)s.h * s.w * ful__block();
    for (; part.image < m->image_end; part.image++) {
        part.image_end = part.image + 1;
        part.near = near + (part.image - m->image) * image;
        neighbour(p->before, &part, s);
    }
    return near;
}

static void apply_images(const by_maps *p, const ful__maps *m, const float *x, float *scratch)
{
    const ful__winograd *plan = p->plan;
    ful__conv_run r = *p->run;
    r.n = (int)(m->image_end - m->image);
    r.x = x;
    r.y += m->image * ful__count(plan->y);
    if (r.residual) r.residual += m->image * ful__count(plan->y);
    r.scratch = scratch;
    ful__winograd_apply(plan, &r);
}

static void grad_images(const pass *p, const ful__maps *m, const float *dy, int64_t piece, bool add)
{
    const ful__winograd *plan = p->plan;
    sum_tiles(p, 0, tiles_of(plan, (int)(m->image_end - m->image)), p->x + m->image * ful__count(plan->x), dy,
              p->scratch + piece * p->areas.all, add);
}

static void maps_piece(void *ctx, int64_t piece, int thread)
{
    const by_maps *p = ctx;
    float *scratch = (float *)p->run->scratch + (p->by_place ? piece : thread) * areas_of(p->plan, false).all;
    for (int64_t chunk = piece; chunk < p->chunks; chunk += p->step) {
        ful__maps m = {.chunk = chunk};
        int64_t begin, end;
        ful__share(p->run->n, p->chunks, chunk, &begin, &end);
        for (m.image = begin; m.image < end; m.image = m.image_end) {
            m.image_end = end - m.image < p->together ? end : m.image + p->together;
            const float *x = make_maps(p, &m, piece);
            if (p->grad) grad_images(p->grad, &m, x, piece, chunk > piece || m.image > begin);
            if (!p->run->y) continue;
            apply_images(p, &m, x, scratch);
            neighbour(p->after, &m, p->plan->y);
        }
    }
}

static void run_maps(by_maps *p)
{
    const int64_t places = p->plan->pieces;
    p->chunks = ful__map_chunks(p->run->n);
    p->by_place = p->grad || places < ful_threads_get();
    p->step = p->by_place && places < p->chunks ? places : p->chunks;
    p->together = together(p->plan);
    ful__parallel_for(p->step, maps_piece, p);
}

void ful__winograd_apply_maps(const ful__winograd *plan, const ful__conv_run *run, const ful__map_work *before,
                              const ful__map_work *after)
{
    by_maps p = {.plan = plan, .run = run, .before = before, .after = after};
    run_maps(&p);
}

void ful__winograd_back_maps(const ful__winograd *to_dx, const ful__winograd *to_y, const ful__conv_run *run, const float *x,
                             float *dw, const ful__map_work *before, const ful__map_work *after)
{
    pass grad = begin(to_y, run->n, (float *)run->scratch + to_dx->pieces * areas_of(to_dx, false).all, true);
    grad.x = x;
    grad.dw = dw;
    by_maps p = {.plan = to_dx, .run = run, .before = before, .after = after, .grad = &grad};
    if (before && !before->store) p.near = grad.scratch + to_y->pieces * grad.areas.all;
    run_maps(&p);
    grad.pieces = (int)p.step;
    add_pieces(&grad);
}
