/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How Fulcrum reports failure: a status code, and one sentence about the last failure of this thread.
 *
 * Every function that can fail returns ful_status. On failure it leaves a message of the form
 * "cannot <do> <what> with <values>: <rule broken>" that ful_error_message() returns. The library never
 * prints, exits or aborts on what its user did.
 */
#ifndef FULCRUM_STATUS_H
#define FULCRUM_STATUS_H

#include <fulcrum/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, number, meaning). Numbers never change; new codes go to the end. */
#define FUL_STATUS_TABLE(X)                                       \
    X(OK, 0, "success")                                           \
    X(ERR_ARG, 1, "an argument breaks the function's contract")   \
    X(ERR_CONFIG, 2, "a configuration is invalid")                \
    X(ERR_DATA, 3, "a data set or image is missing or damaged")   \
    X(ERR_FORMAT, 4, "a file is not of the expected format")      \
    X(ERR_IO, 5, "the operating system refused a file operation") \
    X(ERR_MEMORY, 6, "memory could not be allocated")             \
    X(ERR_UNSUPPORTED, 7, "this build or machine cannot do that") \
    X(ERR_NUMERIC, 8, "a value became NaN or infinite")           \
    X(ERR_COLLAPSE, 9, "a mixture of experts collapsed")          \
    X(ERR_INTERRUPTED, 10, "the user asked to stop")              \
    X(ERR_INTERNAL, 11, "a library underneath failed; please report it")

typedef enum ful_status {
#define FUL_STATUS_ENUM(name, number, meaning) FUL_##name = number,
    FUL_STATUS_TABLE(FUL_STATUS_ENUM)
#undef FUL_STATUS_ENUM
} ful_status;

/* The code's name ("FUL_ERR_ARG") and its meaning; "unknown status" for a number that is none. Static storage. */
FUL_API const char *ful_status_name(ful_status status);
FUL_API const char *ful_status_meaning(ful_status status);

/* The sentence about this thread's last failure; "" if there was none. Borrowed until the thread's next failure. */
FUL_API const char *ful_error_message(void);

#ifdef __cplusplus
}
#endif
#endif
