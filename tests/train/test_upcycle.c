/* SPDX-License-Identifier: Apache-2.0 */
/* Upcycling (card E1): a net whose experts start as copies of a trained dense block, with gates that sum to 1 and nothing
 * dropped, is the dense net. */
#include <math.h>

#include "core/rng.h"
#include "train/checkpoint.h"
#include "train_support.h"

enum { N = 8, SIDE = 32, CLASSES = 4 };

static const char vit[] = "net: {arch: vit_tiny, patch: 8, width: 16, depth: 2, heads: 2}\n";

static void config_of(ful_config *config, const char *moe, const char *train)
{
    char yaml[2000];
    snprintf(yaml, sizeof yaml,
             "data: {name: clusters, gen_train: 128, gen_test: 64, gen_classes: 4, gen_clusters: 2}\n%smoe: %s\n"
             "train: {batch: 32, threads: 1, epochs: 1, optimizer: adamw%s}\n",
             vit, moe, train);
    assert_ok(ful_config_parse("test.yaml", yaml, config));
}

static int train_dense(void **state)
{
    ful_config config;
    if (test_make_root(state) != 0) return -1;
    config_of(&config, "[]", "");
    assert_ok(ful_train(&config, test_path("dense", ""), NULL, NULL));
    return 0;
}

static ful_net *net_of(const char *moe)
{
    ful_config config;
    ful_graph *g = NULL;
    ful_net *net = NULL;
    ful_net_options o;
    config_of(&config, moe, "");
    config.net.height = SIDE;
    config.net.in_channels = 3;
    config.net.classes = CLASSES;
    ful_net_options_defaults(&o);
    o.batch_max = N;
    o.seed = 5;
    o.train = false;
    assert_ok(ful_net_build_graph(&config.net, &g));
    assert_ok(ful_net_create(g, &o, &net));
    return net;
}

static ful_status start_from(const char *run, ful_net *net)
{
    ful_train_config train = {.init_split = 1};
    snprintf(train.init_from, sizeof train.init_from, "%s", test_path(run, ""));
    return ful__upcycle(&train, net);
}

/* Largest difference of logits between the dense run and a net that starts from it. */
static double distance(const char *moe)
{
    ful_model *model = NULL;
    ful_net *net = net_of(moe);
    static float x[N * SIDE * SIDE * 3], a[N * CLASSES], b[N * CLASSES];
    double most = 0;
    ful__rng_fill_normal(ful__stream_make(3, "test", "batch"), 0, 1, x, sizeof x / sizeof *x);
    assert_ok(ful_model_open(test_path("dense", ""), N, &model));
    assert_ok(start_from("dense", net));
    assert_ok(ful_net_predict(ful_model_net(model), N, x, NULL, a));
    assert_ok(ful_net_predict(net, N, x, NULL, b));
    for (int i = 0; i < N * CLASSES; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    ful_model_destroy(&model);
    ful_net_destroy(&net);
    return most;
}

static void test_starts_as_the_dense_net(void **state)
{
    (void)state;
    assert_true(distance("[]") <= 0);
    assert_true(distance("[{at: last1, experts: 3, k: 2, gate: renorm}]") <= 1e-5);
    assert_true(distance("[{at: every1, experts: 4, k: 4, capacity_factor: none}]") <= 1e-5); /* all: probabilities sum to 1 */
    assert_true(distance("[{at: every1, experts: 4, k: 1}]") > 1e-3); /* one gate of four is well below 1 */
}

static void test_refusals(void **state)
{
    (void)state;
    ful_net *net = net_of("[{at: last1, experts: 2, hidden: 10}]");
    assert_fails(start_from("dense", net), FUL_ERR_FORMAT, "must have the shape of 'block2.moe.expert.0");
    ful_net_destroy(&net);
    net = net_of("[{at: head, experts: 2}]");
    assert_fails(start_from("dense", net), FUL_ERR_FORMAT, "or 'head.ffn.fc1.weight'");
    assert_fails(start_from("nowhere", net), FUL_ERR_IO, "nowhere");
    ful_net_destroy(&net);
}

/* A run of its own: other weights than drawn ones, and resumed without the run it came from. */
static void test_trains(void **state)
{
    (void)state;
    ful_config config;
    char from[400];
    ful_result drawn, upcycled;
    static const char moe[] = "[{at: last1, experts: 3, k: 2, gate: renorm}]";
    config_of(&config, moe, ", lr: 1e-7");
    assert_ok(ful_train(&config, test_path("drawn", ""), NULL, &drawn));
    snprintf(from, sizeof from, ", lr: 1e-7, init_from: %s", test_path("dense", ""));
    config_of(&config, moe, from);
    assert_ok(ful_train(&config, test_path("upcycled", ""), NULL, &upcycled));
    assert_true(upcycled.test_loss < drawn.test_loss - 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_starts_as_the_dense_net), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_trains)};
    return cmocka_run_group_tests(tests, train_dense, test_remove_root);
}
