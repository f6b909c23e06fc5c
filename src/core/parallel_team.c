/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   leader:    write the loop -> its number -> take chunks -> wait until none is left
 *   follower:  watch the number -> take chunks: its own share first, then of the others' -> say how many it finished
 *
 * The leader waits for chunks, never for threads: one that sleeps or is kept from running holds up nothing unless it has begun
 * a chunk. So a follower may look at a loop that is over, while the next is written. It takes a chunk by compare-and-swap on a
 * value that has the loop's number in it and says that a chunk is there; where that succeeds the loop was not over, and so
 * what was read before is this loop's.
 */
#include "core/parallel_team.h"

#include <sched.h>
#include <stddef.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

enum { SPINS = 2000, YIELDS = 1000 };
#define NAP_NANOSECONDS 50000

static _Thread_local ful__team *led;

/* Called again and again while nothing comes: watches for some tens of microseconds, then lets others run, then sleeps. */
static void wait_a_little(int *times)
{
    if (*times < SPINS)
        PAUSE();
    else if (*times < SPINS + YIELDS)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = NAP_NANOSECONDS}, NULL);
    if (*times < SPINS + YIELDS) ++*times;
}

/* The next chunk of a share that ends at `end`, or -1. The share itself says whether it has any: `end` may be another loop's,
 * but not where one was taken. */
static int64_t take(ful__team *team, int share, uint32_t loop, int64_t end)
{
    _Atomic uint64_t *at = &team->share[share].rest;
    uint64_t rest = atomic_load_explicit(at, memory_order_relaxed);
    while (rest >> 32 == loop && (uint32_t)rest > 0)
        if (atomic_compare_exchange_weak_explicit(at, &rest, rest - 1, memory_order_acq_rel, memory_order_relaxed))
            return end - (int64_t)(uint32_t)rest;
    return -1;
}

static void take_part(ful__team *team, int thread, uint32_t loop)
{
    const ful__chunk_fn fn = atomic_load_explicit(&team->fn, memory_order_relaxed);
    void *const ctx = atomic_load_explicit(&team->ctx, memory_order_relaxed);
    const int64_t chunks = atomic_load_explicit(&team->chunks, memory_order_relaxed);
    int64_t done = 0;
    for (int k = 0; k < team->threads; k++) {
        const int share = (thread + k) % team->threads;
        int64_t begin, end, chunk;
        ful__share(chunks, team->threads, share, &begin, &end);
        while ((chunk = take(team, share, loop, end)) >= 0) {
            fn(ctx, chunk, thread);
            done++;
        }
    }
    if (done > 0) atomic_fetch_sub_explicit(&team->left, done, memory_order_release);
}

bool ful__team_leads(void)
{
    return led != NULL;
}

void ful__team_for(int64_t chunks, ful__chunk_fn fn, void *ctx)
{
    ful__team *team = led;
    const uint32_t loop = atomic_load_explicit(&team->loop, memory_order_relaxed) + 1;
    atomic_store_explicit(&team->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&team->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&team->chunks, chunks, memory_order_relaxed);
    atomic_store_explicit(&team->left, chunks, memory_order_relaxed);
    for (int t = 0; t < team->threads; t++) {
        int64_t begin, end;
        ful__share(chunks, team->threads, t, &begin, &end);
        atomic_store_explicit(&team->share[t].rest, (uint64_t)loop << 32 | (uint64_t)(end - begin), memory_order_release);
    }
    atomic_store_explicit(&team->loop, loop, memory_order_release);
    take_part(team, 0, loop);
    for (int times = 0; atomic_load_explicit(&team->left, memory_order_acquire) > 0;) wait_a_little(&times);
}

void ful__team_lead(ful__team *team, void (*fn)(void *ctx), void *ctx)
{
    led = team;
    fn(ctx);
    led = NULL;
    atomic_store_explicit(&team->loop, UINT32_MAX, memory_order_release);
}

void ful__team_follow(ful__team *team, int thread)
{
    uint32_t seen = 0;
    for (int times = 0;;) {
        const uint32_t loop = atomic_load_explicit(&team->loop, memory_order_acquire);
        if (loop == UINT32_MAX) return;
        if (loop == seen) {
            wait_a_little(&times);
            continue;
        }
        seen = loop;
        times = 0;
        take_part(team, thread, loop);
    }
}
