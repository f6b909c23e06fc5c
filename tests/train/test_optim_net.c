/* SPDX-License-Identifier: Apache-2.0 */
/* The public optimiser: it moves a net's weights as the training loop's does, and a loop written with it learns. */
#include <stdlib.h>

#include <fulcrum/optim.h>

#include "core/rng.h"
#include "support/fault.h"
#include "support/test.h"

enum { N = 8, SIDE = 8, CLASSES = 3 };

static ful_net *make_net(void)
{
    ful_net_config c;
    ful_graph *g = NULL;
    ful_net *net = NULL;
    ful_net_options o;
    ful_net_config_defaults(&c);
    ful_net_options_defaults(&o);
    snprintf(c.arch, sizeof c.arch, "resnet8");
    c.height = SIDE;
    c.in_channels = 1;
    c.classes = CLASSES;
    o.batch_max = N;
    assert_ok(ful_net_build_graph(&c, &g));
    assert_ok(ful_net_create(g, &o, &net));
    return net;
}

static void test_learns(void **state)
{
    (void)state;
    ful_config config;
    ful_config_defaults(&config);
    config.train.momentum = 0.9;
    ful_net *net = make_net();
    ful_optim *optim;
    float x[N * SIDE * SIDE];
    int32_t label[N];
    double first = 0, norm = 0;
    ful__rng_fill_normal(ful__stream_make(1, "test", "x"), 0, 1, x, sizeof x / sizeof *x);
    for (int i = 0; i < N; i++) label[i] = i % CLASSES;
    ful_step step = {.n = N, .x = x, .label = label};
    assert_ok(ful_optim_create(&config.train, net, &optim));
    for (int i = 0; i < 20; i++) {
        step.step = (uint64_t)i;
        assert_ok(ful_net_train_step(net, &step));
        assert_ok(ful_optim_step(optim, 0.02, i, i ? NULL : &norm));
        ful_net_after_step(net, &step);
        if (i == 0) first = step.loss;
    }
    assert_true(norm > 0);
    assert_true(step.loss < 0.5 * first);
    for (int i = 0; i < ful_net_tensor_count(net); i++) { /* gradients are left zero */
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        for (int64_t j = 0; j < t.count && t.grad; j++) assert_true(t.grad[j] == 0);
    }
    ful_optim_destroy(&optim);
    assert_null(optim);
    ful_net_destroy(&net);
}

static void test_bad_input(void **state)
{
    (void)state;
    ful_config config;
    ful_optim *optim = NULL;
    ful_config_defaults(&config);
    assert_fails(ful_optim_create(&config.train, NULL, &optim), FUL_ERR_ARG, "net");
    assert_fails(ful_optim_step(NULL, 0.1, 0, NULL), FUL_ERR_ARG, "optim NULL");
    ful_optim_destroy(&optim);
    ful_optim_destroy(NULL);
}

static ful_status create(void *ctx)
{
    ful_config config;
    ful_optim *optim;
    ful_config_defaults(&config);
    const ful_status status = ful_optim_create(&config.train, ctx, &optim);
    if (status != FUL_OK) assert_null(optim);
    ful_optim_destroy(&optim);
    return status;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    ful_net *net = make_net();
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, create, net);
    ful_net_destroy(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns), cmocka_unit_test(test_bad_input),
                                       cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
