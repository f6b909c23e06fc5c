/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine can do at most, on one thread and on all: float32 fused multiply-adds, int8 dot products, and the bandwidth
 * of L2, L3 and memory, once reading and once updating in place (x = x + c: a read and a write of each byte).
 *
 *   peaks [--threads N] [--json]
 */
#include <fulcrum/core.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/peak.h"

enum { MIB = 1 << 20, LEVELS = 3, THREADS_MOST = 256 };
#define SECONDS 0.4

/* int8 dot products -------------------------------------------------------------------------------------------------------- */

enum { CHAINS = 12, STEPS = 1024 };
static volatile int sink;

#if defined(__x86_64__)
#include <immintrin.h>

/* vpdpbusd: 16 lanes of 4 products each. */
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void dot_avx512(void *memory, long rounds)
{
    (void)memory;
    __m512i a[CHAINS];
    const __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (long r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_dpbusd_epi32(a[i], u, s);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(a[0]));
}

/* Without VNNI: pairs to 16 bits, pairs of those to 32, and an addition. */
__attribute__((target("avx2"))) static void dot_avx2(void *memory, long rounds)
{
    (void)memory;
    __m256i a[CHAINS];
    const __m256i s = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) a[i] = _mm256_set1_epi32(i);
    for (long r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a[i], s), one));
    for (int i = 1; i < CHAINS; i++) a[0] = _mm256_add_epi32(a[0], a[i]);
    sink = _mm_cvtsi128_si32(_mm256_castsi256_si128(a[0]));
}
#endif

static void dot_plain(void *memory, long rounds)
{
    int a[4] = {1, 2, 3, 4};
    (void)memory;
    for (long r = 0; r < rounds * STEPS; r++)
        for (int i = 0; i < 4; i++) a[i] += (int8_t)a[i] * (int8_t)r;
    sink = a[0] + a[1] + a[2] + a[3];
}

static double int8_gops(int threads, const char **level)
{
    peak_fn fn = dot_plain;
    double ops = 2.0 * STEPS * 4;
    *level = "scalar";
#if defined(__x86_64__)
    if (ful_cpu_flags() & FUL_CPU_AVX512 && __builtin_cpu_supports("avx512vnni")) {
        fn = dot_avx512;
        ops = 2.0 * STEPS * CHAINS * 64;
        *level = "avx512-vnni";
    } else if (ful_cpu_flags() & FUL_CPU_AVX2) {
        fn = dot_avx2;
        ops = 2.0 * STEPS * CHAINS * 32;
        *level = "avx2";
    }
#endif
    return 1e-9 * ops * peak_rounds(threads, SECONDS, fn, NULL);
}

/* Bandwidth ---------------------------------------------------------------------------------------------------------------- */

static size_t block_bytes; /* of each thread: set before the threads start */
static volatile float float_sink;

/* A round is one pass over the block by vectors of a register's size; eight at once, in registers, so that loads do not wait
 * for additions. */
#define BANDWIDTH(suffix, register_bytes, attribute)                                                                       \
    typedef float lanes_##suffix __attribute__((vector_size(register_bytes), may_alias));                                  \
    attribute static void read_##suffix(void *memory, long rounds)                                                         \
    {                                                                                                                      \
        const lanes_##suffix *x = memory, *end = x + block_bytes / sizeof *x;                                              \
        lanes_##suffix s[8] = {{0}};                                                                                       \
        for (long r = 0; r < rounds; r++)                                                                                  \
            for (const lanes_##suffix *p = x; p < end; p += 8)                                                             \
                _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) s[i] += p[i];                                          \
        for (int i = 1; i < 8; i++) s[0] += s[i];                                                                          \
        float_sink = s[0][0];                                                                                              \
    }                                                                                                                      \
    attribute static void update_##suffix(void *memory, long rounds)                                                       \
    {                                                                                                                      \
        lanes_##suffix *x = memory, *end = x + block_bytes / sizeof *x;                                                    \
        for (long r = 0; r < rounds; r++)                                                                                  \
            for (lanes_##suffix *p = x; p < end; p += 8) _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) p[i] += 1.0f; \
    }

#if defined(__x86_64__)
BANDWIDTH(avx512, 64, __attribute__((target("avx512f"), optimize("O3"))))
BANDWIDTH(avx2, 32, __attribute__((target("avx2"), optimize("O3"))))
#endif
BANDWIDTH(plain, 16, __attribute__((optimize("O3"))))

static peak_fn pass_of(bool update)
{
#if defined(__x86_64__)
    if (ful_cpu_flags() & FUL_CPU_AVX512) return update ? update_avx512 : read_avx512;
    if (ful_cpu_flags() & FUL_CPU_AVX2) return update ? update_avx2 : read_avx2;
#endif
    return update ? update_plain : read_plain;
}

/* GB/s of reading and of updating; negative when there is no memory. */
static void bandwidth(int threads, size_t bytes, double *read_out, double *update_out)
{
    void *memory[THREADS_MOST];
    block_bytes = bytes;
    int got = 0;
    for (; got < threads; got++) {
        memory[got] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory[got] == MAP_FAILED) break;
        madvise(memory[got], bytes, MADV_HUGEPAGE);
        memset(memory[got], 0, bytes);
    }
    const bool all = got == threads;
    *read_out = 1e-9 * (double)bytes * (all ? peak_rounds(threads, SECONDS, pass_of(false), memory) : -1);
    *update_out = 2e-9 * (double)bytes * (all ? peak_rounds(threads, SECONDS, pass_of(true), memory) : -1);
    while (got-- > 0) munmap(memory[got], bytes);
}

/* A block of each thread that fits the level and not the one below: half of L2; eight L2 but at most a share of L3; past L3. */
static size_t level_bytes(int level, int threads)
{
    const double l2 = (double)sysconf(_SC_LEVEL2_CACHE_SIZE), l3 = (double)sysconf(_SC_LEVEL3_CACHE_SIZE);
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const double cache2 = l2 > 0 ? l2 : MIB, cache3 = l3 > 0 ? l3 : 32.0 * MIB;
    double bytes = cache2 / 2;
    if (level == 1) {
        bytes = cache3 / (2 * threads);
        if (bytes > 8 * cache2) bytes = 8 * cache2;
    }
    if (level == 2) {
        bytes = 2 * cache3 / threads;
        if (bytes > memory / 4 / threads) bytes = memory / 4 / threads;
    }
    return (size_t)bytes / (64 * 1024) * (64 * 1024);
}

/* ---- */

typedef struct peaks {
    int threads;
    const char *int8_level;
    double fma[2], int8[2], read[LEVELS][2], update[LEVELS][2]; /* on one thread, on all */
    size_t bytes[LEVELS];
} peaks;

static const char *const level_names[LEVELS] = {"L2", "L3", "DRAM"};

static void measure(peaks *p)
{
    for (int i = 0; i < 2; i++) {
        const int threads = i ? p->threads : 1;
        if (i == 1 && threads == 1) { /* the same again */
            p->fma[1] = p->fma[0];
            p->int8[1] = p->int8[0];
            for (int l = 0; l < LEVELS; l++) p->read[l][1] = p->read[l][0], p->update[l][1] = p->update[l][0];
            return;
        }
        p->fma[i] = peak_fma_gflops(threads, SECONDS);
        p->int8[i] = int8_gops(threads, &p->int8_level);
        for (int l = 0; l < LEVELS; l++) {
            p->bytes[l] = level_bytes(l, threads);
            bandwidth(threads, p->bytes[l], &p->read[l][i], &p->update[l][i]);
        }
    }
}

static void show(const peaks *p)
{
    printf("%s, %d threads\n%-28s %10s %10s\n", ful_cpu_name(), p->threads, "", "1 thread", "all");
    printf("float32 FMA (%s) GFLOP/s%*s %10.1f %10.1f\n", peak_level(), (int)(7 - strlen(peak_level())), "", p->fma[0],
           p->fma[1]);
    printf("int8 dot (%s) Gop/s%*s %10.1f %10.1f\n", p->int8_level, (int)(11 - strlen(p->int8_level)), "", p->int8[0],
           p->int8[1]);
    for (int l = 0; l < LEVELS; l++) {
        printf("%-4s read   GB/s %11s %10.1f %10.1f\n", level_names[l], "", p->read[l][0], p->read[l][1]);
        printf("%-4s update GB/s %11s %10.1f %10.1f\n", level_names[l], "", p->update[l][0], p->update[l][1]);
    }
}

static void show_json(const peaks *p)
{
    printf("{\"cpu\": \"%s\", \"level\": \"%s\", \"int8_level\": \"%s\", \"threads\": %d, \"fma_gflops\": [%.2f, %.2f], "
           "\"int8_gops\": [%.2f, %.2f], \"bandwidth\": [",
           ful_cpu_name(), peak_level(), p->int8_level, p->threads, p->fma[0], p->fma[1], p->int8[0], p->int8[1]);
    for (int l = 0; l < LEVELS; l++)
        printf("%s{\"level\": \"%s\", \"block_bytes\": %zu, \"read_gb_s\": [%.2f, %.2f], \"update_gb_s\": [%.2f, %.2f]}",
               l ? ", " : "", level_names[l], p->bytes[l], p->read[l][0], p->read[l][1], p->update[l][0], p->update[l][1]);
    printf("], \"cache_bytes\": {\"L2\": %ld, \"L3\": %ld}}\n", sysconf(_SC_LEVEL2_CACHE_SIZE), sysconf(_SC_LEVEL3_CACHE_SIZE));
}

int main(int argc, char **argv)
{
    peaks p = {.threads = ful_threads_get()};
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            p.threads = atoi(argv[++i]);
        else
            p.threads = 0;
    }
    if (p.threads < 1 || p.threads > THREADS_MOST) {
        fprintf(stderr, "usage: peaks [--threads 1..%d] [--json]\n", THREADS_MOST);
        return 2;
    }
    measure(&p);
    (json ? show_json : show)(&p);
    return 0;
}
