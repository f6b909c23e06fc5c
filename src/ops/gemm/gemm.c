/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C (+)= A B for a group of jobs, and weight gradients beside them, in one parallel loop. A job is cut into blocks of C, of no
 * more rows than share a packed panel of B.
 */
#include "ops/gemm.h"

#include <assert.h>

#include "core/parallel.h"
#include "ops/gemm/gemm_tn.h"

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

/* B in the terms of the block: with b_cs == 1 its lines are steps, with b_rs == 1 they are columns. */
static ful__gemm_side side_of_b(const float *b, int64_t b_rs, int64_t b_cs, int64_t n)
{
    const bool along_k = b_cs != 1;
    assert(!along_k || b_rs == 1);
    return (ful__gemm_side){.x = b, .ld = along_k ? b_cs : b_rs, .along_k = along_k, .units = n};
}

void ful__gemm_pack(float *packed, const float *b, int64_t b_rs, int64_t b_cs, int64_t k, int64_t n, int64_t panel_begin,
                    int64_t panel_end)
{
    const ful__gemm_level *level = ful__gemm_level_now();
    const ful__gemm_side side = side_of_b(b, b_rs, b_cs, n);
    for (int64_t panel = panel_begin; panel < panel_end; panel++) {
        const int64_t first = panel * level->nr;
        ful__gemm_pack_strip(level, &side, first, (int)ful__at_most(level->nr, n - first), 0, k, packed + first * k, level->nr);
    }
}

bool ful__gemm_should_pack(int64_t m)
{
    const ful__gemm_level *level = ful__gemm_level_now();
    return m > 2 * level->tiles * level->mr;
}

/* The product ------------------------------------------------------------------------------------------------------------ */

static ful__gemm_block block_of(const ful__gemm_job *job)
{
    const bool a_along_k = job->a_cs == 1;
    assert(a_along_k || (job->a_rs == 1 && !job->row_index));
    return (ful__gemm_block){
        .a = {.x = job->a,
              .ld = a_along_k ? job->a_rs : job->a_cs,
              .index = job->row_index,
              .along_k = a_along_k,
              .units = job->m},
        .b = job->b_packed ? (ful__gemm_side){0} : side_of_b(job->b, job->b_rs, job->b_cs, job->n),
        .b_packed = job->b_packed,
        .b_k = job->k,
        .k1 = job->k,
        .c = job->c,
        .ldc = job->ldc,
        .start = job->accumulate ? FUL__GEMM_FROM_C
                 : job->bias     ? FUL__GEMM_FROM_BIAS
                                 : FUL__GEMM_FROM_ZERO,
        .bias = job->bias,
        .act = job->act,
        .slope = job->slope,
        .times = job->times,
        .slope_of = job->slope_of,
    };
}

typedef struct group {
    const ful__gemm_level *level;
    const ful__gemm_job *jobs;
    int n_jobs;
    ful__gemm_cuts cut[FUL__GEMM_JOBS_AT_ONCE];
    int64_t first[FUL__GEMM_JOBS_AT_ONCE + 1]; /* number of each job's first piece; of all pieces */
} group;

static void run_piece(const group *g, int64_t piece)
{
    const int number = ful__gemm_job_of(g->first, g->n_jobs, piece);
    const ful__gemm_job *job = &g->jobs[number];
    ful__gemm_block block = block_of(job);
    ful__gemm_part(g->level, job->m, job->n, g->cut[number], piece - g->first[number], &block);
    ful__gemm_run_block(g->level, &block);
}

static void plan(group *g, const ful__gemm_job *jobs, int n_jobs, int threads)
{
    enum { PIECES_A_THREAD = 8, PACKED_WEIGHT = 1, RAW_WEIGHT = 8 };
    int64_t macs = 0;
    g->level = ful__gemm_level_now();
    g->jobs = jobs;
    g->n_jobs = n_jobs;
    g->first[0] = 0;
    for (int i = 0; i < n_jobs; i++) macs += jobs[i].m * jobs[i].n * jobs[i].k;
    for (int i = 0; i < n_jobs; i++) {
        const ful__gemm_job *job = &jobs[i];
        const int64_t wanted = ful__gemm_pieces_wanted(job->m * job->n * job->k, macs, threads, PIECES_A_THREAD);
        g->cut[i] = ful__gemm_cut(g->level, job->m, job->n, wanted, ful__divide_up(job->m, g->level->tiles * g->level->mr),
                                  job->b_packed ? PACKED_WEIGHT : RAW_WEIGHT);
        g->first[i + 1] = g->first[i] + g->cut[i].m * g->cut[i].n;
    }
}

/* Products and weight gradients. The pieces of these are longer, and so they come first. */
typedef struct both {
    ful__gemm_tn_group gradients;
    group products;
} both;

static void run_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const both *x = ctx;
    const int64_t gradients = x->gradients.first[x->gradients.n_jobs];
    if (chunk < gradients)
        ful__gemm_tn_piece(&x->gradients, chunk);
    else
        run_piece(&x->products, chunk - gradients);
}

void ful__gemm_with_tn(const ful__gemm_job *jobs, int n_jobs, const ful__gemm_tn_job *tn_jobs, int n_tn_jobs, float *scratch)
{
    const int threads = ful__parallel_active() ? 1 : ful_threads_get();
    for (int at = 0, tn_at = 0; at < n_jobs || tn_at < n_tn_jobs;) {
        const int products = (int)ful__at_most(FUL__GEMM_JOBS_AT_ONCE, n_jobs - at);
        const int gradients = (int)ful__at_most(FUL__GEMM_JOBS_AT_ONCE, n_tn_jobs - tn_at);
        both x;
        plan(&x.products, products > 0 ? jobs + at : NULL, products, threads);
        scratch = ful__gemm_tn_plan(&x.gradients, gradients > 0 ? tn_jobs + tn_at : NULL, gradients, threads, scratch);
        ful__parallel_for(x.gradients.first[gradients] + x.products.first[products], run_chunk, &x);
        ful__gemm_tn_add(&x.gradients);
        at += products;
        tn_at += gradients;
    }
}

void ful__gemm_grouped(const ful__gemm_job *jobs, int n_jobs)
{
    ful__gemm_with_tn(jobs, n_jobs, NULL, 0, NULL);
}

void ful__gemm_tn_grouped(const ful__gemm_tn_job *jobs, int n_jobs, float *scratch)
{
    ful__gemm_with_tn(NULL, 0, jobs, n_jobs, scratch);
}

void ful__gemm_one(const ful__gemm_job *job)
{
    if (job->m <= 0 || job->n <= 0) return;
    ful__gemm_block block = block_of(job);
    block.m1 = job->m;
    block.n1 = job->n;
    ful__gemm_run_block(ful__gemm_level_now(), &block);
}
