/* SPDX-License-Identifier: Apache-2.0 */
/* What every test program includes: cmocka, and assertions about ful_status that show the library's sentence. */
#ifndef FUL_TESTS_SUPPORT_TEST_H
#define FUL_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fulcrum/status.h>

static inline void test_check_ok(ful_status status, const char *text, const char *file, int line)
{
    if (status == FUL_OK) return;
    print_error("%s\n  gave %s: %s\n", text, ful_status_name(status), ful_error_message());
    _fail(file, line);
}

static inline void test_check_fails(ful_status status, ful_status expected, const char *fragment, const char *text,
                                    const char *file, int line)
{
    if (status == expected && strstr(ful_error_message(), fragment)) return;
    print_error("%s\n  gave %s: %s\n  wanted %s: … %s …\n", text, ful_status_name(status), ful_error_message(),
                ful_status_name(expected), fragment);
    _fail(file, line);
}

/* assert_ok(call): FUL_OK. assert_fails(call, status, "…"): that status, with a sentence that contains the fragment. */
#define assert_ok(call)                        test_check_ok((call), #call, __FILE__, __LINE__)
#define assert_fails(call, expected, fragment) test_check_fails((call), (expected), (fragment), #call, __FILE__, __LINE__)

#endif
