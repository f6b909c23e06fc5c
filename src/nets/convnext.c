/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConvNeXt (Liu et al. 2022; atto to nano: the sizes of Woo et al. 2023 without its GRN). A block is
 *   x + scale * fc2(gelu(fc1(norm(depthwise 7x7 (x)))))
 * with fc1 to four times the channels, norm over channels, and a learned scale a channel that starts at 1e-6. Stage s of four
 * has width*2^(s-1) channels and, from the second on, begins with norm and a 2x2/2 convolution. The stem is 4x4/4 on large
 * images and 3x3 on small ones, which keeps their size. A mixture may stand in the place of a block's MLP (fc1 to fc2), for
 * each position or for the whole image; blocks are counted through all stages.
 */
#include <stdio.h>

#include "nets/build.h"

/* What a site puts in the place of a block's MLP: a mixture, or its dense twin. */
static void add_site(ful__builder *b, const ful_moe_site *site, const char *prefix)
{
    char name[64];
    if (b->status != FUL_OK) return;
    snprintf(name, sizeof name, "%s.%s", prefix, site->dense ? "ffn" : "moe");
    if (site->dense) {
        const ful_mlp_attr mlp = {.hidden = site->dense, .act = site->moe.act, .gated = site->moe.gated};
        b->status = ful_graph_mlp(b->g, name, b->end, &mlp, &b->end);
        return;
    }
    ful_moe_attr moe = site->moe;
    moe.bare = true;
    b->status = ful_graph_moe(b->g, name, b->end, &moe, &b->end);
}

static void add_block(ful__builder *b, const char *prefix, const ful_moe_site *site)
{
    const ful_node x = b->end;
    const int channels = ful__end_channels(b);
    ful__add_conv_bias(b, channels, 7, channels, "%s.dw", prefix);
    ful__add_layernorm(b, "%s.norm", prefix);
    if (site) {
        add_site(b, site, prefix);
    } else {
        ful__add_linear(b, 4 * channels, FUL_INIT_TRUNC_NORMAL, "%s.fc1", prefix);
        ful__add_act(b, FUL_ACT_GELU, "%s.act", prefix);
        ful__add_linear(b, channels, FUL_INIT_TRUNC_NORMAL, "%s.fc2", prefix);
    }
    ful__add_scale(b, 1e-6f, "%s.scale", prefix);
    ful__add_residual(b, x, prefix);
}

static void add_stem(ful__builder *b)
{
    if (ful__large_stem(b))
        ful__add_patches(b, b->width, 4, "stem.conv");
    else
        ful__add_conv_bias(b, b->width, 3, 1, "stem.conv");
    ful__add_layernorm(b, "stem.norm");
}

void ful__build_convnext(ful__builder *b)
{
    add_stem(b);
    for (int s = 0; s < b->stages; s++) b->blocks += b->arch->blocks[s];
    for (int s = 0, before = 1; s < b->stages; before += b->arch->blocks[s++]) {
        if (s > 0) {
            ful__add_layernorm(b, "stage%d.down.norm", s + 1);
            ful__add_patches(b, b->width << s, 2, "stage%d.down.conv", s + 1);
        }
        const int blocks = ful__stage_blocks(b, s + 1, b->arch->blocks[s], false);
        for (int i = 0; i < blocks; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "stage%d.%d", s + 1, i);
            add_block(b, prefix, ful__replacing_site(b, before + i));
            ful__add_block_sites(b, before + i);
        }
        ful__add_stage_sites(b, s + 1);
    }
    ful__add_pool(b);
    ful__add_layernorm(b, "norm");
}
