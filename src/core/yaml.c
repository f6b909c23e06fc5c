/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML tree: building, walking, merging, "a.b=value". Text to tree: yaml_parse.c; tree to text: yaml_write.c. */
#include "core/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/str.h"
#include "core/utf8.h"

static bool valid_utf8(const char *text)
{
    while (*text) {
        uint32_t point;
        const int n = ful__utf8_decode(text, &point);
        if (n == 0) return false;
        text += n;
    }
    return true;
}

ful_status ful__yaml_new(ful__yaml_kind kind, const char *text, ful__yaml **out)
{
    *out = NULL;
    FUL_FAIL_IF(kind == FUL__YAML_SCALAR && !valid_utf8(text), FUL_ERR_CONFIG,
                "cannot use a value of %zu bytes: it must be UTF-8", strlen(text));
    ful__yaml *node = NULL;
    FUL_TRY(ful__calloc(&node, 1, sizeof *node, "a YAML node"));
    node->kind = kind;
    if (kind == FUL__YAML_SCALAR) {
        const ful_status status = ful__strdup(&node->text, text);
        if (status != FUL_OK) {
            ful__free(node);
            return status;
        }
    }
    *out = node;
    return FUL_OK;
}

void ful__yaml_destroy(ful__yaml **node)
{
    ful__yaml *n = *node;
    if (!n) return;
    for (int i = 0; i < n->count; i++) {
        if (n->keys) ful__free(n->keys[i]);
        ful__yaml_destroy(&n->items[i]);
    }
    ful__free(n->keys);
    ful__free(n->items);
    ful__free(n->text);
    ful__free(n);
    *node = NULL;
}

static int find(const ful__yaml *map, const char *key)
{
    for (int i = 0; i < map->count; i++)
        if (strcmp(map->keys[i], key) == 0) return i;
    return -1;
}

ful__yaml *ful__yaml_get(const ful__yaml *map, const char *key)
{
    if (!map || map->kind != FUL__YAML_MAP) return NULL;
    const int i = find(map, key);
    return i < 0 ? NULL : map->items[i];
}

static ful_status reserve_one(ful__yaml *node)
{
    if (node->count < node->capacity) return FUL_OK;
    const int capacity = node->capacity ? 2 * node->capacity : 8;
    FUL_TRY(ful__realloc(&node->items, (size_t)capacity, sizeof *node->items, "YAML items"));
    if (node->kind == FUL__YAML_MAP) FUL_TRY(ful__realloc(&node->keys, (size_t)capacity, sizeof *node->keys, "YAML keys"));
    node->capacity = capacity;
    return FUL_OK;
}

static ful_status put(ful__yaml *map, const char *key, ful__yaml *value)
{
    FUL_FAIL_IF(map->kind != FUL__YAML_MAP, FUL_ERR_ARG, "cannot put '%s' into a YAML list or scalar: it must be a map", key);
    FUL_FAIL_IF(strlen(key) > FUL__YAML_KEY_BYTES, FUL_ERR_CONFIG, "cannot use a key of %zu bytes: it may have at most %d",
                strlen(key), FUL__YAML_KEY_BYTES);
    FUL_FAIL_IF(!valid_utf8(key), FUL_ERR_CONFIG, "cannot use a key of %zu bytes: it must be UTF-8", strlen(key));
    const int i = find(map, key);
    if (i >= 0) {
        ful__yaml_destroy(&map->items[i]);
        map->items[i] = value;
        return FUL_OK;
    }
    FUL_FAIL_IF(map->count >= FUL__YAML_MAP_KEYS, FUL_ERR_CONFIG, "cannot add the key '%s': a map may have at most %d keys",
                key, FUL__YAML_MAP_KEYS);
    FUL_TRY(reserve_one(map));
    FUL_TRY(ful__strdup(&map->keys[map->count], key));
    map->items[map->count++] = value;
    return FUL_OK;
}

static ful_status push(ful__yaml *list, ful__yaml *value)
{
    FUL_FAIL_IF(list->kind != FUL__YAML_LIST, FUL_ERR_ARG, "cannot append to a YAML map or scalar: it must be a list");
    FUL_TRY(reserve_one(list));
    list->items[list->count++] = value;
    return FUL_OK;
}

ful_status ful__yaml_put(ful__yaml *map, const char *key, ful__yaml *value)
{
    const ful_status status = put(map, key, value);
    if (status != FUL_OK) ful__yaml_destroy(&value);
    return status;
}

ful_status ful__yaml_push(ful__yaml *list, ful__yaml *value)
{
    const ful_status status = push(list, value);
    if (status != FUL_OK) ful__yaml_destroy(&value);
    return status;
}

void ful__yaml_remove(ful__yaml *map, const char *key)
{
    if (!map || map->kind != FUL__YAML_MAP) return;
    const int i = find(map, key);
    if (i < 0) return;
    ful__free(map->keys[i]);
    ful__yaml_destroy(&map->items[i]);
    map->count--;
    memmove(map->keys + i, map->keys + i + 1, (size_t)(map->count - i) * sizeof *map->keys);
    memmove(map->items + i, map->items + i + 1, (size_t)(map->count - i) * sizeof *map->items);
}

ful_status ful__yaml_dup(const ful__yaml *node, ful__yaml **out)
{
    ful__yaml *copy = NULL;
    FUL_TRY(ful__yaml_new(node->kind, node->text, out));
    copy = *out;
    copy->line = node->line;
    copy->quoted = node->quoted;
    ful_status status = FUL_OK;
    for (int i = 0; i < node->count && status == FUL_OK; i++) {
        ful__yaml *item = NULL;
        status = ful__yaml_dup(node->items[i], &item);
        if (status != FUL_OK) break;
        status = node->kind == FUL__YAML_MAP ? ful__yaml_put(copy, node->keys[i], item) : ful__yaml_push(copy, item);
    }
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

ful_status ful__yaml_merge(ful__yaml *base, const ful__yaml *over)
{
    FUL_FAIL_IF(base->kind != FUL__YAML_MAP || over->kind != FUL__YAML_MAP, FUL_ERR_CONFIG,
                "cannot merge YAML, line %d: both sides must be maps", over->line);
    for (int i = 0; i < over->count; i++) {
        ful__yaml *mine = ful__yaml_get(base, over->keys[i]);
        if (mine && mine->kind == FUL__YAML_MAP && over->items[i]->kind == FUL__YAML_MAP) {
            FUL_TRY(ful__yaml_merge(mine, over->items[i]));
            continue;
        }
        ful__yaml *copy = NULL;
        FUL_TRY(ful__yaml_dup(over->items[i], &copy));
        FUL_TRY(ful__yaml_put(base, over->keys[i], copy));
    }
    return FUL_OK;
}

/* "a.b.0.c=value" ------------------------------------------------------------------------------------------------------- */

static int depth_of(const ful__yaml *node)
{
    int deepest = 0;
    for (int i = 0; i < node->count; i++) {
        const int d = depth_of(node->items[i]);
        if (d > deepest) deepest = d;
    }
    return deepest + 1;
}

/* The path "a\0b\0c": pieces of it, cut in place. */
typedef struct path {
    const char *whole; /* the assignment, for messages */
    char *piece[FUL__YAML_DEPTH];
    int count;
} path;

static ful_status split_path(path *p, char *text)
{
    for (char *at = text; at;) {
        char *dot = strchr(at, '.');
        if (dot) *dot++ = '\0';
        FUL_FAIL_IF(*at == '\0', FUL_ERR_CONFIG, "cannot set '%s': each key before '=' must have at least one character",
                    p->whole);
        FUL_FAIL_IF(p->count >= FUL__YAML_DEPTH - 1, FUL_ERR_CONFIG, "cannot set '%s': it may have at most %d keys", p->whole,
                    FUL__YAML_DEPTH - 1);
        p->piece[p->count++] = at;
        at = dot;
    }
    return FUL_OK;
}

static ful_status list_index(const path *p, const ful__yaml *list, const char *piece, int *out)
{
    char *end = NULL;
    const long i = strtol(piece, &end, 10);
    FUL_FAIL_IF(*end != '\0' || piece[0] < '0' || piece[0] > '9' || i >= list->count, FUL_ERR_CONFIG,
                "cannot set '%s': '%s' must be a number of a list element, 0..%d", p->whole, piece, list->count - 1);
    *out = (int)i;
    return FUL_OK;
}

/* Walks while the path's pieces are there: *at = the deepest map or list, *depth = the piece to set in it. */
static ful_status walk(const path *p, ful__yaml *root, ful__yaml **at, int *depth)
{
    *at = root;
    for (*depth = 0;; ++*depth) {
        ful__yaml *next = NULL;
        FUL_FAIL_IF((*at)->kind == FUL__YAML_SCALAR, FUL_ERR_CONFIG, "cannot set '%s': '%s' is '%s', not a map", p->whole,
                    *depth ? p->piece[*depth - 1] : "the document", (*at)->text);
        if ((*at)->kind == FUL__YAML_LIST) {
            int i = 0;
            FUL_TRY(list_index(p, *at, p->piece[*depth], &i));
            next = (*at)->items[i];
        } else {
            next = ful__yaml_get(*at, p->piece[*depth]);
        }
        if (*depth == p->count - 1 || !next || ful__yaml_is_null(next)) return FUL_OK;
        *at = next;
    }
}

/* value := {piece[from]: … {piece[count-1]: value}}; takes over *value in every case. */
static ful_status wrap(const path *p, int from, ful__yaml **value)
{
    for (int i = p->count - 1; i >= from; i--) {
        ful__yaml *map = NULL;
        ful_status status = ful__yaml_new(FUL__YAML_MAP, NULL, &map);
        if (status != FUL_OK) {
            ful__yaml_destroy(value);
            return status;
        }
        status = ful__yaml_put(map, p->piece[i], *value); /* takes it over */
        *value = map;
        if (status != FUL_OK) {
            ful__yaml_destroy(value);
            return status;
        }
    }
    return FUL_OK;
}

static ful_status replace(const path *p, ful__yaml *at, const char *piece, ful__yaml *value)
{
    if (at->kind == FUL__YAML_MAP) return ful__yaml_put(at, piece, value);
    int i = 0;
    const ful_status status = list_index(p, at, piece, &i);
    if (status != FUL_OK) {
        ful__yaml_destroy(&value);
        return status;
    }
    ful__yaml_destroy(&at->items[i]);
    at->items[i] = value;
    return FUL_OK;
}

static ful_status set_value(const path *p, ful__yaml *root, ful__yaml *value)
{
    ful__yaml *at = NULL;
    int depth = 0;
    ful_status status = walk(p, root, &at, &depth);
    if (status == FUL_OK && p->count + depth_of(value) > FUL__YAML_DEPTH)
        status = ful__fail(FUL_ERR_CONFIG, "cannot set '%s': it would nest deeper than %d", p->whole, FUL__YAML_DEPTH);
    if (status != FUL_OK) {
        ful__yaml_destroy(&value);
        return status;
    }
    FUL_TRY(wrap(p, depth + 1, &value));
    return replace(p, at, p->piece[depth], value);
}

ful_status ful__yaml_set(ful__yaml *root, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    FUL_FAIL_IF(!equals, FUL_ERR_CONFIG, "cannot set '%s': it must have the form key=value", assignment);
    char *text = NULL;
    ful__yaml *value = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__strdup(&text, assignment));
    text[equals - assignment] = '\0';
    path p = {.whole = assignment};
    FUL_TRY_GOTO(status, done, split_path(&p, text));
    status = ful__yaml_parse("its value", equals + 1, strlen(equals + 1), &value);
    if (status != FUL_OK) status = ful__fail_context(status, "cannot set '%s'", assignment);
    if (status != FUL_OK) goto done;
    FUL_TRY_GOTO(status, done, set_value(&p, root, value));
done:
    ful__free(text);
    return status;
}

/* Scalars --------------------------------------------------------------------------------------------------------------- */

static bool is_plain(const ful__yaml *n)
{
    return n && n->kind == FUL__YAML_SCALAR && !n->quoted;
}

bool ful__yaml_is_null(const ful__yaml *n)
{
    if (!is_plain(n)) return false;
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(n->text, nulls[i]) == 0) return true;
    return false;
}

bool ful__yaml_as_bool(const ful__yaml *n, bool *out)
{
    if (!is_plain(n)) return false;
    static const char *const words[] = {"false", "False", "FALSE", "true", "True", "TRUE"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(n->text, words[i]) == 0) {
            *out = i >= 3;
            return true;
        }
    return false;
}

bool ful__yaml_as_int(const ful__yaml *n, int64_t *out)
{
    if (!is_plain(n)) return false;
    const char *digits = n->text + (*n->text == '-' || *n->text == '+');
    if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') return false;
    errno = 0;
    const long long value = strtoll(n->text, NULL, 10);
    if (errno == ERANGE) return false;
    *out = value;
    return true;
}

bool ful__yaml_as_double(const ful__yaml *n, double *out)
{
    if (!is_plain(n)) return false;
    const char *text = n->text + (*n->text == '-' || *n->text == '+');
    if (strcmp(text, ".inf") == 0 || strcmp(text, ".Inf") == 0 || strcmp(text, ".INF") == 0) {
        *out = *n->text == '-' ? -__builtin_inf() : __builtin_inf();
        return true;
    }
    if (strcmp(n->text, ".nan") == 0 || strcmp(n->text, ".NaN") == 0 || strcmp(n->text, ".NAN") == 0) {
        *out = __builtin_nan("");
        return true;
    }
    return ful__parse_double(n->text, out);
}
