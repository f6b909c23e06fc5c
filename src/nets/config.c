/* SPDX-License-Identifier: Apache-2.0 */
/* The table of architectures, the check of a config, and the way from a config to a graph. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/str.h"
#include "nets/build.h"

enum { SIDE_MAX = 1024, CHANNELS_MAX = 4096, WIDTH_MAX = 1 << 14, CLASSES_MAX = 1 << 20 };

/* X(name, about, build, width, stages, blocks of the stages) */
#define ARCHS(X)                                                                                                               \
    X("resnet8", "residual net for small images, 3 stages of 1 block", ful__build_resnet, 16, 3, 1, 1, 1, 0)                   \
    X("resnet14", "residual net for small images, 3 stages of 2 blocks", ful__build_resnet, 16, 3, 2, 2, 2, 0)                 \
    X("resnet20", "residual net for small images, 3 stages of 3 blocks", ful__build_resnet, 16, 3, 3, 3, 3, 0)                 \
    X("resnet32", "residual net for small images, 3 stages of 5 blocks", ful__build_resnet, 16, 3, 5, 5, 5, 0)                 \
    X("resnet56", "residual net for small images, 3 stages of 9 blocks", ful__build_resnet, 16, 3, 9, 9, 9, 0)                 \
    X("resnet18", "residual net, 4 stages of 2 blocks, 64..512 channels", ful__build_resnet, 64, 4, 2, 2, 2, 2)                \
    X("resnet34", "residual net, 4 stages of 3, 4, 6, 3 blocks, 64..512 channels", ful__build_resnet, 64, 4, 3, 4, 6, 3)       \
    X("resnet50", "residual net of bottlenecks, 4 stages of 3, 4, 6, 3, 256..2048 channels", ful__build_resnet_bottleneck, 64, \
      4, 3, 4, 6, 3)                                                                                                           \
    X("resnet101", "residual net of bottlenecks, 4 stages of 3, 4, 23, 3, 256..2048 channels", ful__build_resnet_bottleneck,   \
      64, 4, 3, 4, 23, 3)                                                                                                      \
    X("preresnet20", "pre-activation residual net for small images, 3 stages of 3 blocks", ful__build_preresnet, 16, 3, 3, 3,  \
      3, 0)                                                                                                                    \
    X("preresnet56", "pre-activation residual net for small images, 3 stages of 9 blocks", ful__build_preresnet, 16, 3, 9, 9,  \
      9, 0)                                                                                                                    \
    X("preresnet110", "pre-activation residual net for small images, 3 stages of 18 blocks", ful__build_preresnet, 16, 3, 18,  \
      18, 18, 0)                                                                                                               \
    X("preresnet18", "pre-activation residual net, 4 stages of 2 blocks, 64..512 channels", ful__build_preresnet, 64, 4, 2, 2, \
      2, 2)                                                                                                                    \
    X("mobilenet_v2", "inverted residuals with ReLU6, 7 stages of 1, 2, 3, 4, 3, 3, 1 blocks", ful__build_mobilenet_v2, 32, 7, \
      0, 0, 0, 0)                                                                                                              \
    X("mobilenet_v3_small", "inverted residuals with squeeze-excite and hard-swish, 5 stages of 1, 2, 3, 2, 3 blocks",         \
      ful__build_mobilenet_v3_small, 16, 5, 0, 0, 0, 0)                                                                        \
    X("mobilenet_v3_large", "inverted residuals with squeeze-excite and hard-swish, 6 stages of 1, 2, 3, 4, 2, 3 blocks",      \
      ful__build_mobilenet_v3_large, 16, 6, 0, 0, 0, 0)                                                                        \
    X("convnext_atto", "ConvNeXt, 4 stages of 2, 2, 6, 2 blocks, 40..320 channels", ful__build_convnext, 40, 4, 2, 2, 6, 2)    \
    X("convnext_femto", "ConvNeXt, 4 stages of 2, 2, 6, 2 blocks, 48..384 channels", ful__build_convnext, 48, 4, 2, 2, 6, 2)   \
    X("convnext_pico", "ConvNeXt, 4 stages of 2, 2, 6, 2 blocks, 64..512 channels", ful__build_convnext, 64, 4, 2, 2, 6, 2)    \
    X("convnext_nano", "ConvNeXt, 4 stages of 2, 2, 8, 2 blocks, 80..640 channels", ful__build_convnext, 80, 4, 2, 2, 8, 2)    \
    X("convnext_tiny", "ConvNeXt, 4 stages of 3, 3, 9, 3 blocks, 96..768 channels", ful__build_convnext, 96, 4, 3, 3, 9, 3)    \
    X("mixer_s", "MLP-Mixer of 512 channels and 8 blocks; each is a stage (depth, patch)", ful__build_mixer, 512, 8, 0, 0, 0,  \
      0)                                                                                                                       \
    X("mixer_b", "MLP-Mixer of 768 channels and 12 blocks; each is a stage (depth, patch)", ful__build_mixer, 768, 12, 0, 0,   \
      0, 0)                                                                                                                    \
    X("dwnet_s", "depthwise-separable net, 4 stages of 1, 1, 2, 1 blocks, 16..128 channels", ful__build_dwnet, 16, 4, 1, 1, 2, \
      1)                                                                                                                       \
    X("dwnet_m", "depthwise-separable net, 4 stages of 1, 2, 3, 2 blocks, 32..256 channels", ful__build_dwnet, 32, 4, 1, 2, 3, \
      2)                                                                                                                       \
    X("dwnet_l", "depthwise-separable net, 4 stages of 2, 3, 6, 3 blocks, 48..384 channels", ful__build_dwnet, 48, 4, 2, 3, 6, \
      3)                                                                                                                       \
    X("dwnet", "the same as dwnet_m", ful__build_dwnet, 32, 4, 1, 2, 3, 2)                                                     \
    X("vit_tiny", "vision transformer, 12 blocks of width 192, 3 heads", ful__build_vit, 192, 12, 3, 0, 0, 0)                  \
    X("vit_small", "vision transformer, 12 blocks of width 384, 6 heads", ful__build_vit, 384, 12, 6, 0, 0, 0)                 \
    X("vit_base", "vision transformer, 12 blocks of width 768, 12 heads", ful__build_vit, 768, 12, 12, 0, 0, 0)                \
    X("mlp", "hidden layers of 256 on the flattened image (depth 2)", ful__build_mlp, 256, 2, 0, 0, 0, 0)                      \
    X("linear", "softmax regression on the flattened image", ful__build_mlp, 1, 0, 0, 0, 0, 0)

#define ARCH_ROW(name, about, build, width, stages, b1, b2, b3, b4) {name, about, build, width, stages, {b1, b2, b3, b4}},
static const ful__arch archs[] = {ARCHS(ARCH_ROW)};
#define ARCH_ABOUT(name, about, ...) {name, about},
static const ful_arch_about abouts[] = {ARCHS(ARCH_ABOUT){NULL, NULL}};
enum { ARCH_COUNT = sizeof archs / sizeof *archs };

const ful_arch_about *ful_arch_names(void)
{
    return abouts;
}

static const ful_vit_config vit_defaults = {.positions = FUL_POSITIONS_LEARNED, .mlp_ratio = 4};

void ful_net_config_defaults(ful_net_config *config)
{
    *config = (ful_net_config){.arch = "resnet20", .conv = "auto", .stem = "auto", .vit = vit_defaults};
    for (int i = 0; i < FUL_MOE_SITES_MAX; i++) {
        snprintf(config->moe[i].at, sizeof config->moe[i].at, "head");
        ful_moe_defaults(&config->moe[i].moe, FUL_EXPERT_MLP);
    }
}

const ful__arch *ful__arch_find(const char *name)
{
    for (int i = 0; i < ARCH_COUNT; i++)
        if (strcmp(archs[i].name, name) == 0) return &archs[i];
    return NULL;
}

static ful_status find_arch(const char *name, const ful__arch **out)
{
    *out = ful__arch_find(name);
    if (*out) return FUL_OK;
    ful__str known = {0};
    for (int i = 0; i < ARCH_COUNT; i++) ful__str_addf(&known, "%s%s", i ? ", " : "", archs[i].name);
    ful_status status = ful__str_status(&known);
    if (status == FUL_OK)
        status = ful__fail(FUL_ERR_CONFIG, "cannot build a net with arch=%s: it must be one of %s", name, known.data);
    ful__str_deinit(&known);
    return status;
}

static ful_status check_int(const char *key, int64_t value, int64_t low, int64_t high)
{
    FUL_FAIL_IF(value < low || value > high, FUL_ERR_CONFIG, "cannot build a net with %s=%lld: it must be in %lld..%lld", key,
                (long long)value, (long long)low, (long long)high);
    return FUL_OK;
}

static ful_status check_probability(const char *key, double value)
{
    FUL_FAIL_IF(!(value >= 0 && value < 1), FUL_ERR_CONFIG, "cannot build a net with %s=%g: it must be at least 0 and below 1",
                key, value);
    return FUL_OK;
}

static bool has_blocks(const ful__builder *b)
{
    return b->arch->build == ful__build_vit;
}

/* Blocks with an MLP, which a place may name one by one. */
static int count_blocks(const ful__builder *b)
{
    int blocks = has_blocks(b) ? b->stages : 0;
    for (int s = 0; s < 4 && b->arch->build == ful__build_convnext; s++) blocks += b->arch->blocks[s];
    return blocks;
}

/* Whether the net has this place, a stage or blocks. */
static bool is_place(const ful__builder *b, const char *at)
{
    for (int i = 1; i <= b->n_blocks; i++)
        if (ful__site_covers(at, i, b->n_blocks)) return true;
    for (int i = 1; i <= b->stages && !has_blocks(b); i++) {
        char stage[32];
        snprintf(stage, sizeof stage, "stage%d", i);
        if (strcmp(at, stage) == 0) return true;
    }
    return false;
}

static ful_status check_site(const ful__builder *b, int i)
{
    const ful_moe_site *site = &b->config->moe[i];
    const char *name = b->arch->name;
    FUL_FAIL_IF(!memchr(site->at, '\0', sizeof site->at), FUL_ERR_CONFIG,
                "cannot place moe item %d at=%.8s...: a place is head, stage1.. or block1..", i + 1, site->at);
    const bool known = strcmp(site->at, "head") == 0 || is_place(b, site->at);
    FUL_FAIL_IF(!known && b->stages == 0, FUL_ERR_CONFIG, "cannot place moe item %d at=%.31s: in %s it must be head", i + 1,
                site->at, name);
    FUL_FAIL_IF(!known && has_blocks(b), FUL_ERR_CONFIG,
                "cannot place moe item %d at=%.31s: in %s it must be head or one of block1..block%d, last1..last%d, "
                "every1..every%d",
                i + 1, site->at, name, b->stages, b->stages, b->stages);
    FUL_FAIL_IF(!known, FUL_ERR_CONFIG, "cannot place moe item %d at=%.31s: in %s it must be head or one of stage1..stage%d",
                i + 1, site->at, name, b->stages);
    FUL_FAIL_IF(site->place != FUL_PLACE_APPEND && strcmp(site->at, "head") == 0, FUL_ERR_CONFIG,
                "cannot place moe item %d at=head, place=replace: there is no block to replace, so it must be append", i + 1);
    FUL_FAIL_IF(site->dense < 0, FUL_ERR_CONFIG, "cannot place moe item %d with dense=%d: it is a width, or 0 for a mixture",
                i + 1, site->dense);
    return FUL_OK;
}

/* The keys of transformers, in another net. */
static ful_status check_no_vit(const ful__builder *b)
{
    const ful_vit_config *v = &b->config->vit, *d = &vit_defaults;
    const struct {
        const char *key;
        bool given;
    } keys[] = {
        {"heads", v->heads != d->heads},
        {"pool", v->pool != d->pool},
        {"positions", v->positions != d->positions},
        {"qk_norm", v->qk_norm != d->qk_norm},
        {"layer_scale", v->layer_scale < 0 || v->layer_scale > 0},
        {"mlp_ratio", v->mlp_ratio < d->mlp_ratio || v->mlp_ratio > d->mlp_ratio},
        {"mlp", v->mlp != d->mlp},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        FUL_FAIL_IF(keys[i].given, FUL_ERR_CONFIG, "cannot build %s with %s set: only a vision transformer has it",
                    b->arch->name, keys[i].key);
    return FUL_OK;
}

ful_status ful__net_conv(const ful_net_config *config, ful_conv_algorithm *out)
{
    static const char *const words[] = {"auto", "direct", "winograd", "patches", "strips"}; /* as ful_conv_algorithm */
    for (int i = 0; i < 5; i++) {
        *out = (ful_conv_algorithm)i;
        if (strcmp(config->conv, words[i]) == 0) return FUL_OK;
    }
    return ful__fail(FUL_ERR_CONFIG, "cannot build a net with conv=%.15s: it must be auto, direct, winograd, patches or strips",
                     config->conv);
}

static ful_status check_config(ful__builder *b)
{
    const ful_net_config *c = b->config;
    const bool patches = b->arch->build == ful__build_mixer || has_blocks(b);
    const bool own_depth = patches || (b->arch->build == ful__build_mlp && b->arch->stages > 0);
    FUL_TRY(check_int("width", c->width, 0, WIDTH_MAX));
    FUL_FAIL_IF(c->depth != 0 && !own_depth, FUL_ERR_CONFIG,
                "cannot build %s with depth=%d: only mlp, mixers and vit nets have a depth to choose", b->arch->name, c->depth);
    FUL_FAIL_IF(c->patch != 0 && !patches, FUL_ERR_CONFIG, "cannot build %s with patch=%d: it does not cut images into patches",
                b->arch->name, c->patch);
    FUL_TRY(check_int("depth", c->depth, 0, FUL__STAGES_MAX));
    FUL_TRY(check_int("height", c->height, 1, SIDE_MAX));
    FUL_TRY(check_int("patch", c->patch, 0, c->height));
    FUL_TRY(check_int("in_channels", c->in_channels, 1, CHANNELS_MAX));
    FUL_TRY(check_int("classes", c->classes, 2, CLASSES_MAX));
    FUL_TRY(check_probability("dropout", c->dropout));
    FUL_TRY(check_probability("drop_path", c->drop_path));
    FUL_FAIL_IF(strcmp(c->stem, "auto") != 0 && strcmp(c->stem, "small") != 0 && strcmp(c->stem, "large") != 0, FUL_ERR_CONFIG,
                "cannot build a net with stem=%.15s: it must be auto, small or large", c->stem);
    ful_conv_algorithm algorithm;
    FUL_TRY(ful__net_conv(c, &algorithm));
    FUL_TRY(check_int("the number of moe items", c->n_moe, 0, FUL_MOE_SITES_MAX));
    b->width = c->width ? c->width : b->arch->width;
    b->stages = c->depth ? c->depth : b->arch->stages;
    b->n_blocks = count_blocks(b);
    for (int i = 0; i < c->n_moe; i++) FUL_TRY(check_site(b, i));
    return has_blocks(b) ? ful__vit_check(b) : check_no_vit(b);
}

/* Pooling to a vector, sites at the head, dropout, classifier. */
static void add_head(ful__builder *b)
{
    const ful_net_config *c = b->config;
    if (b->status != FUL_OK) return;
    const ful_shape s = b->g->nodes[b->end].shape;
    if (b->arch->build != ful__build_mlp && (s.h > 1 || s.w > 1)) ful__add_pool(b);
    ful__add_sites(b, "head");
    if (b->status == FUL_OK && c->dropout > 0)
        b->status = ful_graph_dropout(b->g, "dropout", b->end, &(ful_dropout_attr){.p = (float)c->dropout}, &b->end);
    ful__add_linear(b, c->classes, FUL_INIT_LECUN_NORMAL, "fc");
}

ful_status ful_net_build_graph(const ful_net_config *config, ful_graph **out)
{
    FUL_FAIL_IF(!config || !out, FUL_ERR_ARG, "cannot build a net with config or out NULL: both are needed");
    ful__builder b = {.config = config};
    ful_batchnorm_defaults(&b.norm);
    *out = NULL;
    FUL_FAIL_IF(!memchr(config->arch, '\0', sizeof config->arch) || !memchr(config->stem, '\0', sizeof config->stem) ||
                    !memchr(config->conv, '\0', sizeof config->conv),
                FUL_ERR_CONFIG,
                "cannot build a net with arch=%.8s..., stem=%.8s..., conv=%.8s...: names must end in their fields",
                config->arch, config->stem, config->conv);
    FUL_TRY(find_arch(config->arch, &b.arch));
    FUL_TRY(check_config(&b));
    FUL_TRY(ful_graph_create(&b.g));
    b.status = ful_graph_input(b.g, (ful_shape){config->height, config->height, config->in_channels}, &b.end);
    if (b.status == FUL_OK) b.arch->build(&b);
    add_head(&b);
    if (b.status == FUL_OK) b.status = ful_graph_set_output(b.g, b.end);
    if (b.status != FUL_OK) ful_graph_destroy(&b.g);
    *out = b.g;
    return b.status;
}
