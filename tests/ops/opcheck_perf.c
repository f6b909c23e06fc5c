/* SPDX-License-Identifier: Apache-2.0 */
/* opcheck perf and support: how fast each pass runs on shapes of real nets, and what serves which case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/time.h"
#include "ops/opcheck_rig.h"
#include <fulcrum/core.h>

static const char *kernel_name(const check_suite *suite, const ful__op *op)
{
    if (suite->kernel) return suite->kernel(op);
    const unsigned flags = ful_cpu_flags();
    return flags & FUL_CPU_AVX512 ? "avx512" : flags & FUL_CPU_AVX2 ? "avx2" : "scalar";
}

static const char *layout_name(ful__layout layout)
{
    return layout == FUL__BLOCKED ? "blocked" : "nhwc";
}

/* An op with plain buffers, filled once. */
typedef struct bench {
    ful__op *op;
    ful__run run;
    float *x[FUL__X_MAX], *y, *dy, *dx[FUL__X_MAX], *w[CHECK_PARAMS], *dw[CHECK_PARAMS];
    void *saved, *scratch, *packed;
} bench;

static float *filled(size_t count)
{
    float *x = check_alloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = (float)(i * 2654435761u % 1999u) / 1000.0f - 1.0f;
    return x;
}

static bool bench_init(bench *b, const check_suite *suite, const check_case *c, const ful__layout *offer, bool train)
{
    *b = (bench){0};
    if (suite->type->create("the.op", c->attr, c->x, c->n_x, &b->op) != FUL_OK) return false;
    ful__op *op = b->op;
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = offer[i];
    op->type->layouts(op);
    if (op->type->plan(op, c->n_max, train) != FUL_OK) return false;
    const size_t n = (size_t)c->n_max;
    b->y = check_alloc(n * (size_t)ful__count(op->y) * sizeof(float));
    b->dy = filled(n * (size_t)ful__count(op->y));
    for (int i = 0; i < op->n_x; i++) {
        b->x[i] = filled(n * (size_t)ful__count(op->x[i]));
        b->dx[i] = check_alloc(n * (size_t)ful__count(op->x[i]) * sizeof(float));
    }
    for (int i = 0; i < op->n_params; i++) {
        b->w[i] = filled((size_t)op->params[i].count);
        for (int64_t j = 0; !op->params[i].trainable && j < op->params[i].count; j++) b->w[i][j] = 1;
        b->dw[i] = op->params[i].trainable ? check_alloc((size_t)op->params[i].count * sizeof(float)) : NULL;
    }
    b->saved = check_alloc(n * op->need.saved_per_image + op->need.saved_fixed);
    b->scratch = check_alloc(n * op->need.scratch_per_image + op->need.scratch_fixed);
    b->packed = check_alloc(op->need.packed);
    b->run = (ful__run){.n = c->n_max, .train = train, .repack = true, .seed = 1, .y = b->y, .dy = b->dy};
    b->run.w = b->w;
    b->run.dw = b->dw;
    b->run.saved = b->saved;
    b->run.scratch = b->scratch;
    b->run.packed = b->packed;
    for (int i = 0; i < op->n_x; i++) b->run.x[i] = b->x[i];
    return true;
}

static void bench_deinit(bench *b)
{
    for (int i = 0; i < FUL__X_MAX; i++) {
        free(b->x[i]);
        free(b->dx[i]);
    }
    for (int i = 0; i < CHECK_PARAMS; i++) {
        free(b->w[i]);
        free(b->dw[i]);
    }
    free(b->y);
    free(b->dy);
    free(b->saved);
    free(b->scratch);
    free(b->packed);
    if (b->op) b->op->type->destroy(b->op);
}

/* Passes ---------------------------------------------------------------------------------------------------------------- */

enum { TIMES_MAX = 101 };

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one run, at least 7 runs and 0.3 s of them: the least and the median. */
static bool measure(bench *b, ful_status (*pass)(ful__op *op, const ful__run *run), double *min_out, double *median_out)
{
    double times[TIMES_MAX], total = 0;
    int count = 0;
    if (pass(b->op, &b->run) != FUL_OK) return false;
    b->run.repack = false;
    while (count < TIMES_MAX && (count < 7 || total < 0.3)) {
        const double begin = ful__seconds();
        if (pass(b->op, &b->run) != FUL_OK) return false;
        times[count] = ful__seconds() - begin;
        total += times[count++];
    }
    qsort(times, (size_t)count, sizeof *times, by_size);
    *min_out = times[0];
    *median_out = times[count / 2];
    return true;
}

static bool show(bench *b, const char *name, ful_status (*pass)(ful__op *op, const ful__run *run), double macs, double floats)
{
    double min, median;
    if (!measure(b, pass, &min, &median)) {
        printf("    %s gave: %s\n", name, ful_error_message());
        return false;
    }
    printf("    %-10s min %9.3f ms  median %9.3f ms", name, 1e3 * min, 1e3 * median);
    if (macs > 0) printf("  %8.1f GFLOP/s", 2e-9 * macs / median);
    printf("  %7.1f GB/s\n", 4e-9 * floats / median);
    return true;
}

static bool trains(const ful__op *op)
{
    for (int i = 0; i < op->n_params; i++)
        if (op->params[i].trainable) return true;
    return false;
}

/* Floats that a pass must move at least: its activations once (weights are small beside a batch). */
static bool show_passes(bench *b)
{
    const ful__op *op = b->op;
    const double n = b->run.n, macs = n * (double)op->cost.macs;
    double in = 0, back = (double)ful__count(op->y) * (op->need.backward_y ? 2 : 1);
    for (int i = 0; i < op->n_x; i++) {
        in += (double)ful__count(op->x[i]);
        if (op->need.backward_x & 1u << i) back += (double)ful__count(op->x[i]);
    }
    if (!show(b, b->run.train ? "forward" : "eval", op->type->forward, macs, n * (in + (double)ful__count(op->y))))
        return false;
    if (!b->run.train) return true;
    b->run.repack = true;
    if (trains(op) && !show(b, "backward w", op->type->backward, macs, n * back)) return false;
    for (int i = 0; i < op->n_x; i++) b->run.dx[i] = b->dx[i];
    b->run.repack = true;
    return show(b, "backward", op->type->backward, macs * (trains(op) ? 2 : 1), n * (back + in));
}

static void show_title(const check_suite *suite, const check_case *c, const ful__op *op)
{
    printf("%s (%s) n=%d %dx%dx%d -> %dx%dx%d %s->%s threads=%d\n", suite->name, c->text, c->n_max, c->x[0].h, c->x[0].w,
           c->x[0].c, op->y.h, op->y.w, op->y.c, layout_name(op->x_layout[0]), layout_name(op->y_layout), ful_threads_get());
}

/* The layout that comes last among the offers is the one a net uses: blocked where possible. */
static void best_offer(const check_case *c, ful__layout offer[FUL__X_MAX])
{
    ful__layout offers[4][FUL__X_MAX] = {{0}};
    const int count = check_offers(c, offers);
    memcpy(offer, offers[count - 1], sizeof offers[0]);
}

bool check_perf(const check_suite *suite, const check_case *c)
{
    ful__layout offer[FUL__X_MAX];
    bool good = true;
    best_offer(c, offer);
    for (int train = 0; train <= (suite->type->backward != NULL) && good; train++) {
        bench b;
        good = bench_init(&b, suite, c, offer, train);
        if (good) {
            if (!train) show_title(suite, c, b.op);
            printf("  %s: %s\n", train ? "training" : "inference", kernel_name(suite, b.op));
            good = show_passes(&b);
        } else {
            printf("%s (%s): %s\n", suite->name, c->text, ful_error_message());
        }
        bench_deinit(&b);
    }
    return good;
}

/* Support --------------------------------------------------------------------------------------------------------------- */

static void show_needs(const ful__op *op, const char *kernel)
{
    const ful__need *need = &op->need;
    printf("%s, takes %s gives %s", kernel, layout_name(op->x_layout[0]), layout_name(op->y_layout));
    if (need->inplace) printf(", in place");
    if (need->inplace_1) printf(", in place of x[1]");
    if (op->type->backward)
        printf(", backward reads%s%s%s%s", need->backward_x & 1 ? " x[0]" : "", need->backward_x & 2 ? " x[1]" : "",
               need->backward_y ? " y" : "", need->backward_x == 0 && !need->backward_y ? " dy alone" : "");
    printf(", bytes: saved %zu+%zun scratch %zu+%zun packed %zu\n", need->saved_fixed, need->saved_per_image,
           need->scratch_fixed, need->scratch_per_image, need->packed);
}

static bool show_support(const check_suite *suite, const check_case *c, const check_level *level, const ful__layout *offer)
{
    ful__op *op = NULL;
    const bool train = suite->type->backward != NULL;
    if (suite->type->create("the.op", c->attr, c->x, c->n_x, &op) != FUL_OK) {
        printf("%s (%s): %s\n", suite->name, c->text, ful_error_message());
        return false;
    }
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = offer[i];
    op->type->layouts(op);
    const bool good = op->type->plan(op, c->n_max, train) == FUL_OK;
    printf("%-7s %s (%s) %dx%dx%d offered %s%s: ", level->name, suite->name, c->text, c->x[0].h, c->x[0].w, c->x[0].c,
           layout_name(offer[0]),
           op->n_x == 1               ? ""
           : offer[1] == FUL__BLOCKED ? ", blocked"
                                      : ", nhwc");
    if (good)
        show_needs(op, kernel_name(suite, op));
    else
        printf("%s\n", ful_error_message());
    op->type->destroy(op);
    return good;
}

bool check_support(const check_suite *suite, const check_case *c)
{
    check_level levels[3];
    const int n_levels = suite->late ? check_levels(levels), 1 : check_levels(levels);
    bool good = true;
    for (int i = 0; i < n_levels; i++) {
        ful_cpu_mask_set(levels[i].mask);
        ful__layout offers[4][FUL__X_MAX] = {{0}};
        const int count = check_offers(c, offers);
        for (int j = 0; j < count; j++) good = show_support(suite, c, &levels[i], offers[j]) && good;
    }
    ful_cpu_mask_set(~0u);
    return good;
}
