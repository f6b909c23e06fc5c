/* SPDX-License-Identifier: Apache-2.0 */
/* The peak of fused multiply-adds: independent chains on registers, the widest vectors the machine has. */
#include "cli/peak.h"

#include <fulcrum/core.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum { WINDOWS = 3, THREADS_MAX = 1024 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Threads ----------------------------------------------------------------------------------------------------------------- */

typedef struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    peak_fn fn;
    void *memory;
    double seconds, best; /* of a window; rounds a second */
} worker;

/* Doubles the rounds until a call lasts a window, which also warms up. */
static long rounds_in(const worker *w)
{
    for (long rounds = 1;; rounds *= 2) {
        const double begin = now();
        w->fn(w->memory, rounds);
        const double took = now() - begin;
        if (took > 0.2 * w->seconds) return (long)((double)rounds * w->seconds / took) + 1;
    }
}

static void *work(void *arg)
{
    worker *w = arg;
    const long rounds = rounds_in(w);
    for (int i = 0; i < WINDOWS; i++) {
        pthread_barrier_wait(w->start);
        const double begin = now();
        w->fn(w->memory, rounds);
        const double rate = (double)rounds / (now() - begin);
        if (rate > w->best) w->best = rate;
    }
    return NULL;
}

double peak_rounds(int threads, double seconds, peak_fn fn, void *const *memory)
{
    double sum = 0;
    pthread_barrier_t start;
    if (threads < 1 || threads > THREADS_MAX) return -1;
    worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!workers || pthread_barrier_init(&start, NULL, (unsigned)threads) != 0) {
        free(workers);
        return -1;
    }
    int started = 1; /* the caller is the first worker */
    for (int i = 0; i < threads; i++) {
        workers[i] = (worker){
            .start = &start, .fn = fn, .memory = memory ? memory[i] : NULL, .seconds = seconds / (WINDOWS + 1)};
        if (i > 0 && started == i && pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0) started++;
    }
    if (started < threads) abort(); /* those that wait at the barrier would wait for ever */
    work(&workers[0]);
    for (int i = 1; i < threads; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < threads; i++) sum += workers[i].best;
    pthread_barrier_destroy(&start);
    free(workers);
    return sum;
}

/* Fused multiply-adds ----------------------------------------------------------------------------------------------------- */

enum { CHAINS = 16, STEPS = 1024 }; /* more chains than latency times units; a round is STEPS of each */
static volatile float sink;

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static void fma_avx512(void *memory, long rounds)
{
    (void)memory;
    __m512 a[CHAINS];
    const __m512 m = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_fmadd_ps(a[i], m, c);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    sink = _mm512_cvtss_f32(a[0]);
}

__attribute__((target("avx2,fma"))) static void fma_avx2(void *memory, long rounds)
{
    enum { FEW = 12 }; /* of 16 registers */
    (void)memory;
    __m256 a[FEW];
    const __m256 m = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < FEW; i++) a[i] = _mm256_set1_ps((float)i);
    for (long r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < FEW; i++) a[i] = _mm256_fmadd_ps(a[i], m, c);
    for (int i = 1; i < FEW; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    sink = _mm256_cvtss_f32(a[0]);
}
#endif

/* Whatever the compiler makes of vectors of four. */
static void fma_plain(void *memory, long rounds)
{
    typedef float lanes __attribute__((vector_size(16)));
    (void)memory;
    enum { FEW = 8 };
    lanes a[FEW];
#pragma GCC unroll 16
    for (int i = 0; i < FEW; i++) a[i] = (lanes){(float)i};
    for (long r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < FEW; i++) a[i] = a[i] * 0.999f + 0.001f;
    for (int i = 1; i < FEW; i++) a[0] += a[i];
    sink = a[0][0];
}

const char *peak_level(void)
{
    const unsigned flags = ful_cpu_flags();
    return flags & FUL_CPU_AVX512 ? "avx512" : flags & FUL_CPU_AVX2 ? "avx2" : "scalar";
}

double peak_fma_gflops(int threads, double seconds)
{
    peak_fn fn = fma_plain;
    double flops = 2.0 * STEPS * 8 * 4;
#if defined(__x86_64__)
    if (ful_cpu_flags() & FUL_CPU_AVX512 && __builtin_cpu_supports("avx512f")) { /* it may be emulated */
        fn = fma_avx512;
        flops = 2.0 * STEPS * CHAINS * 16;
    } else if (ful_cpu_flags() & FUL_CPU_AVX2) {
        fn = fma_avx2;
        flops = 2.0 * STEPS * 12 * 8;
    }
#endif
    return 1e-9 * flops * peak_rounds(threads, seconds, fn, NULL);
}
