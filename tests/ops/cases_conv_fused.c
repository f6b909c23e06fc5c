/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/act_math.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv_case.h"

#define TOLERANCE 1e-6

static const conv_case usual[] = {
    {{7, 5, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{7, 7, 32}, 64, 1, 1, .groups = 1},
    {{9, 7, 16}, 32, 3, 3, 2, 2, 1, 1, .groups = 1},
    {{9, 9, 3}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{9, 9, 1}, 16, 5, 5, 2, 2, 2, 2, .groups = 1},
    {{7, 7, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 32}, /* depthwise */
    {{9, 6, 16}, 16, 5, 5, 2, 2, 2, 2, .groups = 16},
    {{5, 5, 17}, 19, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{5, 5, 16}, 15, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{1, 1, 32}, 16, 1, 1, .groups = 1},
    {{7, 6, 16}, 32, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{5, 8, 32}, 16, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{4, 4, 32}, 16, 3, 3, 1, 1, 1, 1, .patches = true},
    {{7, 6, 16}, 48, 3, 3, 2, 2, 1, 1, .patches = true},
    {{5, 5, 32}, 16, 1, 1, 2, 2, .patches = true},
    {{1, 1, 16}, 32, 1, 1, .patches = true},
    {{9, 7, 16}, 16, 5, 3, 1, 2, 2, 0, 1, 2, .patches = true},
    {{6, 6, 16}, 16, 3, 3, 1, 1, 1, 1, .n_max = 9, .patches = true},
    {{5, 5, 8}, 24, 3, 3, 1, 1, 1, 1, .patches = true},
    {{7, 6, 16}, 48, 3, 3, 2, 2, 1, 1, .strips = true},
    {{16, 16, 16}, 32, 3, 3, 2, 2, 1, 1, .strips = true},
    {{5, 5, 32}, 16, 1, 1, 2, 2, .strips = true},
    {{1, 1, 16}, 32, 1, 1, .strips = true},
    {{2, 2, 64}, 96, 3, 3, 1, 1, 1, 1, .n_max = 3, .strips = true},  /* more weights than pixels */
    {{4, 4, 256}, 48, 3, 3, 1, 1, 1, 1, .n_max = 2, .strips = true}, /* a long panel in parts */
    {{9, 7, 16}, 16, 5, 3, 1, 2, 2, 0, 1, 2, .strips = true},
    {{9, 9, 3}, 32, 3, 3, 1, 1, 1, 1, .strips = true},
    {{32, 32, 3}, 16, 3, 3, 1, 1, 1, 1, .n_max = 2, .strips = true},
    {{6, 6, 16}, 16, 3, 3, 1, 1, 1, 1, .n_max = 9, .strips = true},
    {{5, 5, 8}, 24, 3, 3, 1, 1, 1, 1, .strips = true},
};

static const conv_case nets[] = {
    {{32, 32, 16}, 16, 3, 3, 1, 1, 1, 1, .n_max = 128}, /* resnet20 */
    {{8, 8, 64}, 64, 3, 3, 1, 1, 1, 1, .n_max = 128},
    {{16, 16, 128}, 128, 3, 3, 1, 1, 1, 1, .n_max = 32}, /* resnet18 at 32 px */
    {{16, 16, 128}, 128, 3, 3, 1, 1, 1, 1, .n_max = 32, .winograd = true},
};

static void fused(check_sink *sink, unsigned use, conv_case c, ful_act act, bool residual)
{
    char text[112];
    c.bias = true;
    const ful__conv_fused_attr a = {.conv = conv_attr(&c), .act = act, .residual = residual};
    check_case e = conv_expect(&c, &a.conv);
    e.attr = &a;
    e.n_x = residual ? 2 : 1;
    e.x[1] = residual ? e.y : (ful_shape){0, 0, 0};
    e.tolerance = conv_tolerance(c.winograd ? CONV_WINOGRAD_TOLERANCE : TOLERANCE, act);
    check_addf(sink, use, e, "%s %s%s", conv_text(&a.conv, text), ful__act_names[act], residual ? " residual" : "");
}

static void refuse(check_sink *sink, ful__conv_fused_attr a, int n_x, const char *rule)
{
    const check_case c = {.attr = &a, .n_x = n_x, .x = {{4, 4, 6}, {4, 4, 7}}, .refused = rule};
    check_addf(sink, CHECK_TEST, c, "%s", rule);
}

static void refusals(check_sink *sink)
{
    ful__conv_fused_attr a, good = {.act = FUL_ACT_RELU};
    ful_conv2d_defaults(&good.conv);
    good.conv.out_channels = 8;
    good.conv.bias = true;
    refuse(sink, (a = good, a.conv.bias = false, a), 1, "bias=false");
    refuse(sink, (a = good, a.act = FUL_ACT_GELU, a), 1, "act=2");
    refuse(sink, (a = good, a.residual = true, a), 1, "it takes 2");
    refuse(sink, (a = good, a.residual = true, a), 2, "must have the output's shape");
    refuse(sink, (a = good, a.conv.groups = 4, a), 1, "groups=4");
}

static void cases(check_sink *sink)
{
    for (int k = 0; k < CONV_ACTS; k++)
        for (int residual = 0; residual < 2; residual++) {
            const ful_act act = conv_acts[k];
            for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) fused(sink, CHECK_TEST, usual[i], act, residual);
            for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) fused(sink, CHECK_PERF, nets[i], act, residual);
        }
    /* y = relu(conv(x) + x) */
    const ful_shape x = {7, 7, 32};
    ful__conv_fused_attr a = {.act = FUL_ACT_RELU, .residual = true};
    ful_conv2d_defaults(&a.conv);
    a.conv.out_channels = 32;
    a.conv.pad_h = a.conv.pad_w = 1;
    a.conv.bias = true;
    a.conv.algorithm = FUL_CONV_DIRECT;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .n_x = 2, .x = {x, x}, .macs = 7 * 7 * 32 * 32 * 9, .twin = true},
               "conv(x) + x");
    a.conv.algorithm = FUL_CONV_WINOGRAD;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .n_x = 2, .x = {x, x}, .macs = 7 * 7 * 32 * 32 * 9, .twin = true},
               "conv(x) + x winograd");
    a.conv.algorithm = FUL_CONV_PATCHES;
    check_addf(sink, CHECK_TEST,
               (check_case){.attr = &a, .n_x = 2, .x = {x, x}, .n_max = 3, .macs = 7 * 7 * 32 * 32 * 9, .twin = true},
               "conv(x) + x patches");
    a.conv.algorithm = FUL_CONV_STRIPS;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .n_x = 2, .x = {x, x}, .macs = 7 * 7 * 32 * 32 * 9, .twin = true},
               "conv(x) + x strips");
    refusals(sink);
}

const check_suite check_suite_conv_fused = {.name = "conv_fused",
                                            .type = &ful__op_conv_fused,
                                            .tolerance = TOLERANCE,
                                            .magnitude = CHECK_SUM,
                                            .same_bits = CHECK_SAME_BATCH,
                                            .late = true,
                                            .cases = cases,
                                            .kernel = ful__conv2d_kernel};
