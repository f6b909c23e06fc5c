/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounting: MACs counted by the kernels equal the analytic figures exactly, statistics add up, counts reach the router after
 * a step, and card B4's numbers come out of the whole op.
 */
#include "moe/rig.h"

enum { BATCH = 10 };

typedef struct subject {
    const char *label, *router;
    ful_shape shape;
    ful_expert expert;
    ful_token token;
    int64_t x, r; /* MACs of one expert on one token; of the router on one token */
} subject;

static ful_moe_attr attr_of(const subject *s)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, s->expert);
    a.token = s->token;
    a.experts = 4;
    a.hidden = 12;
    snprintf(a.router, sizeof a.router, "%s", s->router);
    return a;
}

/* d = 8, h = 12, e = 4, map 3 x 5 */
static const subject subjects[] = {
    {"mlp", "softmax", {1, 1, 8}, FUL_EXPERT_MLP, FUL_TOKEN_IMAGE, 2 * 8 * 12, 4 * 8},
    {"pixel mlp", "softmax", {3, 5, 8}, FUL_EXPERT_MLP, FUL_TOKEN_PIXEL, 2 * 8 * 12, 4 * 8},
    {"conv", "softmax", {3, 5, 8}, FUL_EXPERT_CONV, FUL_TOKEN_IMAGE, 15 * 9 * 2 * 8 * 12, 4 * 8},
    {"dwconv", "softmax", {3, 5, 8}, FUL_EXPERT_DWCONV, FUL_TOKEN_IMAGE, 15 * (2 * 8 * 12 + 9 * 12), 4 * 8},
    {"hash", "hash", {1, 1, 8}, FUL_EXPERT_MLP, FUL_TOKEN_IMAGE, 2 * 8 * 12, -1},
    {"soft_sample", "soft_sample", {1, 1, 8}, FUL_EXPERT_MLP, FUL_TOKEN_IMAGE, 2 * 8 * 12, 4 * 8},
    {"soft_patch", "soft_patch", {3, 5, 8}, FUL_EXPERT_MLP, FUL_TOKEN_PIXEL, 2 * 8 * 12, 3 * 4 * 8},
    {"soft_batch", "soft_batch", {1, 1, 8}, FUL_EXPERT_MLP, FUL_TOKEN_IMAGE, 2 * 8 * 12, 3 * 4 * 8},
    {"soft_batch on maps",
     "soft_batch",
     {3, 5, 8},
     FUL_EXPERT_CONV,
     FUL_TOKEN_IMAGE,
     15 * 9 * 2 * 8 * 12,
     4 * 8 + 2 * 4 * 8 * 15},
};

/* Rows of experts that n images make, nothing dropped. */
static int64_t nominal_rows(const subject *s, const ful_moe_attr *a, int64_t n)
{
    const int64_t tokens = a->token == FUL_TOKEN_PIXEL ? (int64_t)s->shape.h * s->shape.w : 1;
    if (strcmp(s->router, "soft_batch") == 0) return a->experts;
    if (strcmp(s->router, "soft_patch") == 0) return n * a->experts;
    return n * tokens * (strcmp(s->router, "soft_sample") == 0 ? a->experts : a->k);
}

static void counted_macs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const subject *s = &subjects[i];
        ful_moe_attr a = attr_of(s);
        const int64_t tokens = s->token == FUL_TOKEN_PIXEL ? (int64_t)s->shape.h * s->shape.w : 1;
        for (int permille = 0; permille <= 500; permille += 500) {
            a.capacity_permille = permille;
            a.capacity_min = 1;
            rig r;
            rig_open(&r, rig_moe_graph(s->shape, &a), BATCH, true);
            const ful__op *op = rig_moe(&r);
            float *x = rig_floats(BATCH * ful__count(s->shape));
            rig_fill(x, BATCH * ful__count(s->shape), 5, "x", 1);
            rig_forward(&r, BATCH, x);
            const ful_moe_stats *stats = ful__moe_stats(op);
            const int64_t rows = nominal_rows(s, &a, BATCH) - stats->dropped;
            assert_int_equal(r.counters.macs_routed, rows * s->x);
            assert_int_equal(r.counters.macs_router, BATCH * op->cost.macs_router);
            assert_int_equal(r.counters.macs, r.counters.macs_routed + r.counters.macs_router);
            assert_int_equal(stats->macs_executed, r.counters.macs_routed);
            assert_int_equal(stats->macs_router, r.counters.macs_router);
            /* the analytic side, of one image */
            if (s->r >= 0) assert_int_equal(op->cost.macs_router, tokens * s->r);
            assert_int_equal(op->cost.macs_routed, nominal_rows(s, &a, 1) * s->x);
            assert_int_equal(op->cost.macs, op->cost.macs_router + op->cost.macs_routed);
            ful__moe_account account;
            ful__moe_account_get(op, &account);
            assert_int_equal(account.k * account.expert_macs, op->cost.macs_routed);
            assert_int_equal(account.router_macs, op->cost.macs_router);
            assert_int_equal(account.per_batch, strcmp(s->router, "soft_batch") == 0);
            int64_t params = 0;
            for (int p = 0; p < r.n_params; p++) params += ful__exec_param(r.exec, p)->count;
            assert_int_equal(account.router_params + 4 * account.expert_params, params);
            /* a backward pass counts nothing */
            const ful__counters before = r.counters;
            rig_backward(&r, x);
            assert_memory_equal(&before, &r.counters, sizeof before);
            free(x);
            rig_close(&r);
        }
    }
}

static void statistics(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(&subjects[1]);
    a.capacity_permille = 700;
    a.capacity_min = 1;
    rig r;
    rig_open(&r, rig_moe_graph(subjects[1].shape, &a), BATCH, true);
    ful__op *op = rig_moe(&r);
    assert_ok(ful__moe_set_classes(op, 3));
    int32_t label[BATCH];
    for (int i = 0; i < BATCH; i++) label[i] = i % 3;
    r.label = label;
    float *x = rig_floats(BATCH * 120);
    rig_fill(x, BATCH * 120, 5, "x", 1);
    for (int batch = 1; batch <= 2; batch++) {
        rig_forward(&r, BATCH, x);
        rig_backward(&r, x);
        const ful_moe_stats *s = ful__moe_stats(op);
        int64_t chosen = 0, kept = 0, first[3] = {0};
        for (int e = 0; e < 4; e++) {
            chosen += s->chosen[e];
            kept += s->kept[e];
            for (int c = 0; c < 3; c++) first[c] += s->class_expert[c * 4 + e];
        }
        assert_string_equal(s->layer, "site.moe");
        assert_int_equal(s->batches, batch);
        assert_int_equal(s->tokens, batch * BATCH * 15);
        assert_int_equal(chosen, batch * BATCH * 15 * 2);
        assert_int_equal(chosen - kept, s->dropped);
        assert_true(s->dropped > 0);
        assert_int_equal(s->capacity_slots, batch * 4 * 53); /* ceil(0.7 * 2 * 150 / 4) */
        for (int c = 0; c < 3; c++) assert_int_equal(first[c], batch * 15 * (c == 0 ? 4 : 3));
        assert_true(s->gate_grad_sq_sum > 0 && s->loss_switch > 0);
    }
    ful__moe_stats_clear(op);
    assert_int_equal(ful__moe_stats(op)->tokens, 0);
    assert_int_equal(ful__moe_stats(op)->classes, 3);
    free(x);
    rig_close(&r);
}

/* Card D5: after the step, bias += u * sign(mean - c_e) with the choices of all its micro-batches. */
static void bias_follows_the_step(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(&subjects[0]);
    a.bias_rate = 0.125f;
    rig r;
    rig_open(&r, rig_moe_graph(subjects[0].shape, &a), BATCH, true);
    const int bias = rig_param(&r, ".router.bias");
    memset(r.w[bias], 0, 4 * sizeof(float));
    float *x = rig_floats(2 * BATCH * 8);
    rig_fill(x, 2 * BATCH * 8, 5, "x", 1);
    for (int step = 0; step < 2; step++) {
        float before[4];
        memcpy(before, r.w[bias], sizeof before);
        ful__moe_stats_clear(rig_moe(&r));
        for (int micro = 0; micro < 2; micro++) {
            rig_forward(&r, BATCH, x + micro * BATCH * 8);
            rig_backward(&r, x);
        }
        const ful_moe_stats *s = ful__moe_stats(rig_moe(&r));
        int64_t chosen[4];
        memcpy(chosen, s->chosen, sizeof chosen);
        rig_step(&r, 0);
        for (int e = 0; e < 4; e++) {
            const int64_t over = 4 * chosen[e] - 2 * BATCH * 2;
            const float want = before[e] + (over > 0 ? -0.125f : over < 0 ? 0.125f : 0);
            assert_true(r.w[bias][e] == want);
        }
    }
    free(x);
    rig_close(&r);
}

/* Card D3: with switch_global the load share is that of all micro-batches of the step so far; begin_step forgets it. */
static void global_balance(void **state)
{
    (void)state;
    double loss[2][2];
    for (int global = 0; global < 2; global++) {
        ful_moe_attr a = attr_of(&subjects[0]);
        a.experts = 2;
        a.k = 1;
        a.capacity_permille = 0;
        a.switch_coef = 1;
        a.switch_global = global;
        rig r;
        rig_open(&r, rig_moe_graph((ful_shape){1, 1, 1}, &a), 4, true);
        ful__op *op = rig_moe(&r);
        r.w[0][0] = 1.5f; /* logits +-1.5 x: a difference of 3 */
        r.w[0][1] = -1.5f;
        for (int turn = 0; turn < 2; turn++) {
            const float left[4] = {1, 1, 1, 1}, right[4] = {-1, -1, -1, -1};
            ful__moe_begin_step(op);
            rig_forward(&r, 4, left);
            ful__moe_stats_clear(op);
            rig_forward(&r, 4, right);
            loss[global][turn] = ful__moe_stats(op)->loss_switch;
        }
        rig_close(&r);
    }
    for (int turn = 0; turn < 2; turn++) { /* [O:D3]: 2 sigmoid(3) = 1.905148 a micro-batch, 1 over both */
        assert_true(fabs(loss[0][turn] - 1.905148) < 1e-5);
        assert_true(fabs(loss[1][turn] - 1.0) < 1e-5);
    }
}

/* Card B4 through the whole op: X, slots' logits as the card's by a suitable scale and weights of the l2-normalised router; f_0
 * = 2z, f_1 = -z. */
static void linear_expert(rig *r, int e, float factor)
{
    char name[64];
    snprintf(name, sizeof name, ".expert.%d.fc1.weight", e);
    float *w1 = r->w[rig_param(r, name)];
    snprintf(name, sizeof name, ".expert.%d.fc2.weight", e);
    float *w2 = r->w[rig_param(r, name)];
    for (int i = 0; i < 4; i++) {
        w1[i] = i % 3 == 0 ? 1 : 0;
        w2[i] = i % 3 == 0 ? factor : 0;
    }
    snprintf(name, sizeof name, ".expert.%d.fc1.bias", e);
    memset(r->w[rig_param(r, name)], 0, 2 * sizeof(float));
    snprintf(name, sizeof name, ".expert.%d.fc2.bias", e);
    memset(r->w[rig_param(r, name)], 0, 2 * sizeof(float));
}

/* What Soft MoE in the given form makes of the rows x (less the residual), by the formulas with this router's logits. */
static void soft_by_hand(const double (*x)[2], int m, bool sample, const double *phi, double scale, double (*y)[2])
{
    double l[8][2], c[8][2], d[8][2], z[2][2] = {{0}};
    for (int t = 0; t < m; t++) {
        const double norm = sqrt(x[t][0] * x[t][0] + x[t][1] * x[t][1] + 1e-6);
        for (int s = 0; s < 2; s++) {
            const double *p = phi + 2 * s;
            l[t][s] = scale * (x[t][0] * p[0] + x[t][1] * p[1]) / norm / sqrt(p[0] * p[0] + p[1] * p[1] + 1e-6);
        }
        for (int s = 0; s < 2; s++) c[t][s] = 1 / (1 + exp(l[t][1 - s] - l[t][s]));
    }
    for (int s = 0; s < 2; s++) {
        double sum = 0;
        for (int t = 0; t < m; t++) sum += exp(l[t][s]);
        for (int t = 0; t < m; t++) {
            d[t][s] = exp(l[t][s]) / sum;
            for (int i = 0; i < 2; i++) z[s][i] += d[t][s] * x[t][i];
        }
    }
    for (int t = 0; t < m; t++)
        for (int i = 0; i < 2; i++)
            y[t][i] = c[t][0] * 2 * (sample ? x[t][i] : z[0][i]) - c[t][1] * (sample ? x[t][i] : z[1][i]);
}

static void soft_numbers(void **state)
{
    (void)state;
    static const char *const routers[] = {"soft_patch", "soft_batch", "soft_sample"};
    const double x[3][2] = {{1, 0}, {0, 1}, {1, 1}}, phi[4] = {1, 0.5, -0.25, 2};
    for (int i = 0; i < 3; i++) {
        ful_moe_attr a;
        ful_moe_defaults(&a, FUL_EXPERT_MLP);
        a.experts = a.hidden = 2;
        a.act = FUL_ACT_NONE;
        snprintf(a.router, sizeof a.router, "%s", routers[i]);
        if (i == 0) a.token = FUL_TOKEN_PIXEL;
        rig r;
        rig_open(&r, rig_moe_graph(i == 0 ? (ful_shape){1, 3, 2} : (ful_shape){1, 1, 2}, &a), 3, false);
        for (int j = 0; j < 4; j++) r.w[rig_param(&r, ".router.weight")][j] = (float)phi[j];
        r.w[rig_param(&r, ".router.scale")][0] = 1.5f;
        linear_expert(&r, 0, 2);
        linear_expert(&r, 1, -1);
        const float in[6] = {1, 0, 0, 1, 1, 1};
        double y[3][2];
        rig_forward(&r, i == 0 ? 1 : 3, in);
        soft_by_hand(x, 3, i == 2, phi, 1.5, y);
        for (int j = 0; j < 6; j++) assert_true(fabs((double)r.y[j] - (y[j / 2][j % 2] + x[j / 2][j % 2])) < 1e-5);
        if (i == 1) { /* a neighbour changes everything: token 0 alone */
            rig_forward(&r, 1, in);
            soft_by_hand(x, 1, false, phi, 1.5, y);
            for (int j = 0; j < 2; j++) assert_true(fabs((double)r.y[j] - (y[0][j] + x[0][j])) < 1e-5);
        }
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counted_macs), cmocka_unit_test(statistics),
                                       cmocka_unit_test(bias_follows_the_step), cmocka_unit_test(global_balance),
                                       cmocka_unit_test(soft_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
