/* SPDX-License-Identifier: Apache-2.0 */
/* The result of `fulcrum bench`: a few lines and a table, or one JSON object that bench/compare.py reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/bench.h"
#include "cli/json.h"

enum { GROUPS_MAX = 128 };

static const char *const split_names[2] = {"train", "infer"};

static const bench_times *times_of(const bench *b, int split)
{
    return split ? &b->infer : &b->train;
}

/* Rows of one operation, pass and kernel together. */
typedef struct group {
    const char *op, *pass, *kernel;
    int layers;
    double seconds, macs, bytes; /* of one step: of the whole batch */
} group;

static group *find_group(group *groups, int *n, const ful_profile_row *row)
{
    for (int i = 0; i < *n; i++)
        if (strcmp(groups[i].op, row->op) == 0 && strcmp(groups[i].pass, row->pass) == 0 &&
            strcmp(groups[i].kernel, row->kernel) == 0)
            return &groups[i];
    if (*n == GROUPS_MAX) return &groups[GROUPS_MAX - 1];
    groups[*n] = (group){.op = row->op, .pass = row->pass, .kernel = row->kernel};
    return &groups[(*n)++];
}

static int by_time(const void *a, const void *b)
{
    const group *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static int group_rows(const bench *b, int split, group *groups)
{
    int n = 0;
    const ful_profile *p = &b->profile[split];
    for (int i = 0; i < p->n_rows; i++) {
        const ful_profile_row *row = &p->rows[i];
        group *g = find_group(groups, &n, row);
        g->layers++;
        if (row->images > 0) g->seconds += row->seconds * b->batch / (double)row->images;
        g->macs += (double)row->macs * b->batch;
        g->bytes += (double)row->bytes * b->batch + (double)row->weight_bytes;
    }
    if (split == 0 && b->profiled && n < GROUPS_MAX)
        groups[n++] = (group){.op = "optimiser", .pass = "step", .kernel = "", .layers = 1, .seconds = b->optimiser_seconds};
    qsort(groups, (size_t)n, sizeof *groups, by_time);
    return n;
}

static double sum_of(const group *groups, int n, bool bytes)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += bytes ? groups[i].bytes : groups[i].seconds;
    return sum;
}

/* Multiply-accumulates of a step as the field counts them, whatever the algorithm does. */
static double step_macs(const group *groups, int n)
{
    double macs = 0;
    for (int i = 0; i < n; i++) macs += groups[i].macs;
    return macs;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct summary {
    double median, least;
} summary;

static summary summarise(const bench_times *t)
{
    double *sorted = malloc((size_t)t->n * sizeof *sorted);
    if (!sorted) return (summary){0};
    memcpy(sorted, t->seconds, (size_t)t->n * sizeof *sorted);
    qsort(sorted, (size_t)t->n, sizeof *sorted, ascending);
    const summary s = {0.5 * (sorted[(t->n - 1) / 2] + sorted[t->n / 2]), sorted[0]};
    free(sorted);
    return s;
}

/* Text -------------------------------------------------------------------------------------------------------------------- */

static void show_speed(const bench *b, int split, const group *groups, int n)
{
    const summary s = summarise(times_of(b, split));
    const double gflops = 2e-9 * step_macs(groups, n) / s.median;
    printf("%s  %9.1f images/s (best %.1f)  %9.3f ms a step  %7.1f GFLOP/s", split_names[split], b->batch / s.median,
           b->batch / s.least, 1e3 * s.median, gflops);
    if (b->peak_gflops > 0) printf("  %5.1f %% of peak", 100.0 * gflops / b->peak_gflops);
    printf("\n");
}

/* "jit_dw:avx512_core 9x dw, …": the kernels that convolutions run on. */
static void show_kernels(const group *groups, int n)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (!groups[i].kernel[0]) continue;
        printf("%s %s %dx %s", any ? "," : "       kernels", groups[i].kernel, groups[i].layers, groups[i].pass);
        any = true;
    }
    if (any) printf("\n");
}

static void show_profile(const bench *b, int split, const group *groups, int n)
{
    const double all = sum_of(groups, n, false);
    printf("\n%s, by operation%*s %8s %10s %7s %9s %7s %8s\n", split_names[split], 35, "", "layers", "ms a step", "share",
           "GFLOP/s", "of peak", "GB/s");
    for (int i = 0; i < n; i++) {
        const group *g = &groups[i];
        if (g->seconds <= 0) continue;
        printf("  %-18s %-9s %-24s %8d %10.3f %5.1f %%", g->op, g->pass, g->kernel, g->layers, 1e3 * g->seconds,
               100.0 * g->seconds / all);
        if (g->macs > 0)
            printf(" %9.1f %5.1f %%", 2e-9 * g->macs / g->seconds,
                   b->peak_gflops > 0 ? 200e-9 * g->macs / g->seconds / b->peak_gflops : 0.0);
        else
            printf(" %9s %7s", "", "");
        printf(" %8.1f\n", 1e-9 * g->bytes / g->seconds);
    }
    printf("  %-51s %8s %10.3f\n", "sum of the timed parts", "", 1e3 * all);
}

static int show_text(const bench *b)
{
    printf("%s, batch %d, %d threads, %.2f MMACs an image (%.1f %% routed), %.1f MB work memory; peak %.1f GFLOP/s\n",
           b->config->net.arch, b->batch, b->threads, 1e-6 * (double)b->account.macs, 100.0 * b->account.rho_exec,
           1e-6 * (double)b->account.work_bytes, b->peak_gflops);
    for (int split = 0; split < 2; split++) {
        group groups[GROUPS_MAX];
        const int n = group_rows(b, split, groups);
        if (times_of(b, split)->n == 0) continue;
        show_speed(b, split, groups, n);
        show_kernels(groups, n);
    }
    for (int split = 0; split < 2 && b->profiled; split++) {
        group groups[GROUPS_MAX];
        const int n = group_rows(b, split, groups);
        if (times_of(b, split)->n > 0) show_profile(b, split, groups, n);
    }
    return EXIT_OK;
}

/* JSON -------------------------------------------------------------------------------------------------------------------- */

static json_t *group_json(const group *g)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:f}", "op", g->op, "pass", g->pass, "kernel", g->kernel, "layers",
                     g->layers, "seconds", g->seconds, "macs", g->macs, "bytes", g->bytes);
}

static json_t *split_json(const bench *b, int split)
{
    group groups[GROUPS_MAX];
    const bench_times *t = times_of(b, split);
    const int n = group_rows(b, split, groups);
    const summary s = summarise(t);
    json_t *seconds = json_array(), *rows = json_array();
    for (int i = 0; i < t->n; i++) json_array_append_new(seconds, json_real(t->seconds[i]));
    for (int i = 0; i < n; i++) json_array_append_new(rows, group_json(&groups[i]));
    const double macs = step_macs(groups, n);
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:b, s:o, s:o}", "images_per_s", b->batch / s.median, "median_s", s.median,
                     "macs", macs, "bytes", sum_of(groups, n, true), "gflops", 2e-9 * macs / s.median, "profiled", b->profiled,
                     "seconds", seconds, "parts", rows);
}

static int show_json(const bench *b)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:f, s:I, s:I, s:f, s:I, s:I, s:I}", "arch", b->config->net.arch, "batch", b->batch, "threads",
        b->threads, "peak_gflops", b->peak_gflops, "macs", (json_int_t)b->account.macs, "params", (json_int_t)b->account.params,
        "rho_exec", b->account.rho_exec, "work_bytes", (json_int_t)b->account.work_bytes, "weight_bytes",
        (json_int_t)(b->account.param_bytes + b->account.packed_bytes), "peak_rss_bytes", (json_int_t)usage.ru_maxrss * 1024);
    for (int split = 0; split < 2; split++)
        if (times_of(b, split)->n > 0) json_object_set_new(root, split_names[split], split_json(b, split));
    return print_json_line(root);
}

int bench_show(const bench *b)
{
    return common.json ? show_json(b) : show_text(b);
}
