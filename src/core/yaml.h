/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text (libyaml) as a tree that remembers lines, so that a bad key can be named with its place. Also built by hand
 * ("--set train.lr=0.1") and written back. Anchors, aliases and merge keys are refused: a config must read as it stands.
 */
#ifndef FUL_CORE_YAML_H
#define FUL_CORE_YAML_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of a document. Keys within one map and the depth of nesting are small, so that no input takes quadratic time or a deep
 * stack. */
enum { FUL__YAML_BYTES = 1 << 20, FUL__YAML_DEPTH = 32, FUL__YAML_MAP_KEYS = 4096, FUL__YAML_KEY_BYTES = 200 };

typedef enum ful__yaml_kind { FUL__YAML_SCALAR, FUL__YAML_LIST, FUL__YAML_MAP } ful__yaml_kind;

typedef struct ful__yaml {
    ful__yaml_kind kind;
    int line;            /* 1-based; 0 when it did not come from a file */
    bool quoted;         /* scalar was quoted: never a number, bool or null */
    char *text;          /* scalar */
    int count, capacity; /* list, map */
    char **keys;         /* map */
    struct ful__yaml **items;
} ful__yaml;

/* name: for messages ("plan.yaml"). Depth <= 32, size <= 1 MiB, duplicate keys refused. FUL_ERR_CONFIG "cannot read <name>,
 * line <l>: …". */
ful_status ful__yaml_parse(const char *name, const char *text, size_t bytes, ful__yaml **out) FUL_CHECK_RESULT;
ful_status ful__yaml_load(const char *path, ful__yaml **out) FUL_CHECK_RESULT;
void ful__yaml_destroy(ful__yaml **node);
ful_status ful__yaml_dup(const ful__yaml *node, ful__yaml **out) FUL_CHECK_RESULT;
/* text: of a scalar (UTF-8, copied), else ignored. Set ->quoted on a string that must not be read as a number, bool or null. */
ful_status ful__yaml_new(ful__yaml_kind kind, const char *text, ful__yaml **out) FUL_CHECK_RESULT;

ful__yaml *ful__yaml_get(const ful__yaml *map, const char *key); /* NULL when absent or not a map; borrowed */
/* Takes over value, on failure too (it is then destroyed); replaces an existing key. */
ful_status ful__yaml_put(ful__yaml *map, const char *key, ful__yaml *value) FUL_CHECK_RESULT;
ful_status ful__yaml_push(ful__yaml *list, ful__yaml *value) FUL_CHECK_RESULT;
void ful__yaml_remove(ful__yaml *map, const char *key);

/* Deep merge of `over` into `base`: maps merge by key, everything else replaces. over stays the caller's. After a failure base
 * holds a part of it. */
ful_status ful__yaml_merge(ful__yaml *base, const ful__yaml *over) FUL_CHECK_RESULT;
/* "a.b.0.c=value" (value is YAML: 0.1, [1,2], {a: 1}); list elements by number, creates missing maps. A failure leaves root as
 * it was. */
ful_status ful__yaml_set(ful__yaml *root, const char *assignment) FUL_CHECK_RESULT;
/* Block style, two blanks an indent, keys in order; parse(write(x)) == x. */
ful_status ful__yaml_write(const ful__yaml *node, char **text_out) FUL_CHECK_RESULT;

/* Scalars, YAML 1.2 core schema (true/false, decimal ints, floats, null/~). false when it is none of that kind. */
bool ful__yaml_as_int(const ful__yaml *n, int64_t *out);
bool ful__yaml_as_double(const ful__yaml *n, double *out);
bool ful__yaml_as_bool(const ful__yaml *n, bool *out);
bool ful__yaml_is_null(const ful__yaml *n);

#endif
