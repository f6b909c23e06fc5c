/* SPDX-License-Identifier: Apache-2.0 */
/* A data set: the pack that holds it, the images of it that make this split, and what the training split says about it. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/cache.h"
#include "data/classes.h"
#include "data/clusters.h"
#include "data/config.h"
#include "data/split.h"

static const char *const split_names[] = {"training", "validation", "test"};

/* The images of a split, if the set has it: generated, from the cache, decoded now, or with *store left encoded. */
static ful_status open_stored(const ful_data_config *config, ful_split split, bool *found, ful__pack *out, ful__store **store)
{
    bool encoded = false;
    *out = (ful__pack){0};
    *store = NULL;
    if (strcmp(config->name, "clusters") == 0) {
        *found = split != FUL_SPLIT_VAL;
        return *found ? ful__clusters_make(config, split, out) : FUL_OK;
    }
    ful__source source;
    FUL_TRY(ful__source_find(config, split, found, &source));
    if (!*found) return FUL_OK;
    ful_status status = ful__encoded_wanted(config, &source, &encoded);
    if (status == FUL_OK)
        status = encoded ? ful__encoded_open(config, &source, store, out) : ful__cache_open(config, &source, out);
    out->split = split; /* a pack serves as what its file name says */
    ful__source_deinit(&source);
    return status;
}

static ful_status check_shape(const ful_data_config *config, const ful__pack *p, ful_split split)
{
    const int wanted = ful__data_classes_of(config);
    FUL_FAIL_IF(wanted && split == FUL_SPLIT_TRAIN && p->classes != wanted, FUL_ERR_DATA,
                "cannot use the training split of '%s' with %d classes: this set has %d", config->name, p->classes, wanted);
    /* Only packs can be of another shape than what was asked for. */
    FUL_FAIL_IF(config->size && (p->height != config->size || p->width != config->size), FUL_ERR_CONFIG,
                "cannot use data.size=%d with a pack of %dx%d images: a pack has one size", config->size, p->width, p->height);
    FUL_FAIL_IF(config->channels && p->channels != config->channels, FUL_ERR_CONFIG,
                "cannot use data.channels=%d with a pack of %d channels: a pack keeps what it was written with",
                config->channels, p->channels);
    return FUL_OK;
}

/* Borrowed pointers to the names of a pack, in one block that the caller frees. */
static ful_status list_names(const ful__pack *p, const char ***out)
{
    FUL_TRY(ful__calloc(out, (size_t)p->classes, sizeof **out, "class names"));
    const char *name = p->names;
    for (int c = 0; c < p->classes; c++, name += strlen(name) + 1) (*out)[c] = name;
    return FUL_OK;
}

/* The names outlive the pack they come from. */
static ful_status copy_names(ful_dataset *d, const ful__pack *p)
{
    const char **names = NULL;
    FUL_TRY(list_names(p, &names));
    const char *last = names[p->classes - 1];
    const size_t bytes = (size_t)(last - p->names) + strlen(last) + 1;
    ful__free(names);
    FUL_TRY(ful__calloc(&d->name_bytes, bytes, 1, "class names"));
    memcpy(d->name_bytes, p->names, bytes);
    d->classes = p->classes;
    const ful__pack copy = {.classes = p->classes, .names = d->name_bytes};
    return list_names(&copy, &d->names);
}

/* A class has the number that the training split gives its name, also where this split lacks some classes. */
static ful_status number_like_training(ful_dataset *d, const ful_data_config *config, ful_split split)
{
    const char **own = NULL;
    FUL_TRY(list_names(&d->pack, &own));
    ful_status status = ful__calloc(&d->label_of, (size_t)d->pack.classes, sizeof *d->label_of, "class numbers");
    for (int c = 0, next = 0; status == FUL_OK && c < d->pack.classes; c++) {
        int tried = 0;
        while (tried < d->classes && !ful__class_is_same(own[c], d->names[next % d->classes]))
            next++, tried++; /* mostly the same order */
        if (tried == d->classes) {
            status = ful__fail(FUL_ERR_DATA, "cannot use the %s split of '%s': its class '%s' is not in the training split",
                               split_names[split], config->name, own[c]);
            break;
        }
        d->label_of[c] = next % d->classes;
    }
    ful__free(own);
    return status;
}

static ful__encoded_shape shape_of(const ful__pack *head, bool fit)
{
    return (ful__encoded_shape){head->height, head->width, head->channels, fit};
}

/* Mean and std of the training images among `p`, unless they were given; of encoded ones (store) those of some. */
static ful_status take_norm(ful_dataset *d, const ful_data_config *config, const ful__pack *p, const ful__store *store,
                            ful_split split)
{
    if (config->normalize_given) {
        memcpy(d->mean, config->mean, sizeof d->mean);
        memcpy(d->std, config->std, sizeof d->std);
        return FUL_OK;
    }
    uint32_t *order = NULL;
    int64_t count = 0;
    ful__sums sums;
    FUL_TRY(ful__select(p, config, split, &order, &count));
    const ful__encoded_shape shape = shape_of(p, d->fit);
    const ful_status status = store ? ful__encoded_sums(store, &shape, d->skip, order, count, &sums)
                                    : ful__pixel_sums(p, order, count, &sums, NULL);
    ful__free(order);
    FUL_TRY(status);
    ful__sums_norm(&sums, p->channels, d->mean, d->std);
    return FUL_OK;
}

/* A split that is not the training split looks there for class numbers and normalisation. */
static ful_status learn_from_training(ful_dataset *d, const ful_data_config *config, ful_split split)
{
    ful__pack train;
    ful__store *store = NULL;
    bool found = false;
    FUL_TRY(open_stored(config, FUL_SPLIT_TRAIN, &found, &train, &store));
    ful_status status = FUL_OK;
    if (found) {
        FUL_TRY_GOTO(status, done, check_shape(config, &train, FUL_SPLIT_TRAIN));
        FUL_TRY_GOTO(status, done, copy_names(d, &train));
        FUL_TRY_GOTO(status, done, number_like_training(d, config, split));
        FUL_TRY_GOTO(status, done, take_norm(d, config, &train, store, FUL_SPLIT_TRAIN));
    } else {
        FUL_TRY_GOTO(status, done, copy_names(d, &d->pack));
        if (d->pack.has_norm && !config->normalize_given) {
            memcpy(d->mean, d->pack.mean, sizeof d->mean);
            memcpy(d->std, d->pack.std, sizeof d->std);
        } else {
            if (!config->normalize_given) {
                ful__log(FUL_LOG_WARN, "data set '%s' has no training split: normalisation is computed from its %s split",
                         config->name, split_names[split]);
            }
            status = take_norm(d, config, &d->pack, d->store, split);
        }
    }
done:
    ful__pack_close(&train);
    ful__store_close(&store);
    return status;
}

/* Of encoded images their names, not their bytes: a set that does not fit in memory is not read to be opened. */
static void hash_names(const ful_dataset *d, uint64_t *hashes)
{
    char name[FUL__STORE_NAME_MAX];
    for (int64_t i = 0; i < d->count; i++) {
        const char *whole = ful__store_name(d->store, d->order[i], name), *file = strrchr(whole, '/');
        hashes[i] = ful__hash64(file ? file + 1 : whole, strlen(file ? file + 1 : whole), 0);
    }
}

static ful_status fingerprint(ful_dataset *d)
{
    uint64_t *hashes = NULL;
    ful__sums sums;
    FUL_TRY(ful__calloc(&hashes, (size_t)d->count, sizeof *hashes, "image checksums"));
    ful_status status = FUL_OK;
    if (d->store)
        hash_names(d, hashes);
    else
        status = ful__pixel_sums(&d->pack, d->order, d->count, &sums, hashes);
    if (status == FUL_OK) {
        const int32_t shape[4] = {d->pack.height, d->pack.width, d->pack.channels, d->classes};
        uint64_t h = ful__hash64(hashes, (size_t)d->count * sizeof *hashes, ful__hash64(shape, sizeof shape, 0));
        for (int64_t i = 0; i < d->count; i++) hashes[i] = (uint64_t)ful_dataset_label(d, i);
        d->fingerprint = ful__hash64(hashes, (size_t)d->count * sizeof *hashes, h);
    }
    ful__free(hashes);
    return status;
}

/* A validation split cut from the training images says nothing of those that are not there. */
static int64_t left_out(const ful_dataset *d)
{
    return d->split == FUL_SPLIT_VAL && d->pack.split != FUL_SPLIT_VAL ? 0 : d->pack.left_out;
}

/* Found now, or when the cache was made. */
static void warn_of_left_out(const ful_dataset *d, const ful_data_config *config)
{
    const long long n = left_out(d);
    if (n > 0)
        ful__log(FUL_LOG_WARN, "%lld damaged image%s of the %s split of '%s' %s left out (data.on_error=skip), %lld are used",
                 n, n == 1 ? "" : "s", split_names[d->split], config->name, n == 1 ? "is" : "are", (long long)d->pack.count);
}

static ful_status open_split(ful_dataset *d, const ful_data_config *config, ful_split split)
{
    bool found = false;
    const bool from_training = split == FUL_SPLIT_TRAIN || (split == FUL_SPLIT_VAL && config->val_fraction > 0);
    FUL_TRY(open_stored(config, from_training ? FUL_SPLIT_TRAIN : split, &found, &d->pack, &d->store));
    FUL_FAIL_IF(!found && split == FUL_SPLIT_VAL, FUL_ERR_CONFIG,
                "cannot open the validation split of '%s' with data.val_fraction=0: it must be > 0, the set has no val beside "
                "train and test",
                config->name);
    FUL_FAIL_IF(!found, FUL_ERR_DATA, "cannot open the %s split of '%s' at '%s': nothing there is a %s split",
                split_names[split], config->name, config->path, split_names[split]);
    FUL_TRY(check_shape(config, &d->pack, from_training ? FUL_SPLIT_TRAIN : split));
    d->split = split;
    warn_of_left_out(d, config);
    if (from_training) {
        FUL_TRY(copy_names(d, &d->pack));
        FUL_TRY(take_norm(d, config, &d->pack, d->store, FUL_SPLIT_TRAIN));
    } else {
        FUL_TRY(learn_from_training(d, config, split));
    }
    FUL_TRY(ful__select(&d->pack, config, split, &d->order, &d->count));
    FUL_FAIL_IF(d->count == 0, FUL_ERR_DATA, "cannot open the %s split of '%s': no image is left in it", split_names[split],
                config->name);
    return fingerprint(d);
}

ful_status ful_dataset_open(const ful_data_config *config, ful_split split, ful_dataset **out)
{
    FUL_FAIL_IF(!out, FUL_ERR_ARG, "cannot open a data set into a null pointer: out must be given");
    *out = NULL;
    FUL_FAIL_IF(!config || (unsigned)split > FUL_SPLIT_TEST, FUL_ERR_ARG,
                "cannot open a data set with split=%d: config must be given, split must be in 0..2", (int)split);
    FUL_TRY(ful__data_config_check(config));
    ful_dataset *d = NULL;
    FUL_TRY(ful__calloc(&d, 1, sizeof *d, "a data set"));
    d->fit = config->size > 0;
    d->skip = config->on_error == FUL_ON_ERROR_SKIP;
    atomic_init(&d->users, 1);
    const ful_status status = open_split(d, config, split);
    if (status != FUL_OK) ful_dataset_destroy(&d);
    *out = d;
    return status;
}

ful__encoded_shape ful__dataset_shape(const ful_dataset *d)
{
    return shape_of(&d->pack, d->fit);
}

/* Counting users changes nothing that a user of the set could see. */
void ful__dataset_use(const ful_dataset *d)
{
    atomic_fetch_add(&((ful_dataset *)(uintptr_t)d)->users, 1);
}

void ful__dataset_release(const ful_dataset *dataset)
{
    ful_dataset *d = (ful_dataset *)(uintptr_t)dataset;
    if (atomic_fetch_sub(&d->users, 1) > 1) return;
    ful__pack_close(&d->pack);
    ful__store_close(&d->store);
    ful__free(d->order);
    ful__free(d->label_of);
    ful__free(d->name_bytes);
    ful__free(d->names);
    ful__free(d);
}

void ful_dataset_destroy(ful_dataset **dataset)
{
    if (!dataset || !*dataset) return;
    ful__dataset_release(*dataset);
    *dataset = NULL;
}

bool ful_dataset_is_encoded(const ful_dataset *d)
{
    return d->store != NULL;
}

void ful_dataset_info_get(const ful_dataset *d, ful_dataset_info *out)
{
    *out = (ful_dataset_info){.count = d->count,
                              .height = d->pack.height,
                              .width = d->pack.width,
                              .channels = d->pack.channels,
                              .classes = d->classes,
                              .left_out = left_out(d),
                              .fingerprint = d->fingerprint};
    memcpy(out->mean, d->mean, sizeof out->mean);
    memcpy(out->std, d->std, sizeof out->std);
}

const char *ful_dataset_class_name(const ful_dataset *d, int label)
{
    return label >= 0 && label < d->classes ? d->names[label] : "";
}

const uint8_t *ful_dataset_image(const ful_dataset *d, int64_t index)
{
    return !d->store && index >= 0 && index < d->count ? d->pack.pixels + d->order[index] * d->pack.image_bytes : NULL;
}

int ful_dataset_label(const ful_dataset *d, int64_t index)
{
    if (index < 0 || index >= d->count) return -1;
    const int stored = d->pack.labels[d->order[index]];
    return d->label_of ? d->label_of[stored] : stored;
}

int ful_dataset_cluster(const ful_dataset *d, int64_t index)
{
    return d->pack.clusters && index >= 0 && index < d->count ? d->pack.clusters[d->order[index]] : -1;
}

static ful_status write_pack(const ful_dataset *d, ful__pack_writer *w, const char *path, int32_t *labels, int32_t *clusters)
{
    const ful__pack *p = &d->pack;
    FUL_TRY(ful__pack_begin(w, path, p->height, p->width, p->channels, d->split, 0));
    for (int64_t i = 0; i < d->count; i++) {
        labels[i] = ful_dataset_label(d, i);
        clusters[i] = ful_dataset_cluster(d, i);
        FUL_TRY(ful__pack_add(w, ful_dataset_image(d, i), p->image_bytes));
    }
    const ful__pack_index index = {.count = d->count,
                                   .left_out = left_out(d),
                                   .labels = labels,
                                   .clusters = p->clusters ? clusters : NULL,
                                   .classes = d->classes,
                                   .names = d->names,
                                   .mean = d->mean,
                                   .std = d->std};
    return ful__pack_finish(w, &index, NULL);
}

static ful_status make_parent(const char *path)
{
    char *folder = NULL;
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return FUL_OK;
    FUL_TRY(ful__strdup(&folder, path));
    folder[slash - path] = '\0';
    const ful_status status = ful__mkdirs(folder);
    ful__free(folder);
    return status;
}

ful_status ful_dataset_pack(const ful_dataset *d, const char *path)
{
    FUL_FAIL_IF(!d || !path || !*path, FUL_ERR_ARG, "cannot write a pack to '%s': data set and path must be given",
                path ? path : "");
    FUL_FAIL_IF(d->store, FUL_ERR_ARG,
                "cannot write a pack to '%s' of images that stay encoded: open them with data.decode=cache", path);
    int32_t *numbers = NULL;
    FUL_TRY(make_parent(path));
    FUL_TRY(ful__calloc(&numbers, 2 * (size_t)d->count, sizeof *numbers, "labels"));
    ful__pack_writer w = {0};
    const ful_status status = write_pack(d, &w, path, numbers, numbers + d->count);
    ful__pack_abort(&w);
    ful__free(numbers);
    return status;
}
