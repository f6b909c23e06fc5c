/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one seam for threads. OpenMP by default; pthreads with FULCRUM_PARALLEL=pthread at configure time (for
 * ThreadSanitizer). Work is cut into `chunks` numbered pieces; which thread runs a piece is unspecified, so a piece may write
 * only what its number owns, and sums are taken over pieces in order by the caller. Never nested: inside a piece, a further
 * ful__parallel_for runs serially.
 */
#ifndef FUL_CORE_PARALLEL_H
#define FUL_CORE_PARALLEL_H

#include <fulcrum/core.h>
#include <stdint.h>

typedef void (*ful__chunk_fn)(void *ctx, int64_t chunk, int thread);

/* Runs fn(ctx, c, thread) for c = 0..chunks-1, thread in 0..ful_threads_get()-1; returns when all are done. chunks = 1 runs
 * inline. */
void ful__parallel_for(int64_t chunks, ful__chunk_fn fn, void *ctx);

/*
 * Runs fn(ctx) in the calling thread while the others stand by: the loops that fn starts then cost a fraction of a
 * microsecond, and of n chunks each thread begins with the same share in every loop, and goes on with what others have not
 * begun. For many loops of some microseconds each. A library's own loops inside fn see one thread.
 */
void ful__parallel_together(void (*fn)(void *ctx), void *ctx);

/* Whether the caller is inside a piece. */
int ful__parallel_active(void);

/* The half-open share [begin,end) of n items that chunk c of `chunks` owns; shares differ by at most one item. */
static inline void ful__share(int64_t n, int64_t chunks, int64_t c, int64_t *begin, int64_t *end)
{
    const int64_t q = n / chunks, r = n % chunks;
    *begin = c * q + (c < r ? c : r);
    *end = *begin + q + (c < r ? 1 : 0);
}

#endif
