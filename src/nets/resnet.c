/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Residual nets with basic blocks, post-activation (He et al. 2016): relu(x + bn(conv3x3(relu(bn(conv3x3(x)))))). Stage s has
 * width*2^(s-1) channels; from stage 2 on the first block halves the map and its shortcut is a strided 1x1 convolution with
 * batch-norm (option B). resnet8…56: three stages of (depth-2)/6 blocks. resnet18, 34: four stages.
 */
#include <stdio.h>

#include "nets/build.h"

static void add_block(ful__builder *b, const char *prefix, int channels, int stride)
{
    const ful_node x = b->end;
    const bool same = stride == 1 && ful__end_channels(b) == channels;
    ful__add_conv(b, channels, 3, stride, 1, "%s.conv1", prefix);
    ful__add_norm(b, "%s.bn1", prefix);
    ful__add_relu(b, "%s.relu1", prefix);
    ful__add_conv(b, channels, 3, 1, 1, "%s.conv2", prefix);
    ful__add_norm(b, "%s.bn2", prefix);
    ful_node shortcut = x;
    if (!same) {
        const ful_node main = b->end;
        b->end = x;
        ful__add_conv(b, channels, 1, stride, 1, "%s.down.conv", prefix);
        ful__add_norm(b, "%s.down.bn", prefix);
        shortcut = b->end;
        b->end = main;
    }
    ful__add_residual(b, shortcut, prefix);
    ful__add_relu(b, "%s.relu2", prefix);
}

void ful__build_resnet(ful__builder *b)
{
    ful__add_stem(b);
    for (int s = 0; s < b->stages; s++) b->blocks += b->arch->blocks[s];
    for (int s = 0; s < b->stages; s++) {
        const int blocks = ful__stage_blocks(b, s + 1, b->arch->blocks[s], s > 0);
        for (int i = 0; i < blocks; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "stage%d.%d", s + 1, i);
            add_block(b, prefix, b->width << s, s > 0 && i == 0 ? 2 : 1);
        }
        ful__add_stage_sites(b, s + 1);
    }
}
