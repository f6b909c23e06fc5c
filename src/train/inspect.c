/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a checkpoint: tensors, experts, routing health, the plan of inference. As text for people, or as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "train/checkpoint.h"
#include "train/json.h"
#include "train/model.h"

/* Figures of a tensor's values. */
typedef struct summary {
    double mean, sd, least, most, norm;
} summary;

static summary summarise(const ful__st_tensor *t)
{
    const float *x = t->data;
    double sum = 0, square = 0, least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < t->count; i++) {
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
        least = fmin(least, (double)x[i]);
        most = fmax(most, (double)x[i]);
    }
    const double n = t->count > 0 ? (double)t->count : 1, mean = sum / n;
    return (summary){
        .mean = mean, .sd = sqrt(fmax(0, square / n - mean * mean)), .least = least, .most = most, .norm = sqrt(square)};
}

/* Parameters have no '/' in their names; optimiser state, averages and probes have. */
static bool is_param(const ful__st_tensor *t)
{
    return t->dtype == FUL__F32 && !strchr(t->name, '/');
}

static int64_t bytes_of(const ful__st_file *file, const char *prefix)
{
    int64_t bytes = 0;
    for (int i = 0; i < ful__st_count(file); i++) {
        const ful__st_tensor *t = ful__st_tensor_at(file, i);
        if (*prefix ? strncmp(t->name, prefix, strlen(prefix)) == 0 : is_param(t)) bytes += t->count * 4;
    }
    return bytes;
}

/* "stage3.moe" and 5 of "stage3.moe.expert.5.fc1.weight". */
static bool expert_of(const char *name, const char *layer, int *expert_out)
{
    const size_t n = strlen(layer);
    return strncmp(name, layer, n) == 0 && sscanf(name + n, ".expert.%d.", expert_out) == 1;
}

/* Sizes of the weights of each expert: sqrt of the sum of squares over its tensors. */
static void expert_norms(const ful__st_file *file, const char *layer, double *square, int experts)
{
    for (int i = 0; i < ful__st_count(file); i++) {
        const ful__st_tensor *t = ful__st_tensor_at(file, i);
        int e = -1;
        if (!is_param(t) || !expert_of(t->name, layer, &e) || e < 0 || e >= experts) continue;
        const double norm = summarise(t).norm;
        square[e] += norm * norm;
    }
    for (int e = 0; e < experts; e++) square[e] = sqrt(square[e]);
}

/* Text ------------------------------------------------------------------------------------------------------------------- */

static void add_shape(ful__str *s, const ful__st_tensor *t)
{
    char text[128] = "";
    size_t at = 0;
    for (int i = 0; i < t->rank; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i > 0 ? "x" : "", (long long)t->shape[i]);
    ful__str_addf(s, "%-16s", text);
}

static void add_head(ful__str *s, const char *path, const ful__st_file *file, const ful_config *config)
{
    int tensors = 0;
    for (int i = 0; i < ful__st_count(file); i++) tensors += is_param(ful__st_tensor_at(file, i));
    ful__str_addf(s, "%s\n  written by fulcrum %s: epoch %s of %d, step %s, seed %s\n", path, ful__st_meta_get(file, "version"),
                  ful__st_meta_get(file, "epoch"), config->train.epochs, ful__st_meta_get(file, "step"),
                  ful__st_meta_get(file, "seed"));
    ful__str_addf(s, "  net %s on %s, %d x %d x %d in, %d classes out\n", config->net.arch, config->data.name,
                  config->net.height, config->net.height, config->net.in_channels, config->net.classes);
    ful__str_addf(s, "  %d tensors of parameters and buffers, %.2f MB; optimiser state %.2f MB; averaged weights %.2f MB\n",
                  tensors, 1e-6 * (double)bytes_of(file, ""), 1e-6 * (double)bytes_of(file, "optim."),
                  1e-6 * (double)bytes_of(file, "ema/"));
}

static void add_tensors(ful__str *s, const ful__st_file *file)
{
    ful__str_addf(s, "\n%-44s %-16s %10s %10s %10s %10s %10s\n", "tensor", "shape", "values", "mean", "sd", "min", "max");
    for (int i = 0; i < ful__st_count(file); i++) {
        const ful__st_tensor *t = ful__st_tensor_at(file, i);
        if (!is_param(t)) continue;
        const summary v = summarise(t);
        ful__str_addf(s, "%-44s ", t->name);
        add_shape(s, t);
        ful__str_addf(s, " %10lld %10.3g %10.3g %10.3g %10.3g\n", (long long)t->count, v.mean, v.sd, v.least, v.most);
    }
}

static double number(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static ful_status add_layer(ful__str *s, const ful__st_file *file, const json_t *row)
{
    const char *layer = json_string_value(json_object_get(row, "layer")),
               *split = json_string_value(json_object_get(row, "split"));
    const int experts = (int)json_array_size(json_object_get(row, "load"));
    double *norms = NULL;
    if (!layer || !split || experts == 0) return FUL_OK;
    FUL_TRY(ful__calloc(&norms, (size_t)experts, sizeof *norms, "norms"));
    expert_norms(file, layer, norms, experts);
    ful__str_addf(s, "\n%s, on %s after epoch %.0f: %d experts, k = %.0f\n", layer, split, number(row, "epoch"), experts,
                  number(row, "k"));
    ful__str_addf(s, "  effective experts %.2f, dead %.0f, dropped %.2f %%, entropy %.3f (of the mean: %.3f of 1)%s\n",
                  number(row, "effective_experts"), number(row, "dead"), 100 * number(row, "drop_rate"), number(row, "entropy"),
                  number(row, "entropy_marginal_norm"), json_is_true(json_object_get(row, "alarm")) ? ", COLLAPSE ALARM" : "");
    ful__str_addf(s, "  information about the class %.3f nats (normalised %.3f)", number(row, "class_mi"),
                  number(row, "class_nmi"));
    if (!isnan(number(row, "change_rate")))
        ful__str_addf(s, "; first choices changed since the evaluation before: %.1f %%", 100 * number(row, "change_rate"));
    ful__str_add(s, "\n");
    ful__str_addf(s, "  %8s %10s %10s %12s %14s\n", "expert", "load", "kept", "probability", "weight norm");
    for (size_t e = 0; e < (size_t)experts; e++)
        ful__str_addf(s, "  %8zu %8.2f %% %8.2f %% %10.2f %% %14.4g\n", e,
                      100 * json_number_value(json_array_get(json_object_get(row, "load"), e)),
                      100 * json_number_value(json_array_get(json_object_get(row, "kept"), e)),
                      100 * json_number_value(json_array_get(json_object_get(row, "importance"), e)), norms[e]);
    ful__free(norms);
    return FUL_OK;
}

static ful_status add_layers(ful__str *s, const ful__st_file *file)
{
    const char *text = ful__st_meta_get(file, "routing");
    json_t *rows = text ? json_loads(text, 0, NULL) : NULL;
    ful_status status = FUL_OK;
    for (size_t i = 0; i < json_array_size(rows) && status == FUL_OK; i++) status = add_layer(s, file, json_array_get(rows, i));
    json_decref(rows);
    return status;
}

/* JSON ------------------------------------------------------------------------------------------------------------------- */

static void emit_tensors(ful__emitter *j, const ful__st_file *file)
{
    ful__emit_open(j, "tensors", '[');
    for (int i = 0; i < ful__st_count(file); i++) {
        const ful__st_tensor *t = ful__st_tensor_at(file, i);
        if (!is_param(t)) continue;
        const summary v = summarise(t);
        ful__emit_open(j, NULL, '{');
        ful__emit_text(j, "name", t->name);
        ful__emit_ints(j, "shape", t->shape, t->rank);
        ful__emit_real(j, "mean", v.mean);
        ful__emit_real(j, "sd", v.sd);
        ful__emit_real(j, "min", v.least);
        ful__emit_real(j, "max", v.most);
        ful__emit_real(j, "norm", v.norm);
        ful__emit_close(j, '}');
    }
    ful__emit_close(j, ']');
}

static ful_status as_json(const char *path, const ful__st_file *file, const char *plan, char **out)
{
    static const char *const texts[] = {"format", "version", "epoch", "step", "seed", "init_hash", "config"};
    static const char *const values[] = {"classes", "mean", "std", "routing"}; /* JSON already */
    ful__emitter j = {0};
    ful__emit_open(&j, NULL, '{');
    ful__emit_text(&j, "file", path);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) ful__emit_text(&j, texts[i], ful__st_meta_get(file, texts[i]));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) ful__emit_raw(&j, values[i], ful__st_meta_get(file, values[i]));
    ful__emit_int(&j, "optimizer_bytes", bytes_of(file, "optim."));
    ful__emit_int(&j, "average_bytes", bytes_of(file, "ema/"));
    emit_tensors(&j, file);
    ful__emit_text(&j, "plan", plan);
    ful__emit_close(&j, '}');
    ful__str_add(&j.text, "\n");
    return ful__emit_take(&j, out);
}

static ful_status as_text(const char *path, const ful__st_file *file, const ful_config *config, const char *plan, char **out)
{
    ful__str s = {0};
    add_head(&s, path, file, config);
    add_tensors(&s, file);
    ful_status status = add_layers(&s, file);
    ful__str_addf(&s, "\nplan of inference for one image\n%s", plan);
    if (status == FUL_OK) status = ful__str_status(&s);
    if (status == FUL_OK) *out = ful__str_take(&s);
    ful__str_deinit(&s);
    return status;
}

/* Opening it as a model also proves that it can be used. */
ful_status ful_model_inspect(const char *run_or_checkpoint, bool json, char **text_out)
{
    ful_model *model = NULL;
    ful__st_file *file = NULL;
    char *path = NULL, *plan = NULL;
    ful_status status = FUL_OK;
    *text_out = NULL;
    FUL_TRY_GOTO(status, done, ful__model_path(run_or_checkpoint, &path));
    FUL_TRY_GOTO(status, done, ful_model_open(path, 1, &model));
    FUL_TRY_GOTO(status, done, ful_net_describe_plan(ful_model_net(model), false, &plan));
    FUL_TRY_GOTO(status, done, ful__checkpoint_open(path, &file));
    status = json ? as_json(path, file, plan, text_out) : as_text(path, file, ful_model_config(model), plan, text_out);
done:
    ful_free(plan);
    ful__st_close(&file);
    ful_model_destroy(&model);
    ful__free(path);
    return status;
}
