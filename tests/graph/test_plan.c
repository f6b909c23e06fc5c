/* SPDX-License-Identifier: Apache-2.0 */
/* The planner on random graphs of toy ops: nothing that is alive together overlaps, and sharing memory changes no bit. */
#include <stdlib.h>

#include <fulcrum/core.h>

#include "core/rng.h"
#include "graph/program.h"
#include "support/fault.h"
#include "support/test.h"
#include "toy_op.h"

enum { N_MAX = 5 };

typedef struct dice {
    ful__stream stream;
    uint64_t count;
} dice;

static int roll(dice *d, int sides)
{
    return (int)ful__rng_below(d->stream, 0, d->count++, (uint64_t)sides);
}

static toy_attr random_attr(dice *d, int n_x, bool layouts)
{
    toy_attr a = {.n_x = n_x, .a = 0.5f + 0.25f * (float)roll(d, 3), .b = 0.25f * (float)(1 + roll(d, 3))};
    a.need.backward_x = (unsigned)(roll(d, 3) == 0) | (unsigned)(n_x > 1 && roll(d, 3) == 0) << 1;
    a.need.backward_y = roll(d, 3) == 0;
    a.need.inplace = roll(d, 2);
    a.need.inplace_1 = roll(d, 2);
    a.need.inplace_dx = roll(d, 2);
    a.need.inplace_dx_1 = roll(d, 2);
    if (roll(d, 3) == 0) a.need.saved_per_image = (size_t)roll(d, 200);
    if (roll(d, 3) == 0) a.need.saved_fixed = (size_t)roll(d, 700);
    if (roll(d, 2) == 0) a.need.scratch_per_image = (size_t)roll(d, 300);
    if (roll(d, 2) == 0) a.need.scratch_fixed = (size_t)roll(d, 3000);
    a.trainable = roll(d, 2);
    a.layout = layouts ? roll(d, 3) : 0;
    return a;
}

/* Up to 24 nodes: toys of one or two inputs, and adds, on earlier nodes (recent ones preferred). */
static ful_status random_graph(uint64_t seed, bool layouts, ful_graph **out)
{
    dice d = {.stream = ful__stream_make(seed, "test", "graph")};
    static const ful_shape shapes[] = {{3, 2, 16}, {1, 1, 10}, {2, 2, 5}, {4, 4, 32}};
    ful_graph *g = NULL;
    ful_node node;
    ful_status status = FUL_OK;
    FUL_TRY(ful_graph_create(&g));
    FUL_TRY_GOTO(status, done, ful_graph_input(g, shapes[layouts ? roll(&d, 2) * 3 : roll(&d, 4)], &node));
    const int count = 2 + roll(&d, 23);
    for (int i = 1; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        ful_node x[2];
        for (int k = 0; k < 2; k++) x[k] = roll(&d, 3) ? i - 1 - roll(&d, i < 3 ? i : 3) : roll(&d, i);
        if (i > 2 && roll(&d, 4) == 0) {
            FUL_TRY_GOTO(status, done, ful_graph_add(g, name, x[0], x[1], &node));
        } else {
            const toy_attr a = random_attr(&d, 1 + roll(&d, 2), layouts);
            FUL_TRY_GOTO(status, done, ful__graph_add(g, name, &toy_type, &a, sizeof a, x, a.n_x, &node));
        }
    }
done:
    if (status != FUL_OK) ful_graph_destroy(&g);
    *out = g;
    return status;
}

static bool apart(const ful__home *a, const ful__home *b, size_t n)
{
    const size_t a0 = a->offset_per_image * n + a->offset_fixed, a1 = a0 + a->per_image * n + a->fixed;
    const size_t b0 = b->offset_per_image * n + b->offset_fixed, b1 = b0 + b->per_image * n + b->fixed;
    return a1 <= b0 || b1 <= a0 || a0 == a1 || b0 == b1;
}

/* Brute force over all pairs, for several n. */
static void check_homes(const ful__home *homes, int count, size_t per_image, size_t fixed)
{
    static const size_t batches[] = {1, 2, 3, 7, 64, 1000};
    for (int i = 0; i < count; i++) {
        const ful__home *a = &homes[i];
        if (a->base != FUL__BASE_WORK) continue;
        assert_int_equal(a->offset_per_image % 64 + a->offset_fixed % 64, 0);
        for (size_t k = 0; k < sizeof batches / sizeof *batches; k++) {
            const size_t n = batches[k];
            assert_true(n * (a->offset_per_image + a->per_image) + a->offset_fixed + a->fixed <= n * per_image + fixed);
            for (int j = 0; j < i; j++) {
                const ful__home *b = &homes[j];
                if (b->base == FUL__BASE_WORK && a->first <= b->last && b->first <= a->last && !apart(a, b, n))
                    fail_msg("homes %d and %d overlap at n = %zu", i, j, n);
            }
        }
    }
}

static void test_place_random(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        dice d = {.stream = ful__stream_make(seed, "test", "place")};
        ful__home homes[60] = {0};
        const int count = 1 + roll(&d, 60);
        size_t per_image, fixed, lower = 0;
        for (int i = 0; i < count; i++) {
            ful__home *h = &homes[i];
            if (roll(&d, 4)) h->per_image = 64u * (size_t)roll(&d, 40);
            if (roll(&d, 3) == 0) h->fixed = 64u * (size_t)roll(&d, 40);
            h->first = roll(&d, 30);
            h->last = h->first + roll(&d, 8);
        }
        assert_ok(ful__place(homes, count, 1 + roll(&d, 100), &per_image, &fixed));
        check_homes(homes, count, per_image, fixed);
        for (int t = 0; t < 40; t++) { /* never less than what is alive at once; never more than everything */
            size_t alive = 0;
            for (int i = 0; i < count; i++)
                if (homes[i].first <= t && t <= homes[i].last) alive += homes[i].per_image;
            if (alive > lower) lower = alive;
        }
        assert_true(per_image >= lower && per_image <= 2 * lower + 64);
    }
}

/* One forward and backward; all memory but the inputs is spoilt first. */
typedef struct outcome {
    float y[N_MAX * 512], dx[N_MAX * 512], dw[32];
} outcome;

static ful_status run_once(const ful_graph *g, unsigned off, int n, bool need_dx, outcome *out)
{
    const ful__exec_spec spec = {.n_max = N_MAX, .train = true, .need_dx = need_dx, .off = off};
    ful__exec *exec = NULL;
    float x[N_MAX * 512], dy[N_MAX * 512], one[32];
    float *w[32], *dw[32];
    void *work = NULL;
    ful_status status = FUL_OK;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < N_MAX * 512; i++) {
        x[i] = (float)(i % 17) / 8 - 1;
        dy[i] = (float)(i % 13) / 8 - 0.5f;
    }
    for (int i = 0; i < 32; i++) {
        one[i] = 0.5f + 0.125f * (float)(i % 5);
        w[i] = &one[i];
        dw[i] = &out->dw[i];
    }
    FUL_TRY(ful__exec_create(g, &spec, &exec));
    const ful__program *p = ful__exec_program(exec);
    check_homes(p->homes, p->n_homes, p->work_per_image, p->work_fixed);
    assert_true(ful__exec_n_params(exec) <= 32);
    const size_t bytes = ful__exec_work_bytes(exec, n);
    assert_int_equal(bytes, ful__exec_work_bytes_fixed(exec) + (size_t)n * ful__exec_work_bytes_per_image(exec));
    work = aligned_alloc(64, bytes + 64);
    memset(work, 0xff, bytes + 64);
    const ful__exec_run run = {
        .n = n, .repack = true, .w = w, .dw = dw, .work = work, .x = x, .y = out->y, .dy = dy, .dx = need_dx ? out->dx : NULL};
    FUL_TRY_GOTO(status, done, ful__exec_forward(exec, &run));
    FUL_TRY_GOTO(status, done, ful__exec_backward(exec, &run));
    for (int i = 0; i < 64; i++) assert_int_equal(((unsigned char *)work)[bytes + (size_t)i], 0xff);
done:
    free(work);
    ful__exec_destroy(&exec);
    return status;
}

static void compare_random(uint64_t seeds, bool layouts)
{
    static outcome shared, separate;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        ful_graph *g = NULL;
        assert_ok(random_graph(seed, layouts, &g));
        const int n = 1 + (int)(seed % N_MAX);
        assert_ok(run_once(g, 0, n, seed % 3 != 0, &shared));
        assert_ok(run_once(g, FUL__EXEC_NO_REUSE, n, seed % 3 != 0, &separate));
        if (memcmp(&shared, &separate, sizeof shared) != 0) fail_msg("seed %d: sharing memory changed the result", (int)seed);
        ful_shape s;
        assert_ok(ful_graph_shape(g, 0, &s));
        for (int i = 0; i < n * (int)ful__count(s); i++) assert_true(isfinite(shared.y[i]) && isfinite(shared.dx[i]));
        ful_graph_destroy(&g);
    }
}

static void test_sharing_changes_nothing(void **state)
{
    (void)state;
    compare_random(400, false);
}

static void test_sharing_changes_nothing_with_layouts(void **state)
{
    (void)state;
    compare_random(200, true);
}

/* A chain of in-place ops needs one buffer at most; a residual add costs no memory and no instruction of its own. */
static void test_nothing_needless(void **state)
{
    (void)state;
    const toy_attr over = {.n_x = 1, .a = 1, .trainable = true, .need = {.inplace = true, .inplace_dx = true}};
    const toy_attr plain = {.n_x = 1, .a = 1, .trainable = true};
    const ful_shape shape = {2, 2, 16};
    const size_t bytes = 2 * 2 * 16 * sizeof(float);
    ful_graph *g = NULL;
    ful_node x, a, b, y;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, shape, &x));
    assert_ok(ful__graph_add(g, "a", &toy_type, &over, sizeof over, &x, 1, &a));
    assert_ok(ful__graph_add(g, "b", &toy_type, &over, sizeof over, &a, 1, &b));
    assert_ok(ful__graph_add(g, "c", &toy_type, &over, sizeof over, &b, 1, &y));
    ful__exec *exec = NULL;
    ful__exec_spec spec = {.n_max = 4, .train = true};
    assert_ok(ful__exec_create(g, &spec, &exec));
    /* Forward runs in y; backward needs one gradient buffer beside the caller's dy. */
    assert_int_equal(ful__exec_work_bytes(exec, 4), 4 * bytes);
    ful__exec_destroy(&exec);

    ful_node skip;
    assert_ok(ful__graph_add(g, "d", &toy_type, &plain, sizeof plain, &y, 1, &skip));
    assert_ok(ful_graph_add(g, "add", y, skip, &y));
    assert_ok(ful__exec_create(g, &spec, &exec));
    const ful__program *p = ful__exec_program(exec);
    int backs = 0, sums = 0;
    for (int i = 0; i < p->n_instrs; i++) p->instrs[i].step >= 0 ? backs++ : sums++;
    assert_int_equal(backs, 4); /* a b c d */
    assert_int_equal(sums, 1);  /* dy + the gradient through d */
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
}

/* What the output does not depend on is not run, but keeps its place among the parameters. */
static void test_dead_nodes(void **state)
{
    (void)state;
    const toy_attr t = {.n_x = 1, .a = 1, .trainable = true};
    ful_graph *g = NULL;
    ful_node x, a, b;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, (ful_shape){1, 1, 4}, &x));
    assert_ok(ful__graph_add(g, "dead", &toy_type, &t, sizeof t, &x, 1, &a));
    assert_ok(ful__graph_add(g, "alive", &toy_type, &t, sizeof t, &x, 1, &b));
    assert_ok(ful__graph_add(g, "later", &toy_type, &t, sizeof t, &b, 1, &a));
    assert_ok(ful_graph_set_output(g, b));
    static outcome out;
    assert_ok(run_once(g, 0, 2, false, &out));
    assert_true(out.dw[0] == 0 && out.dw[1] != 0 && out.dw[2] == 0);
    ful__exec *exec = NULL;
    assert_ok(ful__exec_create(g, &(ful__exec_spec){.n_max = 1}, &exec));
    assert_int_equal(ful__exec_n_ops(exec), 1);
    assert_int_equal(ful__exec_n_params(exec), 3);
    assert_string_equal(ful__exec_param(exec, 0)->name, "dead.weight");
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
}

static void test_refusals(void **state)
{
    (void)state;
    const toy_attr t = {.n_x = 1, .a = 1};
    ful_graph *g = NULL;
    ful_node x, y, bad = 7;
    ful__exec *exec = NULL;
    assert_fails(ful_graph_create(NULL), FUL_ERR_ARG, "cannot create");
    assert_ok(ful_graph_create(&g));
    assert_fails(ful__graph_add(g, "a", &toy_type, &t, sizeof t, &bad, 1, &y), FUL_ERR_ARG, "node 7 as input");
    assert_fails(ful_graph_input(g, (ful_shape){0, 1, 1}, &x), FUL_ERR_ARG, "0 x 1 x 1");
    assert_ok(ful_graph_input(g, (ful_shape){2, 2, 3}, &x));
    assert_fails(ful_graph_input(g, (ful_shape){2, 2, 3}, &y), FUL_ERR_ARG, "first node");
    assert_fails(ful__exec_create(g, &(ful__exec_spec){.n_max = 1}, &exec), FUL_ERR_ARG, "at least one operation");
    assert_fails(ful__graph_add(g, "", &toy_type, &t, sizeof t, &x, 1, &y), FUL_ERR_ARG, "without a name");
    assert_fails(ful__graph_add(g, "a b", &toy_type, &t, sizeof t, &x, 1, &y), FUL_ERR_ARG, "'a b'");
    assert_fails(ful__graph_add(g, "input", &toy_type, &t, sizeof t, &x, 1, &y), FUL_ERR_ARG, "already has that name");
    char longest[200];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_fails(ful__graph_add(g, longest, &toy_type, &t, sizeof t, &x, 1, &y), FUL_ERR_ARG, "199 bytes");
    assert_ok(ful__graph_add(g, "a", &toy_type, &t, sizeof t, &x, 1, &y));
    assert_fails(ful_graph_add(g, "sum", x, 9, &y), FUL_ERR_ARG, "'sum'");
    assert_fails(ful_graph_linear(g, "fc", x, NULL, &y), FUL_ERR_ARG, "'fc'");
    assert_fails(ful_graph_batchnorm(g, "bn", x, &(ful_batchnorm_attr){.residual = true}, &y), FUL_ERR_ARG, "'bn'");
    assert_fails(ful_graph_set_output(g, 2), FUL_ERR_ARG, "node 2");
    assert_int_equal(ful_graph_count(g), 2);
    assert_fails(ful__exec_create(g, &(ful__exec_spec){.n_max = 0}, &exec), FUL_ERR_ARG, "at least 1");
    assert_ok(ful__exec_create(g, &(ful__exec_spec){.n_max = 2}, &exec));
    assert_fails(ful__exec_forward(exec, &(ful__exec_run){.n = 3}), FUL_ERR_ARG, "batch of 3");
    assert_ok(ful__exec_forward(exec, &(ful__exec_run){.n = 0}));
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
}

static ful_status build_and_describe(void *ctx)
{
    ful_graph *g = NULL;
    ful__exec *exec = NULL;
    char *text = NULL;
    ful_status status = random_graph(*(const uint64_t *)ctx, true, &g);
    if (status == FUL_OK) status = ful__exec_create(g, &(ful__exec_spec){.n_max = 2, .train = true, .need_dx = true}, &exec);
    if (status == FUL_OK) status = ful__exec_describe(exec, &text);
    if (status == FUL_OK && !strstr(text, "training for up to 2 images")) status = FUL_ERR_INTERNAL;
    ful__free(text);
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    uint64_t seed = 11;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build_and_describe, &seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_random),
        cmocka_unit_test(test_sharing_changes_nothing),
        cmocka_unit_test(test_sharing_changes_nothing_with_layouts),
        cmocka_unit_test(test_nothing_needless),
        cmocka_unit_test(test_dead_nodes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
