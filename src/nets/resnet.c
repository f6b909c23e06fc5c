/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Residual nets. Stage s has width*2^(s-1) channels; from stage 2 on the first block halves the map.
 *
 *   resnet8…56, 18, 34       basic blocks, post-activation (He et al. 2016): relu(x + bn(conv3x3(relu(bn(conv3x3(x)))))); where
 *                            the shape changes the shortcut is a strided 1x1 convolution with batch-norm (option B)
 *   resnet50, 101            bottlenecks: 1x1, 3x3, 1x1 to four times the channels, the stride in the 3x3 ("v1.5")
 *   preresnet20…110, 18      pre-activation (He et al. 2016b): x + conv3x3(relu(bn(conv3x3(relu(bn(x)))))); the first block
 *                            follows the stem's activation and has none of its own, shortcuts that change the shape are 1x1
 *                            convolutions of the activated input, and an activation follows the last block
 *
 * Three stages of (depth-2)/6 blocks for small images; four stages otherwise.
 */
#include <stdio.h>

#include "nets/build.h"

/* A block's shortcut from x: x itself, or where the shape changes a strided 1x1 convolution. The end of the net stays. */
static ful_node add_shortcut(ful__builder *b, const char *prefix, ful_node x, int channels, int stride, bool norm)
{
    const ful_node main = b->end;
    b->end = x;
    if (stride == 1 && ful__end_channels(b) == channels) {
        b->end = main;
        return x;
    }
    ful__add_conv(b, channels, 1, stride, 1, "%s.down.conv", prefix);
    if (norm) ful__add_norm(b, "%s.down.bn", prefix);
    x = b->end;
    b->end = main;
    return x;
}

static void add_basic(ful__builder *b, const char *prefix, int channels, int stride)
{
    const ful_node x = b->end;
    ful__add_conv(b, channels, 3, stride, 1, "%s.conv1", prefix);
    ful__add_norm(b, "%s.bn1", prefix);
    ful__add_relu(b, "%s.relu1", prefix);
    ful__add_conv(b, channels, 3, 1, 1, "%s.conv2", prefix);
    ful__add_norm(b, "%s.bn2", prefix);
    ful__add_residual(b, add_shortcut(b, prefix, x, channels, stride, true), prefix);
    ful__add_relu(b, "%s.relu2", prefix);
}

static void add_bottleneck(ful__builder *b, const char *prefix, int channels, int stride)
{
    const ful_node x = b->end;
    ful__add_conv(b, channels, 1, 1, 1, "%s.conv1", prefix);
    ful__add_norm(b, "%s.bn1", prefix);
    ful__add_relu(b, "%s.relu1", prefix);
    ful__add_conv(b, channels, 3, stride, 1, "%s.conv2", prefix);
    ful__add_norm(b, "%s.bn2", prefix);
    ful__add_relu(b, "%s.relu2", prefix);
    ful__add_conv(b, 4 * channels, 1, 1, 1, "%s.conv3", prefix);
    ful__add_norm(b, "%s.bn3", prefix);
    ful__add_residual(b, add_shortcut(b, prefix, x, 4 * channels, stride, true), prefix);
    ful__add_relu(b, "%s.relu3", prefix);
}

static void add_preact(ful__builder *b, const char *prefix, int channels, int stride)
{
    ful_node x = b->end;
    if (b->blocks_done > 0) {
        ful__add_norm(b, "%s.bn1", prefix);
        ful__add_relu(b, "%s.relu1", prefix);
        if (stride != 1) x = b->end;
    }
    ful__add_conv(b, channels, 3, stride, 1, "%s.conv1", prefix);
    ful__add_norm(b, "%s.bn2", prefix);
    ful__add_relu(b, "%s.relu2", prefix);
    ful__add_conv(b, channels, 3, 1, 1, "%s.conv2", prefix);
    ful__add_residual(b, add_shortcut(b, prefix, x, channels, stride, false), prefix);
}

static void add_stages(ful__builder *b, void (*add_block)(ful__builder *b, const char *prefix, int channels, int stride),
                       bool first_changes_shape)
{
    ful__add_stem(b);
    for (int s = 0; s < b->stages; s++) b->blocks += b->arch->blocks[s];
    for (int s = 0; s < b->stages; s++) {
        const int blocks = ful__stage_blocks(b, s + 1, b->arch->blocks[s], s > 0 || first_changes_shape);
        for (int i = 0; i < blocks; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "stage%d.%d", s + 1, i);
            add_block(b, prefix, b->width << s, s > 0 && i == 0 ? 2 : 1);
        }
        ful__add_stage_sites(b, s + 1);
    }
}

void ful__build_resnet(ful__builder *b)
{
    add_stages(b, add_basic, false);
}

void ful__build_resnet_bottleneck(ful__builder *b)
{
    add_stages(b, add_bottleneck, true);
}

void ful__build_preresnet(ful__builder *b)
{
    add_stages(b, add_preact, false);
    ful__add_norm(b, "tail.bn");
    ful__add_relu(b, "tail.relu");
}
