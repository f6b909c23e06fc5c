/* SPDX-License-Identifier: Apache-2.0 */
/* What the processor can do, less what the user hides. */
#include <fulcrum/core.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned found;
static atomic_uint mask;
static char brand[64];

#if defined(__x86_64__) || defined(__i386__)

static unsigned find_flags(void)
{
    unsigned flags = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) flags |= FUL_CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        flags |= FUL_CPU_AVX512;
#ifdef FULCRUM_EMULATE_AVX512 /* ops/x86.h */
    if (flags & FUL_CPU_AVX2) flags |= FUL_CPU_AVX512;
#endif
    return flags;
}

/* The brand string: 48 bytes in leaves 0x80000002..4. */
static void find_brand(char *out, size_t bytes)
{
    unsigned words[12] = {0};
    if (__get_cpuid_max(0x80000000u, NULL) < 0x80000004u) {
        snprintf(out, bytes, "unknown x86 processor");
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    char text[sizeof words + 1] = {0};
    memcpy(text, words, sizeof words);
    snprintf(out, bytes, "%s", text + strspn(text, " "));
}

#else

static unsigned find_flags(void)
{
    return 0;
}

static void find_brand(char *out, size_t bytes)
{
#if defined(__aarch64__)
    snprintf(out, bytes, "AArch64 processor");
#else
    snprintf(out, bytes, "unknown processor");
#endif
}

#endif

static void find_all(void)
{
    found = find_flags();
    find_brand(brand, sizeof brand);
    const char *text = getenv("FULCRUM_CPU_MASK");
    char *end = NULL;
    const unsigned long value = text ? strtoul(text, &end, 16) : 0;
    atomic_store(&mask, text && end != text && *end == '\0' ? (unsigned)value : ~0u);
}

unsigned ful_cpu_flags(void)
{
    pthread_once(&once, find_all);
    return found & atomic_load(&mask);
}

void ful_cpu_mask_set(unsigned new_mask)
{
    pthread_once(&once, find_all);
    atomic_store(&mask, new_mask);
}

const char *ful_cpu_name(void)
{
    pthread_once(&once, find_all);
    return brand;
}

/* What the system calls their sizes; -1, which it refuses, where it has no word for them. */
#if defined(_SC_LEVEL2_CACHE_SIZE) && defined(_SC_LEVEL3_CACHE_SIZE)
enum { L2_SIZE = _SC_LEVEL2_CACHE_SIZE, L3_SIZE = _SC_LEVEL3_CACHE_SIZE };
#else
enum { L2_SIZE = -1, L3_SIZE = -1 };
#endif

static int64_t cache_bytes(int size, int64_t otherwise)
{
    const long bytes = sysconf(size);
    return bytes > 0 ? bytes : otherwise;
}

int64_t ful_cpu_l2_bytes(void)
{
    return cache_bytes(L2_SIZE, 1 << 20);
}

int64_t ful_cpu_l3_bytes(void)
{
    return cache_bytes(L3_SIZE, 32 << 20);
}
