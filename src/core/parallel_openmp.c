/* SPDX-License-Identifier: Apache-2.0 */
/* The thread seam over OpenMP. */
#include <omp.h>

#include "core/parallel.h"

static _Thread_local int active, thread_number;

int ful__parallel_active(void)
{
    return active;
}

/* In the caller's thread; a nested loop keeps the number of the piece around it, whose scratch it may use. */
static void run_inline(int64_t chunks, ful__chunk_fn fn, void *ctx)
{
    const int was_active = active;
    active = 1;
    for (int64_t c = 0; c < chunks; c++) fn(ctx, c, thread_number);
    active = was_active;
}

void ful__parallel_for(int64_t chunks, ful__chunk_fn fn, void *ctx)
{
    int64_t team = ful_threads_get();
    if (team > chunks) team = chunks;
    if (team <= 1 || active) {
        run_inline(chunks, fn, ctx);
        return;
    }
#pragma omp parallel num_threads((int)team)
    {
        active = 1;
        thread_number = omp_get_thread_num();
        if (chunks == team &&
            omp_get_num_threads() == team) { /* a thread finds in its caches what it left there the last time */
            fn(ctx, thread_number, thread_number);
        } else {
#pragma omp for schedule(dynamic, 1) nowait
            for (int64_t c = 0; c < chunks; c++) fn(ctx, c, thread_number);
        }
        active = 0;
        thread_number = 0;
    }
}
