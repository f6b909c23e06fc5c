/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vision transformers (Dosovitskiy et al. 2021), pre-norm: patches by a strided convolution, a class token or none, positions,
 * then blocks of
 *
 *   x = x + proj(attention(qkv(norm1(x)))),    x = x + mlp(norm2(x))
 *
 * (each with layer scale and stochastic depth where asked for), a last norm, and the class token or the mean of all tokens. A
 * mixture takes the place of a block's MLP (V-MoE, Riquelme et al. 2021).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "nets/build.h"

enum { HEAD_WIDTH = 64, HEAD_WIDTH_MAX = 256, HEADS_MAX = 1024, HIDDEN_MAX = 1 << 20 };

/* What the configuration says, with what it leaves open filled in. */
static int heads_of(const ful__builder *b)
{
    if (b->config->vit.heads > 0) return b->config->vit.heads;
    return b->config->width > 0 ? (b->width + HEAD_WIDTH - 1) / HEAD_WIDTH : b->arch->blocks[0];
}

ful_mlp_attr ful_net_block_mlp(const ful_net_config *config)
{
    const ful__arch *arch = ful__arch_find(config->arch);
    const ful_mlp_kind kind = config->vit.mlp;
    ful_mlp_attr attr = {.act = kind == FUL_MLP_SWIGLU ? FUL_ACT_SILU : FUL_ACT_GELU, .gated = kind != FUL_MLP_GELU};
    if (arch && arch->build == ful__build_vit)
        attr.hidden = (int)lrint((config->width > 0 ? config->width : arch->width) * config->vit.mlp_ratio);
    return attr;
}

ful_status ful__vit_check(const ful__builder *b)
{
    const ful_net_config *c = b->config;
    const ful_vit_config *v = &c->vit;
    const char *name = b->arch->name;
    const int patch = ful__patch_side(b), heads = heads_of(b);
    FUL_FAIL_IF(patch < 1 || patch > c->height || c->height % patch != 0, FUL_ERR_CONFIG,
                "cannot build %s with patch=%d on images of %d px: patches must cover the image, so patch must divide %d", name,
                patch, c->height, c->height);
    FUL_FAIL_IF(heads < 1 || heads > HEADS_MAX || b->width % heads != 0, FUL_ERR_CONFIG,
                "cannot build %s with heads=%d, width=%d: heads must be in 1..%d and divide the width", name, heads, b->width,
                HEADS_MAX);
    FUL_FAIL_IF(b->width / heads > HEAD_WIDTH_MAX, FUL_ERR_CONFIG,
                "cannot build %s with heads=%d, width=%d: a head may be at most %d wide", name, heads, b->width,
                HEAD_WIDTH_MAX);
    FUL_FAIL_IF(v->positions == FUL_POSITIONS_SINCOS && (b->width % 4 != 0 || b->width < 8), FUL_ERR_CONFIG,
                "cannot build %s with positions=sincos, width=%d: it must be a multiple of 4, and at least 8", name, b->width);
    FUL_FAIL_IF(!(v->mlp_ratio > 0 && b->width * v->mlp_ratio >= 1 && b->width * v->mlp_ratio <= HIDDEN_MAX), FUL_ERR_CONFIG,
                "cannot build %s with mlp_ratio=%g, width=%d: their product must be in 1..%d", name, v->mlp_ratio, b->width,
                HIDDEN_MAX);
    FUL_FAIL_IF(!(v->layer_scale >= 0 && v->layer_scale <= 1), FUL_ERR_CONFIG,
                "cannot build %s with layer_scale=%g: it must be in 0..1", name, v->layer_scale);
    return FUL_OK;
}

static void add_embedding(ful__builder *b)
{
    const ful_tokens_attr tokens = {b->config->vit.pool == FUL_VIT_POOL_TOKEN, b->config->vit.positions};
    ful__add_patches(b, b->width, ful__patch_side(b), "embed");
    if (b->status == FUL_OK) b->status = ful_graph_tokens(b->g, "tokens", b->end, &tokens, &b->end);
}

/* end = x + scale * end */
static void add_branch_end(ful__builder *b, ful_node x, const char *block, const char *scale, const char *branch)
{
    char name[FUL__OP_NAME_MAX];
    const ful_scale_attr attr = {.learnable = true, .value = (float)b->config->vit.layer_scale};
    snprintf(name, sizeof name, "%s.%s", block, scale);
    if (b->status == FUL_OK && attr.value > 0) b->status = ful_graph_scale(b->g, name, b->end, &attr, &b->end);
    ful__add_residual(b, x, branch);
}

static void add_attention(ful__builder *b, const char *block)
{
    char name[64];
    const ful_node x = b->end;
    ful_attention_attr attr;
    ful_attention_defaults(&attr);
    attr.heads = heads_of(b);
    attr.qk_norm = b->config->vit.qk_norm;
    ful__add_layernorm(b, "%s.norm1", block);
    ful__add_linear(b, 3 * b->width, FUL_INIT_LECUN_NORMAL, "%s.attn.qkv", block);
    snprintf(name, sizeof name, "%s.attn", block);
    if (b->status == FUL_OK) b->status = ful_graph_attention(b->g, name, b->end, &attr, &b->end);
    ful__add_linear(b, b->width, FUL_INIT_LECUN_NORMAL, "%s.attn.proj", block);
    add_branch_end(b, x, block, "scale1", name);
}

/* The MLP of a block, or what a site puts in its place. */
static void add_mlp(ful__builder *b, const char *block, const ful_moe_site *site)
{
    char name[64];
    const ful_node x = b->end;
    ful_mlp_attr mlp = ful_net_block_mlp(b->config);
    ful__add_layernorm(b, "%s.norm2", block);
    snprintf(name, sizeof name, "%s.%s", block, site && !site->dense ? "moe" : "ffn");
    if (b->status != FUL_OK) return;
    if (site && !site->dense) {
        ful_moe_attr moe = site->moe;
        moe.bare = true;
        b->status = ful_graph_moe(b->g, name, b->end, &moe, &b->end);
    } else {
        if (site) mlp = (ful_mlp_attr){.hidden = site->dense, .act = site->moe.act, .gated = site->moe.gated};
        b->status = ful_graph_mlp(b->g, name, b->end, &mlp, &b->end);
    }
    snprintf(name, sizeof name, "%s.ffn", block); /* stochastic depth draws by name: the same in all arms of a study */
    add_branch_end(b, x, block, "scale2", name);
}

void ful__build_vit(ful__builder *b)
{
    const ful_take_attr first = {0};
    b->blocks = 2 * b->stages; /* residual branches */
    add_embedding(b);
    for (int i = 1; i <= b->stages && b->status == FUL_OK; i++) {
        char block[32];
        snprintf(block, sizeof block, "block%d", i);
        add_attention(b, block);
        add_mlp(b, block, ful__replacing_site(b, i));
        ful__add_block_sites(b, i);
    }
    if (b->status == FUL_OK && b->config->vit.pool == FUL_VIT_POOL_TOKEN)
        b->status = ful_graph_take(b->g, "token", b->end, &first, &b->end);
    ful__add_layernorm(b, "norm");
}
