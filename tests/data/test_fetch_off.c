/* SPDX-License-Identifier: Apache-2.0 */
/* Downloading in a build without libcurl (fetch.c is compiled into this program so): what is missing, and what to do. */
#include <string.h>

#include "data/fetch.h"
#include "support/test.h"

static void test_says_what_is_missing(void **state)
{
    (void)state;
    ful_fetch_report report;
    const ful_fetch_options mirror = {.from = "http://mirror.example/sets"};
    assert_fails(
        ful_data_fetch("cifar10", "/data/c10", NULL, NULL, &report), FUL_ERR_UNSUPPORTED,
        "cannot download 'cifar10': this program was built without libcurl; install it (Debian: libcurl4-openssl-dev) and "
        "build again, or put cifar-10-binary.tar.gz from https://");
    assert_non_null(strstr(ful_error_message(), " into /data/c10"));
    assert_fails(ful_data_fetch("mnist", "/data/m", &mirror, NULL, &report), FUL_ERR_UNSUPPORTED,
                 "t10k-labels-idx1-ubyte.gz from http://mirror.example/sets into /data/m");
    assert_fails(ful_data_fetch("tiny-imagenet", "/data/t", NULL, NULL, &report), FUL_ERR_UNSUPPORTED,
                 "into /data/t; then unzip tiny-imagenet-200.zip");
    assert_int_equal(report.files, 0);
}

/* What is no matter of libcurl is the same in any build. */
static void test_other_refusals(void **state)
{
    (void)state;
    ful_fetch_report report;
    assert_fails(ful_data_fetch("imagenet", "/data/i", NULL, NULL, &report), FUL_ERR_DATA, "who have registered");
    assert_fails(ful_data_fetch("cifar11", "/data/c", NULL, NULL, &report), FUL_ERR_CONFIG, "it must be cifar10");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_says_what_is_missing), cmocka_unit_test(test_other_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
