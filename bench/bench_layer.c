/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a mixture costs beyond its arithmetic: a top-k-of-E MoE MLP layer (dropless, residual) against the dense
 * linear-gelu-linear of the same active MACs (width k * hidden), forward + backward, weights packed anew in each step as in
 * training. The two take turns (A B A B), so that what disturbs one disturbs both; medians over the rounds.
 *
 *   bench_layer [--tokens T]… [--experts E] [--k K] [--width D] [--hidden H] [--threads N] [--rounds R] [--json]
 *
 * Defaults: 8192, 1024 and 256 tokens, top 2 of 8, d 192, h 768, 15 rounds.
 */
#include <fulcrum/core.h>
#include <fulcrum/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/time.h"
#include "graph/exec.h"
#include "moe/moe_op.h"

enum { ROUNDS_MOST = 1000, TOKENS_MOST = 1 << 20, RUNS_MOST = 16, SUBJECTS = 2 };

typedef struct choices {
    int tokens[RUNS_MOST], n_tokens, experts, k, width, hidden, threads, rounds;
    bool json;
} choices;

/* Subjects ----------------------------------------------------------------------------------------------------------------- */

typedef struct subject {
    ful_graph *graph;
    ful__exec *exec;
    ful__pages memory; /* parameters, gradients, boundary buffers, work, packed */
    float **w, **dw;
    int64_t weights;
    ful__exec_run run;
    ful__counters counters;
    double forward[ROUNDS_MOST], step[ROUNDS_MOST];
} subject;

static ful_status build_dense(ful_graph *g, ful_node x, const choices *c, ful_node *out)
{
    ful_linear_attr attr;
    ful_linear_defaults(&attr);
    attr.out_features = c->k * c->hidden;
    FUL_TRY(ful_graph_linear(g, "fc1", x, &attr, &x));
    FUL_TRY(ful_graph_act(g, "act", x, FUL_ACT_GELU, &x));
    attr.out_features = c->width;
    return ful_graph_linear(g, "fc2", x, &attr, out);
}

static ful_status build_moe(ful_graph *g, ful_node x, const choices *c, ful_node *out)
{
    ful_moe_attr attr;
    ful_moe_defaults(&attr, FUL_EXPERT_MLP);
    attr.experts = c->experts;
    attr.k = c->k;
    attr.hidden = c->hidden;
    attr.capacity_permille = 0;
    return ful_graph_moe(g, "moe", x, &attr, out);
}

static float *take(char **at, int64_t count)
{
    float *p = (float *)(void *)*at;
    *at += ful__align64((size_t)count * sizeof(float));
    return p;
}

static void fill(float *x, int64_t count, const char *name, float sd)
{
    ful__rng_fill_normal(ful__stream_make(1, "bench", name), 0, sd, x, (size_t)count);
}

/* Everything a run needs, out of one block. */
static ful_status lay_out(subject *s, int tokens, int width)
{
    const int n = ful__exec_n_params(s->exec);
    const int64_t values = (int64_t)tokens * width;
    int64_t floats = 4 * values;
    for (int i = 0; i < n; i++) floats += 2 * (ful__exec_param(s->exec, i)->count + 16);
    const size_t work = ful__align64(ful__exec_work_bytes(s->exec, tokens));
    FUL_TRY(
        ful__pages_alloc(&s->memory, (size_t)floats * sizeof(float) + work + ful__exec_packed_bytes(s->exec) + 512, "bench"));
    FUL_TRY(ful__calloc(&s->w, (size_t)n, sizeof *s->w, "bench"));
    FUL_TRY(ful__calloc(&s->dw, (size_t)n, sizeof *s->dw, "bench"));
    char *at = s->memory.ptr;
    for (int i = 0; i < n; i++) {
        const ful__param *p = ful__exec_param(s->exec, i);
        s->weights += p->count;
        s->w[i] = take(&at, p->count);
        s->dw[i] = take(&at, p->count);
        fill(s->w[i], p->count, p->name, 0.05f);
    }
    float *in = take(&at, values), *dy = take(&at, values);
    fill(in, values, "x", 1);
    fill(dy, values, "dy", 1);
    s->run = (ful__exec_run){.n = tokens, .repack = true, .w = s->w, .dw = s->dw, .x = in, .dy = dy, .counters = &s->counters};
    s->run.y = take(&at, values);
    s->run.dx = take(&at, values);
    s->run.work = at;
    s->run.packed = at + work;
    return FUL_OK;
}

static ful_status open_subject(subject *s, bool moe, int tokens, const choices *c)
{
    ful_node x, y;
    FUL_TRY(ful_graph_create(&s->graph));
    FUL_TRY(ful_graph_input(s->graph, (ful_shape){1, 1, c->width}, &x));
    FUL_TRY((moe ? build_moe : build_dense)(s->graph, x, c, &y));
    const ful__exec_spec spec = {.n_max = tokens, .train = true, .need_dx = true};
    FUL_TRY(ful__exec_create(s->graph, &spec, &s->exec));
    return lay_out(s, tokens, c->width);
}

static void close_subject(subject *s)
{
    ful__exec_destroy(&s->exec);
    ful_graph_destroy(&s->graph);
    ful__pages_free(&s->memory);
    ful__free(s->w);
    ful__free(s->dw);
}

static ful_status one_step(subject *s, int round)
{
    const double begin = ful__seconds();
    s->counters = (ful__counters){0};
    FUL_TRY(ful__exec_forward(s->exec, &s->run));
    const double middle = ful__seconds();
    FUL_TRY(ful__exec_backward(s->exec, &s->run));
    s->forward[round] = middle - begin;
    s->step[round] = ful__seconds() - begin;
    return FUL_OK;
}

/* Showing ------------------------------------------------------------------------------------------------------------------ */

static const char *const names[SUBJECTS] = {"dense", "moe"};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static void show(subject *s, int tokens, int rounds)
{
    double ratio[ROUNDS_MOST], step[SUBJECTS];
    for (int i = 0; i < rounds; i++) ratio[i] = s[1].step[i] / s[0].step[i];
    for (int i = 0; i < SUBJECTS; i++) {
        const double forward = median(s[i].forward, rounds), macs = (double)s[i].counters.macs;
        step[i] = median(s[i].step, rounds);
        printf("%-6d %-6s %11.2f %11.2f %11.2f %9.1f %9.1f", tokens, names[i], 1e3 * forward, 1e3 * (step[i] - forward),
               1e3 * step[i], macs * 2e-9 / forward, macs * 6e-9 / step[i]);
        if (i == 1) printf("   %.3f  %.3f", step[1] / step[0], median(ratio, rounds));
        printf("\n");
    }
}

static void show_json(const subject *s, int tokens, int rounds, bool first)
{
    printf("%s{\"tokens\": %d", first ? "" : ",\n ", tokens);
    for (int i = 0; i < SUBJECTS; i++) {
        printf(", \"%s\": {\"macs\": %lld, \"weights\": %lld, \"seconds\": [", names[i], (long long)s[i].counters.macs,
               (long long)s[i].weights);
        for (int r = 0; r < rounds; r++) printf("%s%.9f", r ? ", " : "", s[i].step[r]);
        printf("]}");
    }
    printf("}");
}

/* ---- */

static ful_status compare(const choices *c, int run)
{
    static subject subjects[SUBJECTS];
    const int tokens = c->tokens[run];
    ful_status status = FUL_OK;
    for (int i = 0; i < SUBJECTS; i++) subjects[i] = (subject){0};
    for (int i = 0; i < SUBJECTS; i++) FUL_TRY_GOTO(status, done, open_subject(&subjects[i], i == 1, tokens, c));
    for (int round = -2; round < c->rounds; round++) /* two to warm up */
        for (int i = 0; i < SUBJECTS; i++) FUL_TRY_GOTO(status, done, one_step(&subjects[i], round < 0 ? 0 : round));
    if (c->json)
        show_json(subjects, tokens, c->rounds, run == 0);
    else
        show(subjects, tokens, c->rounds);
done:
    for (int i = 0; i < SUBJECTS; i++) close_subject(&subjects[i]);
    return status;
}

static bool parse(int argc, char **argv, choices *c)
{
    const struct {
        const char *name;
        int *value, most;
    } options[] = {{"--experts", &c->experts, FUL_EXPERTS_MAX},
                   {"--k", &c->k, FUL_EXPERTS_MAX},
                   {"--width", &c->width, 1 << 16},
                   {"--hidden", &c->hidden, 1 << 16},
                   {"--threads", &c->threads, 1024},
                   {"--rounds", &c->rounds, ROUNDS_MOST},
                   {"--tokens", NULL, TOKENS_MOST}};
    for (int i = 1; i < argc; i++) {
        int known = -1;
        if (strcmp(argv[i], "--json") == 0) {
            c->json = true;
            continue;
        }
        for (int o = 0; o < (int)(sizeof options / sizeof *options); o++)
            if (strcmp(argv[i], options[o].name) == 0) known = o;
        if (known < 0 || i + 1 == argc) return false;
        const int value = atoi(argv[++i]);
        if (value < 1 || value > options[known].most || (!options[known].value && c->n_tokens == RUNS_MOST)) return false;
        *(options[known].value ? options[known].value : &c->tokens[c->n_tokens++]) = value;
    }
    return c->k <= c->experts;
}

int main(int argc, char **argv)
{
    choices c = {.experts = 8, .k = 2, .width = 192, .hidden = 768, .threads = ful_threads_get(), .rounds = 15};
    if (!parse(argc, argv, &c) || ful_threads_set(c.threads) != FUL_OK) {
        fprintf(stderr, "usage: bench_layer [--tokens T]... [--experts E] [--k K] [--width D] [--hidden H] [--threads N] "
                        "[--rounds 1..1000] [--json]\n");
        return 2;
    }
    if (c.n_tokens == 0)
        for (int tokens = 8192; c.n_tokens < 3; tokens = tokens == 8192 ? 1024 : 256) c.tokens[c.n_tokens++] = tokens;
    if (c.json)
        printf("[");
    else
        printf("MoE MLP top-%d of %d, d %d, h %d against dense h %d; %s, %d threads, %d rounds\n"
               "%-6s %-6s %11s %11s %11s %9s %9s   %s\n",
               c.k, c.experts, c.width, c.hidden, c.k * c.hidden, ful_cpu_name(), c.threads, c.rounds, "tokens", "layer",
               "forward ms", "backward ms", "step ms", "fwd GF/s", "GF/s", "ratio of medians, median of ratios");
    for (int i = 0; i < c.n_tokens; i++)
        if (compare(&c, i) != FUL_OK) {
            fprintf(stderr, "bench_layer: %s\n", ful_error_message());
            return 1;
        }
    if (c.json) printf("]\n");
    return 0;
}
