/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, writing and explaining a block of a configuration by its table. */
#include "train/schema.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/mem.h"

/* Messages -------------------------------------------------------------------------------------------------------------- */

enum { RULE_BYTES = 760, LIST_BYTES = 640, SHOWN_BYTES = 80 };

/* "cannot use a.yaml, line 3: train.lr", or "cannot use the setting train.lr" for a value that stands in no file. */
static void place_text(const ful__spot *spot, char *out, size_t bytes)
{
    const int line = spot->node ? spot->node->line : 0;
    if (line > 0)
        snprintf(out, bytes, "cannot use %s, line %d: %s", spot->file, line, spot->path);
    else
        snprintf(out, bytes, "cannot use the setting %s", spot->path);
}

ful_status ful__spot_fail(const ful__spot *spot, const char *fmt, ...)
{
    char rule[RULE_BYTES], place[RULE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(rule, sizeof rule, fmt, args);
    va_end(args);
    place_text(spot, place, sizeof place);
    const char *text = spot->node && spot->node->kind == FUL__YAML_SCALAR ? spot->node->text : NULL;
    if (!text) return ful__fail(FUL_ERR_CONFIG, "%s: %s", place, rule);
    return ful__fail(FUL_ERR_CONFIG, "%s = %.*s%s: %s", place, SHOWN_BYTES, text, strlen(text) > SHOWN_BYTES ? "..." : "",
                     rule);
}

ful_status ful__spot_context(const ful__spot *spot, ful_status status)
{
    char place[RULE_BYTES];
    place_text(spot, place, sizeof place);
    return ful__fail_context(status, "%s", place);
}

ful__spot ful__spot_key(const ful__spot *map, const char *key)
{
    ful__spot spot = {.file = map->file, .node = ful__yaml_get(map->node, key)};
    snprintf(spot.path, sizeof spot.path, "%.62s%s%.62s", map->path, *map->path ? "." : "", key);
    return spot;
}

ful__spot ful__spot_item(const ful__spot *list, int i)
{
    ful__spot spot = {.file = list->file, .node = list->node->items[i]};
    snprintf(spot.path, sizeof spot.path, "%.110s[%d]", list->path, i);
    return spot;
}

/* Appends a word to a list of LIST_BYTES; the first that does not fit becomes "...", and nothing follows it. */
static void add_word(char *list, size_t *at, const char *word)
{
    static const char more[] = ", ...";
    if (*at >= LIST_BYTES) return;
    const bool fits = *at + strlen(", ") + strlen(word) + sizeof more <= LIST_BYTES;
    *at += (size_t)snprintf(list + *at, LIST_BYTES - *at, "%s%s", *at > 0 ? ", " : "", fits ? word : "...");
    if (!fits) *at = LIST_BYTES;
}

ful_status ful__spot_unknown_word(const ful__spot *spot, const char *const *words)
{
    char list[LIST_BYTES] = "";
    const char *best = spot->node->kind == FUL__YAML_SCALAR ? ful_word_nearest(spot->node->text, words) : NULL;
    size_t at = 0;
    for (int i = 0; words[i]; i++) add_word(list, &at, words[i]);
    if (best) return ful__spot_fail(spot, "must be one of %s (did you mean '%s'?)", list, best);
    return ful__spot_fail(spot, "must be one of %s", list);
}

ful_status ful__spot_unknown_key(const char *const *known, const ful__spot *map, int i)
{
    const char *best = ful_word_nearest(map->node->keys[i], known);
    ful__spot spot = {.file = map->file, .node = map->node->items[i]};
    snprintf(spot.path, sizeof spot.path, "%.62s%s%.62s", map->path, *map->path ? "." : "", map->node->keys[i]);
    char place[RULE_BYTES];
    place_text(&spot, place, sizeof place);
    if (best) return ful__fail(FUL_ERR_CONFIG, "%s: there is no such key (did you mean '%s'?)", place, best);
    return ful__fail(FUL_ERR_CONFIG, "%s: there is no such key", place);
}

/* Reading --------------------------------------------------------------------------------------------------------------- */

static void *field(const ful__key *key, void *base)
{
    return (unsigned char *)base + key->offset;
}

static const void *field_of(const ful__key *key, const void *base)
{
    return (const unsigned char *)base + key->offset;
}

/* "in 1..64", ">= 0", "> 0 and <= 10", ">= 0 and < 1". */
static void range_text(const ful__key *key, char *out, size_t bytes)
{
    char low[FUL__NUMBER_BYTES], high[FUL__NUMBER_BYTES];
    ful__double_text(key->min, low);
    ful__double_text(key->max, high);
    const char *above = key->above_min ? ">" : ">=";
    if (isinf(key->max))
        snprintf(out, bytes, "%s %s", above, low);
    else if (!key->above_min && !key->below_max)
        snprintf(out, bytes, "in %s..%s", low, high);
    else
        snprintf(out, bytes, "%s %s and %s %s", above, low, key->below_max ? "<" : "<=", high);
}

static ful_status check_range(const ful__key *key, const ful__spot *spot, double value)
{
    char range[96];
    const bool low = key->above_min ? value > key->min : value >= key->min;
    const bool high = key->below_max ? value < key->max : value <= key->max;
    if (low && high) return FUL_OK;
    range_text(key, range, sizeof range);
    return ful__spot_fail(spot, "must be %s", range);
}

static ful_status read_int(const ful__key *key, const ful__spot *spot, void *base)
{
    int64_t value = 0;
    if (!ful__yaml_as_int(spot->node, &value)) return ful__spot_fail(spot, "must be a whole number");
    FUL_TRY(check_range(key, spot, (double)value));
    const int narrow = (int)value;
    memcpy(field(key, base), &narrow, sizeof narrow);
    return FUL_OK;
}

static ful_status read_seed(const ful__key *key, const ful__spot *spot, void *base)
{
    const ful__yaml *n = spot->node;
    const char *text = n->kind == FUL__YAML_SCALAR && !n->quoted ? n->text : "";
    uint64_t value = 0;
    bool good = *text != '\0';
    for (; *text && good; text++) {
        const unsigned digit = (unsigned)*text - '0';
        good = digit <= 9 && !__builtin_mul_overflow(value, 10u, &value) && !__builtin_add_overflow(value, digit, &value);
    }
    if (!good || value > INT64_MAX) return ful__spot_fail(spot, "must be a whole number in 0..9223372036854775807");
    memcpy(field(key, base), &value, sizeof value);
    return FUL_OK;
}

static ful_status read_real(const ful__key *key, const ful__spot *spot, void *base)
{
    double value = 0;
    if (!ful__yaml_as_double(spot->node, &value) || !isfinite(value)) return ful__spot_fail(spot, "must be a number");
    if (key->kind == FUL__KEY_FLOAT) value = (double)(float)value;
    FUL_TRY(check_range(key, spot, value));
    const float narrow = (float)value;
    if (key->kind == FUL__KEY_FLOAT)
        memcpy(field(key, base), &narrow, sizeof narrow);
    else
        memcpy(field(key, base), &value, sizeof value);
    return FUL_OK;
}

static ful_status read_bool(const ful__key *key, const ful__spot *spot, void *base)
{
    bool value = false;
    if (!ful__yaml_as_bool(spot->node, &value)) return ful__spot_fail(spot, "must be true or false");
    memcpy(field(key, base), &value, sizeof value);
    return FUL_OK;
}

static ful_status read_text(const ful__key *key, const ful__spot *spot, void *base)
{
    if (spot->node->kind != FUL__YAML_SCALAR) return ful__spot_fail(spot, "must be a text");
    const char *text = ful__yaml_is_null(spot->node) ? "" : spot->node->text;
    const size_t n = strlen(text);
    if (n >= key->bytes) return ful__spot_fail(spot, "may have at most %zu bytes, not %zu", key->bytes - 1, n);
    char *to = field(key, base);
    memset(to, 0, key->bytes);
    memcpy(to, text, n);
    return FUL_OK;
}

static ful_status read_word(const ful__key *key, const ful__spot *spot, void *base)
{
    if (spot->node->kind == FUL__YAML_SCALAR)
        for (int i = 0; key->words[i]; i++)
            if (strcmp(spot->node->text, key->words[i]) == 0) {
                memcpy(field(key, base), &i, sizeof i);
                return FUL_OK;
            }
    return ful__spot_unknown_word(spot, key->words);
}

static ful_status read_value(const ful__key *key, const ful__spot *spot, void *base)
{
    switch (key->kind) {
    case FUL__KEY_INT: return read_int(key, spot, base);
    case FUL__KEY_SEED: return read_seed(key, spot, base);
    case FUL__KEY_DOUBLE:
    case FUL__KEY_FLOAT: return read_real(key, spot, base);
    case FUL__KEY_BOOL: return read_bool(key, spot, base);
    case FUL__KEY_TEXT: return read_text(key, spot, base);
    case FUL__KEY_WORD: return read_word(key, spot, base);
    case FUL__KEY_MAP: return ful__schema_read(key->map, spot, base);
    case FUL__KEY_CUSTOM: return key->read(key, spot, base);
    }
    return ful__fail(FUL_ERR_INTERNAL, "cannot read %s: its kind %d is none", spot->path, (int)key->kind);
}

static const ful__key *find_key(const ful__key *keys, const char *name)
{
    for (; keys->name; keys++)
        if (strcmp(keys->name, name) == 0) return keys;
    return NULL;
}

ful_status ful__schema_read_key(const ful__key *keys, const char *name, const ful__spot *map, void *base)
{
    const ful__spot spot = ful__spot_key(map, name);
    return spot.node ? read_value(find_key(keys, name), &spot, base) : FUL_OK;
}

static ful_status unknown_key(const ful__key *keys, const ful__spot *map, int i)
{
    enum { MOST_KEYS = 64 };
    const char *names[MOST_KEYS] = {0};
    for (int j = 0; keys[j].name && j < MOST_KEYS - 1; j++) names[j] = keys[j].name;
    return ful__spot_unknown_key(names, map, i);
}

ful_status ful__schema_read(const ful__key *keys, const ful__spot *map, void *base)
{
    if (!map->node || ful__yaml_is_null(map->node)) return FUL_OK;
    if (map->node->kind != FUL__YAML_MAP) return ful__spot_fail(map, "must be a map of keys");
    for (int i = 0; i < map->node->count; i++) {
        const ful__key *key = find_key(keys, map->node->keys[i]);
        if (!key) return unknown_key(keys, map, i);
        const ful__spot spot = ful__spot_key(map, key->name);
        FUL_TRY(read_value(key, &spot, base));
    }
    return FUL_OK;
}

/* Writing --------------------------------------------------------------------------------------------------------------- */

static ful_status new_text(const char *text, ful__yaml **out)
{
    FUL_TRY(ful__yaml_new(FUL__YAML_SCALAR, text, out));
    (*out)->quoted = ful__yaml_is_null(*out); /* "" and "null" are texts here */
    return FUL_OK;
}

static ful_status write_value(const ful__key *key, const void *base, ful__yaml **out)
{
    const void *from = field_of(key, base);
    char text[FUL__NUMBER_BYTES];
    int i = 0;
    uint64_t seed = 0;
    double d = 0;
    float f = 0;
    bool b = false;
    switch (key->kind) {
    case FUL__KEY_INT:
        memcpy(&i, from, sizeof i);
        snprintf(text, sizeof text, "%d", i);
        break;
    case FUL__KEY_SEED:
        memcpy(&seed, from, sizeof seed);
        snprintf(text, sizeof text, "%" PRIu64, seed);
        break;
    case FUL__KEY_DOUBLE:
        memcpy(&d, from, sizeof d);
        ful__double_text(d, text);
        break;
    case FUL__KEY_FLOAT:
        memcpy(&f, from, sizeof f);
        ful__float_text(f, text);
        break;
    case FUL__KEY_BOOL:
        memcpy(&b, from, sizeof b);
        snprintf(text, sizeof text, "%s", b ? "true" : "false");
        break;
    case FUL__KEY_WORD: memcpy(&i, from, sizeof i); return ful__yaml_new(FUL__YAML_SCALAR, key->words[i], out);
    case FUL__KEY_TEXT: return new_text(from, out);
    case FUL__KEY_MAP: return ful__schema_write(key->map, base, out);
    case FUL__KEY_CUSTOM: return key->write(key, base, out);
    }
    return ful__yaml_new(FUL__YAML_SCALAR, text, out);
}

ful_status ful__schema_write(const ful__key *keys, const void *base, ful__yaml **out)
{
    FUL_TRY(ful__yaml_new(FUL__YAML_MAP, NULL, out));
    ful_status status = FUL_OK;
    for (; keys->name && status == FUL_OK; keys++) {
        ful__yaml *value = NULL;
        status = write_value(keys, base, &value);
        if (status == FUL_OK && value) status = ful__yaml_put(*out, keys->name, value);
    }
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

/* Help ------------------------------------------------------------------------------------------------------------------ */

static void add_type(ful__str *s, const ful__key *key)
{
    char range[96];
    if (key->type) {
        ful__str_add(s, key->type);
        return;
    }
    switch (key->kind) {
    case FUL__KEY_WORD:
        for (int i = 0; key->words[i]; i++) ful__str_addf(s, "%s%s", i > 0 ? " | " : "", key->words[i]);
        return;
    case FUL__KEY_BOOL: ful__str_add(s, "true | false"); return;
    case FUL__KEY_TEXT: ful__str_add(s, "text"); return;
    case FUL__KEY_SEED: ful__str_add(s, "integer >= 0"); return;
    default: break;
    }
    range_text(key, range, sizeof range);
    ful__str_addf(s, "%s %s", key->kind == FUL__KEY_INT ? "integer" : "number", range);
}

/* The value a struct of defaults has, as it would be written. */
static void add_default(ful__str *s, const ful__key *key, const void *base)
{
    ful__yaml *value = NULL;
    char *text = NULL;
    if (key->fallback) {
        ful__str_add(s, key->fallback);
        return;
    }
    ful_status status = write_value(key, base, &value);
    if (status == FUL_OK && value) status = ful__yaml_write(value, &text);
    if (status == FUL_OK && text) ful__str_add_bytes(s, text, strcspn(text, "\n"));
    if (status != FUL_OK) s->status = status;
    ful__free(text);
    ful__yaml_destroy(&value);
}

/* Fills a line up to `column`, with two blanks at least. */
static void pad_to(ful__str *s, size_t line_start, size_t column)
{
    do ful__str_add(s, " ");
    while (s->status == FUL_OK && (s->length - line_start < column || s->data[s->length - 2] != ' '));
}

void ful__schema_help(ful__str *s, const ful__key *keys, const char *prefix, const void *base)
{
    enum { TYPE_COLUMN = 30, DEFAULT_COLUMN = 71, HELP_COLUMN = 95 };
    for (; keys->name && s->status == FUL_OK; keys++) {
        if (keys->kind == FUL__KEY_MAP) {
            char inner[FUL__KEY_PATH_MAX];
            snprintf(inner, sizeof inner, "%s%s.", prefix, keys->name);
            ful__schema_help(s, keys->map, inner, base);
            continue;
        }
        const size_t start = s->length;
        ful__str_addf(s, "  %s%s", prefix, keys->name);
        pad_to(s, start, TYPE_COLUMN);
        add_type(s, keys);
        pad_to(s, start, DEFAULT_COLUMN);
        add_default(s, keys, base);
        pad_to(s, start, HELP_COLUMN);
        ful__str_addf(s, "%s\n", keys->help);
    }
}
