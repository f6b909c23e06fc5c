/* SPDX-License-Identifier: Apache-2.0 */
/* A trained model: opened from a run's folder or a checkpoint, used to predict and to evaluate. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "data/augment.h"
#include "data/classes.h"
#include "data/text.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/json.h"
#include "train/model.h"

struct ful_model {
    ful_config config;
    int batch_max;
    ful_net *net;
    json_t *classes; /* list of texts */
    float mean[3], std[3];
    ful__norm_table table;
    int side;        /* images are brought to; the net sees their centre */
    uint8_t *pixels; /* of one image */
    float *x;
};

/* Metadata ---------------------------------------------------------------------------------------------------------------- */

ful_status ful__model_path(const char *run_or_checkpoint, char **out)
{
    if (!ful__path_is_dir(run_or_checkpoint)) return ful__strdup(out, run_or_checkpoint);
    FUL_TRY(ful__path_join(out, run_or_checkpoint, "last.safetensors"));
    if (ful__path_exists(*out)) return FUL_OK;
    ful__free(*out);
    *out = NULL;
    return ful__fail(
        FUL_ERR_DATA,
        "cannot use the folder '%s': it holds no last.safetensors, so it is no run, or one before its first epoch's "
        "end",
        run_or_checkpoint);
}

static ful_status read_classes(const ful__st_file *file, ful_model *m)
{
    const char *text = ful__st_meta_get(file, "classes");
    m->classes = text ? json_loads(text, 0, NULL) : NULL;
    bool good = json_array_size(m->classes) == (size_t)m->config.net.classes;
    for (size_t i = 0; good && i < json_array_size(m->classes); i++) {
        const char *name = json_string_value(json_array_get(m->classes, i));
        good = name && (*name == '\0' || ful__name_is_clean(name)); /* they are printed as they are */
    }
    FUL_FAIL_IF(!good, FUL_ERR_FORMAT, "its metadata must have a list 'classes' of %d names without control characters",
                m->config.net.classes);
    return FUL_OK;
}

/* One number a channel; the last stands for the channels that are not there. */
static ful_status read_channels(const ful__st_file *file, const char *key, int channels, float out[3])
{
    const char *text = ful__st_meta_get(file, key);
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;
    bool good = json_array_size(list) == (size_t)channels && channels <= 3;
    for (int c = 0; c < 3 && good; c++) {
        const json_t *item = json_array_get(list, (size_t)(c < channels ? c : channels - 1));
        out[c] = (float)json_number_value(item);
        good = json_is_number(item) && isfinite(out[c]) && (out[c] > 0 || key[0] == 'm');
    }
    json_decref(list);
    FUL_FAIL_IF(!good, FUL_ERR_FORMAT, "its metadata must have a list '%s' of %d numbers", key, channels);
    return FUL_OK;
}

/* Opening ----------------------------------------------------------------------------------------------------------------- */

static ful_status build_net(ful_model *m, int batch_max)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = batch_max;
    options.train = false;
    options.blank = true;                /* the checkpoint has every one */
    options.seed = m->config.train.seed; /* a hash router routes by it */
    options.classes = m->config.net.classes;
    FUL_TRY(ful_net_build_graph(&m->config.net, &graph));
    return ful_net_create(graph, &options, &m->net);
}

static ful_status open_into(ful_model *m, const char *path, const ful__st_file *file, int batch_max)
{
    FUL_TRY(ful_config_parse(path, ful__st_meta_get(file, "config"), &m->config));
    m->batch_max = batch_max > 0 ? batch_max : m->config.train.batch;
    const ful_net_config *net = &m->config.net;
    FUL_FAIL_IF(net->height < 1 || net->in_channels < 1 || net->classes < 1, FUL_ERR_FORMAT,
                "its config must have net.height, net.in_channels and net.classes");
    FUL_TRY(read_classes(file, m));
    FUL_TRY(read_channels(file, "mean", net->in_channels, m->mean));
    FUL_TRY(read_channels(file, "std", net->in_channels, m->std));
    FUL_TRY(build_net(m, m->batch_max));
    FUL_TRY(ful__checkpoint_read_params(file, ful__checkpoint_kind(file), m->net));
    m->side = m->config.data.crop ? m->config.data.size : net->height;
    const size_t pixels = (size_t)m->side * (size_t)m->side * (size_t)net->in_channels;
    const size_t values = (size_t)net->height * (size_t)net->height * (size_t)net->in_channels;
    FUL_TRY(ful__calloc(&m->pixels, pixels, 1, "an image"));
    FUL_TRY(ful__calloc(&m->x, values, sizeof *m->x, "an image"));
    ful__norm_table_init(&m->table, m->mean, m->std);
    return FUL_OK;
}

ful_status ful_model_open(const char *run_or_checkpoint, int batch_max, ful_model **out)
{
    char *path = NULL;
    ful__st_file *file = NULL;
    ful_model *m = NULL;
    ful_status status = FUL_OK;
    FUL_FAIL_IF(!run_or_checkpoint || !out, FUL_ERR_ARG, "cannot open a model with its name or out NULL: both are needed");
    *out = NULL;
    FUL_FAIL_IF(batch_max < 0, FUL_ERR_ARG, "cannot open '%s' with batch_max=%d: it must be at least 0", run_or_checkpoint,
                batch_max);
    FUL_TRY_GOTO(status, done, ful__model_path(run_or_checkpoint, &path));
    FUL_TRY_GOTO(status, done, ful__checkpoint_open(path, &file));
    FUL_TRY_GOTO(status, done, ful__calloc(&m, 1, sizeof *m, "a model"));
    status = open_into(m, path, file, batch_max);
    if (status != FUL_OK) (void)ful__fail_context(status, "cannot open the model '%s'", path);
done:
    ful__st_close(&file);
    ful__free(path);
    if (status != FUL_OK) ful_model_destroy(&m);
    *out = m;
    return status;
}

void ful_model_destroy(ful_model **model)
{
    if (!model || !*model) return;
    ful_model *m = *model;
    ful_net_destroy(&m->net);
    json_decref(m->classes);
    ful__free(m->pixels);
    ful__free(m->x);
    ful__free(m);
    *model = NULL;
}

ful_net *ful_model_net(ful_model *model)
{
    return model->net;
}

const ful_config *ful_model_config(const ful_model *model)
{
    return &model->config;
}

const char *ful_model_class_name(const ful_model *model, int label)
{
    const char *name = label >= 0 ? json_string_value(json_array_get(model->classes, (size_t)label)) : NULL;
    return name ? name : "";
}

/* Use ------------------------------------------------------------------------------------------------------------------------
 */

static void softmax(float *logits, int n)
{
    float most = logits[0];
    double sum = 0;
    for (int i = 1; i < n; i++) most = fmaxf(most, logits[i]);
    for (int i = 0; i < n; i++) sum += logits[i] = expf(logits[i] - most);
    for (int i = 0; i < n; i++) logits[i] = (float)(logits[i] / sum);
}

ful_status ful_model_predict_image(ful_model *model, const char *path, float *prob_out)
{
    const ful_net_config *net = &model->config.net;
    const int classes = net->classes;
    const int side = model->side, margin = (side - net->height) / 2;
    const ful__window window = {side, side, net->in_channels, margin, margin, net->height, net->height, false};
    FUL_TRY(ful_image_load(path, side, net->in_channels, model->pixels));
    ful__window_floats(model->pixels, &window, &model->table, model->x);
    FUL_TRY(ful_net_predict(model->net, 1, model->x, NULL, prob_out));
    softmax(prob_out, classes);
    for (int i = 0; i < classes; i++)
        FUL_FAIL_IF(!isfinite(prob_out[i]), FUL_ERR_NUMERIC, "cannot classify '%s': the net's output is not finite", path);
    return FUL_OK;
}

/* Names as a checkpoint keeps them: bytes that are not UTF-8 have become '?'. */
static bool same_name(const char *a, const char *b)
{
    ful__emitter x = {0}, y = {0};
    ful__emit_text(&x, NULL, a);
    ful__emit_text(&y, NULL, b);
    const bool same = x.text.status != FUL_OK || y.text.status != FUL_OK || strcmp(x.text.data, y.text.data) == 0;
    ful__emit_deinit(&x);
    ful__emit_deinit(&y);
    return same;
}

/* A data set of other images, sizes or classes would give a number that means nothing. */
static ful_status check_data(const ful_model *m, const ful_dataset *set, const ful_dataset_info *info, int crop)
{
    const ful_net_config *net = &m->config.net;
    const int h = crop ? crop : info->height, w = crop ? crop : info->width;
    FUL_FAIL_IF(h != net->height || w != net->height || info->channels != net->in_channels, FUL_ERR_CONFIG,
                "cannot evaluate on images of %d x %d x %d: the model takes %d x %d x %d", h, w, info->channels, net->height,
                net->height, net->in_channels);
    FUL_FAIL_IF(info->classes != net->classes, FUL_ERR_CONFIG, "cannot evaluate on %d classes: the model has %d", info->classes,
                net->classes);
    for (int c = 0; c < net->classes; c++) {
        const char *here = ful_dataset_class_name(set, c), *there = ful_model_class_name(m, c);
        FUL_FAIL_IF(*here && *there && !ful__class_is_same(here, there) && !same_name(here, there), FUL_ERR_CONFIG,
                    "cannot evaluate on a set whose class %d is '%s': the model was trained with '%s' there", c, here, there);
    }
    return FUL_OK;
}

ful_status ful_model_data(const ful_model *m, const ful_data_config *data, ful_split split, ful_dataset **out)
{
    FUL_FAIL_IF(!m || !out, FUL_ERR_ARG, "cannot open data with model or out NULL: both are needed");
    *out = NULL;
    FUL_FAIL_IF((unsigned)split > FUL_SPLIT_TEST, FUL_ERR_ARG, "cannot evaluate on split %d: it must be 0, 1 or 2", (int)split);
    ful_data_config c = data ? *data : m->config.data;
    ful_dataset_info info;
    if (c.size == 0) c.size = m->config.data.size;
    if (c.crop == 0 && c.size == m->config.data.size) c.crop = m->config.data.crop;
    if (c.channels == 0) c.channels = m->config.data.channels;
    FUL_TRY(ful_dataset_open(&c, split, out));
    ful_dataset_info_get(*out, &info);
    const ful_status status = check_data(m, *out, &info, c.crop);
    if (status != FUL_OK) ful_dataset_destroy(out);
    return status;
}

void ful_pass_defaults(ful_pass *pass)
{
    *pass = (ful_pass){.workers = 1};
}

/* Capacity depends on the batch. */
static ful_status batch_of(const ful_model *m, const ful_pass *pass, int *out)
{
    const int training = m->config.train.batch;
    FUL_FAIL_IF(pass->training_capacity && pass->batch == 0 && m->batch_max < training, FUL_ERR_ARG,
                "cannot evaluate at the training capacity with batch_max=%d: it must be at least train.batch, %d", m->batch_max,
                training);
    FUL_FAIL_IF(pass->batch < 0 || pass->batch > m->batch_max, FUL_ERR_ARG,
                "cannot evaluate with batch=%d: it must be in 1..%d, for which the model was opened", pass->batch,
                m->batch_max);
    *out = pass->batch > 0 ? pass->batch : pass->training_capacity ? training : m->batch_max;
    return FUL_OK;
}

static ful_status open_loader(const ful_model *m, const ful_dataset *set, const ful_pass *pass, ful_loader **out)
{
    ful_loader_config lc;
    ful_dataset_info info;
    const int side = m->config.net.height;
    ful_dataset_info_get(set, &info);
    ful_loader_config_defaults(&lc);
    FUL_TRY(batch_of(m, pass, &lc.batch));
    lc.workers = pass->workers;
    lc.crop = info.height != side || info.width != side ? side : 0;
    lc.on_error = m->config.data.on_error;
    lc.timeout = m->config.data.timeout;
    if (pass->ten_crop != FUL_TEN_CROP_NONE) lc.views = 10;
    lc.change = pass->change;
    lc.change_ctx = pass->change_ctx;
    memcpy(lc.mean, m->mean, sizeof lc.mean);
    memcpy(lc.std, m->std, sizeof lc.std);
    return ful_loader_create(set, &lc, out);
}

/* What ful__evaluate calls back with. */
typedef struct pass_sink {
    const float *logits;
    ful_pass_fn each;
    void *cookie;
} pass_sink;

static void hand_on(void *ctx, const ful_batch *batch, int64_t number)
{
    const pass_sink *sink = ctx;
    (void)number;
    if (sink->each) sink->each(sink->cookie, batch, sink->logits);
}

/* Adds to out, as ful__evaluate does. */
static ful_status run_pass(ful_model *m, const ful_dataset *set, const ful_pass *pass, const char *split, pass_sink *sink,
                           ful_eval *out)
{
    ful__evaluator evaluator = {0};
    ful_loader *loader = NULL;
    ful_status status = FUL_OK;
    ful_net_eval_training_capacity(m->net, pass->training_capacity);
    FUL_TRY_GOTO(status, done, open_loader(m, set, pass, &loader));
    FUL_TRY_GOTO(status, done, ful__evaluator_init(&evaluator, m->net, m->batch_max, pass->ten_crop));
    sink->logits = evaluator.logits;
    FUL_TRY_GOTO(status, done, ful__evaluate(&evaluator, loader, split, pass->stop, hand_on, sink, out));
done:
    ful__evaluator_deinit(&evaluator);
    ful_net_eval_training_capacity(m->net, false);
    ful_loader_destroy(&loader);
    return status;
}

ful_status ful_model_pass(ful_model *model, const ful_dataset *set, const ful_pass *pass, ful_pass_fn each, void *cookie,
                          ful_eval *out)
{
    FUL_FAIL_IF(!model || !set || !pass || !out, FUL_ERR_ARG,
                "cannot evaluate with model, data, pass or out NULL: all are needed");
    pass_sink sink = {.each = each, .cookie = cookie};
    *out = (ful_eval){0};
    return run_pass(model, set, pass, "these images", &sink, out);
}

ful_status ful_model_eval(ful_model *model, const ful_data_config *data, ful_split split, bool training_capacity, ful_eval *out)
{
    static const char *const names[] = {"the training split", "the validation split", "test"};
    const ful_data_config *c = data ? data : &model->config.data;
    const size_t classes = (size_t)model->config.net.classes;
    const ful_pass pass = {.training_capacity = training_capacity, .workers = c->workers, .ten_crop = c->ten_crop};
    ful_dataset *set = NULL;
    pass_sink sink = {0};
    ful_status status = FUL_OK;
    *out = (ful_eval){0};
    FUL_TRY_GOTO(status, done, ful__calloc(&out->confusion, classes * classes, sizeof *out->confusion, "a confusion table"));
    FUL_TRY_GOTO(status, done, ful_model_data(model, data, split, &set));
    FUL_TRY_GOTO(status, done, run_pass(model, set, &pass, names[split], &sink, out));
done:
    ful_dataset_destroy(&set);
    if (status != FUL_OK) ful_eval_deinit(out);
    return status;
}

void ful_eval_deinit(ful_eval *eval)
{
    ful__free(eval->confusion);
    *eval = (ful_eval){0};
}
