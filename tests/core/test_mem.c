/* SPDX-License-Identifier: Apache-2.0 */
/* Checked sizes, the heap, pages, and the fault counters themselves. */
#include <stdint.h>
#include <sys/resource.h>

#include "core/mem.h"
#include "support/fault.h"
#include "support/test.h"

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t n = 0;
    assert_true(ful__size_mul(3, 7, &n) && n == 21);
    assert_true(ful__size_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
    assert_false(ful__size_mul(SIZE_MAX / 2 + 1, 2, &n));
    assert_false(ful__size_add(SIZE_MAX, 1, &n));
    assert_int_equal(ful__align64(0), 0);
    assert_int_equal(ful__align64(1), 64);
    assert_int_equal(ful__align64(64), 64);
    assert_int_equal(ful__align64(65), 128);
}

static void heap_blocks(void **state)
{
    (void)state;
    int *numbers = NULL;
    assert_ok(ful__calloc(&numbers, 5, sizeof *numbers, "numbers"));
    for (int i = 0; i < 5; i++) assert_int_equal(numbers[i], 0);
    for (int i = 0; i < 5; i++) numbers[i] = i;
    assert_ok(ful__realloc(&numbers, 50, sizeof *numbers, "numbers"));
    for (int i = 0; i < 5; i++) assert_int_equal(numbers[i], i);
    ful__free(numbers);
    ful__free(NULL);

    char *nothing = NULL;
    assert_ok(ful__calloc(&nothing, 0, 8, "nothing"));
    assert_non_null(nothing);
    assert_ok(ful__realloc(&nothing, 0, 8, "nothing"));
    assert_non_null(nothing);
    ful__free(nothing);
}

static void refusals_name_the_block(void **state)
{
    (void)state;
    char *p = (char *)state;
    assert_fails(ful__calloc(&p, SIZE_MAX / 2, 4, "the kernels"), FUL_ERR_MEMORY, "for the kernels: the size is beyond");
    assert_null(p);
    assert_ok(ful__strdup(&p, "kept"));
    assert_fails(ful__realloc(&p, SIZE_MAX / 2, 4, "it"), FUL_ERR_MEMORY, "cannot allocate");
    ful__fault_fail_at(FUL__FAULT_ALLOC, 1);
    assert_fails(ful__realloc(&p, 100, 1, "a longer text"), FUL_ERR_MEMORY,
                 "cannot allocate 100 bytes for a longer text: out of memory");
    assert_string_equal(p, "kept");
    ful__free(p);
}

static void fault_counts_and_fires_once(void **state)
{
    (void)state;
    ful__fault_fail_at(FUL__FAULT_READ, 3);
    const bool expected[] = {false, false, true, false, false};
    for (int i = 0; i < 5; i++) assert_int_equal(ful__fault_hit(FUL__FAULT_READ), expected[i]);
    assert_int_equal(ful__fault_count(FUL__FAULT_READ), 5);
    ful__fault_fail_at(FUL__FAULT_READ, 0);
    assert_false(ful__fault_hit(FUL__FAULT_READ));
}

static void pages_are_zero_and_aligned(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 4095, 4096, 4097, (2u << 20) - 1, 2u << 20, (2u << 20) + 1, 5000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ful__pages pages;
        assert_ok(ful__pages_alloc(&pages, sizes[i], "tensors"));
        unsigned char *bytes = pages.ptr;
        assert_int_equal((uintptr_t)bytes % 64, 0);
        assert_true(pages.bytes >= sizes[i]);
        for (size_t j = 0; j < pages.bytes; j++)
            if (bytes[j] != 0) fail_msg("byte %zu of %zu is not zero", j, sizes[i]);
        memset(bytes, 0xff, pages.bytes);
        ful__pages_free(&pages);
        assert_null(pages.ptr);
        ful__pages_free(&pages);
    }
}

static ful_status allocate_pages(void *ctx)
{
    ful__pages pages;
    (void)ctx;
    const ful_status status = ful__pages_alloc(&pages, 3u << 20, "activations");
    ful__pages_free(&pages);
    return status;
}

static void pages_can_be_refused(void **state)
{
    (void)state;
    ful__pages pages;
    assert_int_equal(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, allocate_pages, NULL), 1);
    assert_fails(ful__pages_alloc(&pages, SIZE_MAX / 2, "all"), FUL_ERR_MEMORY, "beyond the address space");
    assert_null(pages.ptr);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* The kernel itself refuses. */
static void pages_beyond_the_limit(void **state)
{
    (void)state;
    struct rlimit before;
    ful__pages pages;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    const struct rlimit small = {.rlim_cur = (rlim_t)4 << 30, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    const ful_status status = ful__pages_alloc(&pages, (size_t)64 << 30, "a net");
    setrlimit(RLIMIT_AS, &before);
    assert_fails(status, FUL_ERR_MEMORY, "cannot allocate 68719476736 bytes for a net: out of memory");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(heap_blocks),
        cmocka_unit_test(refusals_name_the_block),
        cmocka_unit_test(fault_counts_and_fires_once),
        cmocka_unit_test(pages_are_zero_and_aligned),
        cmocka_unit_test(pages_can_be_refused),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(pages_beyond_the_limit),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
