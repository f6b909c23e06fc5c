/* SPDX-License-Identifier: Apache-2.0 */
#include "data/cache.h"

#include <stdio.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/time.h"
#include "data/build.h"
#include "data/store.h"

static const char *const split_names[] = {"train", "val", "test"};

static ful_status cache_path(const ful_data_config *config, const ful__source *s, uint64_t key, char **out)
{
    char name[128], *folder = NULL;
    snprintf(name, sizeof name, "%s-%s-%016llx.pack", s->set, split_names[s->split], (unsigned long long)key);
    FUL_TRY(*config->cache ? ful__strdup(&folder, config->cache) : ful__cache_folder(&folder));
    ful_status status = ful__mkdirs(folder);
    if (status == FUL_OK) status = ful__path_join(out, folder, name);
    ful__free(folder);
    return status;
}

/* What a cache is made of. */
typedef struct input {
    const ful__source *source;
    ful__store *store; /* of a folder, whose images make the key; others are listed when they are decoded */
    uint64_t key;
} input;

ful_status ful__cache_fill(const ful__source *s, const ful__store *listed, ful__build *b)
{
    ful__store *store = NULL;
    if (!ful__layout_is_encoded(s->layout)) return ful__source_read_raw(s, b);
    if (listed) return ful__build_add_store(b, listed);
    FUL_TRY(ful__store_list(s, 0, &store));
    ful_status status = ful__build_add_store(b, store);
    if (status == FUL_OK) status = ful__build_flush(b);
    ful__store_close(&store);
    return status;
}

/* path = NULL: in memory. *target_failed: the cache could not be written, the source is not to blame. */
static ful_status build(const ful_data_config *config, const input *in, const char *path, ful__pack *out, bool *target_failed)
{
    const ful__source *s = in->source;
    const ful__build_spec spec = {.name = s->path,
                                  .path = path,
                                  .size = config->size,
                                  .channels = config->channels,
                                  .split = s->split,
                                  .key = in->key,
                                  .skip_bad = config->on_error == FUL_ON_ERROR_SKIP};
    const double began = ful__seconds();
    ful__build b;
    ful_status status = ful__build_init(&b, &spec);
    if (status == FUL_OK) status = ful__cache_fill(s, in->store, &b);
    if (status == FUL_OK) status = ful__build_finish(&b, out);
    const long long count = b.count;
    ful__build_deinit(&b);
    *target_failed = b.pack.failed;
    if (status == FUL_OK) {
        ful__log(FUL_LOG_INFO, "decoded %lld images of '%s' in %.1f s, kept %s%s", count, s->path, ful__seconds() - began,
                 path ? "in " : "in memory", path ? path : "");
    }
    return status;
}

static ful_status build_in_memory(const ful_data_config *config, const input *in, ful__pack *out)
{
    bool target_failed;
    ful__log(FUL_LOG_WARN, "no cache for '%s', its images stay in memory and are decoded again next time: %s", in->source->path,
             ful_error_message());
    return build(config, in, NULL, out, &target_failed);
}

/* What is in the cache, when it is whole and ours. */
static bool open_cached(const char *path, uint64_t key, ful__pack *out)
{
    if (!ful__path_exists(path)) return false;
    if (ful__pack_open(path, out) != FUL_OK) {
        ful__log(FUL_LOG_WARN, "the cache is damaged and will be rebuilt: %s", ful_error_message());
        return false;
    }
    if (out->key == key) return true;
    ful__log(FUL_LOG_WARN, "the cache '%s' belongs to another set and will be rebuilt", path);
    ful__pack_close(out);
    return false;
}

static ful_status open_or_build(const ful_data_config *config, const input *in, ful__pack *out)
{
    char *path = NULL;
    bool target_failed = false;
    ful_status status = cache_path(config, in->source, in->key, &path);
    if (status != FUL_OK) return status == FUL_ERR_MEMORY ? status : build_in_memory(config, in, out);
    if (!open_cached(path, in->key, out)) {
        status = build(config, in, path, out, &target_failed);
        if (status == FUL_OK)
            status = ful__pack_open(path, out);
        else if (target_failed && status == FUL_ERR_IO)
            status = build_in_memory(config, in, out);
    }
    ful__free(path);
    return status;
}

ful_status ful__cache_open(const ful_data_config *config, const ful__source *source, ful__pack *out)
{
    *out = (ful__pack){0};
    input in = {.source = source};
    if (source->layout == FUL__LAYOUT_PACK) return ful__pack_open(source->path, out);
    const bool folder = ful__layout_is_encoded(source->layout) && source->layout != FUL__LAYOUT_WEBDATASET &&
                        !source->is_archive;
    if (folder) FUL_TRY(ful__store_list(source, FUL__LIST_STAMPS, &in.store));
    in.key = ful__source_key(source, folder ? ful__store_stamp(in.store) : 0, config->size, config->channels);
    if (config->on_error == FUL_ON_ERROR_SKIP) in.key ^= 0x5c19; /* it may hold fewer images */
    const ful_status status = open_or_build(config, &in, out);
    ful__store_close(&in.store);
    return status;
}
