/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training: epochs, steps, evaluations.
 *
 *   epoch   steps -> evaluation (val; test at the training capacity; test) -> rows -> checkpoint -> progress
 *
 * The checkpoint comes last, so that a run killed anywhere before it does the epoch again and finds its rows taken back
 * (folder.c). A run asked to stop saves its place in the epoch. The last thing an epoch's evaluation does that cannot be done
 * twice (counting signs of collapse, replacing the probe) it does after the last point where it can be stopped.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/time.h"
#include "train/checkpoint.h"
#include "train/run.h"
#include "train/schedule.h"

static const double show_every = 0.2; /* seconds */

/* Progress -------------------------------------------------------------------------------------------------------------- */

/* The worst layer: the largest share of dropped pairs, the least even load. */
static void worst_layer(const ful__run *run, ful_progress *p)
{
    p->drop_rate = p->balance = NAN;
    for (int i = 0; i < run->n_layers; i++) {
        const ful_moe_stats *stats = ful_net_moe_stats(run->net, i, 0);
        ful_moe_health health;
        ful_moe_health_compute(stats, &health);
        p->drop_rate = fmax(p->drop_rate, health.drop_rate); /* fmax prefers a number to NaN */
        p->balance = fmin(p->balance, health.effective_experts / stats->experts);
    }
}

static double seconds_left(const ful__run *run)
{
    const ful__history *h = &run->h;
    const ful_train_config *c = &run->config.train;
    if (run->session_steps == 0) return NAN;
    const double steps = (double)(run->batches * c->epochs - h->step);
    const double evaluations = (double)(c->epochs - h->epoch) / c->eval_every;
    const double each = h->epoch > 0 ? h->seconds_eval / ceil((double)h->epoch / c->eval_every) : 0;
    return run->session_seconds / (double)run->session_steps * steps + each * evaluations;
}

static void show(ful__run *run, bool epoch_end, const ful__figures *val, const ful__figures *test)
{
    const ful__history *h = &run->h;
    const ful__sums *s = &h->sums;
    const double now = ful__seconds();
    if (!run->options.progress || (!epoch_end && now - run->shown < show_every)) return;
    run->shown = now;
    ful_progress p = {.epoch = epoch_end ? h->epoch : h->epoch + 1,
                      .epochs = run->config.train.epochs,
                      .step = epoch_end ? run->batches : h->batch,
                      .steps = run->batches,
                      .loss = s->loss / (double)s->seen,
                      .aux_loss = s->aux_loss / (double)s->steps,
                      .accuracy = (double)s->correct / (double)s->seen,
                      .lr = ful__schedule_lr(&run->config.train, h->step > 0 ? h->step - 1 : 0, run->batches),
                      .images_per_second = s->seconds > 0 ? (double)s->seen / s->seconds : NAN,
                      .seconds_left = seconds_left(run),
                      .epoch_end = epoch_end,
                      .val_accuracy = val ? val->acc : NAN,
                      .test_accuracy = test ? test->acc : NAN,
                      .alarm = epoch_end && *run->alarm ? run->alarm : NULL};
    worst_layer(run, &p);
    run->options.progress(run->options.cookie, &p);
}

/* Steps ----------------------------------------------------------------------------------------------------------------- */

static bool stop_asked(const ful__run *run)
{
    return run->options.stop && *run->options.stop;
}

/* Saves the place and says so. */
static ful_status interrupted(ful__run *run)
{
    FUL_TRY(ful__checkpoint_save(run, "last.safetensors"));
    return ful__fail(FUL_ERR_INTERRUPTED,
                     "cannot finish the run in '%s': it was asked to stop in epoch %d of %d; resume goes on", run->folder,
                     run->h.epoch + 1, run->config.train.epochs);
}

ful_status ful__run_step(ful__run *run)
{
    const ful_train_config *c = &run->config.train;
    ful__history *h = &run->h;
    ful__sums *s = &h->sums;
    ful_batch batch;
    double norm = 0;
    FUL_TRY(ful_loader_next(run->loader[FUL_SPLIT_TRAIN], &batch));
    FUL_FAIL_IF(batch.n == 0, FUL_ERR_INTERNAL, "cannot go on after batch %lld of %lld: the loader has no more",
                (long long)h->batch, (long long)run->batches);
    ful_step step = {.n = batch.n,
                     .x = batch.x,
                     .label = batch.label,
                     .soft = batch.soft, /* smoothed already */
                     .label_smoothing = (float)c->label_smoothing,
                     .step = (uint64_t)h->step,
                     .progress = (double)h->step / (double)(run->batches * c->epochs)};
    FUL_TRY(ful_net_train_step(run->net, &step));
    FUL_TRY(ful__optim_step(run->optim, ful__schedule_lr(c, h->step, run->batches), h->step, &norm));
    ful_net_after_step(run->net, &step);
    s->seen += batch.n;
    s->correct += step.correct;
    s->skipped += batch.skipped;
    s->steps++;
    s->loss += step.loss * batch.n;
    s->aux_loss += step.aux_loss;
    s->grad_norm += norm;
    h->batch++;
    h->step++;
    return FUL_OK;
}

static ful_status train_batches(ful__run *run)
{
    ful__sums *s = &run->h.sums;
    double mark = ful__seconds();
    while (run->h.batch < run->batches) {
        FUL_FAIL_IF(stop_asked(run), FUL_ERR_INTERRUPTED, "cannot finish the epoch: the run was asked to stop");
        FUL_TRY(ful__run_step(run));
        const double now = ful__seconds();
        s->seconds += now - mark;
        run->h.seconds_train += now - mark;
        run->session_seconds += now - mark;
        run->session_steps++;
        mark = now;
        show(run, false, NULL, NULL);
    }
    return FUL_OK;
}

/* Moves what the kernels counted in training to the epoch's sums. */
static void collect_counters(ful__run *run)
{
    int64_t macs = 0, routed = 0, router = 0;
    ful_net_counted_macs(run->net, 0, &macs, &routed, &router);
    ful_net_counted_reset(run->net);
    run->h.sums.macs += macs;
    run->h.sums.macs_routed += routed;
}

static ful_status train_epoch(ful__run *run)
{
    ful_loader *loader = run->loader[FUL_SPLIT_TRAIN];
    if (run->h.batch == run->batches) return FUL_OK; /* resumed in the evaluation */
    if (run->h.batch == 0) {
        run->h.sums = (ful__sums){0};
        ful_net_moe_stats_reset(run->net, 0);
    }
    FUL_TRY(ful_loader_start(loader, run->h.epoch, run->h.batch));
    const ful_status status = train_batches(run);
    run->h.sums.wait += ful_loader_wait_seconds(loader);
    collect_counters(run);
    if (status == FUL_ERR_NUMERIC) return ful__fail_context(status, "epoch %d", run->h.epoch + 1);
    return status;
}

/* Evaluation -------------------------------------------------------------------------------------------------------------- */

static ful_status evaluate_split(ful__run *run, ful_split split, ful__batch_fn after, ful_eval *out)
{
    *out = (ful_eval){0};
    ful_net_moe_stats_reset(run->net, 1);
    return ful__evaluate(&run->evaluator, run->loader[split], split == FUL_SPLIT_VAL ? "the validation split" : "test",
                         run->options.stop, after, run, out);
}

static double accuracy(const ful_eval *eval)
{
    return (double)eval->correct / (double)eval->count;
}

/* Whether evaluating at the training capacity is another thing than evaluating. */
static bool has_capacity(const ful__run *run)
{
    const ful_net_config *net = &run->config.net;
    for (int i = 0; i < net->n_moe; i++)
        if (net->moe[i].dense == 0 && net->moe[i].moe.capacity_permille != net->moe[i].moe.eval_capacity_permille) return true;
    return false;
}

/* After each batch of the dropless evaluation on test: first choices for the probe, outcomes to keep. */
static void after_test_batch(void *ctx, const ful_batch *batch, int64_t number)
{
    ful__run *run = ctx;
    ful__health_probe(run, batch, number);
    ful_outcomes_of(run->evaluator.logits, batch->label, batch->n, run->config.net.classes, 1.0,
                    run->outcomes + run->n_outcomes);
    run->n_outcomes += batch->n;
}

/* Before the last checkpoint, so that a run that is finished has it. */
static ful_status write_outcomes(const ful__run *run)
{
    const ful_dataset_info *info = &run->info[FUL_SPLIT_TEST];
    char *path = NULL;
    FUL_TRY(ful__folder_path(run, "predictions.bin", &path));
    const ful_status status = ful_outcomes_write(path, run->outcomes, run->n_outcomes, info->classes, info->fingerprint);
    ful__free(path);
    return status;
}

/* The capacity comes first: what the dropless pass leaves in the net's statistics goes to the rows. */
static ful_status evaluate_test(ful__run *run)
{
    ful__history *h = &run->h;
    ful_eval eval;
    int64_t macs = 0, routed = 0, router = 0;
    double capacity = NAN;
    if (has_capacity(run)) {
        ful_net_eval_training_capacity(run->net, true);
        const ful_status status = evaluate_split(run, FUL_SPLIT_TEST, NULL, &eval);
        ful_net_eval_training_capacity(run->net, false);
        FUL_TRY(status);
        capacity = accuracy(&eval);
    }
    ful_net_counted_reset(run->net);
    for (int i = 0; i < run->n_layers; i++) run->layers[i].n_probe_now = 0;
    run->n_outcomes = 0;
    FUL_TRY(evaluate_split(run, FUL_SPLIT_TEST, after_test_batch, &eval));
    ful_net_counted_macs(run->net, 1, &macs, &routed, &router);
    ful_net_counted_reset(run->net);
    h->test = (ful__figures){.loss = eval.loss, .acc = accuracy(&eval), .acc_capacity = capacity};
    if (run->n_layers > 0 && !has_capacity(run)) h->test.acc_capacity = h->test.acc;
    h->skipped_test = ful_loader_skipped(run->loader[FUL_SPLIT_TEST]);
    h->infer_images_per_s = eval.seconds > 0 ? (double)eval.count / eval.seconds : NAN;
    h->counted_macs = (double)macs / (double)eval.count;
    h->counted_routed = (double)routed / (double)eval.count;
    return h->epoch + 1 == run->config.train.epochs ? write_outcomes(run) : FUL_OK;
}

static ful_status evaluate_all(ful__run *run, bool val, bool test)
{
    if (val) {
        ful_eval eval;
        FUL_TRY(evaluate_split(run, FUL_SPLIT_VAL, NULL, &eval));
        run->h.val = (ful__figures){.loss = eval.loss, .acc = accuracy(&eval), .acc_capacity = NAN};
    }
    return test ? evaluate_test(run) : FUL_OK;
}

static ful_status evaluate_epoch(ful__run *run, bool val, bool test)
{
    const double start = ful__seconds();
    if (!val && !test) return FUL_OK;
    ful__optim_swap_average(run->optim);
    if (ful__optim_has_average(run->optim)) ful_net_touched(run->net);
    ful_status status = evaluate_all(run, val, test);
    ful__optim_swap_average(run->optim);
    if (ful__optim_has_average(run->optim)) ful_net_touched(run->net);
    run->h.seconds_eval += ful__seconds() - start;
    if (status == FUL_ERR_NUMERIC) status = ful__fail_context(status, "epoch %d", run->h.epoch + 1);
    return status;
}

/* The end of an epoch ----------------------------------------------------------------------------------------------------- */

static ful_status keep_routing(ful__run *run, int split)
{
    ful__emitter j = {0};
    if (run->n_layers == 0) return FUL_OK;
    ful__emit_open(&j, NULL, '[');
    for (int i = 0; i < run->n_layers; i++) ful__rows_routing(&j, NULL, run, i, split, true);
    ful__emit_close(&j, ']');
    ful__free(run->routing);
    return ful__emit_take(&j, &run->routing);
}

static ful_status write_rows(ful__run *run, bool val, bool test)
{
    *run->alarm = '\0';
    ful__health_count_signs(run, 0);
    if (test) ful__health_end_probe(run);
    if (test) ful__health_count_signs(run, 1);
    FUL_TRY(ful__rows_append_routing(run, 0));
    if (test) FUL_TRY(ful__rows_append_routing(run, 1));
    FUL_TRY(keep_routing(run, test ? 1 : 0));
    return ful__rows_append_metrics(run, val, test);
}

static ful_status end_epoch(ful__run *run)
{
    const ful_train_config *c = &run->config.train;
    ful__history *h = &run->h;
    const bool last = h->epoch + 1 == c->epochs, due = last || (h->epoch + 1) % c->eval_every == 0;
    const bool val = due && run->loader[FUL_SPLIT_VAL], test = last || (due && c->eval_test);
    FUL_TRY(evaluate_epoch(run, val, test));
    h->train = (ful__figures){.loss = h->sums.loss / (double)h->sums.seen,
                              .acc = (double)h->sums.correct / (double)h->sums.seen,
                              .acc_capacity = NAN};
    h->train_aux_loss = h->sums.aux_loss / (double)h->sums.steps;
    FUL_TRY(write_rows(run, val, test));
    if (h->sums.skipped > 0)
        ful__log(FUL_LOG_WARN, "epoch %d skipped %lld damaged training images", h->epoch + 1, (long long)h->sums.skipped);
    h->epoch++;
    h->batch = 0;
    if (test && !(h->test.acc <= h->best_test)) {
        h->best_test = h->test.acc;
        h->best_test_epoch = h->epoch;
    }
    const bool best = val && !(h->val.acc <= h->best_val);
    if (best) h->best_val = h->val.acc;
    if (best) FUL_TRY(ful__checkpoint_save(run, "best.safetensors"));
    FUL_TRY(ful__checkpoint_save(run, "last.safetensors"));
    show(run, true, val ? &h->val : NULL, test ? &h->test : NULL);
    FUL_FAIL_IF(*run->alarm && c->collapse_stop, FUL_ERR_COLLAPSE, "cannot go on after epoch %d with train.collapse_stop: %s",
                h->epoch, run->alarm);
    return FUL_OK;
}

static ful_status run_epochs(ful__run *run)
{
    while (run->h.epoch < run->config.train.epochs) {
        ful_status status = train_epoch(run);
        if (status == FUL_OK) status = end_epoch(run);
        if (status == FUL_ERR_INTERRUPTED) return interrupted(run);
        FUL_TRY(status);
    }
    return FUL_OK;
}

/* A run ------------------------------------------------------------------------------------------------------------------- */

/* Where the run was, or where another left off, or as drawn. */
static ful_status load_weights(ful__run *run)
{
    char *path = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__folder_path(run, "last.safetensors", &path));
    if (run->options.resume && ful__path_exists(path)) {
        status = ful__checkpoint_load(run, path);
        if (status == FUL_OK)
            ful__log(FUL_LOG_INFO, "going on after epoch %d, batch %lld", run->h.epoch, (long long)run->h.batch);
    } else if (*run->config.train.init_from) {
        status = ful__upcycle(&run->config.train, run->net);
    }
    ful__free(path);
    return status;
}

static ful_status train(ful__run *run)
{
    if (run->config.train.threads > 0) FUL_TRY(ful_threads_set(run->config.train.threads));
    FUL_TRY(ful__run_open_data(run));
    FUL_TRY(ful_config_write(&run->config, &run->yaml));
    FUL_TRY(ful__folder_read_choices(run));
    FUL_TRY(ful__run_build(run));
    FUL_TRY(load_weights(run));
    FUL_TRY(ful__folder_clean(run));
    FUL_TRY(ful__folder_write(run, "config.yaml", run->yaml));
    FUL_TRY(ful__folder_write_choices(run));
    FUL_TRY(run_epochs(run));
    return ful__result_write(run);
}

static ful_status train_in_folder(ful__run *run, ful_result *result_out)
{
    char *result = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__folder_open(run));
    FUL_TRY(ful__folder_compare_config(run));
    FUL_TRY(ful__folder_path(run, "result.json", &result));
    if (!ful__path_exists(result)) status = train(run);
    if (status == FUL_OK && result_out) status = ful__result_read(result, result_out);
    if (status != FUL_OK && status != FUL_ERR_INTERRUPTED) ful__folder_report_error(run, status);
    ful__free(result);
    return status;
}

ful_status ful_train(const ful_config *config, const char *folder, const ful_train_options *options, ful_result *result_out)
{
    ful__run *run = NULL;
    FUL_FAIL_IF(!config || !folder, FUL_ERR_ARG, "cannot train with config or folder NULL: both are needed");
    FUL_TRY(ful__calloc(&run, 1, sizeof *run, "a run"));
    run->config = *config;
    run->folder = folder;
    run->lock = -1;
    run->started = ful__seconds();
    if (options) run->options = *options;
    run->h.best_val = run->h.best_test = NAN;
    run->h.val = run->h.test = run->h.train = (ful__figures){NAN, NAN, NAN};
    const int threads = ful_threads_get();
    const ful_status status = train_in_folder(run, result_out);
    ful__run_deinit(run);
    if (config->train.threads > 0) (void)!ful_threads_set(threads);
    ful__free(run);
    return status;
}
