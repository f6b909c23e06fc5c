/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces of a group of weight gradients (gemm_tn.c), to be run in one loop with those of products. */
#ifndef FUL_OPS_GEMM_TN_H
#define FUL_OPS_GEMM_TN_H

#include "ops/gemm.h"
#include "ops/gemm/gemm_block.h"

typedef struct ful__gemm_tn_group {
    const ful__gemm_level *level;
    const ful__gemm_tn_job *jobs;
    int n_jobs; /* at most FUL__GEMM_JOBS_AT_ONCE */
    int64_t row_cuts[FUL__GEMM_JOBS_AT_ONCE];
    ful__gemm_cuts cut[FUL__GEMM_JOBS_AT_ONCE];
    int64_t first[FUL__GEMM_JOBS_AT_ONCE + 1]; /* number of each job's first piece; of all pieces */
    float *scratch[FUL__GEMM_JOBS_AT_ONCE];
    bool cuts_rows; /* of some job */
} ful__gemm_tn_group;

/* Cuts the jobs into pieces. Returns where their scratch ends. */
float *ful__gemm_tn_plan(ful__gemm_tn_group *g, const ful__gemm_tn_job *jobs, int n_jobs, int threads, float *scratch);
void ful__gemm_tn_piece(const ful__gemm_tn_group *g, int64_t piece);
/* Once all pieces have run: adds what the cuts of the rows summed up. */
void ful__gemm_tn_add(ful__gemm_tn_group *g);

#endif
