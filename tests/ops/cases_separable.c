/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/act_math.h"
#include "ops/conv_case.h"
#include "ops/separable/separable.h"

#define TOLERANCE 1e-6

/* The depthwise convolution; out: channels of the pointwise one behind it. */
static const conv_case usual[] = {
    {{7, 5, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{9, 8, 32}, 48, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{8, 8, 16}, 32, 3, 3, 2, 2, 1, 1, .groups = 1},
    {{9, 7, 32}, 16, 3, 3, 2, 2, 1, 1, .groups = 1},
    {{4, 4, 64}, 96, 3, 3, 1, 1, 1, 1, .groups = 1}, /* more weights than values */
    {{6, 11, 16}, 16, 5, 5, 1, 1, 2, 2, .groups = 1},
    {{9, 10, 16}, 32, 5, 5, 2, 2, 2, 2, .groups = 1},
    {{8, 9, 16}, 16, 3, 3, 1, 1, 0, 0, .groups = 1},
    {{5, 9, 16}, 16, 3, 3, 1, 1, 2, 1, .groups = 1}, /* more padding than usual */
    {{7, 9, 16}, 16, 5, 5, 2, 2, 0, 4, .groups = 1},
    {{2, 3, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{1, 1, 32}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{1, 33, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{8, 8, 128}, 128, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 2}, /* worth more pieces than it has tiles */
    {{3, 4, 960}, 80, 3, 3, 1, 1, 1, 1, .groups = 1},              /* few rows in a tile, the last panel a lone block of 16 */
};

static const conv_case nets[] = {
    {{32, 32, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16}, /* dwnet_m */
    {{16, 16, 64}, 64, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16},
    {{8, 8, 128}, 128, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16},
    {{4, 4, 256}, 256, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16},
    {{32, 32, 144}, 24, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16}, /* MobileNet V2 at 32 px */
    {{8, 8, 576}, 96, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16},
    {{4, 4, 960}, 160, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 16},
    {{56, 56, 128}, 128, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 4}, /* MobileNet */
    {{14, 14, 512}, 512, 3, 3, 1, 1, 1, 1, .groups = 1, .n_max = 4},
};

static ful__separable_attr attr_of(conv_case c, ful_act between, ful_act act, bool residual)
{
    ful__separable_attr a = {.depthwise = {.act = between}, .pointwise = {.act = act, .residual = residual}};
    conv_case pointwise = {.out = c.out, .kernel_h = 1, .kernel_w = 1, .groups = 1, .bias = true};
    c.bias = true;
    c.out = c.groups = c.x.c;
    a.depthwise.conv = conv_attr(&c);
    a.pointwise.conv = conv_attr(&pointwise);
    return a;
}

static void separable(check_sink *sink, unsigned use, conv_case c, ful_act between, ful_act act, bool residual)
{
    const ful__separable_attr a = attr_of(c, between, act, residual);
    char text[112];
    check_case e = conv_expect(&c, &a.depthwise.conv);
    e.macs += (int64_t)e.y.h * e.y.w * c.x.c * c.out;
    e.y.c = c.out;
    e.attr = &a;
    e.n_x = residual ? 2 : 1;
    e.x[1] = residual ? e.y : (ful_shape){0, 0, 0};
    e.tolerance = conv_tolerance(TOLERANCE, act);
    check_addf(sink, use, e, "%s %s to %d %s%s", conv_text(&a.depthwise.conv, text), ful__act_names[between], c.out,
               ful__act_names[act], residual ? " residual" : "");
}

static void refuse(check_sink *sink, ful__separable_attr a, int n_x, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .n_x = n_x, .x = {{4, 4, 16}, {4, 4, 17}}, .refused = rule}, "%s",
               rule);
}

static void refusals(check_sink *sink)
{
    const conv_case c = {{4, 4, 16}, 32, 3, 3, 1, 1, 1, 1, .groups = 1};
    const ful__separable_attr good = attr_of(c, FUL_ACT_RELU, FUL_ACT_RELU, false);
    ful__separable_attr a;
    refuse(sink, (a = good, a.depthwise.conv.bias = false, a), 1, "bias=false");
    refuse(sink, (a = good, a.pointwise.act = FUL_ACT_GELU, a), 1, "act=2");
    refuse(sink, (a = good, a.depthwise.conv.groups = 8, a), 1, "it takes a depthwise convolution");
    refuse(sink, (a = good, a.depthwise.residual = true, a), 1, "without residual");
    refuse(sink, (a = good, a.pointwise.conv.groups = 2, a), 1, "and a pointwise one");
    refuse(sink, (a = good, a.pointwise.conv.out_channels = 20, a), 1, "in blocks of");
    refuse(sink, (a = good, a.pointwise.conv.out_channels = 1 << 15, a), 1, "and 262144 weights");
    refuse(sink, (a = good, a.pointwise.residual = true, a), 1, "it takes 2");
    refuse(sink, (a = good, a.pointwise.residual = true, a), 2, "must have the output's shape");
    refuse(sink, (a = good, a.depthwise.conv.groups = 5, a), 1, "groups=5");
}

static void cases(check_sink *sink)
{
    for (int k = 0; k < CONV_ACTS; k++) {
        const ful_act act = conv_acts[k], other = conv_acts[(k + 1) % CONV_ACTS];
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
            separable(sink, CHECK_TEST, usual[i], act, act, false);
            separable(sink, CHECK_TEST, usual[i], act, other, true);
        }
    }
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        separable(sink, CHECK_PERF, nets[i], FUL_ACT_RELU, FUL_ACT_RELU, false);
    if (ful__block() == 8)
        separable(sink, CHECK_TEST, (conv_case){{5, 8, 8}, 24, 3, 3, 1, 1, 1, 1, .groups = 1}, FUL_ACT_RELU, FUL_ACT_RELU,
                  true);
    /* y = relu(… + x), as in a net */
    const ful__separable_attr a = attr_of((conv_case){{7, 9, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 1}, FUL_ACT_RELU,
                                          FUL_ACT_RELU, true);
    const ful_shape x = {7, 9, 32};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .n_x = 2, .x = {x, x}, .macs = 7 * 9 * 32 * (9 + 32), .twin = true},
               "block of x, + x");
    refusals(sink);
}

const check_suite check_suite_separable = {.name = "separable",
                                           .type = &ful__op_separable,
                                           .tolerance = TOLERANCE,
                                           .magnitude = CHECK_SUM,
                                           .same_bits = CHECK_SAME_BATCH | CHECK_SAME_THREADS,
                                           .cases = cases,
                                           .kernel = ful__separable_kernel};
