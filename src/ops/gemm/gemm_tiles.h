/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tiles of a panel one after the other: beside a few hundred steps a tile's own preparations count, so they are kept few.
 * Included once by each level's file (so no guard), after run_tile(const ful__gemm_tile *), NR and TARGET.
 */

/* The next share of these lines. */
TARGET static inline void take_lines(ful__gemm_lines *lines, ful__gemm_tile *tile)
{
    int64_t count = lines->left < lines->share ? lines->left : lines->share;
    tile->next = lines->from;
    tile->next_at = lines->at;
    if (lines->wait > 0) {
        lines->wait--;
        count = 0;
    } else {
        lines->from += lines->step;
        lines->at += lines->step ? 0 : count;
    }
    lines->left -= count;
    tile->fetches = count;
}

TARGET static void run_tiles(ful__gemm_tiles *x, int64_t begin, int64_t end)
{
    ful__gemm_tile tile = x->tile;
    const int64_t *first = x->first;
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = first[i] - first[0], later = i + x->c_tiles;
        tile.rows = (int)(first[i + 1] - first[i]);
        if (x->tile.a)
            tile.a = x->tile.a + i * x->a_tile;
        else
            tile.a_row = x->tile.a_row + row;
        tile.c = x->tile.c + row * tile.ldc;
        tile.next_c = x->tile.c + (later < x->count ? first[later] - first[0] : first[later - x->count] - first[0]) * tile.ldc +
                      x->c_panel[later >= x->count];
        take_lines(&x->lines[x->streams > 1 ? i & 1 : 0], &tile);
        run_tile(&tile);
        if (tile.b_copy) {
            x->tile.b = tile.b = tile.b_copy;
            x->tile.b_stride = tile.b_stride = NR;
            x->tile.b_copy = tile.b_copy = NULL;
        }
    }
}
