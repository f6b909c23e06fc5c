/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one callback, one level. */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_BYTES = 2048 };

static struct {
    ful_log_fn fn;
    void *cookie;
    ful_log_level most_verbose;
} sink;

void ful_log_set(ful_log_fn fn, void *cookie, ful_log_level most_verbose)
{
    sink.fn = fn;
    sink.cookie = cookie;
    sink.most_verbose = most_verbose;
}

void ful__log(ful_log_level level, const char *fmt, ...)
{
    if (!sink.fn || level > sink.most_verbose) return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sink.fn(sink.cookie, level, line);
}
