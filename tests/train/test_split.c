/* SPDX-License-Identifier: Apache-2.0 */
/* Granular splitting (card E5): experts that are slices of a dense block's hidden units, and add up to it. */
#include <math.h>

#include "core/rng.h"
#include "train/checkpoint.h"
#include "train_support.h"

enum { N = 6, VALUES_MAX = N * 32 * 32 * 3, LOGITS_MAX = N * 16 };

/* Every parameter something of its own, running variances above 0: no term of the sums is missing. */
static void scramble(ful_net *net)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        if (strstr(t.name, ".moe.router.")) continue;
        const float sd = t.rank > 1 ? 1 / sqrtf((float)(t.count / t.shape[0])) : 0.3f;
        ful__rng_fill_normal(ful__stream_make(11, "test", t.name), 0, sd, t.value, (size_t)t.count);
        if (strstr(t.name, "var"))
            for (int64_t j = 0; j < t.count; j++) t.value[j] = 0.5f + fabsf(t.value[j]);
    }
    ful_net_touched(net);
}

/* A net of "net: {<net>}", "moe: <moe>" on images of `side` with 3 channels unless `net` says otherwise. */
static ful_net *net_of(const char *net, const char *moe)
{
    char yaml[1000];
    ful_config c;
    ful_graph *g = NULL;
    ful_net *out = NULL;
    ful_net_options o;
    snprintf(yaml, sizeof yaml, "net: {%s}\nmoe: %s\n", net, moe);
    assert_ok(ful_config_parse("test.yaml", yaml, &c));
    ful_net_options_defaults(&o);
    o.batch_max = N;
    o.seed = 5;
    o.train = false;
    assert_ok(ful_net_build_graph(&c.net, &g));
    assert_ok(ful_net_create(g, &o, &out));
    return out;
}

static void write_checkpoint(const char *path, const ful_net *net)
{
    static const float one[3] = {1, 1, 1};
    const ful__checkpoint_model model = {.net = net, .config = "{}", .classes = "[]", .channels = 3, .mean = one, .std = one};
    assert_ok(ful__checkpoint_write(path, &model));
}

static ful_train_config start(int split, bool grouped)
{
    ful_train_config train = {.init_split = split, .init_grouped = grouped};
    snprintf(train.init_from, sizeof train.init_from, "%s", test_path("dense.safetensors", ""));
    return train;
}

/* Largest difference of the logits of a dense net and of a mixture that starts from it, over the largest logit. */
static double distance(const char *net, const char *dense, const char *moe, int split, bool grouped)
{
    static float x[VALUES_MAX], a[LOGITS_MAX], b[LOGITS_MAX];
    double most = 0, size = 0;
    ful_net *whole = net_of(net, dense), *mixture = net_of(net, moe);
    const int values = N * ful_net_classes(whole);
    const ful_train_config train = start(split, grouped);
    assert_true(values <= LOGITS_MAX);
    ful__rng_fill_normal(ful__stream_make(3, "test", "batch"), 0, 1, x, VALUES_MAX);
    scramble(whole);
    write_checkpoint(train.init_from, whole);
    assert_ok(ful__upcycle(&train, mixture));
    assert_ok(ful_net_predict(whole, N, x, NULL, a));
    assert_ok(ful_net_predict(mixture, N, x, NULL, b));
    for (int i = 0; i < values; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        size = fmax(size, fabs((double)a[i]));
    }
    ful_net_destroy(&whole);
    ful_net_destroy(&mixture);
    return most / size;
}

#define VIT  "arch: vit_tiny, height: 32, in_channels: 3, classes: 4, patch: 8, width: 16, depth: 2, heads: 2"
#define NEAR 1e-5

static void test_whole_copies_are_the_dense_net(void **state)
{
    (void)state;
    /* one block cut into 4, all of it; one of two blocks; two of three */
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 4, k: 4}]", 4, true) < NEAR);
    assert_true(distance(VIT, "[]", "[{at: every1, hidden: 16, experts: 8, k: 4, gate: renorm}]", 4, true) < NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 32, experts: 6, k: 4, gate: renorm, drop: priority}]", 2, true) <
                NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 32, experts: 6, k: 2, gate: renorm, token: image}]", 2, true) < NEAR);
    /* any router whose gates for the slices of a copy are equal */
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 8, k: 4, router: sigmoid, gate: renorm}]", 4, true) <
                NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 8, k: 4, router: random, gate: renorm}]", 4, true) <
                NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 8, router: soft_sample}]", 4, true) < NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 4, k: 4, router: hash}]", 4, true) < NEAR);
    assert_true(distance(VIT, "[]", "[{at: last1, hidden: 16, experts: 4, k: 4, router: fixed}]", 4, true) < NEAR);
}

static void test_every_form_of_expert(void **state)
{
    (void)state;
    static const char resnet[] = "arch: resnet8, width: 8, height: 16, in_channels: 3, classes: 4";
    static const char convnext[] = "arch: convnext_atto, width: 8, height: 16, in_channels: 3, classes: 4";
    assert_true(distance(VIT ", mlp: swiglu", "[]", "[{at: last1, hidden: 16, experts: 8, k: 4, gate: renorm}]", 4, true) <
                NEAR);
    assert_true(distance(VIT, "[{at: head, dense: 12, norm: batch, act: relu}]",
                         "[{at: head, hidden: 4, experts: 6, k: 3, norm: batch, act: relu, gate: renorm}]", 3, true) < NEAR);
    assert_true(distance(resnet, "[{at: stage3, expert: conv, norm: none, dense: 12}]",
                         "[{at: stage3, expert: conv, norm: none, hidden: 6, experts: 4, k: 2, gate: renorm}]", 2,
                         true) < NEAR);
    assert_true(distance(resnet, "[{at: stage2, expert: conv, norm: batch, dense: 12}]",
                         "[{at: stage2, expert: conv, norm: batch, hidden: 4, experts: 3, k: 3}]", 3, true) < NEAR);
    assert_true(distance(resnet, "[{at: stage3, expert: dwconv, norm: batch, dense: 12}]",
                         "[{at: stage3, expert: dwconv, norm: batch, hidden: 6, experts: 2, router: fixed}]", 2, true) < NEAR);
    /* a ConvNeXt's block has its MLP under its own name */
    assert_true(distance(convnext, "[]",
                         "[{at: last1, place: replace, expert: mlp, token: pixel, hidden: 64, experts: 8, k: 4, gate: renorm}]",
                         4, true) < NEAR);
    assert_true(
        distance(convnext, "[]",
                 "[{at: last1, place: replace, expert: mlp, token: pixel, hidden: 256, experts: 3, k: 2, gate: renorm}]", 1,
                 true) < NEAR);
}

/* Without equal rows gates differ, and slices of several copies make up the block. */
static void test_as_drawn(void **state)
{
    (void)state;
    static const char moe[] = "[{at: last1, hidden: 16, experts: 4, k: 4, router_init: 0.5}]";
    assert_true(distance(VIT, "[]", moe, 4, true) < NEAR);
    assert_true(distance(VIT, "[]", moe, 4, false) > 1e-3);
}

/* Numbers --------------------------------------------------------------------------------------------------------------- */

#define TINY "arch: linear, height: 1, in_channels: 2, classes: 2"

static float *values(ful_net *net, const char *name)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        if (strcmp(t.name, name) == 0) return t.value;
    }
    fail_msg("the net has no '%s'", name);
    return NULL;
}

/* Card L11's MLP of four units without biases, and an identity behind it: logits = x + f(x). */
static void write_oracle(const float *bias)
{
    static const float w1[] = {1, -1, 0.5f, 2, -1, 1, 2, 0.3f}, w2[] = {1, 0.5f, -1, 2, 0, 1, 1, -0.5f}, one[] = {1, 0, 0, 1};
    ful_net *net = net_of(TINY, "[{at: head, dense: 4, act: relu}]");
    memcpy(values(net, "head.ffn.fc1.weight"), w1, sizeof w1);
    memcpy(values(net, "head.ffn.fc2.weight"), w2, sizeof w2);
    memcpy(values(net, "head.ffn.fc2.bias"), bias, 2 * sizeof *bias);
    memcpy(values(net, "fc.weight"), one, sizeof one);
    write_checkpoint(test_path("dense.safetensors", ""), net);
    ful_net_destroy(&net);
}

/* f(.7, -.2) of a mixture that starts from the oracle's. */
static void answer(const char *moe, int split, float y[2])
{
    static const float x[] = {0.7f, -0.2f};
    const ful_train_config train = start(split, true);
    ful_net *net = net_of(TINY, moe);
    assert_ok(ful__upcycle(&train, net));
    assert_ok(ful_net_predict(net, 1, x, NULL, y));
    for (int i = 0; i < 2; i++) y[i] -= x[i];
    ful_net_destroy(&net);
}

static void assert_pair(const float y[2], double a, double b)
{
    if (fabs(y[0] - a) > 1e-6 || fabs(y[1] - b) > 1e-6) fail_msg("(%g, %g) is not (%g, %g)", y[0], y[1], a, b);
}

static void test_oracle(void **state)
{
    (void)state;
    static const float none[2] = {0, 0}, bias[2] = {0.25f, -0.5f};
    float y[2];
    write_oracle(none);
    answer("[{at: head, act: relu, hidden: 2, experts: 2, k: 2, router: fixed}]", 2, y); /* the parts' sum is the block */
    assert_pair(y, 3.58, -0.67);
    answer("[{at: head, act: relu, hidden: 2, experts: 2, k: 2, gate: renorm}]", 2, y);
    assert_pair(y, 3.58, -0.67);
    answer("[{at: head, act: relu, hidden: 2, experts: 2, k: 1, router: fixed}]", 2, y); /* the first part alone */
    assert_pair(y, 0.9, 0);
    answer("[{at: head, act: relu, hidden: 1, experts: 8, k: 4, gate: renorm}]", 4, y);
    assert_pair(y, 3.58, -0.67);
    write_oracle(bias); /* once, however many experts run */
    answer("[{at: head, act: relu, hidden: 2, experts: 2, k: 2, router: fixed}]", 2, y);
    assert_pair(y, 3.83, -1.17);
    answer("[{at: head, act: relu, hidden: 2, experts: 6, k: 4, gate: renorm}]", 2, y);
    assert_pair(y, 3.83, -1.17);
    answer("[{at: head, act: relu, hidden: 2, experts: 2, k: 1, router: fixed}]", 2, y);
    assert_pair(y, 1.15, -0.5);
}

/* The layout that doc/methods.md tells: expert m*c + j is slice j, first layer unscaled, second times m*min(1, k/m). */
static void test_which_slice(void **state)
{
    (void)state;
    static const float none[2] = {0, 0};
    const ful_train_config train = start(2, false);
    write_oracle(none);
    ful_net *net = net_of(TINY, "[{at: head, act: relu, hidden: 2, experts: 4, k: 3, gate: renorm}]");
    assert_ok(ful__upcycle(&train, net));
    const float *fc1 = values(net, "head.moe.expert.3.fc1.weight"), *fc2 = values(net, "head.moe.expert.3.fc2.weight");
    assert_pair(fc1, -1, 1);
    assert_pair(fc1 + 2, 2, 0.3);
    assert_pair(fc2, -2, 4);
    assert_pair(fc2 + 2, 2, -1);
    assert_pair(values(net, "head.moe.expert.2.fc1.weight"), 1, -1);
    ful_net_destroy(&net);
}

/* Refusals -------------------------------------------------------------------------------------------------------------- */

static void refused(const char *net, const char *dense, const char *moe, int split, ful_status status, const char *why)
{
    const ful_train_config train = start(split, true);
    ful_net *whole = net_of(net, dense), *mixture = net_of(net, moe);
    write_checkpoint(train.init_from, whole);
    assert_fails(ful__upcycle(&train, mixture), status, why);
    assert_non_null(strstr(ful_error_message(), "cannot start from"));
    ful_net_destroy(&whole);
    ful_net_destroy(&mixture);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char resnet[] = "arch: resnet8, width: 8, height: 16, in_channels: 3, classes: 4";
    ful_config c;
    refused(VIT, "[]", "[{at: last1, hidden: 16, experts: 6}]", 4, FUL_ERR_CONFIG,
            "'block2.moe' with experts = 6, train.init_split = 4: every copy of the block becomes 4 experts");
    refused(VIT, "[]", "[{at: last1, hidden: 21, experts: 6}]", 3, FUL_ERR_CONFIG,
            "has 64 hidden units and train.init_split = 3: that must divide their number");
    refused(VIT, "[]", "[{at: last1, hidden: 64, experts: 6}]", 2, FUL_ERR_CONFIG, "must have hidden = 32, not 64");
    refused(VIT, "[]", "[{at: last1, hidden: 16, experts: 4}]", 1, FUL_ERR_FORMAT,
            "must have the shape of 'block2.moe.expert.0");
    refused(VIT, "[]", "[{at: last1, hidden: 16, experts: 8, gated: true}]", 4, FUL_ERR_CONFIG, "must have hidden = 8, not 16");
    refused(VIT, "[]", "[{at: head, hidden: 16, experts: 4}]", 2, FUL_ERR_FORMAT, "or 'head.ffn.fc1.weight'");
    refused(resnet, "[{at: stage3, expert: conv, dense: 12}]", "[{at: stage3, expert: conv, hidden: 6, experts: 4}]", 2,
            FUL_ERR_CONFIG, "'stage3.moe' with norm = layer, train.init_split = 2");
    refused(resnet, "[{at: stage3, expert: dwconv, norm: none, dense: 12}]",
            "[{at: stage3, expert: conv, norm: none, hidden: 6, experts: 4}]", 2, FUL_ERR_FORMAT,
            "must have the shape of 'stage3.moe.expert.0.conv1.weight' but for the hidden units");
    refused(VIT, "[]", "[]", 0, FUL_ERR_CONFIG, "train.init_split = 0: it must be at least 1");
    assert_fails(ful_config_parse("a.yaml", "train: {init_split: 2}\n", &c), FUL_ERR_CONFIG,
                 "cannot use a.yaml, line 1: train.init_split = 2: needs train.init_from");
    assert_fails(ful_config_parse("a.yaml", "train: {init_split: 0}\n", &c), FUL_ERR_CONFIG, "must be in 1..4096");
}

/* Runs ------------------------------------------------------------------------------------------------------------------ */

static void config_of(ful_config *config, const char *moe, const char *train)
{
    char yaml[2000];
    snprintf(yaml, sizeof yaml,
             "data: {name: clusters, gen_train: 128, gen_test: 64, gen_classes: 4, gen_clusters: 2}\n"
             "net: {arch: vit_tiny, patch: 8, width: 16, depth: 2, heads: 2}\nmoe: %s\n"
             "train: {batch: 32, threads: 1, optimizer: adamw%s}\n",
             moe, train);
    assert_ok(ful_config_parse("test.yaml", yaml, config));
}

/* A run starts where the dense one ended, goes on when it is stopped, without the run it came from, and ends in the same bits.
 */
static void test_a_run(void **state)
{
    (void)state;
    static const char moe[] = "[{at: last1, hidden: 16, experts: 8, k: 4, gate: renorm, capacity_factor: none}]";
    ful_config config;
    ful_result dense, split;
    char train[500], command[400];
    config_of(&config, "[]", ", epochs: 2");
    assert_ok(ful_train(&config, test_path("dense", ""), NULL, &dense));
    snprintf(train, sizeof train, ", epochs: 1, lr: 1e-9, init_split: 4, init_from: %s", test_path("dense", ""));
    config_of(&config, moe, train);
    assert_ok(ful_train(&config, test_path("start", ""), NULL, &split));
    assert_true(fabs(split.test_loss - dense.test_loss) < 1e-4);
    assert_true(fabs(split.test_accuracy - dense.test_accuracy) <= 0);

    snprintf(train, sizeof train, ", epochs: 2, init_split: 4, init_from: %s", test_path("dense", ""));
    config_of(&config, moe, train);
    assert_ok(ful_train(&config, test_path("whole", ""), NULL, &split));
    assert_true(split.train_loss < dense.train_loss);
    const volatile int stop = 1;
    const ful_train_options stopped = {.stop = &stop}, go_on = {.resume = true};
    assert_int_equal(ful_train(&config, test_path("stopped", ""), &stopped, NULL), FUL_ERR_INTERRUPTED);
    snprintf(command, sizeof command, "rm -r %s", test_path("dense", ""));
    assert_int_equal(system(command), 0);
    assert_ok(ful_train(&config, test_path("stopped", ""), &go_on, NULL));
    test_same_runs("whole", "stopped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_copies_are_the_dense_net),
        cmocka_unit_test(test_every_form_of_expert),
        cmocka_unit_test(test_as_drawn),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_which_slice),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_run),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
