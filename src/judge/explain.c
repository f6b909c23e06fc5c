/* SPDX-License-Identifier: Apache-2.0 */
/* Which experts an image took: gathered from the net after it saw the image. */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include <fulcrum/judge.h>

void ful_explanation_deinit(ful_explanation *e)
{
    for (int l = 0; e->layers && l < e->n_layers; l++) {
        ful__free(e->layers[l].expert);
        ful__free(e->layers[l].gate);
    }
    ful__free(e->layers);
    ful__free(e->image);
    ful__free(e->pixels);
    ful__free(e->prob);
    *e = (ful_explanation){0};
}

/* The pixels the net saw: the centre of the image at the size of the data. */
static ful_status load_pixels(const ful_config *config, const char *path, ful_explanation *e)
{
    uint8_t *whole = NULL;
    const int side = config->data.crop ? config->data.size : e->side, margin = (side - e->side) / 2, c = e->channels;
    FUL_TRY(ful__calloc(&whole, (size_t)side * (size_t)side * (size_t)c, 1, "an image"));
    const ful_status status = ful_image_load(path, side, c, whole);
    for (int y = 0; status == FUL_OK && y < e->side; y++)
        memcpy(e->pixels + (size_t)y * (size_t)(e->side * c),
               whole + ((size_t)(y + margin) * (size_t)side + (size_t)margin) * (size_t)c, (size_t)(e->side * c));
    ful__free(whole);
    return status;
}

/* Tokens lie in a square, perhaps after one that stands for no place (a class token). */
static void find_grid(ful_route *r)
{
    for (int before = 0; before < 2; before++) {
        const int side = (int)floor(sqrt((double)(r->tokens - before)) + 0.5);
        if (r->tokens < 4 || side * side != r->tokens - before) continue;
        r->rows = r->columns = side;
        r->before = before;
        return;
    }
}

static ful_status read_layer(const ful_net *net, int layer, ful_route *r)
{
    const ful_moe_stats *stats = ful_net_moe_stats(net, layer, 1);
    memcpy(r->layer, stats->layer, sizeof r->layer);
    r->experts = stats->experts;
    r->k = stats->k;
    r->tokens = (int)stats->tokens;
    find_grid(r);
    const size_t pairs = (size_t)r->tokens * (size_t)r->k;
    FUL_TRY(ful__calloc(&r->expert, pairs, sizeof *r->expert, "a route"));
    FUL_TRY(ful__calloc(&r->gate, pairs, sizeof *r->gate, "a route"));
    for (int t = 0; t < r->tokens; t++)
        if (ful_net_moe_route(net, layer, t, r->k, r->expert + t * r->k, r->gate + t * r->k) == 0) {
            r->soft = true; /* every expert sees a blend of all: there is nothing to tell of one token */
            return FUL_OK;
        }
    return FUL_OK;
}

static ful_status explain(ful_model *model, const char *path, ful_explanation *e)
{
    const ful_config *config = ful_model_config(model);
    ful_net *net = ful_model_net(model);
    const int side = config->net.height, c = config->net.in_channels;
    *e = (ful_explanation){.side = side, .channels = c, .classes = ful_net_classes(net)};
    FUL_TRY(ful__strdup(&e->image, path));
    FUL_TRY(ful__calloc(&e->pixels, (size_t)side * (size_t)side * (size_t)c, 1, "an image"));
    FUL_TRY(ful__calloc(&e->prob, (size_t)e->classes, sizeof *e->prob, "probabilities"));
    FUL_TRY(load_pixels(config, path, e));
    ful_net_moe_stats_reset(net, 1);
    FUL_TRY(ful_model_predict_image(model, path, e->prob));
    const int n = ful_net_moe_count(net);
    FUL_TRY(ful__calloc(&e->layers, (size_t)n, sizeof *e->layers, "routes"));
    for (e->n_layers = 0; e->n_layers < n; e->n_layers++) {
        const ful_status status = read_layer(net, e->n_layers, &e->layers[e->n_layers]);
        if (status != FUL_OK) {
            e->n_layers++; /* what it holds is freed too */
            return status;
        }
    }
    return FUL_OK;
}

ful_status ful_judge_explain(ful_model *model, const char *path, ful_explanation *out)
{
    FUL_FAIL_IF(!model || !path || !out, FUL_ERR_ARG, "cannot explain with model, path or out NULL: all are needed");
    const ful_status status = explain(model, path, out);
    if (status != FUL_OK) ful_explanation_deinit(out);
    return status;
}

void ful_route_shares(const ful_route *r, double *share_out)
{
    for (int e = 0; e < r->experts; e++) share_out[e] = 0.0;
    for (int t = 0; !r->soft && t < r->tokens; t++)
        for (int i = 0; i < r->k; i++) share_out[r->expert[t * r->k + i]] += 1.0 / ((double)r->tokens * r->k);
}
