/* SPDX-License-Identifier: Apache-2.0 */
/* What a mixture refuses, and in which words: the field, its value, the rule. And that what it accepts has the promised
 * defaults. */
#include "core/error.h"
#include "moe/rig.h"
#include "support/fault.h"

static const ful_shape vector = {1, 1, 8}, map = {4, 4, 8};

static ful_moe_attr base(ful_expert expert)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, expert);
    return a;
}

static ful_status build(ful_shape shape, const ful_moe_attr *a)
{
    ful_graph *g;
    ful_node x, y;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, shape, &x));
    const ful_status status = ful_graph_moe(g, "head.moe", x, a, &y);
    ful_graph_destroy(&g);
    return status;
}

static void refuses(ful_shape shape, ful_moe_attr a, const char *values, const char *rule)
{
    assert_fails(build(shape, &a), FUL_ERR_CONFIG, values);
    assert_fails(build(shape, &a), FUL_ERR_CONFIG, rule);
    assert_fails(build(shape, &a), FUL_ERR_CONFIG, "head.moe");
}

#define REFUSES(expert_kind, shape, field, value, values, rule) \
    do {                                                        \
        ful_moe_attr a_ = base(expert_kind);                    \
        a_.field = (value);                                     \
        refuses((shape), a_, (values), (rule));                 \
    } while (0)

static void single_fields(void **state)
{
    (void)state;
    REFUSES(FUL_EXPERT_MLP, vector, experts, 0, "experts=0", "must be in 1..4096");
    REFUSES(FUL_EXPERT_MLP, vector, experts, 4097, "experts=4097", "must be in 1..4096");
    REFUSES(FUL_EXPERT_MLP, vector, k, 0, "k=0, experts=8", "k must be in 1..experts");
    REFUSES(FUL_EXPERT_MLP, vector, k, 9, "k=9, experts=8", "k must be in 1..experts");
    REFUSES(FUL_EXPERT_MLP, vector, hidden, 0, "hidden=0", "hidden must be in 1..");
    REFUSES(FUL_EXPERT_MLP, vector, token, (ful_token)2, "token=2", "token must be in 0..1");
    REFUSES(FUL_EXPERT_MLP, vector, expert, (ful_expert)3, "expert=3", "expert must be in 0..2");
    REFUSES(FUL_EXPERT_MLP, vector, act, (ful_act)99, "act=99", "act must be in 0..6");
    REFUSES(FUL_EXPERT_MLP, vector, norm, (ful_expert_norm)3, "norm=3", "norm must be in 0..2");
    REFUSES(FUL_EXPERT_MLP, vector, router_input, (ful_router_input)3, "router_input=3", "must be in 0..2");
    REFUSES(FUL_EXPERT_MLP, vector, router_init, NAN, "router_init=", "must be in");
    REFUSES(FUL_EXPERT_MLP, vector, gate, (ful_gate_mode)2, "gate=2", "must be in 0..1");
    REFUSES(FUL_EXPERT_MLP, vector, noise_std, -1, "noise_std=-1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, noise_std, INFINITY, "noise_std=inf", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, jitter, 1.5f, "jitter=1.5", "must be in 0..1");
    REFUSES(FUL_EXPERT_MLP, vector, temperature, (ful_temperature)3, "temperature=3", "must be in 0..2");
    REFUSES(FUL_EXPERT_MLP, vector, tau0, 0, "tau0=0", "tau0 must be in");
    REFUSES(FUL_EXPERT_MLP, vector, tau_min, -1, "tau_min=-1", "tau_min must be in");
    REFUSES(FUL_EXPERT_MLP, vector, tau_min, 2, "tau0=1, tau_min=2", "must not exceed tau0");
    REFUSES(FUL_EXPERT_MLP, vector, capacity_permille, -1, "capacity_permille=-1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, capacity_min, -1, "capacity_min=-1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, eval_capacity_permille, -1, "eval_capacity_permille=-1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, drop, (ful_drop_order)2, "drop=2", "must be in 0..1");
    REFUSES(FUL_EXPERT_MLP, vector, soft_slots, 0, "soft_slots=0", "must be in 1..");
    REFUSES(FUL_EXPERT_MLP, vector, soft_slots, 65536, "experts=8, soft_slots=65536", "their product");
    REFUSES(FUL_EXPERT_MLP, vector, switch_coef, -0.1f, "switch_coef=-0.1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, importance_coef, NAN, "importance_coef=", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, load_coef, -1, "load_coef=-1", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, z_coef, INFINITY, "z_coef=inf", "must be in 0..");
    REFUSES(FUL_EXPERT_MLP, vector, entropy_coef, NAN, "entropy_coef=", "must be in");
    REFUSES(FUL_EXPERT_MLP, vector, bias_rate, -1, "bias_rate=-1", "must be in 0..");
}

static void together(void **state)
{
    (void)state;
    ful_moe_attr a = base(FUL_EXPERT_MLP);
    a.k = 1;
    a.gate = FUL_GATE_RENORM;
    refuses(vector, a, "gate=renorm, k=1", "trains no router");
    a = base(FUL_EXPERT_MLP);
    a.gated = true;
    a.norm = FUL_EXPERT_NORM_LAYER;
    refuses(vector, a, "gated=true and expert=mlp, norm=layer", "only an MLP without a norm");
    a = base(FUL_EXPERT_CONV);
    a.gated = true;
    refuses(map, a, "gated=true and expert=conv", "only an MLP without a norm");
    a = base(FUL_EXPERT_CONV);
    a.token = FUL_TOKEN_PIXEL;
    refuses(map, a, "token=pixel, expert=conv", "needs token=image");
    a.expert = FUL_EXPERT_DWCONV;
    refuses(map, a, "token=pixel, expert=dwconv", "needs token=image");
    a = base(FUL_EXPERT_MLP);
    strcpy(a.router, "soft_patch");
    refuses(vector, a, "router=soft_patch, token=image", "needs token=pixel");
    a = base(FUL_EXPERT_MLP);
    strcpy(a.router, "no-such");
    refuses(vector, a, "no-such", "softmax");
    memset(a.router, 'x', sizeof a.router);
    refuses(vector, a, "router 'xxxx", "at most 31 bytes");
}

static void arguments(void **state)
{
    (void)state;
    ful_graph *g;
    ful_node x, y;
    ful_moe_attr a = base(FUL_EXPERT_CONV);
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, map, &x));
    assert_fails(ful_graph_moe(g, "moe", x, NULL, &y), FUL_ERR_ARG, "attr NULL");
    assert_fails(ful_graph_moe(g, "moe", 5, &a, &y), FUL_ERR_ARG, "cannot add node 'moe'");
    assert_fails(ful_graph_expert_block(g, NULL, x, &a, 4, &y), FUL_ERR_ARG, "all are needed");
    assert_fails(ful_graph_expert_block(g, "ffn", x, &a, 0, &y), FUL_ERR_CONFIG, "hidden=0");
    a.expert = FUL_EXPERT_MLP;
    assert_int_equal(ful_graph_count(g), 1);
    a.token = FUL_TOKEN_PIXEL;
    assert_ok(ful_graph_moe(g, "moe", x, &a, &y));
    assert_fails(ful_graph_moe(g, "moe", x, &a, &y), FUL_ERR_ARG, "already has that name");
    ful_graph_destroy(&g);
}

static void defaults(void **state)
{
    (void)state;
    const ful_moe_attr mlp = base(FUL_EXPERT_MLP), conv = base(FUL_EXPERT_DWCONV);
    assert_int_equal(mlp.experts, 8);
    assert_int_equal(mlp.k, 2);
    assert_int_equal(mlp.act, FUL_ACT_GELU);
    assert_int_equal(mlp.norm, FUL_EXPERT_NORM_NONE);
    assert_int_equal(conv.expert, FUL_EXPERT_DWCONV);
    assert_int_equal(conv.act, FUL_ACT_RELU);
    assert_int_equal(conv.norm, FUL_EXPERT_NORM_LAYER);
    assert_int_equal(mlp.capacity_permille, 1250);
    assert_int_equal(mlp.eval_capacity_permille, 0);
    assert_string_equal(mlp.router, "softmax");
    assert_ok(build(vector, &mlp));
    assert_ok(build(map, &conv));
}

/* Names, order and shapes of the parameters: checkpoints depend on them. */
static void parameters(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rank;
        int64_t shape[4];
    } want[] = {{"site.moe.router.weight", 2, {2, 8}},  {"site.moe.expert.0.fc1.weight", 2, {5, 8}},
                {"site.moe.expert.0.fc1.bias", 1, {5}}, {"site.moe.expert.0.fc2.weight", 2, {8, 5}},
                {"site.moe.expert.0.fc2.bias", 1, {8}}, {"site.moe.expert.1.fc1.weight", 2, {5, 8}},
                {"site.moe.expert.1.fc1.bias", 1, {5}}, {"site.moe.expert.1.fc2.weight", 2, {8, 5}},
                {"site.moe.expert.1.fc2.bias", 1, {8}}};
    ful_moe_attr a = base(FUL_EXPERT_MLP);
    a.experts = 2;
    a.hidden = 5;
    rig r;
    rig_open(&r, rig_moe_graph(vector, &a), 2, true);
    assert_int_equal(r.n_params, sizeof want / sizeof *want);
    for (int i = 0; i < r.n_params; i++) {
        const ful__param *p = ful__exec_param(r.exec, i);
        assert_string_equal(p->name, want[i].name);
        assert_int_equal(p->rank, want[i].rank);
        assert_memory_equal(p->shape, want[i].shape, (size_t)p->rank * sizeof *p->shape);
        assert_true(p->trainable);
        assert_int_equal(p->decay, p->rank > 1);
    }
    rig_close(&r);
    a = base(FUL_EXPERT_DWCONV);
    rig_open(&r, rig_moe_graph(map, &a), 2, true);
    for (int e = 0; e < a.experts; e++) {
        static const char *const part[] = {"conv1.weight", "norm1.weight", "norm1.bias",   "dw.weight",
                                           "norm2.weight", "norm2.bias",   "conv2.weight", "conv2.bias"};
        for (size_t j = 0; j < sizeof part / sizeof *part; j++) {
            char name[128];
            snprintf(name, sizeof name, "site.moe.expert.%d.%s", e, part[j]);
            assert_string_equal(ful__exec_param(r.exec, 1 + e * 8 + (int)j)->name, name);
        }
    }
    rig_close(&r);
}

/* Create, plan, set classes, destroy; n-th allocation failing. */
typedef struct attempt_case {
    ful_shape shape;
    ful_moe_attr attr;
    bool train;
} attempt_case;

static ful_status planned(const attempt_case *c, ful_graph *g, ful__exec **exec)
{
    ful_node x, y;
    FUL_TRY(ful_graph_input(g, c->shape, &x));
    FUL_TRY(ful_graph_moe(g, "moe", x, &c->attr, &y));
    const ful__exec_spec spec = {.n_max = 4, .train = c->train, .need_dx = true};
    FUL_TRY(ful__exec_create(g, &spec, exec));
    return ful__moe_set_classes(rig_moe(&(rig){.exec = *exec}), 10);
}

static ful_status attempt(void *ctx)
{
    ful_graph *g = NULL;
    ful__exec *exec = NULL;
    ful_status status = ful_graph_create(&g);
    if (status == FUL_OK) status = planned(ctx, g, &exec);
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
    return status;
}

static void allocation_failures(void **state)
{
    (void)state;
    attempt_case c = {vector, base(FUL_EXPERT_MLP), true};
    c.attr.experts = 2;
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, attempt, &c) > 20);
    c.shape = (ful_shape){4, 4, 16};
    c.attr = base(FUL_EXPERT_CONV);
    c.attr.experts = 2;
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, attempt, &c) > 20);
    c.train = false;
    strcpy(c.attr.router, "soft_batch");
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, attempt, &c) > 20);
}

static void too_many_pairs(void **state)
{
    (void)state;
    ful_moe_attr a = base(FUL_EXPERT_MLP);
    a.token = FUL_TOKEN_PIXEL;
    ful_graph *g = rig_moe_graph((ful_shape){1024, 1024, 2}, &a);
    const ful__exec_spec spec = {.n_max = 1024, .train = true};
    ful__exec *exec = NULL;
    assert_fails(ful__exec_create(g, &spec, &exec), FUL_ERR_UNSUPPORTED, "at most 2^30 pairs");
    ful_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(single_fields), cmocka_unit_test(together),
                                       cmocka_unit_test(arguments),     cmocka_unit_test(defaults),
                                       cmocka_unit_test(parameters),    cmocka_unit_test(allocation_failures),
                                       cmocka_unit_test(too_many_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
