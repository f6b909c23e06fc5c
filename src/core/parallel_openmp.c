/* SPDX-License-Identifier: Apache-2.0 */
/* The thread seam over OpenMP. */
#include <omp.h>

#include "core/parallel_team.h"

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
    if (team <= 1 || active || (ful__team_leads() && chunks > INT32_MAX)) {
        run_inline(chunks, fn, ctx);
        return;
    }
    if (ful__team_leads()) {
        active = 1;
        ful__team_for(chunks, fn, ctx);
        active = 0;
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

void ful__parallel_together(void (*fn)(void *ctx), void *ctx)
{
    const int threads = ful_threads_get() < FUL__TEAM_MAX ? ful_threads_get() : FUL__TEAM_MAX;
    if (threads <= 1 || active || ful__team_leads()) {
        fn(ctx);
        return;
    }
    ful__team team = {.threads = threads};
#pragma omp parallel num_threads(threads)
    {
        thread_number = omp_get_thread_num();
        if (thread_number == 0) {
            ful__team_lead(&team, fn, ctx);
        } else {
            active = 1;
            ful__team_follow(&team, thread_number);
            active = 0;
            thread_number = 0;
        }
    }
}
