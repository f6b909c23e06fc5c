/* SPDX-License-Identifier: Apache-2.0 */
/* What a run works with: data sets, loaders, net, optimiser. All memory of a training step is allocated here. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "train/config.h"
#include "train/run.h"

/* Data ------------------------------------------------------------------------------------------------------------------ */

static ful_status open_split(ful__run *run, ful_split split)
{
    FUL_TRY(ful_dataset_open(&run->config.data, split, &run->data[split]));
    ful_dataset_info_get(run->data[split], &run->info[split]);
    return FUL_OK;
}

static ful_status open_loader(ful__run *run, ful_split split)
{
    const ful_data_config *data = &run->config.data;
    const ful_dataset_info *info = &run->info[FUL_SPLIT_TRAIN];
    ful_loader_config c;
    ful_loader_config_defaults(&c);
    c.batch = run->config.train.batch;
    c.train = split == FUL_SPLIT_TRAIN;
    c.seed = run->config.train.seed;
    c.crop = data->crop;
    c.augment = data->augment;
    if (!c.train && data->ten_crop != FUL_TEN_CROP_NONE) c.views = 10;
    c.on_error = data->on_error;
    c.timeout = data->timeout;
    c.label_smoothing = run->config.train.label_smoothing;
    c.workers = data->workers;
    memcpy(c.mean, info->mean, sizeof c.mean);
    memcpy(c.std, info->std, sizeof c.std);
    return ful_loader_create(run->data[split], &c, &run->loader[split]);
}

ful_status ful__run_open_data(ful__run *run)
{
    FUL_TRY(open_split(run, FUL_SPLIT_TRAIN));
    FUL_TRY(ful__config_settle(&run->config, &run->info[FUL_SPLIT_TRAIN]));
    if (run->config.data.val_fraction > 0) FUL_TRY(open_split(run, FUL_SPLIT_VAL));
    FUL_TRY(open_split(run, FUL_SPLIT_TEST));
    FUL_FAIL_IF(run->info[FUL_SPLIT_TEST].classes != run->config.net.classes, FUL_ERR_DATA,
                "cannot train on %d classes and test on %d: they must be the same", run->config.net.classes,
                run->info[FUL_SPLIT_TEST].classes);
    FUL_FAIL_IF(run->info[FUL_SPLIT_TRAIN].count < run->config.train.batch, FUL_ERR_CONFIG,
                "cannot train with train.batch = %d: the training split has only %lld images", run->config.train.batch,
                (long long)run->info[FUL_SPLIT_TRAIN].count);
    for (int split = 0; split < 3; split++)
        if (run->data[split]) FUL_TRY(open_loader(run, (ful_split)split));
    run->batches = ful_loader_batches(run->loader[FUL_SPLIT_TRAIN]);
    return FUL_OK;
}

/* Net ------------------------------------------------------------------------------------------------------------------- */

/* What two arms of one seed share: all initial values outside mixtures and their dense twins. */
static uint64_t hash_backbone(const ful__run *run)
{
    uint64_t h = 0;
    for (int i = 0; i < run->n_tensors; i++) {
        const ful_tensor *t = &run->tensors[i];
        if (strstr(t->name, ".moe.") || strstr(t->name, ".ffn.")) continue;
        h = ful__hash64(t->name, strlen(t->name), h);
        h = ful__hash64(t->value, (size_t)t->count * sizeof(float), h);
    }
    return h;
}

/* Where the run goes on from a checkpoint, that has them all, and the file is not needed. */
static ful_status read_weights(ful__run *run)
{
    const ful_net_config *c = &run->config.net;
    ful_weights_info info;
    char *last = NULL;
    if (!*c->weights) return FUL_OK;
    if (run->options.resume) {
        FUL_TRY(ful__folder_path(run, "last.safetensors", &last));
        const bool resumes = ful__path_exists(last);
        ful__free(last);
        if (resumes) return FUL_OK;
    }
    FUL_TRY(ful_net_read_weights(run->net, c->arch, c->weights, true, &info));
    ful__log(FUL_LOG_INFO, "starting from %d tensors of '%s', named as in %s; %d are drawn", info.read, c->weights, info.names,
             info.fresh);
    if (info.file_classes > 0)
        ful__log(FUL_LOG_INFO, "the classifier is drawn: the file's has %d classes, and the data %d", info.file_classes,
                 c->classes);
    return FUL_OK;
}

static ful_status create_net(ful__run *run)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = run->config.train.batch;
    options.train = true;
    options.seed = run->config.train.seed;
    options.classes = run->config.net.classes;
    FUL_TRY(ful_net_build_graph(&run->config.net, &graph));
    FUL_TRY(ful_net_create(graph, &options, &run->net));
    const int n = ful_net_tensor_count(run->net);
    FUL_TRY(ful__calloc(&run->tensors, (size_t)n, sizeof *run->tensors, "a list of parameters"));
    for (; run->n_tensors < n; run->n_tensors++)
        FUL_TRY(ful_net_tensor(run->net, run->n_tensors, &run->tensors[run->n_tensors]));
    FUL_TRY(read_weights(run));
    run->init_hash = hash_backbone(run);
    return FUL_OK;
}

static ful_status create_layers(ful__run *run)
{
    const int n = ful_net_moe_count(run->net);
    FUL_TRY(ful__calloc(&run->layers, (size_t)n, sizeof *run->layers, "mixture layers"));
    run->n_layers = n;
    for (int i = 0; i < n; i++) {
        ful__layer *layer = &run->layers[i];
        snprintf(layer->name, sizeof layer->name, "%s", ful_net_moe_stats(run->net, i, 1)->layer);
        layer->change_rate = NAN;
        FUL_TRY(ful__calloc(&layer->probe, FUL__PROBE_TOKENS, sizeof *layer->probe, "a probe of routes"));
        FUL_TRY(ful__calloc(&layer->probe_now, FUL__PROBE_TOKENS, sizeof *layer->probe_now, "a probe of routes"));
    }
    return FUL_OK;
}

ful_status ful__run_build(ful__run *run)
{
    FUL_TRY(create_net(run));
    FUL_TRY(create_layers(run));
    FUL_TRY(ful__calloc(&run->outcomes, (size_t)run->info[FUL_SPLIT_TEST].count, sizeof *run->outcomes, "outcomes"));
    FUL_TRY(ful__optim_create(&run->config.train, run->tensors, run->n_tensors, &run->optim));
    return ful__evaluator_init(&run->evaluator, run->net, run->config.train.batch, run->config.data.ten_crop);
}

void ful__run_deinit(ful__run *run)
{
    ful__evaluator_deinit(&run->evaluator);
    ful__optim_destroy(&run->optim);
    for (int i = 0; i < run->n_layers; i++) {
        ful__free(run->layers[i].probe);
        ful__free(run->layers[i].probe_now);
    }
    ful__free(run->layers);
    ful__free(run->outcomes);
    ful__free(run->tensors);
    ful_net_destroy(&run->net);
    for (int split = 0; split < 3; split++) {
        ful_loader_destroy(&run->loader[split]);
        ful_dataset_destroy(&run->data[split]);
    }
    ful__free(run->yaml);
    ful__free(run->routing);
    ful__folder_close(run);
}
