/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON. */
#include "train/json.h"

#include <inttypes.h>
#include <math.h>

/* What stands before each value. */
static void begin(ful__emitter *j, const char *key)
{
    if (j->comma) ful__str_add(&j->text, ", ");
    j->comma = true;
    if (!key) return;
    ful__str_add_json(&j->text, key);
    ful__str_add(&j->text, ": ");
}

void ful__emit_open(ful__emitter *j, const char *key, char bracket)
{
    begin(j, key);
    ful__str_add_bytes(&j->text, &bracket, 1);
    j->comma = false;
}

void ful__emit_close(ful__emitter *j, char bracket)
{
    ful__str_add_bytes(&j->text, &bracket, 1);
    j->comma = true;
}

void ful__emit_real(ful__emitter *j, const char *key, double value)
{
    char text[FUL__NUMBER_BYTES];
    begin(j, key);
    ful__str_add(&j->text, isfinite(value) ? ful__double_text(value, text) : "null");
}

void ful__emit_int(ful__emitter *j, const char *key, int64_t value)
{
    begin(j, key);
    ful__str_addf(&j->text, "%" PRId64, value);
}

void ful__emit_bool(ful__emitter *j, const char *key, bool value)
{
    begin(j, key);
    ful__str_add(&j->text, value ? "true" : "false");
}

void ful__emit_text(ful__emitter *j, const char *key, const char *value)
{
    begin(j, key);
    if (value)
        ful__str_add_json(&j->text, value);
    else
        ful__str_add(&j->text, "null");
}

void ful__emit_raw(ful__emitter *j, const char *key, const char *json)
{
    begin(j, key);
    ful__str_add(&j->text, json ? json : "null");
}

void ful__emit_hex(ful__emitter *j, const char *key, uint64_t value)
{
    begin(j, key);
    ful__str_addf(&j->text, "\"%016" PRIx64 "\"", value);
}

void ful__emit_ints(ful__emitter *j, const char *key, const int64_t *values, int n)
{
    ful__emit_open(j, key, '[');
    for (int i = 0; i < n; i++) ful__emit_int(j, NULL, values[i]);
    ful__emit_close(j, ']');
}

void ful__emit_reals(ful__emitter *j, const char *key, const double *values, int n)
{
    ful__emit_open(j, key, '[');
    for (int i = 0; i < n; i++) ful__emit_real(j, NULL, values[i]);
    ful__emit_close(j, ']');
}

ful_status ful__emit_take(ful__emitter *j, char **text_out)
{
    const ful_status status = ful__str_status(&j->text);
    *text_out = status == FUL_OK ? ful__str_take(&j->text) : NULL;
    ful__emit_deinit(j);
    return status != FUL_OK || *text_out ? status : FUL_ERR_MEMORY;
}

void ful__emit_deinit(ful__emitter *j)
{
    ful__str_deinit(&j->text);
    *j = (ful__emitter){0};
}
