/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum bench: training and inference speed of a net on random input, our side alone (bench/ has the peers). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/peak.h"

enum { ROUNDS_MAX = 1000000, PROFILE_ROUNDS = 5 };
enum { WARM_ROUNDS = 2 }; /* at least, and for WARM_SECONDS */
#define WARM_SECONDS 0.1
#define PEAK_SECONDS 0.2

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The work ---------------------------------------------------------------------------------------------------------------- */

typedef struct subject {
    ful_net *net;
    ful_optim *optim; /* NULL: inference alone */
    float *x, *logits;
    int32_t *label;
    int batch;
    int64_t step;
    double optimiser_seconds;
} subject;

/* Fixed pseudo-random pixels and labels: values do not matter, only that they are neither constant nor denormal. */
static void fill(subject *s, int64_t pixels, int classes)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < pixels; i++) {
        state = state * 1664525u + 1013904223u;
        s->x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    for (int i = 0; i < s->batch; i++) s->label[i] = i % classes;
}

static ful_status open_subject(subject *s, const ful_config *config, int batch, bool train)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = s->batch = batch;
    options.train = train;
    ful_status status = ful_net_build_graph(&config->net, &graph);
    if (status == FUL_OK) status = ful_net_create(graph, &options, &s->net);
    if (status == FUL_OK && train) status = ful_optim_create(&config->train, s->net, &s->optim);
    if (status != FUL_OK) return status;
    const ful_shape in = ful_net_input_shape(s->net);
    const int64_t pixels = (int64_t)batch * in.h * in.w * in.c;
    s->x = malloc((size_t)pixels * sizeof *s->x);
    s->logits = malloc((size_t)batch * (size_t)ful_net_classes(s->net) * sizeof *s->logits);
    s->label = malloc((size_t)batch * sizeof *s->label);
    if (!s->x || !s->logits || !s->label) return FUL_ERR_MEMORY;
    fill(s, pixels, ful_net_classes(s->net));
    return FUL_OK;
}

static void close_subject(subject *s)
{
    ful_optim_destroy(&s->optim);
    ful_net_destroy(&s->net);
    free(s->x);
    free(s->logits);
    free(s->label);
}

typedef ful_status (*work_fn)(subject *s);

static ful_status train_once(subject *s)
{
    ful_step step = {.n = s->batch, .x = s->x, .label = s->label, .step = (uint64_t)s->step};
    ful_status status = ful_net_train_step(s->net, &step);
    const double begin = now();
    if (status == FUL_OK) status = ful_optim_step(s->optim, 1e-4, s->step++, NULL);
    s->optimiser_seconds += now() - begin;
    ful_net_after_step(s->net, &step);
    return status;
}

static ful_status infer_once(subject *s)
{
    return ful_net_predict(s->net, s->batch, s->x, NULL, s->logits);
}

/* Measuring --------------------------------------------------------------------------------------------------------------- */

/* Warms up (inference folds the weights then), and times round after round. */
static ful_status measure(subject *s, work_fn work, int rounds, bench_times *out)
{
    ful_status status = FUL_OK;
    const double begin = now();
    out->seconds = malloc((size_t)rounds * sizeof *out->seconds);
    if (!out->seconds) return FUL_ERR_MEMORY;
    for (int r = 0; status == FUL_OK && (r < WARM_ROUNDS || now() - begin < WARM_SECONDS); r++) status = work(s);
    for (int r = 0; r < rounds && status == FUL_OK; r++) {
        const double start = now();
        status = work(s);
        out->seconds[r] = now() - start;
    }
    out->n = status == FUL_OK ? rounds : 0;
    return status;
}

/* More rounds with every pass timed, apart from those above. */
static ful_status profile(subject *s, int rounds, bool train, bool infer, bench *b)
{
    if (rounds > PROFILE_ROUNDS) rounds = PROFILE_ROUNDS;
    ful_status status = ful_net_profile(s->net, true);
    s->optimiser_seconds = 0;
    for (int r = 0; r < rounds && train && status == FUL_OK; r++) status = train_once(s);
    for (int r = 0; r < rounds && infer && status == FUL_OK; r++) status = infer_once(s);
    b->profiled = true;
    b->optimiser_seconds = s->optimiser_seconds / rounds;
    return status;
}

typedef struct choices {
    int batch, rounds;
    bool train_only, infer_only, profile;
    const char *peaks;
} choices;

static ful_status run_all(const choices *c, bench *b)
{
    subject s = {0};
    const bool train = !c->infer_only, infer = !c->train_only;
    ful_status status = open_subject(&s, b->config, c->batch, train);
    if (status == FUL_OK) status = ful_net_account(s.net, &b->account);
    if (status == FUL_OK && train) status = measure(&s, train_once, c->rounds, &b->train);
    if (status == FUL_OK && infer) status = measure(&s, infer_once, c->rounds, &b->infer);
    if (status == FUL_OK && c->profile) status = profile(&s, c->rounds, train, infer, b);
    if (status == FUL_OK && train) status = ful_net_profile_get(s.net, 0, &b->profile[0]);
    if (status == FUL_OK && infer) status = ful_net_profile_get(s.net, 1, &b->profile[1]);
    close_subject(&s);
    return status;
}

/* The peak ---------------------------------------------------------------------------------------------------------------- */

/* From what bench/peaks wrote: the figure of one thread, or that of all, which must be as many as now. */
static int read_peak(const command *self, const char *path, int threads, double *out)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error), *list = json_object_get(root, "fma_gflops");
    const json_int_t measured = json_integer_value(json_object_get(root, "threads"));
    *out = json_number_value(json_array_get(list, threads == 1 ? 0 : 1));
    json_decref(root);
    if (!root) return usage_error(self, "--peaks %s: %s", path, error.text);
    if (!(*out > 0)) return usage_error(self, "--peaks %s: it must be what bench/peaks --json wrote", path);
    if (threads > 1 && measured != threads)
        return usage_error(self, "--peaks %s: measured on %d threads, but %d are used", path, (int)measured, threads);
    return -1;
}

/* ---- */

/* --arch is one more setting, and the last, so that keys that only its net has may be set beside it. */
static ful_status load(const char *file, const char *arch, text_list *set, ful_config *config)
{
    char setting[256];
    if (arch) {
        snprintf(setting, sizeof setting, "net.arch=%s", arch);
        set->items[set->count++] = setting;
    }
    const ful_status status = ful_config_load(file, set->items, set->count, config);
    if (arch) set->count--;
    return status;
}

/* Sizes that a data set would give. */
static void complete(ful_config *config)
{
    if (config->net.height == 0) config->net.height = 32;
    if (config->net.in_channels == 0) config->net.in_channels = 3;
    if (config->net.classes == 0) config->net.classes = 10;
}

static int run(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL}, *arch = NULL;
    text_list set = {.count = 0};
    choices c = {.batch = 128, .rounds = 10};
    int n_operands, code;
    const option_spec options[] = {
        {"arch", 'a', OPTION_TEXT, &arch, "NAME", "net to run (default: the configuration's)"},
        {"batch", 'b', OPTION_INT, &c.batch, "N", "images a step (default 128)"},
        {"rounds", 'n', OPTION_INT, &c.rounds, "N", "timed steps (default 10)"},
        {"train-only", 0, OPTION_FLAG, &c.train_only, NULL, "training steps alone"},
        {"infer-only", 0, OPTION_FLAG, &c.infer_only, NULL, "inference alone"},
        {"profile", 'p', OPTION_FLAG, &c.profile, NULL, "also say where the time goes, by kind of operation and kernel"},
        {"peaks", 0, OPTION_TEXT, &c.peaks, "FILE", "peak measured by bench/peaks --json (default: a quick measure now)"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the configuration; may be repeated"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (c.batch < 1) return usage_error(self, "--batch %d: must be at least 1", c.batch);
    if (c.rounds < 1 || c.rounds > ROUNDS_MAX) return usage_error(self, "--rounds %d: must be 1 to %d", c.rounds, ROUNDS_MAX);
    if (c.train_only && c.infer_only) return usage_error(self, "--train-only and --infer-only leave nothing to measure");
    if (arch && set.count == SET_MAX) return usage_error(self, "--set given more than %d times beside --arch", SET_MAX - 1);
    ful_config config;
    ful_status status = load(operands[0], arch, &set, &config);
    if (status != FUL_OK) return fail(status);
    complete(&config);
    bench b = {.config = &config, .batch = c.batch, .threads = ful_threads_get()};
    if (!c.peaks) b.peak_gflops = peak_fma_gflops(b.threads, PEAK_SECONDS);
    if (c.peaks && (code = read_peak(self, c.peaks, b.threads, &b.peak_gflops)) >= 0) return code;
    status = run_all(&c, &b);
    code = status == FUL_OK ? bench_show(&b) : fail(status);
    ful_account_deinit(&b.account);
    for (int i = 0; i < 2; i++) ful_profile_deinit(&b.profile[i]);
    free(b.train.seconds);
    free(b.infer.seconds);
    return code;
}

const command cmd_bench = {"bench", "[CONFIG.yaml] [--arch NAME] [--batch N]",
                           "Measure training and inference speed of a net on random input",
                           "Medians over the rounds. The share is that of the measured peak of float32 fused multiply-adds; "
                           "algorithms that save\nmultiplications (Winograd) can exceed it. Comparisons with other frameworks, "
                           "interleaved in one run: make bench.",
                           run};
