/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a prediction may depend on. Card H10's leak harness: leak = max over companion batches of |y(x | batch) - y(x | alone)|.
 * It must be exactly 0 for dropless and per-sample routes, and above 0 for capacity, priority and batch-axis Soft MoE. Also:
 * threads do not show in the bits, dropped tokens pass unchanged, idle experts get nothing, and n = 0 does nothing.
 */
#include <fulcrum/core.h>

#include "moe/rig.h"

enum { BATCH = 12, COMPANIONS = 6 };

typedef struct subject {
    const char *label;
    ful_shape shape;
    ful_moe_attr attr;
} subject;

static ful_moe_attr attr_of(ful_expert expert, const char *router)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, expert);
    a.experts = 4;
    a.hidden = 24;
    a.router_init = 0.5f;
    snprintf(a.router, sizeof a.router, "%s", router);
    return a;
}

/* Every image alone, then in random batches of random size at random places. */
static double leak(const subject *s)
{
    rig r;
    rig_open(&r, rig_moe_graph(s->shape, &s->attr), BATCH, false);
    const int64_t one = ful__count(s->shape);
    float *x = rig_floats(BATCH * one), *alone = rig_floats(BATCH * one), *batch = rig_floats(BATCH * one);
    rig_fill(x, BATCH * one, 5, "x", 1);
    for (int i = 0; i < BATCH; i++) {
        rig_forward(&r, 1, x + i * one);
        memcpy(alone + i * one, r.y, (size_t)one * sizeof *x);
        r.repack = false;
    }
    double worst = 0;
    for (uint64_t c = 0; c < COMPANIONS; c++) {
        uint32_t order[BATCH];
        ful__rng_permutation(ful__stream_make(c, "test", "companions"), 0, order, BATCH);
        const int n = c == 0 ? BATCH : 2 + (int)(c * 2) % BATCH;
        for (int i = 0; i < n; i++) memcpy(batch + i * one, x + order[i] * one, (size_t)one * sizeof *x);
        rig_forward(&r, n, batch);
        for (int i = 0; i < n; i++)
            for (int64_t j = 0; j < one; j++) {
                const double d = fabs((double)r.y[i * one + j] - (double)alone[order[i] * one + j]);
                worst = d > worst ? d : worst;
            }
    }
    free(x);
    free(alone);
    free(batch);
    rig_close(&r);
    return worst;
}

static void no_leak(void **state)
{
    (void)state;
    static const char *const routers[] = {"softmax", "sigmoid", "random", "hash", "soft_sample"};
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++) {
        subject s = {routers[i], {1, 1, 24}, attr_of(FUL_EXPERT_MLP, routers[i])};
        if (leak(&s) != 0) fail_msg("mlp experts with router %s leak", s.label);
        s = (subject){routers[i], {8, 8, 16}, attr_of(FUL_EXPERT_CONV, routers[i])};
        if (leak(&s) != 0) fail_msg("conv experts with router %s leak", s.label);
        s = (subject){routers[i], {3, 3, 8}, attr_of(FUL_EXPERT_MLP, routers[i])};
        s.attr.token = FUL_TOKEN_PIXEL;
        if (leak(&s) != 0) fail_msg("pixel mlp experts with router %s leak", s.label);
    }
    subject s = {"dwconv", {4, 4, 16}, attr_of(FUL_EXPERT_DWCONV, "softmax")};
    assert_true(leak(&s) == 0);
    s = (subject){"odd conv", {5, 4, 6}, attr_of(FUL_EXPERT_CONV, "softmax")};
    assert_true(leak(&s) == 0);
    s = (subject){"mlp with norm", {1, 1, 24}, attr_of(FUL_EXPERT_MLP, "softmax")};
    s.attr.norm = FUL_EXPERT_NORM_LAYER;
    assert_true(leak(&s) == 0);
    s.attr.norm = FUL_EXPERT_NORM_BATCH; /* at eval it uses the running statistics */
    assert_true(leak(&s) == 0);
    s = (subject){"soft_patch", {4, 4, 8}, attr_of(FUL_EXPERT_MLP, "soft_patch")};
    s.attr.token = FUL_TOKEN_PIXEL;
    assert_true(leak(&s) == 0);
}

static void leaks(void **state)
{
    (void)state;
    subject s = {"capacity", {1, 1, 24}, attr_of(FUL_EXPERT_MLP, "softmax")};
    s.attr.eval_capacity_permille = 500;
    s.attr.capacity_min = 1;
    assert_true(leak(&s) > 1e-3);
    s.attr.drop = FUL_DROP_PRIORITY;
    assert_true(leak(&s) > 1e-3);
    s = (subject){"soft_batch", {1, 1, 24}, attr_of(FUL_EXPERT_MLP, "soft_batch")};
    assert_true(leak(&s) > 1e-3);
    s = (subject){"soft_batch", {8, 8, 16}, attr_of(FUL_EXPERT_CONV, "soft_batch")};
    assert_true(leak(&s) > 1e-3);
}

/* Eval at the training capacity is an option, off by default. */
static void eval_capacity(void **state)
{
    (void)state;
    subject s = {"capacity", {1, 1, 8}, attr_of(FUL_EXPERT_MLP, "softmax")};
    s.attr.capacity_permille = 500;
    s.attr.capacity_min = 1;
    rig r;
    rig_open(&r, rig_moe_graph(s.shape, &s.attr), BATCH, false);
    ful__op *op = rig_moe(&r);
    float *x = rig_floats(BATCH * 8);
    rig_fill(x, BATCH * 8, 5, "x", 1);
    static const struct {
        int permille;
        int64_t slots;
    } turn[] = {{0, 0}, {-1, 4 * 3}, {4000, 4 * 24}, {0, 0}}; /* ceil(f k 12 / 4) = 6f slots an expert */
    for (int i = 0; i < 4; i++) {
        ful__moe_stats_clear(op);
        ful__moe_set_eval_capacity(op, turn[i].permille);
        rig_forward(&r, BATCH, x);
        assert_int_equal(ful__moe_stats(op)->capacity_slots, turn[i].slots);
        assert_int_equal(ful__moe_stats(op)->dropped > 0, turn[i].permille == -1);
    }
    free(x);
    rig_close(&r);
}

/* Tokens that lost all their pairs: y = x and, as nothing else depends on them, dx = dy. */
static void dropped_pass(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(FUL_EXPERT_MLP, "softmax");
    a.k = 1;
    a.capacity_permille = 250;
    a.capacity_min = 1;
    a.switch_coef = 0;
    rig r;
    rig_open(&r, rig_moe_graph((ful_shape){1, 1, 8}, &a), BATCH, true);
    float *x = rig_floats(BATCH * 8), *dy = rig_floats(BATCH * 8);
    rig_fill(x, BATCH * 8, 5, "x", 1);
    rig_fill(dy, BATCH * 8, 5, "dy", 1);
    rig_forward(&r, BATCH, x);
    rig_backward(&r, dy);
    int64_t count[4] = {0}, t;
    int k, passed = 0;
    const int32_t *expert;
    const float *gate;
    ful__moe_last_route(rig_moe(&r), &t, &k, &expert, &gate);
    assert_int_equal(t, BATCH);
    assert_int_equal(k, 1);
    for (int i = 0; i < BATCH; i++) {
        const bool kept = count[expert[i]]++ < 1; /* C = ceil(0.25 * 12 / 4) */
        const bool same_y = memcmp(r.y + i * 8, x + i * 8, 8 * sizeof *x) == 0;
        assert_int_equal(same_y, !kept);
        for (int j = 0; j < 8 && !kept; j++) assert_true(r.dx[i * 8 + j] == dy[i * 8 + j]);
        passed += !kept;
    }
    assert_true(passed > 0);
    assert_int_equal(ful__moe_stats(rig_moe(&r))->all_dropped, passed);
    free(x);
    free(dy);
    rig_close(&r);
}

/* All tokens prefer experts 0 and 1: the others get no rows, no MACs and no gradient. */
static void idle_experts(void **state)
{
    (void)state;
    static const ful_expert kinds[] = {FUL_EXPERT_MLP, FUL_EXPERT_CONV};
    for (int kind = 0; kind < 2; kind++) {
        const ful_shape shape = kind == 0 ? (ful_shape){1, 1, 8} : (ful_shape){3, 3, 8};
        ful_moe_attr a = attr_of(kinds[kind], "softmax");
        a.capacity_permille = 0;
        rig r;
        rig_open(&r, rig_moe_graph(shape, &a), BATCH, true);
        const int64_t count = BATCH * ful__count(shape);
        float *x = rig_floats(count), *dy = rig_floats(count);
        rig_fill(x, count, 5, "x", 0.1f);
        rig_fill(dy, count, 5, "dy", 1);
        for (int64_t i = 0; i < count; i++) x[i] += 1;
        for (int e = 0; e < 4; e++)
            for (int c = 0; c < 8; c++) r.w[0][e * 8 + c] = e < 2 ? 1 : -1;
        rig_forward(&r, BATCH, x);
        rig_backward(&r, dy);
        const ful_moe_stats *stats = ful__moe_stats(rig_moe(&r));
        for (int e = 0; e < 4; e++) assert_int_equal(stats->chosen[e], e < 2 ? BATCH : 0);
        for (int i = 1; i < r.n_params; i++) {
            const ful__param *p = ful__exec_param(r.exec, i);
            const int e = p->name[strlen("site.moe.expert.")] - '0';
            bool any = false;
            for (int64_t j = 0; j < p->count; j++) any |= r.dw[i][j] != 0;
            if (any != (e < 2)) fail_msg("%s: %s gradient", p->name, any ? "has a" : "has no");
        }
        free(x);
        free(dy);
        rig_close(&r);
    }
}

static void no_images(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(FUL_EXPERT_MLP, "softmax");
    rig r;
    rig_open(&r, rig_moe_graph((ful_shape){1, 1, 8}, &a), 4, true);
    rig_forward(&r, 0, r.x);
    rig_backward(&r, r.dy);
    assert_int_equal(ful__moe_stats(rig_moe(&r))->batches, 0);
    assert_int_equal(r.counters.macs, 0);
    rig_close(&r);
}

/* Weights are packed when an expert first has rows: that may be in a later batch than the one that said they changed. */
static void late_packing(void **state)
{
    (void)state;
    static const ful_expert kinds[] = {FUL_EXPERT_MLP, FUL_EXPERT_CONV};
    for (int kind = 0; kind < 2; kind++) {
        const ful_shape shape = kind == 0 ? (ful_shape){1, 1, 16} : (ful_shape){4, 4, 16};
        const int64_t one = ful__count(shape), count = BATCH * one;
        const ful_moe_attr a = attr_of(kinds[kind], "softmax");
        float *x = rig_floats(count), *y[2];
        rig_fill(x, count, 5, "x", 1);
        for (int fresh = 0; fresh < 2; fresh++) {
            rig r;
            rig_open(&r, rig_moe_graph(shape, &a), BATCH, false);
            if (!fresh) {
                for (int i = 0; i < r.n_params; i++) /* other weights first, packed for all experts */
                    for (int64_t j = 0; j < ful__exec_param(r.exec, i)->count; j++) r.w[i][j] += 1;
                rig_forward(&r, BATCH, x);
                for (int i = 0; i < r.n_params; i++)
                    for (int64_t j = 0; j < ful__exec_param(r.exec, i)->count; j++) r.w[i][j] -= 1;
                for (int i = 0; i < r.n_params; i++)
                    rig_draw(ful__exec_param(r.exec, i), 1, ful__exec_param(r.exec, i)->name, r.w[i]);
                rig_forward(&r, 1, x); /* repack = true, but only two experts have rows */
                r.repack = false;
            }
            rig_forward(&r, BATCH, x);
            y[fresh] = rig_floats(count);
            memcpy(y[fresh], r.y, (size_t)count * sizeof *x);
            rig_close(&r);
        }
        assert_memory_equal(y[0], y[1], (size_t)count * sizeof *x);
        free(y[0]);
        free(y[1]);
        free(x);
    }
}

/* One training step; all results in one array. */
static float *step_bits(const subject *s, int64_t *count_out)
{
    rig r;
    rig_open(&r, rig_moe_graph(s->shape, &s->attr), BATCH, true);
    const int64_t count = BATCH * ful__count(s->shape);
    float *x = rig_floats(count), *dy = rig_floats(count);
    rig_fill(x, count, 5, "x", 1);
    rig_fill(dy, count, 5, "dy", 1);
    rig_forward(&r, BATCH, x);
    rig_backward(&r, dy);
    int64_t total = 2 * count;
    for (int i = 0; i < r.n_params; i++) total += ful__exec_param(r.exec, i)->count;
    float *bits = rig_floats(total), *at = bits;
    memcpy(at, r.y, (size_t)count * sizeof *x);
    memcpy(at += count, r.dx, (size_t)count * sizeof *x);
    at += count;
    for (int i = 0; i < r.n_params; at += ful__exec_param(r.exec, i++)->count)
        memcpy(at, r.dw[i], (size_t)ful__exec_param(r.exec, i)->count * sizeof *x);
    free(x);
    free(dy);
    rig_close(&r);
    *count_out = total;
    return bits;
}

static void threads(void **state)
{
    (void)state;
    const int before = ful_threads_get();
    subject s[4] = {{"mlp", {1, 1, 24}, attr_of(FUL_EXPERT_MLP, "softmax")},
                    {"pixel mlp", {6, 6, 16}, attr_of(FUL_EXPERT_MLP, "softmax")},
                    {"soft_patch", {6, 6, 16}, attr_of(FUL_EXPERT_MLP, "soft_patch")},
                    {"soft_batch", {1, 1, 24}, attr_of(FUL_EXPERT_MLP, "soft_batch")}};
    s[1].attr.token = s[2].attr.token = FUL_TOKEN_PIXEL;
    for (int i = 0; i < 4; i++) {
        float *one = NULL;
        for (int n = 1; n <= 3; n++) {
            assert_ok(ful_threads_set(n));
            int64_t count;
            float *bits = step_bits(&s[i], &count);
            if (one && memcmp(one, bits, (size_t)count * sizeof *bits) != 0)
                fail_msg("%s: %d threads give other bits than 1", s[i].label, n);
            if (one)
                free(bits);
            else
                one = bits;
        }
        free(one);
    }
    assert_ok(ful_threads_set(before));
}

/* Router noise belongs to the image's place in the whole batch (run->row), not to where this run has it: a reversed run gives
 * the same. */
static void draws_follow_the_row(void **state)
{
    (void)state;
    subject s[2] = {{"mlp", {1, 1, 8}, attr_of(FUL_EXPERT_MLP, "softmax")},
                    {"pixel mlp", {2, 3, 8}, attr_of(FUL_EXPERT_MLP, "softmax")}};
    s[1].attr.token = FUL_TOKEN_PIXEL;
    for (int i = 0; i < 2; i++) {
        s[i].attr.capacity_permille = 0;
        s[i].attr.noise_std = 4;
        rig r;
        rig_open(&r, rig_moe_graph(s[i].shape, &s[i].attr), BATCH, true);
        const int64_t one = ful__count(s[i].shape);
        float *x = rig_floats(BATCH * one), *back = rig_floats(BATCH * one), *y = rig_floats(BATCH * one);
        uint32_t row[BATCH];
        rig_fill(x, BATCH * one, 5, "x", 1);
        for (int j = 0; j < BATCH; j++) {
            row[j] = (uint32_t)(BATCH - 1 - j);
            memcpy(back + j * one, x + row[j] * one, (size_t)one * sizeof *x);
        }
        rig_forward(&r, BATCH, x);
        memcpy(y, r.y, (size_t)(BATCH * one) * sizeof *x);
        rig_forward(&r, BATCH, back); /* without row the noise is that of other images */
        int same = 0;
        for (int j = 0; j < BATCH; j++) same += memcmp(r.y + j * one, y + row[j] * one, (size_t)one * sizeof *x) == 0;
        assert_true(same < BATCH / 2);
        r.row = row;
        rig_forward(&r, BATCH, back);
        for (int j = 0; j < BATCH; j++) assert_memory_equal(r.y + j * one, y + row[j] * one, (size_t)one * sizeof *x);
        free(x);
        free(back);
        free(y);
        rig_close(&r);
    }
}

/* The same step twice, conv experts: the same bits with the same threads. */
static void repeatable(void **state)
{
    (void)state;
    const subject s[2] = {{"conv", {8, 8, 16}, attr_of(FUL_EXPERT_CONV, "softmax")},
                          {"dwconv", {8, 8, 16}, attr_of(FUL_EXPERT_DWCONV, "softmax")}};
    for (int i = 0; i < 2; i++) {
        int64_t count;
        float *a = step_bits(&s[i], &count), *b = step_bits(&s[i], &count);
        assert_memory_equal(a, b, (size_t)count * sizeof *a);
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_leak),       cmocka_unit_test(leaks),
                                       cmocka_unit_test(eval_capacity), cmocka_unit_test(dropped_pass),
                                       cmocka_unit_test(idle_experts),  cmocka_unit_test(no_images),
                                       cmocka_unit_test(late_packing),  cmocka_unit_test(threads),
                                       cmocka_unit_test(repeatable),    cmocka_unit_test(draws_follow_the_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
