/* SPDX-License-Identifier: Apache-2.0 */
/* What lies at a path, as text or JSON: every file is looked at and every image decoded; what is wrong is listed, not fatal. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/str.h"
#include "data/build.h"
#include "data/config.h"
#include "data/limits.h"
#include "data/source.h"
#include "data/text.h"

typedef struct finding {
    const char *split, *layout, *place;
    uint64_t bytes;
    int64_t files, images;
    int height, width, channels, classes;
    int64_t class_least, class_most; /* images in the smallest and the largest class */
    const char **names;
    const ful__findings *problems;
} finding;

static void json_text(ful__str *s, const char *text)
{
    ful__str_add(s, "\"");
    for (const char *p = text; *p;) {
        const size_t n = ful__utf8_bytes(p);
        if (n == 0)
            ful__str_add(s, "?");
        else if (*p == '"' || *p == '\\')
            ful__str_addf(s, "\\%c", *p);
        else if (n == 1 && (*p < 0x20 || *p == 0x7f))
            ful__str_addf(s, "\\u%04x", (unsigned)*p);
        else
            ful__str_add_bytes(s, p, n);
        p += n ? n : 1;
    }
    ful__str_add(s, "\"");
}

static void write_json(ful__str *s, const finding *f)
{
    ful__str_addf(s, "{\"split\": \"%s\", \"layout\": \"%s\", \"path\": ", f->split, f->layout);
    json_text(s, f->place);
    ful__str_addf(s, ", \"files\": %lld, \"bytes\": %llu, \"images\": %lld, \"height\": %d, \"width\": %d, \"channels\": %d, ",
                  (long long)f->files, (unsigned long long)f->bytes, (long long)f->images, f->height, f->width, f->channels);
    ful__str_addf(s, "\"classes\": %d, \"class_least\": %lld, \"class_most\": %lld, \"class_names\": [", f->classes,
                  (long long)f->class_least, (long long)f->class_most);
    for (int c = 0; c < f->classes; c++) {
        if (c > 0) ful__str_add(s, ", ");
        json_text(s, f->names[c]);
    }
    ful__str_addf(s, "], \"problems\": %lld, \"findings\": [", (long long)f->problems->count);
    for (int i = 0; i < f->problems->count && i < FUL__FINDINGS_SHOWN; i++) {
        if (i > 0) ful__str_add(s, ", ");
        json_text(s, f->problems->line[i]);
    }
    ful__str_add(s, "]}");
}

static void write_text(ful__str *s, const finding *f)
{
    enum { NAMES_SHOWN = 10 };
    ful__str_addf(s, "%-5s  %s '%s': %lld file%s, %.1f MB\n", f->split, f->layout, f->place, (long long)f->files,
                  f->files == 1 ? "" : "s", (double)f->bytes / 1e6);
    ful__str_addf(s, "%-5s  %lld images %dx%dx%d in %d classes (%lld to %lld each):", f->split, (long long)f->images, f->height,
                  f->width, f->channels, f->classes, (long long)f->class_least, (long long)f->class_most);
    for (int c = 0; c < f->classes && c < NAMES_SHOWN; c++) ful__str_addf(s, " %s", f->names[c]);
    ful__str_add(s, f->classes > NAMES_SHOWN ? " …\n" : "\n");
    for (int i = 0; i < f->problems->count && i < FUL__FINDINGS_SHOWN; i++) {
        ful__str_addf(s, "%-5s  problem: %s\n", f->split, f->problems->line[i]);
    }
    if (f->problems->count > FUL__FINDINGS_SHOWN) {
        ful__str_addf(s, "%-5s  and %lld more problems\n", f->split, (long long)f->problems->count - FUL__FINDINGS_SHOWN);
    }
}

static ful_status count_classes(finding *f, const int32_t *labels)
{
    int64_t *images = NULL;
    FUL_TRY(ful__calloc(&images, (size_t)f->classes, sizeof *images, "class sizes"));
    for (int64_t i = 0; i < f->images; i++) images[labels[i]]++;
    for (int c = 0; c < f->classes; c++) {
        if (c == 0 || images[c] < f->class_least) f->class_least = images[c];
        if (images[c] > f->class_most) f->class_most = images[c];
    }
    ful__free(images);
    return FUL_OK;
}

/* Decodes without keeping; an error that ends the reading is one more finding. */
static ful_status examine(const ful_data_config *config, const ful__source *source, ful__build *b, ful__findings *problems)
{
    const ful__build_spec spec = {.name = source->path,
                                  .check_only = true,
                                  .findings = problems,
                                  .size = config->size,
                                  .channels = config->channels,
                                  .split = source->split};
    FUL_TRY(ful__build_init(b, &spec));
    const ful_status status = ful__source_read(source, b);
    if (status != FUL_OK) return ful__build_report(b, status); /* images of its last block are not counted */
    FUL_TRY(ful__build_flush(b));
    if (b->count > 0) return FUL_OK;
    return ful__build_report(b, ful__fail(FUL_ERR_DATA, "cannot use %s: it holds no images", source->path));
}

typedef struct output {
    ful__str text;
    bool json;
    int splits;
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
}

/* Names in the order of their numbers. */
static ful_status list_build_names(const ful__build *b, finding *f)
{
    FUL_TRY(ful__calloc(&f->names, (size_t)b->classes.count, sizeof *f->names, "class names"));
    for (int c = 0; c < b->classes.count; c++) f->names[c] = b->classes.names[b->sort_classes ? b->classes.by_name[c] : c];
    return FUL_OK;
}

static ful_status describe_source(const ful_data_config *config, const ful__source *source, finding *f, output *o)
{
    ful__findings *problems = NULL;
    ful__build b = {0};
    ful_status status = FUL_OK;
    FUL_TRY(ful__calloc(&problems, 1, sizeof *problems, "findings"));
    f->problems = problems;
    FUL_TRY_GOTO(status, done, examine(config, source, &b, problems));
    f->images = b.count;
    f->height = b.height;
    f->width = b.width;
    f->channels = b.channels;
    f->classes = b.classes.count;
    FUL_TRY_GOTO(status, done, count_classes(f, b.labels));
    FUL_TRY_GOTO(status, done, list_build_names(&b, f));
    write_finding(o, f);
done:
    ful__build_deinit(&b);
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
    f->height = info.height;
    f->width = info.width;
    f->channels = info.channels;
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
        status = source.layout == FUL__LAYOUT_PACK ? describe_opened(config, split, &f, o)
                                                   : describe_source(config, &source, &f, o);
        ful__source_deinit(&source);
    }
    ful__free(f.names);
    return status;
}

static ful_status describe(const ful_data_config *config, output *o)
{
    if (o->json) {
        ful__str_add(&o->text, "{\"name\": ");
        json_text(&o->text, config->name);
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
    return status;
}
