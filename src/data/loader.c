/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loader: batches of floats, made ahead of the training step.
 *
 * A ring of slots, all allocated at create. Batch b of an epoch lives in slot b mod n_slots. Workers take the next batch number
 * whose slot is free, fill the slot without the lock, and mark it full; next() hands the batches out in order:
 *
 *      taken by the caller   full or being filled      free
 *   …  [ given - 1 ]         [ given … claimed - 1 ]   …  up to given - 1 + n_slots
 *
 * What a batch holds depends on (seed, epoch, position) alone, so neither the number of workers nor where an epoch was
 * resumed can change it.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/thread.h"
#include "core/time.h"
#include "data/augment.h"
#include <fulcrum/data.h>

enum { WORKERS_MAX = 64, CROP_PAD_MAX = 256 };

typedef struct slot {
    ful__pages x;
    int32_t *label;
    uint32_t *index;
    int n;
    bool full;
} slot;

struct ful_loader {
    const ful_dataset *dataset;
    ful_loader_config config;
    ful_dataset_info info;
    size_t image_values;
    int64_t batches;
    ful__norm_table table;
    ful__stream shuffle, augment;
    uint32_t *order; /* of the epoch; NULL: as they lie */
    slot *slots;
    int n_slots;

    bool started, lock_ready, work_ready, done_ready;
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* a slot became free, an epoch began, or the end; a slot became full, or a worker idle */
    pthread_t *threads;
    int n_threads;
    /* under the lock */
    bool ending;
    int64_t epoch, given, claimed; /* given: batches handed to the caller; claimed: taken by a worker */
    int busy;                      /* workers filling a slot */
    double waited;
};

void ful_loader_config_defaults(ful_loader_config *config)
{
    *config = (ful_loader_config){.batch = 128, .workers = 1, .std = {1, 1, 1}};
}

static int64_t images_of(const ful_loader *l, int64_t batch)
{
    const int64_t left = l->info.count - batch * l->config.batch;
    return left < l->config.batch ? left : l->config.batch;
}

static void fill_image(const ful_loader *l, uint32_t index, float *out)
{
    const ful_dataset_info *s = &l->info;
    const int pad = l->config.train ? l->config.crop_pad : 0;
    int dy = 0, dx = 0;
    bool mirror = false;
    if (pad > 0 || (l->config.train && l->config.flip)) {
        uint32_t w[4];
        ful__rng_words(l->augment, (uint64_t)l->epoch, index, w);
        dy = (int)((uint64_t)w[0] * (uint64_t)(2 * pad + 1) >> 32) - pad;
        dx = (int)((uint64_t)w[1] * (uint64_t)(2 * pad + 1) >> 32) - pad;
        mirror = l->config.flip && w[2] >> 31;
    }
    ful__augment(ful_dataset_image(l->dataset, index), s->height, s->width, s->channels, dy, dx, mirror, &l->table, out);
}

static void fill(const ful_loader *l, int64_t batch, slot *s)
{
    s->n = (int)images_of(l, batch);
    for (int i = 0; i < s->n; i++) {
        const int64_t place = batch * l->config.batch + i;
        const uint32_t index = l->order ? l->order[place] : (uint32_t)place;
        s->index[i] = index;
        s->label[i] = ful_dataset_label(l->dataset, index);
        fill_image(l, index, (float *)s->x.ptr + (size_t)i * l->image_values);
    }
}

/* ---- threads ---- */

/* The caller keeps batch given - 1 until its next call, so its slot is not free. */
static bool can_claim(const ful_loader *l)
{
    const int64_t held = l->given > 0 ? l->given - 1 : 0;
    return l->claimed < l->batches && l->claimed < held + l->n_slots;
}

static void *worker(void *arg)
{
    ful_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->ending && !can_claim(l)) pthread_cond_wait(&l->work, &l->lock);
        if (l->ending) break;
        const int64_t batch = l->claimed++;
        slot *s = &l->slots[batch % l->n_slots];
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        fill(l, batch, s);
        pthread_mutex_lock(&l->lock);
        s->full = true;
        l->busy--;
        pthread_cond_broadcast(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Under the lock: nothing more is claimed, and everything claimed is finished. */
static void quiesce(ful_loader *l)
{
    l->claimed = l->batches;
    while (l->busy > 0) pthread_cond_wait(&l->done, &l->lock);
}

ful_status ful_loader_start(ful_loader *l, int64_t epoch, int64_t first)
{
    FUL_FAIL_IF(!l || epoch < 0 || first < 0 || first > l->batches, FUL_ERR_ARG,
                "cannot start epoch %lld at batch %lld: epoch must be >= 0, batch in 0..%lld", (long long)epoch,
                (long long)first, l ? (long long)l->batches : 0);
    pthread_mutex_lock(&l->lock);
    quiesce(l);
    for (int i = 0; i < l->n_slots; i++) l->slots[i].full = false;
    if (l->order) ful__rng_permutation(l->shuffle, (uint64_t)epoch, l->order, (uint32_t)l->info.count);
    l->epoch = epoch;
    l->given = l->claimed = first;
    l->waited = 0;
    l->started = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return FUL_OK;
}

ful_status ful_loader_next(ful_loader *l, ful_batch *out)
{
    FUL_FAIL_IF(!l || !out, FUL_ERR_ARG, "cannot take a batch with a null loader or output: both must be given");
    *out = (ful_batch){0};
    FUL_FAIL_IF(!l->started, FUL_ERR_ARG, "cannot take a batch before the first epoch: ful_loader_start comes first");
    if (l->given >= l->batches) return FUL_OK;
    slot *s = &l->slots[l->given % l->n_slots];
    const double began = ful__seconds();
    if (l->n_threads == 0) {
        fill(l, l->given, s);
        l->given++;
    } else {
        pthread_mutex_lock(&l->lock);
        while (!s->full) pthread_cond_wait(&l->done, &l->lock);
        if (l->given > 0) l->slots[(l->given - 1) % l->n_slots].full = false;
        l->given++;
        pthread_cond_broadcast(&l->work);
        pthread_mutex_unlock(&l->lock);
    }
    l->waited += ful__seconds() - began;
    *out = (ful_batch){.n = s->n, .x = s->x.ptr, .label = s->label, .index = s->index};
    return FUL_OK;
}

int64_t ful_loader_batches(const ful_loader *loader)
{
    return loader->batches;
}
double ful_loader_wait_seconds(const ful_loader *loader)
{
    return loader->waited;
}

/* ---- life ---- */

static ful_status check_config(const ful_dataset *d, const ful_loader_config *c, ful_dataset_info *info)
{
    FUL_FAIL_IF(!d || !c, FUL_ERR_ARG, "cannot create a loader with a null data set or configuration: both must be given");
    ful_dataset_info_get(d, info);
    FUL_FAIL_IF(c->batch < 1, FUL_ERR_ARG, "cannot create a loader with batch=%d: batch must be >= 1", c->batch);
    FUL_FAIL_IF(c->train && c->batch > info->count, FUL_ERR_ARG,
                "cannot create a training loader with batch=%d on %lld images: a batch must be full, so at most that many",
                c->batch, (long long)info->count);
    FUL_FAIL_IF(c->workers < 0 || c->workers > WORKERS_MAX, FUL_ERR_ARG,
                "cannot create a loader with workers=%d: workers must be in 0..%d", c->workers, WORKERS_MAX);
    FUL_FAIL_IF(c->crop_pad < 0 || c->crop_pad > CROP_PAD_MAX, FUL_ERR_ARG,
                "cannot create a loader with crop_pad=%d: it must be in 0..%d", c->crop_pad, CROP_PAD_MAX);
    for (int i = 0; i < info->channels; i++) {
        FUL_FAIL_IF(!isfinite(c->mean[i]) || !isfinite(c->std[i]) || c->std[i] <= 0, FUL_ERR_ARG,
                    "cannot create a loader with mean=%g, std=%g: both must be finite, std > 0", (double)c->mean[i],
                    (double)c->std[i]);
    }
    return FUL_OK;
}

static ful_status make_slots(ful_loader *l)
{
    const size_t batch = (size_t)l->config.batch;
    size_t values = 0, bytes = 0;
    FUL_FAIL_IF(!ful__size_mul(batch, l->image_values, &values) || !ful__size_mul(values, sizeof(float), &bytes),
                FUL_ERR_MEMORY, "cannot create a loader with batch=%d of %dx%dx%d images: its size overflows", l->config.batch,
                l->info.height, l->info.width, l->info.channels);
    FUL_TRY(ful__calloc(&l->slots, (size_t)l->n_slots, sizeof *l->slots, "a ring of batches"));
    for (int i = 0; i < l->n_slots; i++) {
        FUL_TRY(ful__pages_alloc(&l->slots[i].x, bytes, "a batch"));
        FUL_TRY(ful__calloc(&l->slots[i].label, batch, sizeof *l->slots[i].label, "labels of a batch"));
        FUL_TRY(ful__calloc(&l->slots[i].index, batch, sizeof *l->slots[i].index, "positions of a batch"));
    }
    return FUL_OK;
}

static ful_status start_threads(ful_loader *l)
{
    l->claimed = l->batches; /* nothing to do before the first start */
    l->lock_ready = pthread_mutex_init(&l->lock, NULL) == 0;
    l->work_ready = pthread_cond_init(&l->work, NULL) == 0;
    l->done_ready = pthread_cond_init(&l->done, NULL) == 0;
    FUL_FAIL_IF(!l->lock_ready || !l->work_ready || !l->done_ready, FUL_ERR_MEMORY, "cannot create a loader: out of locks");
    FUL_TRY(ful__calloc(&l->threads, (size_t)l->config.workers + 1, sizeof *l->threads, "loader threads"));
    while (l->n_threads < l->config.workers) {
        FUL_TRY(ful__thread_start(&l->threads[l->n_threads], worker, l, "loading data"));
        l->n_threads++;
    }
    return FUL_OK;
}

static ful_status build(ful_loader *l)
{
    const int64_t count = l->info.count, batch = l->config.batch;
    l->batches = l->config.train ? count / batch : (count + batch - 1) / batch;
    l->image_values = (size_t)l->info.height * (size_t)l->info.width * (size_t)l->info.channels;
    l->n_slots = l->config.workers > 0 ? l->config.workers + 2 : 1; /* one with the caller, one ready */
    l->shuffle = ful__stream_make(l->config.seed, "shuffle", "loader");
    l->augment = ful__stream_make(l->config.seed, "augment", "loader");
    ful__norm_table_init(&l->table, l->config.mean, l->config.std);
    if (l->config.train) FUL_TRY(ful__calloc(&l->order, (size_t)count, sizeof *l->order, "an order of images"));
    FUL_TRY(make_slots(l));
    return start_threads(l);
}

ful_status ful_loader_create(const ful_dataset *dataset, const ful_loader_config *config, ful_loader **out)
{
    FUL_FAIL_IF(!out, FUL_ERR_ARG, "cannot create a loader into a null pointer: out must be given");
    *out = NULL;
    ful_dataset_info info;
    FUL_TRY(check_config(dataset, config, &info));
    ful_loader *l = NULL;
    FUL_TRY(ful__calloc(&l, 1, sizeof *l, "a loader"));
    l->dataset = dataset;
    l->config = *config;
    l->info = info;
    const ful_status status = build(l);
    if (status != FUL_OK) ful_loader_destroy(&l);
    *out = l;
    return status;
}

static void stop_threads(ful_loader *l)
{
    if (l->n_threads == 0) return;
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) pthread_join(l->threads[i], NULL);
}

void ful_loader_destroy(ful_loader **loader)
{
    if (!loader || !*loader) return;
    ful_loader *l = *loader;
    stop_threads(l);
    if (l->lock_ready) pthread_mutex_destroy(&l->lock);
    if (l->work_ready) pthread_cond_destroy(&l->work);
    if (l->done_ready) pthread_cond_destroy(&l->done);
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        ful__pages_free(&l->slots[i].x);
        ful__free(l->slots[i].label);
        ful__free(l->slots[i].index);
    }
    ful__free(l->slots);
    ful__free(l->threads);
    ful__free(l->order);
    ful__free(l);
    *loader = NULL;
}
