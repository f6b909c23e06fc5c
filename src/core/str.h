/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte string. A failed append sticks: later appends do nothing and ful__str_status() tells, so a writer checks once
 * at the end. */
#ifndef FUL_CORE_STR_H
#define FUL_CORE_STR_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct ful__str {
    char *data; /* NUL-terminated once something was appended; NULL before */
    size_t length, capacity;
    ful_status status;
} ful__str;

void ful__str_add(ful__str *s, const char *text);
void ful__str_add_bytes(ful__str *s, const void *data, size_t bytes);
/* printf in the "C" locale, whatever the program set. */
void ful__str_addf(ful__str *s, const char *fmt, ...) FUL_PRINTF(2, 3);
/* Text from outside, escaped. Bytes that are no UTF-8 become '?'. */
void ful__str_add_utf8(ful__str *s, const char *text); /* as it is but for those */
void ful__str_add_json(ful__str *s, const char *text); /* a JSON string with its quotes */
void ful__str_add_html(ful__str *s, const char *text); /* & < > " ' escaped; what XML, and so SVG, forbids becomes '?' too */
ful_status ful__str_status(const ful__str *s) FUL_CHECK_RESULT;
char *ful__str_take(ful__str *s); /* the caller frees with ful__free; s is empty again; never NULL when status is OK */
void ful__str_deinit(ful__str *s);

/* Decimal text ("-1.5e3", nothing before or after) to a finite double, in the "C" locale; false when it is none. */
bool ful__parse_double(const char *text, double *out);
/* The shortest decimal text that reads back as the same number, in the "C" locale ("inf", "nan" where it is none). Returns
 * buffer, of 32 bytes. */
enum { FUL__NUMBER_BYTES = 32 };
const char *ful__double_text(double value, char *buffer);
const char *ful__float_text(float value, char *buffer);

#endif
