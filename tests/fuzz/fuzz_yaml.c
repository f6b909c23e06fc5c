/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as YAML: refused with a sentence, or read into a tree that its own text brings back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/yaml.h"

#define CHECK(cond)           \
    do {                      \
        if (!(cond)) abort(); \
    } while (0)

/* quoted may be gained where a text cannot stand bare, but then it was no number, bool or null. */
static int same(const ful__yaml *a, const ful__yaml *b)
{
    if (a->kind != b->kind || a->count != b->count) return 0;
    if (a->kind == FUL__YAML_SCALAR) {
        double x = 0, y = 0;
        bool p = false, q = false;
        return strcmp(a->text, b->text) == 0 && ful__yaml_is_null(a) == ful__yaml_is_null(b) &&
               ful__yaml_as_bool(a, &p) == ful__yaml_as_bool(b, &q) && ful__yaml_as_double(a, &x) == ful__yaml_as_double(b, &y);
    }
    for (int i = 0; i < a->count; i++) {
        if (a->kind == FUL__YAML_MAP && strcmp(a->keys[i], b->keys[i]) != 0) return 0;
        if (!same(a->items[i], b->items[i])) return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ful__yaml *tree = NULL, *again = NULL, *copy = NULL;
    if (ful__yaml_parse("input", (const char *)data, bytes, &tree) != FUL_OK) {
        CHECK(tree == NULL && strncmp(ful_error_message(), "cannot ", 7) == 0);
        return 0;
    }
    char *text = NULL;
    CHECK(ful__yaml_write(tree, &text) == FUL_OK);
    if (strlen(text) <= FUL__YAML_BYTES) {
        CHECK(ful__yaml_parse("written", text, strlen(text), &again) == FUL_OK);
        CHECK(same(tree, again));
    }
    CHECK(ful__yaml_dup(tree, &copy) == FUL_OK && same(tree, copy));
    if (tree->kind == FUL__YAML_MAP) CHECK(ful__yaml_merge(tree, copy) == FUL_OK && same(tree, copy));
    char *assignment = NULL;
    CHECK(ful__calloc(&assignment, bytes + 1, 1, "an assignment") == FUL_OK);
    memcpy(assignment, data, bytes);
    if (ful__yaml_set(tree, assignment) != FUL_OK) CHECK(same(tree, copy));
    ful__free(assignment);
    ful__free(text);
    ful__yaml_destroy(&tree);
    ful__yaml_destroy(&again);
    ful__yaml_destroy(&copy);
    return 0;
}
