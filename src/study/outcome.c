/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers what the runs of a study left in their folders into the object of doc/format-study.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/judged.h"
#include "study/study.h"

static ful_status out_of_memory(void)
{
    return ful__fail(FUL_ERR_MEMORY, "cannot collect the study: out of memory for its results");
}

/* Worst layer of a run: the one with the fewest effective experts a nominal one. NULL without mixtures. */
static const json_t *worst_layer(const json_t *result)
{
    const json_t *layers = json_object_get(result, "moe"), *worst = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        const double share = ful__json_number(layer, "effective_experts") / ful__json_number(layer, "experts");
        if (share < least) {
            least = share;
            worst = layer;
        }
    }
    return worst;
}

/* The figures of a finished run that the study needs. Takes nothing over. */
static int copy_figures(json_t *run, const json_t *result)
{
    static const char *const pairs[][2] = {
        {"acc", "test.acc"},
        {"acc_capacity", "test.acc_capacity"},
        {"loss", "test.loss"},
        {"train_acc", "train.acc"},
        {"train_loss", "train.loss"},
        {"val_acc", "val.acc"},
        {"seconds", "seconds.train"},
        {"images_per_s", "images_per_s"},
        {"infer_images_per_s", "infer_images_per_s"},
        {"best_acc_seen", "curve.best_test_acc_seen"},
    };
    int bad = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        bad |= json_object_set_new(run, pairs[i][0], ful__json_real(ful__json_number(result, pairs[i][1])));
    bad |= json_object_set_new(run, "init_hash", json_string(ful__json_string(result, "init_hash")));
    const json_t *layer = worst_layer(result);
    if (!layer) return bad;
    const json_t *train = json_object_get(layer, "train");
    bad |= json_object_set_new(run, "drop_rate", ful__json_real(ful__json_number(train, "drop_rate")));
    bad |= json_object_set_new(run, "effective_experts", ful__json_real(ful__json_number(layer, "effective_experts")));
    bad |= json_object_set_new(run, "dead", ful__json_real(ful__json_number(layer, "dead")));
    bad |= json_object_set_new(run, "class_mi", ful__json_real(ful__json_number(layer, "class_mi")));
    bad |= json_object_set_new(run, "gate_mass", ful__json_real(ful__json_number(layer, "gate_mass")));
    const bool collapsed = json_is_true(json_object_get(layer, "alarm")) || json_is_true(json_object_get(train, "alarm")) ||
                           json_is_true(json_object_get(layer, "collapse_sign"));
    return bad | json_object_set_new(run, "collapsed", json_boolean(collapsed));
}

/* One run's object; *result_out (new reference) is its result.json or NULL. */
static ful_status collect_run(const ful_study *s, int arm, int seed, json_t **run_out, json_t **result_out)
{
    char *path = NULL, *error_path = NULL, *folder = NULL;
    json_t *failure = NULL, *run = json_object();
    *result_out = NULL;
    *run_out = run;
    ful_status status = run ? FUL_OK : out_of_memory();
    if (status == FUL_OK) status = ful__study_path(s, arm, seed, "", &folder);
    if (status == FUL_OK) status = ful__study_path(s, arm, seed, "/result.json", &path);
    if (status == FUL_OK) status = ful__study_path(s, arm, seed, "/error.json", &error_path);
    if (status == FUL_OK) {
        const char *state = "missing", *why = NULL;
        if (ful__path_exists(path)) {
            if (ful__json_load(path, result_out) == FUL_OK)
                state = "done";
            else
                state = "failed", why = ful_error_message();
        } else if (ful__path_exists(error_path) && ful__json_load(error_path, &failure) == FUL_OK) {
            state = "failed";
            why = ful__json_string(failure, "message");
        }
        int bad = json_object_set_new(run, "seed", json_integer((json_int_t)s->seeds[seed]));
        bad |= json_object_set_new(run, "status", json_string(state));
        bad |= json_object_set_new(run, "folder", json_string(folder + strlen(s->folder) + 1));
        bad |= json_object_set_new(run, "error", why ? ful__json_text(why) : json_null());
        if (*result_out) bad |= copy_figures(run, *result_out);
        if (bad) status = out_of_memory();
        if (status == FUL_OK && *result_out) status = ful__judge_run(s->folder, run);
    }
    json_decref(failure);
    ful__free(path);
    ful__free(error_path);
    ful__free(folder);
    return status;
}

/* ---- summaries over the runs of an arm ---- */

static int finite_values(const json_t *runs, const char *key, double *out)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const double value = ful__json_number(json_array_get(runs, i), key);
        if (isfinite(value)) out[n++] = value;
    }
    return n;
}

static double mean(const double *x, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += x[i];
    return n > 0 ? sum / n : NAN;
}

static double deviation(const double *x, int n)
{
    const double centre = mean(x, n);
    double square = 0.0;
    for (int i = 0; i < n; i++) square += (x[i] - centre) * (x[i] - centre);
    return n > 1 ? sqrt(square / (n - 1)) : NAN;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    if (n == 0) return NAN;
    qsort(x, (size_t)n, sizeof *x, compare);
    return 0.5 * (x[(n - 1) / 2] + x[n / 2]);
}

/* Health of each layer averaged over the finished runs' results. */
static json_t *arm_health(json_t *const *results, int n_results)
{
    json_t *layers = json_array();
    const json_t *first = NULL;
    for (int i = 0; i < n_results && !first; i++) first = results[i] ? json_object_get(results[i], "moe") : NULL;
    for (size_t l = 0; l < json_array_size(first); l++) {
        static const char *const pairs[][2] = {
            {"effective_experts", "effective_experts"}, {"dead", "dead"},         {"drop_rate", "train.drop_rate"},
            {"entropy_norm", "entropy_marginal_norm"},  {"class_mi", "class_mi"}, {"change_rate", "change_rate"}};
        json_t *layer = json_object();
        const char *name = ful__json_string(json_array_get(first, l), "layer");
        int bad = json_object_set_new(layer, "layer", json_string(name)), collapsed = 0;
        for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
            double sum = 0.0;
            int n = 0;
            for (int i = 0; i < n_results; i++) {
                const json_t *row = results[i] ? json_array_get(json_object_get(results[i], "moe"), l) : NULL;
                const double value = ful__json_number(row, pairs[p][1]);
                if (!isfinite(value)) continue;
                sum += value;
                n++;
            }
            bad |= json_object_set_new(layer, pairs[p][0], ful__json_real(n ? sum / n : NAN));
        }
        for (int i = 0; i < n_results; i++) {
            const json_t *row = results[i] ? json_array_get(json_object_get(results[i], "moe"), l) : NULL;
            collapsed += json_is_true(json_object_get(row, "collapse_sign"));
        }
        bad |= json_object_set_new(layer, "collapsed", json_integer(collapsed));
        bad |= json_array_append_new(layers, layer);
        if (bad) {
            json_decref(layers);
            return NULL;
        }
    }
    return layers;
}

/* Figures that do not depend on the seed come from the first finished run. */
static int copy_account(json_t *object, json_t *const *results, int n_results)
{
    double measured = 0.0;
    int n = 0, bad = 0;
    const json_t *first = NULL;
    for (int i = 0; i < n_results; i++) {
        const double value = ful__json_number(results[i], "rho.exec_measured");
        if (results[i] && !first) first = results[i];
        if (!isfinite(value)) continue;
        measured += value;
        n++;
    }
    static const char *const blocks[] = {"macs", "params", "rho", "memory"};
    for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
        json_t *copy = first ? json_deep_copy(json_object_get(first, blocks[b])) : NULL;
        bad |= json_object_set_new(object, blocks[b], copy ? copy : json_null());
    }
    json_t *rho = json_object_get(object, "rho");
    if (json_is_object(rho)) bad |= json_object_set_new(rho, "exec_measured", ful__json_real(n ? measured / n : NAN));
    return bad;
}

static ful_status collect_arm(ful_study *s, int a, json_t **arm_out, json_t **data_out)
{
    ful__arm *arm = &s->arms[a];
    json_t **results = NULL;
    double *values = NULL;
    json_t *object = json_object(), *runs = json_array();
    *arm_out = object;
    ful_status status = object && runs ? FUL_OK : out_of_memory();
    if (status == FUL_OK) status = ful__calloc(&results, (size_t)s->n_seeds, sizeof *results, "results");
    if (status == FUL_OK) status = ful__calloc(&values, (size_t)s->n_seeds, sizeof *values, "results");
    for (int i = 0; i < s->n_seeds && status == FUL_OK; i++) {
        json_t *run = NULL;
        status = collect_run(s, a, i, &run, &results[i]);
        if (json_array_append_new(runs, run) && status == FUL_OK) status = out_of_memory();
        if (status == FUL_OK && !results[i]) s->missing++;
        if (results[i] && !*data_out) *data_out = json_incref(json_object_get(results[i], "data"));
    }
    char *yaml = NULL;
    if (status == FUL_OK) status = ful_config_write(&arm->config, &yaml);
    if (status == FUL_OK) {
        int bad = json_object_set_new(object, "name", json_string(arm->name));
        bad |= json_object_set_new(object, "kind", json_string(ful__arm_kind_name(arm->kind)));
        bad |= json_object_set_new(object, "label", json_string(arm->label));
        bad |= json_object_set_new(object, "config", json_string(yaml));
        const int n = finite_values(runs, "acc", values);
        bad |= json_object_set_new(object, "n", json_integer(n));
        bad |= json_object_set_new(object, "acc_mean", ful__json_real(mean(values, n)));
        bad |= json_object_set_new(object, "acc_sd", ful__json_real(deviation(values, n)));
        bad |= json_object_set_new(object, "acc_capacity_mean",
                                   ful__json_real(mean(values, finite_values(runs, "acc_capacity", values))));
        bad |= json_object_set_new(object, "train_acc_mean",
                                   ful__json_real(mean(values, finite_values(runs, "train_acc", values))));
        bad |= json_object_set_new(object, "images_per_s_median",
                                   ful__json_real(median(values, finite_values(runs, "images_per_s", values))));
        bad |= json_object_set_new(object, "infer_images_per_s_median",
                                   ful__json_real(median(values, finite_values(runs, "infer_images_per_s", values))));
        bad |= copy_account(object, results, s->n_seeds);
        for (int i = 0; i < arm->config.net.n_moe; i++)
            if (arm->config.net.moe[i].dense == 0) {
                bad |= json_object_set_new(object, "experts", json_integer(arm->config.net.moe[i].moe.experts));
                bad |= json_object_set_new(object, "k", json_integer(arm->config.net.moe[i].moe.k));
                bad |= json_object_set_new(object, "renorm", json_boolean(arm->config.net.moe[i].moe.gate == FUL_GATE_RENORM));
                break;
            }
        bad |= json_object_set_new(object, "health", arm_health(results, s->n_seeds));
        bad |= json_object_set(object, "runs", runs);
        if (bad) status = out_of_memory();
        if (status == FUL_OK) status = ful__judge_arm(object, s->level);
    }
    ful_free(yaml);
    for (int i = 0; results && i < s->n_seeds; i++) json_decref(results[i]);
    ful__free(results);
    ful__free(values);
    json_decref(runs);
    return status;
}

ful_status ful__study_collect(ful_study *s, json_t **out)
{
    json_t *root = json_object(), *arms = json_array(), *seeds = json_array(), *data = NULL;
    static const char *const tests[] = {"t", "flip", "sign"};
    *out = NULL;
    s->missing = 0;
    ful_status status = root && arms && seeds ? FUL_OK : out_of_memory();
    for (int i = 0; i < s->n_arms && status == FUL_OK; i++) {
        json_t *arm = NULL;
        status = collect_arm(s, i, &arm, &data);
        if (json_array_append_new(arms, arm) && status == FUL_OK) status = out_of_memory();
    }
    int bad = 0;
    for (int i = 0; i < s->n_seeds; i++) bad |= json_array_append_new(seeds, json_integer((json_int_t)s->seeds[i]));
    bad |= json_object_set_new(root, "format", json_string("fulcrum-study-1"));
    bad |= json_object_set_new(root, "version", json_string(ful_version()));
    bad |= json_object_set_new(root, "name", json_string(s->name));
    bad |= json_object_set_new(root, "about", json_string(s->about));
    bad |= json_object_set_new(root, "level", json_real(s->level));
    bad |= json_object_set_new(root, "alpha", json_real(1.0 - s->level));
    bad |= json_object_set_new(root, "test", json_string(tests[s->test]));
    bad |= json_object_set(root, "seeds", seeds);
    bad |= json_object_set_new(root, "missing", json_integer(s->missing));
    bad |= json_object_set_new(root, "data", data ? data : json_null());
    bad |= json_object_set(root, "arms", arms);
    json_decref(arms);
    json_decref(seeds);
    if (status == FUL_OK && bad) status = out_of_memory();
    if (status != FUL_OK) {
        json_decref(root);
        return status;
    }
    *out = root;
    return FUL_OK;
}
