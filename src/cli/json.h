/* SPDX-License-Identifier: Apache-2.0 */
/* Results as JSON. Whatever came from outside goes through text_json: jansson takes UTF-8 only, and a path need not be. */
#ifndef FUL_CLI_JSON_H
#define FUL_CLI_JSON_H

#include <jansson.h>

/* Prints and frees an object, indented, or on a line of its own; NULL is out of memory. Returns the exit code. */
int print_json(json_t *object);
int print_json_line(json_t *object);

json_t *text_json(const char *text);
json_t *real_or_null(double value); /* null for NaN and infinities */

#endif
