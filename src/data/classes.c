/* SPDX-License-Identifier: Apache-2.0 */
#include "data/classes.h"

#include <ctype.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/text.h"

bool ful__is_wnid(const char *text)
{
    if (*text != 'n') return false;
    for (int i = 1; i <= 8; i++) {
        if (!isdigit((unsigned char)text[i])) return false;
    }
    return text[9] == '\0' || text[9] == ' ' || text[9] == '\t' || text[9] == '/' || text[9] == '.';
}

bool ful__class_is_same(const char *a, const char *b)
{
    enum { ID = 9 };
    return strcmp(a, b) == 0 || (ful__is_wnid(a) && ful__is_wnid(b) && memcmp(a, b, ID) == 0);
}

void ful__classes_init(ful__classes *c)
{
    *c = (ful__classes){.last = -1};
}

/* Position in by_name where the name is (found) or belongs. */
static int search(const ful__classes *c, const char *name, bool *found)
{
    int low = 0, high = c->count;
    *found = false;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(c->names[c->by_name[middle]], name);
        if (order == 0) *found = true;
        if (order >= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static ful_status check_name(const ful__classes *c, const char *set, const char *name)
{
    const size_t n = strlen(name);
    FUL_FAIL_IF(n > FUL__CLASS_NAME_MAX, FUL_ERR_DATA, "cannot use %s with a class name of %zu bytes: at most %d", set, n,
                FUL__CLASS_NAME_MAX);
    FUL_FAIL_IF(!ful__name_is_clean(name), FUL_ERR_DATA,
                "cannot use %s with a class name of %zu bytes that is no text: it must be UTF-8 without control characters",
                set, n);
    FUL_FAIL_IF(c->count == FUL__CLASSES_MAX, FUL_ERR_DATA, "cannot use %s with class '%s': at most %d classes are accepted",
                set, name, FUL__CLASSES_MAX);
    return FUL_OK;
}

ful_status ful__classes_add(ful__classes *c, const char *set, const char *name, int *number_out)
{
    if (c->last >= 0 && strcmp(c->names[c->last], name) == 0) {
        *number_out = c->last;
        return FUL_OK;
    }
    bool found;
    const int at = search(c, name, &found);
    if (!found) {
        FUL_TRY(check_name(c, set, name));
        if (c->count == c->capacity) {
            const size_t capacity = c->capacity ? 2 * (size_t)c->capacity : 64;
            FUL_TRY(ful__realloc(&c->names, capacity, sizeof *c->names, "class names"));
            FUL_TRY(ful__realloc(&c->by_name, capacity, sizeof *c->by_name, "class names"));
            c->capacity = (int)capacity;
        }
        FUL_TRY(ful__strdup(&c->names[c->count], name));
        memmove(c->by_name + at + 1, c->by_name + at, (size_t)(c->count - at) * sizeof *c->by_name);
        c->by_name[at] = c->count++;
    }
    *number_out = c->last = c->by_name[at];
    return FUL_OK;
}

int ful__classes_find(const ful__classes *c, const char *name)
{
    bool found;
    const int at = search(c, name, &found);
    return found ? c->by_name[at] : -1;
}

void ful__classes_rank(const ful__classes *c, int *rank_out)
{
    for (int i = 0; i < c->count; i++) rank_out[c->by_name[i]] = i;
}

void ful__classes_deinit(ful__classes *c)
{
    for (int i = 0; i < c->count; i++) ful__free(c->names[i]);
    ful__free(c->names);
    ful__free(c->by_name);
    *c = (ful__classes){0};
}
