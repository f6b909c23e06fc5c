/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum predict: classes of images, and the experts they took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

enum { TOP = 5, FIRST_SHARES = 4, MAP_MAX = 32 };

/* Indices of the largest values, in order; returns how many. */
static int largest(const double *value, int n_values, int most, int *out)
{
    int n = 0;
    for (; n < most && n < n_values; n++) {
        int best = -1;
        for (int c = 0; c < n_values; c++) {
            bool taken = false;
            for (int i = 0; i < n; i++) taken = taken || out[i] == c;
            if (!taken && (best < 0 || value[c] > value[best])) best = c;
        }
        out[n] = best;
    }
    return n;
}

static int top_classes(const ful_explanation *e, int out[TOP])
{
    double *prob = calloc((size_t)e->classes, sizeof *prob);
    for (int c = 0; prob && c < e->classes; c++) prob[c] = (double)e->prob[c];
    const int n = prob ? largest(prob, e->classes, TOP, out) : 0;
    free(prob);
    return n;
}

/* ---- JSON ---- */

static json_t *chosen_json(const ful_route *r, int token)
{
    json_t *chosen = json_array();
    for (int i = 0; i < r->k && !r->soft; i++)
        json_array_append_new(chosen, json_pack("{s:i, s:f}", "expert", (int)r->expert[token * r->k + i], "gate",
                                                (double)r->gate[token * r->k + i]));
    return chosen;
}

/* The experts of every token, and where the tokens lie. */
static void add_tokens(json_t *layer, const ful_route *r)
{
    double share[FUL_EXPERTS_MAX];
    json_t *experts = json_array(), *gates = json_array(), *shares = json_array();
    ful_route_shares(r, share);
    for (int t = 0; t < r->tokens && !r->soft; t++) {
        json_t *of_token = json_array(), *its_gates = json_array();
        for (int i = 0; i < r->k; i++) {
            json_array_append_new(of_token, json_integer(r->expert[t * r->k + i]));
            json_array_append_new(its_gates, json_real((double)r->gate[t * r->k + i]));
        }
        json_array_append_new(experts, of_token);
        json_array_append_new(gates, its_gates);
    }
    for (int e = 0; e < r->experts; e++) json_array_append_new(shares, json_real(share[e]));
    json_object_update_new(layer, json_pack("{s:i, s:i, s:i, s:i, s:b, s:o, s:o, s:o}", "of", r->experts, "rows", r->rows,
                                            "columns", r->columns, "before", r->before, "soft", r->soft, "shares", shares,
                                            "token_experts", experts, "token_gates", gates));
}

static json_t *image_json(const ful_model *model, const ful_explanation *e, bool explain)
{
    int top[TOP];
    const int n = top_classes(e, top);
    json_t *best = json_array(), *layers = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(best, json_pack("{s:i, s:o, s:f}", "class", top[i], "name",
                                              text_json(ful_model_class_name(model, top[i])), "probability",
                                              (double)e->prob[top[i]]));
    for (int l = 0; l < e->n_layers; l++) {
        const ful_route *r = &e->layers[l];
        json_t *layer = json_pack("{s:s, s:i, s:o}", "layer", r->layer, "tokens", r->tokens, "chosen", chosen_json(r, 0));
        if (explain && layer) add_tokens(layer, r);
        json_array_append_new(layers, layer);
    }
    return json_pack("{s:o, s:o, s:o}", "image", text_json(e->image), "top", best, "experts", layers);
}

/* ---- text ---- */

static void show_map(const ful_route *r)
{
    if (r->rows == 0 || r->rows > MAP_MAX) return;
    printf("    the first choice of each place:\n");
    for (int y = 0; y < r->rows; y++) {
        printf("    ");
        for (int x = 0; x < r->columns; x++) printf(" %2d", (int)r->expert[(r->before + y * r->columns + x) * r->k]);
        printf("\n");
    }
}

static void show_layer(const ful_route *r, bool explain)
{
    double share[FUL_EXPERTS_MAX];
    int order[FUL_EXPERTS_MAX];
    printf("  %s:", r->layer);
    if (r->soft) {
        printf(" soft: every expert takes a blend of all %d tokens\n", r->tokens);
        return;
    }
    if (r->tokens == 1) {
        for (int i = 0; i < r->k; i++)
            printf("%s expert %d (gate %.3f)", i > 0 ? "," : "", (int)r->expert[i], (double)r->gate[i]);
        printf("\n");
        return;
    }
    ful_route_shares(r, share);
    const int n = largest(share, r->experts, explain ? r->experts : FIRST_SHARES, order);
    printf(" top-%d of %d experts for %d tokens:", r->k, r->experts, r->tokens);
    for (int i = 0; i < n && share[order[i]] > 0; i++)
        printf("%s expert %d %.1f %%", i > 0 ? "," : "", order[i], 100.0 * share[order[i]]);
    printf("\n");
    if (explain) show_map(r);
}

static void show_image(const ful_model *model, const ful_explanation *e, bool explain)
{
    int top[TOP];
    const int n = top_classes(e, top);
    printf("%s\n", e->image);
    for (int i = 0; i < n; i++) {
        const char *name = ful_model_class_name(model, top[i]);
        printf("  %6.2f %%  ", 100.0 * (double)e->prob[top[i]]);
        if (*name)
            printf("%s\n", name);
        else
            printf("class %d\n", top[i]);
    }
    for (int l = 0; l < e->n_layers; l++) show_layer(&e->layers[l], explain);
}

/* ---- the command ---- */

static int write_page(const ful_model *model, const ful_explanation *list, int n, const char *path)
{
    const int classes = ful_model_config(model)->net.classes;
    const char **names = calloc((size_t)classes, sizeof *names);
    char *html = NULL;
    for (int c = 0; names && c < classes; c++) names[c] = ful_model_class_name(model, c);
    ful_status status = ful_judge_explain_page(list, n, names, &html);
    if (status == FUL_OK) status = ful_judge_write_figure(NULL, path, html);
    if (status == FUL_OK && !common.quiet) fprintf(stderr, "fulcrum: the experts beside the images: %s\n", path);
    ful_free(html);
    free(names);
    return status == FUL_OK ? EXIT_OK : fail(status);
}

static int predict_all(ful_model *model, const char *const *images, int n_images, bool explain, const char *page)
{
    ful_explanation *list = calloc((size_t)n_images, sizeof *list);
    json_t *json = common.json ? json_array() : NULL;
    int code = list ? EXIT_OK : EXIT_FAILED, n = 0;
    for (int i = 0; list && i < n_images; i++) { /* a bad image does not lose the others */
        const ful_status status = ful_judge_explain(model, images[i], &list[n]);
        if (status != FUL_OK) {
            code = fail(status);
            continue;
        }
        if (json)
            json_array_append_new(json, image_json(model, &list[n], explain));
        else
            show_image(model, &list[n], explain);
        if (page)
            n++; /* kept for the page */
        else
            ful_explanation_deinit(&list[n]);
    }
    if (page && n > 0) {
        const int written = write_page(model, list, n, page);
        if (code == EXIT_OK) code = written;
    }
    for (int i = 0; i < n; i++) ful_explanation_deinit(&list[i]);
    free(list);
    if (json) {
        const int printed = print_json(json);
        if (code == EXIT_OK) code = printed;
    }
    return code;
}

static int run_predict(const command *self, int argc, char **argv)
{
    static const char *operands[ARGS_MAX];
    const char *page = NULL;
    bool explain = false;
    int n_operands, code;
    const option_spec options[] = {
        {"explain", 0, OPTION_FLAG, &explain, NULL,
         "the experts of every token of each mixture layer, as a map where they lie in one"},
        {"page", 0, OPTION_TEXT, &page, "FILE.html", "also write that, beside the images, as a self-contained page"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, ARGS_MAX, &n_operands)) >= 0) return code;
    if (n_operands < 2) return usage_error(self, "a run folder or checkpoint, and at least one image, are needed");
    ful_model *model = NULL;
    const ful_status status = ful_model_open(operands[0], 1, &model);
    if (status != FUL_OK) return fail(status);
    code = predict_all(model, operands + 1, n_operands - 1, explain, page);
    ful_model_destroy(&model);
    return code;
}

const command cmd_predict = {"predict", "RUN_OR_CHECKPOINT IMAGE ...",
                             "Classify images: the five most probable classes, and which experts ran",
                             "  fulcrum predict runs/moe cat.jpg dog.jpg --explain --page experts.html", run_predict};
