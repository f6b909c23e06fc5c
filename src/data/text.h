/* SPDX-License-Identifier: Apache-2.0 */
/* Names that come from outside: what may stand in messages, reports and JSON. */
#ifndef FUL_DATA_TEXT_H
#define FUL_DATA_TEXT_H

#include <stdbool.h>

/* Not empty, UTF-8, no control characters. */
bool ful__name_is_clean(const char *name);

#endif
