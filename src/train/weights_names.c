/* SPDX-License-Identifier: Apache-2.0 */
/* The namings of torchvision (0.29) and timm (1.0), and how a rule is applied. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/weights.h"

/* Residual nets: both programs name them alike. */
static const ful__name_rule resnet[] = {{"stem.conv", "conv1", NULL},
                                        {"stem.bn", "bn1", NULL},
                                        {"stage{s}.{i}.conv1", "layer{s}.{i}.conv1", NULL},
                                        {"stage{s}.{i}.bn1", "layer{s}.{i}.bn1", NULL},
                                        {"stage{s}.{i}.conv2", "layer{s}.{i}.conv2", NULL},
                                        {"stage{s}.{i}.bn2", "layer{s}.{i}.bn2", NULL},
                                        {"stage{s}.{i}.conv3", "layer{s}.{i}.conv3", NULL},
                                        {"stage{s}.{i}.bn3", "layer{s}.{i}.bn3", NULL},
                                        {"stage{s}.{i}.down.conv", "layer{s}.{i}.downsample.0", NULL},
                                        {"stage{s}.{i}.down.bn", "layer{s}.{i}.downsample.1", NULL},
                                        {"fc", "fc", NULL},
                                        {NULL, NULL, NULL}};

static const ful__name_rule torchvision_mobilenet_v2[] = {{"stem.conv", "features.0.0", NULL},
                                                          {"stem.conv_bn", "features.0.1", NULL},
                                                          {"stage{s}.{i}.dw", "features.{b+1}.conv.0.0", "-expand"},
                                                          {"stage{s}.{i}.dw_bn", "features.{b+1}.conv.0.1", "-expand"},
                                                          {"stage{s}.{i}.project", "features.{b+1}.conv.1", "-expand"},
                                                          {"stage{s}.{i}.project_bn", "features.{b+1}.conv.2", "-expand"},
                                                          {"stage{s}.{i}.expand", "features.{b+1}.conv.0.0", NULL},
                                                          {"stage{s}.{i}.expand_bn", "features.{b+1}.conv.0.1", NULL},
                                                          {"stage{s}.{i}.dw", "features.{b+1}.conv.1.0", "+expand"},
                                                          {"stage{s}.{i}.dw_bn", "features.{b+1}.conv.1.1", "+expand"},
                                                          {"stage{s}.{i}.project", "features.{b+1}.conv.2", "+expand"},
                                                          {"stage{s}.{i}.project_bn", "features.{b+1}.conv.3", "+expand"},
                                                          {"tail.conv", "features.{n+1}.0", NULL},
                                                          {"tail.conv_bn", "features.{n+1}.1", NULL},
                                                          {"fc", "classifier.1", NULL},
                                                          {NULL, NULL, NULL}};

static const ful__name_rule torchvision_mobilenet_v3[] = {
    {"stem.conv", "features.0.0", NULL},
    {"stem.conv_bn", "features.0.1", NULL},
    {"stage{s}.{i}.expand", "features.{b+1}.block.0.0", NULL},
    {"stage{s}.{i}.expand_bn", "features.{b+1}.block.0.1", NULL},
    {"stage{s}.{i}.dw", "features.{b+1}.block.0.0", "-expand"},
    {"stage{s}.{i}.dw_bn", "features.{b+1}.block.0.1", "-expand"},
    {"stage{s}.{i}.dw", "features.{b+1}.block.1.0", "+expand"},
    {"stage{s}.{i}.dw_bn", "features.{b+1}.block.1.1", "+expand"},
    {"stage{s}.{i}.se.fc1", "features.{b+1}.block.1.fc1", "-expand"},
    {"stage{s}.{i}.se.fc2", "features.{b+1}.block.1.fc2", "-expand"},
    {"stage{s}.{i}.se.fc1", "features.{b+1}.block.2.fc1", "+expand"},
    {"stage{s}.{i}.se.fc2", "features.{b+1}.block.2.fc2", "+expand"},
    {"stage{s}.{i}.project", "features.{b+1}.block.1.0", "-expand-se.fc1"},
    {"stage{s}.{i}.project_bn", "features.{b+1}.block.1.1", "-expand-se.fc1"},
    {"stage{s}.{i}.project", "features.{b+1}.block.2.0", "-expand+se.fc1"},
    {"stage{s}.{i}.project_bn", "features.{b+1}.block.2.1", "-expand+se.fc1"},
    {"stage{s}.{i}.project", "features.{b+1}.block.2.0", "+expand-se.fc1"},
    {"stage{s}.{i}.project_bn", "features.{b+1}.block.2.1", "+expand-se.fc1"},
    {"stage{s}.{i}.project", "features.{b+1}.block.3.0", "+expand+se.fc1"},
    {"stage{s}.{i}.project_bn", "features.{b+1}.block.3.1", "+expand+se.fc1"},
    {"tail.conv", "features.{n+1}.0", NULL},
    {"tail.conv_bn", "features.{n+1}.1", NULL},
    {"tail.fc", "classifier.0", NULL},
    {"fc", "classifier.3", NULL},
    {NULL, NULL, NULL}};

#define TIMM_MOBILE                                                                                                          \
    {"stem.conv", "conv_stem", NULL}, {"stem.conv_bn", "bn1", NULL},                                                         \
        {"stage{s}.{i}.expand", "blocks.{s-1}.{i}.conv_pw", NULL}, {"stage{s}.{i}.expand_bn", "blocks.{s-1}.{i}.bn1", NULL}, \
        {"stage{s}.{i}.dw", "blocks.{s-1}.{i}.conv_dw", NULL}, {"stage{s}.{i}.dw_bn", "blocks.{s-1}.{i}.bn1", "-expand"},    \
        {"stage{s}.{i}.dw_bn", "blocks.{s-1}.{i}.bn2", "+expand"},                                                           \
        {"stage{s}.{i}.se.fc1", "blocks.{s-1}.{i}.se.conv_reduce", NULL},                                                    \
        {"stage{s}.{i}.se.fc2", "blocks.{s-1}.{i}.se.conv_expand", NULL},                                                    \
        {"stage{s}.{i}.project", "blocks.{s-1}.{i}.conv_pw", "-expand"},                                                     \
        {"stage{s}.{i}.project", "blocks.{s-1}.{i}.conv_pwl", "+expand"},                                                    \
        {"stage{s}.{i}.project_bn", "blocks.{s-1}.{i}.bn2", "-expand"},                                                      \
        {"stage{s}.{i}.project_bn", "blocks.{s-1}.{i}.bn3", "+expand"},                                                      \
    {                                                                                                                        \
        "fc", "classifier", NULL                                                                                             \
    }
static const ful__name_rule timm_mobilenet_v2[] = {
    TIMM_MOBILE, {"tail.conv", "conv_head", NULL}, {"tail.conv_bn", "bn2", NULL}, {NULL, NULL, NULL}};
static const ful__name_rule timm_mobilenet_v3[] = {TIMM_MOBILE,
                                                   {"tail.conv", "blocks.{m}.0.conv", NULL},
                                                   {"tail.conv_bn", "blocks.{m}.0.bn1", NULL},
                                                   {"tail.fc", "conv_head", NULL},
                                                   {NULL, NULL, NULL}};

static const ful__name_rule torchvision_convnext[] = {{"stem.conv", "features.0.0", NULL},
                                                      {"stem.norm", "features.0.1", NULL},
                                                      {"stage{s}.down.norm", "features.{2s-2}.0", NULL},
                                                      {"stage{s}.down.conv", "features.{2s-2}.1", NULL},
                                                      {"stage{s}.{i}.dw", "features.{2s-1}.{i}.block.0", NULL},
                                                      {"stage{s}.{i}.norm", "features.{2s-1}.{i}.block.2", NULL},
                                                      {"stage{s}.{i}.fc1", "features.{2s-1}.{i}.block.3", NULL},
                                                      {"stage{s}.{i}.fc2", "features.{2s-1}.{i}.block.5", NULL},
                                                      {"stage{s}.{i}.scale.weight", "features.{2s-1}.{i}.layer_scale", NULL},
                                                      {"norm", "classifier.0", NULL},
                                                      {"fc", "classifier.2", NULL},
                                                      {NULL, NULL, NULL}};

static const ful__name_rule timm_convnext[] = {{"stem.conv", "stem.0", NULL},
                                               {"stem.norm", "stem.1", NULL},
                                               {"stage{s}.down.norm", "stages.{s-1}.downsample.0", NULL},
                                               {"stage{s}.down.conv", "stages.{s-1}.downsample.1", NULL},
                                               {"stage{s}.{i}.dw", "stages.{s-1}.blocks.{i}.conv_dw", NULL},
                                               {"stage{s}.{i}.norm", "stages.{s-1}.blocks.{i}.norm", NULL},
                                               {"stage{s}.{i}.fc1", "stages.{s-1}.blocks.{i}.mlp.fc1", NULL},
                                               {"stage{s}.{i}.fc2", "stages.{s-1}.blocks.{i}.mlp.fc2", NULL},
                                               {"stage{s}.{i}.scale.weight", "stages.{s-1}.blocks.{i}.gamma", NULL},
                                               {"norm", "head.norm", NULL},
                                               {"fc", "head.fc", NULL},
                                               {NULL, NULL, NULL}};

static const ful__name_rule timm_mixer[] = {{"stem.conv", "stem.proj", NULL},
                                            {"stage{s}.tokens.norm", "blocks.{s-1}.norm1", NULL},
                                            {"stage{s}.tokens.fc1", "blocks.{s-1}.mlp_tokens.fc1", NULL},
                                            {"stage{s}.tokens.fc2", "blocks.{s-1}.mlp_tokens.fc2", NULL},
                                            {"stage{s}.channels.norm", "blocks.{s-1}.norm2", NULL},
                                            {"stage{s}.channels.fc1", "blocks.{s-1}.mlp_channels.fc1", NULL},
                                            {"stage{s}.channels.fc2", "blocks.{s-1}.mlp_channels.fc2", NULL},
                                            {"norm", "norm", NULL},
                                            {"fc", "head", NULL},
                                            {NULL, NULL, NULL}};

static const ful__name_rule torchvision_vit[] = {
    {"embed", "conv_proj", NULL},
    {"tokens.cls", "class_token", NULL},
    {"tokens.pos", "encoder.pos_embedding", NULL},
    {"block{s}.norm1", "encoder.layers.encoder_layer_{s-1}.ln_1", NULL},
    {"block{s}.attn.qkv.weight", "encoder.layers.encoder_layer_{s-1}.self_attention.in_proj_weight", NULL},
    {"block{s}.attn.qkv.bias", "encoder.layers.encoder_layer_{s-1}.self_attention.in_proj_bias", NULL},
    {"block{s}.attn.proj", "encoder.layers.encoder_layer_{s-1}.self_attention.out_proj", NULL},
    {"block{s}.norm2", "encoder.layers.encoder_layer_{s-1}.ln_2", NULL},
    {"block{s}.ffn.fc1", "encoder.layers.encoder_layer_{s-1}.mlp.0", NULL},
    {"block{s}.ffn.fc2", "encoder.layers.encoder_layer_{s-1}.mlp.3", NULL},
    {"norm", "encoder.ln", NULL},
    {"fc", "heads.head", NULL},
    {NULL, NULL, NULL}};

static const ful__name_rule timm_vit[] = {{"embed", "patch_embed.proj", NULL},
                                          {"tokens.cls", "cls_token", NULL},
                                          {"tokens.pos", "pos_embed", NULL},
                                          {"block{s}.norm1", "blocks.{s-1}.norm1", NULL},
                                          {"block{s}.attn.qkv", "blocks.{s-1}.attn.qkv", NULL},
                                          {"block{s}.attn.q_norm", "blocks.{s-1}.attn.q_norm", NULL},
                                          {"block{s}.attn.k_norm", "blocks.{s-1}.attn.k_norm", NULL},
                                          {"block{s}.attn.proj", "blocks.{s-1}.attn.proj", NULL},
                                          {"block{s}.scale1.weight", "blocks.{s-1}.ls1.gamma", NULL},
                                          {"block{s}.norm2", "blocks.{s-1}.norm2", NULL},
                                          {"block{s}.ffn.fc1", "blocks.{s-1}.mlp.fc1", NULL},
                                          {"block{s}.ffn.fc2", "blocks.{s-1}.mlp.fc2", NULL},
                                          {"block{s}.scale2.weight", "blocks.{s-1}.ls2.gamma", NULL},
                                          {"norm", "norm", NULL},
                                          {"fc", "head", NULL},
                                          {NULL, NULL, NULL}};

static const ful__naming namings[] = {{"torchvision and timm", "resnet", resnet, 0},
                                      {"torchvision", "mobilenet_v2", torchvision_mobilenet_v2, 0},
                                      {"timm", "mobilenet_v2", timm_mobilenet_v2, 0},
                                      {"torchvision", "mobilenet_v3", torchvision_mobilenet_v3, 0},
                                      {"timm", "mobilenet_v3", timm_mobilenet_v3, 1e-5f - 1e-3f},
                                      {"torchvision", "convnext", torchvision_convnext, 0},
                                      {"timm", "convnext", timm_convnext, 0},
                                      {"timm", "mixer", timm_mixer, 0},
                                      {"torchvision", "vit", torchvision_vit, 0},
                                      {"timm", "vit", timm_vit, 0},
                                      {NULL, NULL, NULL, 0}};

const ful__naming *ful__namings(void)
{
    return namings;
}

/* Rules ------------------------------------------------------------------------------------------------------------------ */

void ful__name_generalise(const char *name, char out[FUL__WEIGHT_NAME_MAX], ful__name_vars *vars)
{
    int used = 0;
    const char *rest = name;
    char head[24] = "";
    if (sscanf(name, "stage%6d.%n", &vars->s, &used) == 1 && used > 0) {
        rest = name + used;
        snprintf(head, sizeof head, "stage{s}.");
        used = 0;
        if (sscanf(rest, "%6d.%n", &vars->i, &used) == 1 && used > 0) {
            rest += used;
            snprintf(head, sizeof head, "stage{s}.{i}.");
        }
    }
    if (sscanf(name, "block%6d.%n", &vars->s, &used) == 1 && used > 0) {
        rest = name + used;
        snprintf(head, sizeof head, "block{s}.");
    }
    snprintf(out, FUL__WEIGHT_NAME_MAX, "%s%s", head, rest);
}

/* The value of "2s-1", up to its '}'. */
static int evaluate(const char *text, const ful__name_vars *vars)
{
    char *at = NULL;
    const long factor = strtol(text, &at, 10);
    const int value = *at == 's' ? vars->s : *at == 'i' ? vars->i : *at == 'b' ? vars->b : *at == 'n' ? vars->n : vars->m;
    return (int)(at == text ? 1 : factor) * value + (int)strtol(at + 1, NULL, 10);
}

void ful__name_fill(const char *theirs, const ful__name_vars *vars, const char *ending, char out[FUL__WEIGHT_NAME_MAX])
{
    size_t length = 0;
    out[0] = '\0';
    while (*theirs && length < FUL__WEIGHT_NAME_MAX) {
        const size_t plain = strcspn(theirs, "{"), room = FUL__WEIGHT_NAME_MAX - length;
        length += (size_t)snprintf(out + length, room, "%.*s", (int)plain, theirs);
        theirs += plain;
        if (*theirs != '{' || length >= FUL__WEIGHT_NAME_MAX) continue;
        length += (size_t)snprintf(out + length, FUL__WEIGHT_NAME_MAX - length, "%d", evaluate(theirs + 1, vars));
        theirs += strcspn(theirs, "}") + 1;
    }
    if (length < FUL__WEIGHT_NAME_MAX) snprintf(out + length, FUL__WEIGHT_NAME_MAX - length, "%s", ending);
}
