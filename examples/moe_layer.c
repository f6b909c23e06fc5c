/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mixture-of-experts layer and its routing health. Points lie in four clusters, each split in two classes by a rule of its
 * own, so there is work to divide. Three nets that differ only in the router learn it. For each, a line shows what one would
 * look at first, then what each expert took. Build it with cc moe_layer.c $(pkg-config --cflags --libs fulcrum)
 */
#include <fulcrum/moe.h>
#include <fulcrum/net.h>
#include <stdio.h>

enum { WIDTH = 16, CLUSTERS = 4, CLASSES = 2 * CLUSTERS, EXPERTS = 4, BATCH = 128, STEPS = 3000, TEST = 1024 };

typedef struct variant {
    const char *label, *router;
    float balance; /* coefficient of the Switch loss */
} variant;

static float next_number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

/* Cluster c: coordinate c is high, and the sign of the product of two coordinates of its own tells the class. */
static void generate(uint32_t *state, int n, float *x, int32_t *label)
{
    for (int i = 0; i < n; i++, x += WIDTH) {
        for (int j = 0; j < WIDTH; j++) x[j] = next_number(state);
        const int cluster = (int)((next_number(state) + 1) * 0.5f * CLUSTERS) % CLUSTERS;
        x[cluster] += 2;
        label[i] = 2 * cluster + (x[4 + 2 * cluster] * x[5 + 2 * cluster] > 0);
    }
}

/* input -> mixture (residual inside) -> linear */
static ful_status build(const variant *v, ful_graph *g)
{
    ful_node x = 0;
    ful_moe_attr moe;
    ful_linear_attr linear;
    ful_moe_defaults(&moe, FUL_EXPERT_MLP);
    moe.experts = EXPERTS;
    moe.k = 1;
    moe.hidden = 8;
    moe.switch_coef = v->balance;
    snprintf(moe.router, sizeof moe.router, "%s", v->router);
    ful_linear_defaults(&linear);
    linear.out_features = CLASSES;
    ful_status status = ful_graph_input(g, (ful_shape){1, 1, WIDTH}, &x);
    if (status == FUL_OK) status = ful_graph_moe(g, "moe", x, &moe, &x);
    if (status == FUL_OK) status = ful_graph_linear(g, "head", x, &linear, &x);
    return status;
}

static ful_status make_net(const variant *v, ful_net **net)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = BATCH;
    options.seed = 1;
    ful_status status = ful_graph_create(&graph);
    if (status == FUL_OK) status = build(v, graph);
    if (status == FUL_OK) return ful_net_create(graph, &options, net); /* takes the graph over */
    ful_graph_destroy(&graph);
    return status;
}

static ful_status train(ful_net *net)
{
    static float x[BATCH * WIDTH];
    static int32_t label[BATCH];
    uint32_t state = 1;
    ful_step step = {.n = BATCH, .x = x, .label = label};
    ful_status status = FUL_OK;
    for (int i = 0; i < STEPS && status == FUL_OK; i++) {
        generate(&state, BATCH, x, label);
        step.step = (uint64_t)i;
        step.progress = (double)i / STEPS;
        status = ful_net_train_step(net, &step);
        for (int p = 0; p < ful_net_tensor_count(net) && status == FUL_OK; p++) {
            ful_tensor t;
            status = ful_net_tensor(net, p, &t);
            for (int64_t j = 0; status == FUL_OK && t.grad && j < t.count; j++) t.value[j] -= 0.3f * t.grad[j];
        }
        ful_net_zero_grad(net);
        ful_net_after_step(net, &step);
    }
    return status;
}

static ful_status test(ful_net *net, double *accuracy_out)
{
    static float x[TEST * WIDTH], logits[TEST * CLASSES];
    static int32_t label[TEST];
    uint32_t state = 2;
    int correct = 0;
    generate(&state, TEST, x, label);
    ful_net_moe_stats_reset(net, 1);
    const ful_status status = ful_net_predict(net, TEST, x, label, logits); /* labels: for the class x expert table only */
    for (int i = 0; i < TEST; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (logits[i * CLASSES + c] > logits[i * CLASSES + best]) best = c;
        correct += best == label[i];
    }
    *accuracy_out = (double)correct / TEST;
    return status;
}

/* What the layer did in training and in predict; then a row for each class: how many of it each expert took. */
static void print_health(const variant *v, double accuracy, const ful_moe_stats *trained, const ful_moe_stats *tested)
{
    ful_moe_health in_training, health;
    ful_moe_health_compute(trained, &in_training);
    ful_moe_health_compute(tested, &health);
    printf("%-20s %7.1f %% %10.2f %9.3f %8.3f %7.1f %% %6d %9.3f\n", v->label, 100 * accuracy, health.effective_experts,
           health.load_cv2, health.entropy, 100 * in_training.drop_rate, health.dead, health.class_mi);
    for (int i = 0; i < CLASSES * EXPERTS; i++) {
        if (i % EXPERTS == 0) printf("    class %d", i / EXPERTS);
        printf("%6d%s", (int)tested->class_expert[i], i % EXPERTS == EXPERTS - 1 ? "\n" : "");
    }
}

static ful_status run(const variant *v, double *accuracy_out)
{
    ful_net *net = NULL;
    ful_status status = make_net(v, &net);
    if (status == FUL_OK) status = train(net);
    if (status == FUL_OK) status = test(net, accuracy_out);
    if (status == FUL_OK) print_health(v, *accuracy_out, ful_net_moe_stats(net, 0, 0), ful_net_moe_stats(net, 0, 1));
    ful_net_destroy(&net);
    return status;
}

int main(void)
{
    static const variant variants[] = {
        {"softmax, balanced", "softmax", 0.01f}, {"softmax, no balance", "softmax", 0}, {"hash (not learned)", "hash", 0}};
    double accuracy[3];
    printf("router                accuracy  effective  load CV2  entropy   dropped   dead  class MI\n");
    for (int i = 0; i < 3; i++)
        if (run(&variants[i], &accuracy[i]) != FUL_OK) {
            fprintf(stderr, "moe_layer: %s\n", ful_error_message());
            return 1;
        }
    return accuracy[0] > accuracy[2] + 0.1 ? 0 : 1; /* here a learned choice must pay */
}
