/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of C by one thread. For each block of k, up to 16 tiles of A are packed (about 200 kB: L2 cache); then each panel
 * of B is packed (24 kB: L1 cache) and meets all of them. So every value of B is read from memory once for 16 tiles, and
 * nothing that was packed is written to memory. Which block an element falls into does not touch its bits.
 */
#include "ops/gemm/gemm_block.h"

#include <string.h>

#include "core/parallel.h"

/* Packing ---------------------------------------------------------------------------------------------------------------- */

static const float *line_of(const ful__gemm_side *side, int64_t q)
{
    return side->x + (side->index ? side->index[q] : q) * side->ld;
}

/* A row of a strip: whole vectors at once where the line goes on that far, so that the copy is a few moves, not a call. */
static inline void copy_row(float *to, const float *from, int64_t count, int64_t room, int width)
{
    if (room >= width) {
        for (int i = 0; i < width; i += 8) memcpy(to + i, from + i, 8 * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < count; i++) to[i] = from[i];
    for (int64_t i = count; i < width; i++) to[i] = 0;
}

void ful__gemm_pack_strip(const ful__gemm_level *level, const ful__gemm_side *side, int64_t unit, int count, int64_t step,
                          int64_t k, float *to, int width)
{
    if (!side->along_k) {
        for (int64_t p = 0; p < k; p++, to += width)
            copy_row(to, line_of(side, step + p) + unit, count, side->units - unit, width);
        return;
    }
    for (int first = 0; first < width; first += level->lanes) {
        const float *line[FUL__GEMM_LANES];
        const int lines = count - first < level->lanes ? count - first : level->lanes;
        for (int i = 0; i < lines; i++) line[i] = line_of(side, unit + first + i) + step;
        level->transpose(to + first, width, line, lines, k);
    }
}

/* sums[i] += sum over p of strip[p][i]: a chain of its own from 0, and so of a few hundred terms, for accuracy. */
static void add_sums(const float *strip, int64_t k, int count, float *sums)
{
    float sum[FUL__GEMM_LANES] = {0};
    for (int64_t p = 0; p < k; p++, strip += FUL__GEMM_LANES)
        for (int i = 0; i < FUL__GEMM_LANES; i++) sum[i] += strip[i];
    for (int i = 0; i < count; i++) sums[i] += sum[i];
}

/* The loops -------------------------------------------------------------------------------------------------------------- */

/* Rows m0..m1 of a block, in tiles of nearly equal size, over steps k0..k0+k. */
typedef struct rows_part {
    const ful__gemm_level *level;
    const ful__gemm_block *x;
    int64_t m0, m1, tiles, k0, k;
    ful__gemm_start start;
    float *a, *b; /* room to pack into */
} rows_part;

static void tile_rows(const rows_part *at, int64_t tile, int64_t *begin, int64_t *end)
{
    ful__share(at->m1 - at->m0, at->tiles, tile, begin, end);
    *begin += at->m0;
    *end += at->m0;
}

static void pack_tiles(const rows_part *at)
{
    const ful__gemm_block *x = at->x;
    for (int64_t i = 0; i < at->tiles; i++) {
        float *to = at->a + i * at->k * FUL__GEMM_LANES;
        int64_t begin, end;
        tile_rows(at, i, &begin, &end);
        ful__gemm_pack_strip(at->level, &x->a, begin, (int)(end - begin), at->k0, at->k, to, FUL__GEMM_LANES);
        if (x->a_sums) add_sums(to, at->k, (int)(end - begin), x->a_sums + begin);
    }
}

/* The panel of B from column n: where it was packed, where it is if it is used once as it lies, or packed now. */
static const float *panel_of(const rows_part *at, int64_t n, int64_t *stride)
{
    const ful__gemm_block *x = at->x;
    const int nr = at->level->nr;
    *stride = nr;
    if (x->b_packed) return x->b_packed + n * x->b_k + at->k0 * nr;
    if (at->tiles == 1 && !x->b.along_k && !x->b.index && x->b.units - n >= nr) {
        *stride = x->b.ld;
        return line_of(&x->b, at->k0) + n;
    }
    ful__gemm_pack_strip(at->level, &x->b, n, (int)ful__at_most(nr, x->n1 - n), at->k0, at->k, at->b, nr);
    return at->b;
}

static void run_panel(const rows_part *at, int64_t n)
{
    const ful__gemm_block *x = at->x;
    const int64_t next_panel = n + at->level->nr < x->n1 ? n + at->level->nr : n;
    ful__gemm_tile tile = {.cols = (int)ful__at_most(at->level->nr, x->n1 - n), .k = at->k, .a = at->a, .ldc = x->ldc};
    tile.start = at->start;
    tile.bias = x->bias ? x->bias + n : NULL;
    tile.b = panel_of(at, n, &tile.b_stride);
    for (int64_t i = 0; i < at->tiles; i++, tile.a += at->k * FUL__GEMM_LANES) {
        int64_t begin, end;
        tile_rows(at, i, &begin, &end);
        tile.rows = (int)(end - begin);
        tile.c = x->c + begin * x->ldc + n;
        tile.next_c = i + 1 < at->tiles ? tile.c + tile.rows * x->ldc : x->c + at->m0 * x->ldc + next_panel;
        at->level->run(&tile);
    }
}

void ful__gemm_run_block(const ful__gemm_level *level, const ful__gemm_block *x)
{
    _Alignas(64) float a[FUL__GEMM_TILES * FUL__GEMM_KC * FUL__GEMM_LANES], b[FUL__GEMM_KC * FUL__GEMM_NR_MAX];
    const int64_t steps = x->k1 - x->k0, blocks = steps > 0 ? ful__divide_up(steps, FUL__GEMM_KC) : 1;
    for (int64_t i = 0; i < blocks; i++) {
        rows_part at = {.level = level, .x = x, .a = a, .b = b, .start = i == 0 ? x->start : FUL__GEMM_FROM_C};
        int64_t begin, end;
        ful__share(steps, blocks, i, &begin, &end);
        at.k0 = x->k0 + begin;
        at.k = end - begin;
        for (at.m0 = x->m0; at.m0 < x->m1; at.m0 = at.m1) {
            at.m1 = ful__at_most(at.m0 + FUL__GEMM_TILES * level->mr, x->m1);
            at.tiles = ful__divide_up(at.m1 - at.m0, level->mr);
            pack_tiles(&at);
            for (int64_t n = x->n0; n < x->n1; n += level->nr) run_panel(&at, n);
        }
    }
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
