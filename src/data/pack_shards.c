/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split into shards. Which images go into which shard follows from their order and sizes alone, so a shard that is there and
 * whole need not be made again: a pack that was killed goes on with the shard it was writing.
 */
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/config.h"
#include "data/dataset.h"
#include "data/shard.h"
#include "data/store.h"

static const char *const split_names[] = {"train", "val", "test"};

typedef struct packing {
    const char *folder;
    ful_split split;
    uint64_t key, shard_bytes;
    bool skip_bad;
    int64_t total, next; /* images of the set; the first that is in no finished shard */
    int number;          /* of the shard in hand */
    bool writing, complete;
    const char *const *class_names;
    int classes;
    const ful__store *store; /* of encoded images */
    ful__decoder decoder;
    ful__shard_writer writer;
    char *path;
    ful_pack_report report;
} packing;

static ful_status shard_path(packing *p)
{
    char name[32];
    ful__free(p->path);
    p->path = NULL;
    snprintf(name, sizeof name, "%s-%05d.shard", split_names[p->split], p->number);
    return ful__path_join(&p->path, p->folder, name);
}

/* ---- what is there already ---- */

/* Temporary files of writers that no longer live. */
static ful_status remove_leftovers(const char *path)
{
    char *pattern = NULL;
    glob_t found = {0};
    FUL_TRY(ful__calloc(&pattern, strlen(path) + 16, 1, "a file name"));
    sprintf(pattern, "%s.tmp-*", path);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            const long pid = strtol(found.gl_pathv[i] + strlen(path) + 5, NULL, 10);
            if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlink(found.gl_pathv[i]);
        }
    }
    globfree(&found);
    ful__free(pattern);
    return FUL_OK;
}

static bool is_whole(const ful__shard *s)
{
    for (uint64_t i = 0; i < s->tail.count; i++) {
        if (!ful__shard_record_is_whole(s, (int64_t)i)) return false;
    }
    return true;
}

/* *keep: the shard at p->path is what would be written there, and is counted. */
static ful_status examine(packing *p, bool *keep)
{
    ful__shard s;
    *keep = false;
    if (!ful__path_exists(p->path)) return FUL_OK;
    const ful_status status = ful__shard_open(p->path, &s);
    if (status == FUL_ERR_MEMORY) return status;
    if (status != FUL_OK || !is_whole(&s)) {
        ful__log(FUL_LOG_WARN, "the shard '%s' is damaged and is written again%s%s", p->path, status != FUL_OK ? ": " : "",
                 status != FUL_OK ? ful_error_message() : "");
        ful__shard_close(&s);
        return FUL_OK;
    }
    const bool ours = s.head.key == p->key && s.head.first == (uint64_t)p->next && s.tail.total == (uint64_t)p->total;
    if (ours) {
        *keep = true;
        p->next = (int64_t)s.tail.next;
        p->complete = s.tail.flags & FUL__SHARD_LAST;
        p->report.images += (int64_t)s.tail.count;
        p->report.bytes += s.map.bytes;
        p->report.kept++;
        p->report.shards++;
    }
    ful__shard_close(&s);
    FUL_FAIL_IF(
        !ours, FUL_ERR_DATA,
        "cannot write '%s': a shard of another set, or of this one packed otherwise, is there; remove it or choose another "
        "folder",
        p->path);
    return FUL_OK;
}

static ful_status keep_finished(packing *p)
{
    for (bool keep = true; keep && !p->complete;) {
        FUL_TRY(shard_path(p));
        FUL_TRY(remove_leftovers(p->path));
        FUL_TRY(examine(p, &keep));
        if (keep) p->number++;
    }
    return FUL_OK;
}

/* ---- writing ---- */

static ful_status begin_shard(packing *p)
{
    const ful__shard_head head = {
        .key = p->key, .number = (uint32_t)p->number, .split = (uint32_t)p->split, .first = (uint64_t)p->next};
    FUL_TRY(shard_path(p));
    p->writing = true;
    return ful__shard_begin(&p->writer, p->path, &head);
}

static ful_status end_shard(packing *p, int64_t next)
{
    const ful__shard_tail tail = {
        .next = (uint64_t)next, .total = (uint64_t)p->total, .flags = next == p->total ? FUL__SHARD_LAST : 0};
    const int64_t count = p->writer.count;
    FUL_TRY(ful__shard_finish(&p->writer, &tail, p->class_names, p->classes));
    p->report.images += count;
    p->report.bytes += p->writer.at;
    p->report.shards++;
    p->writing = false;
    p->next = next;
    p->number++;
    ful__shard_abort(&p->writer);
    return FUL_OK;
}

static ful_status add_image(packing *p, const ful__shard_entry *entry, const char *name, const uint8_t *bytes, size_t n)
{
    if (!p->writing) FUL_TRY(begin_shard(p));
    return ful__shard_add(&p->writer, entry, name, bytes, n);
}

static ful_status close_if_full(packing *p, int64_t i)
{
    if (!p->writing && i + 1 == p->total) FUL_TRY(begin_shard(p)); /* the last ones were left out: an end is needed */
    if (p->writing && (p->writer.at >= p->shard_bytes || i + 1 == p->total)) return end_shard(p, i + 1);
    return FUL_OK;
}

static ful_status leave_out(packing *p, ful_status status)
{
    enum { WARNINGS_MOST = 10 };
    if (!p->skip_bad) return status;
    if (++p->report.skipped <= WARNINGS_MOST) ful__log(FUL_LOG_WARN, "left out: %s", ful_error_message());
    return FUL_OK;
}

static ful_status take_encoded(void *ctx, int64_t i, ful_status status, const uint8_t *bytes, size_t n)
{
    packing *p = ctx;
    char name[FUL__STORE_NAME_MAX];
    int h = 0, w = 0;
    if (status == FUL_OK) status = ful__image_probe(&p->decoder, ful__store_name(p->store, i, name), bytes, n, &h, &w);
    if (status == FUL_ERR_MEMORY) return status;
    if (status != FUL_OK) {
        FUL_TRY(leave_out(p, status));
    } else {
        const ful__shard_entry entry = {
            .label = (uint32_t)ful__store_label(p->store, i), .height = (uint16_t)h, .width = (uint16_t)w};
        FUL_TRY(add_image(p, &entry, ful__store_inner_name(p->store, i), bytes, n));
    }
    return close_if_full(p, i);
}

static ful_status run_encoded(packing *p)
{
    FUL_TRY(keep_finished(p));
    return p->complete ? FUL_OK : ful__store_each(p->store, p->next, take_encoded, p);
}

/* Decoded pixels go in as PGM or PPM, which any image reader understands. */
static ful_status run_decoded(packing *p, const ful_dataset *set, const ful_dataset_info *info)
{
    char name[64];
    const size_t pixels = (size_t)info->height * (size_t)info->width * (size_t)info->channels;
    uint8_t *bytes = NULL;
    FUL_TRY(keep_finished(p));
    FUL_TRY(ful__calloc(&bytes, pixels + sizeof name, 1, "an image"));
    const int head = snprintf((char *)bytes, sizeof name, "P%d\n%d %d\n255\n", info->channels == 1 ? 5 : 6, info->width,
                              info->height);
    ful_status status = FUL_OK;
    for (int64_t i = p->next; status == FUL_OK && !p->complete && i < info->count; i++) {
        const ful__shard_entry entry = {
            .label = (uint32_t)ful_dataset_label(set, i), .height = (uint16_t)info->height, .width = (uint16_t)info->width};
        memcpy(bytes + head, ful_dataset_image(set, i), pixels);
        snprintf(name, sizeof name, "%08lld", (long long)i);
        status = add_image(p, &entry, name, bytes, (size_t)head + pixels);
        if (status == FUL_OK) status = close_if_full(p, i);
    }
    ful__free(bytes);
    return status;
}

/* ---- the verb ---- */

/* The training split's class numbers for another split; none where there is no training split. */
static ful_status number_like_training(const ful_data_config *config, ful__store *s)
{
    ful__source source;
    ful__store *train = NULL;
    bool found = false;
    FUL_TRY(ful__source_find(config, FUL_SPLIT_TRAIN, &found, &source));
    if (!found) return FUL_OK;
    ful_status status = ful__layout_is_encoded(source.layout) ? ful__store_list(&source, 0, &train) : FUL_OK;
    ful__source_deinit(&source);
    if (status == FUL_OK && train) status = ful__store_number_like(s, ful__store_class_names(train), ful__store_classes(train));
    ful__store_close(&train);
    return status;
}

static ful_status pack_source(const ful_data_config *config, const ful__source *source, packing *p)
{
    ful__store *store = NULL;
    ful_status status = ful__store_list(source, FUL__LIST_STAMPS, &store);
    if (status == FUL_OK && p->split != FUL_SPLIT_TRAIN) status = number_like_training(config, store);
    if (status == FUL_OK) {
        const uint64_t how[2] = {p->shard_bytes, p->skip_bad};
        p->store = store;
        p->total = ful__store_count(store);
        p->classes = ful__store_classes(store);
        p->class_names = ful__store_class_names(store);
        p->key = ful__hash64(how, sizeof how, ful__source_key(source, ful__store_stamp(store), 0, 0));
        status = run_encoded(p);
    }
    ful__store_close(&store);
    return status;
}

static ful_status pack_dataset(const ful_data_config *config, packing *p)
{
    ful_dataset *set = NULL;
    ful_dataset_info info;
    ful_data_config decoded = *config;
    decoded.decode = FUL_DECODE_CACHE;
    FUL_TRY(ful_dataset_open(&decoded, p->split, &set));
    ful_dataset_info_get(set, &info);
    p->total = info.count;
    p->classes = info.classes;
    p->class_names = set->names;
    p->key = ful__hash64(&p->shard_bytes, sizeof p->shard_bytes, info.fingerprint);
    const ful_status status = run_decoded(p, set, &info);
    ful_dataset_destroy(&set);
    return status;
}

static ful_status pack_split(const ful_data_config *config, bool decode, packing *p, bool *found)
{
    ful__source source = {0};
    const bool generated = strcmp(config->name, "clusters") == 0;
    *found = generated;
    if (!generated) FUL_TRY(ful__source_find(config, p->split, found, &source));
    if (!*found) return FUL_OK;
    ful_status status = ful__mkdirs(p->folder);
    if (status == FUL_OK)
        status = !generated && ful__layout_is_encoded(source.layout) && !decode ? pack_source(config, &source, p)
                                                                                : pack_dataset(config, p);
    ful__source_deinit(&source);
    return status;
}

void ful_pack_options_defaults(ful_pack_options *options)
{
    *options = (ful_pack_options){.shard_bytes = 1ull << 30};
}

ful_status ful_data_pack(const ful_data_config *config, ful_split split, const char *folder, const ful_pack_options *options,
                         bool *found, ful_pack_report *report)
{
    FUL_FAIL_IF(!config || !folder || !*folder || !options || !found || !report || (unsigned)split > FUL_SPLIT_TEST,
                FUL_ERR_ARG, "cannot pack a data set with split=%d: everything must be given, split must be in 0..2",
                (int)split);
    FUL_FAIL_IF(options->shard_bytes < 1024 || options->shard_bytes > (1ull << 40), FUL_ERR_CONFIG,
                "cannot pack into shards of %llu bytes: 1,024..2^40 are accepted", (unsigned long long)options->shard_bytes);
    FUL_TRY(ful__data_config_check(config));
    packing p = {.folder = folder,
                 .split = split,
                 .shard_bytes = options->shard_bytes,
                 .skip_bad = config->on_error == FUL_ON_ERROR_SKIP};
    const ful_status status = pack_split(config, options->decode || config->size > 0 || config->channels > 0, &p, found);
    *report = p.report;
    ful__shard_abort(&p.writer);
    ful__decoder_deinit(&p.decoder);
    ful__free(p.path);
    return status;
}

ful_status ful_data_is_encoded(const ful_data_config *config, ful_split split, bool *found, bool *encoded)
{
    ful__source source;
    FUL_FAIL_IF(!config || !found || !encoded, FUL_ERR_ARG, "cannot look at a data set with null pointers: all must be given");
    FUL_TRY(ful__data_config_check(config));
    *encoded = false;
    *found = strcmp(config->name, "clusters") == 0;
    if (*found) return FUL_OK;
    FUL_TRY(ful__source_find(config, split, found, &source));
    if (*found) *encoded = ful__layout_is_encoded(source.layout);
    if (*found) ful__source_deinit(&source);
    return FUL_OK;
}
