/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A net built by hand through the C API, trained on generated numbers, asked for predictions.
 *
 * The task: two hidden kinds of 16 numbers; in one the class is the sign of the first eight's sum, in the other of the last
 * eight's. What kind it is the ninth decides, so a mixture has something to divide. Build against an installed Fulcrum with cc
 * handmade_net.c $(pkg-config --cflags --libs fulcrum) -lm
 */
#include <fulcrum/core.h>
#include <fulcrum/net.h>
#include <stdio.h>

enum { WIDTH = 16, CLASSES = 2, BATCH = 64, STEPS = 400, TEST = 1000 };

/* Every call that can fail gives a status and leaves one sentence. */
static int failed(ful_status status)
{
    if (status == FUL_OK) return 0;
    fprintf(stderr, "handmade_net: %s\n", ful_error_message());
    return 1;
}

/* input -> linear -> relu -> mixture of four experts -> linear. Nodes are numbers; a name prefixes the parameters' names. */
static ful_status build(ful_graph *g)
{
    ful_node x = 0;
    ful_linear_attr linear;
    ful_moe_attr moe;
    ful_linear_defaults(&linear);
    ful_moe_defaults(&moe, FUL_EXPERT_MLP);
    moe.experts = 4;
    moe.k = 2;
    moe.hidden = 16;
    ful_status status = ful_graph_input(g, (ful_shape){1, 1, WIDTH}, &x);
    linear.out_features = 32;
    if (status == FUL_OK) status = ful_graph_linear(g, "fc1", x, &linear, &x);
    if (status == FUL_OK) status = ful_graph_act(g, "relu1", x, FUL_ACT_RELU, &x);
    if (status == FUL_OK) status = ful_graph_moe(g, "moe", x, &moe, &x);
    linear.out_features = CLASSES;
    if (status == FUL_OK) status = ful_graph_linear(g, "fc2", x, &linear, &x);
    return status;
}

static float next_number(void)
{
    static uint32_t state = 12345;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1;
}

static void generate(int n, float *x, int32_t *label)
{
    for (int i = 0; i < n; i++, x += WIDTH) {
        float sum[2] = {0, 0};
        for (int j = 0; j < WIDTH; j++) {
            x[j] = next_number();
            sum[j / 8] += x[j];
        }
        label[i] = sum[x[8] > 0] > 0;
    }
}

/* Plain SGD: parameters and their gradients are lists of tensors in the graph's order. */
static void descend(ful_net *net, float rate)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        if (ful_net_tensor(net, i, &t) != FUL_OK || !t.grad) continue;
        for (int64_t j = 0; j < t.count; j++) t.value[j] -= rate * t.grad[j];
    }
    ful_net_zero_grad(net);
}

static ful_status train(ful_net *net)
{
    static float x[BATCH * WIDTH];
    static int32_t label[BATCH];
    ful_step step = {.n = BATCH, .x = x, .label = label};
    for (int i = 0; i < STEPS; i++) {
        generate(BATCH, x, label);
        step.step = (uint64_t)i;
        step.progress = (double)i / STEPS;
        const ful_status status = ful_net_train_step(net, &step);
        if (status != FUL_OK) return status;
        descend(net, 0.2f);
        ful_net_after_step(net, &step); /* parameters changed: packed copies are made anew */
        if (i % 100 == 0) printf("step %3d  loss %.3f  balance loss %.4f\n", i, step.loss, step.aux_loss);
    }
    return FUL_OK;
}

static ful_status test(ful_net *net, int *correct_out)
{
    static float x[TEST * WIDTH], logits[TEST * CLASSES];
    static int32_t label[TEST];
    generate(TEST, x, label);
    const ful_status status = ful_net_predict(net, TEST, x, label, logits); /* any n: cut into batches inside */
    *correct_out = 0;
    for (int i = 0; i < TEST; i++) *correct_out += (logits[2 * i + 1] > logits[2 * i]) == label[i];
    return status;
}

int main(void)
{
    ful_graph *graph = NULL;
    ful_net *net = NULL;
    ful_net_options options;
    ful_account account = {0};
    int correct = 0;
    ful_net_options_defaults(&options);
    options.batch_max = BATCH;
    options.seed = 1;

    ful_status status = ful_graph_create(&graph);
    if (status == FUL_OK) status = build(graph);
    if (status == FUL_OK) {
        status = ful_net_create(graph, &options, &net); /* takes the graph over, also when it fails */
        graph = NULL;
    }
    if (status == FUL_OK) status = ful_net_account(net, &account);
    if (status == FUL_OK)
        printf("%lld parameters, %lld MACs an example, %.0f %% of them in routed experts\n", (long long)account.params,
               (long long)account.macs, 100 * account.rho_exec);
    if (status == FUL_OK) status = train(net);
    if (status == FUL_OK) status = test(net, &correct);
    const int exit_code = failed(status) || correct < TEST * 8 / 10;
    if (status == FUL_OK) printf("%d of %d unseen examples right\n", correct, TEST);
    ful_account_deinit(&account);
    ful_net_destroy(&net);
    ful_graph_destroy(&graph);
    return exit_code;
}
