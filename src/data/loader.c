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
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/thread.h"
#include "core/time.h"
#include "data/config.h"
#include "data/dataset.h"
#include "data/mix.h"
#include "data/transform.h"
#include <fulcrum/data.h>

enum {
    WORKERS_MAX = 64,
    VIEWS_MAX = 10,
    OTHERS_MAX = 16,  /* images that are tried in place of a damaged one */
    WARNINGS_MAX = 10 /* skipped images named an epoch */
};

typedef struct slot {
    ful__pages x;
    int32_t *label;
    uint32_t *index;
    float *soft;  /* NULL unless images are mixed */
    float *spare; /* one image, likewise */
    int n, skipped;
    bool full;
    ful_status status;                /* of filling it */
    char message[FUL__MESSAGE_BYTES]; /* of the failure; else of the first image that was skipped */
} slot;

typedef struct ful__loader_worker {
    ful_loader *loader;
    ful__transform_work work;
    uint8_t *changed;         /* an image; NULL unless config.change */
    ful__reader reader;       /* of an encoded set */
    atomic_int_fast64_t busy; /* the image in hand, -1: none; for the message when it hangs */
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
    ful__stream shuffle, mix, other;
    ful__encoded_shape shape; /* of an encoded set */
    uint32_t *order;          /* of the epoch; NULL: as they lie */
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
    int64_t skipped, warned; /* since start */
};

void ful_loader_config_defaults(ful_loader_config *config)
{
    *config = (ful_loader_config){.batch = 128, .workers = 1, .views = 1, .timeout = 600, .std = {1, 1, 1}};
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

/* A random resized crop of an encoded image: its part alone is decoded. */
static ful_status fill_part(const ful_loader *l, ful__loader_worker *self, ful__place place, float *out)
{
    const ful__store *store = l->dataset->store;
    const int64_t i = l->dataset->order[place.index];
    ful__reader *r = &self->reader;
    ful__view view;
    char name[FUL__STORE_NAME_MAX];
    const uint8_t *bytes = NULL;
    size_t n = 0;
    int h = 0, w = 0;
    bool mirror = false;
    FUL_TRY(ful__store_read(store, i, &r->buffer, &bytes, &n));
    FUL_TRY(ful__image_probe(&r->decoder, ful__store_name(store, i, name), bytes, n, &h, &w));
    const ful__box crop = ful__rrc_box(&l->transform, &place, h, w, &mirror);
    ful__box box;
    FUL_TRY(ful__image_read_part(&r->decoder, name, bytes, n, &crop, l->h, l->w, l->info.channels, &view, &box));
    return ful__transform_crop(&l->transform, &self->work, &view, &box, mirror, &place, out);
}

static ful_status fill_image(const ful_loader *l, ful__loader_worker *self, ful__place place, float *out)
{
    const ful_dataset_info *s = &l->info;
    const bool encoded = l->dataset->store != NULL;
    if (encoded && l->transform.augment.rrc) return fill_part(l, self, place, out);
    ful__view image = {ful_dataset_image(l->dataset, place.index), (size_t)s->width * (size_t)s->channels, s->height, s->width,
                       s->channels};
    if (encoded)
        FUL_TRY(ful__encoded_image(l->dataset->store, l->dataset->order[place.index], &self->reader, &l->shape, &image.data));
    if (l->config.change) {
        l->config.change(l->config.change_ctx, (int)(self - l->workers), place.index, image.data, self->changed);
        image.data = self->changed;
    }
    for (; place.view < l->config.views; place.view++, out += l->image_values)
        FUL_TRY(ful__transform_apply(&l->transform, &self->work, &image, &place, out));
    return FUL_OK;
}

/* Counts a damaged image; the first of a batch is named. */
static void note_skipped(slot *s)
{
    if (s->skipped++ == 0) snprintf(s->message, sizeof s->message, "%s", ful_error_message());
}

/*
 * The image of a place; one that is damaged is passed over where that is allowed: in training another image of the set, drawn
 * by epoch and place, takes its place; in evaluation none does, and *place_out stays as it is with *kept = false.
 */
static ful_status fill_place(const ful_loader *l, ful__loader_worker *self, slot *s, ful__place *place, float *out, bool *kept)
{
    const ful__place first = *place;
    ful_status status = FUL_OK;
    *kept = true;
    for (int other = 0; other <= OTHERS_MAX; other++) {
        atomic_store_explicit(&self->busy, place->index, memory_order_relaxed);
        status = fill_image(l, self, *place, out);
        if (l->config.on_error != FUL_ON_ERROR_SKIP || !ful__is_damage(status)) return status;
        note_skipped(s);
        *kept = false;
        if (!l->config.train) return FUL_OK;
        ful__draw d = ful__draw_at(l->other, first.epoch, first.index, first.repetition);
        for (int k = 0; k <= other; k++) place->index = (uint32_t)ful__draw_below(&d, (int)l->info.count);
        *kept = true;
    }
    return ful__fail_context(status, "cannot find another image after %d damaged ones", OTHERS_MAX + 1);
}

static ful_status fill(const ful_loader *l, ful__loader_worker *self, int64_t batch, slot *s)
{
    const int n = (int)images_of(l, batch);
    const size_t step = l->image_values * (size_t)l->config.views;
    s->n = s->skipped = 0;
    for (int i = 0; i < n; i++) {
        ful__place place = place_of(l, batch, i);
        bool kept = false;
        FUL_TRY(fill_place(l, self, s, &place, (float *)s->x.ptr + (size_t)s->n * step, &kept));
        if (!kept) continue;
        s->index[s->n] = place.index;
        s->label[s->n++] = ful_dataset_label(l->dataset, place.index);
    }
    if (!l->mixes) return FUL_OK;
    const ful__mix mix = ful__mix_draw(&l->config.augment, l->mix, l->epoch, batch, l->h, l->w);
    ful__mix_images(&mix, s->n, l->h, l->w, l->info.channels, s->x.ptr, s->spare);
    ful__mix_targets(&mix, s->n, s->label, l->info.classes, l->config.label_smoothing, s->soft);
    return FUL_OK;
}

/* A failure is kept with its batch, for whoever takes it: messages belong to a thread. */
static void fill_and_note(const ful_loader *l, ful__loader_worker *self, int64_t batch, slot *s)
{
    s->status = fill(l, self, batch, s);
    atomic_store_explicit(&self->busy, -1, memory_order_relaxed);
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
        fill_and_note(l, self, batch, s);
        pthread_mutex_lock(&l->lock);
        s->full = true;
        l->busy--;
        pthread_cond_broadcast(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static struct timespec deadline_after(int seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += seconds;
    return t;
}

/* Under the lock: waits for a worker's news, until the deadline where there is one (seconds > 0). */
static bool wait_done(ful_loader *l, int seconds, const struct timespec *deadline)
{
    if (seconds == 0) return pthread_cond_wait(&l->done, &l->lock) == 0;
    return pthread_cond_timedwait(&l->done, &l->lock, deadline) == 0;
}

/* Under the lock: nothing more is claimed, and everything claimed is finished. False: somebody hangs. */
static bool quiesce(ful_loader *l, int seconds)
{
    const struct timespec deadline = deadline_after(seconds);
    l->claimed = l->batches;
    while (l->busy > 0)
        if (!wait_done(l, seconds, &deadline)) return l->busy == 0;
    return true;
}

/* Which image keeps a worker. */
static ful_status hangs(const ful_loader *l, int64_t batch)
{
    char name[FUL__STORE_NAME_MAX] = "";
    for (int i = 0; i < l->n_threads && l->dataset->store; i++) {
        const int64_t index = atomic_load_explicit(&l->workers[i].busy, memory_order_relaxed);
        if (index < 0) continue;
        ful__store_name(l->dataset->store, l->dataset->order[index], name);
        break;
    }
    return ful__fail(FUL_ERR_IO, "cannot go on without batch %lld after %d s (data.timeout): a loader thread hangs%s%.600s%s",
                     (long long)batch, l->config.timeout, *name ? " in '" : "", name, *name ? "'" : "");
}

ful_status ful_loader_start(ful_loader *l, int64_t epoch, int64_t first)
{
    FUL_FAIL_IF(!l || epoch < 0 || first < 0 || first > l->batches, FUL_ERR_ARG,
                "cannot start epoch %lld at batch %lld: epoch must be >= 0, batch in 0..%lld", (long long)epoch,
                (long long)first, l ? (long long)l->batches : 0);
    pthread_mutex_lock(&l->lock);
    if (!quiesce(l, l->config.timeout)) {
        pthread_mutex_unlock(&l->lock);
        return hangs(l, first);
    }
    for (int i = 0; i < l->n_slots; i++) l->slots[i].full = false;
    if (l->order) ful__rng_permutation(l->shuffle, (uint64_t)epoch, l->order, (uint32_t)l->info.count);
    l->epoch = epoch;
    l->given = l->claimed = first;
    l->waited = 0;
    l->skipped = l->warned = 0;
    l->started = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return FUL_OK;
}

/* The next batch's slot, full; the caller's last one goes back to the workers. */
static ful_status take_slot(ful_loader *l, slot **out)
{
    slot *s = &l->slots[l->given % l->n_slots];
    *out = s;
    if (l->n_threads == 0) {
        fill_and_note(l, &l->workers[0], l->given, s);
        l->given++;
        return FUL_OK;
    }
    const struct timespec deadline = deadline_after(l->config.timeout);
    pthread_mutex_lock(&l->lock);
    while (!s->full && wait_done(l, l->config.timeout, &deadline)) continue;
    if (!s->full) {
        pthread_mutex_unlock(&l->lock);
        return hangs(l, l->given);
    }
    if (l->given > 0) l->slots[(l->given - 1) % l->n_slots].full = false;
    l->given++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return FUL_OK;
}

static void warn_of_skipped(ful_loader *l, const slot *s)
{
    l->skipped += s->skipped;
    if (s->skipped == 0 || l->warned++ >= WARNINGS_MAX) return;
    ful__log(FUL_LOG_WARN, "%d damaged image%s skipped: %s%s", s->skipped, s->skipped > 1 ? "s" : "", s->message,
             l->warned == WARNINGS_MAX ? " (and no more of this kind will be named in this epoch)" : "");
}

ful_status ful_loader_next(ful_loader *l, ful_batch *out)
{
    FUL_FAIL_IF(!l || !out, FUL_ERR_ARG, "cannot take a batch with a null loader or output: both must be given");
    *out = (ful_batch){0};
    FUL_FAIL_IF(!l->started, FUL_ERR_ARG, "cannot take a batch before the first epoch: ful_loader_start comes first");
    slot *s = NULL;
    const double began = ful__seconds();
    do {
        if (l->given >= l->batches) return FUL_OK;
        FUL_TRY(take_slot(l, &s));
        if (s->status != FUL_OK) return ful__fail(s->status, "%s", s->message);
        warn_of_skipped(l, s);
    } while (s->n == 0); /* of evaluation: all of it was damaged */
    l->waited += ful__seconds() - began;
    *out = (ful_batch){.n = s->n,
                       .views = l->config.views,
                       .x = s->x.ptr,
                       .label = s->label,
                       .soft = s->soft,
                       .index = s->index,
                       .skipped = s->skipped};
    return FUL_OK;
}

int64_t ful_loader_skipped(const ful_loader *loader)
{
    return loader->skipped;
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
    FUL_FAIL_IF(c->timeout < 0, FUL_ERR_ARG, "cannot create a loader with timeout=%d: it must be >= 0", c->timeout);
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
        atomic_init(&l->workers[i].busy, -1);
        FUL_TRY(ful__transform_work_init(&l->workers[i].work, &l->transform));
        if (l->config.change) FUL_TRY(ful__calloc(&l->workers[i].changed, bytes, 1, "a changed image"));
    }
    return FUL_OK;
}

/* A condition whose deadlines do not follow the wall clock. */
static bool init_monotonic(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) return false;
    const bool good = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(c, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return good;
}

static ful_status start_threads(ful_loader *l)
{
    l->claimed = l->batches; /* nothing to do before the first start */
    l->lock_ready = pthread_mutex_init(&l->lock, NULL) == 0;
    l->work_ready = pthread_cond_init(&l->work, NULL) == 0;
    l->done_ready = init_monotonic(&l->done);
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
    l->other = ful__stream_make(l->config.seed, "augment", "instead");
    if (l->dataset->store) l->shape = ful__dataset_shape(l->dataset);
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
    ful__dataset_use(dataset);
    l->config = *config;
    l->info = info;
    const ful_status status = build(l);
    if (status != FUL_OK) ful_loader_destroy(&l);
    *out = l;
    return status;
}

/* False: a thread hangs and was left to itself; what it may still touch must stay. */
static bool stop_threads(ful_loader *l)
{
    enum { PATIENCE = 2 };
    if (l->n_threads == 0) return true;
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_broadcast(&l->work);
    const bool idle = quiesce(l, l->config.timeout > 0 ? PATIENCE : 0);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) {
        if (idle)
            pthread_join(l->threads[i], NULL);
        else
            pthread_detach(l->threads[i]);
    }
    return idle;
}

void ful_loader_destroy(ful_loader **loader)
{
    if (!loader || !*loader) return;
    ful_loader *l = *loader;
    *loader = NULL;
    if (!stop_threads(l)) {
        ful__log(FUL_LOG_WARN, "a loader thread that hangs is left behind, with its memory");
        return;
    }
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
        ful__reader_deinit(&l->workers[i].reader);
    }
    ful__free(l->workers);
    ful__free(l->slots);
    ful__free(l->threads);
    ful__free(l->order);
    ful__dataset_release(l->dataset);
    ful__free(l);
}
