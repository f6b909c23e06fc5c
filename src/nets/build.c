/* SPDX-License-Identifier: Apache-2.0 */
/* Layers and sites, appended to the net under construction. */
#include "nets/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

enum { NAME_BYTES = 2 * FUL__OP_NAME_MAX };

#define FORMAT_NAME(name, pattern)                       \
    do {                                                 \
        va_list args_;                                   \
        va_start(args_, pattern);                        \
        vsnprintf((name), NAME_BYTES, (pattern), args_); \
        va_end(args_);                                   \
    } while (0)

static bool failed(const ful__builder *b)
{
    return b->status != FUL_OK;
}

/* Layers ---------------------------------------------------------------------------------------------------------------- */

void ful__add_conv(ful__builder *b, int out_channels, int kernel, int stride, int groups, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    ful_conv2d_attr attr;
    ful_conv2d_defaults(&attr);
    attr.out_channels = out_channels;
    attr.kernel_h = attr.kernel_w = kernel;
    attr.stride_h = attr.stride_w = stride;
    attr.pad_h = attr.pad_w = kernel / 2;
    attr.groups = groups;
    b->status = ful__net_conv(b->config, &attr.algorithm);
    if (failed(b)) return;
    b->status = ful_graph_conv2d(b->g, full, b->end, &attr, &b->end);
}

/* sd of truncated normal initial values */
static const float trunc_sd = 0.02f;

static void add_conv_bias(ful__builder *b, ful_conv2d_attr *attr, const char *name)
{
    attr->bias = true;
    attr->init = FUL_INIT_TRUNC_NORMAL;
    attr->gain = trunc_sd;
    b->status = ful__net_conv(b->config, &attr->algorithm);
    if (!failed(b)) b->status = ful_graph_conv2d(b->g, name, b->end, attr, &b->end);
}

void ful__add_conv_bias(ful__builder *b, int out_channels, int kernel, int groups, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    ful_conv2d_attr attr;
    ful_conv2d_defaults(&attr);
    attr.out_channels = out_channels;
    attr.kernel_h = attr.kernel_w = kernel;
    attr.pad_h = attr.pad_w = kernel / 2;
    attr.groups = groups;
    add_conv_bias(b, &attr, full);
}

void ful__add_patches(ful__builder *b, int out_channels, int patch, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    ful_conv2d_attr attr;
    ful_conv2d_defaults(&attr);
    attr.out_channels = out_channels;
    attr.kernel_h = attr.kernel_w = attr.stride_h = attr.stride_w = patch;
    add_conv_bias(b, &attr, full);
}

void ful__add_norm(ful__builder *b, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    b->status = ful_graph_batchnorm(b->g, full, b->end, &b->norm, &b->end);
}

void ful__add_layernorm(ful__builder *b, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    ful_layernorm_attr attr;
    ful_layernorm_defaults(&attr);
    attr.eps = 1e-6f;
    b->status = ful_graph_layernorm(b->g, full, b->end, &attr, &b->end);
}

void ful__add_act(ful__builder *b, ful_act act, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    b->status = ful_graph_act(b->g, full, b->end, act, &b->end);
}

void ful__add_relu(ful__builder *b, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    b->status = ful_graph_act(b->g, full, b->end, FUL_ACT_RELU, &b->end);
}

void ful__add_linear(ful__builder *b, int out_features, ful_init init, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    ful_linear_attr attr;
    ful_linear_defaults(&attr);
    attr.out_features = out_features;
    attr.init = init;
    if (init == FUL_INIT_TRUNC_NORMAL) attr.gain = trunc_sd;
    b->status = ful_graph_linear(b->g, full, b->end, &attr, &b->end);
}

void ful__add_scale(ful__builder *b, float value, const char *name, ...)
{
    char full[NAME_BYTES];
    if (failed(b)) return;
    FORMAT_NAME(full, name);
    b->status = ful_graph_scale(b->g, full, b->end, &(ful_scale_attr){.learnable = true, .value = value}, &b->end);
}

void ful__add_pool(ful__builder *b)
{
    if (!failed(b)) b->status = ful_graph_global_avg_pool(b->g, "pool", b->end, &b->end);
}

/* Block l of L survives with probability 1 - drop_path*l/L (Huang et al. 2016). */
void ful__add_residual(ful__builder *b, ful_node x, const char *prefix)
{
    char name[NAME_BYTES];
    const ful_dropout_attr drop = {.p = (float)(b->config->drop_path * ++b->blocks_done / b->blocks), .whole_image = true};
    if (failed(b)) return;
    if (drop.p > 0) {
        snprintf(name, sizeof name, "%s.drop", prefix);
        b->status = ful_graph_dropout(b->g, name, b->end, &drop, &b->end);
        if (failed(b)) return;
    }
    snprintf(name, sizeof name, "%s.add", prefix);
    b->status = ful_graph_add(b->g, name, b->end, x, &b->end);
}

int ful__end_channels(const ful__builder *b)
{
    return b->g->nodes[b->end].shape.c;
}

/* Stem ------------------------------------------------------------------------------------------------------------------ */

bool ful__large_stem(const ful__builder *b)
{
    enum { SMALL_IMAGE = 64 };
    const char *stem = b->config->stem;
    return strcmp(stem, "large") == 0 || (strcmp(stem, "auto") == 0 && b->config->height > SMALL_IMAGE);
}

int ful__patch_side(const ful__builder *b)
{
    if (b->config->patch > 0) return b->config->patch;
    return ful__large_stem(b) ? 16 : 4;
}

void ful__add_stem(ful__builder *b)
{
    const bool large = ful__large_stem(b);
    ful__add_conv(b, b->width, large ? 7 : 3, large ? 2 : 1, 1, "stem.conv");
    ful__add_norm(b, "stem.bn");
    ful__add_relu(b, "stem.relu");
    if (failed(b) || !large) return;
    const ful_pool_attr pool = {.kind = FUL_POOL_MAX, .kernel = 3, .stride = 2, .pad = 1};
    b->status = ful_graph_pool(b->g, "stem.pool", b->end, &pool, &b->end);
}

/* Sites ----------------------------------------------------------------------------------------------------------------- */

/* "stage3.moe" or its dense twin "stage3.ffn"; a second site at one place is "stage3.site2.moe". */
static ful_status add_site(ful__builder *b, const ful_moe_site *site, const char *at, int number)
{
    char name[NAME_BYTES], which[32] = "";
    if (number > 1) snprintf(which, sizeof which, ".site%d", number);
    snprintf(name, sizeof name, "%s%s.%s", at, which, site->dense ? "ffn" : "moe");
    ful_moe_attr moe = site->moe;
    FUL_TRY(ful__net_conv(b->config, &moe.conv));
    if (site->dense) return ful_graph_expert_block(b->g, name, b->end, &moe, site->dense, &b->end);
    return ful_graph_moe(b->g, name, b->end, &moe, &b->end);
}

/* number: of sites at the place so far. */
static void add_site_at(ful__builder *b, int i, const char *at, int *number)
{
    if (failed(b)) return;
    b->status = add_site(b, &b->config->moe[i], at, ++*number);
    if (failed(b)) b->status = ful__fail_context(b->status, "moe item %d", i + 1);
}

void ful__add_sites(ful__builder *b, const char *at)
{
    for (int i = 0, number = 0; i < b->config->n_moe; i++)
        if (strcmp(b->config->moe[i].at, at) == 0) add_site_at(b, i, at, &number);
}

const ful_moe_site *ful__replacing_site(ful__builder *b, int i)
{
    const ful_moe_site *found = NULL;
    for (int s = 0; s < b->config->n_moe && b->status == FUL_OK; s++) {
        const ful_moe_site *site = &b->config->moe[s];
        if (site->place != FUL_PLACE_REPLACE || !ful__site_covers(site->at, i, b->n_blocks)) continue;
        if (found)
            b->status = ful__fail(FUL_ERR_CONFIG,
                                  "cannot place mixtures at=%.31s and at=%.31s in %s: both would replace the MLP of block%d",
                                  found->at, site->at, b->arch->name, i);
        else if (!site->dense && site->moe.expert != FUL_EXPERT_MLP)
            b->status = ful__fail(FUL_ERR_CONFIG, "cannot place moe item %d at=%.31s with expert=%s: in %s it must be mlp",
                                  s + 1, site->at, site->moe.expert == FUL_EXPERT_CONV ? "conv" : "dwconv", b->arch->name);
        found = site;
    }
    return found;
}

void ful__add_block_sites(ful__builder *b, int block)
{
    char at[32];
    int number = 0;
    snprintf(at, sizeof at, "block%d", block);
    for (int i = 0; i < b->config->n_moe; i++) {
        const ful_moe_site *site = &b->config->moe[i];
        if (!ful__site_covers(site->at, block, b->n_blocks)) continue;
        if (site->place == FUL_PLACE_REPLACE)
            number++; /* stands in the block */
        else
            add_site_at(b, i, at, &number);
    }
}

/* 1..999 without leading zeros after the word; 0: it is something else. */
static int number_after(const char *at, const char *word)
{
    const size_t length = strlen(word);
    int value = 0, digits = 0;
    if (strncmp(at, word, length) != 0) return 0;
    for (at += length; *at >= '0' && *at <= '9' && digits < 4; at++, digits++) {
        if (digits == 0 && *at == '0') return 0;
        value = 10 * value + (*at - '0');
    }
    return *at || digits > 3 ? 0 : value;
}

bool ful__site_covers(const char *at, int block, int blocks)
{
    const int number = number_after(at, "block"), last = number_after(at, "last"), every = number_after(at, "every");
    if (number > 0) return number == block;
    if (last > 0) return last <= blocks && block > blocks - last;
    return every > 0 && block % every == 0;
}

bool ful_moe_at_block(const char *at)
{
    return number_after(at, "block") || number_after(at, "last") || number_after(at, "every");
}

void ful__add_stage_sites(ful__builder *b, int stage)
{
    char at[32];
    snprintf(at, sizeof at, "stage%d", stage);
    ful__add_sites(b, at);
}

int ful__stage_blocks(ful__builder *b, int stage, int blocks, bool first_changes_shape)
{
    char at[32];
    int replacing = 0;
    snprintf(at, sizeof at, "stage%d", stage);
    for (int i = 0; i < b->config->n_moe; i++)
        replacing += b->config->moe[i].place == FUL_PLACE_REPLACE && strcmp(b->config->moe[i].at, at) == 0;
    if (replacing == 0 || failed(b)) return blocks;
    if (replacing > 1)
        b->status = ful__fail(FUL_ERR_CONFIG, "cannot place %d mixtures with at=%s, place=replace: a stage has one last block",
                              replacing, at);
    else if (blocks == 1 && first_changes_shape)
        b->status = ful__fail(
            FUL_ERR_CONFIG,
            "cannot place a mixture with at=%s, place=replace in %s: the stage's only block changes the shape, "
            "which a mixture cannot; use place=append",
            at, b->arch->name);
    return blocks - 1;
}
