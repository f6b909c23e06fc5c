/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory. All heap memory of the library comes from here, so that tests can make the N-th request fail.
 * Sizes that are products go through ful__size_mul / ful__size_add, which refuse to wrap.
 */
#ifndef FUL_CORE_MEM_H
#define FUL_CORE_MEM_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>

/* *out = zeroed memory for count items of size bytes; FUL_ERR_MEMORY names `what`. count*size == 0 gives a valid 1-byte block.
 */
ful_status ful__calloc(void *out_ptr, size_t count, size_t size, const char *what) FUL_CHECK_RESULT;
/* Grows (or shrinks) *ptr to count items; contents kept, new bytes not zeroed; *ptr untouched on failure. */
ful_status ful__realloc(void *in_out_ptr, size_t count, size_t size, const char *what) FUL_CHECK_RESULT;
void ful__free(void *ptr);
ful_status ful__strdup(char **out, const char *s) FUL_CHECK_RESULT;

bool ful__size_mul(size_t a, size_t b, size_t *out); /* false on overflow */
bool ful__size_add(size_t a, size_t b, size_t *out);

/*
 * Pages: a block for tensors, 64-byte aligned at least, on huge pages where the kernel gives them, touched
 * (zeroed) by the worker threads at once, because first touch costs more than the arithmetic that follows.
 */
typedef struct ful__pages {
    void *ptr;
    size_t bytes;
    bool huge; /* madvise(MADV_HUGEPAGE) was accepted */
} ful__pages;
ful_status ful__pages_alloc(ful__pages *out, size_t bytes, const char *what) FUL_CHECK_RESULT;
void ful__pages_free(ful__pages *pages); /* accepts a zeroed struct; leaves it zeroed */

/* 64-byte rounding: the alignment of every tensor. */
static inline size_t ful__align64(size_t bytes)
{
    return (bytes + 63u) & ~(size_t)63u;
}

/*
 * Fault injection for tests. fail_at(kind, n): the n-th call of that kind from now on fails once (n = 1 is the next); n = 0
 * switches it off. count(kind) is the number of calls since. Kinds cover every place the OS can refuse us.
 */
typedef enum ful__fault { FUL__FAULT_ALLOC, FUL__FAULT_READ, FUL__FAULT_WRITE, FUL__FAULT_THREAD, FUL__FAULT_KINDS } ful__fault;
FUL_API void ful__fault_fail_at(ful__fault kind, long n);
FUL_API long ful__fault_count(ful__fault kind);
bool ful__fault_hit(ful__fault kind); /* called by core where the real operation would happen */

#endif
