/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of C by one thread. For each block of k, some tiles of A are packed (about 250 kB: L2 cache), or taken where they
 * lie; then each panel of B is packed (16 or 24 kB: L1 cache) and meets all of them. So every value of B is read from memory
 * once for 20 or 32 tiles, and nothing that was packed is written to memory. Which block an element falls into does not touch
 * its bits.
 */
#include "ops/gemm/gemm_block.h"

#include <stdint.h>
#include <string.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/slabs.h"

/* Packing ---------------------------------------------------------------------------------------------------------------- */

static const float *line_of(const ful__gemm_side *side, int64_t q)
{
    return side->x + (side->index ? side->index[q] : q) * side->ld;
}

/* A row of a strip or panel where the line does not go on far enough to copy whole vectors. */
static inline void copy_part(float *to, const float *from, int count, int width)
{
    for (int i = 0; i < count; i++) to[i] = from[i];
    for (int i = count; i < width; i++) to[i] = 0;
}

void ful__gemm_pack_strip(const ful__gemm_level *level, const ful__gemm_side *side, int64_t unit, int count, int64_t step,
                          int64_t k, float *to, int width)
{
    if (!side->along_k && width == level->nr && side->units - unit >= width) {
        if (side->index)
            level->copy_panel(to, side->x + unit, side->ld, side->index + step, k);
        else
            level->copy_panel(to, line_of(side, step) + unit, side->ld, NULL, k);
    } else if (!side->along_k) {
        for (int64_t p = 0; p < k; p++, to += width) copy_part(to, line_of(side, step + p) + unit, count, width);
    } else {
        for (int first = 0; first < width; first += level->lanes) {
            const float *line[FUL__GEMM_LANES];
            const int lines = count - first < level->lanes ? count - first : level->lanes;
            for (int i = 0; i < lines; i++) line[i] = line_of(side, unit + first + i) + step;
            level->transpose(to + first, width, line, lines, k);
        }
    }
}

/* The loops -------------------------------------------------------------------------------------------------------------- */

/* Where the cache lines of what is fetched ahead begin, from their first value. */
typedef struct next_lines {
    int64_t a[FUL__GEMM_KC_MAX + 1], c[FUL__GEMM_KC_MAX + 1],
        b[FUL__GEMM_NR_MAX * (FUL__GEMM_KC_MAX / FUL__GEMM_LINE) + FUL__GEMM_KC_MAX + 1];
    int64_t a_count, b_count, c_count;
    int64_t a_row; /* cache lines of a step of A, where lines are steps; of a row's k otherwise */
} next_lines;

enum { TILES_MAX = 32 };

/* Some rows of a block, in tiles of nearly equal size, over steps k0..k0+k. */
typedef struct rows_part {
    const ful__gemm_level *level;
    const ful__gemm_block *x;
    ful__gemm_tiles tiles;
    int64_t first[TILES_MAX + 1]; /* tile i is rows first[i]..first[i+1] */
    int64_t k0, k;
    int64_t next_m, next_k0; /* where the rows and steps begin that come next, or -1 */
    int64_t b_share;         /* lines of the next panel of B that come with each tile that fetches any */
    int64_t c_panels;        /* panels from a tile to the one of C that is fetched meanwhile */
    ful__gemm_start start;
    bool last;         /* steps */
    float *a, *b;      /* room to pack into */
    const float **row; /* [rows] in place of a, where rows of A are taken where they lie, from step k0; otherwise NULL */
    const next_lines *lines;
} rows_part;

static float *tile_of(const rows_part *at, int64_t tile)
{
    return at->a + tile * at->k * at->level->strip;
}

static void cut_tiles(rows_part *at, int64_t m0, int64_t m1)
{
    const int64_t tiles = ful__divide_up(m1 - m0, at->level->mr);
    for (int64_t i = 0; i < tiles; i++) {
        ful__share(m1 - m0, tiles, i, &at->first[i], &at->first[i + 1]);
        at->first[i] += m0;
    }
    at->first[tiles] = m1;
    at->tiles.count = tiles;
    at->tiles.first = at->first;
}

/* Rows of A as they lie, where the kernel takes them so and few panels meet them: loads from lines far apart take a little
 * longer. Not where rows lie a multiple of 4 kB apart: all of them would share a few lines of the L1 cache. */
static bool takes_a_in_place(const ful__gemm_level *level, const ful__gemm_block *x)
{
    enum { FEW_PANELS = 5, SAME_LINES = 1024 };
    return level->a_in_place && x->n1 - x->n0 <= FEW_PANELS * level->nr && x->a.along_k && !x->a_sums &&
           (x->a.index || x->a.ld % SAME_LINES != 0);
}

/* Lines that are steps go to all tiles a few at a time, because lines come from memory; the tiles that they do not reach to the
 * full width of one by one. */
static void copy_tiles(const rows_part *at)
{
    const ful__gemm_level *level = at->level;
    const ful__gemm_side *side = &at->x->a;
    int64_t whole = at->tiles.count;
    while (whole > 0 && side->units - at->first[whole - 1] < level->lanes) whole--;
    if (side->index)
        level->copy_strips(at->a, side->x, side->ld, side->index + at->k0, at->k, at->first, whole);
    else
        level->copy_strips(at->a, line_of(side, at->k0), side->ld, NULL, at->k, at->first, whole);
    for (int64_t i = whole; i < at->tiles.count; i++)
        ful__gemm_pack_strip(level, side, at->first[i], (int)(at->first[i + 1] - at->first[i]), at->k0, at->k, tile_of(at, i),
                             level->strip);
}

/* a_sums[i] += sum over p of A(i, p): chains of their own from 0 over a few steps each, for accuracy. */
static void add_sums(const rows_part *at)
{
    float sums[TILES_MAX * FUL__GEMM_LANES];
    const ful__gemm_level *level = at->level;
    const int64_t *first = at->first;
    for (int64_t p = 0; p < at->k; p += FUL__GEMM_SUM_ROWS) {
        level->sum_strips(at->a + p * level->strip, at->k * level->strip, ful__at_most(FUL__GEMM_SUM_ROWS, at->k - p),
                          at->tiles.count, sums);
        for (int64_t i = 0; i < at->tiles.count; i++)
            for (int64_t m = first[i]; m < first[i + 1]; m++) at->x->a_sums[m] += sums[i * level->lanes + m - first[i]];
    }
}

/* Lines that run along k give a tile each. */
static void take_tiles(const rows_part *at)
{
    const ful__gemm_side *side = &at->x->a;
    const int64_t *first = at->first;
    if (at->row) {
        for (int64_t m = first[0]; m < first[at->tiles.count]; m++) at->row[m - first[0]] = line_of(side, m) + at->k0;
        return;
    }
    if (!side->along_k) copy_tiles(at);
    for (int64_t i = 0; side->along_k && i < at->tiles.count; i++)
        ful__gemm_pack_strip(at->level, side, first[i], (int)(first[i + 1] - first[i]), at->k0, at->k, tile_of(at, i),
                             at->level->strip);
    if (at->x->a_sums) add_sums(at);
}

/* Fetching ahead --------------------------------------------------------------------------------------------------------- */

/* A slope that no cache would hold until backward reads it. */
static bool slope_goes_past(const ful__gemm_block *x)
{
    return x->slope && ful__worth_streaming(x->slope, x->a.units * x->ldc, x->ldc);
}

/* Of a tile of C, and of what the epilogue takes or leaves beside it. */
static void list_lines_of_c(const rows_part *at, next_lines *out)
{
    const ful__gemm_block *x = at->x;
    int64_t count = 0;
    for (int64_t i = 0; i < at->level->mr; i++)
        for (int64_t j = 0; j < at->level->nr; j += FUL__GEMM_LINE) out->c[count++] = i * x->ldc + j;
    const float *slope = slope_goes_past(x) ? NULL : x->slope;
    const float *other = !at->last ? NULL : slope ? slope : x->times ? x->times : x->slope_of;
    const int64_t lines = count, away = (int64_t)(((intptr_t)other - (intptr_t)x->c) / (intptr_t)sizeof *other);
    for (int64_t i = 0; other && i < lines && count < at->k; i++) out->c[count++] = away + out->c[i];
    out->c_count = ful__at_most(at->k, count);
    for (; count <= at->k; count++) out->c[count] = 0;
}

/* Of a panel of B. */
static void list_lines_of_b(const rows_part *at, next_lines *out)
{
    const ful__gemm_block *x = at->x;
    const int64_t nr = at->level->nr, k = at->k;
    int64_t count = 0;
    if (x->b_packed)
        for (int64_t i = 0; i < k * nr; i += FUL__GEMM_LINE) out->b[count++] = i;
    else if (x->b.along_k)
        for (int64_t p = 0; p < k; p += FUL__GEMM_LINE)
            for (int64_t j = 0; j < nr; j++) out->b[count++] = j * x->b.ld + p;
    else
        for (int64_t j = 0; j < nr; j += FUL__GEMM_LINE)
            for (int64_t p = 0; p < k; p++) out->b[count++] = line_of(&x->b, at->k0 + p) - line_of(&x->b, at->k0) + j;
    out->b_count = count;
    memset(out->b + count, 0, (size_t)(k + 1) * sizeof *out->b);
}

/* Of a tile's width of A where its lines are steps: as many whole steps of all rows as are no more than k lines; otherwise of
 * a tile's rows. */
static void list_lines_of_a(const rows_part *at, next_lines *out)
{
    const ful__gemm_block *x = at->x;
    const int64_t mr = at->level->mr, k = at->k, rows = ful__at_most(x->m1 - x->m0, at->level->tiles * mr);
    int64_t count = 0;
    out->a_row = ful__at_least(1, ful__divide_up(x->a.along_k ? k : rows, FUL__GEMM_LINE));
    for (int64_t line = 0; count + out->a_row <= k && (!x->a.along_k || line < mr); line++)
        for (int64_t i = 0; i < out->a_row; i++) out->a[count++] = line * x->a.ld + i * FUL__GEMM_LINE;
    out->a_count = count;
    for (; count <= k; count++) out->a[count] = 0;
}

static ful__gemm_lines no_lines(const rows_part *at)
{
    return (ful__gemm_lines){.from = at->x->c, .at = at->lines->b + at->lines->b_count};
}

/*
 * What the tiles of a part fetch, apart from B: later tiles of C, as memory takes so long; and of A, where lines are steps,
 * those steps that come next. Every other tile fetches some of them, beginning with the one from which on the rest will do: a
 * burst would hold up the loads of a tile, and what comes too early is gone again.
 */
static void plan_fetches(rows_part *at)
{
    const ful__gemm_block *x = at->x;
    const next_lines *l = at->lines;
    const int64_t tiles = at->tiles.count, slots = ful__divide_up(x->n1 - x->n0, at->level->nr) * (tiles / 2);
    const int64_t c_ahead = at->k > 0 ? ful__divide_up(at->level->kc, at->k) : 1;
    at->c_panels = c_ahead / tiles;
    at->tiles.c_tiles = c_ahead % tiles;
    at->tiles.tile.next_c_at = l->c;
    at->tiles.tile.c_fetches = l->c_count;
    at->tiles.streams = 1;
    at->tiles.lines[1] = no_lines(at);
    if (at->next_m >= 0 && !x->a.index && !x->a.along_k && slots > 0 && l->a_count > 0) {
        const int64_t most = l->a_count / l->a_row, steps = ful__at_most(most, ful__divide_up(at->k, slots));
        at->tiles.streams = 2;
        at->tiles.lines[1] = (ful__gemm_lines){.from = line_of(&x->a, at->next_k0) + at->next_m,
                                               .at = l->a,
                                               .step = steps * x->a.ld,
                                               .share = steps * l->a_row,
                                               .left = at->k * l->a_row,
                                               .wait = ful__at_least(0, slots - ful__divide_up(at->k, steps))};
    }
    at->b_share = ful__at_most(at->k, ful__divide_up(l->b_count, ful__divide_up(tiles, at->tiles.streams)));
}

/* Rows of A that are packed next, a tile's with each. */
static ful__gemm_lines rows_of_a(const rows_part *at)
{
    const ful__gemm_side *a = &at->x->a;
    const next_lines *l = at->lines;
    if (at->next_m != at->first[0] || a->index || at->row || !a->along_k || l->a_count == 0) return no_lines(at);
    return (ful__gemm_lines){.from = line_of(a, at->first[0]) + at->next_k0,
                             .at = l->a,
                             .step = at->level->mr * a->ld,
                             .share = l->a_count,
                             .left = (at->first[at->tiles.count] - at->first[0]) * l->a_row};
}

/* The panel of B that begins with column n. */
static ful__gemm_lines panel_of_b(const rows_part *at, int64_t n)
{
    const ful__gemm_block *x = at->x;
    if (x->b_packed && !at->level->fetches_packed) return no_lines(at);
    ful__gemm_lines lines = {.at = at->lines->b, .share = at->b_share, .left = at->lines->b_count};
    if (x->b_packed)
        lines.from = x->b_packed + n * x->b_k + at->k0 * at->level->nr;
    else if (x->b.along_k)
        lines.from = line_of(&x->b, n) + at->k0;
    else
        lines.from = line_of(&x->b, at->k0) + n;
    return lines;
}

/* The panels ------------------------------------------------------------------------------------------------------------- */

/* A single tile uses each value of B once, so a panel may stay where it is if its rows lie at equal distances. Blocks of k are
 * short then: all columns of a few rows of B, one after the other, come faster from memory than a few columns of all rows. (Not
 * with a_sums: how they are cut must not depend on the tiles.) */
enum { IN_PLACE_KC = 32 };

static bool reads_b_in_place(const ful__gemm_level *level, const ful__gemm_block *x)
{
    return x->m1 - x->m0 <= level->mr && !x->b_packed && !x->b.along_k && !x->b.index && !x->a_sums;
}

/* The panel of B from column n: where it was packed; where it is, if it is used once as it lies, or if the first tile can make
 * the copy for the others; or packed now. */
static void take_panel(rows_part *at, int64_t n)
{
    const ful__gemm_block *x = at->x;
    ful__gemm_tile *tile = &at->tiles.tile;
    const int nr = at->level->nr;
    tile->b = at->b;
    tile->b_stride = nr;
    tile->b_copy = NULL;
    if (x->b_packed) {
        tile->b = x->b_packed + n * x->b_k + at->k0 * nr;
    } else if (!x->b.along_k && !x->b.index && x->b.units - n >= nr) {
        tile->b = line_of(&x->b, at->k0) + n;
        tile->b_stride = x->b.ld;
        tile->b_copy = at->tiles.count > 1 ? at->b : NULL;
    } else {
        ful__gemm_pack_strip(at->level, &x->b, n, (int)ful__at_most(nr, x->n1 - n), at->k0, at->k, at->b, nr);
    }
}

/* Of finished sums, of some tiles at a time: enough to keep the processor busy, few enough to be in the L1 cache. */
static int64_t epilogue_tiles(const ful__gemm_level *level)
{
    enum { TILES = 4, FLOATS = 1536 };
    return ful__at_least(TILES, FLOATS / (level->mr * level->nr));
}

static void run_epilogue(const ful__gemm_block *x, int64_t m0, int64_t m1, int64_t n, int cols)
{
    const int64_t first = m0 * x->ldc + n, rows = m1 - m0;
    float *c = x->c + first;
    if (x->times)
        ful__multiply_rows(c, x->times + first, x->ldc, rows, cols);
    else if (x->slope_of)
        ful__act_backward_rows(x->act, x->slope_of + first, c, c, x->ldc, rows, cols);
    else if (x->slope)
        ful__act_forward_slope_rows(x->act, c, c, x->slope + first, x->ldc, rows, cols, slope_goes_past(x));
    else
        ful__act_forward_rows(x->act, c, c, x->ldc, rows, cols);
}

static bool has_epilogue(const ful__gemm_block *x)
{
    return x->act != FUL_ACT_NONE || x->slope || x->times;
}

static void run_panel(rows_part *at, int64_t n)
{
    const ful__gemm_block *x = at->x;
    ful__gemm_tiles *tiles = &at->tiles;
    const int64_t nr = at->level->nr, at_once = at->last && has_epilogue(x) ? epilogue_tiles(at->level) : tiles->count;
    tiles->tile.cols = (int)ful__at_most(nr, x->n1 - n);
    tiles->tile.bias = x->bias ? x->bias + n : NULL;
    tiles->tile.c = x->c + at->first[0] * x->ldc + n;
    for (int i = 0; i < 2; i++) {
        const int64_t away = (at->c_panels + i) * nr;
        tiles->c_panel[i] = n + away < x->n1 ? away : 0;
    }
    take_panel(at, n);
    tiles->lines[0] = n + nr < x->n1 ? panel_of_b(at, n + nr) : rows_of_a(at);
    for (int64_t i = 0, end; i < tiles->count; i = end) {
        end = ful__at_most(i + at_once, tiles->count);
        at->level->run(tiles, i, end);
        if (at->last) run_epilogue(x, at->first[i], at->first[end], n, tiles->tile.cols);
    }
}

/* Block i of `blocks` of k: nearly equal ones. Where they begin is a multiple of the steps that are added up, so the sums do
 * not depend on how long a block may be. */
static void share_steps(int64_t steps, int64_t blocks, int64_t i, int64_t *begin, int64_t *end)
{
    ful__share(ful__divide_up(steps, FUL__GEMM_SUM_ROWS), blocks, i, begin, end);
    *begin *= FUL__GEMM_SUM_ROWS;
    *end = ful__at_most(*end * FUL__GEMM_SUM_ROWS, steps);
}

void ful__gemm_run_block(const ful__gemm_level *level, const ful__gemm_block *x)
{
    _Alignas(64) float a[FUL__GEMM_STRIP_FLOATS_MAX], b[FUL__GEMM_KC_MAX * FUL__GEMM_NR_MAX];
    const float *row[TILES_MAX * FUL__GEMM_MR_MAX];
    next_lines lines;
    const int64_t rows = level->tiles * level->mr, steps = x->k1 - x->k0;
    const bool short_blocks = reads_b_in_place(level, x), in_place = takes_a_in_place(level, x);
    const int64_t blocks = ful__at_least(1, ful__divide_up(steps, short_blocks ? IN_PLACE_KC : level->kc));
    for (int64_t i = 0; i < blocks; i++) {
        rows_part at = {.level = level, .x = x, .a = a, .b = b, .lines = &lines, .start = i == 0 ? x->start : FUL__GEMM_FROM_C};
        int64_t begin, end;
        if (short_blocks)
            ful__share(steps, blocks, i, &begin, &end);
        else
            share_steps(steps, blocks, i, &begin, &end);
        at.row = in_place ? row : NULL;
        at.k0 = x->k0 + begin;
        at.k = end - begin;
        at.last = i == blocks - 1;
        at.tiles.tile = (ful__gemm_tile){.a = in_place ? NULL : a, .a_row = row, .k = at.k, .ldc = x->ldc, .start = at.start};
        at.tiles.a_tile = at.k * level->strip;
        list_lines_of_a(&at, &lines);
        list_lines_of_b(&at, &lines);
        list_lines_of_c(&at, &lines);
        for (int64_t m = x->m0; m < x->m1; m += rows) {
            at.next_m = m + rows < x->m1 ? m + rows : at.last ? -1 : x->m0;
            at.next_k0 = m + rows < x->m1 ? at.k0 : x->k0 + end;
            cut_tiles(&at, m, ful__at_most(m + rows, x->m1));
            plan_fetches(&at);
            take_tiles(&at);
            for (int64_t n = x->n0; n < x->n1; n += level->nr) run_panel(&at, n);
        }
    }
    if (slope_goes_past(x)) ful__act_fence();
}

/* Cutting ---------------------------------------------------------------------------------------------------------------- */

ful__gemm_cuts ful__gemm_cut(const ful__gemm_level *level, int64_t m, int64_t n, int64_t wanted, int64_t rows_least,
                             int64_t b_weight)
{
    enum { A_WEIGHT = 4 };
    const int64_t tiles = ful__divide_up(m, level->mr), panels = ful__divide_up(n, level->nr);
    ful__gemm_cuts best = {0, 0};
    int64_t best_pieces = 0, best_cost = 0;
    if (m <= 0 || n <= 0) return best;
    for (int64_t rows = rows_least; rows <= tiles; rows++) {
        const int64_t cols = ful__at_most(panels, ful__at_least(1, ful__divide_up(wanted, rows)));
        const int64_t pieces = ful__at_most(rows * cols, wanted), cost = A_WEIGHT * m * cols + b_weight * n * rows;
        if (best.m == 0 || pieces > best_pieces || (pieces == best_pieces && cost < best_cost)) {
            best = (ful__gemm_cuts){rows, cols};
            best_pieces = pieces;
            best_cost = cost;
        }
        if (cols == 1) break; /* more rows cost more */
    }
    return best;
}

static void share_of(int64_t total, int64_t unit, int64_t parts, int64_t part, int64_t *begin, int64_t *end)
{
    ful__share(ful__divide_up(total, unit), parts, part, begin, end);
    *begin *= unit;
    *end = ful__at_most(*end * unit, total);
}

void ful__gemm_part(const ful__gemm_level *level, int64_t m, int64_t n, ful__gemm_cuts cuts, int64_t i, ful__gemm_block *out)
{
    share_of(m, level->mr, cuts.m, i / cuts.n, &out->m0, &out->m1);
    share_of(n, level->nr, cuts.n, i % cuts.n, &out->n0, &out->n1);
}
