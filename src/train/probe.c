/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a run would go: a few of its real steps on its real data, in memory only, nothing written. */
#include <fulcrum/core.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/time.h"
#include "train/run.h"

enum { WARM_STEPS = 2, LEAST_STEPS = 3 };

/* A step of the run; an epoch that ends begins the next. */
static ful_status step(ful__run *run)
{
    if (run->h.batch == run->batches) {
        run->h.batch = 0;
        FUL_TRY(ful_loader_start(run->loader[FUL_SPLIT_TRAIN], ++run->h.epoch, 0));
    }
    return ful__run_step(run);
}

static ful_status measure(ful__run *run, double seconds, ful_probe *out)
{
    FUL_TRY(ful__run_open_data(run));
    FUL_TRY(ful__run_build(run));
    FUL_TRY(ful_loader_start(run->loader[FUL_SPLIT_TRAIN], 0, 0));
    for (int i = 0; i < WARM_STEPS; i++) FUL_TRY(step(run));
    const double begin = ful__seconds();
    double now = begin;
    int64_t steps = 0;
    for (; steps < LEAST_STEPS || now - begin < seconds; steps++) {
        FUL_FAIL_IF(run->options.stop && *run->options.stop, FUL_ERR_INTERRUPTED, "cannot measure steps: asked to stop");
        FUL_TRY(step(run));
        now = ful__seconds();
    }
    *out = (ful_probe){.threads = ful_threads_get(),
                       .batch = run->config.train.batch,
                       .steps = run->batches * run->config.train.epochs,
                       .setup_seconds = begin - run->started,
                       .step_seconds = (now - begin) / (double)steps};
    return FUL_OK;
}

ful_status ful_train_probe(const ful_config *config, double seconds, const volatile int *stop, ful_probe *out)
{
    ful__run *run = NULL;
    FUL_FAIL_IF(!config || !out, FUL_ERR_ARG, "cannot measure steps with config or out NULL: both are needed");
    FUL_FAIL_IF(!(seconds >= 0 && seconds <= 3600), FUL_ERR_ARG,
                "cannot measure steps for %g seconds: the time must be in 0..3600", seconds);
    FUL_TRY(ful__calloc(&run, 1, sizeof *run, "a run"));
    run->config = *config;
    run->lock = -1;
    run->started = ful__seconds();
    run->options.stop = stop;
    const int threads = ful_threads_get();
    ful_status status = config->train.threads > 0 ? ful_threads_set(config->train.threads) : FUL_OK;
    if (status == FUL_OK) status = measure(run, seconds, out);
    ful__run_deinit(run);
    if (config->train.threads > 0) (void)!ful_threads_set(threads);
    ful__free(run);
    return status;
}
