/* SPDX-License-Identifier: Apache-2.0 */
/* The number of threads. The loops themselves: parallel_openmp.c or parallel_pthread.c. */
#include "core/parallel.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/error.h"

enum { MOST_THREADS = 1024 };

/* libgomp's, also when only oneDNN links it: its loops then use as many threads as ours. */
extern void omp_set_num_threads(int n) __attribute__((weak));

static atomic_int threads; /* 0: not yet asked for */

static int clamp(long n)
{
    return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : (int)n;
}

/* The first number of OMP_NUM_THREADS, else the cores this process may run on. */
static int default_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    if (text) {
        char *end = NULL;
        const long n = strtol(text, &end, 10);
        if (end != text && (*end == '\0' || *end == ',') && n >= 1) return clamp(n);
    }
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return clamp(CPU_COUNT(&set));
    return 1;
}

ful_status ful_threads_set(int n)
{
    FUL_FAIL_IF(n < 1 || n > MOST_THREADS, FUL_ERR_ARG, "cannot use %d threads: the number must be in 1..%d", n, MOST_THREADS);
    atomic_store(&threads, n);
    if (omp_set_num_threads) omp_set_num_threads(n);
    return FUL_OK;
}

int ful_threads_get(void)
{
    int n = atomic_load(&threads);
    if (n == 0) {
        n = default_threads();
        atomic_store(&threads, n);
    }
    return n;
}
