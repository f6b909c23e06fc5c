/* SPDX-License-Identifier: Apache-2.0 */
/* The version. (Threads: parallel.c; CPU levels: cpu.c; log: log.c.) */
#include <fulcrum/core.h>

const char *ful_version(void)
{
    return FULCRUM_VERSION;
}
