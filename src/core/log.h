/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_CORE_LOG_H
#define FUL_CORE_LOG_H

#include <fulcrum/core.h>

void ful__log(ful_log_level level, const char *fmt, ...) FUL_PRINTF(2, 3);

#endif
