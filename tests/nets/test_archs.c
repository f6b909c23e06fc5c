/* SPDX-License-Identifier: Apache-2.0 */
/* Every architecture: it builds, runs, has the parameters and MACs it should, and places mixtures where it is told. */
#include <math.h>

#include "graph/graph.h"
#include "moe/moe_op.h"
#include "nets_support.h"

/* At 224 px the published parameters, and the MACs, as torchvision 0.29 (resnets, mobilenets, convnext_tiny) and timm 1.0 (the
 * other ConvNeXts, mixers, vision transformers) have them, counted from their layers; at other sizes counted by an independent
 * script. */
static void test_published_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *arch;
        int height, classes;
        int64_t params, macs;
    } known[] = {
        {"resnet8", 32, 10, 78042, 12501632},
        {"resnet14", 32, 10, 175258, 26657408},
        {"resnet20", 32, 10, 272474, 40813184},
        {"resnet32", 32, 10, 466906, 69124736},
        {"resnet56", 32, 10, 855770, 125747840},
        {"resnet18", 32, 10, 11173962, 555422720},
        {"resnet18", 224, 1000, 11689512, 1814073344},
        {"resnet34", 224, 1000, 21797672, 3663761408},
        {"resnet34", 64, 200, 21379592, 4637691904},
        {"resnet50", 224, 1000, 25557032, 4089184256},
        {"resnet101", 224, 1000, 44549160, 7801405440},
        {"preresnet18", 224, 1000, 11687720, 1814073344},
        {"mobilenet_v2", 224, 1000, 3504872, 300774272},
        {"mobilenet_v3_large", 224, 1000, 5483032, 216589760},
        {"mobilenet_v3_small", 224, 1000, 2542856, 56510400},
        {"convnext_atto", 224, 1000, 3695520, 547332480},
        {"convnext_femto", 224, 1000, 5217784, 779629824},
        {"convnext_pico", 224, 1000, 9045672, 1367055360},
        {"convnext_nano", 224, 1000, 15593560, 2445528320},
        {"convnext_tiny", 224, 1000, 28589128, 4455531264},
        {"mixer_s", 224, 1000, 18528264, 3776958464},
        {"mixer_b", 224, 1000, 59880472, 12601767936},
        {"dwnet_s", 32, 10, 19578, 1609984},
        {"dwnet_m", 32, 10, 161194, 8458752},
        {"dwnet", 32, 10, 161194, 8458752},
        {"dwnet_l", 32, 10, 635530, 33006336},
        {"dwnet_m", 224, 1000, 419464, 82450560},
        {"vit_tiny", 224, 1000, 5717416, 1253683200},
        {"vit_small", 224, 1000, 22050664, 4598882304},
        {"vit_base", 224, 1000, 86567656, 17563828224},
        {"mlp", 32, 10, 855050, 854528},
        {"linear", 28, 10, 28 * 28 * 3 * 10 + 10, 28 * 28 * 3 * 10},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const ful_net_config c = net_config(known[i].arch, known[i].height, 3, known[i].classes);
        ful_graph *g = NULL;
        ful_account a;
        assert_ok(ful_net_build_graph(&c, &g));
        assert_ok(ful_graph_account(g, &a));
        if (a.params != known[i].params || a.macs != known[i].macs)
            fail_msg("%s at %d: %lld params, %lld MACs", known[i].arch, known[i].height, (long long)a.params,
                     (long long)a.macs);
        assert_int_equal(a.macs, a.macs_shared);
        assert_int_equal(a.params, a.params_active);
        assert_true(a.rho_exec == 0 && a.rho_site == 0 && a.rho_total == 0 && a.rho_train == 0 && a.rho_params == 0);
        ful_account_deinit(&a);
        ful_graph_destroy(&g);
    }
}

/* The node of that name, -1 if there is none. */
static ful_node find_node(const ful_graph *g, const char *name)
{
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->nodes[i].name, name) == 0) return i;
    return -1;
}

static void test_all_run(void **state)
{
    (void)state;
    for (const ful_arch_about *arch = ful_arch_names(); arch->name; arch++) {
        const ful_net_config c = family_config(arch->name, 28, 1, 10);
        run_and_count(&c, 2);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const int heights[] = {1, 9, 33, 64, 65, 96};
    for (size_t i = 0; i < sizeof heights / sizeof *heights; i++) {
        ful_net_config c = net_config(i % 2 ? "resnet8" : "dwnet_s", heights[i], 3, 3 + (int)i);
        c.width = 8;
        run_and_count(&c, 3);
    }
    ful_net_config c = net_config("resnet18", 224, 3, 10);
    c.width = 8;
    run_and_count(&c, 1);
    snprintf(c.stem, sizeof c.stem, "small");
    c.height = 40;
    run_and_count(&c, 1);
}

/* The first layers shrink a large image to a quarter of its side, and leave a small one as it is; patches are as told. */
static void test_stems(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *node;
    } ends[] = {{"resnet50", "stage1.2.relu3"},         {"preresnet18", "stage1.1.add"}, {"mobilenet_v2", "stage2.1.add"},
                {"mobilenet_v3_large", "stage2.1.add"}, {"convnext_atto", "stem.norm"},  {"mixer_s", "stem.conv"}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int large = 0; large < 2; large++) {
            ful_net_config c = family_config(ends[i].arch, 48, 3, 10);
            ful_graph *g = NULL;
            if (large) snprintf(c.stem, sizeof c.stem, "large");
            assert_ok(ful_net_build_graph(&c, &g));
            const ful_node node = find_node(g, ends[i].node);
            if (node < 0) fail_msg("no node '%s' in %s", ends[i].node, ends[i].arch);
            const int patch = i == 5 ? (large ? 16 : 4) : large ? 4 : 1;
            assert_int_equal(g->nodes[node].shape.h, 48 / patch);
            ful_graph_destroy(&g);
        }
    ful_net_config c = family_config("mixer_s", 48, 3, 10);
    c.patch = 8;
    c.depth = 3;
    run_and_count(&c, 2);
    c = family_config("mobilenet_v3_small", 96, 3, 10);
    c.width = 24;
    c.drop_path = 0.2;
    run_and_count(&c, 2);
}

static void test_mixtures_run(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet14", 16, 3, 5);
    c.width = 8;
    c.dropout = 0.2;
    c.drop_path = 0.3;
    add_site(&c, "stage2", 12, 0)->place = FUL_PLACE_REPLACE;
    add_site(&c, "stage3", 12, 0);
    ful_moe_site *pixel = add_site(&c, "stage3", 8, 0);
    ful_moe_defaults(&pixel->moe, FUL_EXPERT_MLP);
    pixel->moe.token = FUL_TOKEN_PIXEL;
    add_site(&c, "head", 16, 0);
    for (int i = 0; i < c.n_moe; i++) c.moe[i].moe.capacity_permille = 0; /* dropless: nominal is executed */
    run_and_count(&c, 4);
    for (int i = 0; i < c.n_moe; i++) c.moe[i].dense = 24;
    run_and_count(&c, 4);
    static const char *const families[] = {"resnet50",           "preresnet20",   "mobilenet_v2",
                                           "mobilenet_v3_small", "convnext_atto", "mixer_s"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        c = family_config(families[i], 16, 3, 5);
        add_site(&c, "stage2", 12, 0)->place = i == 4 ? FUL_PLACE_REPLACE : FUL_PLACE_APPEND;
        pixel = add_site(&c, "stage3", 8, 0);
        ful_moe_defaults(&pixel->moe, FUL_EXPERT_MLP);
        pixel->moe.token = FUL_TOKEN_PIXEL;
        add_site(&c, "head", 16, 0);
        for (int k = 0; k < c.n_moe; k++) c.moe[k].moe.capacity_permille = 0;
        run_and_count(&c, 3);
    }
    /* In the place of a ConvNeXt block's MLP: per position and per image; the dense twin has the same MACs. */
    static const ful_token tokens[] = {FUL_TOKEN_PIXEL, FUL_TOKEN_IMAGE};
    for (int i = 0; i < 2; i++) {
        ful_account mixture, twin;
        ful_graph *g = NULL;
        c = family_config("convnext_atto", 16, 3, 5);
        ful_moe_site *site = add_site(&c, "last2", 32, 0);
        ful_moe_defaults(&site->moe, FUL_EXPERT_MLP);
        snprintf(site->at, sizeof site->at, i ? "block3" : "last2");
        site->place = FUL_PLACE_REPLACE;
        site->moe.token = tokens[i];
        site->moe.hidden = 32;
        site->moe.capacity_permille = 0;
        run_and_count(&c, 3);
        assert_ok(ful_net_build_graph(&c, &g));
        assert_true(find_node(g, i ? "stage2.0.moe" : "stage4.1.moe") >= 0 && find_node(g, "stage4.0.dw") >= 0);
        assert_int_equal(find_node(g, i ? "stage2.0.fc1" : "stage4.1.fc1"), -1);
        assert_ok(ful_graph_account(g, &mixture));
        ful_graph_destroy(&g);
        site->dense = 64;
        assert_ok(ful_net_build_graph(&c, &g));
        assert_ok(ful_graph_account(g, &twin));
        ful_graph_destroy(&g);
        assert_int_equal(twin.macs, mixture.macs - mixture.macs_router);
        ful_account_deinit(&mixture);
        ful_account_deinit(&twin);
        run_and_count(&c, 3);
    }
    c = net_config("mlp", 8, 1, 4);
    c.depth = 3;
    c.width = 12;
    ful_moe_defaults(&add_site(&c, "stage2", 7, 0)->moe, FUL_EXPERT_MLP);
    ful_moe_defaults(&add_site(&c, "stage3", 7, 0)->moe, FUL_EXPERT_MLP);
    for (int i = 0; i < c.n_moe; i++) c.moe[i].moe.capacity_permille = 0;
    c.moe[1].place = FUL_PLACE_REPLACE;
    run_and_count(&c, 5);
}

static void test_names(void **state)
{
    (void)state;
    ful_net_config c = net_config("resnet8", 32, 3, 10);
    add_site(&c, "stage3", 16, 0);
    add_site(&c, "stage3", 16, 0);
    add_site(&c, "stage1", 16, 16)->place = FUL_PLACE_REPLACE;
    add_site(&c, "head", 16, 0);
    c.dropout = 0.1;
    c.drop_path = 0.2;
    ful_graph *g = NULL;
    assert_ok(ful_net_build_graph(&c, &g));
    static const char *const names[] = {"stem.conv",        "stem.bn",      "stage2.0.conv1", "stage2.0.down.conv",
                                        "stage2.0.drop",    "stage2.0.add", "stage1.ffn.add", "stage3.moe",
                                        "stage3.site2.moe", "head.moe",     "dropout",        "fc"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (find_node(g, names[i]) < 0) fail_msg("no node '%s'", names[i]);
    assert_int_equal(find_node(g, "stage1.0.conv1"), -1);
    ful_graph_destroy(&g);
}

static void test_bad_configs(void **state)
{
    (void)state;
    const ful_net_config good = net_config("resnet8", 32, 3, 10);
    ful_net_config c;
    ful_graph *g = NULL;
#define REFUSED(change, fragment)                                            \
    do {                                                                     \
        c = good;                                                            \
        change;                                                              \
        assert_fails(ful_net_build_graph(&c, &g), FUL_ERR_CONFIG, fragment); \
        assert_null(g);                                                      \
    } while (0)
    REFUSED(strcpy(c.arch, "resnet21"), "arch=resnet21: it must be one of resnet8,");
    REFUSED(memset(c.arch, 'x', sizeof c.arch), "arch=xxxxxxxx...");
    REFUSED(c.width = -1, "width=-1");
    REFUSED(c.width = 1 << 20, "width=1048576: it must be in 0..16384");
    REFUSED(c.depth = 2, "depth=2");
    REFUSED(c.patch = 4, "patch=4: it does not cut images");
    REFUSED((strcpy(c.arch, "mixer_s"), c.patch = 33), "patch=33: it must be in 0..32");
    REFUSED(c.height = 0, "height=0");
    REFUSED(c.in_channels = 0, "in_channels=0");
    REFUSED(c.classes = 1, "classes=1");
    REFUSED(c.dropout = 1, "dropout=1");
    REFUSED(c.drop_path = NAN, "drop_path=nan");
    REFUSED(strcpy(c.stem, "big"), "stem=big");
    REFUSED(c.n_moe = 17, "moe items=17");
    REFUSED(add_site(&c, "stage4", 8, 0), "item 1 at=stage4: in resnet8 it must be head or one of stage1..stage3");
    REFUSED(add_site(&c, "stage01", 8, 0), "at=stage01");
    REFUSED(add_site(&c, "head", 8, 0)->place = FUL_PLACE_REPLACE, "at=head, place=replace");
    REFUSED(add_site(&c, "stage2", 8, 0)->place = FUL_PLACE_REPLACE, "only block changes the shape");
    REFUSED(add_site(&c, "head", 8, -3), "dense=-3");
    REFUSED(add_site(&c, "head", 8, 0)->moe.k = 9, "k=9");
    REFUSED(add_site(&c, "stage3", 0, 0), "hidden=0");
    REFUSED((strcpy(c.arch, "linear"), add_site(&c, "stage1", 8, 0)), "in linear it must be head");
    c = good;
    assert_fails(ful_net_build_graph(&c, NULL), FUL_ERR_ARG, "NULL");
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
    ful_net_config c = net_config("resnet8", 32, 3, 10);
    add_site(&c, "stage3", 16, 0);
    add_site(&c, "head", 16, 16);
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build_graph, &c, 400);
    strcpy(c.arch, "nonsense");
    test_one_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build_graph, &c, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_numbers),
        cmocka_unit_test(test_all_run),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_stems),
        cmocka_unit_test(test_mixtures_run),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
