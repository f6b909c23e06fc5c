/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes, the thread's sentence, the log, the version and the CPU mask. */
#include <fulcrum/core.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/log.h"
#include "core/thread.h"
#include "support/fault.h"
#include "support/test.h"

static void names_and_meanings(void **state)
{
    (void)state;
    assert_string_equal(ful_status_name(FUL_OK), "FUL_OK");
    assert_string_equal(ful_status_name(FUL_ERR_COLLAPSE), "FUL_ERR_COLLAPSE");
    assert_string_equal(ful_status_meaning(FUL_ERR_MEMORY), "memory could not be allocated");
    assert_string_equal(ful_status_name((ful_status)99), "unknown status");
    assert_string_equal(ful_status_meaning((ful_status)-1), "unknown status");
}

/* The numbers are part of the ABI. */
static void numbers_never_change(void **state)
{
    (void)state;
    assert_int_equal(FUL_OK, 0);
    assert_int_equal(FUL_ERR_ARG, 1);
    assert_int_equal(FUL_ERR_CONFIG, 2);
    assert_int_equal(FUL_ERR_DATA, 3);
    assert_int_equal(FUL_ERR_FORMAT, 4);
    assert_int_equal(FUL_ERR_IO, 5);
    assert_int_equal(FUL_ERR_MEMORY, 6);
    assert_int_equal(FUL_ERR_UNSUPPORTED, 7);
    assert_int_equal(FUL_ERR_NUMERIC, 8);
    assert_int_equal(FUL_ERR_COLLAPSE, 9);
    assert_int_equal(FUL_ERR_INTERRUPTED, 10);
    assert_int_equal(FUL_ERR_INTERNAL, 11);
}

static void sentence_and_context(void **state)
{
    (void)state;
    assert_fails(ful__fail(FUL_ERR_ARG, "cannot build moe '%s' with k=%d", "head", 9), FUL_ERR_ARG,
                 "cannot build moe 'head' with k=9");
    assert_fails(ful__fail_context(FUL_ERR_ARG, "plan.yaml, line %d", 3), FUL_ERR_ARG, "plan.yaml, line 3: cannot build moe");
    assert_fails(ful__fail(FUL_ERR_IO, "outer: %s", ful_error_message()), FUL_ERR_IO, "outer: plan.yaml, line 3: cannot");
}

/* A sentence too long ends in "..." after a whole character, however the cut falls. */
static void long_sentence_is_cut(void **state)
{
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        char text[3001] = {0};
        memset(text, 'x', (size_t)shift);
        for (int i = shift; i + 3 <= 3000; i += 3) memcpy(text + i, "\xe2\x82\xac", 3); /* the euro sign */
        (void)ful__fail(FUL_ERR_ARG, "%s", text);
        const char *message = ful_error_message();
        const size_t n = strlen(message);
        assert_true(n <= 1023 && n > 1010);
        assert_string_equal(message + n - 3, "...");
        assert_int_equal((n - 3 - (size_t)shift) % 3, 0);
    }
    char wide[1100];
    memset(wide, 'p', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    (void)ful__fail_context(FUL_ERR_ARG, "%s", wide);
    assert_int_equal(strlen(ful_error_message()), 1023);
}

static void *fail_elsewhere(void *arg)
{
    (void)ful__fail(FUL_ERR_IO, "another thread's sentence");
    return arg;
}

static void sentence_is_the_threads_own(void **state)
{
    (void)state;
    pthread_t thread;
    (void)ful__fail(FUL_ERR_ARG, "mine");
    assert_ok(ful__thread_start(&thread, fail_elsewhere, NULL, "a test"));
    pthread_join(thread, NULL);
    assert_string_equal(ful_error_message(), "mine");
}

static void refused_thread_has_a_sentence(void **state)
{
    (void)state;
    pthread_t thread;
    ful__fault_fail_at(FUL__FAULT_THREAD, 1);
    assert_fails(ful__thread_start(&thread, fail_elsewhere, NULL, "the loader"), FUL_ERR_MEMORY,
                 "cannot start a thread for the loader");
    ful__fault_fail_at(FUL__FAULT_THREAD, 0);
}

static void keep_line(void *cookie, ful_log_level level, const char *message)
{
    snprintf(cookie, 100, "%d %s", (int)level, message);
}

static void log_levels(void **state)
{
    (void)state;
    char line[100] = "";
    ful__log(FUL_LOG_ERROR, "nobody listens");
    ful_log_set(keep_line, line, FUL_LOG_INFO);
    ful__log(FUL_LOG_DEBUG, "too verbose");
    assert_string_equal(line, "");
    ful__log(FUL_LOG_INFO, "epoch %d", 3);
    assert_string_equal(line, "2 epoch 3");
    ful_log_set(NULL, NULL, FUL_LOG_ERROR);
    ful__log(FUL_LOG_ERROR, "gone");
    assert_string_equal(line, "2 epoch 3");
}

static void cpu_mask_hides(void **state)
{
    (void)state;
    const unsigned all = ful_cpu_flags();
    ful_cpu_mask_set(FUL_CPU_AVX2);
    assert_int_equal(ful_cpu_flags(), all & FUL_CPU_AVX2);
    ful_cpu_mask_set(0);
    assert_int_equal(ful_cpu_flags(), 0);
    ful_cpu_mask_set(~0u);
    assert_true((ful_cpu_flags() & all) == all);
    assert_true(strlen(ful_cpu_name()) > 0);
    assert_string_equal(ful_version(), FULCRUM_VERSION);
}

int main(void)
{
    /* Read once, at the first question, so it is set before any test. */
    setenv("FULCRUM_CPU_MASK", "1", 1);
    if (ful_cpu_flags() & FUL_CPU_AVX512) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_meanings),
        cmocka_unit_test(numbers_never_change),
        cmocka_unit_test(sentence_and_context),
        cmocka_unit_test(long_sentence_is_cut),
        cmocka_unit_test(sentence_is_the_threads_own),
        cmocka_unit_test(refused_thread_has_a_sentence),
        cmocka_unit_test(log_levels),
        cmocka_unit_test(cpu_mask_hides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
