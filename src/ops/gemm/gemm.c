/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C (+)= A B for a group of jobs in one parallel loop. A job is cut into pieces of rows x panels of columns; a piece copies A
 * tile by tile (mr rows of a k block) to a small array on the stack, where rows lie at distances that the micro-kernel knows,
 * and runs the tile against all panels of the piece, which stay in the L2 cache. Which piece an element falls into does not
 * touch its bits.
 */
#include "ops/gemm.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/gemm/gemm_level.h"

const ful__gemm_level *ful__gemm_level_now(void)
{
#if defined(__x86_64__)
    const unsigned flags = ful_cpu_flags();
    if (flags & FUL_CPU_AVX512) return &ful__gemm_avx512;
    if (flags & FUL_CPU_AVX2) return &ful__gemm_avx2;
#endif
    return &ful__gemm_scalar;
}

/* Packing B -------------------------------------------------------------------------------------------------------------- */

int64_t ful__gemm_panels(int64_t n)
{
    return ful__divide_up(n, ful__gemm_level_now()->nr);
}

size_t ful__gemm_packed_floats(int64_t k, int64_t n)
{
    return (size_t)(ful__gemm_panels(n) * k * ful__gemm_level_now()->nr);
}

/* One panel of columns that are not next to each other (B is a transposed weight): 16 x 16 squares keep both sides in cache. */
static void pack_strided(float *to, const float *b, int64_t b_rs, int64_t b_cs, int64_t k, int cols, int nr)
{
    enum { SQUARE = 16 };
    for (int64_t p0 = 0; p0 < k; p0 += SQUARE) {
        const int64_t p1 = ful__at_most(p0 + SQUARE, k);
        for (int j = 0; j < cols; j++)
            for (int64_t p = p0; p < p1; p++) to[p * nr + j] = b[p * b_rs + j * b_cs];
        for (int64_t p = p0; p < p1; p++) memset(to + p * nr + cols, 0, (size_t)(nr - cols) * sizeof *to);
    }
}

void ful__gemm_pack(float *packed, const float *b, int64_t b_rs, int64_t b_cs, int64_t k, int64_t n, int64_t panel_begin,
                    int64_t panel_end)
{
    const int nr = ful__gemm_level_now()->nr;
    for (int64_t panel = panel_begin; panel < panel_end; panel++) {
        float *to = packed + panel * k * nr;
        const float *from = b + panel * nr * b_cs;
        const int cols = (int)ful__at_most(nr, n - panel * nr);
        if (b_cs != 1) {
            pack_strided(to, from, b_rs, b_cs, k, cols, nr);
            continue;
        }
        for (int64_t p = 0; p < k; p++) {
            memcpy(to + p * nr, from + p * b_rs, (size_t)cols * sizeof *to);
            memset(to + p * nr + cols, 0, (size_t)(nr - cols) * sizeof *to);
        }
    }
}

/* The product ------------------------------------------------------------------------------------------------------------ */

/* to[i][p] = A(row + i, k0 + p) for a tile of rows and a block of k. */
static void pack_a(float *to, const ful__gemm_job *job, int64_t row, int rows, int64_t k0, int64_t kc)
{
    for (int i = 0; i < rows; i++, to += FUL__GEMM_A_STRIDE) {
        const int64_t r = job->row_index ? job->row_index[row + i] : row + i;
        const float *from = job->a + r * job->a_rs + k0 * job->a_cs;
        if (job->a_cs == 1)
            memcpy(to, from, (size_t)kc * sizeof *to);
        else
            for (int64_t p = 0; p < kc; p++) to[p] = from[p * job->a_cs];
    }
}

typedef struct piece {
    int64_t row_begin, row_end, panel_begin, panel_end;
} piece;

/* All panels of a piece for one tile of rows and one block of k. */
static void run_panels(const ful__gemm_level *level, const ful__gemm_job *job, const piece *at, int64_t k0,
                       ful__gemm_tile *tile, int64_t row)
{
    const int nr = level->nr;
    const ful__gemm_start first = job->accumulate ? FUL__GEMM_FROM_C : job->bias ? FUL__GEMM_FROM_BIAS : FUL__GEMM_FROM_ZERO;
    tile->start = k0 > 0 ? FUL__GEMM_FROM_C : first;
    for (int64_t panel = at->panel_begin; panel < at->panel_end; panel++) {
        tile->cols = (int)ful__at_most(nr, job->n - panel * nr);
        tile->b = job->b_packed + (panel * job->k + k0) * nr;
        tile->c = job->c + row * job->ldc + panel * nr;
        tile->bias = job->bias ? job->bias + panel * nr : NULL;
        level->nn(tile);
    }
}

/* pre_act = C, C = act(C) for finished rows. */
static void run_epilogue(const ful__gemm_level *level, const ful__gemm_job *job, const piece *at, int64_t row, int rows)
{
    const int64_t begin = at->panel_begin * level->nr, end = ful__at_most(at->panel_end * level->nr, job->n);
    for (int64_t r = row; r < row + rows; r++) {
        float *c = job->c + r * job->ldc + begin;
        if (job->pre_act) memcpy(job->pre_act + r * job->ldc + begin, c, (size_t)(end - begin) * sizeof *c);
        if (job->act != FUL_ACT_NONE) ful__act_forward(job->act, c, c, end - begin);
    }
}

static void run_piece(const ful__gemm_level *level, const ful__gemm_job *job, const piece *at)
{
    _Alignas(64) float a[FUL__GEMM_MR_MAX * FUL__GEMM_A_STRIDE];
    const int64_t tiles = ful__divide_up(at->row_end - at->row_begin, level->mr);
    const int64_t blocks = job->k > 0 ? ful__divide_up(job->k, FUL__GEMM_KC) : 1;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t begin, end;
        ful__share(at->row_end - at->row_begin, tiles, i, &begin, &end);
        const int64_t row = at->row_begin + begin;
        ful__gemm_tile tile = {.rows = (int)(end - begin), .a = a, .ldc = job->ldc};
        for (int64_t block = 0; block < blocks; block++) {
            int64_t k0, k1;
            ful__share(job->k, blocks, block, &k0, &k1);
            tile.k = k1 - k0;
            pack_a(a, job, row, tile.rows, k0, tile.k);
            run_panels(level, job, at, k0, &tile, row);
        }
        run_epilogue(level, job, at, row, tile.rows);
    }
}

/* How a job is cut: pieces of about 8 tiles of rows and as many panels as half a MiB of B holds; more cuts where there would be
 * fewer pieces than threads to run them. */
typedef struct cuts {
    int64_t rows, cols;
} cuts;

static cuts cut_job(const ful__gemm_level *level, const ful__gemm_job *job, int64_t pieces_wanted)
{
    enum { ROW_TILES = 8, B_FLOATS = 1 << 17 };
    if (job->m <= 0 || job->n <= 0) return (cuts){0, 0};
    const int64_t tiles = ful__divide_up(job->m, level->mr), panels = ful__divide_up(job->n, level->nr);
    cuts c = {ful__divide_up(tiles, ROW_TILES), ful__at_most(panels, 1 + panels * level->nr * job->k / B_FLOATS)};
    if (c.rows * c.cols < pieces_wanted) c.rows = ful__at_most(tiles, ful__divide_up(pieces_wanted, c.cols));
    if (c.rows * c.cols < pieces_wanted) c.cols = ful__at_most(panels, ful__divide_up(pieces_wanted, c.rows));
    return c;
}

typedef struct group {
    const ful__gemm_level *level;
    const ful__gemm_job *jobs;
    int n_jobs;
    cuts cut[FUL__GEMM_JOBS_AT_ONCE];
    int64_t first[FUL__GEMM_JOBS_AT_ONCE + 1]; /* number of each job's first piece */
} group;

static void run_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const group *g = ctx;
    const int number = ful__gemm_job_of(g->first, g->n_jobs, chunk);
    const ful__gemm_job *job = &g->jobs[number];
    const cuts cut = g->cut[number];
    const int64_t i = chunk - g->first[number];
    piece at;
    ful__share(job->m, cut.rows, i / cut.cols, &at.row_begin, &at.row_end);
    ful__share(ful__divide_up(job->n, g->level->nr), cut.cols, i % cut.cols, &at.panel_begin, &at.panel_end);
    run_piece(g->level, job, &at);
}

void ful__gemm_grouped(const ful__gemm_job *jobs, int n_jobs)
{
    group g = {.level = ful__gemm_level_now()};
    const int threads = ful__parallel_active() ? 1 : ful_threads_get();
    for (int begin = 0; begin < n_jobs; begin += FUL__GEMM_JOBS_AT_ONCE) {
        g.jobs = jobs + begin;
        g.n_jobs = (int)ful__at_most(FUL__GEMM_JOBS_AT_ONCE, n_jobs - begin);
        const int64_t wanted = threads == 1 ? 1 : ful__divide_up(4 * threads, g.n_jobs);
        for (int i = 0; i < g.n_jobs; i++) {
            assert(!g.jobs[i].row_index || g.jobs[i].a_cs == 1);
            g.cut[i] = cut_job(g.level, &g.jobs[i], wanted);
            g.first[i + 1] = g.first[i] + g.cut[i].rows * g.cut[i].cols;
        }
        ful__parallel_for(g.first[g.n_jobs], run_chunk, &g);
    }
}
