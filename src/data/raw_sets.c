/* SPDX-License-Identifier: Apache-2.0 */
/* Sets whose files hold decoded images: CIFAR's batches, in a folder or in the archive they are published in, and IDX. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/readers.h"
#include "data/source.h"
#include "data/tar.h"

/* ---- CIFAR ---- */

static ful_status read_batches(const ful__source *s, int classes, ful__build *b)
{
    if (!s->has_names) FUL_TRY(ful__cifar_classes(&(ful__bytes){"", (const uint8_t *)"", 0}, classes, b));
    for (int64_t i = 0; i < s->n_files; i++) {
        ful__map map;
        FUL_TRY(ful__map_open(&map, s->files[i].path));
        const ful__bytes file = {s->files[i].path, map.ptr, map.bytes};
        const ful_status status = i == 0 && s->has_names ? ful__cifar_classes(&file, classes, b)
                                                         : ful__cifar_read(&file, s->layout, s->level, b);
        ful__map_close(&map);
        FUL_TRY(status);
    }
    return FUL_OK;
}

enum { PARTS = 6, PART_MOST = 256 << 20 }; /* class names and up to five batches */

/* Collects what is wanted of the archive, whatever order it is in there. */
static ful_status load_parts(const ful__source *s, const char *const *wanted, uint8_t *part[PARTS], size_t bytes[PARTS])
{
    ful__tar tar;
    ful__tar_member m;
    ful_status status = ful__tar_open(&tar, s->path);
    for (bool more = true; status == FUL_OK && more;) {
        status = ful__tar_next(&tar, &more, &m);
        if (status != FUL_OK || !more) break;
        const char *slash = strrchr(m.path, '/'), *base = slash ? slash + 1 : m.path;
        for (int i = 0; i < PARTS && status == FUL_OK && m.regular; i++) {
            if (!wanted[i] || part[i] || strcmp(base, wanted[i]) != 0) continue;
            if (m.bytes > PART_MOST)
                status = ful__fail(FUL_ERR_FORMAT, "cannot read '%s' in '%s' of %llu bytes: at most %d are accepted", m.path,
                                   s->path, (unsigned long long)m.bytes, PART_MOST);
            if (status == FUL_OK) status = ful__calloc(&part[i], (size_t)m.bytes, 1, "a CIFAR batch");
            if (status == FUL_OK) status = ful__tar_take(&tar, part[i], (size_t)m.bytes);
            bytes[i] = (size_t)m.bytes;
        }
    }
    ful__tar_close(&tar);
    return status;
}

static ful_status read_parts(const ful__source *s, int classes, const char *const *wanted, uint8_t *part[PARTS],
                             const size_t bytes[PARTS], ful__build *b)
{
    char name[2 * FUL_PATH_MAX];
    for (int i = 0; i < PARTS && (i == 0 || wanted[i]); i++) {
        snprintf(name, sizeof name, "%s: %s", s->path, wanted[i]);
        FUL_FAIL_IF(i > 0 && !part[i], FUL_ERR_DATA, "cannot read CIFAR archive '%s': it has no %s", s->path, wanted[i]);
        const ful__bytes file = {name, part[i] ? part[i] : (const uint8_t *)"", part[i] ? bytes[i] : 0};
        FUL_TRY(i == 0 ? ful__cifar_classes(&file, classes, b) : ful__cifar_read(&file, s->layout, s->level, b));
    }
    return FUL_OK;
}

static ful_status read_batches_in_archive(const ful__source *s, int classes, ful__build *b)
{
    static const char *const ten[2][PARTS] = {{"batches.meta.txt", "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                               "data_batch_4.bin", "data_batch_5.bin"},
                                              {"batches.meta.txt", "test_batch.bin"}};
    static const char *const hundred[2][PARTS] = {{"fine_label_names.txt", "train.bin"}, {"fine_label_names.txt", "test.bin"}};
    const int test = s->split != FUL_SPLIT_TRAIN;
    const char *wanted[PARTS];
    uint8_t *part[PARTS] = {NULL};
    size_t bytes[PARTS] = {0};
    memcpy(wanted, s->layout == FUL__LAYOUT_CIFAR10 ? ten[test] : hundred[test], sizeof wanted);
    if (s->layout == FUL__LAYOUT_CIFAR100 && s->level == FUL_LABELS_COARSE) wanted[0] = "coarse_label_names.txt";
    ful_status status = load_parts(s, wanted, part, bytes);
    if (status == FUL_OK) status = read_parts(s, classes, wanted, part, bytes, b);
    for (int i = 0; i < PARTS; i++) ful__free(part[i]);
    return status;
}

static ful_status read_cifar(const ful__source *s, ful__build *b)
{
    const int classes = s->layout == FUL__LAYOUT_CIFAR10 ? 10 : s->level == FUL_LABELS_COARSE ? 20 : 100;
    return s->is_archive ? read_batches_in_archive(s, classes, b) : read_batches(s, classes, b);
}

/* ---- IDX ---- */

static const char *const fashion[] = {"T-shirt/top", "Trouser", "Pullover", "Dress",      "Coat", "Sandal",
                                      "Shirt",       "Sneaker", "Bag",      "Ankle boot", NULL};
static const char *const kuzushiji[] = {"o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo", NULL};

/* EMNIST's classes are characters: lines "number code [code]" of the mapping that is published with it. */
static ful_status parse_mapping(const ful__bytes *file, int base, ful__idx_kind *kind)
{
    char *text = NULL;
    FUL_TRY(ful__calloc(&text, file->n + 1, 1, "a mapping"));
    memcpy(text, file->data, file->n);
    int expected = base, number = 0, code = 0, used = 0;
    for (const char *p = text; sscanf(p, " %d %d%n", &number, &code, &used) == 2; p += used + strcspn(p + used, "\n")) {
        if (number != expected || code <= ' ' || code > '~' || expected - base >= FUL__IDX_NAMES - 1) {
            ful__free(text);
            return ful__fail(FUL_ERR_FORMAT,
                             "cannot read '%s': line \"%d %d\" where number %d and a printable character are due", file->name,
                             number, code, expected);
        }
        kind->characters[expected - base][0] = (char)code;
        kind->names[expected - base] = kind->characters[expected - base];
        expected++;
    }
    ful__free(text);
    FUL_FAIL_IF(expected == base, FUL_ERR_FORMAT, "cannot read '%s': it has no lines of a number and a character code",
                file->name);
    return FUL_OK;
}

/* Without a mapping: what the publication says. */
static void name_characters(ful_emnist part, ful__idx_kind *kind)
{
    static const char *const all = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char *const merged = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt";
    static const char *const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *text = part == FUL_EMNIST_BYCLASS                                  ? all
                       : part == FUL_EMNIST_LETTERS                                ? letters
                       : part == FUL_EMNIST_BALANCED || part == FUL_EMNIST_BYMERGE ? merged
                                                                                   : "0123456789";
    for (size_t i = 0; text[i]; i++) {
        kind->characters[i][0] = text[i];
        kind->names[i] = kind->characters[i];
    }
}

static ful_status describe_idx(const ful__source *s, const ful__bytes *mapping, ful__idx_kind *kind)
{
    const char *const *names = strcmp(s->name, "fashion-mnist") == 0 ? fashion
                               : strcmp(s->name, "kmnist") == 0      ? kuzushiji
                                                                     : NULL;
    for (int i = 0; names && names[i]; i++) kind->names[i] = names[i];
    if (strcmp(s->name, "emnist") != 0) return FUL_OK;
    kind->transposed = true;
    kind->base = s->emnist == FUL_EMNIST_LETTERS; /* numbered from 1 */
    if (mapping->n > 0) return parse_mapping(mapping, kind->base, kind);
    name_characters(s->emnist, kind);
    return FUL_OK;
}

static ful_status read_idx(const ful__source *s, ful__build *b)
{
    enum { MAPPING, IMAGES, LABELS, FILES };
    ful__map map[FILES] = {{0}};
    ful__bytes file[FILES] = {{0}};
    ful__idx_kind *kind = NULL;
    FUL_TRY(ful__calloc(&kind, 1, sizeof *kind, "class names"));
    ful_status status = FUL_OK;
    for (int i = s->has_names ? MAPPING : IMAGES, k = 0; status == FUL_OK && i < FILES; i++, k++) {
        status = ful__map_open(&map[i], s->files[k].path);
        file[i] = (ful__bytes){s->files[k].path, map[i].ptr, map[i].bytes};
    }
    if (status == FUL_OK) status = describe_idx(s, &file[MAPPING], kind);
    if (status == FUL_OK) status = ful__idx_read(&file[IMAGES], &file[LABELS], kind, b);
    for (int i = 0; i < FILES; i++) ful__map_close(&map[i]);
    ful__free(kind);
    return status;
}

ful_status ful__source_read_raw(const ful__source *s, ful__build *b)
{
    FUL_FAIL_IF(s->layout == FUL__LAYOUT_PACK || ful__layout_is_encoded(s->layout), FUL_ERR_INTERNAL,
                "cannot read '%s' as decoded images: it is no such set", s->path);
    return s->layout == FUL__LAYOUT_IDX ? read_idx(s, b) : read_cifar(s, b);
}
