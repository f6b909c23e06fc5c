/* SPDX-License-Identifier: Apache-2.0 */
/* Heap memory with checked sizes, and pages for tensors. */
#include "core/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/error.h"
#include "core/parallel.h"

bool ful__size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool ful__size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static ful_status checked_bytes(size_t count, size_t size, const char *what, size_t *out)
{
    FUL_FAIL_IF(!ful__size_mul(count, size, out), FUL_ERR_MEMORY,
                "cannot allocate %zu x %zu bytes for %s: the size is beyond the address space", count, size, what);
    if (*out == 0) *out = 1;
    return FUL_OK;
}

/* The callers' pointers have their own types, so they are read and written as bytes. */
ful_status ful__calloc(void *out_ptr, size_t count, size_t size, const char *what)
{
    size_t bytes = 0;
    void *block = NULL;
    memcpy(out_ptr, &block, sizeof block);
    FUL_TRY(checked_bytes(count, size, what, &bytes));
    if (!ful__fault_hit(FUL__FAULT_ALLOC)) block = calloc(1, bytes);
    FUL_FAIL_IF(!block, FUL_ERR_MEMORY, "cannot allocate %zu bytes for %s: out of memory", bytes, what);
    memcpy(out_ptr, &block, sizeof block);
    return FUL_OK;
}

ful_status ful__realloc(void *in_out_ptr, size_t count, size_t size, const char *what)
{
    size_t bytes = 0;
    void *block = NULL, *grown = NULL;
    memcpy(&block, in_out_ptr, sizeof block);
    FUL_TRY(checked_bytes(count, size, what, &bytes));
    if (!ful__fault_hit(FUL__FAULT_ALLOC)) grown = realloc(block, bytes);
    FUL_FAIL_IF(!grown, FUL_ERR_MEMORY, "cannot allocate %zu bytes for %s: out of memory", bytes, what);
    memcpy(in_out_ptr, &grown, sizeof grown);
    return FUL_OK;
}

void ful__free(void *ptr)
{
    free(ptr);
}

ful_status ful__strdup(char **out, const char *s)
{
    const size_t bytes = strlen(s) + 1;
    FUL_TRY(ful__calloc(out, bytes, 1, "a string"));
    memcpy(*out, s, bytes);
    return FUL_OK;
}

/* Pages ---------------------------------------------------------------------------------------------------------------- */

enum { SMALL_PAGE = 4096 };
static const size_t huge_page = (size_t)2 << 20;

static void touch_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const ful__pages *pages = ctx;
    const size_t begin = (size_t)chunk * huge_page;
    const size_t end = begin + huge_page < pages->bytes ? begin + huge_page : pages->bytes;
    for (size_t i = begin; i < end; i += SMALL_PAGE) ((volatile unsigned char *)pages->ptr)[i] = 0;
}

#if defined(__SANITIZE_ADDRESS__)

/* Under AddressSanitizer the block comes from the heap, so that it has red zones and its loss is a leak. */
static void *map_pages(size_t bytes, bool *huge_out)
{
    void *block = NULL;
    *huge_out = false;
    if (posix_memalign(&block, 64, bytes) != 0) return NULL;
    memset(block, 0, bytes);
    return block;
}

static void unmap_pages(void *ptr, size_t bytes)
{
    (void)bytes;
    free(ptr);
}

#else

static size_t mapped_bytes(size_t bytes)
{
    const size_t unit = bytes >= huge_page ? huge_page : SMALL_PAGE;
    return (bytes + unit - 1) / unit * unit;
}

static void *map_pages(size_t bytes, bool *huge_out)
{
    const size_t want = mapped_bytes(bytes);
    const size_t slack = want >= huge_page ? huge_page : 0; /* to cut the mapping to whole huge pages */
    *huge_out = false;
    unsigned char *raw = mmap(NULL, want + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    if (slack == 0) return raw;
    const size_t head = (huge_page - (size_t)((uintptr_t)raw % huge_page)) % huge_page;
    if (head > 0) munmap(raw, head);
    if (slack - head > 0) munmap(raw + head + want, slack - head);
    *huge_out = madvise(raw + head, want, MADV_HUGEPAGE) == 0;
    return raw + head;
}

static void unmap_pages(void *ptr, size_t bytes)
{
    munmap(ptr, mapped_bytes(bytes));
}

#endif

ful_status ful__pages_alloc(ful__pages *out, size_t bytes, const char *what)
{
    *out = (ful__pages){0};
    if (bytes == 0) bytes = 64;
    FUL_FAIL_IF(bytes > SIZE_MAX / 4, FUL_ERR_MEMORY, "cannot allocate %zu bytes for %s: the size is beyond the address space",
                bytes, what);
    bool huge = false;
    void *ptr = ful__fault_hit(FUL__FAULT_ALLOC) ? NULL : map_pages(bytes, &huge);
    FUL_FAIL_IF(!ptr, FUL_ERR_MEMORY, "cannot allocate %zu bytes for %s: out of memory", bytes, what);
    *out = (ful__pages){.ptr = ptr, .bytes = bytes, .huge = huge};
    ful__parallel_for((int64_t)((bytes + huge_page - 1) / huge_page), touch_chunk, out);
    return FUL_OK;
}

void ful__pages_free(ful__pages *pages)
{
    if (pages->ptr) unmap_pages(pages->ptr, pages->bytes);
    *pages = (ful__pages){0};
}
