/* SPDX-License-Identifier: Apache-2.0 */
/* Small readers of jansson objects. */
#include <fulcrum/core.h>
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/study.h"

enum { JSON_BYTES_MAX = 256 << 20 };

static const json_t *walk(const json_t *object, const char *path)
{
    char key[64];
    while (object && *path) {
        const size_t length = strcspn(path, ".");
        if (length >= sizeof key) return NULL;
        memcpy(key, path, length);
        key[length] = '\0';
        object = json_object_get(object, key);
        path += length + (path[length] == '.');
    }
    return object;
}

double ful__json_number(const json_t *object, const char *path)
{
    const json_t *value = walk(object, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *ful__json_string(const json_t *object, const char *path)
{
    const json_t *value = walk(object, path);
    return json_is_string(value) ? json_string_value(value) : "";
}

json_t *ful__json_text(const char *text)
{
    char *clean = NULL;
    json_t *value = ful_text_utf8(text, &clean) == FUL_OK ? json_string(clean) : NULL;
    ful__free(clean);
    return value;
}

json_t *ful__json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

ful_status ful__json_load(const char *path, json_t **out)
{
    char *text = NULL;
    size_t bytes = 0;
    json_error_t error;
    *out = NULL;
    FUL_TRY(ful__file_read(path, JSON_BYTES_MAX, &text, &bytes));
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    ful__free(text);
    FUL_FAIL_IF(!*out, FUL_ERR_FORMAT, "cannot read %s, line %d: %s", path, error.line, error.text);
    return FUL_OK;
}
