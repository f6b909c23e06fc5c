/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte string, and numbers as text that no locale changes. */
#include "core/str.h"

#include <fulcrum/core.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/utf8.h"

/* Makes room for `more` bytes and the '\0'. */
static bool reserve(ful__str *s, size_t more)
{
    if (s->status != FUL_OK) return false;
    size_t need;
    if (!ful__size_add(s->length, more, &need) || !ful__size_add(need, 1, &need)) {
        s->status = ful__fail(FUL_ERR_MEMORY, "cannot grow a text of %zu bytes by %zu: the size is beyond the address space",
                              s->length, more);
        return false;
    }
    if (need <= s->capacity) return true;
    size_t capacity = s->capacity < 32 ? 64 : s->capacity > SIZE_MAX / 2 ? need : 2 * s->capacity; /* grows by doubling */
    if (capacity < need) capacity = need;
    s->status = ful__realloc(&s->data, capacity, 1, "a text");
    if (s->status != FUL_OK) return false;
    s->capacity = capacity;
    return true;
}

void ful__str_add_bytes(ful__str *s, const void *data, size_t bytes)
{
    if (!reserve(s, bytes)) return;
    if (bytes > 0) memcpy(s->data + s->length, data, bytes);
    s->length += bytes;
    s->data[s->length] = '\0';
}

void ful__str_add(ful__str *s, const char *text)
{
    ful__str_add_bytes(s, text, strlen(text));
}

/* The "C" locale, so that 0.5 is never "0,5"; (locale_t)0, the current one, if the system cannot give it. */
static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void ful__str_addf(ful__str *s, const char *fmt, ...)
{
    if (!reserve(s, 64)) return;
    pthread_once(&c_locale_once, make_c_locale);
    const locale_t before = uselocale(c_locale);
    const size_t room = s->capacity - s->length;
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(s->data + s->length, room, fmt, args);
    va_end(args);
    if (wanted >= 0 && (size_t)wanted >= room && reserve(s, (size_t)wanted)) {
        va_start(args, fmt);
        vsnprintf(s->data + s->length, (size_t)wanted + 1, fmt, args);
        va_end(args);
    }
    uselocale(before);
    if (wanted < 0 && s->status == FUL_OK) s->status = ful__fail(FUL_ERR_INTERNAL, "cannot format a text with '%s'", fmt);
    if (s->status == FUL_OK) s->length += (size_t)wanted;
    s->data[s->length] = '\0';
}

typedef enum escape { ESCAPE_NONE, ESCAPE_JSON, ESCAPE_HTML } escape;

/* How a character must be written; NULL: as it is. */
static const char *escaped(uint32_t point, escape how, char buffer[8])
{
    if (how == ESCAPE_NONE) return NULL;
    if (how == ESCAPE_JSON) {
        if (point == '"') return "\\\"";
        if (point == '\\') return "\\\\";
        if (point >= 0x20 && point != 0x7F) return NULL;
        snprintf(buffer, 8, "\\u%04x", (unsigned)(point & 0xFF));
        return buffer;
    }
    switch (point) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\t':
    case '\n':
    case '\r': return NULL;
    default: return point < 0x20 || point == 0x7F || point == 0xFFFE || point == 0xFFFF ? "?" : NULL;
    }
}

static void add_escaped(ful__str *s, const char *text, escape how)
{
    const char *plain = text; /* what was not yet added */
    char buffer[8];
    while (*text) {
        uint32_t point = 0;
        const int bytes = ful__utf8_decode(text, &point);
        const char *instead = bytes == 0 ? "?" : escaped(point, how, buffer);
        if (instead) {
            ful__str_add_bytes(s, plain, (size_t)(text - plain));
            ful__str_add(s, instead);
            plain = text + (bytes > 0 ? bytes : 1);
        }
        text += bytes > 0 ? bytes : 1;
    }
    ful__str_add_bytes(s, plain, (size_t)(text - plain));
}

void ful__str_add_utf8(ful__str *s, const char *text)
{
    add_escaped(s, text, ESCAPE_NONE);
}

ful_status ful_text_utf8(const char *text, char **out)
{
    ful__str s = {0};
    ful__str_add_utf8(&s, text);
    const ful_status status = ful__str_status(&s);
    *out = status == FUL_OK ? ful__str_take(&s) : NULL;
    ful__str_deinit(&s);
    return status == FUL_OK && !*out ? FUL_ERR_MEMORY : status;
}

void ful__str_add_json(ful__str *s, const char *text)
{
    ful__str_add(s, "\"");
    add_escaped(s, text, ESCAPE_JSON);
    ful__str_add(s, "\"");
}

void ful__str_add_html(ful__str *s, const char *text)
{
    add_escaped(s, text, ESCAPE_HTML);
}

ful_status ful__str_status(const ful__str *s)
{
    return s->status;
}

char *ful__str_take(ful__str *s)
{
    if (!s->data) ful__str_add(s, "");
    if (s->status != FUL_OK) return NULL;
    char *data = s->data;
    *s = (ful__str){0};
    return data;
}

void ful__str_deinit(ful__str *s)
{
    ful__free(s->data);
    *s = (ful__str){0};
}

bool ful__parse_double(const char *text, double *out)
{
    pthread_once(&c_locale_once, make_c_locale);
    if (text[strspn(text, "+-.0123456789eE")] != '\0' || *text == '\0') return false;
    char *end = NULL;
    const double value = c_locale ? strtod_l(text, &end, c_locale) : strtod(text, &end);
    if (*end != '\0' || !isfinite(value)) return false;
    *out = value;
    return true;
}

static void number_text(char *buffer, int digits, double value)
{
    pthread_once(&c_locale_once, make_c_locale);
    const locale_t before = uselocale(c_locale);
    snprintf(buffer, FUL__NUMBER_BYTES, "%.*g", digits, value);
    uselocale(before);
}

const char *ful__double_text(double value, char *buffer)
{
    double back = 0;
    for (int digits = 15; digits <= 17; digits++) {
        number_text(buffer, digits, value);
        if (ful__parse_double(buffer, &back) && back == value) break;
    }
    return buffer;
}

const char *ful__float_text(float value, char *buffer)
{
    double back = 0;
    for (int digits = 6; digits <= 9; digits++) {
        number_text(buffer, digits, (double)value);
        if (ful__parse_double(buffer, &back) && (float)back == value) break;
    }
    return buffer;
}
