/* SPDX-License-Identifier: Apache-2.0 */
/* What lies at a path, as text or JSON: every file is looked at and every image decoded; what is wrong is listed, not fatal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/str.h"
#include "data/build.h"
#include "data/cache.h"
#include "data/config.h"
#include "data/limits.h"
#include "data/store.h"

typedef struct spread {
    int least, median, most;
} spread;

typedef struct finding {
    const char *split, *layout, *place;
    uint64_t bytes;
    int64_t files, images;
    spread width, height;
    int64_t channels[5]; /* images of so many, in their files */
    int64_t turned;      /* images with an Exif orientation */
    int classes;
    int64_t class_least, class_median, class_most; /* images a class */
    int64_t *per_class;
    const char **names;
    const ful__findings *problems;
} finding;

/* The side or channel count all images share, 0 where they differ. */
static int common(const spread *s)
{
    return s->least == s->most ? s->most : 0;
}

static int common_channels(const finding *f)
{
    for (int c = 1; c < 5; c++) {
        if (f->channels[c] == f->images) return f->images > 0 ? c : 0;
    }
    return 0;
}

static void json_names(ful__str *s, const finding *f, bool only_empty)
{
    bool any = false;
    for (int c = 0; c < f->classes; c++) {
        if (only_empty && f->per_class[c] > 0) continue;
        if (any) ful__str_add(s, ", ");
        ful__str_add_json(s, f->names[c]);
        any = true;
    }
}

static void write_json(ful__str *s, const finding *f)
{
    ful__str_addf(s, "{\"split\": \"%s\", \"layout\": \"%s\", \"path\": ", f->split, f->layout);
    ful__str_add_json(s, f->place);
    ful__str_addf(s, ", \"files\": %lld, \"bytes\": %llu, \"images\": %lld, \"height\": %d, \"width\": %d, \"channels\": %d, ",
                  (long long)f->files, (unsigned long long)f->bytes, (long long)f->images, common(&f->height),
                  common(&f->width), common_channels(f));
    ful__str_addf(s, "\"heights\": [%d, %d, %d], \"widths\": [%d, %d, %d], ", f->height.least, f->height.median, f->height.most,
                  f->width.least, f->width.median, f->width.most);
    ful__str_addf(s, "\"images_of_channels\": [%lld, %lld, %lld, %lld], \"images_turned\": %lld, ", (long long)f->channels[1],
                  (long long)f->channels[2], (long long)f->channels[3], (long long)f->channels[4], (long long)f->turned);
    ful__str_addf(s, "\"classes\": %d, \"class_least\": %lld, \"class_median\": %lld, \"class_most\": %lld, \"class_names\": [",
                  f->classes, (long long)f->class_least, (long long)f->class_median, (long long)f->class_most);
    json_names(s, f, false);
    ful__str_add(s, "], \"empty_classes\": [");
    json_names(s, f, true);
    ful__str_addf(s, "], \"problems\": %lld, \"findings\": [", (long long)f->problems->count);
    for (int i = 0; i < f->problems->count && i < FUL__FINDINGS_SHOWN; i++) {
        if (i > 0) ful__str_add(s, ", ");
        ful__str_add_json(s, f->problems->line[i]);
    }
    ful__str_add(s, "]}");
}

static void write_sizes(ful__str *s, const finding *f)
{
    static const char *const kinds[5] = {"", "grey", "grey with alpha", "colour", "CMYK or with alpha"};
    if (f->images == 0) return;
    if (common(&f->width) && common(&f->height))
        ful__str_addf(s, "%-5s  %dx%d pixels", f->split, f->width.most, f->height.most);
    else
        ful__str_addf(s, "%-5s  width %d to %d (median %d), height %d to %d (median %d)", f->split, f->width.least,
                      f->width.most, f->width.median, f->height.least, f->height.most, f->height.median);
    for (int c = 1; c < 5; c++) {
        if (f->channels[c] == f->images)
            ful__str_addf(s, ", %s", kinds[c]);
        else if (f->channels[c] > 0)
            ful__str_addf(s, ", %lld %s", (long long)f->channels[c], kinds[c]);
    }
    if (f->turned > 0) ful__str_addf(s, ", %lld turned by their Exif orientation", (long long)f->turned);
    ful__str_add(s, "\n");
}

static void write_empty_classes(ful__str *s, const finding *f)
{
    enum { NAMES_SHOWN = 10 };
    int empty = 0;
    for (int c = 0; c < f->classes; c++) {
        if (f->per_class[c] > 0) continue;
        if (empty == 0) ful__str_addf(s, "%-5s  warning: classes without images:", f->split);
        if (empty++ < NAMES_SHOWN) ful__str_addf(s, " %s", f->names[c]);
    }
    if (empty > NAMES_SHOWN) ful__str_addf(s, " and %d more", empty - NAMES_SHOWN);
    if (empty > 0) ful__str_add(s, "\n");
}

static void write_classes(ful__str *s, const finding *f)
{
    enum { NAMES_SHOWN = 10 };
    ful__str_addf(s, "%-5s  %lld images in %d classes, %lld to %lld each (median %lld):", f->split, (long long)f->images,
                  f->classes, (long long)f->class_least, (long long)f->class_most, (long long)f->class_median);
    for (int c = 0; c < f->classes && c < NAMES_SHOWN; c++)
        ful__str_addf(s, "%s %s", c && strchr(f->names[c - 1], ' ') ? "," : "", f->names[c]);
    ful__str_add(s, f->classes > NAMES_SHOWN ? " …\n" : "\n");
}

static void write_text(ful__str *s, const finding *f)
{
    ful__str_addf(s, "%-5s  %s '%s': %lld file%s, %.1f MB\n", f->split, f->layout, f->place, (long long)f->files,
                  f->files == 1 ? "" : "s", (double)f->bytes / 1e6);
    if (f->images > 0)
        write_classes(s, f);
    else
        ful__str_addf(s, "%-5s  no images\n", f->split);
    write_sizes(s, f);
    write_empty_classes(s, f);
    for (int i = 0; i < f->problems->count && i < FUL__FINDINGS_SHOWN; i++) {
        ful__str_addf(s, "%-5s  problem: %s\n", f->split, f->problems->line[i]);
    }
    if (f->problems->count > FUL__FINDINGS_SHOWN) {
        ful__str_addf(s, "%-5s  and %lld more problems\n", f->split, (long long)f->problems->count - FUL__FINDINGS_SHOWN);
    }
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static ful_status count_classes(finding *f, const int32_t *labels)
{
    int64_t *sorted = NULL;
    FUL_TRY(ful__calloc(&f->per_class, (size_t)f->classes, sizeof *f->per_class, "class sizes"));
    FUL_TRY(ful__calloc(&sorted, (size_t)f->classes, sizeof *sorted, "class sizes"));
    for (int64_t i = 0; i < f->images; i++) f->per_class[labels[i]]++;
    if (f->classes > 0) {
        memcpy(sorted, f->per_class, (size_t)f->classes * sizeof *sorted);
        qsort(sorted, (size_t)f->classes, sizeof *sorted, ascending);
        f->class_least = sorted[0];
        f->class_median = sorted[f->classes / 2];
        f->class_most = sorted[f->classes - 1];
    }
    ful__free(sorted);
    return FUL_OK;
}

/* Sides are at most FUL__IMAGE_SIDE_MAX: they are counted, not sorted. */
static spread spread_of(const int64_t *images_of_side, int64_t count)
{
    spread s = {0};
    int64_t seen = 0;
    for (int side = 1; side <= FUL__IMAGE_SIDE_MAX && seen < count; side++) {
        if (images_of_side[side] == 0) continue;
        if (seen == 0) s.least = side;
        if (seen <= count / 2 && seen + images_of_side[side] > count / 2) s.median = side;
        seen += images_of_side[side];
        s.most = side;
    }
    return s;
}

static ful_status count_sizes(finding *f, const ful__image_info *infos)
{
    int64_t *sides = NULL;
    const size_t n = FUL__IMAGE_SIDE_MAX + 1;
    FUL_TRY(ful__calloc(&sides, 2 * n, sizeof *sides, "sizes of images"));
    for (int64_t i = 0; i < f->images; i++) {
        sides[infos[i].width]++;
        sides[n + (size_t)infos[i].height]++;
        f->channels[infos[i].channels]++;
        f->turned += infos[i].orientation != 1;
    }
    f->width = spread_of(sides, f->images);
    f->height = spread_of(sides + n, f->images);
    ful__free(sides);
    return FUL_OK;
}

/* Decodes without keeping; an error that ends the reading is one more finding. */
static ful_status examine(const ful__source *source, const ful__store *store, ful__build *b, ful__findings *problems)
{
    const ful__build_spec spec = {.name = source->path, .check_only = true, .findings = problems, .split = source->split};
    FUL_TRY(ful__build_init(b, &spec));
    const ful_status status = ful__cache_fill(source, store, b);
    if (status != FUL_OK) return ful__build_report(b, status); /* images of its last block are not counted */
    FUL_TRY(ful__build_flush(b));
    if (b->count > 0) return FUL_OK;
    return ful__build_report(b, ful__fail(FUL_ERR_DATA, "cannot use %s: it holds no images", source->path));
}

typedef struct output {
    ful__str text;
    bool json;
    int splits;
    const char *empty;                /* the first split without images, NULL: none */
    char problem[FUL__FINDING_BYTES]; /* what was found there */
} output;

static void write_finding(output *o, const finding *f)
{
    if (!o->json) {
        write_text(&o->text, f);
    } else {
        if (o->splits > 0) ful__str_add(&o->text, ", ");
        write_json(&o->text, f);
    }
    o->splits++;
    if (f->images > 0 || o->empty) return;
    o->empty = f->split;
    snprintf(o->problem, sizeof o->problem, "%s", f->problems->count > 0 ? f->problems->line[0] : "it holds no images");
}

/* Names in the order of their numbers. */
static ful_status list_build_names(const ful__build *b, finding *f)
{
    FUL_TRY(ful__calloc(&f->names, (size_t)b->classes.count, sizeof *f->names, "class names"));
    for (int c = 0; c < b->classes.count; c++) f->names[c] = b->classes.names[b->sort_classes ? b->classes.by_name[c] : c];
    return FUL_OK;
}

/* The images of a folder are files of it. */
static ful_status list_folder(const ful__source *source, ful__store **store, finding *f, ful__findings *problems)
{
    *store = NULL;
    if (source->layout >= FUL__LAYOUT_WEBDATASET || source->is_archive) return FUL_OK;
    const ful_status status = ful__store_list(source, FUL__LIST_STAMPS | FUL__LIST_TOLERANT, store);
    if (status == FUL_ERR_MEMORY) return status;
    if (status != FUL_OK) {
        snprintf(problems->line[problems->count++], FUL__FINDING_BYTES, "%s", ful_error_message());
        return FUL_OK;
    }
    f->files += ful__store_count(*store);
    f->bytes += ful__store_bytes(*store);
    return FUL_OK;
}

static ful_status describe_source(const ful__source *source, finding *f, output *o)
{
    ful__findings *problems = NULL;
    ful__store *store = NULL;
    ful__build b = {0};
    ful_status status = FUL_OK;
    FUL_TRY(ful__calloc(&problems, 1, sizeof *problems, "findings"));
    f->problems = problems;
    FUL_TRY_GOTO(status, done, list_folder(source, &store, f, problems));
    if (problems->count == 0) FUL_TRY_GOTO(status, done, examine(source, store, &b, problems));
    f->images = b.count;
    f->classes = b.classes.count;
    FUL_TRY_GOTO(status, done, count_sizes(f, b.infos));
    FUL_TRY_GOTO(status, done, list_build_names(&b, f));
    FUL_TRY_GOTO(status, done, count_classes(f, b.labels));
    write_finding(o, f);
done:
    ful__build_deinit(&b);
    ful__store_close(&store);
    ful__free(problems);
    return status;
}

/* Packs and generated sets come decoded: their figures are taken from the opened set. */
static ful_status describe_opened(const ful_data_config *config, ful_split split, finding *f, output *o)
{
    ful_data_config all = *config;
    ful_dataset *set = NULL;
    int32_t *labels = NULL;
    ful_dataset_info info;
    const ful__findings none = {0};
    ful_status status = FUL_OK;
    f->problems = &none;
    all.train_limit = all.test_limit = 0;
    all.val_fraction = 0;
    FUL_TRY(ful_dataset_open(&all, split, &set));
    ful_dataset_info_get(set, &info);
    f->images = info.count;
    f->height = (spread){info.height, info.height, info.height};
    f->width = (spread){info.width, info.width, info.width};
    f->channels[info.channels] = info.count;
    f->classes = info.classes;
    FUL_TRY_GOTO(status, done, ful__calloc(&labels, (size_t)info.count, sizeof *labels, "labels"));
    FUL_TRY_GOTO(status, done, ful__calloc(&f->names, (size_t)info.classes, sizeof *f->names, "class names"));
    for (int64_t i = 0; i < info.count; i++) labels[i] = ful_dataset_label(set, i);
    for (int c = 0; c < info.classes; c++) f->names[c] = ful_dataset_class_name(set, c);
    FUL_TRY_GOTO(status, done, count_classes(f, labels));
    write_finding(o, f);
done:
    ful__free(labels);
    ful_dataset_destroy(&set);
    return status;
}

static ful_status describe_split(const ful_data_config *config, ful_split split, output *o)
{
    static const char *const names[] = {"train", "val", "test"};
    finding f = {.split = names[split], .layout = "generated", .place = config->name};
    ful_status status = FUL_OK;
    if (strcmp(config->name, "clusters") == 0) {
        if (split != FUL_SPLIT_VAL) status = describe_opened(config, split, &f, o);
    } else {
        ful__source source;
        bool found;
        FUL_TRY(ful__source_find(config, split, &found, &source));
        if (!found) return FUL_OK;
        f.layout = ful__layout_name(source.layout);
        f.place = source.path;
        f.files = source.n_files;
        for (int64_t i = 0; i < source.n_files; i++) f.bytes += source.files[i].bytes;
        status = source.layout == FUL__LAYOUT_PACK ? describe_opened(config, split, &f, o) : describe_source(&source, &f, o);
        ful__source_deinit(&source);
    }
    ful__free(f.names);
    ful__free(f.per_class);
    return status;
}

static ful_status describe(const ful_data_config *config, output *o)
{
    if (o->json) {
        ful__str_add(&o->text, "{\"name\": ");
        ful__str_add_json(&o->text, config->name);
        ful__str_add(&o->text, ", \"splits\": [");
    }
    for (int split = FUL_SPLIT_TRAIN; split <= FUL_SPLIT_TEST; split++) FUL_TRY(describe_split(config, (ful_split)split, o));
    FUL_FAIL_IF(o->splits == 0, FUL_ERR_DATA, "cannot describe data set '%s' at '%s': nothing there is recognised",
                config->name, config->path);
    if (o->json) ful__str_add(&o->text, "]}\n");
    return ful__str_status(&o->text);
}

ful_status ful_data_describe(const ful_data_config *config, bool json, char **text_out)
{
    FUL_FAIL_IF(!config || !text_out, FUL_ERR_ARG,
                "cannot describe a data set with a null configuration or output: both must be given");
    *text_out = NULL;
    FUL_TRY(ful__data_config_check(config));
    output o = {.json = json};
    const ful_status status = describe(config, &o);
    if (status == FUL_OK)
        *text_out = ful__str_take(&o.text);
    else
        ful__str_deinit(&o.text);
    FUL_FAIL_IF(status == FUL_OK && o.empty, FUL_ERR_DATA, "cannot use the %s split of '%s': %s", o.empty, config->name,
                o.problem);
    return status;
}
