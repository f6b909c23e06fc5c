/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum predict, inspect: using what was trained. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

enum { TOP = 5, ROUTE_MAX = 16 };

/* ---- predict ---- */

/* Indices of the largest probabilities, in order; returns how many. */
static int top_classes(const float *prob, int classes, int out[TOP])
{
    int n = 0;
    for (; n < TOP && n < classes; n++) {
        int best = -1;
        for (int c = 0; c < classes; c++) {
            bool taken = false;
            for (int i = 0; i < n; i++) taken = taken || out[i] == c;
            if (!taken && (best < 0 || prob[c] > prob[best])) best = c;
        }
        out[n] = best;
    }
    return n;
}

static json_t *routes_json(ful_net *net)
{
    json_t *layers = json_array();
    for (int l = 0; l < ful_net_moe_count(net); l++) {
        int32_t expert[ROUTE_MAX];
        float gate[ROUTE_MAX];
        const int k = ful_net_moe_route(net, l, 0, ROUTE_MAX, expert, gate);
        json_t *chosen = json_array();
        for (int i = 0; i < k; i++)
            json_array_append_new(chosen, json_pack("{s:i, s:f}", "expert", (int)expert[i], "gate", (double)gate[i]));
        json_array_append_new(layers, json_pack("{s:s, s:o}", "layer", ful_net_moe_stats(net, l, 1)->layer, "chosen", chosen));
    }
    return layers;
}

static void print_routes(ful_net *net)
{
    for (int l = 0; l < ful_net_moe_count(net); l++) {
        int32_t expert[ROUTE_MAX];
        float gate[ROUTE_MAX];
        const int k = ful_net_moe_route(net, l, 0, ROUTE_MAX, expert, gate);
        printf("  %s:", ful_net_moe_stats(net, l, 1)->layer);
        for (int i = 0; i < k; i++) printf(" expert %d (gate %.3f)", (int)expert[i], (double)gate[i]);
        printf("\n");
    }
}

static ful_status predict_one(ful_model *model, const char *path, float *prob, json_t *list)
{
    ful_net *net = ful_model_net(model);
    int top[TOP];
    const ful_status status = ful_model_predict_image(model, path, prob);
    if (status != FUL_OK) return status;
    const int n = top_classes(prob, ful_net_classes(net), top);
    if (!list) {
        printf("%s\n", path);
        for (int i = 0; i < n; i++)
            printf("  %6.2f %%  %s\n", 100.0 * (double)prob[top[i]], ful_model_class_name(model, top[i]));
        print_routes(net);
        return FUL_OK;
    }
    json_t *best = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(best, json_pack("{s:i, s:s, s:f}", "class", top[i], "name", ful_model_class_name(model, top[i]),
                                              "probability", (double)prob[top[i]]));
    json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "image", path, "top", best, "experts", routes_json(net)));
    return FUL_OK;
}

static int run_predict(const command *self, int argc, char **argv)
{
    static const char *operands[ARGS_MAX];
    int n_operands, code;
    const option_spec options[] = {{NULL, 0, OPTION_FLAG, NULL, NULL, NULL}};
    if ((code = parse(self, options, argc, argv, operands, ARGS_MAX, &n_operands)) >= 0) return code;
    if (n_operands < 2) return usage_error(self, "a run folder or checkpoint, and at least one image, are needed");
    ful_model *model = NULL;
    ful_status status = ful_model_open(operands[0], 1, &model);
    if (status != FUL_OK) return fail(status);
    float *prob = calloc((size_t)ful_net_classes(ful_model_net(model)), sizeof *prob);
    json_t *list = common.json ? json_array() : NULL;
    code = EXIT_OK;
    for (int i = 1; prob && i < n_operands; i++) { /* a bad image does not lose the others */
        status = predict_one(model, operands[i], prob, list);
        if (status != FUL_OK) code = fail(status);
    }
    if (!prob) code = EXIT_FAILED;
    if (list) {
        const int printed = print_json(list);
        if (code == EXIT_OK) code = printed;
    }
    free(prob);
    ful_model_destroy(&model);
    return code;
}

const command cmd_predict = {"predict", "RUN_OR_CHECKPOINT IMAGE ...",
                             "Classify images: the five most probable classes, and which experts ran", NULL, run_predict};

/* ---- inspect ---- */

static int run_inspect(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL};
    int n_operands, code;
    char *text = NULL;
    const option_spec options[] = {{NULL, 0, OPTION_FLAG, NULL, NULL, NULL}};
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "a run folder or checkpoint is needed");
    const ful_status status = ful_model_inspect(operands[0], common.json, &text);
    return status == FUL_OK ? print_text(text) : fail(status);
}

const command cmd_inspect = {"inspect", "RUN_OR_CHECKPOINT",
                             "Show tensors, experts, the memory plan and routing health of a checkpoint", NULL, run_inspect};
