/* SPDX-License-Identifier: Apache-2.0 */
/* The profile of a net: it changes no result, sees every pass, and its costs are those of the account. */
#include "nets_support.h"

enum { N = 6, CLASSES = 4 };

static ful_net_config small_config(void)
{
    ful_net_config c = net_config("resnet8", 16, 3, CLASSES);
    c.width = 16;
    add_site(&c, "stage3", 16, 0);
    return c;
}

static void train_steps(ful_net *net, const batch *b, int steps)
{
    for (int i = 0; i < steps; i++) {
        ful_step step = {.n = N, .x = b->x, .label = b->label, .step = (uint64_t)i};
        assert_ok(ful_net_train_step(net, &step));
        descend(net, 0.05f);
        ful_net_after_step(net, &step);
    }
}

static void test_changes_nothing(void **state)
{
    (void)state;
    const ful_net_config c = small_config();
    ful_net *nets[2] = {make_net(&c, N, true, 1), make_net(&c, N, true, 1)};
    batch b = random_batch(nets[0], N);
    assert_ok(ful_net_profile(nets[1], true));
    for (int i = 0; i < 2; i++) train_steps(nets[i], &b, 3);
    for (int i = 0; i < ful_net_tensor_count(nets[0]); i++) {
        ful_tensor t[2];
        for (int k = 0; k < 2; k++) assert_ok(ful_net_tensor(nets[k], i, &t[k]));
        assert_memory_equal(t[0].value, t[1].value, (size_t)t[0].count * sizeof(float));
    }
    free_batch(&b);
    for (int i = 0; i < 2; i++) ful_net_destroy(&nets[i]);
}

static const ful_profile_row *find_row(const ful_profile *p, const char *name, const char *pass)
{
    for (int i = 0; i < p->n_rows; i++)
        if (strcmp(p->rows[i].name, name) == 0 && strcmp(p->rows[i].pass, pass) == 0) return &p->rows[i];
    return NULL;
}

static int64_t forward_macs(const ful_profile *p)
{
    int64_t macs = 0;
    for (int i = 0; i < p->n_rows; i++) macs += strcmp(p->rows[i].pass, "forward") ? 0 : p->rows[i].macs;
    return macs;
}

static void test_sees_every_pass(void **state)
{
    (void)state;
    const ful_net_config c = small_config();
    ful_net *net = make_net(&c, N, true, 1);
    batch b = random_batch(net, N);
    float logits[N * CLASSES];
    ful_profile p;
    ful_account account;
    assert_ok(ful_net_profile(net, true));
    train_steps(net, &b, 2);
    assert_ok(ful_net_predict(net, N, b.x, NULL, logits));
    assert_ok(ful_net_profile(net, false));
    train_steps(net, &b, 1); /* not seen */
    assert_ok(ful_net_account(net, &account));
    for (int split = 0; split < 2; split++) {
        assert_ok(ful_net_profile_get(net, split, &p));
        for (int i = 0; i < p.n_rows; i++) {
            const ful_profile_row *row = &p.rows[i];
            if (strcmp(row->op, "sum") == 0) continue; /* this net may need none */
            if (row->calls != (split ? 1 : 2) || row->images != N * row->calls || !(row->seconds >= 0) || row->bytes <= 0)
                fail_msg("%s %s %s: %lld calls, %lld images, %g s, %lld bytes", row->name, row->op, row->pass,
                         (long long)row->calls, (long long)row->images, row->seconds, (long long)row->bytes);
            assert_true(strncmp(row->op, "conv", 4) != 0 || row->kernel[0] != '\0');
        }
        assert_int_equal(forward_macs(&p), account.macs);
        if (split == 0) {
            assert_non_null(find_row(&p, "stage1.0.conv1", "dw"));
            assert_non_null(find_row(&p, "stage1.0.conv1", "dx"));
            assert_null(find_row(&p, "stem.conv", "dx")); /* nobody wants the gradient of the images */
            assert_non_null(find_row(&p, "stage3.moe", "backward"));
            assert_string_equal(p.rows[p.n_rows - 1].op, "loss");
        }
        ful_profile_deinit(&p);
    }
    ful_account_deinit(&account);
    free_batch(&b);
    ful_net_destroy(&net);
}

static void test_bad_input(void **state)
{
    (void)state;
    const ful_net_config c = small_config();
    ful_net *net = make_net(&c, N, false, 1);
    ful_profile p;
    assert_fails(ful_net_profile(NULL, true), FUL_ERR_ARG, "net NULL");
    assert_fails(ful_net_profile_get(net, 0, &p), FUL_ERR_ARG, "split 0");
    assert_fails(ful_net_profile_get(net, 2, &p), FUL_ERR_ARG, "split 2");
    assert_ok(ful_net_profile_get(net, 1, &p)); /* never timed: costs and kernels are known all the same */
    assert_int_equal(p.rows[0].calls, 0);
    assert_true(p.rows[0].macs > 0);
    ful_profile_deinit(&p);
    ful_profile_deinit(NULL);
    ful_net_destroy(&net);
}

static ful_status profile(void *ctx)
{
    ful_net *net = ctx;
    ful_profile p = {0};
    ful_status status = ful_net_profile(net, true);
    if (status == FUL_OK) status = ful_net_profile_get(net, 0, &p);
    ful_profile_deinit(&p);
    return status;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    const ful_net_config c = small_config();
    for (long n = 1, more = 1; more; n++) { /* a fresh net each time: it keeps what it has allocated */
        ful_net *net = make_net(&c, N, true, 1);
        more = test_one_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, profile, net, n);
        ful_net_destroy(&net);
        assert_true(n > 2 || more);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes_nothing), cmocka_unit_test(test_sees_every_pass),
                                       cmocka_unit_test(test_bad_input), cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
