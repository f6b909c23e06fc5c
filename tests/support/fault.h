/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The N-th allocation, read, write or thread start fails, N = 1, 2, 3 … until the attempt succeeds.
 *
 *   static ful_status build(void *ctx) { … everything from create to destroy, also after a failure … }
 *   test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build, &ctx);
 *
 * After each failure the status must be the expected one and the sentence must be a fresh one that begins with "cannot" (or has
 * it behind a context). Leaks are AddressSanitizer's to find: attempt() must release all it made on every path.
 */
#ifndef FUL_TESTS_SUPPORT_FAULT_H
#define FUL_TESTS_SUPPORT_FAULT_H

#include "core/error.h"
#include "core/mem.h"
#include "support/test.h"

typedef ful_status (*test_attempt_fn)(void *ctx);

enum { TEST_MOST_FAILURES = 100000 };

/* One attempt with the n-th operation of this kind failing; false when there was no n-th (the attempt must then succeed). */
static inline int test_one_failure(ful__fault kind, ful_status expected, test_attempt_fn attempt, void *ctx, long n)
{
    (void)ful__fail(FUL_OK, "%s", ""); /* forget the last sentence */
    ful__fault_fail_at(kind, n);
    const ful_status status = attempt(ctx);
    const long calls = ful__fault_count(kind);
    ful__fault_fail_at(kind, 0);
    if (calls < n) {
        if (status != FUL_OK) fail_msg("no operation failed, but: %s: %s", ful_status_name(status), ful_error_message());
        return 0;
    }
    if (status != expected)
        fail_msg("operation %ld failed: gave %s (%s), wanted %s", n, ful_status_name(status), ful_error_message(),
                 ful_status_name(expected));
    if (!strstr(ful_error_message(), "cannot"))
        fail_msg("operation %ld failed without a sentence: '%s'", n, ful_error_message());
    return 1;
}

/* Every n up to `dense`, then ever wider steps (n grows by 1/8): for attempts with thousands of operations. Returns how many
 * failed. */
static inline long test_some_failures(ful__fault kind, ful_status expected, test_attempt_fn attempt, void *ctx, long dense)
{
    long failures = 0;
    for (long n = 1; n <= TEST_MOST_FAILURES; n += n < dense ? 1 : 1 + n / 8) {
        if (!test_one_failure(kind, expected, attempt, ctx, n)) {
            if (failures == 0) fail_msg("the attempt has no operation of this kind: the test proves nothing");
            return failures;
        }
        failures++;
    }
    fail_msg("still failing after %d operations", TEST_MOST_FAILURES);
    return failures;
}

static inline long test_each_failure(ful__fault kind, ful_status expected, test_attempt_fn attempt, void *ctx)
{
    return test_some_failures(kind, expected, attempt, ctx, TEST_MOST_FAILURES);
}

#endif
