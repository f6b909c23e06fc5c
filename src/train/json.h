/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text, written value by value; commas are its own business. A figure that does not exist (NaN, infinite) is null. Errors
 * stick in the text (core/str.h). `key` is NULL inside a list and for the document itself.
 */
#ifndef FUL_TRAIN_JSON_H
#define FUL_TRAIN_JSON_H

#include "core/str.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct ful__emitter {
    ful__str text;
    bool comma; /* the next value is not the first of its list or map */
} ful__emitter;

void ful__emit_open(ful__emitter *j, const char *key, char bracket); /* '{' or '[' */
void ful__emit_close(ful__emitter *j, char bracket);                 /* '}' or ']' */
void ful__emit_real(ful__emitter *j, const char *key, double value); /* shortest text that reads back as the same double */
void ful__emit_int(ful__emitter *j, const char *key, int64_t value);
void ful__emit_bool(ful__emitter *j, const char *key, bool value);
void ful__emit_text(ful__emitter *j, const char *key, const char *value); /* NULL: null; bytes that are not UTF-8 become '?' */
void ful__emit_raw(ful__emitter *j, const char *key, const char *json);   /* JSON already; NULL: null */
void ful__emit_hex(ful__emitter *j, const char *key, uint64_t value);     /* "0123456789abcdef" */
void ful__emit_ints(ful__emitter *j, const char *key, const int64_t *values, int n);
void ful__emit_reals(ful__emitter *j, const char *key, const double *values, int n);
/* The text, which the caller frees with ful__free; j is empty again in every case. */
ful_status ful__emit_take(ful__emitter *j, char **text_out) FUL_CHECK_RESULT;
void ful__emit_deinit(ful__emitter *j);

#endif
