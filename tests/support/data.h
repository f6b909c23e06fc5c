/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real data sets that not every machine has: under $FULCRUM_DATA, else ../shared/data beside the checkout.
 *
 *   char path[1024];
 *   TEST_NEEDS_DATA(path, "cifar10");   // inside a cmocka test: fills path, or says so loudly and skips
 */
#ifndef FUL_TESTS_SUPPORT_DATA_H
#define FUL_TESTS_SUPPORT_DATA_H

#include <stdlib.h>
#include <unistd.h>

#include "support/test.h"

/* path := <data folder>/<relative>; whether it is there. */
static inline int test_data_find(char *path, size_t bytes, const char *relative)
{
    const char *root = getenv("FULCRUM_DATA");
    snprintf(path, bytes, "%s/%s", root && *root ? root : "../shared/data", relative);
    return access(path, R_OK) == 0;
}

/* tools/run_tests repeats every line that begins with SKIPPED in its summary. */
#define TEST_NEEDS_DATA(path, relative)                              \
    do {                                                             \
        if (!test_data_find((path), sizeof(path), (relative))) {     \
            printf("SKIPPED %s: %s is missing\n", __func__, (path)); \
            fflush(stdout);                                          \
            skip();                                                  \
        }                                                            \
    } while (0)

#endif
