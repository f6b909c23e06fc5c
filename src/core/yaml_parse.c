/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text to a tree, event by event through libyaml. Everything a config does not need is refused by name. */
#include <string.h>
#include <yaml.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/yaml.h"

typedef struct reader {
    const char *name;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
} reader;

static int event_line(const reader *r)
{
    return (int)r->event.start_mark.line + 1;
}

#define REFUSE_IF(cond, ...)                                                                             \
    do {                                                                                                 \
        if (cond) {                                                                                      \
            ful__fail(FUL_ERR_CONFIG, __VA_ARGS__);                                                      \
            return ful__fail_context(FUL_ERR_CONFIG, "cannot read %s, line %d", r->name, event_line(r)); \
        }                                                                                                \
    } while (0)

/* Replaces r->event by the next one. */
static ful_status advance(reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) return FUL_OK;
    const yaml_parser_t *p = &r->parser;
    memset(&r->event, 0, sizeof r->event);
    FUL_FAIL_IF(p->error == YAML_MEMORY_ERROR, FUL_ERR_MEMORY, "cannot read %s: out of memory", r->name);
    const char *problem = p->problem ? p->problem : "not YAML";
    FUL_FAIL_IF(p->error == YAML_READER_ERROR, FUL_ERR_CONFIG, "cannot read %s, byte %zu: %s", r->name, p->problem_offset,
                problem);
    const char *context = p->context ? p->context : "";
    return ful__fail(FUL_ERR_CONFIG, "cannot read %s, line %zu: %s%s%s", r->name, p->problem_mark.line + 1, context,
                     *context ? ", " : "", problem);
}

static ful_status read_node(reader *r, int depth, ful__yaml **out);

static ful_status check_marks(reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    REFUSE_IF(anchor, "anchors ('&%s') are not accepted: a config must read as it stands", (const char *)anchor);
    REFUSE_IF(tag, "tags ('%s') are not accepted", (const char *)tag);
    return FUL_OK;
}

static ful_status read_scalar(reader *r, ful__yaml **out)
{
    const char *text = (const char *)r->event.data.scalar.value;
    FUL_TRY(check_marks(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    REFUSE_IF(strlen(text) != r->event.data.scalar.length, "a text must not contain a NUL character");
    FUL_TRY(ful__yaml_new(FUL__YAML_SCALAR, text, out));
    (*out)->line = event_line(r);
    (*out)->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return FUL_OK;
}

static ful_status read_list(reader *r, int depth, ful__yaml *list)
{
    for (;;) {
        FUL_TRY(advance(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return FUL_OK;
        ful__yaml *item = NULL;
        FUL_TRY(read_node(r, depth, &item));
        FUL_TRY(ful__yaml_push(list, item));
    }
}

static ful_status check_key(reader *r, const ful__yaml *map)
{
    REFUSE_IF(r->event.type != YAML_SCALAR_EVENT, "a key must be a single word or text, not a list, a map or an alias");
    const char *key = (const char *)r->event.data.scalar.value;
    FUL_TRY(check_marks(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    REFUSE_IF(strlen(key) != r->event.data.scalar.length, "a key must not contain a NUL character");
    REFUSE_IF(strlen(key) > FUL__YAML_KEY_BYTES, "a key may have at most %d bytes, not %zu", FUL__YAML_KEY_BYTES, strlen(key));
    REFUSE_IF(strcmp(key, "<<") == 0 && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE,
              "merge keys ('<<') are not accepted: a config must read as it stands");
    REFUSE_IF(map->count >= FUL__YAML_MAP_KEYS, "a map may have at most %d keys", FUL__YAML_MAP_KEYS);
    const ful__yaml *first = ful__yaml_get(map, key);
    REFUSE_IF(first, "the key '%s' is already given on line %d", key, first ? first->line : 0);
    return FUL_OK;
}

static ful_status read_map(reader *r, int depth, ful__yaml *map)
{
    for (;;) {
        FUL_TRY(advance(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return FUL_OK;
        FUL_TRY(check_key(r, map));
        char *key = NULL;
        ful__yaml *item = NULL;
        ful_status status = FUL_OK;
        FUL_TRY(ful__strdup(&key, (const char *)r->event.data.scalar.value));
        FUL_TRY_GOTO(status, done, advance(r));
        FUL_TRY_GOTO(status, done, read_node(r, depth, &item));
        FUL_TRY_GOTO(status, done, ful__yaml_put(map, key, item));
    done:
        ful__free(key);
        FUL_TRY(status);
    }
}

static ful_status read_collection(reader *r, int depth, ful__yaml_kind kind, ful__yaml **out)
{
    const bool is_map = kind == FUL__YAML_MAP;
    REFUSE_IF(depth >= FUL__YAML_DEPTH, "it may nest at most %d deep", FUL__YAML_DEPTH);
    FUL_TRY(check_marks(r, is_map ? r->event.data.mapping_start.anchor : r->event.data.sequence_start.anchor,
                        is_map ? r->event.data.mapping_start.tag : r->event.data.sequence_start.tag));
    FUL_TRY(ful__yaml_new(kind, NULL, out));
    (*out)->line = event_line(r);
    const ful_status status = is_map ? read_map(r, depth + 1, *out) : read_list(r, depth + 1, *out);
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

/* The node that begins with the current event; the current event is then its last. */
static ful_status read_node(reader *r, int depth, ful__yaml **out)
{
    switch (r->event.type) {
    case YAML_SCALAR_EVENT: return read_scalar(r, out);
    case YAML_SEQUENCE_START_EVENT: return read_collection(r, depth, FUL__YAML_LIST, out);
    case YAML_MAPPING_START_EVENT: return read_collection(r, depth, FUL__YAML_MAP, out);
    case YAML_ALIAS_EVENT:
        REFUSE_IF(true, "aliases ('*%s') are not accepted: a config must read as it stands",
                  (const char *)r->event.data.alias.anchor);
    default: REFUSE_IF(true, "unexpected YAML");
    }
}

/* stream-start [document-start node document-end] stream-end; no document is a null. */
static ful_status read_stream(reader *r, ful__yaml **out)
{
    FUL_TRY(advance(r));
    FUL_TRY(advance(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return ful__yaml_new(FUL__YAML_SCALAR, "", out);
    FUL_TRY(advance(r));
    FUL_TRY(read_node(r, 0, out));
    FUL_TRY(advance(r));
    FUL_TRY(advance(r));
    REFUSE_IF(r->event.type != YAML_STREAM_END_EVENT, "there must be only one document");
    return FUL_OK;
}

ful_status ful__yaml_parse(const char *name, const char *text, size_t bytes, ful__yaml **out)
{
    *out = NULL;
    FUL_FAIL_IF(bytes > FUL__YAML_BYTES, FUL_ERR_CONFIG, "cannot read %s: it has %zu bytes, at most %d are accepted", name,
                bytes, FUL__YAML_BYTES);
    reader r = {.name = name};
    FUL_FAIL_IF(!yaml_parser_initialize(&r.parser), FUL_ERR_MEMORY, "cannot read %s: out of memory", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, bytes);
    const ful_status status = read_stream(&r, out);
    if (status != FUL_OK) ful__yaml_destroy(out);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return status;
}

ful_status ful__yaml_load(const char *path, ful__yaml **out)
{
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    FUL_TRY(ful__file_read(path, FUL__YAML_BYTES, &text, &bytes));
    const ful_status status = ful__yaml_parse(path, text, bytes, out);
    ful__free(text);
    return status;
}
