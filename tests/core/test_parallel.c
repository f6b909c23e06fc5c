/* SPDX-License-Identifier: Apache-2.0 */
/* The thread seam: each chunk runs once, nesting is serial, results do not depend on the number of threads. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/parallel.h"
#include "core/thread.h"
#include "support/fault.h"
#include "support/test.h"

enum { MOST_CHUNKS = 1000, ROUNDS = 200 };

typedef struct tally {
    atomic_int runs[MOST_CHUNKS];
    atomic_int bad_thread, not_active, nested_elsewhere;
    int nest;
} tally;

typedef struct inner {
    tally *outer;
    int thread;
} inner;

static void run_inner(void *ctx, int64_t chunk, int thread)
{
    inner *in = ctx;
    (void)chunk;
    if (thread != in->thread) atomic_fetch_add(&in->outer->nested_elsewhere, 1);
}

static void run_chunk(void *ctx, int64_t chunk, int thread)
{
    tally *t = ctx;
    atomic_fetch_add(&t->runs[chunk], 1);
    if (thread < 0 || thread >= ful_threads_get()) atomic_fetch_add(&t->bad_thread, 1);
    if (!ful__parallel_active()) atomic_fetch_add(&t->not_active, 1);
    if (t->nest) ful__parallel_for(5, run_inner, &(inner){.outer = t, .thread = thread});
}

static int count_wrong(int64_t chunks, int nest)
{
    tally *t = calloc(1, sizeof *t);
    t->nest = nest;
    ful__parallel_for(chunks, run_chunk, t);
    int wrong = t->bad_thread + t->not_active + t->nested_elsewhere;
    for (int64_t c = 0; c < MOST_CHUNKS; c++) wrong += t->runs[c] != (c < chunks);
    free(t);
    return wrong;
}

static void each_chunk_runs_once(void **state)
{
    (void)state;
    const int64_t chunks[] = {0, 1, 2, 3, 4, 17, MOST_CHUNKS};
    for (int threads = 1; threads <= 5; threads++) {
        assert_ok(ful_threads_set(threads));
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            assert_int_equal(count_wrong(chunks[i], 0), 0);
            assert_int_equal(count_wrong(chunks[i], 1), 0);
        }
        assert_false(ful__parallel_active());
    }
}

/* Many short loops in a row: a worker that comes late to one must not run a chunk of the next. */
static void loops_in_a_row(void **state)
{
    (void)state;
    assert_ok(ful_threads_set(3));
    for (int i = 0; i < ROUNDS; i++) assert_int_equal(count_wrong(1 + i % 7, 0), 0);
}

static void nested_together(void *ctx)
{
    int *wrong = ctx;
    *wrong += count_wrong(5, 1);
}

static void loops_together(void *ctx)
{
    int *wrong = ctx;
    for (int i = 0; i < ROUNDS; i++) *wrong += count_wrong(1 + i % 17, i % 2);
    *wrong += ful__parallel_active();
    ful__parallel_together(nested_together, wrong);
}

static void threads_stay_together(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        int wrong = 0;
        assert_ok(ful_threads_set(threads));
        for (int i = 0; i < 10; i++) ful__parallel_together(loops_together, &wrong);
        assert_int_equal(wrong, 0);
        assert_false(ful__parallel_active());
    }
}

/* Each thread begins with its own share, and takes what another has not begun: all chunks run while thread 1 stays in one. */
typedef struct stuck {
    atomic_int others_done, chunks;
} stuck;

static void wait_in_last(void *ctx, int64_t chunk, int thread)
{
    stuck *s = ctx;
    (void)thread;
    if (chunk == 4) /* the first of thread 1's share */
        while (atomic_load(&s->others_done) < 7) sched_yield();
    else
        atomic_fetch_add(&s->others_done, 1);
    atomic_fetch_add(&s->chunks, 1);
}

static void one_loop(void *ctx)
{
    ful__parallel_for(8, wait_in_last, ctx);
}

static void a_slow_thread_holds_up_its_chunk_alone(void **state)
{
    (void)state;
    stuck s = {0};
    assert_ok(ful_threads_set(2));
    ful__parallel_together(one_loop, &s);
    assert_int_equal(s.chunks, 8);
}

static void *caller(void *arg)
{
    atomic_int *wrong = arg;
    for (int i = 0; i < ROUNDS; i++) atomic_fetch_add(wrong, count_wrong(2 + i % 9, i % 2));
    int together = 0;
    ful__parallel_together(loops_together, &together);
    atomic_fetch_add(wrong, together);
    return NULL;
}

static void two_callers_at_once(void **state)
{
    (void)state;
    atomic_int wrong = 0;
    pthread_t other;
    assert_ok(ful_threads_set(3));
    assert_ok(ful__thread_start(&other, caller, &wrong, "a second caller"));
    caller(&wrong);
    pthread_join(other, NULL);
    assert_int_equal(wrong, 0);
}

typedef struct sum {
    const float *x;
    double parts[16];
} sum;

static void sum_share(void *ctx, int64_t chunk, int thread)
{
    sum *s = ctx;
    int64_t begin, end;
    (void)thread;
    ful__share(10007, 16, chunk, &begin, &end);
    double total = 0;
    for (int64_t i = begin; i < end; i++) total += (double)s->x[i];
    s->parts[chunk] = total;
}

/* Fixed chunks, summed in order: the same bits for any number of threads. */
static void sums_keep_their_bits(void **state)
{
    (void)state;
    static float x[10007];
    for (int i = 0; i < 10007; i++) x[i] = (float)((i * 7919) % 10007) * 1e-3f + 1e-7f;
    double first = 0;
    for (int threads = 1; threads <= 4; threads++) {
        sum s = {.x = x};
        double total = 0;
        assert_ok(ful_threads_set(threads));
        ful__parallel_for(16, sum_share, &s);
        for (int c = 0; c < 16; c++) total += s.parts[c];
        if (threads == 1) first = total;
        assert_memory_equal(&total, &first, sizeof total);
    }
}

static void shares_cover_all(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 40; n++)
        for (int64_t chunks = 1; chunks < 12; chunks++) {
            int64_t at = 0, least = n, most = 0;
            for (int64_t c = 0; c < chunks; c++) {
                int64_t begin, end;
                ful__share(n, chunks, c, &begin, &end);
                assert_int_equal(begin, at);
                least = end - begin < least ? end - begin : least;
                most = end - begin > most ? end - begin : most;
                at = end;
            }
            assert_int_equal(at, n);
            assert_true(most - least <= 1);
        }
}

static void bad_numbers_are_refused(void **state)
{
    (void)state;
    assert_ok(ful_threads_set(2));
    assert_fails(ful_threads_set(0), FUL_ERR_ARG, "cannot use 0 threads: the number must be in 1..1024");
    assert_fails(ful_threads_set(-3), FUL_ERR_ARG, "cannot use -3 threads");
    assert_fails(ful_threads_set(5000), FUL_ERR_ARG, "cannot use 5000 threads");
    assert_int_equal(ful_threads_get(), 2);
}

#ifdef TEST_THREAD_POOL
/* Runs first, while the pool is empty: a loop does with the threads it can get. */
static void refused_workers(void **state)
{
    (void)state;
    assert_ok(ful_threads_set(4));
    for (long n = 1; n <= 3; n++) {
        ful__fault_fail_at(FUL__FAULT_THREAD, n == 1 ? 1 : 2);
        assert_int_equal(count_wrong(50, 0), 0);
        ful__fault_fail_at(FUL__FAULT_THREAD, 0);
    }
}
#endif

int main(void)
{
    /* The default is read once: the environment's first number. */
    setenv("OMP_NUM_THREADS", "3,2", 1);
    if (ful_threads_get() != 3) return 1;
    const struct CMUnitTest tests[] = {
#ifdef TEST_THREAD_POOL
        cmocka_unit_test(refused_workers),
#endif
        cmocka_unit_test(each_chunk_runs_once),  cmocka_unit_test(loops_in_a_row),
        cmocka_unit_test(threads_stay_together), cmocka_unit_test(a_slow_thread_holds_up_its_chunk_alone),
        cmocka_unit_test(two_callers_at_once),   cmocka_unit_test(sums_keep_their_bits),
        cmocka_unit_test(shares_cover_all),      cmocka_unit_test(bad_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
