/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C += A^T B for weight gradients: C is small, the sum over rows is long. A piece owns a block of C and walks down the rows.
 * Where C has too few blocks to share out, the rows are cut too: each cut sums into its own copy of C in scratch, and the
 * copies are added in order. How often they are cut depends on the shape alone, never on the threads, so the bits do not
 * either.
 */
#include <string.h>

#include "core/parallel.h"
#include "ops/gemm/gemm_tn.h"

enum {
    BLOCK = 128,     /* cut the rows where C has fewer blocks of BLOCK x BLOCK */
    FEW_BLOCKS = 64, /* than this */
    CUT_ROWS = 2048  /* but into no shorter pieces than this */
};

/* Pieces the rows are cut into: never fewer for more rows. */
static int64_t row_cuts(int64_t rows, int64_t m, int64_t n)
{
    const int64_t blocks = ful__divide_up(m, BLOCK) * ful__divide_up(n, BLOCK);
    if (blocks == 0 || blocks >= FEW_BLOCKS || rows < 2 * CUT_ROWS) return 1;
    return ful__at_most(rows / CUT_ROWS, FEW_BLOCKS / blocks);
}

/* A cut's copy of C and of a_sums. */
static int64_t copy_floats(int64_t m, int64_t n)
{
    return m * n + m;
}

size_t ful__gemm_tn_scratch_floats(int64_t rows_max, int64_t m, int64_t n)
{
    const int64_t cuts = row_cuts(rows_max, m, n);
    return cuts > 1 ? (size_t)(cuts * copy_floats(m, n)) : 0;
}

void ful__gemm_tn_piece(const ful__gemm_tn_group *g, int64_t piece)
{
    const int number = ful__gemm_job_of(g->first, g->n_jobs, piece);
    const ful__gemm_tn_job *job = &g->jobs[number];
    const ful__gemm_cuts cut = g->cut[number];
    const int64_t i = piece - g->first[number], row_cut = i / (cut.m * cut.n);
    ful__gemm_block block = {
        .a = {.x = job->a, .ld = job->lda, .index = job->a_index, .units = job->m},
        .b = {.x = job->b, .ld = job->ldb, .index = job->b_index, .units = job->n},
        .c = job->c,
        .ldc = job->ldc,
        .start = FUL__GEMM_FROM_C,
        .a_sums = job->a_sums,
    };
    ful__gemm_part(g->level, job->m, job->n, cut, i % (cut.m * cut.n), &block);
    ful__share(job->rows, g->row_cuts[number], row_cut, &block.k0, &block.k1);
    if (block.n0 > 0) block.a_sums = NULL; /* once is enough */
    if (g->row_cuts[number] > 1) {
        block.c = g->scratch[number] + row_cut * copy_floats(job->m, job->n);
        block.ldc = job->n;
        block.start = FUL__GEMM_FROM_ZERO;
        if (block.a_sums) {
            block.a_sums = block.c + job->m * job->n;
            memset(block.a_sums + block.m0, 0, (size_t)(block.m1 - block.m0) * sizeof *block.a_sums);
        }
    }
    ful__gemm_run_block(g->level, &block);
}

/* to[i] += the sums of all parts, in order. */
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
enum { LANES = sizeof(lanes) / sizeof(float) };

static void add_parts(float *to, const float *sums, int64_t parts, int64_t stride, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes sum = *(const lanes *)(to + i);
        for (int64_t part = 0; part < parts; part++) sum += *(const lanes *)(sums + part * stride + i);
        *(lanes *)(to + i) = sum;
    }
    for (; i < count; i++)
        for (int64_t part = 0; part < parts; part++) to[i] += sums[part * stride + i];
}

/* C += the cuts' sums, by a sixteenth of the rows of each C. */
enum { ADD_SHARES = 16 };

static void add_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const ful__gemm_tn_group *g = ctx;
    const ful__gemm_tn_job *job = &g->jobs[chunk / ADD_SHARES];
    const float *sums = g->scratch[chunk / ADD_SHARES];
    const int64_t parts = g->row_cuts[chunk / ADD_SHARES], stride = copy_floats(job->m, job->n);
    if (parts <= 1) return;
    int64_t begin, end;
    ful__share(job->m, ADD_SHARES, chunk % ADD_SHARES, &begin, &end);
    for (int64_t i = begin; i < end; i++) add_parts(job->c + i * job->ldc, sums + i * job->n, parts, stride, job->n);
    if (job->a_sums) add_parts(job->a_sums + begin, sums + job->m * job->n + begin, parts, stride, end - begin);
}

void ful__gemm_tn_add(ful__gemm_tn_group *g)
{
    if (g->cuts_rows) ful__parallel_for((int64_t)g->n_jobs * ADD_SHARES, add_chunk, g);
}

float *ful__gemm_tn_plan(ful__gemm_tn_group *g, const ful__gemm_tn_job *jobs, int n_jobs, int threads, float *scratch)
{
    enum { PIECES_A_THREAD = 4, B_WEIGHT = 4 }; /* long ones: both sides are packed anew for each */
    int64_t macs = 0;
    g->level = ful__gemm_level_now();
    g->jobs = jobs;
    g->n_jobs = n_jobs;
    g->first[0] = 0;
    g->cuts_rows = false;
    for (int i = 0; i < n_jobs; i++) macs += jobs[i].rows * jobs[i].m * jobs[i].n;
    for (int i = 0; i < n_jobs; i++) {
        const ful__gemm_tn_job *job = &jobs[i];
        const int64_t rows = g->row_cuts[i] = job->rows > 0 ? row_cuts(job->rows, job->m, job->n) : 0;
        const int64_t wanted = ful__gemm_pieces_wanted(job->rows * job->m * job->n, macs, threads, PIECES_A_THREAD);
        g->cut[i] = ful__gemm_cut(g->level, job->m, job->n, rows > 1 ? ful__divide_up(wanted, rows) : wanted, 1, B_WEIGHT);
        g->first[i + 1] = g->first[i] + rows * g->cut[i].m * g->cut[i].n;
        g->scratch[i] = scratch;
        if (rows <= 1) continue;
        scratch += rows * copy_floats(job->m, job->n);
        g->cuts_rows = true;
    }
    return scratch;
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
