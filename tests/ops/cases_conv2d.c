/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "ops/conv2d/conv2d.h"
#include "ops/conv_case.h"

/* x, out, kernel h w, stride h w, pad h w, dilation h w, groups, bias, n_max */
static const conv_case usual[] = {
    {{7, 5, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},
    {{7, 5, 16}, 32, 3, 3, 2, 2, 1, 1, .bias = true},
    {{7, 7, 32}, 16, 1, 1, .groups = 1},
    {{7, 7, 16}, 32, 1, 1, 2, 2, .bias = true},
    {{9, 7, 16}, 16, 5, 5, 1, 1, 2, 2, .bias = true},
    {{9, 9, 3}, 16, 7, 7, 2, 2, 3, 3, .groups = 1},   /* stem for large images */
    {{9, 9, 3}, 32, 3, 3, 1, 1, 1, 1, .bias = true},  /* stem of 3 colours */
    {{9, 9, 1}, 16, 3, 3, 1, 1, 1, 1, .groups = 1},   /* of grey */
    {{8, 11, 16}, 16, 3, 1, 2, 1, 1, 0, .groups = 1}, /* nothing square */
    {{11, 8, 16}, 16, 1, 5, 1, 3, 0, 2, .bias = true},
    {{9, 9, 16}, 16, 3, 3, 1, 1, 2, 2, 2, 2, .groups = 1},
    {{11, 9, 16}, 16, 3, 2, 1, 2, 3, 1, 3, 2, .groups = 1},
    {{7, 7, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 2}, /* groups of whole blocks */
    {{7, 7, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 4, .bias = true},
    {{7, 7, 12}, 18, 3, 3, 1, 1, 1, 1, .groups = 3, .bias = true},
    {{7, 7, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 32}, /* depthwise */
    {{7, 7, 32}, 32, 3, 3, 2, 2, 1, 1, .groups = 32, .bias = true},
    {{7, 7, 17}, 17, 3, 3, 1, 1, 1, 1, .groups = 17},
    {{5, 5, 16}, 32, 3, 3, 1, 1, 1, 1, .groups = 16}, /* two outputs a channel */
    {{1, 1, 16}, 16, 3, 3, 1, 1, 1, 1, .bias = true}, /* padding all around one pixel */
    {{3, 3, 16}, 16, 3, 3, .groups = 1},              /* the kernel fills the image */
    {{32, 32, 4}, 8, 1, 1, 2, 2, .groups = 1},        /* half a block: a kernel of oneDNN's for dw never ends */
};

static const conv_case nets[] = {
    {{32, 32, 3}, 16, 3, 3, 1, 1, 1, 1, .n_max = 128}, /* resnet20 */
    {{32, 32, 16}, 16, 3, 3, 1, 1, 1, 1, .n_max = 128},
    {{32, 32, 16}, 32, 3, 3, 2, 2, 1, 1, .n_max = 128},
    {{16, 16, 32}, 32, 3, 3, 1, 1, 1, 1, .n_max = 128},
    {{8, 8, 64}, 64, 3, 3, 1, 1, 1, 1, .n_max = 128},
    {{16, 16, 32}, 64, 3, 3, 2, 2, 1, 1, .n_max = 128},
    {{32, 32, 16}, 32, 1, 1, 2, 2, 0, 0, .n_max = 128},
    {{32, 32, 3}, 64, 3, 3, 1, 1, 1, 1, .n_max = 32}, /* resnet18 at 32 px */
    {{32, 32, 64}, 128, 3, 3, 2, 2, 1, 1, .n_max = 32},
    {{16, 16, 128}, 256, 3, 3, 2, 2, 1, 1, .n_max = 32},
    {{8, 8, 256}, 512, 3, 3, 2, 2, 1, 1, .n_max = 32},
    {{32, 32, 64}, 64, 3, 3, 1, 1, 1, 1, .n_max = 32},
    {{16, 16, 128}, 128, 3, 3, 1, 1, 1, 1, .n_max = 32},
    {{8, 8, 256}, 256, 3, 3, 1, 1, 1, 1, .n_max = 32},
    {{8, 8, 256}, 512, 1, 1, 2, 2, 0, 0, .n_max = 32},
    {{4, 4, 512}, 512, 3, 3, 1, 1, 1, 1, .n_max = 32},
    {{32, 32, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 32, .n_max = 128}, /* dwnet */
    {{32, 32, 32}, 32, 3, 3, 2, 2, 1, 1, .groups = 32, .n_max = 128},
    {{8, 8, 128}, 128, 3, 3, 1, 1, 1, 1, .groups = 128, .n_max = 128},
    {{4, 4, 256}, 256, 3, 3, 1, 1, 1, 1, .groups = 256, .n_max = 128},
    {{16, 16, 128}, 128, 5, 5, 1, 1, 2, 2, .groups = 128, .n_max = 32},
    {{16, 16, 128}, 256, 1, 1, 1, 1, 0, 0, .n_max = 32},
    {{32, 32, 32}, 32, 1, 1, .n_max = 128}, /* dwnet */
    {{8, 8, 128}, 128, 1, 1, .n_max = 128},
    {{4, 4, 256}, 256, 1, 1, .n_max = 128},
    {{32, 32, 48}, 48, 7, 7, 1, 1, 3, 3, .groups = 48, .n_max = 32}, /* convnext */
    {{56, 56, 96}, 96, 7, 7, 1, 1, 3, 3, .groups = 96, .n_max = 8},
    {{14, 14, 384}, 384, 7, 7, 1, 1, 3, 3, .groups = 384, .n_max = 8},
    {{7, 7, 768}, 768, 7, 7, 1, 1, 3, 3, .groups = 768, .n_max = 8},
};

/* Depthwise: maps smaller than the kernel, odd sides under a stride, one wider than a tile, pads of their own. */
static const conv_case depthwise[] = {
    {{1, 1, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 16},
    {{2, 2, 32}, 32, 5, 5, 1, 1, 2, 2, .groups = 32, .bias = true},
    {{1, 4, 16}, 16, 3, 3, 2, 2, 1, 1, .groups = 16},
    {{9, 10, 16}, 16, 3, 3, 2, 2, 1, 1, .groups = 16, .bias = true},
    {{10, 9, 32}, 32, 5, 5, 2, 2, 2, 2, .groups = 32},
    {{11, 19, 16}, 16, 5, 5, 1, 1, 2, 2, .groups = 16},
    {{6, 21, 16}, 16, 3, 3, 1, 1, 0, 1, .groups = 16},
    {{7, 6, 16}, 16, 3, 3, 2, 2, 2, 0, .groups = 16},
    {{8, 8, 16}, 16, 5, 5, 2, 2, 4, 1, .groups = 16},
    {{5, 8, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 16}, /* a row is one step of the kernels */
    {{6, 16, 32}, 32, 3, 3, 2, 2, 1, 1, .groups = 32, .bias = true},
    {{5, 17, 16}, 16, 5, 5, 2, 2, 2, 2, .groups = 16},
    {{3, 300, 16}, 16, 3, 3, 1, 1, 1, 1, .groups = 16},
    {{4, 261, 16}, 16, 5, 5, 2, 2, 2, 2, .groups = 16, .n_max = 2},
    {{1, 1, 16}, 16, 7, 7, 1, 1, 3, 3, .groups = 16},
    {{4, 4, 32}, 32, 7, 7, 1, 1, 3, 3, .groups = 32, .bias = true},
    {{9, 13, 16}, 16, 7, 7, 1, 1, 3, 3, .groups = 16, .bias = true},
    {{12, 7, 16}, 16, 7, 7, 1, 1, 1, 6, .groups = 16},
    {{3, 250, 16}, 16, 7, 7, 1, 1, 3, 3, .groups = 16, .n_max = 2},
    {{9, 9, 16}, 16, 7, 7, 2, 2, 3, 3, .groups = 16},              /* left to oneDNN */
    {{5, 5, 48}, 48, 3, 3, 1, 1, 1, 1, .groups = 48, .n_max = 37}, /* more images than chunks */
    {{7, 5, 16}, 16, 3, 3, 1, 2, 1, 1, .groups = 16},              /* these are left to oneDNN */
    {{7, 5, 16}, 16, 3, 3, 1, 1, 2, 2, 2, 2, .groups = 16},
    {{7, 7, 8}, 8, 3, 3, 1, 1, 1, 1, .groups = 8},
};

/* Pointwise: tiles of some pixels of an image and of several images; pixels that are no multiple of anything; panels of one
 * block; more images than chunks; the most channels, and more. */
static const conv_case pointwise[] = {
    {{2, 1, 16}, 16, 1, 1, .groups = 1}, {{3, 5, 48}, 80, 1, 1, .groups = 1},  {{7, 7, 64}, 32, 1, 1, .n_max = 19},
    {{5, 3, 16}, 48, 1, 1, .n_max = 37}, {{31, 37, 32}, 16, 1, 1, .n_max = 2}, {{64, 33, 16}, 32, 1, 1, .n_max = 1},
    {{3, 3, 16}, 512, 1, 1, .n_max = 4}, {{2, 2, 16}, 528, 1, 1, .groups = 1}, /* left to oneDNN, */
    {{2, 2, 528}, 16, 1, 1, .n_max = 3}, {{9, 7, 384}, 32, 1, 1, .n_max = 2},  /* of which these were wrong with SSE4.1 */
    {{6, 5, 40}, 24, 1, 1, .n_max = 3}, /* blocks of 8 with AVX2, three and five of them */
};

/* Winograd: images of less and more than a tile, all pads, channels that make one block and groups of two, more tiles than are
 * worked on at once, transformed weights that are large. */
static const conv_case winograd[] = {
    {{1, 1, 16}, 16, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{3, 2, 16}, 32, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{4, 4, 32}, 16, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{5, 9, 32}, 32, 3, 3, 1, 1, 1, 1, .bias = true, .winograd = true},
    {{8, 8, 16}, 48, 3, 3, 1, 1, 1, 1, .winograd = true},
    {{9, 6, 16}, 16, 3, 3, 1, 1, 0, 0, .winograd = true},
    {{3, 3, 16}, 16, 3, 3, .winograd = true},
    {{6, 7, 16}, 16, 3, 3, 1, 1, 2, 2, .winograd = true},
    {{5, 6, 48}, 32, 3, 3, 1, 1, 0, 2, .winograd = true},
    {{13, 11, 32}, 32, 3, 3, 1, 1, 1, 1, .n_max = 17, .winograd = true},
    {{4, 4, 128}, 64, 3, 3, 1, 1, 1, 1, .n_max = 37, .winograd = true},
    {{7, 7, 8}, 24, 3, 3, 1, 1, 1, 1, .winograd = true},  /* blocks of 8 with AVX2; oneDNN's with AVX-512 */
    {{7, 7, 16}, 16, 3, 3, 2, 2, 1, 1, .winograd = true}, /* does not apply */
    {{7, 7, 32}, 32, 3, 3, 1, 1, 1, 1, .groups = 2, .winograd = true},
};

/* Strips: strides under odd and even sides, maps of one pixel and smaller than the kernel, pads of all kinds and none,
 * remainders of dx that no tap meets, panels of one block and of two, images of few channels, strips of a line, of lines and of
 * images. */
static const conv_case strips[] = {
    {{7, 5, 16}, 32, 3, 3, 2, 2, 1, 1, .strips = true},
    {{8, 8, 16}, 16, 3, 3, 2, 2, 1, 1, .bias = true, .strips = true},
    {{7, 6, 16}, 48, 3, 3, 1, 1, 1, 1, .strips = true},
    {{5, 6, 48}, 80, 3, 3, 2, 2, 1, 1, .strips = true},
    {{1, 1, 16}, 16, 3, 3, 2, 2, 1, 1, .bias = true, .strips = true},
    {{2, 2, 32}, 16, 3, 3, 2, 2, 1, 1, .strips = true},
    {{3, 3, 16}, 32, 3, 3, .strips = true}, /* the kernel fills the image */
    {{9, 9, 16}, 32, 1, 1, 2, 2, .strips = true},
    {{8, 7, 32}, 16, 1, 1, 2, 2, .strips = true},
    {{5, 5, 32}, 48, 1, 1, .strips = true},
    {{9, 7, 16}, 16, 5, 5, 2, 2, 2, 2, .strips = true},
    {{11, 8, 16}, 16, 5, 3, 1, 2, 2, 0, .strips = true},
    {{11, 8, 16}, 16, 1, 5, 1, 3, 0, 2, .strips = true}, /* dx is left to oneDNN: stride 3 */
    {{12, 7, 16}, 16, 7, 7, 2, 2, 1, 6, .strips = true},
    {{6, 7, 16}, 16, 3, 3, 1, 1, 0, 2, .strips = true},
    {{9, 9, 16}, 16, 2, 2, 2, 2, .strips = true},
    {{9, 9, 16}, 16, 3, 3, 1, 1, 2, 2, 2, 2, .strips = true}, /* dilation: dx is oneDNN's */
    {{11, 9, 16}, 32, 3, 2, 1, 2, 3, 1, 3, 2, .strips = true},
    {{9, 9, 3}, 16, 3, 3, 1, 1, 1, 1, .bias = true, .strips = true},
    {{9, 8, 3}, 32, 7, 7, 2, 2, 3, 3, .strips = true},
    {{9, 9, 1}, 48, 3, 3, 2, 2, 1, 1, .strips = true},
    {{8, 8, 3}, 16, 4, 4, 4, 4, .strips = true},
    {{5, 5, 17}, 16, 3, 3, 1, 1, 1, 1, .strips = true},
    {{7, 7, 24}, 40, 3, 3, 2, 2, 1, 1, .strips = true},
    {{6, 7, 16}, 16, 3, 3, 2, 2, 1, 1, .n_max = 37, .strips = true},
    {{4, 4, 128}, 96, 3, 3, 2, 2, 1, 1, .n_max = 5, .strips = true},
    {{4, 4, 256}, 48, 3, 3, 1, 1, 1, 1, .bias = true, .n_max = 2, .strips = true}, /* a long panel in parts */
    {{7, 7, 32}, 32, 3, 3, 2, 2, 1, 1, .groups = 2, .strips = true},               /* does not apply */
};

static void conv(check_sink *sink, unsigned use, const conv_case *c)
{
    char text[112];
    const ful_conv2d_attr a = conv_attr(c);
    check_case e = conv_expect(c, &a);
    e.attr = &a;
    check_addf(sink, use, e, "%s", conv_text(&a, text));
}

static void refuse(check_sink *sink, ful_conv2d_attr a, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{4, 4, 6}}, .refused = rule}, "%s", rule);
}

static void refusals(check_sink *sink)
{
    ful_conv2d_attr a, good;
    ful_conv2d_defaults(&good);
    good.out_channels = 8;
    refuse(sink, (a = good, a.out_channels = 0, a), "out_channels=0");
    refuse(sink, (a = good, a.kernel_h = 0, a), "kernel_h=0");
    refuse(sink, (a = good, a.kernel_w = -3, a), "kernel_w=-3");
    refuse(sink, (a = good, a.stride_w = 0, a), "stride_w=0");
    refuse(sink, (a = good, a.dilation_h = 0, a), "dilation_h=0");
    refuse(sink, (a = good, a.pad_h = 3, a), "pad_h=3");
    refuse(sink, (a = good, a.pad_w = -1, a), "pad_w=-1");
    refuse(sink, (a = good, a.kernel_h = 5, a), "must fit");
    refuse(sink, (a = good, a.groups = 3, a), "groups=3");
    refuse(sink, (a = good, a.groups = 0, a), "groups=0");
    refuse(sink, (a = good, a.gain = NAN, a), "gain=nan");
    refuse(sink, (a = good, a.out_channels = INT32_MAX - 1, a.groups = 2, a.pad_h = 2, a), "2^31");
}

static void cases(check_sink *sink)
{
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) conv(sink, CHECK_TEST | CHECK_GRAD, &usual[i]);
    for (size_t i = 0; i < sizeof depthwise / sizeof *depthwise; i++)
        conv(sink, CHECK_TEST | (depthwise[i].x.w < 20 ? CHECK_GRAD : 0), &depthwise[i]);
    for (size_t i = 0; i < sizeof pointwise / sizeof *pointwise; i++)
        conv(sink, CHECK_TEST | (pointwise[i].x.w < 20 ? CHECK_GRAD : 0), &pointwise[i]);
    for (size_t i = 0; i < sizeof winograd / sizeof *winograd; i++) conv(sink, CHECK_TEST | CHECK_GRAD, &winograd[i]);
    for (size_t i = 0; i < sizeof strips / sizeof *strips; i++)
        conv(sink, CHECK_TEST | (strips[i].x.c * strips[i].out > 32 * 32 ? CHECK_SLOW : CHECK_GRAD), &strips[i]);
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
        conv_case in = {.x = {5, 5, check_edges[i]}, .out = 16, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1};
        conv_case out = {.x = {5, 5, 16}, .out = check_edges[i], .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1};
        conv_case both = {.x = {5, 7, check_edges[i]}, .out = check_edges[CHECK_EDGES_COUNT - 1 - i], .kernel_h = 1};
        both.kernel_w = 1;
        in.bias = both.bias = true;
        conv(sink, CHECK_TEST | CHECK_SLOW, &in);
        conv(sink, CHECK_TEST, &out);
        conv(sink, CHECK_TEST | CHECK_SLOW, &both);
    }
    const conv_case deep = {.x = {4, 4, 128}, .out = 96, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1, .n_max = 3};
    conv(sink, CHECK_TEST | CHECK_SLOW, &deep);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        conv_case c = nets[i];
        conv(sink, CHECK_PERF, &c);
        c.winograd = c.kernel_h == 3 && c.stride_h == 1 && c.groups == 0 && c.x.c > 3;
        if (c.winograd) conv(sink, CHECK_PERF, &c);
        c.winograd = false;
        c.strips = c.groups == 0;
        if (c.strips) conv(sink, CHECK_PERF, &c);
    }
    refusals(sink);
}

const check_suite check_suite_conv2d = {.name = "conv2d",
                                        .type = &ful__op_conv2d,
                                        .tolerance = 1e-6,
                                        .magnitude = CHECK_SUM,
                                        .same_bits = CHECK_SAME_BATCH,
                                        .late = true,
                                        .cases = cases,
                                        .kernel = ful__conv2d_kernel};
