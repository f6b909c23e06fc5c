/* SPDX-License-Identifier: Apache-2.0 */
#include "data/cache.h"

#include <stdio.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/time.h"
#include "data/build.h"

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

/* path = NULL: in memory. *target_failed: the cache could not be written, the source is not to blame. */
static ful_status build(const ful_data_config *config, const ful__source *s, const char *path, uint64_t key, ful__pack *out,
                        bool *target_failed)
{
    const ful__build_spec spec = {
        .name = s->path, .path = path, .size = config->size, .channels = config->channels, .split = s->split, .key = key};
    const double began = ful__seconds();
    ful__build b;
    ful_status status = ful__build_init(&b, &spec);
    if (status == FUL_OK) status = ful__source_read(s, &b);
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

static ful_status build_in_memory(const ful_data_config *config, const ful__source *s, uint64_t key, ful__pack *out)
{
    bool target_failed;
    ful__log(FUL_LOG_WARN, "no cache for '%s', its images stay in memory and are decoded again next time: %s", s->path,
             ful_error_message());
    return build(config, s, NULL, key, out, &target_failed);
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

ful_status ful__cache_open(const ful_data_config *config, const ful__source *source, ful__pack *out)
{
    *out = (ful__pack){0};
    if (source->layout == FUL__LAYOUT_PACK) return ful__pack_open(source->path, out);
    const uint64_t key = ful__source_key(source, config->size, config->channels);
    char *path = NULL;
    bool target_failed = false;
    ful_status status = cache_path(config, source, key, &path);
    if (status != FUL_OK) return status == FUL_ERR_MEMORY ? status : build_in_memory(config, source, key, out);
    if (!open_cached(path, key, out)) {
        status = build(config, source, path, key, out, &target_failed);
        if (status == FUL_OK)
            status = ful__pack_open(path, out);
        else if (target_failed && status == FUL_ERR_IO)
            status = build_in_memory(config, source, key, out);
    }
    ful__free(path);
    return status;
}
