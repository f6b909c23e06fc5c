/* SPDX-License-Identifier: Apache-2.0 */
/* The net object: it learns, predicts the same whatever the batch, starts from (seed, name), and fails with a name. */
#include <math.h>
#include <stdlib.h>

#include "nets_support.h"

/* Stripes, one class for each direction, on noise. */
static void draw(batch *b, int height, uint64_t step)
{
    const ful__stream s = ful__stream_make(9, "test", "stripes");
    for (int i = 0; i < b->n; i++) {
        float *x = b->x + (size_t)i * (size_t)(height * height);
        const int phase = (int)ful__rng_below(s, 2 * step, (uint64_t)i, 4);
        b->label[i] = (int32_t)ful__rng_below(s, 2 * step + 1, (uint64_t)i, 3);
        for (int r = 0; r < height; r++)
            for (int c = 0; c < height; c++) {
                const int at = (b->label[i] == 0 ? r : b->label[i] == 1 ? c : r + c) + phase;
                x[r * height + c] = (at % 4 < 2 ? 1.0f : -1.0f) +
                                    0.5f * ful__rng_normal(s, 1000 + step, (uint64_t)(i * height * height + r * height + c));
            }
    }
}

static void learn(const ful_net_config *c, int steps, float lr)
{
    enum { N = 48 };
    ful_net *net = make_net(c, N, true, 4);
    batch b = random_batch(net, N);
    ful_step step = {.n = N, .x = b.x, .label = b.label};
    double first = 0;
    for (int i = 0; i < steps; i++) {
        draw(&b, c->height, (uint64_t)i);
        step.step = (uint64_t)i;
        step.progress = (double)i / steps;
        assert_ok(ful_net_train_step(net, &step));
        if (i == 0) first = step.loss;
        descend(net, lr);
        ful_net_after_step(net, &step);
    }
    float logits[N * 3];
    int correct = 0;
    draw(&b, c->height, 500); /* images it has not seen */
    assert_ok(ful_net_predict(net, N, b.x, b.label, logits));
    for (int i = 0; i < N; i++) {
        const float *l = logits + i * 3;
        const int best = l[1] > l[0] ? (l[2] > l[1] ? 2 : 1) : l[2] > l[0] ? 2 : 0;
        correct += best == b.label[i];
    }
    if (!(step.loss < 0.5 * first) || correct < N * 9 / 10)
        fail_msg("%s: loss %g -> %g, %d of %d correct", c->arch, first, step.loss, correct, N);
    free_batch(&b);
    ful_net_destroy(&net);
}

static void test_learns(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 12, 1, 3);
    c.width = 8;
    learn(&c, 30, 0.1f);
    c = net_config("dwnet_s", 12, 1, 3);
    c.width = 8;
    learn(&c, 40, 0.2f);
    c = net_config("resnet8", 12, 1, 3);
    c.width = 8;
    add_site(&c, "stage3", 8, 0);
    add_site(&c, "head", 16, 0);
    learn(&c, 30, 0.1f);
    c = net_config("vit_tiny", 12, 1, 3);
    c.width = 24;
    c.depth = 2;
    learn(&c, 60, 0.1f);
    c.vit.mlp = FUL_MLP_SWIGLU;
    c.vit.pool = FUL_VIT_POOL_MEAN;
    add_site(&c, "last1", 32, 0);
    learn(&c, 60, 0.1f);
}

/* Every net has a way down: on one batch, over and over, its loss falls. */
static void test_all_descend(void **state)
{
    (void)state;
    enum { N = 8, STEPS = 6 };
    for (const ful_arch_about *arch = ful_arch_names(); arch->name; arch++) {
        ful_net_config c = family_config(arch->name, 12, 1, 3);
        snprintf(c.conv, sizeof c.conv, "direct");
        ful_net *net = make_net(&c, N, true, 4);
        batch b = random_batch(net, N);
        ful_step step = {.n = N, .x = b.x, .label = b.label};
        double first = 0;
        draw(&b, c.height, 1);
        for (int i = 0; i < STEPS; i++) {
            step.step = (uint64_t)i;
            assert_ok(ful_net_train_step(net, &step));
            if (i == 0) first = step.loss;
            descend(net, 0.02f);
            ful_net_after_step(net, &step);
        }
        if (!(step.loss < 0.95 * first)) fail_msg("%s: loss %g -> %g", arch->name, first, step.loss);
        free_batch(&b);
        ful_net_destroy(&net);
    }
}

/* The same rows alone, in threes and all at once: the same bits; labels only feed statistics. (Which algorithm a convolution
 * runs may depend on the batch a net is planned for; here it is given.) */
static void split_batches(void)
{
    enum { N = 7, CLASSES = 10 };
    static const char *const names[] = {"resnet8", "dwnet_s", "mlp"};
    for (int k = 0; k < 3; k++) {
        ful_net_config c = net_config(names[k], 32, 3, CLASSES);
        if (k < 2) add_site(&c, "stage3", 16, 0);
        add_site(&c, "head", 16, 0);
        float logits[3][N * CLASSES];
        static const int batch_max[3] = {N, 3, 1};
        for (int i = 0; i < 3; i++) {
            ful_net *net = make_net(&c, batch_max[i], false, 7);
            batch b = random_batch(net, N);
            assert_ok(ful_net_predict(net, N, b.x, i ? b.label : NULL, logits[i]));
            assert_ok(ful_net_predict(net, 0, NULL, NULL, NULL));
            free_batch(&b);
            ful_net_destroy(&net);
        }
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
    }
}

static void test_batch_split(void **state)
{
    (void)state;
    setenv("FULCRUM_CONV", "direct", 1);
    split_batches();
    setenv("FULCRUM_CONV", "winograd", 1);
    split_batches();
    setenv("FULCRUM_CONV", "strips", 1);
    split_batches();
    unsetenv("FULCRUM_CONV");
}

/* Every tensor both nets have is bit-identical; returns how many. */
static int same_start(ful_net *a, ful_net *b)
{
    int common = 0;
    for (int i = 0; i < ful_net_tensor_count(a); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(a, i, &t));
        const ful_tensor u = find_tensor(b, t.name);
        if (u.count == 0) continue;
        assert_int_equal(t.count, u.count);
        assert_memory_equal(t.value, u.value, (size_t)t.count * sizeof(float));
        common++;
    }
    return common;
}

static void test_same_backbone(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 32, 3, 10);
    ful_net *dense = make_net(&c, 4, true, 11);
    add_site(&c, "stage3", 24, 0)->moe.shared_init = true;
    add_site(&c, "head", 24, 0);
    ful_net *moe = make_net(&c, 4, true, 11), *other = make_net(&c, 4, true, 12);
    c.moe[0].dense = 24;
    c.moe[1].dense = 48;
    ful_net *twin = make_net(&c, 4, true, 11);
    assert_int_equal(same_start(dense, moe), ful_net_tensor_count(dense));
    assert_int_equal(same_start(dense, twin), ful_net_tensor_count(dense));

    /* shared_init: every expert is a copy of the dense block of its width; otherwise each starts on its own. */
    const ful_tensor block = find_tensor(twin, "stage3.ffn.conv1.weight");
    for (int e = 0; e < 4; e++) {
        char name[64];
        snprintf(name, sizeof name, "stage3.moe.expert.%d.conv1.weight", e);
        const ful_tensor expert = find_tensor(moe, name);
        assert_int_equal(expert.count, block.count);
        assert_true(block.count > 0);
        assert_memory_equal(expert.value, block.value, (size_t)block.count * sizeof(float));
    }
    const ful_tensor e0 = find_tensor(moe, "head.moe.expert.0.fc1.weight"),
                     e1 = find_tensor(moe, "head.moe.expert.1.fc1.weight");
    assert_true(e0.count > 0 && memcmp(e0.value, e1.value, (size_t)e0.count * sizeof(float)) != 0);

    const ful_tensor w = find_tensor(moe, "fc.weight"), v = find_tensor(other, "fc.weight");
    assert_memory_not_equal(w.value, v.value, (size_t)w.count * sizeof(float));
    ful_net_destroy(&dense);
    ful_net_destroy(&moe);
    ful_net_destroy(&other);
    ful_net_destroy(&twin);
}

/* He: variance 2/fan_in; norms 1 and 0. */
static void test_initial_values(void **state)
{
    (void)state;
    const ful_net_config c = net_config("resnet8", 32, 3, 10);
    ful_net *net = make_net(&c, 1, false, 2);
    const ful_tensor t = find_tensor(net, "stage3.0.conv2.weight");
    double sum = 0, square = 0;
    for (int64_t i = 0; i < t.count; i++) {
        sum += t.value[i];
        square += (double)t.value[i] * t.value[i];
    }
    const double n = (double)t.count, variance = square / n, expected = 2.0 / (64 * 9);
    assert_true(fabs(sum / n) < 4 * sqrt(expected / n));
    assert_true(fabs(variance / expected - 1) < 4 * sqrt(2 / n));
    assert_true(t.decay && t.rank == 4 && t.shape[0] == 64 && t.shape[3] == 3 && !t.grad);
    const ful_tensor gamma = find_tensor(net, "stage3.0.bn1.weight"), beta = find_tensor(net, "stage3.0.bn1.bias");
    assert_true(gamma.value[0] == 1 && beta.value[0] == 0 && !gamma.decay);
    ful_net_destroy(&net);
}

static void test_touched(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 16, 3, 4);
    c.width = 8;
    ful_net *net = make_net(&c, 4, true, 1);
    batch b = random_batch(net, 4);
    float first[16], second[16];
    assert_ok(ful_net_predict(net, 4, b.x, NULL, first));
    ful_tensor w = find_tensor(net, "stage2.0.bn2.weight");
    w.value[0] += 1;
    ful_net_touched(net);
    assert_ok(ful_net_predict(net, 4, b.x, NULL, second));
    assert_memory_not_equal(first, second, sizeof first);
    w.value[0] -= 1;
    ful_net_touched(net);
    assert_ok(ful_net_predict(net, 4, b.x, NULL, second));
    assert_memory_equal(first, second, sizeof first);
    /* A training forward moves the running statistics, which the folded weights depend on. */
    ful_step step = {.n = 4, .x = b.x, .label = b.label};
    assert_ok(ful_net_train_step(net, &step));
    assert_ok(ful_net_predict(net, 4, b.x, NULL, second));
    assert_memory_not_equal(first, second, sizeof first);
    free_batch(&b);
    ful_net_destroy(&net);
}

/* Two half steps add up to gradients, and the same step twice gives the same bits. */
static void test_gradients_add(void **state)
{
    (void)state;
    ful_net_config c = net_config("mlp", 6, 1, 3);
    ful_net *net = make_net(&c, 8, true, 1);
    batch b = random_batch(net, 8);
    ful_step step = {.n = 8, .x = b.x, .label = b.label, .label_smoothing = 0.1f};
    assert_ok(ful_net_train_step(net, &step));
    const double loss = step.loss;
    const ful_tensor t = find_tensor(net, "stage1.fc.weight");
    float *once = malloc((size_t)t.count * sizeof(float));
    memcpy(once, t.grad, (size_t)t.count * sizeof(float));
    ful_net_zero_grad(net);
    assert_ok(ful_net_train_step(net, &step));
    assert_true(step.loss == loss);
    assert_memory_equal(once, t.grad, (size_t)t.count * sizeof(float));
    assert_ok(ful_net_train_step(net, &step));
    for (int64_t i = 0; i < t.count; i++) assert_true(fabsf(t.grad[i] - 2 * once[i]) <= 1e-5f + 1e-4f * fabsf(once[i]));
    /* Soft targets equal to the smoothed one-hot give the same loss. */
    float soft[24];
    for (int i = 0; i < 24; i++) soft[i] = 0.1f / 3 + (i % 3 == b.label[i / 3] ? 0.9f : 0);
    step.soft = soft;
    step.label_smoothing = 0;
    assert_ok(ful_net_train_step(net, &step));
    assert_true(fabs(step.loss - loss) < 1e-5);
    free(once);
    free_batch(&b);
    ful_net_destroy(&net);
}

static void test_nan_is_named(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 16, 3, 4);
    c.width = 8;
    ful_net *net = make_net(&c, 4, true, 1);
    batch b = random_batch(net, 4);
    ful_step step = {.n = 4, .x = b.x, .label = b.label, .step = 17};
    find_tensor(net, "stage2.0.conv2.weight").value[1] = NAN;
    ful_net_touched(net);
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_NUMERIC,
                 "step 17 with a NaN or infinity in the output of layer 'stage2.0.conv2'");
    ful_tensor t = find_tensor(net, "fc.weight");
    for (int64_t i = 0; i < t.count; i++) assert_true(t.grad[i] == 0);
    b.x[3] = INFINITY;
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_NUMERIC, "in the input");
    free_batch(&b);
    ful_net_destroy(&net);
}

static void test_refusals(void **state)
{
    (void)state;
    ful_net_config c = net_config("mlp", 6, 1, 3);
    ful_net *net = make_net(&c, 4, true, 1), *eval = make_net(&c, 4, false, 1), *bad = NULL;
    batch b = random_batch(net, 5);
    float logits[15];
    ful_step step = {.n = 5, .x = b.x, .label = b.label};
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_ARG, "batch of 5: it must be in 1..batch_max=4");
    step.n = 4;
    assert_fails(ful_net_train_step(eval, &step), FUL_ERR_ARG, "train=false");
    b.label[2] = 3;
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_DATA, "label 3 of image 2");
    assert_fails(ful_net_predict(net, 4, b.x, b.label, logits), FUL_ERR_DATA, "label 3 of image 2");
    b.label[2] = 0;
    step.label_smoothing = 2;
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_ARG, "label_smoothing=2");
    step.label = NULL;
    assert_fails(ful_net_train_step(net, &step), FUL_ERR_ARG, "targets");
    assert_fails(ful_net_predict(net, -1, b.x, NULL, logits), FUL_ERR_ARG, "-1 images");
    ful_tensor t;
    assert_fails(ful_net_tensor(net, 99, &t), FUL_ERR_ARG, "tensor 99");
    char *text = NULL;
    assert_fails(ful_net_describe_plan(eval, true, &text), FUL_ERR_ARG, "train=false");
    assert_ok(ful_net_describe_plan(eval, false, &text));
    assert_non_null(strstr(text, "stage1.fc"));
    ful__free(text);
    ful_net_options o;
    ful_net_options_defaults(&o);
    ful_graph *g = NULL;
    ful_node x;
    assert_fails(ful_net_create(NULL, &o, &bad), FUL_ERR_ARG, "NULL");
    assert_ok(ful_graph_create(&g));
    assert_fails(ful_net_create(g, &o, &bad), FUL_ERR_ARG, "graph of 0 nodes");
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, (ful_shape){4, 4, 1}, &x));
    assert_ok(ful_graph_act(g, "map", x, FUL_ACT_RELU, &x));
    assert_fails(ful_net_create(g, &o, &bad), FUL_ERR_ARG, "'map' of 4 x 4 x 1");
    o.batch_max = 0;
    assert_ok(ful_net_build_graph(&c, &g));
    assert_fails(ful_net_create(g, &o, &bad), FUL_ERR_ARG, "batch_max=0");
    assert_null(bad);
    free_batch(&b);
    ful_net_destroy(&net);
    ful_net_destroy(&eval);
}

/* Once both batch sizes were met; a conv expert's share of a training batch may be new in any step. */
static void no_allocation_in_a_step(bool conv_experts)
{
    ful_net_config c = net_config("resnet8", 16, 3, 4);
    c.width = 8;
    add_site(&c, conv_experts ? "stage3" : "head", 8, 0);
    ful_net *net = make_net(&c, 4, true, 1);
    batch b = random_batch(net, 4);
    float logits[16];
    ful_step step = {.n = 4, .x = b.x, .label = b.label};
    for (int i = 0; i < 12; i++) {
        step.step = (uint64_t)i;
        step.n = 3 + i % 2;
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        assert_ok(ful_net_train_step(net, &step));
        descend(net, 0.01f);
        ful_net_after_step(net, &step);
        if (!conv_experts) assert_ok(ful_net_predict(net, 4, b.x, b.label, logits));
        if (i >= 2) assert_int_equal(ful__fault_count(FUL__FAULT_ALLOC), 0);
    }
    free_batch(&b);
    ful_net_destroy(&net);
}

static void test_no_allocation_in_a_step(void **state)
{
    (void)state;
    no_allocation_in_a_step(false);
    no_allocation_in_a_step(true);
}

static ful_status create_net(void *ctx)
{
    ful_graph *g = NULL;
    ful_net *net = NULL;
    ful_net_options o;
    ful_net_options_defaults(&o);
    o.batch_max = 2;
    ful_status status = ful_net_build_graph(ctx, &g);
    if (status == FUL_OK) status = ful_net_create(g, &o, &net);
    ful_account a = {0};
    if (status == FUL_OK) status = ful_net_account(net, &a);
    ful_account_deinit(&a);
    ful_net_destroy(&net);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 8, 1, 3);
    c.width = 8;
    add_site(&c, "stage3", 8, 0);
    add_site(&c, "head", 8, 0);
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, create_net, &c, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),         cmocka_unit_test(test_all_descend),
        cmocka_unit_test(test_batch_split),    cmocka_unit_test(test_same_backbone),
        cmocka_unit_test(test_initial_values), cmocka_unit_test(test_touched),
        cmocka_unit_test(test_gradients_add),  cmocka_unit_test(test_nan_is_named),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_no_allocation_in_a_step),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
