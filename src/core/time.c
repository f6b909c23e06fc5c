/* SPDX-License-Identifier: Apache-2.0 */
/* The clock. */
#include "core/time.h"

#include <time.h>

double ful__seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
