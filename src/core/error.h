/* SPDX-License-Identifier: Apache-2.0 */
/* Raising and passing on failures. A failure always carries a sentence: "cannot <do> <what> with <values>: <rule>". */
#ifndef FUL_CORE_ERROR_H
#define FUL_CORE_ERROR_H

#include <fulcrum/status.h>

enum { FUL__MESSAGE_BYTES = 1024 };

/* Records the sentence for ful_error_message() and returns the status. Longer sentences are cut at 1,023 bytes. */
ful_status ful__fail(ful_status status, const char *fmt, ...) FUL_PRINTF(2, 3);

/* Puts "<prefix>: " before the sentence of the failure now being passed on; returns status unchanged. */
ful_status ful__fail_context(ful_status status, const char *fmt, ...) FUL_PRINTF(2, 3);

#define FUL_FAIL_IF(cond, status, ...)                     \
    do {                                                   \
        if (cond) return ful__fail((status), __VA_ARGS__); \
    } while (0)

#define FUL_TRY(expr)                                  \
    do {                                               \
        const ful_status try_status_ = (expr);         \
        if (try_status_ != FUL_OK) return try_status_; \
    } while (0)

/* For functions with one exit: `ful_status status = FUL_OK; … FUL_TRY_GOTO(status, done, expr); … done:` */
#define FUL_TRY_GOTO(status, label, expr)   \
    do {                                    \
        (status) = (expr);                  \
        if ((status) != FUL_OK) goto label; \
    } while (0)

#endif
