/* SPDX-License-Identifier: Apache-2.0 */
/* Capacity on random shapes: against a second implementation that sorts and counts naively, and the post-conditions by
 * themselves. */
#include <stdlib.h>

#include <fulcrum/moe.h>

#include "core/rng.h"
#include "moe/router.h"
#include "support/test.h"

enum { T_MOST = 300, E_MOST = 20, CASES = 400 };

typedef struct batch {
    int64_t t, cap;
    int e, k;
    int32_t expert[T_MOST * E_MOST];
    float priority[T_MOST];
} batch;

static uint64_t below(ful__stream s, uint64_t *index, uint64_t n)
{
    return ful__rng_below(s, 0, (*index)++, n);
}

/* Skewed choices, priorities with many ties. */
static void random_batch(uint64_t number, batch *b)
{
    const ful__stream s = ful__stream_make(number, "test", "capacity");
    uint64_t at = 0;
    b->t = (int64_t)below(s, &at, T_MOST + 1);
    b->e = 1 + (int)below(s, &at, E_MOST);
    b->k = 1 + (int)below(s, &at, (uint64_t)b->e);
    b->cap = 1 + (int64_t)below(s, &at, (uint64_t)(2 * b->t * b->k / b->e + 2));
    for (int64_t t = 0; t < b->t; t++) {
        b->priority[t] = (float)below(s, &at, 12) / 11;
        uint64_t taken = 0;
        for (int i = 0; i < b->k; i++) {
            uint64_t e;
            do e = below(s, &at, 1 + below(s, &at, (uint64_t)b->e));
            while (taken >> e & 1);
            taken |= 1ull << e;
            b->expert[t * b->k + i] = (int32_t)e;
        }
    }
}

/* The pair's place in the queue is decided by rank, then priority, then token: drop those behind more than cap - 1 of their
 * expert. */
static bool naively_kept(const batch *b, bool by_priority, int64_t token, int rank)
{
    const int32_t e = b->expert[token * b->k + rank];
    int64_t before = 0;
    for (int64_t t = 0; t < b->t; t++)
        for (int r = 0; r < b->k; r++) {
            if (b->expert[t * b->k + r] != e) continue;
            const bool ahead = by_priority && b->priority[t] != b->priority[token] ? b->priority[t] > b->priority[token]
                                                                                   : t < token;
            before += r < rank || (r == rank && ahead);
        }
    return before < b->cap;
}

static void random_shapes(void **state)
{
    (void)state;
    static batch b;
    static uint8_t kept[T_MOST * E_MOST];
    static uint32_t order[2 * T_MOST];
    int64_t drops = 0;
    for (uint64_t number = 0; number < CASES; number++) {
        random_batch(number, &b);
        const bool by_priority = number % 2;
        int64_t chosen[E_MOST], counts[E_MOST], all = 0, held = 0;
        memset(kept, 7, sizeof kept);
        const int64_t dropped = ful__capacity_fill(b.expert, b.t, b.k, b.e, b.cap, by_priority ? b.priority : NULL,
                                                   by_priority ? order : NULL, kept, chosen, counts);
        int64_t held_of[E_MOST] = {0}, chosen_of[E_MOST] = {0};
        for (int64_t pair = 0; pair < b.t * b.k; pair++) {
            assert_in_range(kept[pair], 0, 1);
            assert_int_equal(kept[pair], naively_kept(&b, by_priority, pair / b.k, (int)(pair % b.k)));
            held_of[b.expert[pair]] += kept[pair];
            chosen_of[b.expert[pair]]++;
        }
        for (int e = 0; e < b.e; e++) {
            assert_int_equal(chosen[e], chosen_of[e]);
            assert_int_equal(counts[e], held_of[e]);
            assert_int_equal(counts[e], chosen[e] < b.cap ? chosen[e] : b.cap);
            all += chosen[e];
            held += counts[e];
        }
        assert_int_equal(all, b.t * b.k);
        assert_int_equal(dropped, all - held);
        drops += dropped;
    }
    assert_true(drops > 1000); /* the cases do test something */
}

/* cap 0 or at least t: nothing is dropped. */
static void dropless(void **state)
{
    (void)state;
    static batch b;
    static uint8_t kept[T_MOST * E_MOST];
    for (uint64_t number = 0; number < 20; number++) {
        random_batch(number, &b);
        int64_t chosen[E_MOST], counts[E_MOST];
        for (int way = 0; way < 3; way++) {
            memset(kept, 7, sizeof kept);
            const int64_t cap = way == 0 ? (b.t ? b.t : 1) : 0;
            assert_int_equal(
                ful__capacity_fill(b.expert, b.t, b.k, b.e, cap, NULL, NULL, way < 2 ? kept : NULL, chosen, counts), 0);
            for (int64_t pair = 0; way < 2 && pair < b.t * b.k; pair++) assert_int_equal(kept[pair], 1);
            assert_memory_equal(chosen, counts, (size_t)b.e * sizeof *counts);
        }
    }
}

/* BPR's reason: within a rank, nobody is dropped for a less confident token. */
static void priority_protects_the_confident(void **state)
{
    (void)state;
    static batch b;
    static uint8_t kept[T_MOST * E_MOST];
    static uint32_t order[2 * T_MOST];
    for (uint64_t number = 0; number < 50; number++) {
        random_batch(number, &b);
        int64_t chosen[E_MOST], counts[E_MOST];
        ful__capacity_fill(b.expert, b.t, b.k, b.e, b.cap, b.priority, order, kept, chosen, counts);
        for (int rank = 0; rank < b.k; rank++) {
            float least_kept[E_MOST], most_dropped[E_MOST];
            for (int e = 0; e < b.e; e++) least_kept[e] = 2, most_dropped[e] = -1;
            for (int64_t t = 0; t < b.t; t++) {
                const int32_t e = b.expert[t * b.k + rank];
                if (kept[t * b.k + rank] && b.priority[t] < least_kept[e]) least_kept[e] = b.priority[t];
                if (!kept[t * b.k + rank] && b.priority[t] > most_dropped[e]) most_dropped[e] = b.priority[t];
            }
            for (int e = 0; e < b.e; e++) assert_true(most_dropped[e] <= least_kept[e]);
        }
    }
}

/* The integer rule against its definition, and no drop when every expert could take everyone. */
static void capacity_rule(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(1, "test", "rule");
    uint64_t at = 0;
    for (int i = 0; i < 2000; i++) {
        const int64_t tokens = (int64_t)below(s, &at, 5000);
        const int experts = 1 + (int)below(s, &at, 64), k = 1 + (int)below(s, &at, (uint64_t)experts);
        const int permille = 1 + (int)below(s, &at, 4000), least = (int)below(s, &at, 9);
        const int64_t c = ful_moe_capacity(tokens, experts, k, permille, least), wanted = (int64_t)permille * k * tokens;
        assert_true(c >= least);
        assert_true(c * 1000 * experts >= wanted);                                /* enough */
        assert_true(c == least || (c - 1) * 1000 * experts < wanted);             /* and no more */
        assert_int_equal(ful_moe_capacity(tokens, experts, k, 0, least), tokens); /* dropless */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(dropless),
        cmocka_unit_test(priority_protects_the_confident),
        cmocka_unit_test(capacity_rule),
    };
    return cmocka_run_group_tests_name("capacity", tests, NULL, NULL);
}
