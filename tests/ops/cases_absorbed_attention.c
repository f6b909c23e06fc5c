/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/attention/attention.h"
#include "ops/opcheck.h"

static ful__absorbed_attr attr_of(int heads, int width, bool bias)
{
    ful__absorbed_attr a;
    ful_linear_defaults(&a.qkv);
    ful_attention_defaults(&a.attention);
    a.qkv.out_features = 3 * heads * width;
    a.qkv.bias = bias;
    a.attention.heads = heads;
    a.attention.queries = 1;
    return a;
}

static void absorbed(check_sink *sink, unsigned use, int h, int w, int in, int heads, int width, bool bias, check_case c)
{
    const ful__absorbed_attr a = attr_of(heads, width, bias);
    const int64_t d = (int64_t)heads * width;
    c.attr = &a;
    c.x[0] = (ful_shape){h, w, in};
    c.y = (ful_shape){1, 1, (int)d};
    c.macs = in * d                                 /* the query */
             + in * d + (int64_t)h * w * in * heads /* as keys see it, and the scores */
             + (int64_t)h * w * in * heads + in * d /* the mean, and its value */;
    check_addf(sink, use, c, "heads %d of %d%s data %d", heads, width, bias ? " bias" : "", c.data);
}

static void refuse(check_sink *sink, ful__absorbed_attr a, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{1, 4, 12}}, .refused = rule}, "%s", rule);
}

static void refusals(check_sink *sink)
{
    const ful__absorbed_attr good = attr_of(2, 6, true);
    ful__absorbed_attr a;
    refuse(sink, (a = good, a.attention.heads = 0, a), "heads=0");
    refuse(sink, (a = good, a.attention.heads = 5, a), "3 x heads must divide the outputs");
    refuse(sink, (a = good, a.attention.qk_norm = true, a), "qk_norm=1");
    refuse(sink, (a = good, a.attention.queries = 0, a), "queries=0");
    refuse(sink, (a = good, a.qkv.lead = 12, a), "lead=12");
}

static void cases(check_sink *sink)
{
    for (int bias = 0; bias < 2; bias++) {
        absorbed(sink, CHECK_TEST | CHECK_GRAD, 1, 5, 7, 2, 3, bias, (check_case){.n_max = 3});
        absorbed(sink, CHECK_TEST | CHECK_GRAD, 2, 2, 8, 1, 8, bias, (check_case){.n_max = 3});
        absorbed(sink, CHECK_TEST, 1, 1, 5, 3, 4, bias, (check_case){0});
        for (int i = 0; i < CHECK_EDGES_COUNT; i++)
            absorbed(sink, CHECK_TEST, 1, 3 + i, check_edges[i], 2, 5, bias, (check_case){.n_max = 3});
    }
    /* The bias of keys, whose gradient is 0, would not have the NaN. */
    absorbed(sink, CHECK_TEST, 1, 17, 16, 1, 16, false, (check_case){.n_max = 2, .data = CHECK_NAN});
    absorbed(sink, CHECK_TEST, 3, 5, 24, 19, 2, true, (check_case){.n_max = 3}); /* more heads than share a loop */
    absorbed(sink, CHECK_TEST | CHECK_SLOW, 1, 33, 40, 2, 24, true, (check_case){.n_max = 70});
    absorbed(sink, CHECK_PERF, 1, 65, 192, 3, 64, true, (check_case){.n_max = 128});
    absorbed(sink, CHECK_PERF, 1, 65, 192, 3, 64, true, (check_case){.n_max = 4});
    absorbed(sink, CHECK_PERF, 1, 65, 192, 3, 64, true, (check_case){.n_max = 1});
    refusals(sink);
}

/* Weights of size 1 make scores of hundreds, whose rounding the softmax multiplies. */
const check_suite check_suite_absorbed_attention = {.name = "absorbed_attention",
                                                    .type = &ful__op_absorbed,
                                                    .tolerance = 1e-4,
                                                    .magnitude = CHECK_RANGE,
                                                    .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                                    .cases = cases};
