/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of keys that says once how a block of a configuration is read into a struct, written back, explained and checked.
 * Every message names the file, the line, the key, the value and the rule.
 */
#ifndef FUL_TRAIN_SCHEMA_H
#define FUL_TRAIN_SCHEMA_H

#include "core/str.h"
#include "core/yaml.h"
#include <stdbool.h>
#include <stddef.h>

typedef enum ful__key_kind {
    FUL__KEY_INT,    /* int */
    FUL__KEY_SEED,   /* uint64_t */
    FUL__KEY_DOUBLE, /* double */
    FUL__KEY_FLOAT,  /* float */
    FUL__KEY_BOOL,   /* bool */
    FUL__KEY_TEXT,   /* char[] */
    FUL__KEY_WORD,   /* an enum that counts from 0 */
    FUL__KEY_MAP,    /* further keys of the same struct */
    FUL__KEY_CUSTOM  /* its own functions */
} ful__key_kind;

enum { FUL__KEY_PATH_MAX = 128 };

/* Where a value stands, for messages. */
typedef struct ful__spot {
    const char *file;             /* as the user named it */
    char path[FUL__KEY_PATH_MAX]; /* "moe[0].balance.switch" */
    const ful__yaml *node;        /* borrowed */
} ful__spot;

typedef struct ful__key {
    const char *name; /* NULL ends a table */
    ful__key_kind kind;
    size_t offset, bytes;       /* of the field in the struct; bytes: capacity of a text */
    double min, max;            /* of numbers, inclusive */
    bool above_min, below_max;  /* min, max themselves are not accepted */
    const char *const *words;   /* of WORD, in the enum's order, ends with NULL */
    const struct ful__key *map; /* of MAP */
    ful_status (*read)(const struct ful__key *key, const ful__spot *spot, void *base);  /* of CUSTOM */
    ful_status (*write)(const struct ful__key *key, const void *base, ful__yaml **out); /* of CUSTOM; NULL leaves it out */
    const char *type;     /* help: what may stand there; NULL: made from the fields above */
    const char *fallback; /* help: the default, where it depends on other keys; NULL: from a struct of defaults */
    const char *help;
} ful__key;

/* Rows of a table: {"lr", FUL__REAL(ful_train_config, lr, 0, INFINITY), .above_min = true, .help = "…"}. */
#define FUL__AT(type, field)               .offset = offsetof(type, field)
#define FUL__TEXT(type, field)             .kind = FUL__KEY_TEXT, FUL__AT(type, field), .bytes = sizeof(((type *)0)->field)
#define FUL__INT(type, field, low, high)   .kind = FUL__KEY_INT, FUL__AT(type, field), .min = (low), .max = (high)
#define FUL__REAL(type, field, low, high)  .kind = FUL__KEY_DOUBLE, FUL__AT(type, field), .min = (low), .max = (high)
#define FUL__FLOAT(type, field, low, high) .kind = FUL__KEY_FLOAT, FUL__AT(type, field), .min = (low), .max = (high)
#define FUL__SEED(type, field)             .kind = FUL__KEY_SEED, FUL__AT(type, field)
#define FUL__BOOL(type, field)             .kind = FUL__KEY_BOOL, FUL__AT(type, field)
#define FUL__WORD(type, field, list)       .kind = FUL__KEY_WORD, FUL__AT(type, field), .words = (list)
#define FUL__MAP(keys)                     .kind = FUL__KEY_MAP, .map = (keys)
#define FUL__CUSTOM(reader, writer)        .kind = FUL__KEY_CUSTOM, .read = (reader), .write = (writer)

/* FUL_ERR_CONFIG "cannot use <file>, line <l>: <path> = <value>: <rule>"; a value that was set by hand has no line. */
ful_status ful__spot_fail(const ful__spot *spot, const char *fmt, ...) FUL_PRINTF(2, 3);
/* Puts "cannot use <file>, line <l>: <path>: " before a failure of a lower layer. */
ful_status ful__spot_context(const ful__spot *spot, ful_status status);
/* The spot of a key of this map (node NULL when absent), and of an item of this list. */
ful__spot ful__spot_key(const ful__spot *map, const char *key);
ful__spot ful__spot_item(const ful__spot *list, int i);

/* Reads the keys that are there into base; a null map reads nothing. Unknown keys are refused, with the nearest known one. */
ful_status ful__schema_read(const ful__key *keys, const ful__spot *map, void *base) FUL_CHECK_RESULT;
ful_status ful__schema_read_key(const ful__key *keys, const char *name, const ful__spot *map, void *base) FUL_CHECK_RESULT;
/* All keys as a map, in the table's order. */
ful_status ful__schema_write(const ful__key *keys, const void *base, ful__yaml **out) FUL_CHECK_RESULT;
/* Lines "  <prefix>name   type   default   help"; defaults from `base`. */
void ful__schema_help(ful__str *s, const ful__key *keys, const char *prefix, const void *base);

/* "must be one of a, b, c" and, when a word is near, "(did you mean 'b'?)". */
ful_status ful__spot_unknown_word(const ful__spot *spot, const char *const *words);
/* "there is no such key", and a known one that is near: of the map's i-th key. */
ful_status ful__spot_unknown_key(const char *const *known, const ful__spot *map, int i);

#endif
