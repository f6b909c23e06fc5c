/* SPDX-License-Identifier: Apache-2.0 */
/* Whether two configurations mean the same: by their values, defaults filled in, not by the text they were written as. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "train/config.h"

void ful__config_take_free_keys(ful_config *to, const ful_config *from)
{
    memcpy(to->data.path, from->data.path, sizeof to->data.path);
    memcpy(to->data.cache, from->data.cache, sizeof to->data.cache);
    to->data.workers = from->data.workers;
    to->train.threads = from->train.threads;
    if (from->net.height == 0) to->net.height = 0;
    if (from->net.in_channels == 0) to->net.in_channels = 0;
    if (from->net.classes == 0) to->net.classes = 0;
}

/* A value on one line: 3, [crop4, flip], {at: stage3, expert: conv}. */
static void add_value(ful__str *s, const ful__yaml *node)
{
    if (!node)
        ful__str_add(s, "nothing");
    else if (node->kind == FUL__YAML_SCALAR)
        ful__str_addf(s, "%s%s%s", node->quoted ? "'" : "", node->text, node->quoted ? "'" : "");
    for (int i = 0; node && i < node->count; i++) {
        ful__str_add(s, i > 0 ? ", " : node->kind == FUL__YAML_LIST ? "[" : "{");
        if (node->kind == FUL__YAML_MAP) ful__str_addf(s, "%s: ", node->keys[i]);
        add_value(s, node->items[i]);
    }
    if (node && node->kind != FUL__YAML_SCALAR)
        ful__str_add(s, node->kind == FUL__YAML_LIST ? (node->count ? "]" : "[]") : node->count ? "}" : "{}");
}

static ful_status value_text(const ful__yaml *node, char *out, size_t bytes)
{
    ful__str s = {0};
    add_value(&s, node);
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK) snprintf(out, bytes, "%.*s%s", (int)bytes - 4, s.data, s.length > bytes - 4 ? "..." : "");
    ful__str_deinit(&s);
    return status;
}

static ful_status differ(const char *path, const ful__yaml *was, const ful__yaml *is, ful__config_change *out)
{
    out->found = true;
    snprintf(out->key, sizeof out->key, "%s", path);
    FUL_TRY(value_text(was, out->was, sizeof out->was));
    return value_text(is, out->is, sizeof out->is);
}

/* Equal trees; the order of a map's keys does not matter. */
static bool same(const ful__yaml *a, const ful__yaml *b)
{
    if (!a || !b || a->kind != b->kind || a->count != b->count) return false;
    if (a->kind == FUL__YAML_SCALAR) return strcmp(a->text, b->text) == 0;
    for (int i = 0; i < a->count; i++)
        if (!same(a->items[i], a->kind == FUL__YAML_MAP ? ful__yaml_get(b, a->keys[i]) : b->items[i])) return false;
    return true;
}

/* Whether a difference can be laid at one item of two lists: mixtures can be told apart, augmentations follow each other. */
static bool by_item(const ful__yaml *was, const ful__yaml *is)
{
    return was->kind == FUL__YAML_LIST && was->count == is->count && was->items[0]->kind == FUL__YAML_MAP &&
           is->items[0]->kind == FUL__YAML_MAP;
}

/* The first value in which two trees differ. */
static ful_status compare(const char *path, const ful__yaml *was, const ful__yaml *is, ful__config_change *out)
{
    char inner[FUL__KEY_PATH_MAX];
    if (same(was, is)) return FUL_OK;
    const bool maps = was && is && was->kind == FUL__YAML_MAP && is->kind == FUL__YAML_MAP;
    if (!maps && !(was && is && was->kind == is->kind && by_item(was, is))) return differ(path, was, is, out);
    for (int i = 0; i < was->count && !out->found; i++) {
        if (maps)
            snprintf(inner, sizeof inner, "%.62s%s%.62s", path, *path ? "." : "", was->keys[i]);
        else
            snprintf(inner, sizeof inner, "%.110s[%d]", path, i);
        FUL_TRY(compare(inner, was->items[i], maps ? ful__yaml_get(is, was->keys[i]) : is->items[i], out));
    }
    for (int i = 0; maps && i < is->count && !out->found; i++) {
        snprintf(inner, sizeof inner, "%.62s%s%.62s", path, *path ? "." : "", is->keys[i]);
        FUL_TRY(compare(inner, ful__yaml_get(was, is->keys[i]), is->items[i], out));
    }
    return FUL_OK;
}

ful_status ful__config_compare(const ful_config *was, const ful_config *is, ful__config_change *out)
{
    ful__yaml *trees[2] = {NULL, NULL};
    ful_status status = FUL_OK;
    *out = (ful__config_change){.found = false};
    FUL_TRY_GOTO(status, done, ful__config_tree(was, &trees[0]));
    FUL_TRY_GOTO(status, done, ful__config_tree(is, &trees[1]));
    FUL_TRY_GOTO(status, done, compare("", trees[0], trees[1], out));
done:
    ful__yaml_destroy(&trees[0]);
    ful__yaml_destroy(&trees[1]);
    return status;
}

ful_status ful__config_check_stored(const char *path, const ful_config *now, ful__config_change *out)
{
    char *text = NULL;
    size_t bytes = 0;
    ful_config *stored = NULL;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__calloc(&stored, 1, sizeof *stored, "a configuration"));
    FUL_TRY_GOTO(status, done, ful__file_read(path, FUL__CONFIG_BYTES_MAX, &text, &bytes));
    FUL_TRY_GOTO(status, done, ful_config_parse(path, text, stored));
    ful__config_take_free_keys(stored, now);
    FUL_TRY_GOTO(status, done, ful__config_compare(stored, now, out));
done:
    ful__free(text);
    ful__free(stored);
    return status;
}
