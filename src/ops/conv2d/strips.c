/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   strip    [row][block][column][channels]: row r and column q are those of `from` at the strip's first row + r and low_w + q
 *   packed   for each walk [out/(N B)][block][tap_h][tap_w][channels][N B]; N = 2 blocks side by side, the last one alone where
 *            their number is odd
 *   scratch  for each thread: strip | where each output pixel of a walk has its place in the strip, and in y, and where each
 *            run of taps has it beside that of the pixel (int32) | dw: its sums, as packed
 *
 * Pieces share the images, or the lines of each image; where there are more weights than pixels, the output channels too.
 */
#include "ops/conv2d/strips.h"

#include <fulcrum/core.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/conv2d/blocked.h"

/* Weights are fetched so many steps before their use: they are read once, and the hardware stops at the ends of pages. PART_…:
 * of a long panel so many floats at a time, where there are no more than so many tiles. */
enum { AHEAD = 24, LINE = 16, STRIPS_PIXELS = 8, PART_FLOATS = 1 << 14, PART_TILES = 6 };

/*
 * One panel of the output for the pixels of a strip:
 *   y[y_at[i] + n*y_block] = act(bias + sum over run, c of v[v_at[i] + run_at[run] + c] * w[…] + residual)
 * A run is what lies side by side in the strip: `length` values of taps and channels.
 */
typedef struct strips_product {
    const float *v, *w;
    const int32_t *v_at, *y_at, *run_at;
    int pixels, runs, length, group;
    int64_t y_block;
    const float *bias, *residual; /* NULL: 0; residual lies as y does, or is y */
    ful_act act;
    float *y;
    const float *dy; /* in the place of y, where the sum is over the pixels: */
    float *dw;       /* [run][c][out] += */
} strips_product;

/* Some runs of a product, for one tile. */
typedef struct strips_part {
    const int32_t *run_at;
    int runs;
    const float *w, *next; /* of these runs; what is fetched meanwhile */
    int64_t next_step;     /* floats from one step's to the next one's */
    bool begins, ends;     /* the first of the product's runs are among these; the last */
    float *sums;           /* between them */
} strips_part;

typedef struct strips_kernels {
    void (*multiply)(const strips_product *p);
    void (*weigh)(const strips_product *p);
    void (*copy)(const float *x, int64_t left, int64_t count, int64_t right, float *out);
} strips_kernels;

#define SIMD_KERNELS "ops/conv2d/strips_kernels.h"
#include "ops/simd_levels.h"

/* Floats a strip should have: beside weights that stay in the second-level cache, beside larger ones, which are read once a
 * strip, and beside sums of as many, which are read and written; and may have. */
enum {
    STRIP_FLOATS = 3 << 13,
    STRIP_FLOATS_LARGE = 1 << 16,
    STRIP_FLOATS_SUMS = 3 << 15,
    STRIP_FLOATS_MAX = 1 << 20,
    WEIGHTS_LARGE = 1 << 16
};
/* Pieces are no smaller than so many multiply-accumulates, and, so that threads of unlike speed end together, so many a thread.
 */
enum { PIECE_MACS = 1 << 18, PIECES = 4 };

/* Plan ------------------------------------------------------------------------------------------------------------------- */

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int64_t shares(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

static bool is_wide(int kernel, int dilation, int stride, int pad)
{
    return kernel * dilation > 64 || stride > 64 || pad > 64;
}

static bool is_dx(const ful__strips *p)
{
    return p->pass == FUL__DNNL_BWD_X;
}

static int64_t row_floats(const ful__strips *p)
{
    return (int64_t)p->blocks * p->columns * p->channels;
}

/* Rows of the strip that so many lines of an image need. */
static int64_t rows_for(const ful__strips *p, int lines)
{
    return (int64_t)(lines - 1) * p->from_step_h + p->high_h - p->low_h + 1;
}

bool ful__strips_applies(const ful_conv2d_attr *a, ful_shape x, ful_shape y, ful__dnnl_pass pass)
{
    const int block = ful__block();
    if (!(ful_cpu_flags() & (FUL_CPU_AVX2 | FUL_CPU_AVX512)) || a->groups != 1 || y.c % block != 0) return false;
    if (is_wide(a->kernel_h, a->dilation_h, a->stride_h, a->pad_h)) return false;
    if (is_wide(a->kernel_w, a->dilation_w, a->stride_w, a->pad_w)) return false;
    if (pass == FUL__DNNL_BWD_X && (x.c % block != 0 || a->dilation_h != 1 || a->dilation_w != 1 ||
                                    a->stride_h > FUL__STRIPS_STRIDE_MAX || a->stride_w > FUL__STRIPS_STRIDE_MAX))
        return false;
    const ful__strips plan = ful__strips_plan(a, x, y, pass, 1);
    return rows_for(&plan, 1) * row_floats(&plan) <= STRIP_FLOATS_MAX &&
           rows_for(&plan, plan.lines) * row_floats(&plan) < INT32_MAX && ful__count(plan.to) < INT32_MAX;
}

/* Along one axis: of the forward pass, */
static ful__strips_axis forward_axis(int kernel, int pad, int count)
{
    return (ful__strips_axis){.taps = kernel, .lag = -pad, .count = count, .kernel_step = 1};
}

/* and of dx at the pixels `first`, first + stride, …: dx[i] = sum over k = i + pad (mod stride) of dy[(i + pad - k)/stride]
 * w[k], taps in ascending order of dy. */
static ful__strips_axis backward_axis(int kernel, int stride, int pad, int first, int count)
{
    const int k = (first + pad) % stride, taps = k < kernel ? (kernel - k + stride - 1) / stride : 0;
    return (ful__strips_axis){.taps = taps,
                              .lag = taps ? (first + pad - k) / stride - (taps - 1) : 0,
                              .first = first,
                              .count = (count - first + stride - 1) / stride,
                              .kernel_first = k + stride * (taps - 1),
                              .kernel_step = -stride};
}

/* Adds a walk, whose outputs exist, and widens what the strip must hold. */
static void add_walk(ful__strips *p, ful__strips_axis h, ful__strips_axis w, int *high_w)
{
    const int64_t values = (int64_t)p->from.c * p->to.c;
    const bool first = p->n_walks == 0;
    ful__strips_walk *walk = &p->walk[p->n_walks++];
    *walk = (ful__strips_walk){.h = h, .w = w};
    if (!first) walk->weights = walk[-1].weights + walk[-1].h.taps * walk[-1].w.taps * values;
    const int high_h = h.lag + (most(h.taps, 1) - 1) * p->space_h;
    const int right = (w.count - 1) * p->from_step_w + w.lag + (most(w.taps, 1) - 1) * p->space_w;
    p->low_h = first ? h.lag : least(p->low_h, h.lag);
    p->low_w = first ? w.lag : least(p->low_w, w.lag);
    p->high_h = first ? high_h : most(p->high_h, high_h);
    *high_w = first ? right : most(*high_w, right);
    p->lines = most(p->lines, h.count);
}

static void add_walks(ful__strips *p, const ful_conv2d_attr *a)
{
    int high_w = 0;
    if (!is_dx(p)) {
        add_walk(p, forward_axis(a->kernel_h, a->pad_h, p->to.h), forward_axis(a->kernel_w, a->pad_w, p->to.w), &high_w);
    } else {
        for (int y = 0; y < a->stride_h && y < p->to.h; y++)
            for (int x = 0; x < a->stride_w && x < p->to.w; x++)
                add_walk(p, backward_axis(a->kernel_h, a->stride_h, a->pad_h, y, p->to.h),
                         backward_axis(a->kernel_w, a->stride_w, a->pad_w, x, p->to.w), &high_w);
    }
    p->columns = high_w - p->low_w + 1;
    p->in_place = p->low_h >= 0 && p->low_w >= 0 && high_w < p->from.w && rows_for(p, p->lines) + p->low_h <= p->from.h;
}

ful__strips ful__strips_plan(const ful_conv2d_attr *a, ful_shape x, ful_shape y, ful__dnnl_pass pass, int n_max)
{
    const bool dx = pass == FUL__DNNL_BWD_X;
    ful__strips p = {.from = dx ? y : x, .to = dx ? x : y, .pass = pass, .kernel_h = a->kernel_h, .kernel_w = a->kernel_w};
    p.from_step_h = dx ? 1 : a->stride_h;
    p.from_step_w = dx ? 1 : a->stride_w;
    p.to_step_h = dx ? a->stride_h : 1;
    p.to_step_w = dx ? a->stride_w : 1;
    p.space_h = a->dilation_h;
    p.space_w = a->dilation_w;
    p.channels = p.from.c % ful__block() == 0 ? ful__block() : p.from.c;
    p.blocks = p.from.c / p.channels;
    add_walks(&p, a);

    const int64_t weights = (int64_t)a->kernel_h * a->kernel_w * x.c * y.c;
    const int64_t large = pass == FUL__DNNL_BWD_W ? STRIP_FLOATS_SUMS : STRIP_FLOATS_LARGE;
    const int64_t want = (weights > WEIGHTS_LARGE ? large : STRIP_FLOATS) / row_floats(&p);
    const int64_t lines = (want - rows_for(&p, 1)) / p.from_step_h + 1;
    const int64_t images = want / rows_for(&p, p.lines), room = INT32_MAX / (ful__count(p.to) + 1);
    p.strip_lines = lines < 1 ? 1 : lines < p.lines ? (int)shares(p.lines, shares(p.lines, lines)) : p.lines;
    p.strip_images = images < 1 || room < 1 || p.strip_lines < p.lines ? 1 : least(n_max, (int)(images < room ? images : room));
    p.threads = ful_threads_get();
    return p;
}

size_t ful__strips_packed_bytes(const ful__strips *p)
{
    const ful__strips_walk *last = &p->walk[p->n_walks - 1];
    const int64_t values = (int64_t)p->from.c * p->to.c;
    return (size_t)(last->weights + last->h.taps * last->w.taps * values) * sizeof(float);
}

/* Scratch of a thread, in bytes. */
static size_t strip_bytes(const ful__strips *p)
{
    const int64_t floats = p->in_place ? 0 : p->strip_images * rows_for(p, p->strip_lines) * row_floats(p) + FUL__BLOCK_MAX;
    return ful__align64((size_t)floats * sizeof(float));
}

static int64_t strip_pixels(const ful__strips *p)
{
    return (int64_t)p->strip_images * p->strip_lines * p->walk[0].w.count;
}

/* Taps side by side are one run. */
static bool taps_touch(const ful__strips *p)
{
    return p->space_w == 1;
}

/* Places of a walk: of every pixel of a strip in it and in y, and of the runs. */
static int64_t places_of_walk(const ful__strips *p)
{
    return 2 * strip_pixels(p) + (int64_t)p->blocks * p->kernel_h * (taps_touch(p) ? 1 : p->kernel_w);
}

static size_t places_bytes(const ful__strips *p)
{
    return ful__align64((size_t)p->n_walks * (size_t)places_of_walk(p) * sizeof(int32_t));
}

static size_t thread_bytes(const ful__strips *p)
{
    const size_t sums = p->pass == FUL__DNNL_BWD_W ? ful__align64(ful__strips_packed_bytes(p)) : 0;
    return strip_bytes(p) + places_bytes(p) + sums;
}

size_t ful__strips_scratch_bytes(const ful__strips *p)
{
    return (size_t)p->threads * thread_bytes(p);
}

int64_t ful__strips_macs(const ful__strips *p)
{
    int64_t taps = 0;
    for (const ful__strips_walk *w = p->walk; w < p->walk + p->n_walks; w++)
        taps += (int64_t)w->h.count * w->w.count * w->h.taps * w->w.taps;
    return taps * p->blocks * p->channels * p->to.c;
}

const char *ful__strips_kernel(void)
{
    return ful__block() == FUL__BLOCK_MAX ? "strips_avx512" : "strips_avx2";
}

/* Weights ---------------------------------------------------------------------------------------------------------------- */

static int panels_of(const ful__strips *p)
{
    return (p->to.c / ful__block() + 1) / 2;
}

static int panel_width(const ful__strips *p, int64_t panel)
{
    const int block = ful__block(), left = p->to.c - (int)panel * 2 * block;
    return least(left, 2 * block);
}

typedef struct packing {
    const ful__strips *plan;
    const float *w;
    float *packed;
} packing;

static void pack_panel(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const packing *k = ctx;
    const ful__strips *p = k->plan;
    const ful__strips_walk *walk = &p->walk[piece % p->n_walks];
    const int64_t panel = piece / p->n_walks, first = panel * 2 * ful__block(), taps = (int64_t)p->kernel_h * p->kernel_w;
    const int64_t to_step = is_dx(p) ? taps : p->from.c * taps, from_step = is_dx(p) ? p->to.c * taps : taps;
    const int width = panel_width(p, panel);
    float *to = k->packed + walk->weights + first * walk->h.taps * walk->w.taps * p->from.c;
    for (int64_t block = 0; block < p->blocks; block++, to += walk->h.taps * walk->w.taps * p->channels * width)
        for (int o = 0; o < width; o++)
            for (int c = 0; c < p->channels; c++) { /* a filter's taps stand side by side */
                const float *w = k->w + (first + o) * to_step + (block * p->channels + c) * from_step;
                float *out = to + c * width + o;
                for (int y = 0; y < walk->h.taps; y++) {
                    const float *row = w + (walk->h.kernel_first + y * walk->h.kernel_step) * p->kernel_w;
                    for (int x = 0; x < walk->w.taps; x++, out += p->channels * width)
                        *out = row[walk->w.kernel_first + x * walk->w.kernel_step];
                }
            }
}

void ful__strips_pack(const ful__strips *plan, const float *w, float *packed)
{
    packing k = {plan, w, packed};
    ful__parallel_for((int64_t)panels_of(plan) * plan->n_walks, pack_panel, &k);
}

/* Strips ----------------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const ful__strips *plan;
    const ful__conv_run *run;
    const float *dy; /* dw */
    float *dw;
    const strips_kernels *kernels;
    int64_t image_pieces, line_pieces, panel_pieces;
    bool by_thread; /* whose scratch a piece takes: the thread's, else that of its own number */
} pass;

/* What is worked on in one go: lines of some images. */
typedef struct strip {
    int64_t image, images;
    int line, lines;
    float *copy;
    int32_t *places;
} strip;

static strip strip_in(const ful__strips *p, char *scratch)
{
    return (strip){.copy = (float *)(void *)scratch, .places = (int32_t *)(void *)(scratch + strip_bytes(p))};
}

/* The first row that a strip's lines need, of each image. */
static int64_t top_of(const ful__strips *p, const strip *s)
{
    return (int64_t)s->line * p->from_step_h + p->low_h;
}

static void copy_strip(const pass *p, const strip *s)
{
    const ful__strips *plan = p->plan;
    const int64_t channels = plan->channels, rows = rows_for(plan, s->lines),
                  map = (int64_t)plan->from.h * plan->from.w * channels;
    const int begin = most(plan->low_w, 0), end = least(plan->low_w + plan->columns, plan->from.w),
              columns = most(end - begin, 0);
    const int64_t left = least(begin - plan->low_w, plan->columns), right = plan->columns - left - columns;
    float *to = s->copy;
    for (int64_t i = 0; i < s->images; i++) {
        for (int64_t r = 0; r < rows; r++) {
            const int64_t row = top_of(plan, s) + r;
            const bool there = row >= 0 && row < plan->from.h;
            const float *x = p->run->x + (s->image + i) * plan->blocks * map + (row * plan->from.w + begin) * channels;
            for (int b = 0; b < plan->blocks; b++, to += plan->columns * channels) {
                if (there)
                    p->kernels->copy(x + b * map, left * channels, columns * channels, right * channels, to);
                else
                    p->kernels->copy(NULL, plan->columns * channels, 0, 0, to);
            }
        }
    }
}

/* How a strip lies: floats between images, rows, blocks of channels. */
typedef struct pitches {
    int64_t image, row, block;
} pitches;

static pitches pitches_of(const ful__strips *p, const strip *s)
{
    const int64_t row = (int64_t)p->from.w * p->channels, columns = (int64_t)p->columns * p->channels;
    if (p->in_place) return (pitches){.image = ful__count(p->from), .row = row, .block = row * p->from.h};
    return (pitches){.image = rows_for(p, s->lines) * row_floats(p), .row = row_floats(p), .block = columns};
}

/* count places, `step` apart */
static void place(int64_t first, int step, int count, int32_t *at)
{
    for (int i = 0; i < count; i++) at[i] = (int32_t)first + i * step;
}

/* Where the pixels of a walk have their places; returns how many there are. */
static int place_pixels(const ful__strips *p, const strip *s, const ful__strips_walk *w, pitches at, int32_t *v_at,
                        int32_t *y_at)
{
    const int block = ful__block(), count = least(s->lines, w->h.count - s->line);
    int pixels = 0;
    for (int64_t i = 0; i < s->images; i++)
        for (int64_t line = 0; line < count; line++, pixels += w->w.count) {
            const int64_t row = line * p->from_step_h + w->h.lag - p->low_h;
            const int64_t to_row = w->h.first + (s->line + line) * p->to_step_h;
            place(i * at.image + row * at.row + (w->w.lag - p->low_w) * p->channels, p->from_step_w * p->channels, w->w.count,
                  v_at + pixels);
            place(i * ful__count(p->to) + (to_row * p->to.w + w->w.first) * block, p->to_step_w * block, w->w.count,
                  y_at + pixels);
        }
    return pixels;
}

/* Where its runs have theirs. */
static int place_runs(const ful__strips *p, const ful__strips_walk *w, pitches at, int32_t *run_at)
{
    const int a_line = taps_touch(p) ? 1 : w->w.taps;
    int runs = 0;
    for (int b = 0; b < p->blocks; b++)
        for (int line = 0; line < w->h.taps; line++, runs += a_line)
            place(b * at.block + line * p->space_h * at.row, p->space_w * p->channels, a_line, run_at + runs);
    return runs;
}

/* What all panels of a walk over a strip have in common. */
static strips_product product_of(const pass *p, const strip *s, int walk)
{
    const ful__strips *plan = p->plan;
    const ful__conv_run *run = p->run;
    const ful__strips_walk *w = &plan->walk[walk];
    const pitches at = pitches_of(plan, s);
    int32_t *v_at = s->places + walk * places_of_walk(plan), *y_at = v_at + strip_pixels(plan),
            *run_at = y_at + strip_pixels(plan);
    strips_product product = {.v_at = v_at, .y_at = y_at, .run_at = run_at, .act = run->act};
    product.pixels = place_pixels(plan, s, w, at, v_at, y_at);
    product.runs = place_runs(plan, w, at, run_at);
    product.length = (taps_touch(plan) ? w->w.taps : 1) * plan->channels;
    product.v = plan->in_place ? run->x + s->image * at.image + top_of(plan, s) * at.row + (int64_t)plan->low_w * plan->channels
                               : s->copy;
    product.y_block = (int64_t)plan->to.h * plan->to.w * ful__block();
    return product;
}

/* The walks of a panel one after the other: they fill the same lines of y. */
static void walk_strip(const pass *p, const strip *s, int64_t panel, int64_t panel_end)
{
    const ful__strips *plan = p->plan;
    const ful__conv_run *run = p->run;
    const int64_t block = ful__block(), image = s->image * ful__count(plan->to);
    strips_product products[FUL__STRIPS_WALKS_MAX];
    for (int i = 0; i < plan->n_walks; i++) products[i] = product_of(p, s, i);
    for (; panel < panel_end; panel++) {
        const int64_t first = panel * 2 * block, to = image + panel * 2 * products[0].y_block;
        for (int i = 0; i < plan->n_walks; i++) {
            const ful__strips_walk *w = &plan->walk[i];
            strips_product *product = &products[i];
            product->group = panel_width(plan, panel) / (int)block;
            product->w = run->packed + w->weights + first * w->h.taps * w->w.taps * plan->from.c;
            product->bias = run->bias ? run->bias + first : NULL;
            product->residual = run->residual ? run->residual + to : NULL;
            product->y = run->y + to;
            p->kernels->multiply(product);
        }
    }
}

static void work_piece(void *ctx, int64_t piece, int thread)
{
    const pass *p = ctx;
    const ful__strips *plan = p->plan;
    char *scratch = (char *)p->run->scratch + (size_t)(p->by_thread ? thread : piece) * thread_bytes(plan);
    int64_t image, image_end, line, line_end, panel, panel_end;
    ful__share(panels_of(plan), p->panel_pieces, piece % p->panel_pieces, &panel, &panel_end);
    ful__share(plan->lines, p->line_pieces, piece / p->panel_pieces % p->line_pieces, &line, &line_end);
    ful__share(p->run->n, p->image_pieces, piece / p->panel_pieces / p->line_pieces, &image, &image_end);
    strip s = strip_in(plan, scratch);
    for (s.image = image; s.image < image_end; s.image += s.images) {
        s.images = image_end - s.image < plan->strip_images ? image_end - s.image : plan->strip_images;
        for (s.line = (int)line; s.line < line_end; s.line += s.lines) {
            s.lines = least((int)line_end - s.line, plan->strip_lines);
            if (!plan->in_place) copy_strip(p, &s);
            walk_strip(p, &s, panel, panel_end);
        }
    }
}

static void cut(pass *p)
{
    const ful__strips *plan = p->plan;
    const int64_t n = p->run->n, panels = panels_of(plan);
    int64_t threads = ful__parallel_active() ? 1 : ful_threads_get();
    p->by_thread = ful_threads_get() <= plan->threads;
    if (threads > plan->threads) threads = plan->threads;
    p->panel_pieces = p->line_pieces = p->image_pieces = 1;
    if (threads == 1) return;
    int64_t want = p->by_thread ? n * ful__strips_macs(plan) / PIECE_MACS : threads;
    want = want < threads ? threads : want > PIECES * threads ? PIECES * threads : (want + threads / 2) / threads * threads;
    if (n * plan->lines * plan->walk[0].w.count < plan->to.c) { /* more weights than values of a strip */
        p->panel_pieces = threads < panels ? threads : panels;
        want = threads / p->panel_pieces;
    }
    p->image_pieces = n < want ? n : want;
    p->line_pieces = shares(want, p->image_pieces);
    if (p->line_pieces > plan->lines) p->line_pieces = plan->lines;
    if (!p->by_thread && p->line_pieces * p->image_pieces * p->panel_pieces > threads) p->line_pieces = 1;
}

void ful__strips_apply(const ful__strips *plan, const ful__conv_run *run)
{
    pass p = {.plan = plan, .run = run, .kernels = SIMD_PICK(kernels)};
    cut(&p);
    ful__parallel_for(p.image_pieces * p.line_pieces * p.panel_pieces, work_piece, &p);
}

/* Gradient of the weights ------------------------------------------------------------------------------------------------ */

/* The sums of a piece: a share of the images. */
static float *sums_of(const pass *p, int64_t piece)
{
    char *scratch = (char *)p->run->scratch + (size_t)piece * thread_bytes(p->plan);
    return (float *)(void *)(scratch + strip_bytes(p->plan) + places_bytes(p->plan));
}

static void weigh_strip(const pass *p, const strip *s, float *sums)
{
    const ful__strips *plan = p->plan;
    const ful__strips_walk *w = &plan->walk[0];
    const int64_t image = s->image * ful__count(plan->to);
    strips_product product = product_of(p, s, 0);
    for (int panel = 0; panel < panels_of(plan); panel++) {
        const int64_t first = (int64_t)panel * 2 * ful__block();
        product.group = panel_width(plan, panel) / ful__block();
        product.dy = p->dy + image + panel * 2 * product.y_block;
        product.dw = sums + first * w->h.taps * w->w.taps * plan->from.c;
        p->kernels->weigh(&product);
    }
}

static void weigh_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const ful__strips *plan = p->plan;
    float *sums = sums_of(p, piece);
    int64_t image, image_end;
    ful__share(p->run->n, p->image_pieces, piece, &image, &image_end);
    strip s = strip_in(plan, (char *)p->run->scratch + (size_t)piece * thread_bytes(plan));
    memset(sums, 0, ful__strips_packed_bytes(plan));
    for (s.image = image; s.image < image_end; s.image += s.images) {
        s.images = image_end - s.image < plan->strip_images ? image_end - s.image : plan->strip_images;
        for (s.line = 0; s.line < plan->lines; s.line += s.lines) {
            s.lines = least(plan->lines - s.line, plan->strip_lines);
            if (!plan->in_place) copy_strip(p, &s);
            weigh_strip(p, &s, sums);
        }
    }
}

/* dw of a panel's output channels and a block's input channels += the pieces' sums, in order. */
static void add_square(void *ctx, int64_t square, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const ful__strips *plan = p->plan;
    const int64_t panel = square / plan->blocks, block = square % plan->blocks, taps = (int64_t)plan->kernel_h * plan->kernel_w;
    const int64_t first = panel * 2 * ful__block(), channels = plan->channels, width = panel_width(plan, panel);
    for (int64_t k = 0; k < p->image_pieces; k++) {
        const float *sums = sums_of(p, k) + first * taps * plan->from.c + block * taps * channels * width;
        for (int64_t o = 0; o < width; o++) {
            float *dw = p->dw + ((first + o) * plan->from.c + block * channels) * taps;
            for (int64_t c = 0; c < channels; c++)
                for (int64_t t = 0; t < taps; t++, dw++) *dw += sums[(t * channels + c) * width + o];
        }
    }
}

void ful__strips_grad(const ful__strips *plan, int n, const float *x, const float *dy, float *dw, void *scratch)
{
    const ful__conv_run run = {.n = n, .x = x, .scratch = scratch};
    pass p = {.plan = plan, .run = &run, .dy = dy, .dw = dw, .kernels = SIMD_PICK(kernels)};
    const int64_t pieces = ful__parallel_active() ? 1 : plan->threads; /* inside a piece the sums are those of one thread */
    p.image_pieces = pieces < n ? pieces : n;
    ful__parallel_for(p.image_pieces, weigh_piece, &p);
    ful__parallel_for((int64_t)panels_of(plan) * plan->blocks, add_square, &p);
}
