/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One expert, one choice, gate 1: the mixture is the dense block, bit for bit - outputs, gradients, and weights after SGD steps
 * (DESIGN 3.6). Also what shared_init promises: experts that start from the dense block's own values.
 */
#include "moe/rig.h"

enum { BATCH = 7, STEPS = 3 };

typedef struct twin {
    const char *label;
    ful_shape shape;
    ful_moe_attr attr;
} twin;

static ful_graph *dense_graph(const twin *c)
{
    ful_graph *g;
    ful_node x, y;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, c->shape, &x));
    assert_ok(ful_graph_expert_block(g, "site.ffn", x, &c->attr, c->attr.hidden, &y));
    assert_ok(ful_graph_set_output(g, y));
    return g;
}

/* The mixture's parameter that stands for parameter i of the dense net. */
static int partner(const rig *dense, const rig *moe, int i)
{
    char suffix[256];
    snprintf(suffix, sizeof suffix, ".expert.0.%s", ful__exec_param(dense->exec, i)->name + strlen("site.ffn."));
    return rig_param(moe, suffix);
}

static void assert_same(const char *label, const char *what, int step, const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s, step %d: %s[%lld] is %.9g in the dense net, %.9g in the mixture", label, step, what, (long long)i,
                     (double)a[i], (double)b[i]);
}

static void check_twin(const twin *c)
{
    rig dense, moe;
    rig_open(&dense, dense_graph(c), BATCH, true);
    rig_open(&moe, rig_moe_graph(c->shape, &c->attr), BATCH, true);
    for (int i = 0; i < dense.n_params; i++)
        memcpy(moe.w[partner(&dense, &moe, i)], dense.w[i], (size_t)ful__exec_param(dense.exec, i)->count * sizeof(float));
    const int64_t count = BATCH * ful__count(c->shape);
    float *x = rig_floats(count), *dy = rig_floats(count);
    for (int step = 0; step < STEPS; step++) {
        char name[16];
        snprintf(name, sizeof name, "step%d", step);
        rig_fill(x, count, 3, name, 1);
        rig_fill(dy, count, 4, name, 1);
        const int n = step == 1 ? BATCH - 2 : BATCH;
        rig_forward(&dense, n, x);
        rig_forward(&moe, n, x);
        assert_same(c->label, "y", step, dense.y, moe.y, n * ful__count(c->shape));
        rig_backward(&dense, dy);
        rig_backward(&moe, dy);
        assert_same(c->label, "dx", step, dense.dx, moe.dx, n * ful__count(c->shape));
        for (int pass = 0; pass < 2; pass++) {
            for (int i = 0; i < dense.n_params; i++) {
                const ful__param *p = ful__exec_param(dense.exec, i);
                const int j = partner(&dense, &moe, i);
                if (pass == 0 && p->trainable) assert_same(c->label, p->name, step, dense.dw[i], moe.dw[j], p->count);
                if (pass == 1) assert_same(c->label, p->name, step, dense.w[i], moe.w[j], p->count);
            }
            if (pass == 0) rig_step(&dense, 0.05f);
            if (pass == 0) rig_step(&moe, 0.05f);
        }
    }
    assert_int_equal(ful__moe_stats(rig_moe(&moe))->dropped, 0);
    free(x);
    free(dy);
    rig_close(&dense);
    rig_close(&moe);
}

static ful_moe_attr one(ful_expert expert, int hidden)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, expert);
    a.experts = a.k = 1;
    a.hidden = hidden;
    return a;
}

static void mlp(void **state)
{
    (void)state;
    twin c = {"mlp, softmax of one", {1, 1, 24}, one(FUL_EXPERT_MLP, 40)};
    check_twin(&c);
    c.label = "mlp, fixed gate";
    strcpy(c.attr.router, "fixed");
    check_twin(&c);
    c.label = "mlp relu";
    c.attr.act = FUL_ACT_RELU;
    check_twin(&c);
    c.label = "linear mlp, odd sizes";
    c.shape.c = 13;
    c.attr = one(FUL_EXPERT_MLP, 7);
    c.attr.act = FUL_ACT_NONE;
    check_twin(&c);
    c.label = "mlp with layer-norm";
    c.attr = one(FUL_EXPERT_MLP, 24);
    c.attr.norm = FUL_EXPERT_NORM_LAYER;
    check_twin(&c);
    c.label = "mlp with batch-norm";
    c.attr.norm = FUL_EXPERT_NORM_BATCH;
    check_twin(&c);
}

static void pixel_mlp(void **state)
{
    (void)state;
    twin c = {"pixel mlp", {4, 5, 16}, one(FUL_EXPERT_MLP, 24)};
    c.attr.token = FUL_TOKEN_PIXEL;
    check_twin(&c);
    c.label = "gated pixel mlp";
    c.attr.gated = true;
    check_twin(&c);
    c.attr.gated = false;
    c.label = "mlp on whole maps";
    c.attr.token = FUL_TOKEN_IMAGE;
    check_twin(&c);
    c.attr.token = FUL_TOKEN_PIXEL;
    c.label = "pixel mlp, many rows";
    c.shape = (ful_shape){24, 24, 8}; /* weight gradients are cut by rows */
    check_twin(&c);
}

static void conv(void **state)
{
    (void)state;
    twin c = {"conv", {8, 8, 16}, one(FUL_EXPERT_CONV, 32)};
    check_twin(&c);
    c.label = "conv, fixed gate, odd sizes";
    c.shape = (ful_shape){5, 3, 6};
    c.attr = one(FUL_EXPERT_CONV, 10);
    strcpy(c.attr.router, "fixed");
    check_twin(&c);
    c.label = "conv without norm";
    c.attr.norm = FUL_EXPERT_NORM_NONE;
    check_twin(&c);
    c.label = "conv with batch-norm";
    c.shape = (ful_shape){8, 8, 16};
    c.attr = one(FUL_EXPERT_CONV, 16);
    c.attr.norm = FUL_EXPERT_NORM_BATCH;
    check_twin(&c);
}

static void dwconv(void **state)
{
    (void)state;
    twin c = {"dwconv", {8, 8, 16}, one(FUL_EXPERT_DWCONV, 48)};
    check_twin(&c);
    c.label = "dwconv, odd sizes";
    c.shape = (ful_shape){3, 5, 5};
    c.attr = one(FUL_EXPERT_DWCONV, 9);
    check_twin(&c);
}

static void shared_init_names(void **state)
{
    (void)state;
    twin c = {"init", {1, 1, 8}, one(FUL_EXPERT_MLP, 4)};
    c.attr.experts = 3;
    rig dense, own, shared;
    rig_open(&dense, dense_graph(&c), 2, true);
    rig_open(&own, rig_moe_graph(c.shape, &c.attr), 2, true);
    c.attr.shared_init = true;
    rig_open(&shared, rig_moe_graph(c.shape, &c.attr), 2, true);
    for (int e = 0; e < 3; e++)
        for (int i = 0; i < dense.n_params; i++) {
            const ful__param *d = ful__exec_param(dense.exec, i);
            char suffix[256];
            snprintf(suffix, sizeof suffix, ".expert.%d.%s", e, d->name + strlen("site.ffn."));
            const ful__param *p = ful__exec_param(shared.exec, rig_param(&shared, suffix));
            assert_string_equal(p->init_name, d->name);
            assert_int_equal(p->count, d->count);
            assert_int_equal(p->init, d->init);
            assert_string_equal(ful__exec_param(own.exec, rig_param(&own, suffix))->init_name, "");
        }
    rig_close(&dense);
    rig_close(&own);
    rig_close(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mlp), cmocka_unit_test(pixel_mlp), cmocka_unit_test(conv),
                                       cmocka_unit_test(dwconv), cmocka_unit_test(shared_init_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
