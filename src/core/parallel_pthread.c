/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread seam over a pool of POSIX threads, for ThreadSanitizer (which does not understand libgomp).
 *
 *   caller:  take the pool -> publish the job, wake `helpers` workers -> take chunks itself -> wait until all helpers left
 *   worker:  sleep until the job number changes -> take chunks by an atomic counter -> leave
 *
 * A second thread that comes while the pool is taken runs its loop alone. Workers are made when first wanted; where the
 * system refuses one, the loop does with those there are. They live as long as the process.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/log.h"
#include "core/parallel_team.h"
#include "core/thread.h"

enum { MOST_WORKERS = 1023 };

/* oneDNN's own loops must not fan out inside our pieces (with OpenMP they see the enclosing region themselves). */
extern void omp_set_num_threads(int n) __attribute__((weak));

static _Thread_local int active, thread_number;

static struct {
    pthread_mutex_t taken; /* held by the caller whose loop runs */
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t wake, left;
    int workers;       /* threads there are */
    int helpers;       /* workers 1..helpers take part in the job */
    int inside;        /* helpers that have not left it yet */
    unsigned long job; /* its number */
    ful__chunk_fn fn;
    void *ctx;
    int64_t chunks;
    _Atomic int64_t next; /* first chunk nobody took */
} pool = {.taken = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .left = PTHREAD_COND_INITIALIZER};

int ful__parallel_active(void)
{
    return active;
}

static void take_chunks(void)
{
    for (int64_t c; (c = atomic_fetch_add(&pool.next, 1)) < pool.chunks;) pool.fn(pool.ctx, c, thread_number);
}

static void *work(void *arg)
{
    unsigned long done = 0;
    thread_number = (int)(intptr_t)arg;
    active = 1;
    if (omp_set_num_threads) omp_set_num_threads(1);
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.job == done || thread_number > pool.helpers) pthread_cond_wait(&pool.wake, &pool.lock);
        done = pool.job;
        pthread_mutex_unlock(&pool.lock);
        take_chunks();
        pthread_mutex_lock(&pool.lock);
        if (--pool.inside == 0) pthread_cond_signal(&pool.left);
    }
    return NULL;
}

/* Makes workers until there are `wanted`; returns how many there are, at most `wanted`. Called with the lock held. */
static int ensure_workers(int wanted)
{
    if (wanted > MOST_WORKERS) wanted = MOST_WORKERS;
    while (pool.workers < wanted) {
        pthread_t thread;
        if (ful__thread_start(&thread, work, (void *)(intptr_t)(pool.workers + 1), "the thread pool") != FUL_OK) {
            ful__log(FUL_LOG_WARN, "%s; going on with %d", ful_error_message(), pool.workers + 1);
            break;
        }
        pthread_detach(thread);
        pool.workers++;
    }
    return pool.workers < wanted ? pool.workers : wanted;
}

static void run_inline(int64_t chunks, ful__chunk_fn fn, void *ctx)
{
    const int was_active = active;
    active = 1;
    for (int64_t c = 0; c < chunks; c++) fn(ctx, c, thread_number);
    active = was_active;
}

static void run_pool(int64_t chunks, int team, ful__chunk_fn fn, void *ctx)
{
    pthread_mutex_lock(&pool.lock);
    pool.helpers = pool.inside = ensure_workers(team - 1);
    pool.fn = fn;
    pool.ctx = ctx;
    pool.chunks = chunks;
    atomic_store(&pool.next, 0);
    pool.job++;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);

    active = 1;
    if (omp_set_num_threads) omp_set_num_threads(1);
    take_chunks();
    if (omp_set_num_threads) omp_set_num_threads(ful_threads_get());
    active = 0;

    pthread_mutex_lock(&pool.lock);
    while (pool.inside > 0) pthread_cond_wait(&pool.left, &pool.lock);
    pool.helpers = 0;
    pthread_mutex_unlock(&pool.lock);
}

void ful__parallel_for(int64_t chunks, ful__chunk_fn fn, void *ctx)
{
    int64_t team = ful_threads_get();
    if (team > chunks) team = chunks;
    if (team > 1 && !active && ful__team_leads() && chunks <= INT32_MAX) {
        active = 1;
        ful__team_for(chunks, fn, ctx);
        active = 0;
        return;
    }
    if (team <= 1 || active || pthread_mutex_trylock(&pool.taken) != 0) {
        run_inline(chunks, fn, ctx);
        return;
    }
    run_pool(chunks, (int)team, fn, ctx);
    pthread_mutex_unlock(&pool.taken);
}

/* A team as a job of the pool: the caller leads with the first chunk it takes, a worker follows until that is over. */
typedef struct together {
    ful__team team;
    bool led;
    void (*fn)(void *ctx);
    void *ctx;
} together;

static void stand_together(void *ctx, int64_t chunk, int thread)
{
    together *t = ctx;
    (void)chunk;
    if (thread > 0) {
        ful__team_follow(&t->team, thread);
    } else if (!t->led) {
        t->led = true;
        active = 0;
        ful__team_lead(&t->team, t->fn, t->ctx);
        active = 1;
    }
}

void ful__parallel_together(void (*fn)(void *ctx), void *ctx)
{
    const int threads = ful_threads_get() < FUL__TEAM_MAX ? ful_threads_get() : FUL__TEAM_MAX;
    if (threads <= 1 || active || ful__team_leads() || pthread_mutex_trylock(&pool.taken) != 0) {
        fn(ctx);
        return;
    }
    together t = {.team = {.threads = threads}, .fn = fn, .ctx = ctx};
    run_pool(threads, threads, stand_together, &t);
    pthread_mutex_unlock(&pool.taken);
}
