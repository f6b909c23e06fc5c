/* SPDX-License-Identifier: Apache-2.0 */
/* result.json (doc/format-run.md): the final figures. Its presence means that the run is finished. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/time.h"
#include "train/run.h"

enum { RESULT_MAX_BYTES = 1 << 30 };
#define RESULT_FORMAT "fulcrum-result-1"

/* Pieces ------------------------------------------------------------------------------------------------------------------ */

static void add_data(ful__emitter *j, const ful__run *run)
{
    const ful_dataset_info *info = run->info;
    ful__emit_open(j, "data", '{');
    ful__emit_text(j, "name", run->config.data.name);
    ful__emit_int(j, "train", info[FUL_SPLIT_TRAIN].count);
    ful__emit_int(j, "val", info[FUL_SPLIT_VAL].count);
    ful__emit_int(j, "test", info[FUL_SPLIT_TEST].count);
    if (run->config.data.on_error == FUL_ON_ERROR_SKIP) ful__emit_int(j, "train_left_out", info[FUL_SPLIT_TRAIN].left_out);
    ful__emit_int(j, "classes", run->config.net.classes);
    ful__emit_hex(j, "fingerprint_train", info[FUL_SPLIT_TRAIN].fingerprint);
    ful__emit_hex(j, "fingerprint_test", info[FUL_SPLIT_TEST].fingerprint);
    ful__emit_open(j, "class_names", '[');
    for (int i = 0; i < run->config.net.classes; i++)
        ful__emit_text(j, NULL, ful_dataset_class_name(run->data[FUL_SPLIT_TRAIN], i));
    ful__emit_close(j, ']');
    ful__emit_close(j, '}');
}

static void add_figures(ful__emitter *j, const ful__run *run)
{
    const ful__history *h = &run->h;
    ful__emit_open(j, "test", '{');
    ful__emit_real(j, "acc", h->test.acc);
    ful__emit_real(j, "loss", h->test.loss);
    ful__emit_real(j, "acc_capacity", h->test.acc_capacity);
    if (run->config.data.on_error == FUL_ON_ERROR_SKIP)
        ful__emit_int(j, "skipped", h->skipped_test + run->info[FUL_SPLIT_TEST].left_out);
    ful__emit_close(j, '}');
    if (isnan(h->val.acc)) {
        ful__emit_raw(j, "val", NULL);
    } else {
        ful__emit_open(j, "val", '{');
        ful__emit_real(j, "acc", h->val.acc);
        ful__emit_real(j, "loss", h->val.loss);
        ful__emit_close(j, '}');
    }
    ful__emit_open(j, "train", '{');
    ful__emit_real(j, "acc", h->train.acc);
    ful__rows_mixed(j, run);
    if (run->config.data.on_error == FUL_ON_ERROR_SKIP) ful__emit_int(j, "skipped", h->sums.skipped);
    ful__emit_real(j, "loss", h->train.loss);
    ful__emit_real(j, "aux_loss", h->train_aux_loss);
    ful__emit_close(j, '}');
    ful__emit_open(j, "curve", '{');
    ful__emit_real(j, "best_test_acc_seen", h->best_test);
    ful__emit_int(j, "best_epoch", h->best_test_epoch);
    ful__emit_text(j, "note", "for the late-collapse check only, never used to choose");
    ful__emit_close(j, '}');
}

static void add_times(ful__emitter *j, const ful__run *run)
{
    const ful__history *h = &run->h;
    ful__emit_open(j, "seconds", '{');
    ful__emit_real(j, "train", h->seconds_train);
    ful__emit_real(j, "eval", h->seconds_eval);
    ful__emit_real(j, "total", h->seconds_total + ful__seconds() - run->started);
    ful__emit_close(j, '}');
    const double images = (double)h->step * run->config.train.batch;
    ful__emit_real(j, "images_per_s", h->seconds_train > 0 ? images / h->seconds_train : NAN);
    ful__emit_real(j, "infer_images_per_s", h->infer_images_per_s);
}

static void add_account(ful__emitter *j, const ful_account *a, const ful__history *h)
{
    const ful__sums *s = &h->sums;
    struct rusage usage;
    ful__emit_open(j, "macs", '{');
    ful__emit_int(j, "forward", a->macs);
    ful__emit_int(j, "shared", a->macs_shared);
    ful__emit_int(j, "router", a->macs_router);
    ful__emit_int(j, "routed", a->macs_routed);
    ful__emit_int(j, "one_expert", a->macs_one_expert);
    ful__emit_int(j, "all_experts", a->macs_all_experts);
    ful__emit_int(j, "unread", a->macs_unread);
    ful__emit_real(j, "counted_forward_per_image", h->counted_macs);
    ful__emit_real(j, "counted_routed_per_image", h->counted_routed);
    ful__emit_close(j, '}');
    ful__emit_open(j, "params", '{');
    ful__emit_int(j, "total", a->params);
    ful__emit_int(j, "active", a->params_active);
    ful__emit_int(j, "experts", a->params_experts);
    ful__emit_close(j, '}');
    ful__emit_open(j, "rho", '{');
    ful__emit_real(j, "exec", a->rho_exec);
    ful__emit_real(j, "exec_measured", s->macs > 0 ? (double)s->macs_routed / (double)s->macs : NAN);
    ful__emit_real(j, "site", a->rho_site);
    ful__emit_real(j, "total", a->rho_total);
    ful__emit_real(j, "train", a->rho_train);
    ful__emit_real(j, "params", a->rho_params);
    ful__emit_close(j, '}');
    ful__emit_open(j, "memory", '{');
    ful__emit_int(j, "work_bytes", (int64_t)a->work_bytes);
    ful__emit_int(j, "param_bytes", (int64_t)a->param_bytes);
    if (getrusage(RUSAGE_SELF, &usage) == 0) ful__emit_int(j, "peak_rss_bytes", (int64_t)usage.ru_maxrss * 1024);
    ful__emit_close(j, '}');
}

/* Routing ----------------------------------------------------------------------------------------------------------------- */

/* Whether a row is of this layer and split. */
static bool row_is(const char *row, const char *layer, const char *split)
{
    json_t *json = json_loads(row, 0, NULL);
    const char *its_layer = json_string_value(json_object_get(json, "layer"));
    const char *its_split = json_string_value(json_object_get(json, "split"));
    const bool is = its_layer && its_split && strcmp(its_layer, layer) == 0 && strcmp(its_split, split) == 0;
    json_decref(json);
    return is;
}

/* {test row…, "train": {train row…}} of each layer, from the last epoch's lines of routing.jsonl: they are there whether this
 * process wrote them or one before it. */
static ful_status add_layers(ful__emitter *j, const ful__run *run, char *text)
{
    char prefix[40];
    const size_t n_prefix = (size_t)snprintf(prefix, sizeof prefix, "{\"epoch\": %d,", run->h.epoch);
    const char **rows = NULL;
    int n = 0;
    FUL_TRY(ful__calloc(&rows, (size_t)run->n_layers * 2, sizeof *rows, "rows"));
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (strncmp(line, prefix, n_prefix) == 0 && n < 2 * run->n_layers) rows[n++] = line;
    }
    for (int i = 0; i < run->n_layers; i++) {
        const char *test = NULL, *train = NULL;
        for (int r = 0; r < n; r++) {
            if (row_is(rows[r], run->layers[i].name, "test")) test = rows[r];
            if (row_is(rows[r], run->layers[i].name, "train")) train = rows[r];
        }
        if (!test || !train) continue;
        ful__emit_raw(j, NULL, "");
        ful__str_add_bytes(&j->text, test, strlen(test) - 1);
        ful__str_add(&j->text, ", \"train\": ");
        ful__str_add(&j->text, train);
        ful__str_add(&j->text, "}");
    }
    ful__free(rows);
    return FUL_OK;
}

static ful_status add_moe(ful__emitter *j, const ful__run *run)
{
    char *path = NULL, *text = NULL;
    size_t bytes = 0;
    ful_status status = FUL_OK;
    ful__emit_open(j, "moe", '[');
    if (run->n_layers > 0) {
        FUL_TRY_GOTO(status, done, ful__folder_path(run, "routing.jsonl", &path));
        FUL_TRY_GOTO(status, done, ful__file_read(path, RESULT_MAX_BYTES, &text, &bytes));
        FUL_TRY_GOTO(status, done, add_layers(j, run, text));
    }
done:
    ful__emit_close(j, ']');
    ful__free(path);
    ful__free(text);
    return status;
}

/* The file ------------------------------------------------------------------------------------------------------------------
 */

static ful_status result_text(const ful__run *run, const ful_account *account, char **out)
{
    ful__emitter j = {0};
    ful__emit_open(&j, NULL, '{');
    ful__emit_text(&j, "format", RESULT_FORMAT);
    ful__emit_text(&j, "version", ful_version());
    ful__emit_text(&j, "arm", run->options.arm ? run->options.arm : "");
    ful__emit_int(&j, "seed", (int64_t)run->config.train.seed);
    ful__emit_int(&j, "epochs", run->h.epoch);
    ful__emit_int(&j, "steps", run->h.step);
    ful__emit_bool(&j, "finished", true);
    add_data(&j, run);
    add_figures(&j, run);
    add_times(&j, run);
    add_account(&j, account, &run->h);
    const ful_status status = add_moe(&j, run);
    ful__emit_hex(&j, "init_hash", run->init_hash);
    ful__emit_int(&j, "threads", ful_threads_get());
    ful__emit_text(&j, "cpu", ful_cpu_name());
    ful__emit_close(&j, '}');
    ful__str_add(&j.text, "\n");
    if (status == FUL_OK) return ful__emit_take(&j, out);
    ful__emit_deinit(&j);
    return status;
}

ful_status ful__result_write(ful__run *run)
{
    ful_account account = {0};
    char *text = NULL;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful_net_account(run->net, &account));
    FUL_TRY_GOTO(status, done, result_text(run, &account, &text));
    FUL_TRY_GOTO(status, done, ful__folder_write(run, "result.json", text));
done:
    ful__free(text);
    ful_account_deinit(&account);
    return status;
}

/* A figure at "a.b"; NaN for null. */
static double figure(const json_t *json, const char *outer, const char *inner)
{
    const json_t *value = json_object_get(json, outer);
    if (inner) value = json_object_get(value, inner);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

ful_status ful__result_read(const char *path, ful_result *out)
{
    char *text = NULL;
    size_t bytes = 0;
    FUL_TRY(ful__file_read(path, RESULT_MAX_BYTES, &text, &bytes));
    json_t *json = json_loadb(text, bytes, 0, NULL);
    ful__free(text);
    const char *format = json_string_value(json_object_get(json, "format"));
    if (!format || strcmp(format, RESULT_FORMAT) != 0) {
        json_decref(json);
        return ful__fail(FUL_ERR_FORMAT, "cannot use '%s': it must be JSON of the format '%s'", path, RESULT_FORMAT);
    }
    *out = (ful_result){.test_accuracy = figure(json, "test", "acc"),
                        .test_loss = figure(json, "test", "loss"),
                        .test_accuracy_capacity = figure(json, "test", "acc_capacity"),
                        .val_accuracy = figure(json, "val", "acc"),
                        .train_loss = figure(json, "train", "loss"),
                        .train_accuracy = figure(json, "train", "acc"),
                        .seconds = figure(json, "seconds", "total"),
                        .images_per_second = figure(json, "images_per_s", NULL),
                        .epochs = (int)figure(json, "epochs", NULL)};
    json_decref(json);
    return FUL_OK;
}
