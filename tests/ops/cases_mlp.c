/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void mlp(check_sink *sink, unsigned use, ful_shape x, int hidden, ful_act act, bool gated, int n_max)
{
    static const char *const acts[] = {"none", "relu", "gelu", "silu", "hard_swish", "relu6", "hard_sigmoid"};
    const ful_mlp_attr a = {hidden, act, gated};
    check_case c = {.attr = &a, .x = {x}, .n_max = n_max};
    c.macs = (int64_t)x.h * x.w * x.c * hidden * (gated ? 3 : 2);
    check_addf(sink, use, c, "hidden %d %s%s", hidden, acts[act], gated ? " gated" : "");
}

static void refuse(check_sink *sink, ful_mlp_attr a, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{32, 32, 4}}, .refused = rule}, "%s", rule);
}

static void cases(check_sink *sink)
{
    for (int gated = 0; gated < 2; gated++) {
        for (ful_act act = FUL_ACT_NONE; act <= FUL_ACT_HARD_SIGMOID; act++) {
            mlp(sink, CHECK_TEST, (ful_shape){1, 5, 12}, 20, act, gated, 6);
            if (act == FUL_ACT_NONE || act == FUL_ACT_GELU || act == FUL_ACT_SILU) /* the others have corners */
                mlp(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){1, 3, 8}, 6, act, gated, 3);
        }
        for (int i = 0; i < CHECK_EDGES_COUNT; i++)
            for (int o = 0; o < CHECK_EDGES_COUNT; o++)
                mlp(sink, CHECK_TEST, (ful_shape){1, 1 + i % 2, check_edges[i]}, check_edges[o], FUL_ACT_GELU, gated, 3);
        mlp(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){11, 13, 17}, 37, FUL_ACT_SILU, gated, 5); /* rows cut for the weights */
        mlp(sink, CHECK_PERF, (ful_shape){1, 65, 192}, 768, FUL_ACT_GELU, gated, 128);
    }
    refuse(sink, (ful_mlp_attr){.hidden = 0}, "hidden=0");
    refuse(sink, (ful_mlp_attr){.hidden = 4, .act = (ful_act)9}, "act=9");
    refuse(sink, (ful_mlp_attr){.hidden = 1 << 24}, "below 2^31");
}

const check_suite check_suite_mlp = {.name = "mlp",
                                     .type = &ful__op_mlp,
                                     .tolerance = 1e-5,
                                     .magnitude = CHECK_RANGE,
                                     .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                     .cases = cases};
