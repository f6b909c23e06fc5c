/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C += A^T B for weight gradients: C is small, the sum over rows is long. A piece owns a block of C and walks down the rows,
 * 128 at a time, copying its columns of A and B into tiles. Where C has too few blocks to share out, the rows are cut too: each
 * cut sums into its own copy of C in scratch, and the copies are added in order. How often they are cut depends on the shape
 * alone, never on the threads, so the bits do not either.
 */
#include <stdbool.h>
#include <string.h>

#include "core/parallel.h"
#include "ops/gemm.h"
#include "ops/gemm/gemm_level.h"

enum {
    BLOCK_TILES = 16, /* tiles of mr columns of A packed at a time */
    BLOCK_COLS = 128, /* columns of B packed at a time: a multiple of every nr */
    FEW_BLOCKS = 16,  /* cut the rows where C has fewer blocks of BLOCK_COLS x BLOCK_COLS */
    CUT_ROWS = 1024   /* but into no shorter pieces than this */
};

/* Pieces the rows are cut into: never fewer for more rows. */
static int64_t row_cuts(int64_t rows, int64_t m, int64_t n)
{
    const int64_t blocks = ful__divide_up(m, BLOCK_COLS) * ful__divide_up(n, BLOCK_COLS);
    if (blocks == 0 || blocks >= FEW_BLOCKS || rows < 2 * CUT_ROWS) return 1;
    return ful__at_most(rows / CUT_ROWS, FEW_BLOCKS / blocks);
}

size_t ful__gemm_tn_scratch_floats(int64_t rows_max, int64_t m, int64_t n)
{
    const int64_t cuts = row_cuts(rows_max, m, n);
    return cuts > 1 ? (size_t)(cuts * m * n) : 0;
}

typedef struct block {
    int64_t m0, m1, n0, n1; /* of C */
    int64_t r0, r1;         /* rows summed */
    float *c;               /* where C[0][0] would be */
    int64_t ldc;
} block;

/* A row of a tile: whole vectors at once where the row goes on that far, so that the copy is a few moves, not a call. */
static inline void copy_row(float *to, const float *from, int64_t count, int64_t room, int width)
{
    if (count == width || room >= width) {
        for (int i = 0; i < width; i += 8) memcpy(to + i, from + i, 8 * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < count; i++) to[i] = from[i];
    for (int64_t i = count; i < width; i++) to[i] = 0;
}

/* to[panel][p][nr] = B[row + p][n0 + ...]; columns beyond the block are never stored, whatever they hold. */
static void pack_b(float *to, const ful__gemm_tn_job *job, int64_t n0, int64_t n1, int64_t row, int64_t kc, int nr)
{
    for (int64_t j = n0; j < n1; j += nr)
        for (int64_t p = 0; p < kc; p++, to += nr)
            copy_row(to, job->b + (job->b_index ? job->b_index[row + p] : row + p) * job->ldb + j, ful__at_most(nr, n1 - j),
                     job->n - j, nr);
}

/* to[tile][p][i] = A[row + p][m0 + begin of the tile + i]: row after row, because the rows come from memory. */
static void pack_a(float *to, const ful__gemm_tn_job *job, int64_t m0, int64_t m1, int64_t tiles, int64_t row, int64_t kc)
{
    for (int64_t p = 0; p < kc; p++, to += FUL__GEMM_TN_STRIDE) {
        const float *from = job->a + (job->a_index ? job->a_index[row + p] : row + p) * job->lda;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t begin, end;
            ful__share(m1 - m0, tiles, i, &begin, &end);
            copy_row(to + i * kc * FUL__GEMM_TN_STRIDE, from + m0 + begin, end - begin, job->m - m0 - begin,
                     FUL__GEMM_TN_STRIDE);
        }
    }
}

/* A rectangle [m0, m1) x [n0, n1) of C += the packed tiles of A times the packed panels of B. */
static void run_tiles(const ful__gemm_level *level, const block *at, int64_t tiles, int64_t kc, const float *a, const float *b,
                      ful__gemm_start start)
{
    for (int64_t i = 0; i < tiles; i++) {
        int64_t begin, end;
        ful__share(at->m1 - at->m0, tiles, i, &begin, &end);
        ful__gemm_tile tile = {.rows = (int)(end - begin), .k = kc, .ldc = at->ldc, .start = start, .b = b};
        tile.a = a + i * kc * FUL__GEMM_TN_STRIDE;
        for (int64_t j = at->n0; j < at->n1; j += level->nr, tile.b += kc * level->nr) {
            tile.cols = (int)ful__at_most(level->nr, at->n1 - j);
            tile.c = at->c + (at->m0 + begin) * at->ldc + j;
            level->tn(&tile);
        }
    }
}

/* Rows outermost: a block of rows of A and B comes from memory once and serves the whole piece of C from the L2 cache. */
static void run_block(const ful__gemm_level *level, const ful__gemm_tn_job *job, const block *at, bool from_zero)
{
    _Alignas(64) float a[FUL__GEMM_TN_KC * FUL__GEMM_TN_STRIDE * BLOCK_TILES], b[FUL__GEMM_TN_KC * BLOCK_COLS];
    const int64_t m_step = BLOCK_TILES * level->mr;
    block part = *at;
    for (int64_t row = at->r0; row < at->r1; row += FUL__GEMM_TN_KC) {
        const int64_t kc = ful__at_most(FUL__GEMM_TN_KC, at->r1 - row);
        const ful__gemm_start start = from_zero && row == at->r0 ? FUL__GEMM_FROM_ZERO : FUL__GEMM_FROM_C;
        for (part.m0 = at->m0; part.m0 < at->m1; part.m0 = part.m1) {
            part.m1 = ful__at_most(part.m0 + m_step, at->m1);
            const int64_t tiles = ful__divide_up(part.m1 - part.m0, level->mr);
            pack_a(a, job, part.m0, part.m1, tiles, row, kc);
            for (part.n0 = at->n0; part.n0 < at->n1; part.n0 = part.n1) {
                part.n1 = ful__at_most(part.n0 + BLOCK_COLS, at->n1);
                pack_b(b, job, part.n0, part.n1, row, kc, level->nr);
                run_tiles(level, &part, tiles, kc, a, b, start);
            }
        }
    }
}

/* How a job is cut: the rows for more pieces whatever the threads, C into about as many blocks as the threads want. */
typedef struct cuts {
    int64_t rows, m, n;
} cuts;

static cuts cut_job(const ful__gemm_level *level, const ful__gemm_tn_job *job, int64_t pieces_wanted)
{
    if (job->rows <= 0 || job->m <= 0 || job->n <= 0) return (cuts){0, 0, 0};
    const int64_t tiles = ful__divide_up(job->m, level->mr), panels = ful__divide_up(job->n, level->nr);
    cuts c = {row_cuts(job->rows, job->m, job->n), 1, 1};
    while (c.rows * c.m * c.n < pieces_wanted) {
        if (c.m < tiles && (job->m / c.m >= job->n / c.n || c.n == panels))
            c.m = ful__at_most(2 * c.m, tiles);
        else if (c.n < panels)
            c.n = ful__at_most(2 * c.n, panels);
        else
            break;
    }
    return c;
}

typedef struct group {
    const ful__gemm_level *level;
    const ful__gemm_tn_job *jobs;
    int n_jobs;
    cuts cut[FUL__GEMM_JOBS_AT_ONCE];
    int64_t first[FUL__GEMM_JOBS_AT_ONCE + 1]; /* number of each job's first piece */
    float *scratch[FUL__GEMM_JOBS_AT_ONCE];
} group;

static void share_of(int64_t units, int64_t unit, int64_t total, int64_t parts, int64_t part, int64_t *begin, int64_t *end)
{
    ful__share(units, parts, part, begin, end);
    *begin *= unit;
    *end = ful__at_most(*end * unit, total);
}

static void run_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const group *g = ctx;
    const int number = ful__gemm_job_of(g->first, g->n_jobs, chunk);
    const ful__gemm_tn_job *job = &g->jobs[number];
    const cuts cut = g->cut[number];
    const int64_t i = chunk - g->first[number], row_cut = i / (cut.m * cut.n);
    block at = {.c = job->c, .ldc = job->ldc};
    share_of(ful__divide_up(job->m, g->level->mr), g->level->mr, job->m, cut.m, i / cut.n % cut.m, &at.m0, &at.m1);
    share_of(ful__divide_up(job->n, g->level->nr), g->level->nr, job->n, cut.n, i % cut.n, &at.n0, &at.n1);
    ful__share(job->rows, cut.rows, row_cut, &at.r0, &at.r1);
    if (cut.rows > 1) {
        at.c = g->scratch[number] + row_cut * job->m * job->n;
        at.ldc = job->n;
    }
    run_block(g->level, job, &at, cut.rows > 1);
}

/* C += the cuts' sums, in order, by a sixteenth of the rows of each C. */
enum { ADD_SHARES = 16 };

static void add_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const group *g = ctx;
    const ful__gemm_tn_job *job = &g->jobs[chunk / ADD_SHARES];
    const float *sums = g->scratch[chunk / ADD_SHARES];
    const int64_t parts = g->cut[chunk / ADD_SHARES].rows;
    if (parts <= 1) return;
    int64_t begin, end;
    ful__share(job->m, ADD_SHARES, chunk % ADD_SHARES, &begin, &end);
    for (int64_t part = 0; part < parts; part++, sums += job->m * job->n)
        for (int64_t i = begin; i < end; i++)
            for (int64_t j = 0; j < job->n; j++) job->c[i * job->ldc + j] += sums[i * job->n + j];
}

void ful__gemm_tn_grouped(const ful__gemm_tn_job *jobs, int n_jobs, float *scratch)
{
    group g = {.level = ful__gemm_level_now()};
    const int threads = ful__parallel_active() ? 1 : ful_threads_get();
    for (int begin = 0; begin < n_jobs; begin += FUL__GEMM_JOBS_AT_ONCE) {
        bool cut = false;
        g.jobs = jobs + begin;
        g.n_jobs = (int)ful__at_most(FUL__GEMM_JOBS_AT_ONCE, n_jobs - begin);
        const int64_t wanted = threads == 1 ? 1 : ful__divide_up(4 * threads, g.n_jobs);
        for (int i = 0; i < g.n_jobs; i++) {
            const cuts c = g.cut[i] = cut_job(g.level, &g.jobs[i], wanted);
            g.first[i + 1] = g.first[i] + c.rows * c.m * c.n;
            g.scratch[i] = scratch;
            if (c.rows > 1) scratch += c.rows * g.jobs[i].m * g.jobs[i].n;
            cut |= c.rows > 1;
        }
        ful__parallel_for(g.first[g.n_jobs], run_chunk, &g);
        if (cut) ful__parallel_for((int64_t)g.n_jobs * ADD_SHARES, add_chunk, &g);
    }
}

/* Column sums ------------------------------------------------------------------------------------------------------------ */

enum { SUM_COLS = 64, SUM_ROWS = 128 };

typedef struct sums {
    const float *x;
    int64_t rows, n, ldx;
    float *out;
} sums;

/* 128 rows at a time from zero, then added: a second, shorter chain, for accuracy. */
static void sum_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const sums *s = ctx;
    const int64_t begin = chunk * SUM_COLS, cols = ful__at_most(SUM_COLS, s->n - begin);
    for (int64_t row = 0; row < s->rows; row += SUM_ROWS) {
        const int64_t end = ful__at_most(row + SUM_ROWS, s->rows);
        float part[SUM_COLS] = {0};
        for (int64_t r = row; r < end; r++) {
            const float *x = s->x + r * s->ldx + begin;
            if (cols == SUM_COLS)
                for (int j = 0; j < SUM_COLS; j++) part[j] += x[j];
            else
                for (int64_t j = 0; j < cols; j++) part[j] += x[j];
        }
        for (int64_t j = 0; j < cols; j++) s->out[begin + j] += part[j];
    }
}

void ful__column_sums(const float *x, int64_t rows, int64_t n, int64_t ldx, float *out)
{
    sums s = {x, rows, n, ldx, out};
    ful__parallel_for(ful__divide_up(n, SUM_COLS), sum_chunk, &s);
}
