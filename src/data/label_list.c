/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the images of an index show, told by a list, and what classes are called. Lists known:
 *
 *   file class …               Tiny-ImageNet's val_annotations.txt and the lists of the field's tools; the class is a name, or
 * the number (from 0) of a line of synsets.txt ImageId,PredictionString   LOC_val_solution.csv: the first word of the second
 * column is the class number                     ILSVRC2012_validation_ground_truth.txt: for the images in order of their
 * names, from 1; what the numbers stand for is in map_clsloc.txt ("wnid number word" lines), or synsets.txt in that order
 */
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/store_make.h"
#include "data/text.h"

/* ---- text ---- */

/* The next line of a text, without its end; moves *at. The text ends with '\0'. */
static bool next_line(char **at, char **line)
{
    if (**at == '\0') return false;
    *line = *at;
    *at += strcspn(*at, "\r\n");
    if (**at == '\r') *(*at)++ = '\0';
    if (**at == '\n') *(*at)++ = '\0';
    return true;
}

/* Cuts a word off; NULL at the end of the line. */
static char *next_word(char **at, const char *blanks)
{
    char *begin = *at + strspn(*at, blanks);
    const size_t n = strcspn(begin, blanks);
    *at = begin + n;
    if (**at) *(*at)++ = '\0';
    return n > 0 ? begin : NULL;
}

static bool is_number(const char *text)
{
    const size_t n = strlen(text);
    return n > 0 && n < 8 && strspn(text, "0123456789") == n;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static ful_status load_text(const char *path, ful__text *out)
{
    FUL_TRY(ful__file_read(path, FUL__TEXT_BYTES_MAX, &out->data, &out->n));
    return ful__strdup(&out->name, path);
}

static void text_deinit(ful__text *text)
{
    ful__free(text->data);
    ful__free(text->name);
    *text = (ful__text){0};
}

/* A list of one of these names (NULL-terminated) that was met in the archive; the caller owns it then. */
static bool take_met(ful__listing *l, const char *const *names, ful__text *out)
{
    for (int i = 0; i < l->n_texts; i++) {
        for (const char *const *name = names; *name; name++) {
            if (strcmp(base_name(l->texts[i].name), *name) != 0) continue;
            *out = l->texts[i];
            l->texts[i] = l->texts[--l->n_texts];
            l->texts[l->n_texts] = (ful__text){0};
            return true;
        }
    }
    return false;
}

/* ---- parsing ---- */

typedef struct row {
    const char *file, *class_name; /* into the text */
} row;

typedef struct table {
    row *rows;
    size_t count, capacity;
} table;

static ful_status add_row(table *t, const char *file, const char *class_name)
{
    if (t->count == t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 256;
        FUL_TRY(ful__realloc(&t->rows, capacity, sizeof *t->rows, "a list of labels"));
        t->capacity = capacity;
    }
    t->rows[t->count++] = (row){file, class_name};
    return FUL_OK;
}

/* Rows of a file and a class, or of a class alone (file = NULL). */
static ful_status parse_labels(const ful__text *text, table *t)
{
    char *at = text->data, *line;
    bool csv = false;
    for (int number = 1; next_line(&at, &line); number++) {
        if (number == 1 && strncmp(line, "ImageId,", 8) == 0) {
            csv = true;
            continue;
        }
        char *rest = line, *first = next_word(&rest, csv ? "," : " \t"), *second = first ? next_word(&rest, " \t,") : NULL;
        if (!first) continue;
        FUL_FAIL_IF(!second && !is_number(first), FUL_ERR_FORMAT, "cannot read '%s': line %d names no class", text->name,
                    number);
        FUL_TRY(add_row(t, second ? base_name(first) : NULL, second ? second : first));
        FUL_FAIL_IF(!second != !t->rows[0].file, FUL_ERR_FORMAT,
                    "cannot read '%s': line %d is of another form than the lines before it", text->name, number);
    }
    FUL_FAIL_IF(t->count == 0, FUL_ERR_FORMAT, "cannot read '%s': it has no lines", text->name);
    return FUL_OK;
}

/* Names by number: "wnid number word" lines, or one name a line. *sorted: whether they stand in byte order. */
static ful_status parse_synsets(const ful__text *text, table *names, bool *sorted)
{
    char *at = text->data, *line;
    *sorted = true;
    for (int number = 1; next_line(&at, &line); number++) {
        char *rest = line, *name = next_word(&rest, " \t"), *second = name ? next_word(&rest, " \t") : NULL;
        if (!name) continue;
        FUL_FAIL_IF(second && is_number(second) && (size_t)atoi(second) != names->count + 1, FUL_ERR_FORMAT,
                    "cannot read '%s': line %d has number %s where %zu is due", text->name, number, second, names->count + 1);
        FUL_TRY(add_row(names, NULL, name));
        if (names->count > 1) *sorted = *sorted && strcmp(names->rows[names->count - 2].class_name, name) < 0;
    }
    return FUL_OK;
}

/* Classes that are numbers become the names that the list of synsets gives them. */
static ful_status resolve_numbers(const ful__text *labels, table *rows, const char *path, ful__text *synsets, table *names)
{
    const bool from_one = !rows->rows[0].file;
    bool sorted = true;
    for (size_t i = 0; i < rows->count; i++) {
        if (!is_number(rows->rows[i].class_name)) return FUL_OK;
    }
    FUL_FAIL_IF(!path, FUL_ERR_DATA, "cannot use '%s': its numbers say nothing without %s beside it", labels->name,
                from_one ? "map_clsloc.txt of the development kit (\"wnid number word\" lines)"
                         : "synsets.txt (one wnid a line)");
    FUL_TRY(load_text(path, synsets));
    FUL_TRY(parse_synsets(synsets, names, &sorted));
    FUL_FAIL_IF(
        from_one && sorted && names->count > 2, FUL_ERR_DATA,
        "cannot use '%s' with '%s': the names there are in byte order, and the numbers of the ground truth are those of the "
        "development kit (map_clsloc.txt), which are not",
        labels->name, path);
    for (size_t i = 0; i < rows->count; i++) {
        const size_t number = (size_t)atoi(rows->rows[i].class_name) - from_one; /* 0 - 1: far out of range, too */
        FUL_FAIL_IF(number >= names->count, FUL_ERR_DATA, "cannot use '%s': entry %zu is number %s, but '%s' has %zu names",
                    labels->name, i + 1, rows->rows[i].class_name, path, names->count);
        rows->rows[i].class_name = names->rows[number].class_name;
    }
    return FUL_OK;
}

/* ---- matching ---- */

static int by_file(const void *a, const void *b)
{
    return strcmp(((const row *)a)->file, ((const row *)b)->file);
}

/* The class of a file; names in lists come with or without the suffix. */
static const char *class_of(const table *t, const char *file)
{
    char bare[FUL__CLASS_NAME_MAX + 1];
    const row *found = bsearch(&(row){.file = file}, t->rows, t->count, sizeof *t->rows, by_file);
    const char *dot = strrchr(file, '.');
    if (!found && dot && (size_t)(dot - file) < sizeof bare) {
        memcpy(bare, file, (size_t)(dot - file));
        bare[dot - file] = '\0';
        found = bsearch(&(row){.file = bare}, t->rows, t->count, sizeof *t->rows, by_file);
    }
    return found ? found->class_name : NULL;
}

static ful_status match_files(ful__store *s, const ful__text *list, table *t)
{
    qsort(t->rows, t->count, sizeof *t->rows, by_file);
    for (size_t i = 1; i < t->count; i++) {
        FUL_FAIL_IF(strcmp(t->rows[i].file, t->rows[i - 1].file) == 0 &&
                        strcmp(t->rows[i].class_name, t->rows[i - 1].class_name) != 0,
                    FUL_ERR_DATA, "cannot use '%s': '%s' stands there with two classes", list->name, t->rows[i].file);
    }
    for (int64_t i = 0; i < s->count; i++) {
        const char *name = s->names + s->entries[i].name, *class_name = class_of(t, base_name(name));
        int label = 0;
        FUL_FAIL_IF(!class_name, FUL_ERR_DATA, "cannot use image '%s' of '%s': '%s' does not say what it shows", name, s->path,
                    list->name);
        FUL_TRY(ful__classes_add(&s->classes, s->path, class_name, &label));
        s->labels[i] = label;
    }
    return FUL_OK;
}

static int by_base_name(const void *a, const void *b, void *store)
{
    const ful__store *s = store;
    return strcmp(base_name(s->names + s->entries[*(const uint32_t *)a].name),
                  base_name(s->names + s->entries[*(const uint32_t *)b].name));
}

static ful_status match_numbers(ful__store *s, const ful__text *list, const table *t)
{
    uint32_t *order = NULL;
    FUL_FAIL_IF(t->count != (size_t)s->count, FUL_ERR_DATA,
                "cannot use '%s' with %zu numbers for the %lld images of '%s': there must be one for each", list->name,
                t->count, (long long)s->count, s->path);
    FUL_TRY(ful__calloc(&order, t->count, sizeof *order, "an order of images"));
    for (uint32_t i = 0; i < t->count; i++) order[i] = i;
    qsort_r(order, t->count, sizeof *order, by_base_name, s);
    ful_status status = FUL_OK;
    for (size_t i = 0; i < t->count && status == FUL_OK; i++) {
        int label = 0;
        status = ful__classes_add(&s->classes, s->path, t->rows[i].class_name, &label);
        s->labels[order[i]] = label;
    }
    ful__free(order);
    return status;
}

ful_status ful__label_by_list(ful__listing *l)
{
    static const char *const names[] = {"val_annotations.txt", "LOC_val_solution.csv", NULL};
    ful__text list = {0}, synsets = {0};
    table rows = {0}, classes = {0};
    ful_status status = FUL_OK;
    if (l->source->labels)
        status = load_text(l->source->labels, &list);
    else if (!take_met(l, names, &list))
        status = ful__fail(FUL_ERR_DATA, "cannot use '%s': it holds no val_annotations.txt, which says what the images show",
                           l->store->path);
    if (status == FUL_OK) status = parse_labels(&list, &rows);
    if (status == FUL_OK) status = resolve_numbers(&list, &rows, l->source->synsets, &synsets, &classes);
    if (status == FUL_OK)
        status = rows.rows[0].file ? match_files(l->store, &list, &rows) : match_numbers(l->store, &list, &rows);
    ful__free(rows.rows);
    ful__free(classes.rows);
    text_deinit(&list);
    text_deinit(&synsets);
    return status;
}

/* ---- words ---- */

/* The first of the words (they stand between commas) goes behind the id. */
static ful_status rename_class(ful__classes *c, int number, const char *words)
{
    enum { ID = 9 };
    const size_t n = strcspn(words, ",");
    char *renamed = NULL;
    if (n == 0 || ID + 1 + n > FUL__CLASS_NAME_MAX) return FUL_OK;
    FUL_TRY(ful__calloc(&renamed, ID + 2 + n, 1, "a class name"));
    memcpy(renamed, c->names[number], ID);
    renamed[ID] = ' ';
    memcpy(renamed + ID + 1, words, n);
    if (!ful__name_is_clean(renamed)) { /* what is no text is no name */
        ful__free(renamed);
        return FUL_OK;
    }
    ful__free(c->names[number]);
    c->names[number] = renamed;
    return FUL_OK;
}

ful_status ful__label_words(ful__listing *l)
{
    static const char *const names[] = {"words.txt", "LOC_synset_mapping.txt", NULL};
    ful__text text = {0};
    ful__classes *c = &l->store->classes;
    for (int i = 0; i < c->count; i++) {
        if (!ful__is_wnid(c->names[i]) || c->names[i][9] != '\0') return FUL_OK; /* not what the words are about */
    }
    ful_status status = FUL_OK;
    if (l->source->words)
        status = load_text(l->source->words, &text);
    else if (!take_met(l, names, &text))
        return FUL_OK;
    char *at = text.data, *line;
    while (status == FUL_OK && next_line(&at, &line)) {
        char *rest = line, *id = next_word(&rest, " \t");
        const int number = id && ful__is_wnid(id) ? ful__classes_find(c, id) : -1;
        if (number >= 0) status = rename_class(c, number, rest + strspn(rest, " \t"));
    }
    text_deinit(&text);
    return status;
}
