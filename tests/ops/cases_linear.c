/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void leading(check_sink *sink, unsigned use, int lead, ful_shape x, int out, bool bias, int n_max)
{
    ful_linear_attr a;
    ful_linear_defaults(&a);
    a.out_features = out;
    a.bias = bias;
    a.lead = lead;
    const int64_t macs = ((int64_t)x.h * x.w * (out - lead) + lead) * x.c;
    const check_case c = {.attr = &a, .x = {x}, .y = {x.h, x.w, out}, .n_max = n_max, .macs = macs};
    check_addf(sink, use, c, "out %d%s lead %d", out, bias ? " bias" : "", lead);
}

static void linear(check_sink *sink, unsigned use, ful_shape x, int out, bool bias, int n_max)
{
    leading(sink, use, 0, x, out, bias, n_max);
}

static void cases(check_sink *sink)
{
    linear(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){1, 1, 19}, 10, true, 6);
    linear(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, 24, true, 6);
    linear(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, 24, false, 6);
    for (int i = 0; i < CHECK_EDGES_COUNT; i++)
        for (int o = 0; o < CHECK_EDGES_COUNT; o++)
            linear(sink, CHECK_TEST, (ful_shape){1, 1 + i % 3, check_edges[i]}, check_edges[o], (i + o) % 2, 6);
    linear(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){5, 7, 130}, 141, true, 6);
    leading(sink, CHECK_TEST | CHECK_GRAD, 9, (ful_shape){1, 5, 16}, 24, true, 6);
    leading(sink, CHECK_TEST | CHECK_GRAD, 16, (ful_shape){3, 2, 19}, 33, false, 6);
    leading(sink, CHECK_TEST, 23, (ful_shape){1, 1, 16}, 24, true, 6);
    leading(sink, CHECK_TEST | CHECK_SLOW, 48, (ful_shape){1, 65, 48}, 144, true, 6); /* packed */
    linear(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){1, 1, 700}, 33, true, 23);      /* several blocks of k, tiles of rows */
    linear(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){23, 31, 17}, 19, true, 6);      /* rows cut for the weight gradient */
    linear(sink, CHECK_PERF, (ful_shape){1, 1, 64}, 10, true, 128);
    linear(sink, CHECK_PERF, (ful_shape){1, 1, 512}, 100, true, 128);
    linear(sink, CHECK_PERF, (ful_shape){8, 8, 192}, 768, true, 128);
    linear(sink, CHECK_PERF, (ful_shape){8, 8, 768}, 192, true, 128);
    ful_linear_attr bad;
    ful_linear_defaults(&bad);
    check_addf(sink, CHECK_TEST, (check_case){.attr = &bad, .x = {{1, 1, 4}}, .refused = "out_features=0"}, "out 0");
    bad.out_features = 1 << 20;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &bad, .x = {{64, 64, 4}}, .refused = "below 2^31"}, "out 2^20");
    bad.out_features = 4;
    bad.lead = 4;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &bad, .x = {{1, 1, 4}}, .refused = "lead=4, out_features=4"}, "lead 4");
    bad.lead = 0;
    bad.gain = -1;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &bad, .x = {{1, 1, 4}}, .refused = "gain=-1"}, "gain -1");
}

const check_suite check_suite_linear = {.name = "linear",
                                        .type = &ful__op_linear,
                                        .tolerance = 1e-6,
                                        .magnitude = CHECK_SUM,
                                        .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                        .cases = cases};
