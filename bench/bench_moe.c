/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a mixture costs beyond its arithmetic: a top-2-of-8 MoE MLP layer (d 192, h 768, dropless, residual) against the dense
 * linear-gelu-linear of the same active MACs (h 1536), forward + backward, weights packed anew in each step as in training.
 * The two take turns (A B A B), so that what disturbs one disturbs both; medians over the rounds.
 *
 *   bench_moe [threads [rounds [experts [tokens …]]]]
 *
 * Other numbers of experts: k stays 2 (1 with one expert), so the arithmetic stays and only the weights grow.
 */
#include <fulcrum/core.h>
#include <fulcrum/moe.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/time.h"
#include "graph/exec.h"
#include "moe/moe_op.h"

enum { D = 192, H = 768, ROUNDS_MOST = 1000, TOKENS_MOST = 1 << 20 };

static int experts = 8, k = 2;

typedef struct subject {
    ful_graph *graph;
    ful__exec *exec;
    ful__pages memory; /* parameters, gradients, boundary buffers, work, packed */
    float **w, **dw;
    ful__exec_run run;
    ful__counters counters;
    double forward[ROUNDS_MOST], step[ROUNDS_MOST];
} subject;

static ful_status build_dense(ful_graph *g, ful_node x, ful_node *out)
{
    ful_linear_attr attr;
    ful_linear_defaults(&attr);
    attr.out_features = k * H;
    FUL_TRY(ful_graph_linear(g, "fc1", x, &attr, &x));
    FUL_TRY(ful_graph_act(g, "act", x, FUL_ACT_GELU, &x));
    attr.out_features = D;
    return ful_graph_linear(g, "fc2", x, &attr, out);
}

static ful_status build_moe(ful_graph *g, ful_node x, ful_node *out)
{
    ful_moe_attr attr;
    ful_moe_defaults(&attr, FUL_EXPERT_MLP);
    attr.experts = experts;
    attr.k = k;
    attr.hidden = H;
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

static ful_status open_subject(subject *s, bool moe, int tokens)
{
    ful_node x, y;
    FUL_TRY(ful_graph_create(&s->graph));
    FUL_TRY(ful_graph_input(s->graph, (ful_shape){1, 1, D}, &x));
    FUL_TRY((moe ? build_moe : build_dense)(s->graph, x, &y));
    const ful__exec_spec spec = {.n_max = tokens, .train = true, .need_dx = true};
    FUL_TRY(ful__exec_create(s->graph, &spec, &s->exec));
    const int n = ful__exec_n_params(s->exec);
    int64_t floats = 4 * (int64_t)tokens * D;
    for (int i = 0; i < n; i++) floats += 2 * (ful__exec_param(s->exec, i)->count + 16);
    const size_t work = ful__align64(ful__exec_work_bytes(s->exec, tokens));
    FUL_TRY(
        ful__pages_alloc(&s->memory, (size_t)floats * sizeof(float) + work + ful__exec_packed_bytes(s->exec) + 512, "bench"));
    FUL_TRY(ful__calloc(&s->w, (size_t)n, sizeof *s->w, "bench"));
    FUL_TRY(ful__calloc(&s->dw, (size_t)n, sizeof *s->dw, "bench"));
    char *at = s->memory.ptr;
    for (int i = 0; i < n; i++) {
        const ful__param *p = ful__exec_param(s->exec, i);
        s->w[i] = take(&at, p->count);
        s->dw[i] = take(&at, p->count);
        fill(s->w[i], p->count, p->name, 0.05f);
    }
    float *in = take(&at, (int64_t)tokens * D), *dy = take(&at, (int64_t)tokens * D);
    fill(in, (int64_t)tokens * D, "x", 1);
    fill(dy, (int64_t)tokens * D, "dy", 1);
    s->run = (ful__exec_run){.n = tokens, .repack = true, .w = s->w, .dw = s->dw, .x = in, .dy = dy, .counters = &s->counters};
    s->run.y = take(&at, (int64_t)tokens * D);
    s->run.dx = take(&at, (int64_t)tokens * D);
    s->run.work = at;
    s->run.packed = at + work;
    return FUL_OK;
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

static ful_status compare(int tokens, int rounds)
{
    static subject subjects[2];
    static const char *const names[2] = {"dense", "moe"};
    double forward[2], step[2], ratio[ROUNDS_MOST];
    ful_status status = FUL_OK;
    for (int i = 0; i < 2; i++) subjects[i] = (subject){0};
    for (int i = 0; i < 2; i++) FUL_TRY_GOTO(status, done, open_subject(&subjects[i], i == 1, tokens));
    for (int round = -2; round < rounds; round++) /* two to warm up */
        for (int i = 0; i < 2; i++) FUL_TRY_GOTO(status, done, one_step(&subjects[i], round < 0 ? 0 : round));
    for (int i = 0; i < rounds; i++) ratio[i] = subjects[1].step[i] / subjects[0].step[i];
    for (int i = 0; i < 2; i++) {
        forward[i] = median(subjects[i].forward, rounds);
        step[i] = median(subjects[i].step, rounds);
        const double macs = (double)subjects[i].counters.macs;
        printf("%-6d %-6s %11.2f %11.2f %11.2f %9.1f %9.1f", tokens, names[i], 1e3 * forward[i], 1e3 * (step[i] - forward[i]),
               1e3 * step[i], macs * 2e-9 / forward[i], macs * 6e-9 / step[i]);
        if (i == 1) printf("   %.3f  %.3f", step[1] / step[0], median(ratio, rounds));
        printf("\n");
    }
done:
    for (int i = 0; i < 2; i++) close_subject(&subjects[i]);
    return status;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_moe [threads >= 1 [rounds 1..%d [experts >= 1 [tokens 1..%d ...]]]]\n", ROUNDS_MOST,
            TOKENS_MOST);
    return 2;
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 2, rounds = argc > 2 ? atoi(argv[2]) : 15;
    static const int usual[] = {8192, 1024, 256};
    const int sizes = argc > 4 ? argc - 4 : 3;
    if (argc > 3) experts = atoi(argv[3]);
    if (rounds < 1 || rounds > ROUNDS_MOST || experts < 1 || ful_threads_set(threads) != FUL_OK) return usage();
    k = experts < k ? experts : k;
    printf("MoE MLP top-%d of %d, d %d, h %d against dense h %d; %s, %d threads, %d rounds\n", k, experts, D, H, k * H,
           ful_cpu_name(), threads, rounds);
    printf("%-6s %-6s %11s %11s %11s %9s %9s   %s\n", "tokens", "layer", "forward ms", "backward ms", "step ms", "fwd GF/s",
           "GF/s", "ratio of medians, median of ratios");
    for (int i = 0; i < sizes; i++) {
        const int tokens = argc > 4 ? atoi(argv[4 + i]) : usual[i];
        if (tokens < 1 || tokens > TOKENS_MOST) return usage();
        if (compare(tokens, rounds) != FUL_OK) {
            fprintf(stderr, "%s\n", ful_error_message());
            return 1;
        }
    }
    return 0;
}
