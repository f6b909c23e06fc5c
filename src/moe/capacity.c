/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capacity: how many (token, expert) pairs an expert takes, and which are dropped. Integers only, so that the same batch drops
 * the same pairs on any machine.
 */
#include <string.h>

#include "moe/router.h"
#include "moe/router_rows.h"

int64_t ful_moe_capacity(int64_t tokens, int experts, int k, int permille, int c_min)
{
    if (permille == 0) return tokens;
    const unsigned __int128 wanted = (unsigned __int128)permille * (unsigned)k * (uint64_t)tokens; /* can pass 2^63 */
    const unsigned __int128 parts = (unsigned __int128)1000 * (unsigned)experts;
    const unsigned __int128 ceiling = (wanted + parts - 1) / parts;
    const int64_t capacity = ceiling > INT64_MAX ? INT64_MAX : (int64_t)ceiling;
    return capacity < c_min ? c_min : capacity;
}

/* Batch-prioritised order (card A2) ----------------------------------------------------------------------------------- */

/* Bits that ascend as a float descends; -0 counts as 0. */
static uint32_t descending_key(float priority)
{
    const float x = priority + 0.0f;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? bits : ~bits ^ 0x80000000u;
}

enum { RADIX = 256, PASSES = 4 };

/* order[0..t-1] = tokens by descending priority, equal ones in token order. Stable radix sort; order[t..2t-1] is its scratch.
 */
static void sort_by_priority(const float *priority, int64_t t, uint32_t *order)
{
    int64_t count[PASSES][RADIX] = {{0}};
    for (int64_t i = 0; i < t; i++) {
        const uint32_t key = descending_key(priority[i]);
        for (int pass = 0; pass < PASSES; pass++) count[pass][key >> 8 * pass & 255]++;
        order[i] = (uint32_t)i;
    }
    uint32_t *from = order, *to = order + t;
    for (int pass = 0; pass < PASSES; pass++) {
        int64_t offset = 0;
        for (int digit = 0; digit < RADIX; digit++) {
            const int64_t n = count[pass][digit];
            count[pass][digit] = offset;
            offset += n;
        }
        for (int64_t i = 0; i < t; i++) {
            const uint32_t key = descending_key(priority[from[i]]);
            to[count[pass][key >> 8 * pass & 255]++] = from[i];
        }
        uint32_t *held = from;
        from = to;
        to = held;
    } /* an even number of passes: the result is back in `order` */
}

int64_t ful__capacity_fill(const int32_t *expert, int64_t t, int k, int e, int64_t cap, const float *priority, uint32_t *order,
                           uint8_t *kept, int64_t *chosen, int64_t *counts)
{
    memset(chosen, 0, (size_t)e * sizeof *chosen);
    if (cap == 0) { /* dropless */
        for (int64_t pair = 0; pair < t * k; pair++) chosen[expert[pair]]++;
        if (kept) memset(kept, 1, (size_t)(t * k));
        memcpy(counts, chosen, (size_t)e * sizeof *chosen);
        return 0;
    }
    if (priority) sort_by_priority(priority, t, order);
    for (int rank = 0; rank < k; rank++) {
        for (int64_t i = 0; i < t; i++) {
            const int64_t pair = (priority ? order[i] : i) * k + rank;
            kept[pair] = chosen[expert[pair]]++ < cap;
        }
    }
    int64_t dropped = 0;
    for (int j = 0; j < e; j++) {
        counts[j] = chosen[j] < cap ? chosen[j] : cap;
        dropped += chosen[j] - counts[j];
    }
    return dropped;
}

typedef struct priority_job {
    const float *prob;
    int64_t t;
    int e;
    float *out;
} priority_job;

static void priority_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const priority_job *job = ctx;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->t, chunk, &begin);
    for (int64_t t = begin; t < begin + rows; t++) {
        const float *p = job->prob + t * job->e;
        float most = p[0];
        for (int j = 1; j < job->e; j++)
            if (p[j] > most) most = p[j];
        job->out[t] = most;
    }
}

void ful__route_priority(const float *prob, int64_t t, int e, float *priority_out)
{
    priority_job job = {prob, t, e, priority_out};
    ful__parallel_for(ful__rows_chunks(t), priority_chunk, &job);
}
