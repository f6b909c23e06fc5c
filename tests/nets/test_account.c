/* SPDX-License-Identifier: Apache-2.0 */
/* rho in its variants against the oracle of method card I2, and the figures of a planned net. */
#include <math.h>

#include "nets_support.h"

static ful_status conv(ful_graph *g, const char *name, ful_node *x, int out, int kernel, int stride, int groups)
{
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = out;
    a.kernel_h = a.kernel_w = kernel;
    a.stride_h = a.stride_w = stride;
    a.pad_h = a.pad_w = kernel / 2;
    a.groups = groups;
    return ful_graph_conv2d(g, name, *x, &a, x);
}

/* The card's toy: stem 3->32 at 32 x 32, 32->64 at 16 x 16, 64->128 at 8 x 8 (depthwise: separable), experts 128->h->128,
 * head 10. */
static ful_graph *toy_net(bool depthwise, int hidden, int k)
{
    ful_graph *g = NULL;
    ful_node x;
    ful_moe_attr moe;
    ful_linear_attr fc;
    ful_moe_defaults(&moe, FUL_EXPERT_MLP);
    ful_linear_defaults(&fc);
    moe.hidden = hidden;
    moe.k = k;
    fc.out_features = 10;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, (ful_shape){32, 32, 3}, &x));
    assert_ok(conv(g, "stem", &x, 32, 3, 1, 1));
    if (depthwise) assert_ok(conv(g, "dw1", &x, 32, 3, 2, 32));
    assert_ok(depthwise ? conv(g, "pw1", &x, 64, 1, 1, 1) : conv(g, "conv1", &x, 64, 3, 2, 1));
    if (depthwise) assert_ok(conv(g, "dw2", &x, 64, 3, 2, 64));
    assert_ok(depthwise ? conv(g, "pw2", &x, 128, 1, 1, 1) : conv(g, "conv2", &x, 128, 3, 2, 1));
    assert_ok(ful_graph_global_avg_pool(g, "pool", x, &x));
    assert_ok(ful_graph_moe(g, "head.moe", x, &moe, &x));
    assert_ok(ful_graph_linear(g, "fc", x, &fc, &x));
    return g;
}

#define assert_near(value, expected)                                                                               \
    do {                                                                                                           \
        if (!(fabs((value) - (expected)) <= 5.5e-7)) fail_msg("%s = %.7f, not %.6f", #value, (value), (expected)); \
    } while (0)

/* [O:I.rho] and [O:I.rho_exec] */
static void test_oracle(void **state)
{
    (void)state;
    static const struct {
        bool depthwise;
        int hidden, k;
        int64_t backbone, routed, total;
        double rho_exec, rho_site, rho_total; /* 0: not in the oracle */
    } oracle[] = {
        {false, 128, 2, 10321920, 65536, 10389760, 0.006308, 0, 0},
        {false, 512, 2, 10321920, 262144, 10586368, 0.024762, 0, 0},
        {false, 2048, 2, 10321920, 1048576, 11372800, 0.0922, 0, 0},
        {false, 8192, 2, 10321920, 4194304, 14518528, 0.288893, 0, 0},
        {true, 128, 2, 2043904, 65536, 2111744, 0.031034, 0, 0},
        {true, 512, 2, 2043904, 262144, 2308352, 0.113563, 0.060228, 0.33882},
        {true, 2048, 2, 2043904, 1048576, 3094784, 0.33882, 0, 0},
        {true, 8192, 2, 2043904, 4194304, 6240512, 0.672109, 0, 0},
        {true, 512, 1, 2043904, 131072, 2177280, 0.060200, 0.060228, 0.33882},
        {true, 512, 4, 2043904, 524288, 2570496, 0.203964, 0.060228, 0.33882},
    };
    for (size_t i = 0; i < sizeof oracle / sizeof *oracle; i++) {
        ful_graph *g = toy_net(oracle[i].depthwise, oracle[i].hidden, oracle[i].k);
        ful_account a;
        assert_ok(ful_graph_account(g, &a));
        assert_int_equal(a.macs_shared, oracle[i].backbone + 1280);
        assert_int_equal(a.macs_router, 1024);
        assert_int_equal(a.macs_routed, oracle[i].routed);
        assert_int_equal(a.macs, oracle[i].total);
        assert_int_equal(a.macs_one_expert * oracle[i].k, oracle[i].routed);
        assert_int_equal(a.macs_all_experts, 8 * a.macs_one_expert);
        assert_near(a.rho_exec, oracle[i].rho_exec);
        if (oracle[i].rho_site > 0) assert_near(a.rho_site, oracle[i].rho_site);
        if (oracle[i].rho_total > 0) assert_near(a.rho_total, oracle[i].rho_total);

        /* Parameters: experts d*h + h + h*d + d each. Training: the stem has no input gradient, all else costs three times. */
        const int64_t expert = 2 * 128 * oracle[i].hidden + oracle[i].hidden + 128;
        assert_int_equal(a.params_experts, 8 * expert);
        assert_int_equal(a.params - a.params_active, (8 - oracle[i].k) * expert);
        assert_near(a.rho_params, (double)(8 * expert) / (double)a.params);
        const double stem = 3 * 32 * 9 * 1024;
        assert_near(a.rho_train, 3.0 * (double)a.macs_routed / (3.0 * (double)a.macs - stem));
        ful_account_deinit(&a);
        ful_graph_destroy(&g);
    }
}

static void test_layers(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 32, 3, 10);
    add_site(&c, "head", 32, 0);
    ful_net *net = make_net(&c, 128, true, 0);
    ful_account a;
    int64_t macs = 0, params = 0;
    assert_ok(ful_net_account(net, &a));
    for (int i = 0; i < a.n_layers; i++) {
        macs += a.layers[i].macs;
        params += a.layers[i].params;
        assert_int_equal(a.layers[i].routed, strcmp(a.layers[i].name, "head.moe") == 0);
    }
    assert_int_equal(macs, a.macs);
    assert_int_equal(params, a.params);
    assert_string_equal(a.layers[0].name, "stem.conv");
    assert_string_equal(a.layers[0].op, "conv2d");
    assert_int_equal(a.layers[0].out.c, 16);
    assert_int_equal(a.layers[0].in.c, 3);
    /* 128 images, k = 2 of 4 experts at 1.25: C = ceil(1.25 * 2 * 128 / 4) = 80. */
    assert_int_equal(a.nominal_pairs, 256);
    assert_int_equal(a.capacity_pairs, 4 * 80);
    assert_true(a.work_bytes > 0 && a.param_bytes >= (uint64_t)a.params * 8 && a.packed_bytes > 0);
    ful_account_deinit(&a);
    ful_account_deinit(NULL);
    assert_fails(ful_graph_account(NULL, &a), FUL_ERR_ARG, "NULL");
    ful_net_destroy(&net);
}

/* What the output does not depend on is not run, so it is not counted. */
static void test_dead_layers(void **state)
{
    (void)state;
    ful_graph *g = toy_net(false, 16, 2);
    ful_account a, b;
    ful_node y;
    ful_linear_attr fc;
    ful_linear_defaults(&fc);
    fc.out_features = 5;
    assert_ok(ful_graph_set_output(g, ful_graph_count(g) - 1));
    assert_ok(ful_graph_account(g, &a));
    assert_ok(ful_graph_linear(g, "unused", ful_graph_count(g) - 1, &fc, &y));
    assert_ok(ful_graph_account(g, &b));
    assert_int_equal(a.macs, b.macs);
    assert_int_equal(a.n_layers, b.n_layers);
    ful_account_deinit(&a);
    ful_account_deinit(&b);
    ful_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_dead_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
