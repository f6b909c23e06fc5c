/* SPDX-License-Identifier: Apache-2.0 */
/* Names that come from outside: what may stand in messages, reports and JSON. */
#ifndef FUL_DATA_TEXT_H
#define FUL_DATA_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the UTF-8 character at p (NUL-terminated text), 0 when there is none. */
size_t ful__utf8_bytes(const char *p);
/* Not empty, UTF-8, no control characters. */
bool ful__name_is_clean(const char *name);

#endif
