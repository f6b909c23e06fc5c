/* SPDX-License-Identifier: Apache-2.0 */
/* Status names, and each thread's sentence about its last failure. */
#include <fulcrum/status.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

static _Thread_local char message[FUL__MESSAGE_BYTES];

const char *ful_status_name(ful_status status)
{
    switch ((int)status) {
#define CASE_NAME(name, number, meaning) \
    case number: return "FUL_" #name;
        FUL_STATUS_TABLE(CASE_NAME)
#undef CASE_NAME
    default: return "unknown status";
    }
}

const char *ful_status_meaning(ful_status status)
{
    switch ((int)status) {
#define CASE_MEANING(name, number, meaning) \
    case number: return meaning;
        FUL_STATUS_TABLE(CASE_MEANING)
#undef CASE_MEANING
    default: return "unknown status";
    }
}

const char *ful_error_message(void)
{
    return message;
}

/* Copies text into the message; a text that was cut (wanted > what fits) ends in "..." on a whole UTF-8 character. */
static void set_message(char *text, int wanted)
{
    if (wanted >= FUL__MESSAGE_BYTES) {
        size_t end = FUL__MESSAGE_BYTES - 4;
        while (end > 0 && ((unsigned char)text[end] & 0xC0u) == 0x80u) end--;
        memcpy(text + end, "...", 4);
    }
    memcpy(message, text, strlen(text) + 1);
}

/* Both functions format aside first: an argument may well be ful_error_message() itself. */
ful_status ful__fail(ful_status status, const char *fmt, ...)
{
    char text[FUL__MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    set_message(text, wanted);
    return status;
}

ful_status ful__fail_context(ful_status status, const char *fmt, ...)
{
    char text[FUL__MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (wanted < 0) return status;
    if (wanted < FUL__MESSAGE_BYTES) wanted += snprintf(text + wanted, sizeof text - (size_t)wanted, ": %s", message);
    set_message(text, wanted);
    return status;
}
