/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise-separable nets after MobileNet (Howard et al. 2017), with residual paths where the shape stays. A block is
 *   depthwise 3x3 - bn - relu - pointwise 1x1 - bn (+ x) - relu
 * Stage s of four has width*2^(s-1) channels; from stage 2 on the first block halves the map.
 *   dwnet_s   width 16, blocks 1 1 2 1
 *   dwnet_m   width 32, blocks 1 2 3 2
 *   dwnet_l   width 48, blocks 2 3 6 3
 */
#include <stdio.h>

#include "nets/build.h"

static void add_block(ful__builder *b, const char *prefix, int channels, int stride)
{
    const ful_node x = b->end;
    const int in_channels = ful__end_channels(b);
    ful__add_conv(b, in_channels, 3, stride, in_channels, "%s.dw", prefix);
    ful__add_norm(b, "%s.bn1", prefix);
    ful__add_relu(b, "%s.relu1", prefix);
    ful__add_conv(b, channels, 1, 1, 1, "%s.pw", prefix);
    ful__add_norm(b, "%s.bn2", prefix);
    if (stride == 1 && in_channels == channels) ful__add_residual(b, x, prefix);
    ful__add_relu(b, "%s.relu2", prefix);
}

void ful__build_dwnet(ful__builder *b)
{
    ful__add_stem(b);
    for (int s = 0; s < b->stages; s++) b->blocks += b->arch->blocks[s] - (s > 0); /* those with a residual path */
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
