/* SPDX-License-Identifier: Apache-2.0 */
/* Vision transformers: every option runs and counts right, a mixture of one expert is the block's MLP, places, batches. */
#include "graph/graph.h"
#include "nets_support.h"

enum { SIDE = 12, CLASSES = 5 };

static ful_net_config small(void)
{
    ful_net_config c = net_config("vit_tiny", SIDE, 3, CLASSES);
    c.width = 24;
    c.depth = 4;
    c.vit.heads = 3;
    return c;
}

static void test_options(void **state)
{
    (void)state;
    ful_net_config c = small();
    for (int kind = FUL_MLP_GELU; kind <= FUL_MLP_SWIGLU; kind++) {
        c.vit.mlp = (ful_mlp_kind)kind;
        c.vit.positions = (ful_positions)kind;
        c.vit.pool = kind % 2 ? FUL_VIT_POOL_MEAN : FUL_VIT_POOL_TOKEN;
        c.vit.qk_norm = kind > 0;
        c.vit.layer_scale = 0.1 * kind;
        c.vit.mlp_ratio = 2 + 0.5 * kind;
        c.drop_path = 0.1 * kind;
        c.patch = kind == 2 ? 6 : 0;
        run_and_count(&c, 3);
    }
    ful_moe_site *site = add_site(&c, "last2", 10, 0);
    site->moe.capacity_permille = 0;
    run_and_count(&c, 3);
    site->moe.token = FUL_TOKEN_IMAGE;
    site->moe.gated = true;
    run_and_count(&c, 3);
    site->moe.token = FUL_TOKEN_PIXEL;
    strcpy(site->moe.router, "soft_patch");
    site->moe.soft_slots = 2;
    run_and_count(&c, 3);
    site->dense = 18;
    run_and_count(&c, 3);
    site->dense = 0;
    site->place = FUL_PLACE_APPEND;
    run_and_count(&c, 3);
}

static int find(const ful_net *net, const char *name)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        if (strcmp(t.name, name) == 0) return i;
    }
    fail_msg("no tensor '%s'", name);
    return -1;
}

/* The dense net's name of a mixture's tensor: block3.moe.expert.0.fc1.weight -> block3.ffn.fc1.weight; "" for a router's. */
static void dense_name(const char *name, char out[128])
{
    const char *expert = strstr(name, ".moe.expert.0.");
    snprintf(out, 128, "%s", strstr(name, ".moe.router.") ? "" : name);
    if (expert) snprintf(out, 128, "%.*s.ffn.%s", (int)(expert - name), name, expert + strlen(".moe.expert.0."));
}

/* The same bits, or the same values but for rounding. */
static void assert_same(bool bits, const float *a, const float *b, int64_t count)
{
    if (bits) assert_memory_equal(a, b, (size_t)count * sizeof *a);
    for (int64_t i = 0; i < count; i++) assert_true(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(b[i])));
}

/* One expert, one choice, gate 1: the dense net, from the same start, over steps. bits: bit for bit, as everywhere but where a
 * mixture in the last block reads all tokens of an attention that in the dense net is made for the class token alone. */
static void check_dense(ful_net_config c, int hidden, bool bits)
{
    enum { N = 6 };
    ful_net *dense = make_net(&c, N, true, 3), *moe;
    ful_moe_site *site = add_site(&c, "every2", hidden, 0);
    site->moe.experts = site->moe.k = 1;
    site->moe.shared_init = true;
    site->moe.act = c.vit.mlp == FUL_MLP_SWIGLU ? FUL_ACT_SILU : FUL_ACT_GELU;
    site->moe.gated = c.vit.mlp != FUL_MLP_GELU;
    moe = make_net(&c, N, true, 3);
    batch b = random_batch(dense, N);
    float logits[2][N * CLASSES];
    for (int i = 0; i < 3; i++) {
        ful_step step[2] = {{.n = N, .x = b.x, .label = b.label, .step = (uint64_t)i}, {0}};
        step[1] = step[0];
        for (int k = 0; k < 2; k++) {
            ful_net *net = k ? moe : dense;
            assert_ok(ful_net_train_step(net, &step[k]));
            descend(net, 0.05f);
            ful_net_after_step(net, &step[k]);
            assert_ok(ful_net_predict(net, N, b.x, NULL, logits[k]));
        }
        assert_true(fabs(step[0].loss - step[1].loss) <= (bits ? 0 : 1e-5));
        assert_same(bits, logits[0], logits[1], N * CLASSES);
    }
    for (int i = 0; i < ful_net_tensor_count(moe); i++) {
        ful_tensor t, u;
        char name[128];
        assert_ok(ful_net_tensor(moe, i, &t));
        dense_name(t.name, name);
        if (!name[0]) continue;
        assert_ok(ful_net_tensor(dense, find(dense, name), &u));
        assert_int_equal(t.count, u.count);
        assert_same(bits, t.value, u.value, t.count);
    }
    free_batch(&b);
    ful_net_destroy(&dense);
    ful_net_destroy(&moe);
}

static void test_one_expert_is_dense(void **state)
{
    (void)state;
    ful_net_config c = small();
    check_dense(c, 96, false);
    c.depth = 5;
    check_dense(c, 96, true);
    c.depth = 4;
    c.vit.pool = FUL_VIT_POOL_MEAN;
    c.vit.mlp = FUL_MLP_SWIGLU;
    c.drop_path = 0.3;
    c.vit.layer_scale = 0.5;
    check_dense(c, 96, true);
}

/* Patches of one image meet each other, and no other image: the same bits in any batch. */
static void test_batches(void **state)
{
    (void)state;
    enum { N = 5 };
    static const char *const routers[] = {"softmax", "soft_patch", "sigmoid"};
    for (int r = 0; r < 4; r++) {
        ful_net_config c = small();
        snprintf(c.conv, sizeof c.conv, "direct");
        c.vit.qk_norm = true;
        ful_moe_site *site = add_site(&c, "last2", 12, r == 3 ? 20 : 0);
        strcpy(site->moe.router, routers[r % 3]);
        if (r == 2) site->moe.token = FUL_TOKEN_IMAGE;
        float logits[2][N * CLASSES];
        for (int i = 0; i < 2; i++) {
            ful_net *net = make_net(&c, i ? 1 : N, false, 7);
            batch b = random_batch(net, N);
            assert_ok(ful_net_predict(net, N, b.x, NULL, logits[i]));
            free_batch(&b);
            ful_net_destroy(&net);
        }
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    }
}

static void placed(const char *at, const char *expected)
{
    ful_net_config c = small();
    c.depth = 6;
    char found[64] = "";
    ful_graph *g = NULL;
    add_site(&c, at, 8, 0);
    assert_ok(ful_net_build_graph(&c, &g));
    for (int i = 1; i <= 6; i++)
        for (int n = 0; n < g->count; n++) {
            char moe[32], ffn[32];
            snprintf(moe, sizeof moe, "block%d.moe", i);
            snprintf(ffn, sizeof ffn, "block%d.ffn", i);
            const bool is_moe = strcmp(g->nodes[n].name, moe) == 0, is_ffn = strcmp(g->nodes[n].name, ffn) == 0;
            if (is_moe || is_ffn) strcat(found, is_moe ? "m" : "-");
        }
    assert_string_equal(found, expected);
    ful_graph_destroy(&g);
}

static void test_places(void **state)
{
    (void)state;
    placed("block3", "--m---");
    placed("last1", "-----m");
    placed("last4", "--mmmm");
    placed("every1", "mmmmmm");
    placed("every2", "-m-m-m");
    placed("every6", "-----m");
}

static void refused(const ful_net_config *c, const char *rule)
{
    ful_graph *g = NULL;
    assert_fails(ful_net_build_graph(c, &g), FUL_ERR_CONFIG, rule);
    assert_null(g);
}

static void test_refusals(void **state)
{
    (void)state;
    const ful_net_config good = small();
    ful_net_config c;
#define REFUSED(change, rule) \
    do {                      \
        c = good;             \
        change;               \
        refused(&c, rule);    \
    } while (0)
    REFUSED(c.patch = 5, "patch must divide 12");
    REFUSED(c.patch = 24, "patch=24: it must be in 0..12");
    REFUSED(c.vit.heads = 5, "heads=5, width=24");
    REFUSED((c.width = 21, c.vit.positions = FUL_POSITIONS_SINCOS), "positions=sincos, width=21");
    REFUSED(c.vit.mlp_ratio = 0, "mlp_ratio=0");
    REFUSED(c.vit.layer_scale = 2, "layer_scale=2");
    REFUSED(c.depth = 65, "depth=65");
    REFUSED(add_site(&c, "block5", 8, 0), "at=block5: in vit_tiny it must be head or one of block1..block4, last1..last4");
    REFUSED(add_site(&c, "last5", 8, 0), "at=last5");
    REFUSED(add_site(&c, "every5", 8, 0), "at=every5");
    REFUSED(add_site(&c, "block02", 8, 0), "at=block02");
    REFUSED(add_site(&c, "stage1", 8, 0), "at=stage1");
    REFUSED((add_site(&c, "last2", 8, 0), add_site(&c, "block4", 8, 0)), "both would replace the MLP of block4");
    REFUSED(add_site(&c, "last2", 8, 0)->moe.expert = FUL_EXPERT_CONV, "expert=conv");
    REFUSED((strcpy(c.arch, "resnet8"), c.depth = 0, c.width = 8), "cannot build resnet8 with heads set");
    REFUSED((strcpy(c.arch, "mlp"), c.vit.heads = 0, c.patch = 4), "cannot build mlp with patch=4");
    REFUSED((strcpy(c.arch, "resnet8"), c.depth = c.vit.heads = 0, add_site(&c, "last1", 8, 0)), "one of stage1..stage3");
}

static void test_no_allocation_in_a_step(void **state)
{
    (void)state;
    ful_net_config c = small();
    c.vit.qk_norm = true;
    add_site(&c, "last2", 12, 0);
    ful_net *net = make_net(&c, 4, true, 1);
    batch b = random_batch(net, 4);
    float logits[4 * CLASSES];
    for (int i = 0; i < 6; i++) {
        ful_step step = {.n = 3 + i % 2, .x = b.x, .label = b.label, .step = (uint64_t)i};
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        assert_ok(ful_net_train_step(net, &step));
        descend(net, 0.01f);
        ful_net_after_step(net, &step);
        assert_ok(ful_net_predict(net, 4, b.x, b.label, logits));
        if (i >= 2) assert_int_equal(ful__fault_count(FUL__FAULT_ALLOC), 0);
    }
    free_batch(&b);
    ful_net_destroy(&net);
}

static ful_status build_graph(void *ctx)
{
    ful_graph *g = NULL;
    const ful_status status = ful_net_build_graph(ctx, &g);
    ful_graph_destroy(&g);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    ful_net_config c = small();
    c.vit.positions = FUL_POSITIONS_SINCOS;
    c.vit.qk_norm = true;
    add_site(&c, "last1", 8, 0);
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build_graph, &c, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),   cmocka_unit_test(test_one_expert_is_dense),
        cmocka_unit_test(test_batches),   cmocka_unit_test(test_places),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_no_allocation_in_a_step),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
