/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the architectures are written with: calls that append a layer to the end of the net under construction, named after a
 * printf pattern. A failure sticks: later calls do nothing, and the one who asked for the net reads b->status once.
 */
#ifndef FUL_NETS_BUILD_H
#define FUL_NETS_BUILD_H

#include "graph/graph.h"
#include <fulcrum/net.h>

enum { FUL__STAGES_MAX = 64 };

typedef struct ful__arch ful__arch;

typedef struct ful__builder {
    ful_graph *g;
    const ful_net_config *config;
    const ful__arch *arch;
    int width; /* channels of the first stage */
    int stages;
    int n_blocks;            /* that a place may name one by one; 0: none */
    int blocks_done, blocks; /* residual blocks so far and in all: stochastic depth */
    ful_batchnorm_attr norm; /* of batch-norms to come */
    ful_node end;            /* the layer last appended */
    ful_status status;
} ful__builder;

struct ful__arch {
    const char *name, *about;
    void (*build)(ful__builder *b); /* everything from the input to the stages' end */
    int width;                      /* of the first stage, where the config says 0 */
    int stages, blocks[4]; /* of each stage; mlp, vit: stages = layers where the config says 0; vit: blocks[0] = heads */
};
/* NULL where there is none of that name. */
const ful__arch *ful__arch_find(const char *name);

void ful__build_resnet(ful__builder *b);
void ful__build_resnet_bottleneck(ful__builder *b);
void ful__build_preresnet(ful__builder *b);
void ful__build_dwnet(ful__builder *b);
void ful__build_mobilenet_v2(ful__builder *b);
void ful__build_mobilenet_v3_large(ful__builder *b);
void ful__build_mobilenet_v3_small(ful__builder *b);
void ful__build_convnext(ful__builder *b);
void ful__build_mixer(ful__builder *b);
void ful__build_mlp(ful__builder *b);
void ful__build_vit(ful__builder *b);

/* Whether the transformer that the configuration asks for can be built. */
ful_status ful__vit_check(const ful__builder *b) FUL_CHECK_RESULT;

/* What the configuration's word for convolutions means; FUL_ERR_CONFIG where it is none. */
ful_status ful__net_conv(const ful_net_config *config, ful_conv_algorithm *out) FUL_CHECK_RESULT;

/* Each layer reads b->end and becomes it. kernel k: padded by k/2, no bias, He normal. */
void ful__add_conv(ful__builder *b, int out_channels, int kernel, int stride, int groups, const char *name, ...)
    FUL_PRINTF(6, 7);
void ful__add_norm(ful__builder *b, const char *name, ...) FUL_PRINTF(2, 3);
/* Convolutions with a bias, truncated normal of sd 0.02, as ConvNeXt and ViT start: kernel k padded by k/2; and each patch x
 * patch square to one position. */
void ful__add_conv_bias(ful__builder *b, int out_channels, int kernel, int groups, const char *name, ...) FUL_PRINTF(5, 6);
void ful__add_patches(ful__builder *b, int out_channels, int patch, const char *name, ...) FUL_PRINTF(4, 5);
void ful__add_layernorm(ful__builder *b, const char *name, ...) FUL_PRINTF(2, 3); /* over channels, eps 1e-6 */
void ful__add_act(ful__builder *b, ful_act act, const char *name, ...) FUL_PRINTF(3, 4);
void ful__add_relu(ful__builder *b, const char *name, ...) FUL_PRINTF(2, 3);
/* init: as ful_init says; TRUNC_NORMAL with sd 0.02. */
void ful__add_linear(ful__builder *b, int out_features, ful_init init, const char *name, ...) FUL_PRINTF(4, 5);
void ful__add_scale(ful__builder *b, float value, const char *name, ...) FUL_PRINTF(3, 4); /* layer scale: learned, a channel */
void ful__add_pool(ful__builder *b);                                                       /* "pool": the mean over positions */
/* end = end + x, with stochastic depth on end where the config asks for it: counts as one residual block. prefix: of the block.
 */
void ful__add_residual(ful__builder *b, ful_node x, const char *prefix);
int ful__end_channels(const ful__builder *b);

/* Whether the net begins as for large images, which its first layers shrink to a quarter of their side: above 64 px, or as
 * net.stem says. On small images those layers keep the size. */
bool ful__large_stem(const ful__builder *b);
/* conv (3x3, or 7x7/2 on large images), batch-norm, relu (, max-pool). */
void ful__add_stem(ful__builder *b);
/* Side of the patches an image is cut into: net.patch, or 16 on large images and 4 on small ones. */
int ful__patch_side(const ful__builder *b);
/* Blocks of a stage that the arch itself builds: one less where a site replaces the last. shape_changes: only the first
 * block's. */
int ful__stage_blocks(ful__builder *b, int stage, int blocks, bool first_changes_shape);
/* The sites appended at "head"; after the blocks of a stage, or after a block, those placed there. */
void ful__add_sites(ful__builder *b, const char *at);
void ful__add_block_sites(ful__builder *b, int block);
/* The site that stands in the place of the MLP of a block, from 1; NULL: none does. It may be only one, of MLP experts. */
const ful_moe_site *ful__replacing_site(ful__builder *b, int block);
/* Whether a place means block 1..blocks: "block<i>", the last n "last<n>", every n-th "every<n>". */
bool ful__site_covers(const char *at, int block, int blocks);
void ful__add_stage_sites(ful__builder *b, int stage);

#endif
