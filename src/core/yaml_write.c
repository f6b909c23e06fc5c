/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML tree to text: block style, two blanks an indent, quotes only where a plain text would read as something else. */
#include <string.h>

#include "core/error.h"
#include "core/str.h"
#include "core/utf8.h"
#include "core/yaml.h"

/* Characters YAML does not print or takes for a line break. */
static bool needs_escape(uint32_t point)
{
    return point < 0x20 || (point >= 0x7F && point <= 0x9F) || point == 0x2028 || point == 0x2029 || point == 0xFEFF ||
           point == 0xFFFE || point == 0xFFFF;
}

/* Whether block-style YAML reads the bare text back as the same plain scalar. */
static bool can_be_plain(const char *text)
{
    const size_t n = strlen(text);
    if (n == 0) return true; /* null */
    if (strchr(" !\"#%&'*,>@[]`{|}", text[0]) || text[n - 1] == ' ' || text[n - 1] == ':') return false;
    if (strchr("-?:", text[0]) && (text[1] == '\0' || text[1] == ' ')) return false;
    if (strncmp(text, "---", 3) == 0 || strncmp(text, "...", 3) == 0) return false;
    if (strstr(text, ": ") || strstr(text, " #")) return false;
    for (uint32_t point; *text;) {
        const int bytes = ful__utf8_decode(text, &point);
        if (bytes == 0 || needs_escape(point)) return false;
        text += bytes;
    }
    return true;
}

static void add_quoted(ful__str *s, const char *text)
{
    ful__str_add(s, "\"");
    for (uint32_t point; *text;) {
        const int bytes = ful__utf8_decode(text, &point);
        if (bytes == 0) {
            s->status = ful__fail(FUL_ERR_CONFIG, "cannot write a text of %zu bytes as YAML: it must be UTF-8", strlen(text));
            return;
        }
        if (point == '"' || point == '\\')
            ful__str_addf(s, "\\%c", (int)point);
        else if (point == '\n')
            ful__str_add(s, "\\n");
        else if (point == '\t')
            ful__str_add(s, "\\t");
        else if (needs_escape(point))
            ful__str_addf(s, point < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)point);
        else
            ful__str_add_bytes(s, text, (size_t)bytes);
        text += bytes;
    }
    ful__str_add(s, "\"");
}

/* A key is always a text: bare where it can be, and "" and "<<" (which read as null and as a merge) in quotes. */
static void add_key(ful__str *s, const char *key)
{
    if (*key && strcmp(key, "<<") != 0 && can_be_plain(key))
        ful__str_add(s, key);
    else
        add_quoted(s, key);
}

static void add_indent(ful__str *s, int indent)
{
    for (int i = 0; i < indent; i++) ful__str_add(s, "  ");
}

static bool is_block(const ful__yaml *n)
{
    return n->kind != FUL__YAML_SCALAR && n->count > 0;
}

/* A value that stands on its own line's rest: a scalar, [] or {}. Ends the line. */
static void add_inline(ful__str *s, const ful__yaml *n, const char *before)
{
    if (n->kind == FUL__YAML_LIST)
        ful__str_addf(s, "%s[]", before);
    else if (n->kind == FUL__YAML_MAP)
        ful__str_addf(s, "%s{}", before);
    else if (n->quoted || !can_be_plain(n->text)) {
        ful__str_add(s, before);
        add_quoted(s, n->text);
    } else if (*n->text) {
        ful__str_add(s, before);
        ful__str_add(s, n->text);
    }
    ful__str_add(s, "\n");
}

/* The lines of a non-empty map or list. `started`: the first line's indent (and "- ") are there already. */
static void add_block(ful__str *s, const ful__yaml *n, int indent, bool started)
{
    for (int i = 0; i < n->count && s->status == FUL_OK; i++) {
        const ful__yaml *item = n->items[i];
        if (i > 0 || !started) add_indent(s, indent);
        if (n->kind == FUL__YAML_MAP) {
            add_key(s, n->keys[i]);
            ful__str_add(s, ":");
            if (is_block(item)) {
                ful__str_add(s, "\n");
                add_block(s, item, indent + 1, false);
            } else {
                add_inline(s, item, " ");
            }
        } else {
            ful__str_add(s, "-");
            if (is_block(item)) {
                ful__str_add(s, " ");
                add_block(s, item, indent + 1, true);
            } else {
                add_inline(s, item, " ");
            }
        }
    }
}

ful_status ful__yaml_write(const ful__yaml *node, char **text_out)
{
    ful__str s = {0};
    *text_out = NULL;
    if (is_block(node))
        add_block(&s, node, 0, false);
    else
        add_inline(&s, node, "");
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK) *text_out = ful__str_take(&s);
    ful__str_deinit(&s);
    return status;
}
