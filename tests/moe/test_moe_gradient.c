/* SPDX-License-Identifier: Apache-2.0 */
/* The whole op against a reference in double: outputs, and gradients through gates, losses, dispatch and slots by central
 * differences. */
#include "moe/reference.h"

typedef struct mixture {
    const char *label;
    ful_shape shape;
    int n;
    ful_moe_attr attr;
} mixture;

/* Everything within 2e-5 of the largest value of its array: float arithmetic against double. */
static void assert_close(const char *label, const char *what, const float *got, const double *want, int64_t count)
{
    double most = 1e-3;
    for (int64_t i = 0; i < count; i++) most = fabs(want[i]) > most ? fabs(want[i]) : most;
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= 2e-5 * most))
            fail_msg("%s: %s[%lld] is %.8g, should be %.8g (largest %.3g)", label, what, (long long)i, (double)got[i], want[i],
                     most);
}

static double stats_loss(const ful_moe_stats *s)
{
    return s->loss_switch + s->loss_importance + s->loss_load + s->loss_z + s->loss_entropy;
}

static void check_slopes(const char *label, reference *f, const rig *r)
{
    for (int i = 0; i < r->n_params; i++) {
        const ful__param *p = ful__exec_param(r->exec, i);
        if (!r->dw[i]) continue;
        double *slope = calloc((size_t)p->count, sizeof *slope);
        for (int64_t j = 0; j < p->count; j++) slope[j] = ref_slope(f, &f->w[i][j]);
        assert_close(label, p->name, r->dw[i], slope, p->count);
        free(slope);
    }
    double *slope = calloc((size_t)(f->t * f->width), sizeof *slope);
    for (int64_t j = 0; j < f->t * f->width; j++) slope[j] = ref_slope(f, &f->x[j]);
    assert_close(label, "dx", r->dx, slope, f->t * f->width);
    free(slope);
}

static void check(const mixture *c)
{
    rig r;
    rig_open(&r, rig_moe_graph(c->shape, &c->attr), c->n, true);
    const int64_t count = c->n * ful__count(c->shape);
    float *x = rig_floats(count), *v = rig_floats(count);
    rig_fill(x, count, 3, "x", 1);
    rig_fill(v, count, 3, "v", 1);
    for (int i = 0; i < ful__count(c->shape); i++) v[i] *= 0.5f;
    for (int64_t j = 0; j < c->attr.experts * c->shape.c; j++) r.w[0][j] *= 2; /* a router with opinions */
    rig_forward(&r, c->n, x);
    rig_backward(&r, v);

    reference f;
    ref_open(&f, &r, &c->attr, v);
    if (f.kind == REF_PAIRS) {
        const int64_t cap = c->attr.capacity_permille
                                ? ful_moe_capacity(f.t, f.e, f.k, c->attr.capacity_permille, c->attr.capacity_min)
                                : 0;
        float *priority = rig_floats(f.t);
        int64_t t;
        int k;
        const int32_t *expert;
        const float *gate;
        ful__moe_last_route(rig_moe(&r), &t, &k, &expert, &gate);
        for (int64_t i = 0; i < f.t; i++) priority[i] = gate[i * k]; /* first choice of softmax_all: the largest P */
        ref_capacity(&f, cap, c->attr.drop == FUL_DROP_PRIORITY ? priority : NULL);
        free(priority);
        int64_t dropped = 0;
        for (int64_t i = 0; i < f.t * f.k; i++) dropped += !f.kept[i];
        const ful_moe_stats *stats = ful__moe_stats(rig_moe(&r));
        assert_int_equal(dropped, stats->dropped);
        if (cap) assert_true(dropped > 0); /* else the case tests no drops */
    }
    (void)ref_objective(&f);
    assert_close(c->label, "y", r.y, f.y, count);
    assert_true(fabs(stats_loss(ful__moe_stats(rig_moe(&r))) - f.aux) <= 1e-5 * (1 + fabs(f.aux)));
    check_slopes(c->label, &f, &r);
    ref_close(&f);
    free(x);
    free(v);
    rig_close(&r);
}

static ful_moe_attr attr_of(ful_expert expert, int experts, int k, int hidden)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, expert);
    a.experts = experts;
    a.k = k;
    a.hidden = hidden;
    a.capacity_permille = 0;
    a.switch_coef = 0;
    if (a.act == FUL_ACT_RELU) a.act = FUL_ACT_SILU; /* no kinks under the differences */
    return a;
}

static void with_all_losses(ful_moe_attr *a)
{
    a->switch_coef = 0.3f;
    a->importance_coef = 0.2f;
    a->z_coef = 0.1f;
    a->entropy_coef = -0.2f;
}

static void mlp(void **state)
{
    (void)state;
    mixture c = {"mlp top-2 of 4", {1, 1, 5}, 9, attr_of(FUL_EXPERT_MLP, 4, 2, 7)};
    check(&c);
    c.label = "mlp top-1 of 3";
    c.attr = attr_of(FUL_EXPERT_MLP, 3, 1, 6);
    check(&c);
    c.label = "mlp top-3 of 4, renormalised, all losses";
    c.attr = attr_of(FUL_EXPERT_MLP, 4, 3, 5);
    c.attr.gate = FUL_GATE_RENORM;
    with_all_losses(&c.attr);
    check(&c);
    c.label = "mlp, linear experts";
    c.attr = attr_of(FUL_EXPERT_MLP, 3, 2, 4);
    c.attr.act = FUL_ACT_NONE;
    check(&c);
    c.label = "mlp, relu";
    c.attr.act = FUL_ACT_RELU;
    check(&c);
    c.label = "mlp with layer-norm";
    c.attr = attr_of(FUL_EXPERT_MLP, 3, 2, 6);
    c.attr.norm = FUL_EXPERT_NORM_LAYER;
    check(&c);
    c.label = "mlp on pixels, all losses";
    c.shape = (ful_shape){2, 3, 4};
    c.n = 3;
    c.attr = attr_of(FUL_EXPERT_MLP, 4, 2, 5);
    c.attr.token = FUL_TOKEN_PIXEL;
    with_all_losses(&c.attr);
    check(&c);
}

/* What transformer blocks are made of: no x in y, gated experts, images as tokens. */
static void blocks(void **state)
{
    (void)state;
    mixture c = {"bare, on pixels", {1, 5, 4}, 3, attr_of(FUL_EXPERT_MLP, 3, 2, 5)};
    c.attr.bare = true;
    c.attr.token = FUL_TOKEN_PIXEL;
    with_all_losses(&c.attr);
    check(&c);
    c.label = "bare with drops";
    c.attr.capacity_permille = 500;
    c.attr.capacity_min = 1;
    check(&c);
    c.label = "bare, gated";
    c.attr = attr_of(FUL_EXPERT_MLP, 3, 2, 6);
    c.attr.bare = c.attr.gated = true;
    c.attr.token = FUL_TOKEN_PIXEL;
    check(&c);
    c.label = "bare soft_patch, gated with silu";
    c.attr.act = FUL_ACT_SILU;
    c.attr.soft_slots = 2;
    strcpy(c.attr.router, "soft_patch");
    check(&c);
    c.label = "mlp on images of many pixels";
    c.n = 6;
    c.attr = attr_of(FUL_EXPERT_MLP, 3, 2, 5);
    check(&c);
    c.label = "the same, bare and gated";
    c.attr.bare = c.attr.gated = true;
    check(&c);
}

static void drops(void **state)
{
    (void)state;
    mixture c = {"mlp with drops", {1, 1, 5}, 12, attr_of(FUL_EXPERT_MLP, 4, 2, 6)};
    with_all_losses(&c.attr);
    c.attr.capacity_permille = 700;
    c.attr.capacity_min = 1;
    check(&c);
    c.label = "mlp with drops by priority";
    c.attr.drop = FUL_DROP_PRIORITY;
    check(&c);
    c.label = "conv with drops";
    c.shape = (ful_shape){2, 2, 3};
    c.n = 8;
    c.attr = attr_of(FUL_EXPERT_CONV, 3, 2, 4);
    c.attr.capacity_permille = 600;
    c.attr.capacity_min = 1;
    check(&c);
}

static void conv(void **state)
{
    (void)state;
    mixture c = {"conv", {3, 3, 3}, 4, attr_of(FUL_EXPERT_CONV, 3, 2, 4)};
    check(&c);
    c.label = "conv without norm, all losses";
    c.attr.norm = FUL_EXPERT_NORM_NONE;
    with_all_losses(&c.attr);
    check(&c);
    c.label = "dwconv";
    c.attr = attr_of(FUL_EXPERT_DWCONV, 3, 2, 5);
    check(&c);
    c.label = "dwconv without norm";
    c.attr.norm = FUL_EXPERT_NORM_NONE;
    check(&c);
}

static void soft(void **state)
{
    (void)state;
    mixture c = {"soft_patch", {2, 3, 4}, 3, attr_of(FUL_EXPERT_MLP, 3, 2, 5)};
    c.attr.token = FUL_TOKEN_PIXEL;
    c.attr.soft_slots = 2;
    strcpy(c.attr.router, "soft_patch");
    check(&c);
    c.label = "soft_batch on vectors";
    c.shape = (ful_shape){1, 1, 5};
    c.n = 6;
    c.attr.token = FUL_TOKEN_IMAGE;
    strcpy(c.attr.router, "soft_batch");
    check(&c);
    c.label = "soft_sample";
    c.attr.soft_slots = 1;
    strcpy(c.attr.router, "soft_sample");
    check(&c);
    c.label = "soft_batch on maps";
    c.shape = (ful_shape){2, 2, 3};
    c.n = 4;
    c.attr = attr_of(FUL_EXPERT_CONV, 2, 1, 4);
    c.attr.soft_slots = 2;
    strcpy(c.attr.router, "soft_batch");
    check(&c);
    c.label = "soft_sample on maps";
    c.attr.soft_slots = 1;
    strcpy(c.attr.router, "soft_sample");
    check(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mlp), cmocka_unit_test(blocks), cmocka_unit_test(drops),
                                       cmocka_unit_test(conv), cmocka_unit_test(soft)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
