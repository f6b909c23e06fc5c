/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebDataset: tar shards in which the members of one sample follow each other and share a name up to its first dot:
 * key.jpg|jpeg|png and key.cls (a number or a name) or key.json (with a field "label", "cls" or "class"). Other members are
 * passed over.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/readers.h"
#include "data/store_make.h"
#include "data/tar.h"

/* ---- finding the shards ---- */

enum { SHARDS_MOST = 100000, PATTERN_MOST = 2 * FUL_PATH_MAX };

typedef struct paths {
    char **item;
    size_t count, capacity;
} paths;

static ful_status add_path(paths *p, const char *path)
{
    FUL_FAIL_IF(p->count == SHARDS_MOST, FUL_ERR_DATA, "cannot use WebDataset '%s': more than %d shards", path, SHARDS_MOST);
    if (p->count == p->capacity) {
        const size_t capacity = p->capacity ? 2 * p->capacity : 64;
        FUL_TRY(ful__realloc(&p->item, capacity, sizeof *p->item, "a list of shards"));
        p->capacity = capacity;
    }
    FUL_TRY(ful__strdup(&p->item[p->count], path));
    p->count++;
    return FUL_OK;
}

static bool is_shard(const char *name)
{
    static const char *const suffix[] = {".tar", ".tar.gz", ".tgz"};
    const size_t n = strlen(name);
    for (int i = 0; i < 3; i++) {
        const size_t k = strlen(suffix[i]);
        if (n > k && strcmp(name + n - k, suffix[i]) == 0) return true;
    }
    return false;
}

/* The shards of a folder, and of the folders in it where deeper. */
static ful_status add_folder(paths *p, const char *folder, bool deeper)
{
    DIR *dir = ful__fault_hit(FUL__FAULT_READ) ? (errno = EIO, NULL) : opendir(folder);
    FUL_FAIL_IF(!dir, FUL_ERR_IO, "cannot list folder '%s': %s", folder, strerror(errno));
    ful_status status = FUL_OK;
    const struct dirent *entry;
    while (status == FUL_OK && (entry = readdir(dir))) {
        char *path = NULL;
        if (entry->d_name[0] == '.') continue;
        status = ful__path_join(&path, folder, entry->d_name);
        if (status == FUL_OK && deeper && ful__path_is_dir(path))
            status = add_folder(p, path, false);
        else if (status == FUL_OK && is_shard(entry->d_name) && !ful__path_is_dir(path))
            status = add_path(p, path);
        ful__free(path);
    }
    closedir(dir);
    return status;
}

static ful_status add_glob(paths *p, const char *pattern)
{
    glob_t found = {0};
    const int result = glob(pattern, GLOB_NOSORT, NULL, &found);
    ful_status status = result == GLOB_NOSPACE ? ful__fail(FUL_ERR_MEMORY, "cannot look for '%s': out of memory", pattern)
                                               : FUL_OK;
    for (size_t i = 0; result == 0 && i < found.gl_pathc && status == FUL_OK; i++) status = add_path(p, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

/* The brace that closes the one at `open`; NULL where there is none. */
static const char *closing(const char *open)
{
    int depth = 0;
    for (const char *c = open; *c; c++) {
        depth += (*c == '{') - (*c == '}');
        if (depth == 0) return c;
    }
    return NULL;
}

/* The end of one alternative: a comma or the closing brace, not inside a further brace. */
static const char *alternative_end(const char *at)
{
    for (int depth = 0; depth > 0 || (*at != ',' && *at != '}'); at++) depth += (*at == '{') - (*at == '}');
    return at;
}

static ful_status expand(paths *p, const char *pattern, int depth);

/* pattern with the bytes from..to replaced by text. */
static ful_status expand_one(paths *p, const char *pattern, size_t from, size_t to, const char *text, size_t n, int depth)
{
    char next[PATTERN_MOST];
    const int length = snprintf(next, sizeof next, "%.*s%.*s%s", (int)from, pattern, (int)n, text, pattern + to);
    FUL_FAIL_IF(length >= (int)sizeof next, FUL_ERR_DATA, "cannot use WebDataset '%s': its names are too long", pattern);
    return expand(p, next, depth + 1);
}

/* {a,b,c} and {000..146}, as a shell does. */
static ful_status expand(paths *p, const char *pattern, int depth)
{
    const char *open = strchr(pattern, '{'), *close = open ? closing(open) : NULL;
    long first = 0, last = 0;
    int used = 0, width = 0;
    FUL_FAIL_IF(depth > 8 || (open && !close), FUL_ERR_DATA,
                "cannot use WebDataset '%s': a brace is not closed, or more than 8", pattern);
    if (!open) return strpbrk(pattern, "*?[") ? add_glob(p, pattern) : add_path(p, pattern);
    const size_t from = (size_t)(open - pattern), to = (size_t)(close - pattern) + 1;
    if (sscanf(open, "{%8ld..%n%8ld}", &first, &width, &last) == 2 && isdigit((unsigned char)open[1])) {
        const int digits = (int)strcspn(open + 1, "."); /* leading zeros are kept */
        FUL_FAIL_IF(last < first || last - first >= SHARDS_MOST, FUL_ERR_DATA,
                    "cannot use WebDataset '%s': {%ld..%ld} must be ascending, of at most %d", pattern, first, last,
                    SHARDS_MOST);
        for (long i = first; i <= last; i++) {
            char number[32];
            used = snprintf(number, sizeof number, "%0*ld", digits, i);
            FUL_TRY(expand_one(p, pattern, from, to, number, (size_t)used, depth));
        }
        return FUL_OK;
    }
    for (const char *at = open + 1; at <= close;) {
        const char *end = alternative_end(at);
        FUL_TRY(expand_one(p, pattern, from, to, at, (size_t)(end - at), depth));
        at = end + 1;
    }
    return FUL_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The last word of a path that names a split: "imagenet-train-000001.tar", "val/0001.tar". Without one: training. */
static ful_split split_of(const char *path)
{
    static const struct {
        const char *word;
        ful_split split;
    } words[] = {{"train", FUL_SPLIT_TRAIN}, {"training", FUL_SPLIT_TRAIN}, {"val", FUL_SPLIT_VAL},
                 {"valid", FUL_SPLIT_VAL},   {"validation", FUL_SPLIT_VAL}, {"test", FUL_SPLIT_TEST}};
    ful_split split = FUL_SPLIT_TRAIN;
    for (const char *p = path; *p;) {
        size_t n = 0;
        while (isalpha((unsigned char)p[n])) n++;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            if (strlen(words[i].word) == n && strncasecmp(p, words[i].word, n) == 0) split = words[i].split;
        }
        p += n ? n : 1;
    }
    return split;
}

static ful_status gather(paths *p, const char *path)
{
    if (ful__path_is_dir(path)) return add_folder(p, path, true);
    return ful__path_exists(path) ? add_path(p, path) : expand(p, path, 0);
}

/* Where there are no test shards, those for validation are what one tests on. */
static ful_status take_split(ful__source *s, const paths *p, size_t root, bool *found)
{
    int64_t of[3] = {0};
    for (size_t i = 0; i < p->count; i++) of[split_of(p->item[i] + root)]++;
    const ful_split wanted = s->split == FUL_SPLIT_TEST && of[FUL_SPLIT_TEST] == 0 ? FUL_SPLIT_VAL : s->split;
    *found = of[wanted] > 0 && !(s->split == FUL_SPLIT_VAL && of[FUL_SPLIT_TEST] == 0);
    for (size_t i = 0; i < p->count && *found; i++) {
        if (split_of(p->item[i] + root) == wanted) FUL_TRY(ful__source_add_archive(s, p->item[i]));
    }
    return FUL_OK;
}

ful_status ful__find_webdataset(ful__source *s, const char *path, bool *found)
{
    paths p = {0};
    ful_status status = gather(&p, path);
    s->layout = FUL__LAYOUT_WEBDATASET;
    if (status == FUL_OK && p.count == 0)
        status = ful__fail(FUL_ERR_DATA, "cannot open data set 'webdataset' at '%s': there are no .tar shards", path);
    if (status == FUL_OK) qsort(p.item, p.count, sizeof *p.item, by_bytes);
    size_t root = ful__path_is_dir(path) ? strlen(path) : strcspn(path, "{*?[");
    while (!ful__path_is_dir(path) && root > 0 && path[root - 1] != '/') root--; /* what all shards share says no split */
    if (status == FUL_OK) status = ful__source_set_place(s, path, path);
    if (status == FUL_OK) status = take_split(s, &p, root, found);
    for (size_t i = 0; i < p.count; i++) ful__free(p.item[i]);
    ful__free(p.item);
    return status;
}

/* ---- samples ---- */

enum { LABEL_BYTES_MAX = 1 << 20 };

typedef struct sample {
    char key[FUL__TAR_PATH_MAX], image[FUL__TAR_PATH_MAX]; /* image: its member; "" = not yet */
    uint64_t offset, bytes;
    char class_name[FUL__CLASS_NAME_MAX + 1]; /* "" = not yet */
} sample;

static ful_status set_class(sample *x, const char *shard, const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)text[n - 1])) n--;
    while (n > 0 && isspace((unsigned char)*text)) text++, n--;
    FUL_FAIL_IF(n < 1 || n > FUL__CLASS_NAME_MAX, FUL_ERR_FORMAT,
                "cannot read the label of '%s: %s': %zu bytes, 1..%d are needed", shard, x->key, n, FUL__CLASS_NAME_MAX);
    memcpy(x->class_name, text, n);
    x->class_name[n] = '\0';
    return FUL_OK;
}

static ful_status set_class_from_json(sample *x, const char *shard, const char *text, size_t n)
{
    static const char *const fields[] = {"label", "cls", "class"};
    json_error_t error;
    json_t *root = json_loadb(text, n, 0, &error);
    FUL_FAIL_IF(!root, FUL_ERR_FORMAT, "cannot read '%s: %s.json': %s at line %d", shard, x->key, error.text, error.line);
    const json_t *label = NULL;
    for (int i = 0; i < 3 && !label; i++) label = json_object_get(root, fields[i]);
    ful_status status = FUL_OK;
    if (json_is_integer(label)) {
        char number[32];
        const int length = snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(label));
        status = set_class(x, shard, number, (size_t)length);
    } else if (json_is_string(label)) {
        status = set_class(x, shard, json_string_value(label), json_string_length(label));
    } else {
        status = ful__fail(FUL_ERR_FORMAT,
                           "cannot read '%s: %s.json': it has no field label, cls or class with a number or text", shard,
                           x->key);
    }
    json_decref(root);
    return status;
}

static ful_status take_label(sample *x, ful__tar *tar, const ful__tar_member *m, bool json)
{
    char *text = NULL;
    FUL_FAIL_IF(m->bytes > LABEL_BYTES_MAX, FUL_ERR_FORMAT, "cannot read '%s: %s' of %llu bytes: a label has at most %d",
                tar->name, m->path, (unsigned long long)m->bytes, LABEL_BYTES_MAX);
    FUL_TRY(ful__calloc(&text, (size_t)m->bytes + 1, 1, "a label"));
    ful_status status = ful__tar_take(tar, text, (size_t)m->bytes);
    if (status == FUL_OK)
        status = json ? set_class_from_json(x, tar->name, text, (size_t)m->bytes)
                      : set_class(x, tar->name, text, (size_t)m->bytes);
    ful__free(text);
    return status;
}

/* A sample without image and label is of another kind, and passed over. */
static ful_status end_sample(ful__listing *l, uint32_t place, const char *shard, sample *x)
{
    int label = 0;
    if (*x->image || *x->class_name) {
        FUL_FAIL_IF(!*x->class_name, FUL_ERR_FORMAT, "cannot use '%s: %s': it has no label (%s.cls or %s.json)", shard,
                    x->image, x->key, x->key);
        FUL_FAIL_IF(!*x->image, FUL_ERR_FORMAT, "cannot use '%s: %s': it has a label and no image (.jpg, .jpeg or .png)", shard,
                    x->key);
        FUL_TRY(ful__classes_add(&l->store->classes, l->store->path, x->class_name, &label));
        FUL_TRY(ful__store_add(l->store, place, x->image, x->offset, x->bytes, label));
    }
    *x->image = *x->class_name = '\0';
    return FUL_OK;
}

/* The length of a name up to the first dot behind the last slash. */
static size_t key_bytes(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    return (size_t)(base - path) + strcspn(base, ".");
}

static ful_status take_member(ful__listing *l, uint32_t place, ful__tar *tar, const ful__tar_member *m, sample *x)
{
    const size_t n = key_bytes(m->path);
    const char *suffix = m->path + n;
    if (!m->regular || ful__is_dotted(m->path) || *suffix == '\0') return FUL_OK;
    if (strlen(x->key) != n || memcmp(x->key, m->path, n) != 0) {
        FUL_TRY(end_sample(l, place, tar->name, x));
        memcpy(x->key, m->path, n);
        x->key[n] = '\0';
    }
    const bool json = strcasecmp(suffix, ".json") == 0;
    if (strcasecmp(suffix, ".cls") == 0 || (json && !*x->class_name)) return take_label(x, tar, m, json);
    if (!ful__has_image_suffix(m->path)) return FUL_OK;
    FUL_FAIL_IF(*x->image, FUL_ERR_FORMAT, "cannot use '%s: %s': '%s' is an image of the same sample", tar->name, m->path,
                x->image);
    memcpy(x->image, m->path, strlen(m->path) + 1);
    x->offset = m->offset;
    x->bytes = m->bytes;
    return FUL_OK;
}

static ful_status list_shard(ful__listing *l, const char *path, sample *x)
{
    uint32_t place;
    ful__tar tar = {0};
    ful__tar_member m;
    memset(x, 0, sizeof *x);
    FUL_TRY(ful__store_add_place(l->store, path, false, &place));
    ful_status status = ful__tar_open(&tar, path);
    for (bool more = true; status == FUL_OK && more;) {
        status = ful__tar_next(&tar, &more, &m);
        if (status == FUL_OK) status = more ? take_member(l, place, &tar, &m, x) : end_sample(l, place, path, x);
    }
    ful__tar_close(&tar);
    return status;
}

ful_status ful__list_webdataset(ful__listing *l)
{
    sample *x = NULL;
    l->store->keep_order = l->store->by_value = true;
    l->store->sequential = l->source->compressed;
    FUL_TRY(ful__calloc(&x, 1, sizeof *x, "a sample"));
    ful_status status = FUL_OK;
    for (int64_t i = 0; i < l->source->n_files && status == FUL_OK; i++) status = list_shard(l, l->source->files[i].path, x);
    ful__free(x);
    return status;
}
