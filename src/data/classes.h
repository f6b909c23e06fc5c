/* SPDX-License-Identifier: Apache-2.0 */
/* Class names as they are met: each has the number of its first appearance, until all are known and can be numbered by name. */
#ifndef FUL_DATA_CLASSES_H
#define FUL_DATA_CLASSES_H

#include <fulcrum/status.h>
#include <stdbool.h>

typedef struct ful__classes {
    int count, capacity, last; /* last: what was asked for last, -1 = nothing; images mostly come class by class */
    char **names;
    int *by_name; /* the numbers in byte order of the names */
} ful__classes;

void ful__classes_init(ful__classes *c);
/* Finds or adds. Refuses names that are no text or too long, and more than FUL__CLASSES_MAX; `set` is for messages. */
ful_status ful__classes_add(ful__classes *c, const char *set, const char *name, int *number_out) FUL_CHECK_RESULT;
int ful__classes_find(const ful__classes *c, const char *name); /* -1: not there */
/* rank_out (count): the position of each class in byte order of the names. */
void ful__classes_rank(const ful__classes *c, int *rank_out);
/* Whether two names mean one class: equal, or with the same WordNet id ("n01440764" and "n01440764 tench"). */
bool ful__class_is_same(const char *a, const char *b);
/* Whether text begins with a WordNet id: n and eight digits. */
bool ful__is_wnid(const char *text);
void ful__classes_deinit(ful__classes *c); /* accepts a zeroed one */

#endif
