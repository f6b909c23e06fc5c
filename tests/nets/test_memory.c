/* SPDX-License-Identifier: Apache-2.0 */
/* What a net's passes share, and what it leaves to its caller. */
#include "nets/net.h"
#include "nets_support.h"

enum { N = 4, CLASSES = 4 };

static ful_net_config mixed_config(void)
{
    ful_net_config c = net_config("resnet8", 16, 3, CLASSES);
    c.width = 8;
    add_site(&c, "stage3", 4, 0);
    return c;
}

/* Both passes work and pack their weights in one block: a prediction between two steps must leave no trace in the second. */
static void a_prediction_leaves_no_trace(void **state)
{
    (void)state;
    const ful_net_config c = mixed_config();
    ful_net *net = make_net(&c, N, true, 1), *twin = make_net(&c, N, true, 1);
    batch b = random_batch(net, N);
    float first[N * CLASSES], again[N * CLASSES];
    for (uint64_t i = 0; i < 3; i++) {
        ful_step step = {.n = N, .x = b.x, .label = b.label, .step = i};
        assert_ok(ful_net_predict(net, N, b.x, NULL, first));
        assert_ok(ful_net_train_step(net, &step));
        assert_ok(ful_net_train_step(twin, &step));
        for (int t = 0; t < ful_net_tensor_count(net); t++) {
            ful_tensor x, y;
            assert_ok(ful_net_tensor(net, t, &x));
            assert_ok(ful_net_tensor(twin, t, &y));
            if (x.grad) assert_memory_equal(x.grad, y.grad, (size_t)x.count * sizeof(float));
        }
    }
    assert_ok(ful_net_predict(net, N, b.x, NULL, first));
    assert_ok(ful_net_predict(twin, N, b.x, NULL, again));
    assert_memory_equal(first, again, sizeof first);
    free_batch(&b);
    ful_net_destroy(&net);
    ful_net_destroy(&twin);
}

static void the_passes_share_their_memory(void **state)
{
    (void)state;
    const ful_net_config c = mixed_config();
    ful_net *net = make_net(&c, N, true, 1), *infer = make_net(&c, N, false, 1);
    ful_account a = {0}, b = {0};
    assert_ok(ful_net_account(net, &a));
    assert_ok(ful_net_account(infer, &b));
    const ful__exec *train = net->pass[FUL__SPLIT_TRAIN].exec;
    const size_t need = ful__align64(ful__exec_work_bytes(train, N)) + ful__exec_packed_bytes(train);
    const size_t infer_need = b.work_bytes + b.packed_bytes;
    assert_true(a.work_bytes > b.work_bytes && a.packed_bytes > 0 && b.packed_bytes > 0);
    assert_int_equal(a.work_bytes + a.packed_bytes, need > infer_need ? need : infer_need);
    ful_account_deinit(&a);
    ful_account_deinit(&b);
    ful_net_destroy(&net);
    ful_net_destroy(&infer);
}

static void a_blank_net_is_written_by_its_caller(void **state)
{
    (void)state;
    const ful_net_config c = mixed_config();
    ful_net *net = make_net(&c, N, false, 1), *blank = NULL;
    ful_net_options o;
    ful_graph *graph = NULL;
    ful_net_options_defaults(&o);
    o.batch_max = N;
    o.train = false;
    o.seed = 1;
    o.blank = true;
    assert_ok(ful_net_build_graph(&c, &graph));
    assert_ok(ful_net_create(graph, &o, &blank));
    for (int t = 0; t < ful_net_tensor_count(net); t++) {
        ful_tensor from, to;
        assert_ok(ful_net_tensor(net, t, &from));
        assert_ok(ful_net_tensor(blank, t, &to));
        for (int64_t i = 0; i < to.count; i++) assert_true(to.value[i] == 0);
        memcpy(to.value, from.value, (size_t)to.count * sizeof(float));
    }
    ful_net_touched(blank);
    batch b = random_batch(net, N);
    float first[N * CLASSES], again[N * CLASSES];
    assert_ok(ful_net_predict(net, N, b.x, NULL, first));
    assert_ok(ful_net_predict(blank, N, b.x, NULL, again));
    assert_memory_equal(first, again, sizeof first);
    free_batch(&b);
    ful_net_destroy(&net);
    ful_net_destroy(&blank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prediction_leaves_no_trace),
        cmocka_unit_test(the_passes_share_their_memory),
        cmocka_unit_test(a_blank_net_is_written_by_its_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
