/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MobileNet V2 (Sandler et al. 2018) and V3 (Howard et al. 2019). A block is an inverted residual
 *   1x1 to `hidden` channels - bn - act - depthwise - bn - act (- squeeze-and-excite) - 1x1 - bn (+ x)
 * without its first convolution where hidden is what comes in. V2: ReLU6, hidden a multiple of what comes in. V3: ReLU or
 * hard-swish, hidden as found by search. All widths scale with the stem's and are rounded to multiples of 8, never down by more
 * than a tenth. On large images the stem and the first strided block halve the map; on small ones they keep it.
 */
#include <stdio.h>

#include "nets/build.h"

/* One block; the stages (for mixtures) are the runs of blocks of one width. hidden: V2's factor, V3's channels. */
typedef struct mobile_row {
    int stage, kernel, hidden, out, stride;
    bool excite;
    ful_act act;
} mobile_row;

static const mobile_row v3_large[] = {
    {1, 3, 16, 16, 1, false, FUL_ACT_RELU},        {2, 3, 64, 24, 2, false, FUL_ACT_RELU},
    {2, 3, 72, 24, 1, false, FUL_ACT_RELU},        {3, 5, 72, 40, 2, true, FUL_ACT_RELU},
    {3, 5, 120, 40, 1, true, FUL_ACT_RELU},        {3, 5, 120, 40, 1, true, FUL_ACT_RELU},
    {4, 3, 240, 80, 2, false, FUL_ACT_HARD_SWISH}, {4, 3, 200, 80, 1, false, FUL_ACT_HARD_SWISH},
    {4, 3, 184, 80, 1, false, FUL_ACT_HARD_SWISH}, {4, 3, 184, 80, 1, false, FUL_ACT_HARD_SWISH},
    {5, 3, 480, 112, 1, true, FUL_ACT_HARD_SWISH}, {5, 3, 672, 112, 1, true, FUL_ACT_HARD_SWISH},
    {6, 5, 672, 160, 2, true, FUL_ACT_HARD_SWISH}, {6, 5, 960, 160, 1, true, FUL_ACT_HARD_SWISH},
    {6, 5, 960, 160, 1, true, FUL_ACT_HARD_SWISH},
};

static const mobile_row v3_small[] = {
    {1, 3, 16, 16, 2, true, FUL_ACT_RELU},        {2, 3, 72, 24, 2, false, FUL_ACT_RELU},
    {2, 3, 88, 24, 1, false, FUL_ACT_RELU},       {3, 5, 96, 40, 2, true, FUL_ACT_HARD_SWISH},
    {3, 5, 240, 40, 1, true, FUL_ACT_HARD_SWISH}, {3, 5, 240, 40, 1, true, FUL_ACT_HARD_SWISH},
    {4, 5, 120, 48, 1, true, FUL_ACT_HARD_SWISH}, {4, 5, 144, 48, 1, true, FUL_ACT_HARD_SWISH},
    {5, 5, 288, 96, 2, true, FUL_ACT_HARD_SWISH}, {5, 5, 576, 96, 1, true, FUL_ACT_HARD_SWISH},
    {5, 5, 576, 96, 1, true, FUL_ACT_HARD_SWISH},
};

/* num/den to the nearest multiple of 8, at least 8, not below nine tenths of it. */
static int round_channels(int64_t num, int64_t den)
{
    int64_t c = (num + 4 * den) / (8 * den) * 8;
    if (c < 8) c = 8;
    if (10 * c * den < 9 * num) c += 8;
    return (int)c;
}

static int scaled(const ful__builder *b, int channels)
{
    return round_channels((int64_t)channels * b->width, b->arch->width);
}

static void add_conv_norm_act(ful__builder *b, int channels, int kernel, int stride, int groups, ful_act act,
                              const char *prefix, const char *part)
{
    ful__add_conv(b, channels, kernel, stride, groups, "%s.%s", prefix, part);
    ful__add_norm(b, "%s.%s_bn", prefix, part);
    if (act != FUL_ACT_NONE) ful__add_act(b, act, "%s.%s_act", prefix, part);
}

/* Squeeze-and-excitation (Hu et al. 2018) with a hard sigmoid: a factor a channel from the means of all channels. */
static void add_excite(ful__builder *b, const char *prefix)
{
    const ful_node x = b->end;
    const int channels = ful__end_channels(b);
    char name[64];
    snprintf(name, sizeof name, "%s.se.pool", prefix);
    if (b->status == FUL_OK) b->status = ful_graph_global_avg_pool(b->g, name, x, &b->end);
    ful__add_linear(b, round_channels(channels / 4, 1), FUL_INIT_HE_NORMAL, "%s.se.fc1", prefix);
    ful__add_relu(b, "%s.se.relu", prefix);
    ful__add_linear(b, channels, FUL_INIT_LECUN_NORMAL, "%s.se.fc2", prefix);
    ful__add_act(b, FUL_ACT_HARD_SIGMOID, "%s.se.gate", prefix);
    snprintf(name, sizeof name, "%s.se.excite", prefix);
    if (b->status == FUL_OK) b->status = ful_graph_excite(b->g, name, x, b->end, &b->end);
}

static void add_block(ful__builder *b, const char *prefix, const mobile_row *row)
{
    const ful_node x = b->end;
    const int in = ful__end_channels(b);
    if (row->hidden != in) add_conv_norm_act(b, row->hidden, 1, 1, 1, row->act, prefix, "expand");
    add_conv_norm_act(b, row->hidden, row->kernel, row->stride, row->hidden, row->act, prefix, "dw");
    if (row->excite) add_excite(b, prefix);
    add_conv_norm_act(b, row->out, 1, 1, 1, FUL_ACT_NONE, prefix, "project");
    if (row->stride == 1 && in == row->out) ful__add_residual(b, x, prefix);
}

/* Blocks of the table that have a residual path, for stochastic depth. */
static void count_residual(ful__builder *b, const mobile_row *rows, int count)
{
    for (int i = 1; i < count; i++) b->blocks += rows[i].stride == 1 && rows[i].out == rows[i - 1].out;
}

/* The stages of a table whose widths are already scaled. */
static void add_stages(ful__builder *b, const mobile_row *rows, int count)
{
    bool kept = ful__large_stem(b); /* the first strided block has kept the size, or need not */
    count_residual(b, rows, count);
    for (int i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && rows[end].stage == rows[i].stage;) end++;
        const bool changes = rows[i].stride != 1 || ful__end_channels(b) != rows[i].out;
        const int blocks = ful__stage_blocks(b, rows[i].stage, end - i, changes);
        for (int k = 0; k < blocks; k++) {
            char prefix[32];
            mobile_row row = rows[i + k];
            snprintf(prefix, sizeof prefix, "stage%d.%d", row.stage, k);
            if (!kept && row.stride == 2) {
                row.stride = 1;
                kept = true;
            }
            add_block(b, prefix, &row);
        }
        ful__add_stage_sites(b, rows[i].stage);
    }
}

static void add_stem(ful__builder *b, ful_act act)
{
    add_conv_norm_act(b, scaled(b, b->arch->width), 3, ful__large_stem(b) ? 2 : 1, 1, act, "stem", "conv");
}

enum { ROWS_MAX = 17 };

void ful__build_mobilenet_v2(ful__builder *b)
{
    static const struct {
        int factor, out, blocks, stride;
    } stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    mobile_row rows[ROWS_MAX];
    int count = 0, in = scaled(b, b->arch->width);
    for (int s = 0; s < 7; s++)
        for (int i = 0; i < stages[s].blocks; i++) {
            const int out = scaled(b, stages[s].out);
            rows[count++] = (mobile_row){s + 1, 3, in * stages[s].factor, out, i ? 1 : stages[s].stride, false, FUL_ACT_RELU6};
            in = out;
        }
    add_stem(b, FUL_ACT_RELU6);
    add_stages(b, rows, count);
    add_conv_norm_act(b, b->width > b->arch->width ? scaled(b, 1280) : 1280, 1, 1, 1, FUL_ACT_RELU6, "tail", "conv");
}

static void build_v3(ful__builder *b, const mobile_row *table, int count, int features)
{
    mobile_row rows[ROWS_MAX];
    b->norm.eps = 1e-3f;
    b->norm.momentum = 0.01f;
    for (int i = 0; i < count; i++) {
        rows[i] = table[i];
        rows[i].hidden = scaled(b, table[i].hidden);
        rows[i].out = scaled(b, table[i].out);
    }
    add_stem(b, FUL_ACT_HARD_SWISH);
    add_stages(b, rows, count);
    add_conv_norm_act(b, 6 * rows[count - 1].out, 1, 1, 1, FUL_ACT_HARD_SWISH, "tail", "conv");
    ful__add_pool(b);
    ful__add_linear(b, scaled(b, features), FUL_INIT_HE_NORMAL, "tail.fc");
    ful__add_act(b, FUL_ACT_HARD_SWISH, "tail.fc_act");
}

void ful__build_mobilenet_v3_large(ful__builder *b)
{
    build_v3(b, v3_large, sizeof v3_large / sizeof *v3_large, 1280);
}

void ful__build_mobilenet_v3_small(ful__builder *b)
{
    build_v3(b, v3_small, sizeof v3_small / sizeof *v3_small, 1024);
}
