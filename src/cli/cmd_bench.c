/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum bench: training and inference speed of a net on random input, our side alone (bench/ has the peers). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum { ROUNDS_MAX = 1000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct timing {
    double median, least;
} timing;

static timing summarise(double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof *seconds, compare);
    return (timing){.median = 0.5 * (seconds[(n - 1) / 2] + seconds[n / 2]), .least = seconds[0]};
}

/* Fixed pseudo-random pixels and labels: values do not matter, only that they are neither constant nor denormal. */
static void fill(float *x, int64_t n, int32_t *label, int batch, int classes)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    for (int i = 0; i < batch; i++) label[i] = i % classes;
}

static void sgd(ful_net *net, float lr)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        if (ful_net_tensor(net, i, &t) != FUL_OK || !t.grad) continue;
        for (int64_t j = 0; j < t.count; j++) {
            t.value[j] -= lr * t.grad[j];
            t.grad[j] = 0.0f;
        }
    }
}

static ful_status measure(ful_net *net, int batch, int rounds, timing *train, timing *infer)
{
    static double train_s[ROUNDS_MAX], infer_s[ROUNDS_MAX];
    const ful_shape in = ful_net_input_shape(net);
    const int64_t pixels = (int64_t)batch * in.h * in.w * in.c;
    const int classes = ful_net_classes(net);
    float *x = malloc((size_t)pixels * sizeof *x), *logits = malloc((size_t)batch * (size_t)classes * sizeof *logits);
    int32_t *label = malloc((size_t)batch * sizeof *label);
    ful_status status = x && logits && label ? FUL_OK : FUL_ERR_MEMORY;
    if (status == FUL_OK) fill(x, pixels, label, batch, classes);
    for (int r = -1; r < rounds && status == FUL_OK; r++) { /* the first round warms up */
        ful_step step = {.n = batch, .x = x, .label = label, .step = (uint64_t)(r + 1)};
        double t = now();
        status = ful_net_train_step(net, &step);
        sgd(net, 1e-4f);
        ful_net_after_step(net, &step);
        if (r >= 0) train_s[r] = now() - t;
        if (status != FUL_OK) break;
        status = ful_net_predict(net, batch, x, NULL, logits); /* pays for folding the new weights: not timed */
        t = now();
        if (status == FUL_OK) status = ful_net_predict(net, batch, x, NULL, logits);
        if (r >= 0) infer_s[r] = now() - t;
    }
    if (status == FUL_OK) {
        *train = summarise(train_s, rounds);
        *infer = summarise(infer_s, rounds);
    }
    free(x);
    free(logits);
    free(label);
    return status;
}

static int show(const ful_config *config, const ful_account *account, int batch, timing train, timing infer)
{
    const double step_macs = 3.0 * (double)account->macs * batch;
    if (common.json) {
        printf("{\"arch\": \"%s\", \"batch\": %d, \"threads\": %d, \"train_images_per_s\": %.1f, \"train_images_per_s_best\": "
               "%.1f, "
               "\"infer_images_per_s\": %.1f, \"infer_images_per_s_best\": %.1f, \"macs\": %lld}\n",
               config->net.arch, batch, ful_threads_get(), batch / train.median, batch / train.least, batch / infer.median,
               batch / infer.least, (long long)account->macs);
        return EXIT_OK;
    }
    printf("%s, batch %d, %d threads, %.2f MMACs an image (%.1f %% routed)\n", config->net.arch, batch, ful_threads_get(),
           1e-6 * (double)account->macs, 100.0 * account->rho_exec);
    printf("train  %8.1f images/s (median; best %.1f)  %7.1f GFLOP/s\n", batch / train.median, batch / train.least,
           2e-9 * step_macs / train.median);
    printf("infer  %8.1f images/s (median; best %.1f)  %7.1f GFLOP/s\n", batch / infer.median, batch / infer.least,
           2e-9 * (double)account->macs * batch / infer.median);
    return EXIT_OK;
}

static int run(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL}, *arch = NULL;
    text_list set = {.count = 0};
    int n_operands, code, batch = 128, rounds = 10;
    const option_spec options[] = {
        {"arch", 'a', OPTION_TEXT, &arch, "NAME", "net to run (default: the configuration's)"},
        {"batch", 'b', OPTION_INT, &batch, "N", "images a step (default 128)"},
        {"rounds", 'n', OPTION_INT, &rounds, "N", "timed steps (default 10)"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the configuration; may be repeated"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (batch < 1) return usage_error(self, "--batch %d: must be at least 1", batch);
    if (rounds < 1 || rounds > ROUNDS_MAX) return usage_error(self, "--rounds %d: must be 1 to %d", rounds, ROUNDS_MAX);
    ful_config config;
    ful_graph *graph = NULL;
    ful_net *net = NULL;
    ful_account account = {0};
    ful_status status = ful_config_load(operands[0], set.items, set.count, &config);
    if (status != FUL_OK) return fail(status);
    if (arch) snprintf(config.net.arch, sizeof config.net.arch, "%s", arch);
    if (config.net.height == 0) config.net.height = 32;
    if (config.net.in_channels == 0) config.net.in_channels = 3;
    if (config.net.classes == 0) config.net.classes = 10;
    ful_net_options net_options;
    ful_net_options_defaults(&net_options);
    net_options.batch_max = batch;
    timing train = {0}, infer = {0};
    status = ful_net_build_graph(&config.net, &graph);
    if (status == FUL_OK) status = ful_net_create(graph, &net_options, &net);
    if (status == FUL_OK) status = ful_net_account(net, &account);
    if (status == FUL_OK) status = measure(net, batch, rounds, &train, &infer);
    code = status == FUL_OK ? show(&config, &account, batch, train, infer) : fail(status);
    ful_account_deinit(&account);
    ful_net_destroy(&net);
    return code;
}

const command cmd_bench = {
    "bench", "[CONFIG.yaml] [--arch NAME] [--batch N]", "Measure training and inference speed of a net on random input",
    "Medians over the rounds. Comparisons with other frameworks, interleaved in one run, are in bench/ (make bench).", run};
