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
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/thread.h"
#include "core/time.h"
#include "data/config.h"
#include "data/mix.h"
#include "data/transform.h"
#include <fulcrum/data.h>

enum { WORKERS_MAX = 64, VIEWS_MAX = 10 };

typedef struct slot {
    ful__pages x;
    int32_t *label;
    uint32_t *index;
    float *soft;  /* NULL unless images are mixed */
    float *spare; /* one image, likewise */
    int n;
    bool full;
    ful_status status; /* of filling it */
    char message[FUL__MESSAGE_BYTES];
} slot;

typedef struct ful__loader_worker {
    ful_loader *loader;
    ful__transform_work work;
    uint8_t *changed; /* an image; NULL unless config.change */
} ful__loader_worker;

struct ful_loader {
    const ful_dataset *dataset;
    ful_loader_config config;
    ful_dataset_info info;
    int h, w;            /* of what is handed out */
    size_t image_values; /* of one view */
    int64_t batches;
    int repeats;
    bool mixes;
    ful__transform transform;
    ful__stream shuffle, mix;
    uint32_t *order; /* of the epoch; NULL: as they lie */
    slot *slots;
    int n_slots;

    bool started, lock_ready, work_ready, done_ready;
    pthread_mutex_t lock;
    pthread_cond_t work, done;   /* a slot became free, an epoch began, or the end; a slot became full, or a worker idle */
    ful__loader_worker *workers; /* one a thread; without threads, one for the caller */
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
    *config = (ful_loader_config){.batch = 128, .workers = 1, .views = 1, .std = {1, 1, 1}};
    ful_augment_defaults(&config->augment);
}

static int64_t images_of(const ful_loader *l, int64_t batch)
{
    const int64_t left = l->info.count - batch * l->config.batch;
    return left < l->config.batch ? left : l->config.batch;
}

/* Image i of a batch: the copies of repeated augmentation lie apart, so that mixing meets another image. */
static ful__place place_of(const ful_loader *l, int64_t batch, int i)
{
    const int distinct = l->config.batch / l->repeats;
    const int64_t at = batch * distinct + i % distinct;
    return (ful__place){
        .epoch = l->epoch, .index = l->order ? l->order[at] : (uint32_t)at, .repetition = l->repeats > 1 ? i / distinct : 0};
}

/* The image's pixels, changed where the caller wants that. */
static const uint8_t *pixels_of(ful__loader_worker *self, uint32_t index)
{
    const ful_loader *l = self->loader;
    const uint8_t *pixels = ful_dataset_image(l->dataset, index);
    if (!l->config.change) return pixels;
    l->config.change(l->config.change_ctx, (int)(self - l->workers), index, pixels, self->changed);
    return self->changed;
}

static ful_status fill_image(ful__loader_worker *self, ful__place place, float *out)
{
    const ful_loader *l = self->loader;
    const ful_dataset_info *s = &l->info;
    const ful__view image = {pixels_of(self, place.index), (size_t)s->width * (size_t)s->channels, s->height, s->width,
                             s->channels};
    for (; place.view < l->config.views; place.view++, out += l->image_values)
        FUL_TRY(ful__transform_apply(&l->transform, &self->work, &image, &place, out));
    return FUL_OK;
}

static ful_status fill(ful__loader_worker *self, int64_t batch, slot *s)
{
    const ful_loader *l = self->loader;
    float *x = s->x.ptr;
    s->n = (int)images_of(l, batch);
    for (int i = 0; i < s->n; i++, x += l->image_values * (size_t)l->config.views) {
        const ful__place place = place_of(l, batch, i);
        s->index[i] = place.index;
        s->label[i] = ful_dataset_label(l->dataset, place.index);
        FUL_TRY(fill_image(self, place, x));
    }
    if (!l->mixes) return FUL_OK;
    const ful__mix mix = ful__mix_draw(&l->config.augment, l->mix, l->epoch, batch, l->h, l->w);
    ful__mix_images(&mix, s->n, l->h, l->w, l->info.channels, s->x.ptr, s->spare);
    ful__mix_targets(&mix, s->n, s->label, l->info.classes, l->config.label_smoothing, s->soft);
    return FUL_OK;
}

/* A failure is kept with its batch, for whoever takes it: messages belong to a thread. */
static void fill_and_note(ful__loader_worker *self, int64_t batch, slot *s)
{
    s->status = fill(self, batch, s);
    if (s->status != FUL_OK) snprintf(s->message, sizeof s->message, "%s", ful_error_message());
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
    ful__loader_worker *self = arg;
    ful_loader *l = self->loader;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->ending && !can_claim(l)) pthread_cond_wait(&l->work, &l->lock);
        if (l->ending) break;
        const int64_t batch = l->claimed++;
        slot *s = &l->slots[batch % l->n_slots];
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        fill_and_note(self, batch, s);
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
        fill_and_note(&l->workers[0], l->given, s);
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
    if (s->status != FUL_OK) return ful__fail(s->status, "%s", s->message);
    *out = (ful_batch){
        .n = s->n, .views = l->config.views, .x = s->x.ptr, .label = s->label, .soft = s->soft, .index = s->index};
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
    FUL_FAIL_IF(c->crop < 0 || c->crop > info->height || c->crop > info->width, FUL_ERR_ARG,
                "cannot create a loader with crop=%d on images of %dx%d: it must be in 0..%d", c->crop, info->width,
                info->height, info->width < info->height ? info->width : info->height);
    FUL_FAIL_IF(c->views != 1 && (c->views != VIEWS_MAX || c->train), FUL_ERR_ARG,
                "cannot create a loader with views=%d: it must be 1, or 10 when not for training", c->views);
    FUL_FAIL_IF(!(c->label_smoothing >= 0 && c->label_smoothing <= 1), FUL_ERR_ARG,
                "cannot create a loader with label_smoothing=%g: it must be in 0..1", c->label_smoothing);
    FUL_TRY(ful__augment_check(&c->augment));
    FUL_FAIL_IF(c->train && c->batch % c->augment.repeats != 0, FUL_ERR_ARG,
                "cannot create a loader with batch=%d and %d copies of each image: the batch must be a multiple of them",
                c->batch, c->augment.repeats);
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
    const size_t soft = l->mixes ? (size_t)l->info.classes : 0;
    size_t values = 0, bytes = 0, targets = 0;
    FUL_FAIL_IF(!ful__size_mul(batch * (size_t)l->config.views, l->image_values, &values) ||
                    !ful__size_mul(batch, soft, &targets) || !ful__size_mul(values, sizeof(float), &bytes),
                FUL_ERR_MEMORY, "cannot create a loader with batch=%d of %dx%dx%d images: its size overflows", l->config.batch,
                l->h, l->w, l->info.channels);
    FUL_TRY(ful__calloc(&l->slots, (size_t)l->n_slots, sizeof *l->slots, "a ring of batches"));
    for (int i = 0; i < l->n_slots; i++) {
        FUL_TRY(ful__pages_alloc(&l->slots[i].x, bytes, "a batch"));
        FUL_TRY(ful__calloc(&l->slots[i].label, batch, sizeof *l->slots[i].label, "labels of a batch"));
        FUL_TRY(ful__calloc(&l->slots[i].index, batch, sizeof *l->slots[i].index, "positions of a batch"));
        if (!l->mixes) continue;
        FUL_TRY(ful__calloc(&l->slots[i].soft, targets, sizeof *l->slots[i].soft, "targets of a batch"));
        FUL_TRY(ful__calloc(&l->slots[i].spare, l->image_values, sizeof *l->slots[i].spare, "an image to mix"));
    }
    return FUL_OK;
}

static ful_status make_workers(ful_loader *l)
{
    const int n = l->config.workers > 0 ? l->config.workers : 1;
    const size_t bytes = (size_t)l->info.height * (size_t)l->info.width * (size_t)l->info.channels;
    FUL_TRY(ful__calloc(&l->workers, (size_t)n, sizeof *l->workers, "loader threads"));
    for (int i = 0; i < n; i++) {
        l->workers[i].loader = l;
        FUL_TRY(ful__transform_work_init(&l->workers[i].work, &l->transform));
        if (l->config.change) FUL_TRY(ful__calloc(&l->workers[i].changed, bytes, 1, "a changed image"));
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
        FUL_TRY(ful__thread_start(&l->threads[l->n_threads], worker, &l->workers[l->n_threads], "loading data"));
        l->n_threads++;
    }
    return FUL_OK;
}

static ful_status build(ful_loader *l)
{
    const int64_t count = l->info.count, batch = l->config.batch;
    l->batches = l->config.train ? count / batch : (count + batch - 1) / batch;
    const ful_augment *augment = l->config.train ? &l->config.augment : NULL;
    l->h = l->config.crop ? l->config.crop : l->info.height;
    l->w = l->config.crop ? l->config.crop : l->info.width;
    l->image_values = (size_t)l->h * (size_t)l->w * (size_t)l->info.channels;
    l->repeats = augment ? augment->repeats : 1;
    l->mixes = augment && (augment->mixup > 0 || augment->cutmix > 0);
    l->n_slots = l->config.workers > 0 ? l->config.workers + 2 : 1; /* one with the caller, one ready */
    l->shuffle = ful__stream_make(l->config.seed, "shuffle", "loader");
    l->mix = ful__stream_make(l->config.seed, "augment", "mix");
    ful__transform_init(&l->transform, l->config.seed, augment, l->h, l->w, l->info.channels, l->config.mean, l->config.std);
    if (l->config.train) FUL_TRY(ful__calloc(&l->order, (size_t)count, sizeof *l->order, "an order of images"));
    FUL_TRY(make_slots(l));
    FUL_TRY(make_workers(l));
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
        ful__free(l->slots[i].soft);
        ful__free(l->slots[i].spare);
    }
    const int n_workers = l->config.workers > 0 ? l->config.workers : 1;
    for (int i = 0; l->workers && i < n_workers; i++) {
        ful__transform_work_deinit(&l->workers[i].work);
        ful__free(l->workers[i].changed);
    }
    ful__free(l->workers);
    ful__free(l->slots);
    ful__free(l->threads);
    ful__free(l->order);
    ful__free(l);
    *loader = NULL;
}
