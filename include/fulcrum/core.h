/* SPDX-License-Identifier: Apache-2.0 */
/* The process-wide settings of the library: version, log, threads, CPU features. */
#ifndef FULCRUM_CORE_H
#define FULCRUM_CORE_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0": the version of the library that runs, and the sizes of what it was built with. */
FUL_API const char *ful_version(void);

typedef enum ful_log_level { FUL_LOG_ERROR = 0, FUL_LOG_WARN = 1, FUL_LOG_INFO = 2, FUL_LOG_DEBUG = 3 } ful_log_level;
typedef void (*ful_log_fn)(void *cookie, ful_log_level level, const char *message);

/* Where log lines go. fn = NULL (the default) drops them. The cookie remains the caller's. Not thread-safe against running
 * work. */
FUL_API void ful_log_set(ful_log_fn fn, void *cookie, ful_log_level most_verbose);

/* Of a list that ends with NULL the word that a mistyped one was meant to be: the nearest by Levenshtein's distance, where at
 * most about a third of its letters differ (of equals the first); NULL: none is near. */
FUL_API const char *ful_word_nearest(const char *given, const char *const *words);

/* A text from outside (a path, a name) for what must be UTF-8, such as JSON: bytes that are none become '?'. Caller frees with
 * ful_free. */
FUL_API ful_status ful_text_utf8(const char *text, char **out) FUL_CHECK_RESULT;

/* Worker threads of every parallel loop, oneDNN's included (default: the cores this process may run on). n >= 1. */
FUL_API ful_status ful_threads_set(int n);
FUL_API int ful_threads_get(void);

/* CPU levels that kernels may use, a bit each. The mask switches levels off (also environment FULCRUM_CPU_MASK, hex). */
enum { FUL_CPU_AVX2 = 1u << 0, FUL_CPU_AVX512 = 1u << 1 };
FUL_API unsigned ful_cpu_flags(void);         /* what the machine has, less what the mask hides */
FUL_API void ful_cpu_mask_set(unsigned mask); /* keep only these bits; call before building any graph */
FUL_API int64_t ful_cpu_l2_bytes(void);       /* second-level cache of a core; 1 MiB where the system does not say */
FUL_API int64_t ful_cpu_l3_bytes(void);       /* third-level cache, as far as one core sees it; 32 MiB where unknown */
FUL_API const char *ful_cpu_name(void);       /* brand string, e.g. "Intel(R) Xeon(R) …" */

#ifdef __cplusplus
}
#endif
#endif
