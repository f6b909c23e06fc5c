/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a mixture's memory, once for all: the same walk says where arrays lie (a run) and how many bytes there are (the
 * plan). Every size is a_i n + b_i with b_i a multiple of 64, rounded up to 64; so bytes(n) <= bytes(0) + n (bytes(1) -
 * bytes(0)).
 */
#include "moe/moe_memory.h"

#include <string.h>

#include "core/mem.h"

ful__rows_bound ful__moe_rows(const ful__moe *m, int64_t n)
{
    const int64_t k = m->router->k, t = n * m->tokens;
    switch (m->router->kind) {
    case FUL__ROUTE_SLOTS_IMAGE: return (ful__rows_bound){n * k, n * m->attr.soft_slots};
    case FUL__ROUTE_SLOTS_BATCH: return (ful__rows_bound){k, m->attr.soft_slots};
    default: return (ful__rows_bound){t * k, t};
    }
}

typedef struct walk {
    char *base; /* NULL: only measuring */
    size_t at;
} walk;

static void *take(walk *w, size_t bytes)
{
    void *p = w->base ? w->base + w->at : NULL;
    w->at += ful__align64(bytes);
    return p;
}

static void *floats(walk *w, int64_t count)
{
    return take(w, (size_t)count * sizeof(float));
}

static void take_pairs(const ful__moe *m, int64_t t, walk *w, ful__moe_memory *out)
{
    const int64_t pairs = t * m->router->k;
    out->expert = floats(w, pairs);
    out->gate = floats(w, pairs);
    out->kept = take(w, (size_t)pairs);
    out->plan.pair = floats(w, pairs);
    out->plan.token = floats(w, pairs);
    out->plan.row = floats(w, pairs);
    if (m->train && m->router->balance) {
        out->dprob = floats(w, t * m->router->e);
        out->dlogits = floats(w, t * m->router->e);
    }
}

static void take_saved(const ful__moe *m, int64_t n, walk *w, ful__moe_memory *out)
{
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    const int64_t t = n * m->tokens, columns = soft ? m->router->k : m->router->e, e = m->router->e;
    const ful__rows_bound rows = ful__moe_rows(m, n);
    if (m->pooled) out->input = floats(w, t * m->router->d);
    out->logits = floats(w, t * columns);
    out->prob = floats(w, t * columns);
    out->chosen = take(w, (size_t)e * sizeof(int64_t));
    out->counts = take(w, (size_t)e * sizeof(int64_t));
    out->plan.offset = take(w, ((size_t)e + 1) * sizeof(int64_t));
    if (soft) {
        out->dispatch = floats(w, t * columns);
        out->z = floats(w, rows.all * m->width);
    } else {
        take_pairs(m, t, w, out);
    }
    out->o = floats(w, rows.all * m->width);
    out->router_saved = take(w, ful__align64(m->router->saved_fixed) + (size_t)t * m->router->saved_per_token);
    out->experts_saved = take(w, ful__experts_saved_bytes(m->experts, rows));
}

static void take_scratch(const ful__moe *m, int64_t n, bool backward, walk *w, ful__moe_memory *out)
{
    const int64_t t = n * m->tokens;
    const ful__rows_bound rows = ful__moe_rows(m, n);
    out->token_id = floats(w, t);
    if (backward) {
        const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
        out->dgate = floats(w, t * m->router->k);
        if (soft) out->ddispatch = floats(w, t * m->router->k);
        out->d_o = out->dx_rows = floats(w, rows.all * m->width);
        if (!m->experts->grouped) out->dx_rows = floats(w, rows.all * m->width);
        if (m->pooled) out->dinput = floats(w, t * m->router->d);
    } else {
        out->label = floats(w, t);
        out->priority = floats(w, t);
        out->order = floats(w, 2 * t);
    }
    out->router_scratch = take(w, ful__align64(m->router->scratch_fixed) + (size_t)t * m->router->scratch_per_token);
    out->experts_scratch = take(w, ful__experts_scratch_bytes(m->experts, rows, backward));
}

void ful__moe_memory_lay(const ful__moe *m, int64_t n, void *saved, void *scratch, bool backward, ful__moe_memory *out)
{
    *out = (ful__moe_memory){0};
    walk kept = {.base = m->train ? saved : scratch};
    take_saved(m, n, &kept, out);
    walk own = {.base = scratch, .at = m->train ? 0 : kept.at};
    take_scratch(m, n, backward, &own, out);
    out->plan.t = n * m->tokens;
    out->plan.k = m->router->k;
    out->plan.e = m->router->e;
}

static size_t saved_bytes(const ful__moe *m, int64_t n)
{
    ful__moe_memory memory;
    walk w = {0};
    take_saved(m, n, &w, &memory);
    return w.at;
}

static size_t scratch_bytes(const ful__moe *m, int64_t n, bool backward)
{
    ful__moe_memory memory;
    walk w = {.at = m->train ? 0 : saved_bytes(m, n)};
    take_scratch(m, n, backward, &w, &memory);
    return w.at;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

void ful__moe_memory_need(ful__moe *m)
{
    ful__need *need = &m->base.need;
    const size_t forward = scratch_bytes(m, 0, false), backward = m->train ? scratch_bytes(m, 0, true) : 0;
    need->scratch_fixed = larger(forward, backward);
    need->scratch_per_image = larger(scratch_bytes(m, 1, false) - forward, m->train ? scratch_bytes(m, 1, true) - backward : 0);
    if (m->train) {
        need->saved_fixed = saved_bytes(m, 0);
        need->saved_per_image = saved_bytes(m, 1) - need->saved_fixed;
    }
    need->packed = ful__experts_packed_bytes(m->experts);
}
