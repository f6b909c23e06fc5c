/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on maps in the cache: nets of depthwise blocks and of Winograd's convolutions give what the unfused ones give, whether
 * their maps go through the cache or not, with the same bits on any number of threads and while they are timed. And inference
 * in slices: an image's bits are those it has alone.
 */
#include <math.h>
#include <stdlib.h>

#include <fulcrum/core.h>

#include "core/mem.h"
#include "core/rng.h"
#include "graph/program.h"
#include "support/test.h"

enum { PARAMS_MAX = 48, OUT = 16 };

typedef struct rig {
    ful__exec *exec;
    int n, n_params;
    int64_t in;
    float *w[PARAMS_MAX], *dw[PARAMS_MAX];
    void *work, *packed;
    float *x, *y, *dy, *dx;
    ful__counters counters;
    ful__exec_time *times;
} rig;

/* Filled with NaN: whatever is read before it is written shows. */
static void *memory(size_t bytes)
{
    void *p = aligned_alloc(64, ful__align64(bytes + 64));
    assert_non_null(p);
    memset(p, 0xff, ful__align64(bytes + 64));
    return p;
}

static float *normal(const char *name, int64_t count, float mean, float sd)
{
    float *x = memory((size_t)count * sizeof *x);
    ful__rng_fill_normal(ful__stream_make(7, "test", name), 0, sd, x, (size_t)count);
    for (int64_t i = 0; i < count; i++) x[i] += mean;
    return x;
}

static void set_up(rig *r, const ful_graph *g, ful__exec_spec spec)
{
    *r = (rig){.n = spec.n_max, .in = spec.n_max * ful__count(g->nodes[0].shape)};
    assert_ok(ful__exec_create(g, &spec, &r->exec));
    r->n_params = ful__exec_n_params(r->exec);
    assert_true(r->n_params <= PARAMS_MAX);
    for (int i = 0; i < r->n_params; i++) {
        const ful__param *p = ful__exec_param(r->exec, i);
        const bool one = p->init == FUL_INIT_ONES;
        r->w[i] = normal(p->name, p->count, one ? 1 : 0, one ? 0.1f : p->fan_in > 0 ? sqrtf(2.0f / (float)p->fan_in) : 0.3f);
        if (!p->trainable) continue;
        r->dw[i] = memory((size_t)p->count * sizeof(float));
        memset(r->dw[i], 0, (size_t)p->count * sizeof(float));
    }
    r->work = memory(ful__exec_work_bytes(r->exec, r->n));
    r->packed = memory(ful__exec_packed_bytes(r->exec));
    r->x = normal("x", r->in, 0, 1);
    r->dx = memory((size_t)r->in * sizeof(float));
    r->dy = normal("dy", (int64_t)r->n * OUT, 0, 1);
    r->y = memory((size_t)r->n * OUT * sizeof(float));
    r->times = calloc((size_t)ful__exec_n_rows(r->exec), sizeof *r->times);
    assert_non_null(r->times);
}

static void tear_down(rig *r)
{
    ful__exec_destroy(&r->exec);
    for (int i = 0; i < r->n_params; i++) {
        free(r->w[i]);
        free(r->dw[i]);
    }
    free(r->work);
    free(r->packed);
    free(r->x);
    free(r->y);
    free(r->dy);
    free(r->dx);
    free(r->times);
}

static ful__exec_run run_of(rig *r)
{
    return (ful__exec_run){.n = r->n,
                           .repack = true,
                           .w = r->w,
                           .dw = r->dw,
                           .work = r->work,
                           .packed = r->packed,
                           .x = r->x,
                           .y = r->y,
                           .dy = r->dy,
                           .dx = r->dx,
                           .counters = &r->counters};
}

static void step(rig *r, bool timed)
{
    ful__exec_run run = run_of(r);
    if (timed) run.times = r->times;
    assert_ok(ful__exec_forward(r->exec, &run));
    assert_ok(ful__exec_backward(r->exec, &run));
}

/* The net ---------------------------------------------------------------------------------------------------------------- */

static ful_conv2d_attr conv_attr(int out, int kernel)
{
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = out;
    a.kernel_h = a.kernel_w = kernel;
    a.pad_h = a.pad_w = kernel / 2;
    return a;
}

static ful_node conv(ful_graph *g, const char *name, ful_node x, int out, int kernel, int stride, int groups)
{
    ful_conv2d_attr a = conv_attr(out, kernel);
    ful_node y;
    a.stride_h = a.stride_w = stride;
    a.groups = groups;
    assert_ok(ful_graph_conv2d(g, name, x, &a, &y));
    return y;
}

static ful_node norm(ful_graph *g, const char *name, ful_node x)
{
    ful_batchnorm_attr a;
    ful_node y;
    ful_batchnorm_defaults(&a);
    assert_ok(ful_graph_batchnorm(g, name, x, &a, &y));
    return y;
}

static ful_node activate(ful_graph *g, const char *name, ful_act act, ful_node x)
{
    ful_node y;
    assert_ok(ful_graph_act(g, name, x, act, &y));
    return y;
}

/* A stem; a depthwise block with a residual path, whose input has no residual of its own; a strided one behind it; one whose
 * residual joins without an activation; a depthwise convolution beside which no norm stands. */
static ful_graph *blocks(ful_shape in, ful_act act)
{
    ful_graph *g;
    ful_node x, a, b;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, in, &x));
    a = activate(g, "stem.act", act, norm(g, "stem.bn", conv(g, "stem", x, 16, 1, 1, 1)));
    b = activate(g, "one.act1", act, norm(g, "one.bn1", conv(g, "one.dw", a, 16, 3, 1, 16)));
    b = norm(g, "one.bn2", conv(g, "one.pw", b, 16, 1, 1, 1));
    assert_ok(ful_graph_add(g, "one.add", b, a, &a));
    a = activate(g, "one.act2", act, a);
    b = activate(g, "two.act1", act, norm(g, "two.bn1", conv(g, "two.dw", a, 16, 3, 2, 16)));
    a = norm(g, "two.bn2", conv(g, "two.pw", b, 32, 1, 1, 1));
    b = norm(g, "three.bn1", conv(g, "three.dw", a, 32, 5, 1, 32));
    b = norm(g, "three.bn2", conv(g, "three.pw", b, 32, 1, 1, 1));
    assert_ok(ful_graph_add(g, "three.add", b, a, &a));
    a = norm(g, "four.bn", conv(g, "four.dw", conv(g, "four.pw", a, OUT, 1, 1, 1), OUT, 3, 1, OUT));
    assert_ok(ful_graph_global_avg_pool(g, "gap", a, &a));
    return g;
}

static ful_node winograd(ful_graph *g, const char *name, ful_node x, int out)
{
    ful_conv2d_attr a = conv_attr(out, 3);
    ful_node y;
    a.algorithm = FUL_CONV_WINOGRAD;
    assert_ok(ful_graph_conv2d(g, name, x, &a, &y));
    return y;
}

/* A block with a residual path, and one that changes the number of channels. */
static ful_graph *residuals(ful_shape in, ful_act act)
{
    ful_graph *g;
    ful_node x, a, b;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, in, &x));
    a = activate(g, "stem.act", act, norm(g, "stem.bn", conv(g, "stem", x, 32, 1, 1, 1)));
    b = activate(g, "one.act1", act, norm(g, "one.bn1", winograd(g, "one.wino1", a, 32)));
    b = norm(g, "one.bn2", winograd(g, "one.wino2", b, 32));
    assert_ok(ful_graph_add(g, "one.add", b, a, &a));
    a = activate(g, "one.act2", act, a);
    a = activate(g, "two.act", act, norm(g, "two.bn", winograd(g, "two.wino", a, OUT)));
    assert_ok(ful_graph_global_avg_pool(g, "gap", a, &a));
    return g;
}

static const ful__step *step_named(const rig *r, const char *name)
{
    const ful__program *p = ful__exec_program(r->exec);
    for (int i = 0; i < p->n_steps; i++)
        if (strcmp(p->steps[i].op->name, name) == 0) return &p->steps[i];
    fail_msg("no step '%s'", name);
    return NULL;
}

static int sums(const rig *r)
{
    const ful__program *p = ful__exec_program(r->exec);
    int count = 0;
    for (int j = 0; j < p->n_instrs; j++) count += p->instrs[j].step < 0;
    return count;
}

static void assert_close(const char *what, const float *a, const float *b, int64_t count, double tolerance)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    if (!(sqrt(difference) <= tolerance * sqrt(size))) fail_msg("%s: relative distance %g", what, sqrt(difference / size));
}

/* threads_differ: the weight gradients of oneDNN's and of Winograd's convolutions depend on the number of threads; pointwise
 * ones are oneDNN's only without AVX2, or of three channels. */
static void assert_same_bits(const rig *a, const rig *b, bool threads_differ)
{
    assert_memory_equal(a->y, b->y, (size_t)a->n * OUT * sizeof(float));
    assert_memory_equal(a->dx, b->dx, (size_t)a->in * sizeof(float));
    for (int i = 0; i < a->n_params; i++) {
        const size_t bytes = (size_t)ful__exec_param(a->exec, i)->count * sizeof(float);
        assert_memory_equal(a->w[i], b->w[i], bytes);
        const char *name = ful__exec_param(a->exec, i)->name;
        const bool differs = strcmp(name, "stem.weight") == 0 || strstr(name, "wino") ||
                             (strstr(name, "pw.weight") && !(ful_cpu_flags() & FUL_CPU_AVX2));
        if (threads_differ && differs) continue;
        if (a->dw[i]) assert_memory_equal(a->dw[i], b->dw[i], bytes);
    }
}

/* The smaller map stays in the tensors, the larger one goes through near maps and past the caches. */
static const struct {
    ful_graph *(*net)(ful_shape x, ful_act act);
    ful_shape x;
    int n;
    ful_act act;
} sizes[] = {{blocks, {7, 9, 3}, 5, FUL_ACT_RELU},
             {blocks, {7, 9, 3}, 5, FUL_ACT_RELU6},
             {blocks, {7, 9, 3}, 5, FUL_ACT_HARD_SWISH},
             {blocks, {112, 112, 3}, 8, FUL_ACT_RELU},
             {blocks, {112, 112, 3}, 8, FUL_ACT_HARD_SWISH},
             {residuals, {18, 19, 3}, 5, FUL_ACT_RELU},
             {residuals, {14, 15, 3}, 35, FUL_ACT_HARD_SWISH},
             {residuals, {112, 112, 3}, 5, FUL_ACT_RELU}};

static void test_who_does_what(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip(); /* reorders stand between */
#ifdef FULCRUM_EMULATE_AVX512
    skip(); /* they do here too: oneDNN, which is not emulated, has no kernels for blocks of 16 */
#endif
    rig r, plain;
    ful_graph *g = blocks((ful_shape){12, 12, 3}, FUL_ACT_RELU);
    set_up(&r, g, (ful__exec_spec){.n_max = 2, .train = true});
    set_up(&plain, g, (ful__exec_spec){.n_max = 2, .train = true, .off = FUL__EXEC_NO_FUSE});
    static const char *const before[] = {"stem.bn", "one.bn2", "two.bn2"}, *const after[] = {"one.bn1", "two.bn1", "three.bn1"};
    static const char *const last[] = {"one.bn2", "two.bn2", "three.bn2"}; /* behind the pointwise ones */
    for (int i = 0; i < 3; i++) {
        assert_true(step_named(&r, before[i])->y_left && step_named(&r, before[i])->dy_summed);
        assert_true(step_named(&r, after[i])->x_summed && step_named(&r, after[i])->dx_left);
        assert_true(step_named(&r, after[i])->y_left && step_named(&r, after[i])->dy_summed);
        assert_true(step_named(&r, last[i])->x_summed && step_named(&r, last[i])->dx_left);
        assert_true(step_named(&r, after[i])->y_again && !step_named(&r, before[i])->y_again);
        assert_false(step_named(&plain, before[i])->y_left || step_named(&plain, after[i])->x_summed);
    }
    assert_true(step_named(&r, "stem.bn")->dy_more >= 0 && step_named(&r, "two.bn2")->dy_more >= 0);
    assert_true(step_named(&r, "four.bn")->x_summed);
    assert_int_equal(sums(&r), 0);
    assert_int_equal(sums(&plain), 2);
    tear_down(&r);
    tear_down(&plain);
    ful_graph_destroy(&g);
}

static void test_winograd_takes_part(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
#ifdef FULCRUM_EMULATE_AVX512
    skip(); /* as above */
#endif
    rig r;
    ful_graph *g = residuals((ful_shape){18, 19, 3}, FUL_ACT_RELU);
    set_up(&r, g, (ful__exec_spec){.n_max = 5, .train = true});
    static const char *const before[] = {"stem.bn", "one.bn1", "one.bn2"}, *const after[] = {"one.bn1", "one.bn2", "two.bn"};
    for (int i = 0; i < 3; i++) {
        assert_true(step_named(&r, before[i])->y_left && step_named(&r, before[i])->dy_summed);
        assert_true(step_named(&r, after[i])->x_summed && step_named(&r, after[i])->dx_left);
    }
    tear_down(&r);
    ful_graph_destroy(&g);
}

static void test_close_to_unfused(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        ful_graph *g = sizes[k].net(sizes[k].x, sizes[k].act);
        rig fused, plain;
        set_up(&fused, g, (ful__exec_spec){.n_max = sizes[k].n, .train = true, .need_dx = true});
        set_up(&plain, g,
               (ful__exec_spec){
                   .n_max = sizes[k].n, .train = true, .need_dx = true, .off = FUL__EXEC_NO_FUSE | FUL__EXEC_NO_REUSE});
        step(&fused, false);
        step(&plain, false);
        assert_close("y", fused.y, plain.y, (int64_t)fused.n * OUT, 1e-4);
        assert_close("dx", fused.dx, plain.dx, fused.in, 1e-3);
        for (int i = 0; i < fused.n_params; i++) {
            const ful__param *p = ful__exec_param(fused.exec, i);
            assert_close(p->name, fused.w[i], plain.w[i], p->count, 1e-5);
            if (strcmp(p->name, "three.bn1.bias") == 0) continue; /* 0 but for rounding: no activation between it and a norm */
            if (p->trainable) assert_close(p->name, fused.dw[i], plain.dw[i], p->count, 2e-3);
        }
        tear_down(&fused);
        tear_down(&plain);
        ful_graph_destroy(&g);
    }
}

/* Also with memory that nothing shares, timed, on more threads than images, and for a smaller batch first. */
static void test_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const ful__exec_spec spec = {.n_max = sizes[k].n, .train = true, .need_dx = true};
        ful_graph *g = sizes[k].net(sizes[k].x, sizes[k].act);
        rig one;
        assert_ok(ful_threads_set(1));
        set_up(&one, g, spec);
        step(&one, false);
        for (int way = 0; way < 4; way++) {
            rig other;
            ful__exec_spec s = spec;
            if (way == 1) s.off = FUL__EXEC_NO_REUSE;
            if (way == 3) assert_ok(ful_threads_set(3));
            set_up(&other, g, s);
            if (way == 2) assert_ok(ful_threads_set(3)); /* more than it was planned for */
            step(&other, way == 0);
            assert_ok(ful_threads_set(1));
            assert_same_bits(&one, &other, way >= 2);
            tear_down(&other);
        }
        tear_down(&one);
        ful_graph_destroy(&g);
    }
}

/* The culprit is named although its output is made by the next step, which keeps it or does not. */
static void test_find_nonfinite(void **state)
{
    (void)state;
    static const char *const culprits[] = {"one.bn2", "one.bn1"};
    for (int k = 0; k < 2; k++) {
        rig r;
        char name[32];
        ful_graph *g = blocks((ful_shape){12, 12, 3}, FUL_ACT_RELU);
        set_up(&r, g, (ful__exec_spec){.n_max = 3, .train = true});
        const ful__exec_run run = run_of(&r);
        assert_null(ful__exec_find_nonfinite(r.exec, &run));
        snprintf(name, sizeof name, "%s.bias", culprits[k]);
        for (int i = 0; i < r.n_params; i++)
            if (strcmp(ful__exec_param(r.exec, i)->name, name) == 0) r.w[i][3] = NAN;
        assert_string_equal(ful__exec_find_nonfinite(r.exec, &run), culprits[k]);
        tear_down(&r);
        ful_graph_destroy(&g);
    }
}

/* All images at once: each has the bits it has alone, and the counters add up. */
static void assert_as_alone(rig *r)
{
    float y[OUT];
    ful__exec_run run = run_of(r);
    assert_ok(ful__exec_forward(r->exec, &run));
    const int64_t macs = r->counters.macs;
    assert_true(macs > 0 && macs % r->n == 0);
    r->counters = (ful__counters){0};
    for (int i = 0; i < r->n; i++) {
        run.n = 1;
        run.x = r->x + i * (r->in / r->n);
        run.y = y;
        run.repack = false;
        assert_ok(ful__exec_forward(r->exec, &run));
        assert_memory_equal(y, r->y + i * OUT, sizeof y);
    }
    assert_int_equal(r->counters.macs, macs);
}

/* Slices of several images, of one, fewer than there are threads. */
static void test_slices(void **state)
{
    (void)state;
    static const struct {
        ful_shape x;
        int n, threads;
    } ways[] = {{{40, 40, 3}, 37, 2}, {{150, 150, 3}, 7, 1}, {{9, 9, 3}, 5, 3}, {{9, 9, 3}, 2, 3}};
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        ful_graph *g = blocks(ways[k].x, k % 2 ? FUL_ACT_RELU6 : FUL_ACT_HARD_SWISH);
        rig r;
        assert_ok(ful_threads_set(ways[k].threads));
        set_up(&r, g, (ful__exec_spec){.n_max = ways[k].n});
        assert_as_alone(&r);
        assert_ok(ful_threads_set(1));
        tear_down(&r);
        ful_graph_destroy(&g);
    }
}

/* Many weights, each used at every position: slices too, of as many images as make that often enough, and not where there would
 * be fewer slices than threads. Slices need only a share of the work memory for each thread. */
static void test_slices_of_many_weights(void **state)
{
    (void)state;
    enum { WIDTH = 512 };
    static const struct {
        int n, threads;
        bool sliced;
    } ways[] = {{13, 2, true}, {4, 2, false}};
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        ful_graph *g;
        ful_linear_attr attr;
        ful_node a;
        ful_linear_defaults(&attr);
        attr.out_features = WIDTH;
        assert_ok(ful_graph_create(&g));
        assert_ok(ful_graph_input(g, (ful_shape){8, 8, WIDTH}, &a));
        assert_ok(ful_graph_linear(g, "one", a, &attr, &a));
        assert_ok(ful_graph_linear(g, "two", a, &attr, &a));
        assert_ok(ful_graph_linear(g, "three", a, &attr, &a));
        assert_ok(ful_graph_global_avg_pool(g, "pool", a, &a));
        attr.out_features = OUT;
        assert_ok(ful_graph_linear(g, "out", a, &attr, &a));
        rig r;
        assert_ok(ful_threads_set(ways[k].threads));
        set_up(&r, g, (ful__exec_spec){.n_max = ways[k].n});
        const size_t bytes = ful__exec_work_bytes(r.exec, r.n);
        const unsigned char *work = r.work;
        const ful__exec_run run = run_of(&r);
        assert_ok(ful__exec_forward(r.exec, &run));
        size_t written = bytes;
        while (written > 0 && work[written - 1] == 0xff) written--;
        assert_int_equal(written < bytes * 9 / 10, ways[k].sliced);
        r.counters = (ful__counters){0};
        assert_as_alone(&r);
        assert_ok(ful_threads_set(1));
        tear_down(&r);
        ful_graph_destroy(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_does_what),          cmocka_unit_test(test_winograd_takes_part),
        cmocka_unit_test(test_close_to_unfused),       cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_find_nonfinite),         cmocka_unit_test(test_slices),
        cmocka_unit_test(test_slices_of_many_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
