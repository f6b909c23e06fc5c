/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses how many runs at once, and how many threads each. */
#include "study/jobs.h"

#include <fulcrum/core.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"

/* Of the free memory the runs may plan with so much: the page cache of the data set and the neighbours need some. */
static const double MEMORY_SHARE = 0.85;

/* ---- the choice ---- */

static void add_choice(ful__jobs *j, int jobs, int threads)
{
    for (int i = 0; i < j->n_choices; i++)
        if (j->choices[i].jobs == jobs && j->choices[i].threads == threads) return;
    if (j->n_choices == FUL__CHOICES_MAX) return;
    j->choices[j->n_choices++] = (ful__choice){.jobs = jobs, .threads = threads, .step_seconds = NAN, .total_seconds = NAN};
}

void ful__jobs_list(ful__jobs *j)
{
    int most = j->n_runs < FUL__JOBS_MAX ? j->n_runs : FUL__JOBS_MAX;
    const double fit = floor(MEMORY_SHARE * j->free_bytes / fmax(j->run_bytes, 1.0));
    if (most > j->cores) most = j->cores;
    if (fit < most) most = fit > 1.0 ? (int)fit : 1;
    if (most < 1) most = 1;
    j->n_choices = 0;
    const int wide = j->cores / most;
    add_choice(j, most, wide);
    int threads = 1;
    while (threads * 2 < wide) threads *= 2;
    for (; threads >= 1; threads /= 2) add_choice(j, most, threads); /* a few runs may be faster on fewer cores */
    for (threads = 2; threads < j->cores; threads *= 2)
        if (threads > wide) add_choice(j, j->cores / threads, threads);
    add_choice(j, 1, j->cores);
}

double ful__jobs_makespan(const double *seconds, int n, int jobs)
{
    double ends[FUL__JOBS_MAX] = {0.0}, last = 0.0;
    if (jobs > FUL__JOBS_MAX) jobs = FUL__JOBS_MAX;
    for (int i = 0; i < n; i++) {
        int first = 0;
        for (int k = 1; k < jobs; k++)
            if (ends[k] < ends[first]) first = k;
        ends[first] += seconds[i];
        last = fmax(last, ends[first]);
    }
    return last;
}

ful_status ful__jobs_predict(const ful__jobs *j, ful__choice *choice, double steps, double setup_seconds)
{
    double *seconds, most = 0.0;
    FUL_TRY(ful__calloc(&seconds, (size_t)j->n_runs, sizeof *seconds, "times of runs"));
    for (int i = 0; i < j->n_runs; i++) most = fmax(most, j->work[i]);
    for (int i = 0; i < j->n_runs; i++) {
        const double share = most > 0.0 ? j->work[i] / most : 1.0;
        seconds[i] = setup_seconds + share * steps * choice->step_seconds;
    }
    choice->total_seconds = ful__jobs_makespan(seconds, j->n_runs, choice->jobs);
    ful__free(seconds);
    return FUL_OK;
}

void ful__jobs_choose(ful__jobs *j)
{
    int best = 0;
    for (int i = 1; i < j->n_choices && isfinite(j->choices[0].total_seconds); i++)
        if (j->choices[i].total_seconds < j->choices[best].total_seconds) best = i;
    j->chosen = j->choices[best];
    j->why = isfinite(j->chosen.total_seconds) ? "measured" : "rule";
}

static size_t add_duration(char *text, size_t size, double seconds)
{
    const long whole = lround(seconds);
    const int n = seconds < 60.0 ? snprintf(text, size, "%.1f s", seconds)
                  : whole < 3600 ? snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60)
                                 : snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

void ful__jobs_text(const ful__jobs *j, char *text, size_t size)
{
    static const struct {
        const char *why, *text;
    } reasons[] = {{"asked", "as asked"},
                   {"kept", "the threads this study began with"},
                   {"rule", "one job a core, as far as runs and memory go; too short a study to measure"},
                   {"measured", "measured, all of it would take"}};
    const ful__choice *c = &j->chosen;
    size_t used = (size_t)snprintf(text, size, "%d run%s at once, %d thread%s each (", c->jobs, c->jobs == 1 ? "" : "s",
                                   c->threads, c->threads == 1 ? "" : "s");
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (strcmp(reasons[i].why, j->why) == 0) used += (size_t)snprintf(text + used, size - used, "%s", reasons[i].text);
    for (int i = 0, n = 0; i < j->n_choices && used + 64 < size && strcmp(j->why, "measured") == 0; i++) {
        const ful__choice *k = &j->choices[i];
        if (!isfinite(k->total_seconds)) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%d x %d ", n++ ? ", " : " ", k->jobs, k->threads);
        used += add_duration(text + used, size - used, k->total_seconds);
    }
    snprintf(text + used, size - used, ")");
}

/* ---- work and memory ---- */

/* The net's size without its data: where the data set decides, its usual shape stands in. Only ratios between arms matter. */
static ful_status account_arm(const ful_config *config, ful_account *out)
{
    ful_net_config net = config->net;
    ful_graph *graph = NULL;
    if (net.height == 0) net.height = config->data.size ? config->data.size : 32;
    if (net.in_channels == 0) net.in_channels = config->data.channels ? config->data.channels : 3;
    if (net.classes == 0) net.classes = 10;
    FUL_TRY(ful_net_build_graph(&net, &graph));
    const ful_status status = ful_graph_account(graph, out);
    ful_graph_destroy(&graph);
    return status;
}

static double images_of(const ful_data_config *data)
{
    if (strcmp(data->name, "clusters") == 0) return data->gen_train;
    return data->train_limit ? data->train_limit : 50000.0;
}

ful_status ful__jobs_account(const ful_study *s, double *work, double *bytes_out, int *heaviest_out)
{
    *bytes_out = 0.0;
    *heaviest_out = 0;
    for (int a = 0; a < s->n_arms; a++) {
        const ful_config *config = &s->arms[a].config;
        ful_account account;
        double values = 0.0;
        FUL_TRY(account_arm(config, &account));
        for (int i = 0; i < account.n_layers; i++) {
            const ful_shape out = account.layers[i].out;
            values += (double)out.h * out.w * out.c;
        }
        /* forward, and twice that backward */
        work[a] = 3.0 * (double)account.macs * images_of(&config->data) * config->train.epochs;
        /* activations and their gradients, with scratch; values, gradients, momentum, packed copies; libraries and data */
        const double bytes = 12.0 * values * config->train.batch + 24.0 * (double)account.params + 128e6;
        *bytes_out = fmax(*bytes_out, bytes);
        if (work[a] > work[*heaviest_out]) *heaviest_out = a;
        ful_account_deinit(&account);
    }
    return FUL_OK;
}

/* ---- the folder ---- */

static ful_status path_of_record(const ful_study *s, char **out)
{
    return ful__path_join(out, s->folder, "jobs.json");
}

/* Studies begun before there was a record: their results name the threads. */
static ful_status threads_of_results(const ful_study *s, int *threads)
{
    for (int i = 0; i < s->n_seeds && *threads == 0; i++)
        for (int a = 0; a < s->n_arms && *threads == 0; a++) {
            char *path = NULL;
            json_t *result = NULL;
            FUL_TRY(ful__study_path(s, a, i, "/result.json", &path));
            if (ful__path_exists(path) && ful__json_load(path, &result) == FUL_OK) {
                const double found = ful__json_number(result, "threads");
                *threads = found >= 1.0 && found <= 1024.0 ? (int)found : 1;
            }
            json_decref(result);
            ful__free(path);
        }
    return FUL_OK;
}

ful_status ful__jobs_recall(const ful_study *s, ful__choice *out, double *run_bytes)
{
    char *path = NULL;
    json_t *record = NULL;
    *out = (ful__choice){.step_seconds = NAN, .total_seconds = NAN};
    FUL_TRY(path_of_record(s, &path));
    ful_status status = ful__path_exists(path) ? ful__json_load(path, &record) : threads_of_results(s, &out->threads);
    if (status == FUL_OK && record) {
        const double jobs = ful__json_number(record, "jobs"), threads = ful__json_number(record, "threads");
        const double bytes = ful__json_number(record, "run_bytes");
        if (jobs >= 1.0 && jobs <= FUL__JOBS_MAX && threads >= 1.0 && threads <= 1024.0)
            *out = (ful__choice){.jobs = (int)jobs, .threads = (int)threads, .step_seconds = NAN, .total_seconds = NAN};
        else
            status = ful__fail(FUL_ERR_FORMAT, "cannot use %s: jobs must be in 1..%d, threads in 1..1024", path, FUL__JOBS_MAX);
        if (bytes > 0.0) *run_bytes = bytes;
    }
    json_decref(record);
    ful__free(path);
    return status;
}

ful_status ful__jobs_record(const ful_study *s, const ful__jobs *j)
{
    char *path = NULL;
    json_t *choices = json_array();
    for (int i = 0; i < j->n_choices; i++) {
        const ful__choice *c = &j->choices[i];
        if (isfinite(c->step_seconds))
            json_array_append_new(choices, json_pack("{s:i, s:i, s:o, s:o}", "jobs", c->jobs, "threads", c->threads,
                                                     "step_seconds", ful__json_real(c->step_seconds), "total_seconds",
                                                     ful__json_real(c->total_seconds)));
    }
    json_t *record = json_pack("{s:s, s:i, s:i, s:s, s:i, s:o, s:s, s:o}", "format", "fulcrum-jobs-1", "jobs", j->chosen.jobs,
                               "threads", j->chosen.threads, "why", j->why, "cores", j->cores, "run_bytes",
                               ful__json_real(j->run_bytes), "arm", s->arms[j->heaviest].name, "measured", choices);
    char *text = record ? json_dumps(record, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    ful_status status = text ? path_of_record(s, &path) : ful__fail(FUL_ERR_MEMORY, "cannot write jobs.json: out of memory");
    if (status == FUL_OK) status = ful__file_write(path, text, strlen(text));
    ful__free(path);
    free(text);
    json_decref(record);
    return status;
}
