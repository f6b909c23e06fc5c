/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLP-Mixer (Tolstikhin et al. 2021): the image cut into patches of `width` channels, then blocks of two MLPs, each behind a
 * layer-norm and beside a residual path: one over the positions of a channel (half as wide as there are channels), one over
 * the channels of a position (four times as wide). A block is a stage.
 *   mixer_s   width 512, 8 blocks        mixer_b   width 768, 12 blocks
 */
#include <stdio.h>

#include "nets/build.h"

static void add_mlp(ful__builder *b, int hidden, const char *prefix)
{
    const int width = ful__end_channels(b);
    ful__add_linear(b, hidden, FUL_INIT_LECUN_NORMAL, "%s.fc1", prefix);
    ful__add_act(b, FUL_ACT_GELU, "%s.act", prefix);
    ful__add_linear(b, width, FUL_INIT_LECUN_NORMAL, "%s.fc2", prefix);
}

static void add_transpose(ful__builder *b, ful_shape to, const char *prefix, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", prefix, part);
    if (b->status == FUL_OK) b->status = ful_graph_transpose(b->g, name, b->end, &(ful_transpose_attr){to.h, to.w}, &b->end);
}

/* The two halves are two residual blocks of one depth: stochastic depth counts them one by one. */
static void add_block(ful__builder *b, const char *stage)
{
    const ful_shape shape = b->g->nodes[b->end].shape;
    char prefix[48];
    ful_node x = b->end;
    snprintf(prefix, sizeof prefix, "%s.tokens", stage);
    ful__add_layernorm(b, "%s.norm", prefix);
    add_transpose(b, (ful_shape){0}, prefix, "to_channels");
    add_mlp(b, b->width / 2, prefix);
    add_transpose(b, shape, prefix, "to_positions");
    ful__add_residual(b, x, prefix);

    x = b->end;
    snprintf(prefix, sizeof prefix, "%s.channels", stage);
    ful__add_layernorm(b, "%s.norm", prefix);
    add_mlp(b, 4 * b->width, prefix);
    ful__add_residual(b, x, prefix);
}

void ful__build_mixer(ful__builder *b)
{
    b->blocks = 2 * b->stages;
    ful__add_patches(b, b->width, ful__patch_side(b), "stem.conv");
    for (int s = 1; s <= b->stages; s++) {
        char stage[32];
        snprintf(stage, sizeof stage, "stage%d", s);
        if (ful__stage_blocks(b, s, 1, false) > 0) add_block(b, stage);
        ful__add_stage_sites(b, s);
    }
    ful__add_layernorm(b, "norm");
    ful__add_pool(b);
}
