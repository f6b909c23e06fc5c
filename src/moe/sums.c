/* SPDX-License-Identifier: Apache-2.0 */
/* Column sums of a matrix of tokens. */
#include "moe/sums.h"

#include "core/parallel.h"

typedef struct column_job {
    const float *x;
    int64_t t, pieces;
    int n, first, columns;
    double partial[FUL__SUM_PIECES][FUL__SUM_COLUMNS];
} column_job;

static void column_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    column_job *job = ctx;
    double *sum = job->partial[piece];
    int64_t begin, end;
    ful__share(job->t, job->pieces, piece, &begin, &end);
    for (int j = 0; j < job->columns; j++) sum[j] = 0;
    for (int64_t t = begin; t < end; t++) {
        const float *row = job->x + t * job->n + job->first;
        for (int j = 0; j < job->columns; j++) sum[j] += (double)row[j];
    }
}

void ful__column_sums_of(const float *x, int64_t t, int n, int first, int columns, double *out)
{
    column_job job = {.x = x, .t = t, .pieces = ful__sum_pieces(t), .n = n, .first = first, .columns = columns};
    ful__parallel_for(job.pieces, column_piece, &job);
    for (int j = 0; j < columns; j++) {
        out[j] = 0;
        for (int64_t piece = 0; piece < job.pieces; piece++) out[j] += job.partial[piece][j];
    }
}
