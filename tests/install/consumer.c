/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: every public header, a call that succeeds and one that fails with a sentence. */
#include "all_headers.h"

#include <stdio.h>
#include <string.h>

int main(void)
{
    if (ful_threads_set(0) != FUL_ERR_ARG || strncmp(ful_error_message(), "cannot ", 7) != 0) return 1;
    if (ful_threads_set(1) != FUL_OK || ful_threads_get() != 1) return 2;
    return printf("fulcrum %s on %s\n", ful_version(), ful_cpu_name()) > 0 ? 0 : 3;
}
