/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint of ours out of another program's weights. */
#include <stdio.h>
#include <string.h>

#include <fulcrum/train.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "data/text.h"
#include "train/checkpoint.h"
#include "train/json.h"
#include "train/weights.h"

enum { NAMES_BYTES_MAX = 1 << 24 };

/* How ImageNet's colours are spread, which is what most weights in the world were trained with. */
static const float imagenet_mean[3] = {0.485f, 0.456f, 0.406f}, imagenet_std[3] = {0.229f, 0.224f, 0.225f};

/* What the file and the config leave open: 224 px of 3 channels; large images are brought to 8/7 of the net's size and cut. */
static ful_status settle(const char *path, ful_config *c)
{
    enum { SIDE = 224, SMALL = 64 };
    int classes = 0;
    FUL_TRY(ful__weights_classes(path, c->net.arch, &classes));
    FUL_FAIL_IF(c->net.classes != 0 && c->net.classes != classes, FUL_ERR_CONFIG,
                "cannot import '%s' with net.classes = %d: its classifier has %d", path, c->net.classes, classes);
    c->net.classes = classes;
    c->net.weights[0] = '\0';
    if (c->net.height == 0) c->net.height = c->data.crop ? c->data.crop : c->data.size ? c->data.size : SIDE;
    if (c->net.in_channels == 0) c->net.in_channels = c->data.channels ? c->data.channels : 3;
    if (c->data.size == 0 && c->net.height > SMALL) c->data.crop = c->net.height;
    if (c->data.size == 0) c->data.size = c->net.height > SMALL ? c->net.height * 8 / 7 : c->net.height;
    if (c->data.normalize_given) return FUL_OK;
    memcpy(c->data.mean, imagenet_mean, sizeof imagenet_mean);
    memcpy(c->data.std, imagenet_std, sizeof imagenet_std);
    c->data.normalize_given = true;
    return FUL_OK;
}

/* The lines of a text file as a JSON list; without a file, as many empty names. */
static ful_status read_names(const char *path, int classes, char **json_out)
{
    ful__emitter j = {0};
    char *text = NULL;
    size_t bytes = 0;
    int lines = 0, unclean = 0;
    if (path) FUL_TRY(ful__file_read(path, NAMES_BYTES_MAX, &text, &bytes));
    ful__emit_open(&j, NULL, '[');
    for (char *line = text; line && *line; lines++) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
        if (end > line && end[-1] == '\r') end--;
        *end = '\0';
        if (*line && !ful__name_is_clean(line) && unclean == 0) unclean = lines + 1;
        ful__emit_text(&j, NULL, line);
        line = next;
    }
    for (int c = 0; !path && c < classes; c++) ful__emit_text(&j, NULL, "");
    ful__emit_close(&j, ']');
    ful__free(text);
    if (unclean > 0) {
        ful__emit_deinit(&j);
        return ful__fail(FUL_ERR_DATA, "cannot name the classes from '%s': line %d must be UTF-8 without control characters",
                         path, unclean);
    }
    if (path && lines != classes) {
        ful__emit_deinit(&j);
        return ful__fail(FUL_ERR_DATA, "cannot name the classes from '%s': it has %d lines, and the classifier %d classes",
                         path, lines, classes);
    }
    return ful__emit_take(&j, json_out);
}

static ful_status create_net(const ful_config *config, ful_net **out)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = 1;
    options.train = false;
    options.seed = config->train.seed; /* for what the file does not have */
    FUL_TRY(ful_net_build_graph(&config->net, &graph));
    return ful_net_create(graph, &options, out);
}

ful_status ful_weights_import(const char *path, const ful_config *config, const char *class_names, const char *checkpoint,
                              ful_weights_info *info_out)
{
    ful_status status = FUL_OK;
    char *yaml = NULL, *names = NULL;
    ful_net *net = NULL;
    FUL_FAIL_IF(!path || !config || !checkpoint, FUL_ERR_ARG,
                "cannot import with path, config or checkpoint NULL: all are needed");
    ful_config c = *config;
    FUL_TRY(settle(path, &c));
    FUL_TRY_GOTO(status, done, create_net(&c, &net)); /* which says whether so many classes can be */
    FUL_TRY_GOTO(status, done, read_names(class_names, c.net.classes, &names));
    FUL_TRY_GOTO(status, done, ful_net_read_weights(net, c.net.arch, path, false, info_out));
    FUL_TRY_GOTO(status, done, ful_config_write(&c, &yaml));
    const ful__checkpoint_model model = {
        .net = net, .config = yaml, .classes = names, .channels = c.net.in_channels, .mean = c.data.mean, .std = c.data.std};
    FUL_TRY_GOTO(status, done, ful__checkpoint_write(checkpoint, &model));
done:
    ful_net_destroy(&net);
    ful__free(yaml);
    ful__free(names);
    return status;
}
