/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that stay together for many short loops (ful__parallel_together): the leader publishes a loop in memory that the
 * others watch. What an implementation of the seam needs for it.
 */
#ifndef FUL_CORE_PARALLEL_TEAM_H
#define FUL_CORE_PARALLEL_TEAM_H

#include "core/parallel.h"
#include <stdatomic.h>
#include <stdbool.h>

enum { FUL__TEAM_MAX = 64 };

/*
 * Loops are numbered from 1. Chunks of a loop are shared out as ful__share does; how many of a share nobody has taken stands
 * beside the number of its loop, so that who comes late takes nothing of another loop.
 */
typedef struct ful__team {
    int threads;
    _Alignas(64) _Atomic uint32_t loop; /* the one that runs; 0: none yet, UINT32_MAX: no more will come */
    _Atomic ful__chunk_fn fn;
    void *_Atomic ctx;
    _Atomic int64_t chunks;
    _Alignas(64) _Atomic int64_t left; /* chunks not finished */
    struct {
        _Alignas(64) _Atomic uint64_t rest; /* loop << 32 | chunks not taken, the last ones */
    } share[FUL__TEAM_MAX];
} ful__team;

/* Runs fn(ctx) as the leader, thread 0; its loops come to ful__team_for. */
void ful__team_lead(ful__team *team, void (*fn)(void *ctx), void *ctx);
/* Takes part in the leader's loops until there are no more; inside a piece all the time, as the caller must have it. */
void ful__team_follow(ful__team *team, int thread);

/* Whether the calling thread leads a team, and the loop (of fewer than 2^31 chunks) of one who does. */
bool ful__team_leads(void);
void ful__team_for(int64_t chunks, ful__chunk_fn fn, void *ctx);

#endif
