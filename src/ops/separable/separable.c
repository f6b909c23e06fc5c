/* SPDX-License-Identifier: Apache-2.0 */
/*
 * separable: depthwise and pointwise convolution, tile by tile (separable.h).
 *
 *   rows     of y, all images one after the other; a tile is some of them
 *   mid      [c/B][pixels of the tile][B], on the stack of the thread that works on it
 *   packed   depthwise [c/B][k*k][B] | pointwise: panels [c][N B] of N = 2 blocks side by side, the last one alone where their
 * number is odd
 *
 * Pieces share the rows, or, where these have too few pixels, the output channels: each such piece makes mid for itself, and
 * leaves the weights of the others alone. No bit depends on the cut.
 */
#include "ops/separable/separable.h"

#include <fulcrum/core.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/common.h"
#include "ops/conv2d/blocked.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/depthwise.h"
#include "ops/conv2d/depthwise_rows.h"

/* Floats of mid: what a tile may have, and what it should have, so that it stays in the first-level cache beside a panel of
 * weights; but it should have so many pixels too, each of which reads the weights. */
enum { SEP_MID_FLOATS = 1 << 14, SEP_TILE_FLOATS = 1 << 12, SEP_TILE_PIXELS = 16 };

/* More weights than the second-level cache holds are not read again by every tile. */
enum { SEP_WEIGHTS_MAX = 1 << 18 };

/* Pieces a thread gets of a run; multiply-accumulates that are worth one, however small; pixels that one should have, so that
 * reading all weights for them is little beside the multiplications. */
enum { SEP_PIECES = 4, SEP_PIECE_MACS = 1 << 18, SEP_PIECE_PIXELS = 8 };

typedef struct sep_op {
    ful__op base;
    ful__separable_attr attr;
    ful_shape mid;
    int block; /* by plan */
} sep_op;

enum { DEPTHWISE_W, DEPTHWISE_B, POINTWISE_W, POINTWISE_B };

/* Life ------------------------------------------------------------------------------------------------------------------- */

bool ful__separable_fits(const ful_conv2d_attr *d, const ful_conv2d_attr *p, ful_shape x)
{
    ful_shape mid;
    return ful__depthwise_fits(d, x) && p->kernel_h == 1 && p->kernel_w == 1 && p->stride_h == 1 && p->stride_w == 1 &&
           p->pad_h == 0 && p->pad_w == 0 && p->groups == 1 && p->out_channels % ful__block() == 0 &&
           (int64_t)x.c * p->out_channels <= SEP_WEIGHTS_MAX && ful__conv2d_shape("separable", "", d, x, &mid) == FUL_OK &&
           (int64_t)mid.w * mid.c <= SEP_MID_FLOATS;
}

static ful_status add_conv(ful__op *op, const ful__conv_fused_attr *a, const char *const suffix[2], int in, ful_shape y)
{
    const ful_conv2d_attr *c = &a->conv;
    const int64_t shape[4] = {y.c, in / c->groups, c->kernel_h, c->kernel_w}, taps = shape[1] * shape[2] * shape[3];
    FUL_FAIL_IF(!c->bias, FUL_ERR_ARG, "cannot build separable '%s' with bias=false: folding gives both convolutions one",
                op->name);
    FUL_FAIL_IF(a->act != FUL_ACT_NONE && !ful__act_fuses(a->act), FUL_ERR_ARG,
                "cannot build separable '%s' with act=%d: it must be none, relu, relu6 or hard_swish", op->name, (int)a->act);
    op->cost.macs += ful__count(y) * taps;
    FUL_TRY(ful__op_add_param(op, suffix[0], 4, shape, c->init, c->gain, taps, true, true));
    return ful__op_add_param(op, suffix[1], 1, shape, FUL_INIT_ZEROS, 1.0f, taps, true, false);
}

static ful_status describe(sep_op *s)
{
    static const char *const depthwise[2] = {"depthwise.weight", "depthwise.bias"};
    static const char *const pointwise[2] = {"pointwise.weight", "pointwise.bias"};
    ful__op *op = &s->base;
    const ful__separable_attr *a = &s->attr;
    const bool residual = a->pointwise.residual;
    FUL_TRY(ful__conv2d_shape(op->type->name, op->name, &a->depthwise.conv, op->x[0], &s->mid));
    FUL_TRY(ful__conv2d_shape(op->type->name, op->name, &a->pointwise.conv, s->mid, &op->y));
    FUL_FAIL_IF(
        !ful__separable_fits(&a->depthwise.conv, &a->pointwise.conv, op->x[0]) || a->depthwise.residual, FUL_ERR_ARG,
        "cannot build separable '%s' on %dx%dx%d: it takes a depthwise convolution without residual and a pointwise one, "
        "with channels in blocks of %d, at most %d values in a row and %d weights",
        op->name, op->x[0].h, op->x[0].w, op->x[0].c, ful__block(), SEP_MID_FLOATS, SEP_WEIGHTS_MAX);
    FUL_FAIL_IF(op->n_x != (residual ? 2 : 1), FUL_ERR_ARG,
                "cannot build separable '%s' with %d inputs, residual=%d: it takes %d", op->name, op->n_x, residual,
                residual ? 2 : 1);
    FUL_FAIL_IF(residual && (op->x[1].h != op->y.h || op->x[1].w != op->y.w || op->x[1].c != op->y.c), FUL_ERR_ARG,
                "cannot build separable '%s' with a residual of %dx%dx%d: it must have the output's shape %dx%dx%d", op->name,
                op->x[1].h, op->x[1].w, op->x[1].c, op->y.h, op->y.w, op->y.c);
    FUL_TRY(add_conv(op, &a->depthwise, depthwise, op->x[0].c, s->mid));
    return add_conv(op, &a->pointwise, pointwise, s->mid.c, op->y);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    sep_op *s;
    *out = NULL;
    FUL_TRY(ful__calloc(&s, 1, sizeof *s, "a separable convolution"));
    s->attr = *(const ful__separable_attr *)attr;
    ful_status status = ful__op_init(&s->base, &ful__op_separable, name, x, n_x);
    if (status == FUL_OK) status = describe(s);
    return ful__op_made(&s->base, status, out);
}

static void layouts(ful__op *op)
{
    op->x_layout[0] = op->x_layout[1] = op->y_layout = FUL__BLOCKED;
}

static size_t packed_depthwise(const sep_op *s)
{
    return ful__align64((size_t)s->base.params[DEPTHWISE_W].count * sizeof(float));
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    (void)n_max;
    (void)train;
    sep_op *s = (sep_op *)op;
    s->block = ful__block();
    op->need = (ful__need){.packed = packed_depthwise(s) + (size_t)op->params[POINTWISE_W].count * sizeof(float),
                           .inplace_1 = s->attr.pointwise.residual};
    return FUL_OK;
}

const char *ful__separable_kernel(const ful__op *op)
{
    const sep_op *s = (const sep_op *)op;
    return s->block == 16 ? "separable:avx512" : ful_cpu_flags() & FUL_CPU_AVX2 ? "separable:avx2" : "separable:base";
}

/* Weights ---------------------------------------------------------------------------------------------------------------- */

static float *packed_weights(const sep_op *s, const ful__run *run, bool pointwise)
{
    return (float *)(void *)((char *)run->packed + (pointwise ? packed_depthwise(s) : 0));
}

/* Blocks of output channels side by side in a panel, and how many panels there are. */
enum { PANEL = 2 };

static int64_t panels_of(const sep_op *s)
{
    return (s->base.y.c / s->block + PANEL - 1) / PANEL;
}

static void pack(const sep_op *s, const ful__run *run)
{
    const ful_conv2d_attr *d = &s->attr.depthwise.conv;
    ful__depthwise_pack(run->w[DEPTHWISE_W], s->mid.c, d->kernel_h * d->kernel_w, s->block, false,
                        packed_weights(s, run, false));
    const int64_t in = s->mid.c, width = PANEL * s->block, whole = s->base.y.c / width * width, left = s->base.y.c - whole;
    const float *w = run->w[POINTWISE_W];
    float *packed = packed_weights(s, run, true);
    ful__blocked_pack(w, in, whole, 1, in, (int)width, packed);
    if (left) ful__blocked_pack(w + whole * in, in, left, 1, in, (int)left, packed + whole * in);
}

/* Run -------------------------------------------------------------------------------------------------------------------- */

/* One run, as its parallel pieces see it. */
typedef struct sep_pass {
    const sep_op *s;
    const ful__run *run;
    ful__depthwise_rows_fn depthwise;
    ful__blocked_fn product;
    const float *w_depthwise, *w_pointwise;
    int64_t rows, row_pieces, panels, panel_pieces; /* how many there are, and how many pieces share them */
} sep_pass;

/* A tile's rows in one image; at: its first pixel in mid. */
typedef struct sep_part {
    int64_t image, at;
    int first, end;
} sep_part;

/* What of the rows row … end - 1 lies in the image of the first. */
static sep_part part_at(const sep_pass *p, int64_t row, int64_t end, int64_t at)
{
    const int h = p->s->mid.h, first = (int)(row % h);
    return (sep_part){.image = row / h, .at = at, .first = first, .end = end - row < h - first ? first + (int)(end - row) : h};
}

static void make_mid(const sep_pass *p, const sep_part *part, int64_t pixels, float *mid)
{
    const sep_op *s = p->s;
    const ful_conv2d_attr *a = &s->attr.depthwise.conv;
    const ful_shape x = s->base.x[0];
    const int64_t block = s->block, blocks = x.c / block, map = (int64_t)x.h * x.w * block,
                  taps = (int64_t)a->kernel_h * a->kernel_w;
    ful__depthwise_rows rows = {
        .x_pitch = x.w * block, .x_h = x.h, .x_w = x.w, .y_w = s->mid.w, .first = part->first, .end = part->end};
    rows.kernel = a->kernel_h;
    rows.stride = a->stride_h;
    rows.pad_h = a->pad_h;
    rows.pad_w = a->pad_w;
    rows.act = s->attr.depthwise.act;
    for (int64_t b = 0; b < blocks; b++) {
        rows.x = p->run->x[0] + (part->image * blocks + b) * map;
        rows.w = p->w_depthwise + b * taps * block;
        rows.bias = p->run->w[DEPTHWISE_B] + b * block;
        rows.out = mid + (b * pixels + part->at) * block;
        p->depthwise(&rows);
    }
}

/* Panel g of y from mid. */
static void make_y(const sep_pass *p, const sep_part *part, int64_t pixels, int64_t g, const float *mid)
{
    const sep_op *s = p->s;
    const ful_shape y = s->base.y;
    const int64_t block = s->block, blocks = y.c / block, map = (int64_t)y.h * y.w * block, width = PANEL * block;
    const int64_t at = (part->image * blocks + g * PANEL) * map + (int64_t)part->first * y.w * block;
    const ful__blocked_product product = {.v = mid + part->at * block,
                                          .w = p->w_pointwise + g * s->mid.c * width,
                                          .m = p->run->y + at,
                                          .v_block = pixels * block,
                                          .m_block = map,
                                          .blocks = (int)(s->mid.c / block),
                                          .rows = (part->end - part->first) * y.w,
                                          .group = g < blocks / PANEL ? PANEL : 1,
                                          .bias = p->run->w[POINTWISE_B] + g * width,
                                          .residual = s->attr.pointwise.residual ? p->run->x[1] + at : NULL,
                                          .act = s->attr.pointwise.act};
    p->product(&product);
}

static void work_tile(const sep_pass *p, int64_t row, int64_t end, int64_t panel, int64_t panel_end)
{
    _Alignas(64) float mid[SEP_MID_FLOATS];
    const int64_t w = p->s->mid.w, pixels = (end - row) * w;
    sep_part part;
    for (int64_t r = row; r < end; r += part.end - part.first) {
        part = part_at(p, r, end, (r - row) * w);
        make_mid(p, &part, pixels, mid);
    }
    for (int64_t g = panel; g < panel_end; g++)
        for (int64_t r = row; r < end; r += part.end - part.first) {
            part = part_at(p, r, end, (r - row) * w);
            make_y(p, &part, pixels, g, mid);
        }
}

/* Rows a tile has at most. */
static int64_t tile_rows(const sep_pass *p)
{
    const int64_t w = p->s->mid.w, floats = w * p->s->mid.c, near = SEP_TILE_FLOATS / floats, room = SEP_MID_FLOATS / floats;
    const int64_t wanted = (SEP_TILE_PIXELS + w - 1) / w;
    return near > wanted ? near : wanted < room ? wanted : room;
}

static void work_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const sep_pass *p = ctx;
    int64_t row, row_end, panel, panel_end;
    ful__share(p->rows, p->row_pieces, piece / p->panel_pieces, &row, &row_end);
    ful__share(p->panels, p->panel_pieces, piece % p->panel_pieces, &panel, &panel_end);
    const int64_t rows = row_end - row, most = tile_rows(p), tiles = (rows + most - 1) / most;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t begin, end;
        ful__share(rows, tiles, t, &begin, &end);
        work_tile(p, row + begin, row + end, panel, panel_end);
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Small pieces, so that threads of unlike speed end together, and as many for each thread. */
static int64_t row_pieces(const sep_pass *p, int64_t threads)
{
    const int64_t pixels = p->rows * p->s->mid.w, mid = pixels * p->s->mid.c;
    const int64_t tiles = mid / SEP_TILE_FLOATS, work = mid * p->s->base.y.c / SEP_PIECE_MACS;
    const int64_t most = least(least(SEP_PIECES * threads, pixels / SEP_PIECE_PIXELS), p->rows);
    const int64_t pieces = least(tiles > work ? tiles : work, most) / threads * threads;
    return threads > 1 && pieces > threads ? pieces : least(threads, p->rows);
}

static void cut(sep_pass *p)
{
    const int64_t threads = ful__parallel_active() ? 1 : ful_threads_get();
    p->rows = (int64_t)p->run->n * p->s->mid.h;
    p->panels = panels_of(p->s);
    if (p->rows * p->s->mid.w < threads * SEP_PIECE_PIXELS) {
        p->panel_pieces = least(threads, p->panels);
        p->row_pieces = least(threads / p->panel_pieces, p->rows);
    } else {
        p->panel_pieces = 1;
        p->row_pieces = row_pieces(p, threads);
    }
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const sep_op *s = (const sep_op *)op;
    sep_pass p = {.s = s, .run = run, .product = ful__blocked_multiply()};
    p.depthwise = ful__depthwise_rows_convolve();
    if (run->n == 0) return FUL_OK;
    if (run->repack) pack(s, run);
    p.w_depthwise = packed_weights(s, run, false);
    p.w_pointwise = packed_weights(s, run, true);
    cut(&p);
    ful__parallel_for(p.row_pieces * p.panel_pieces, work_piece, &p);
    if (run->counters) {
        const ful_conv2d_attr *d = &s->attr.depthwise.conv;
        run->counters->macs += p.rows * s->mid.w * s->mid.c * d->kernel_h * d->kernel_w;
        run->counters->macs += p.rows * s->mid.w * s->mid.c * (s->base.y.c / s->block * s->block);
    }
    return FUL_OK;
}

const ful__op_type ful__op_separable = {.name = "separable",
                                        .create = create,
                                        .layouts = layouts,
                                        .plan = plan,
                                        .forward = forward,
                                        .destroy = ful__op_free,
                                        .kernel = ful__separable_kernel};
