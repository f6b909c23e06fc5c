/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: tables of the blocks data, net and train; reading, writing, explaining, resolving. */
#include "train/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"

/* Lists of the data block -------------------------------------------------------------------------------------------------- */

/* mean, std: [r, g, b], or one number for all. */
static ful_status read_channels(const ful__key *key, const ful__spot *spot, void *base)
{
    float *values = (float *)(void *)((unsigned char *)base + key->offset);
    if (ful__yaml_is_null(spot->node)) return FUL_OK;
    if (spot->node->kind != FUL__YAML_LIST || (spot->node->count != 1 && spot->node->count != 3))
        return ful__spot_fail(spot, "must be a list of 1 or 3 numbers, one a channel");
    for (int i = 0; i < 3; i++) {
        const ful__spot item = ful__spot_item(spot, i < spot->node->count ? i : 0);
        double value = 0;
        if (!ful__yaml_as_double(item.node, &value) || !(value >= 0 && value <= 1) || (key->above_min && (float)value <= 0))
            return ful__spot_fail(&item, "must be a number %s 0 and <= 1 (of pixel/255)", key->above_min ? ">" : ">=");
        values[i] = (float)value;
    }
    ((ful_data_config *)base)->normalize_given = true;
    return FUL_OK;
}

static ful_status push_text(ful__yaml *list, const char *text)
{
    ful__yaml *item = NULL;
    FUL_TRY(ful__yaml_new(FUL__YAML_SCALAR, text, &item));
    return ful__yaml_push(list, item);
}

static ful_status write_channels(const ful__key *key, const void *base, ful__yaml **out)
{
    const float *values = (const float *)(const void *)((const unsigned char *)base + key->offset);
    if (!((const ful_data_config *)base)->normalize_given) return FUL_OK;
    ful_status status = FUL_OK;
    char text[FUL__NUMBER_BYTES];
    FUL_TRY(ful__yaml_new(FUL__YAML_LIST, NULL, out));
    for (int i = 0; i < 3 && status == FUL_OK; i++) status = push_text(*out, ful__float_text(values[i], text));
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

/* Tables ---------------------------------------------------------------------------------------------------------------- */

#define DATA  ful_data_config
#define NET   ful_net_config
#define TRAIN ful_train_config

static const char *const ten_crops[] = {"none", "logits", "probabilities", NULL};
static const char *const label_levels[] = {"fine", "coarse", NULL};
static const char *const emnist_parts[] = {"balanced", "byclass", "bymerge", "digits", "letters", "mnist", NULL};
static const char *const on_errors[] = {"error", "skip", NULL};

static const char *const decodes[] = {"auto", "cache", "stream", NULL};

static const ful__key data_keys[] = {
    {"name", FUL__TEXT(DATA, name),
     .help = "what lies at path: clusters, cifar10, cifar100, tiny-imagenet, imagenet, mnist, fashion-mnist, kmnist, emnist, "
             "webdataset, folder, pack"},
    {"path", FUL__TEXT(DATA, path), .help = "its root; \"\" = $FULCRUM_DATA/<name>"},
    {"cache", FUL__TEXT(DATA, cache), .help = "folder of decoded caches; \"\" = the user's cache folder"},
    {"labels", FUL__WORD(DATA, labels, label_levels), .help = "cifar100: 100 fine or 20 coarse classes"},
    {"emnist", FUL__WORD(DATA, emnist, emnist_parts), .help = "emnist: which of its parts"},
    {"on_error", FUL__WORD(DATA, on_error, on_errors),
     .help = "a damaged image: error stops and names it; skip leaves it out, counts and reports it"},
    {"size", FUL__INT(DATA, size, 0, 1024), .help = "height = width images are brought to; 0 = the set's own"},
    {"channels", FUL__INT(DATA, channels, 0, 3), .help = "1 or 3; 0 = the set's own"},
    {"train_limit", FUL__INT(DATA, train_limit, 0, INT32_MAX),
     .help = "use only that many training images, class-balanced; 0 = all"},
    {"test_limit", FUL__INT(DATA, test_limit, 0, INT32_MAX), .help = "use only that many test images, class-balanced; 0 = all"},
    {"val_fraction", FUL__REAL(DATA, val_fraction, 0, 0.5), .help = "share of the training set split off for validation"},
    {"val_seed", FUL__SEED(DATA, val_seed), .help = "seed of that split; the same in all arms"},
    {"crop", FUL__INT(DATA, crop, 0, 1024),
     .help = "height = width the net sees, cut from images of data.size (evaluation: the centre); 0 = all of it"},
    {"augment", FUL__CUSTOM(ful__config_read_augment, ful__config_write_augment), FUL__AT(DATA, augment),
     .type = "list of items, see below", .help = "how training images are changed, e.g. [crop4, flip]"},
    {"ten_crop", FUL__WORD(DATA, ten_crop, ten_crops), .help = "evaluate centre and corners, mirrored too, and average that"},
    {"mean", FUL__CUSTOM(read_channels, write_channels), FUL__AT(DATA, mean), .type = "list of 1 or 3 numbers",
     .fallback = "of the training split", .help = "per channel, of pixel/255; goes with std"},
    {"std", FUL__CUSTOM(read_channels, write_channels), FUL__AT(DATA, std), .above_min = true, .type = "list of 1 or 3 numbers",
     .fallback = "of the training split", .help = "per channel, of pixel/255; goes with mean"},
    {"decode", FUL__WORD(DATA, decode, decodes),
     .help = "image files: once, into a cache, or each for its batch; auto: cache up to 4 GiB"},
    {"timeout", FUL__INT(DATA, timeout, 0, INT32_MAX),
     .help = "seconds until a batch that is not ready ends the run; 0 = never"},
    {"workers", FUL__INT(DATA, workers, 0, 64), .help = "loader threads; 0 = decode in the training thread"},
    {"gen_train", FUL__INT(DATA, gen_train, 1, 10000000), .help = "clusters: training images"},
    {"gen_test", FUL__INT(DATA, gen_test, 1, 10000000), .help = "clusters: test images"},
    {"gen_classes", FUL__INT(DATA, gen_classes, 2, 1000), .help = "clusters: classes"},
    {"gen_clusters", FUL__INT(DATA, gen_clusters, 1, 64), .help = "clusters: latent clusters a class"},
    {"gen_noise", FUL__REAL(DATA, gen_noise, 0, 255), .help = "clusters: sd of the pixel noise, of 255"},
    {"gen_seed", FUL__SEED(DATA, gen_seed), .help = "clusters: seed of the generator"},
    {NULL}};

static const char *const pools[] = {"token", "mean", NULL};
static const char *const positions[] = {"none", "learned", "sincos", NULL};
static const char *const mlps[] = {"gelu", "geglu", "swiglu", NULL};

static const ful__key net_keys[] = {
    {"arch", FUL__TEXT(NET, arch),
     .help = "a net of doc/nets.md: resnet20, resnet50, mobilenet_v3_small, convnext_atto, mixer_s, vit_tiny, ..."},
    {"width", FUL__INT(NET, width, 0, 65536), .help = "channels of the first stage; 0 = the arch's own"},
    {"depth", FUL__INT(NET, depth, 0, 1000), .help = "mlp: hidden layers, mixers, vit: blocks; 0 = the arch's own"},
    {"patch", FUL__INT(NET, patch, 0, 1024), .help = "mixers, vit: side of a patch; 0 = 16, or 4 up to 64 px"},
    {"height", FUL__INT(NET, height, 0, 1024), .help = "input height = width; 0 = from the data set"},
    {"in_channels", FUL__INT(NET, in_channels, 0, 4096), .help = "input channels; 0 = from the data set"},
    {"classes", FUL__INT(NET, classes, 0, 1000000), .help = "0 = from the data set"},
    {"dropout", FUL__REAL(NET, dropout, 0, 1), .below_max = true, .help = "before the classifier"},
    {"drop_path", FUL__REAL(NET, drop_path, 0, 1), .below_max = true,
     .help = "stochastic depth of the last block, linear over depth"},
    {"conv", FUL__TEXT(NET, conv), .type = "auto | direct | winograd | patches | strips",
     .help = "how convolutions are computed; auto = as a measurement on this machine prefers"},
    {"stem", FUL__TEXT(NET, stem), .type = "auto | small | large",
     .help = "small keeps an image's size, large takes a quarter of its side; auto = small up to 64 px"},
    {"heads", FUL__INT(NET, vit.heads, 0, 1024), .help = "vit: attention heads; 0 = the arch's own, or width / 64"},
    {"pool", FUL__WORD(NET, vit.pool, pools), .help = "vit: a class token, or the mean of all tokens"},
    {"positions", FUL__WORD(NET, vit.positions, positions), .help = "vit: what tells tokens where they are"},
    {"qk_norm", FUL__BOOL(NET, vit.qk_norm), .help = "vit: layer norm of queries and keys"},
    {"layer_scale", FUL__REAL(NET, vit.layer_scale, 0, 1),
     .help = "vit: learned factor of each residual branch, starting so; 0 = none"},
    {"mlp_ratio", FUL__REAL(NET, vit.mlp_ratio, 0, 1000), .above_min = true, .help = "vit: hidden width of the MLPs / width"},
    {"mlp", FUL__WORD(NET, vit.mlp, mlps), .help = "vit: fc2(gelu(fc1 x)), or gated with gelu or silu"},
    {"weights", FUL__TEXT(NET, weights),
     .help = "safetensors file to start from: torchvision's, timm's or a checkpoint; \"\" = drawn"},
    {NULL}};

static const char *const optimizers[] = {"sgd", "adamw", NULL};
static const char *const schedules[] = {"cosine", "step", "linear", "const", NULL};

static const ful__key train_keys[] = {
    {"epochs", FUL__INT(TRAIN, epochs, 1, 1000000), .help = "passes over the training split"},
    {"batch", FUL__INT(TRAIN, batch, 1, 1000000), .help = "images a step; the capacity of a mixture depends on it"},
    {"optimizer", FUL__WORD(TRAIN, optimizer, optimizers), .help = "SGD with momentum, or AdamW"},
    {"lr", FUL__REAL(TRAIN, lr, 0, INFINITY), .above_min = true, .fallback = "0.1 | adamw 0.001", .help = "peak learning rate"},
    {"momentum", FUL__REAL(TRAIN, momentum, 0, 1), .below_max = true, .help = "sgd"},
    {"nesterov", FUL__BOOL(TRAIN, nesterov), .help = "sgd"},
    {"beta1", FUL__REAL(TRAIN, beta1, 0, 1), .below_max = true, .help = "adamw"},
    {"beta2", FUL__REAL(TRAIN, beta2, 0, 1), .below_max = true, .help = "adamw"},
    {"eps", FUL__REAL(TRAIN, eps, 0, 1), .above_min = true, .help = "adamw"},
    {"weight_decay", FUL__REAL(TRAIN, weight_decay, 0, INFINITY), .fallback = "0.0005 | adamw 0.05",
     .help = "not on norms and biases; sgd: added to the gradient, adamw: decoupled"},
    {"schedule", FUL__WORD(TRAIN, schedule, schedules), .help = "of the learning rate"},
    {"lr_final", FUL__REAL(TRAIN, lr_final, 0, 1), .help = "share of lr at the end of cosine and linear"},
    {"warmup", FUL__REAL(TRAIN, warmup, 0, INFINITY), .help = "epochs of linear warm-up, may be fractional"},
    {"step_epochs", FUL__INT(TRAIN, step_epochs, 1, 1000000), .help = "schedule step: lr *= step_gamma every so many epochs"},
    {"step_gamma", FUL__REAL(TRAIN, step_gamma, 0, 1), .above_min = true, .help = "schedule step"},
    {"label_smoothing", FUL__REAL(TRAIN, label_smoothing, 0, 1), .help = "share of the target spread over all classes"},
    {"clip_norm", FUL__REAL(TRAIN, clip_norm, 0, INFINITY), .help = "limit of the global gradient norm; 0 = off"},
    {"ema", FUL__REAL(TRAIN, ema, 0, 1), .below_max = true,
     .help = "decay of averaged weights, evaluated instead of the weights; 0 = off"},
    {"init_from", FUL__TEXT(TRAIN, init_from),
     .help = "run or checkpoint whose weights to start from; experts copy its dense blocks; \"\" = drawn"},
    {"init_split", FUL__INT(TRAIN, init_split, 1, FUL_EXPERTS_MAX),
     .help = "slices of hidden units a dense block of init_from is cut into, each the start of an expert"},
    {"init_grouped", FUL__BOOL(TRAIN, init_grouped),
     .help = "slices of one copy start with equal rows of the router: chosen together, they are the dense block"},
    {"seed", FUL__SEED(TRAIN, seed), .help = "initial weights, data order, augmentation, dropout, router noise"},
    {"eval_every", FUL__INT(TRAIN, eval_every, 1, 1000000),
     .help = "epochs between evaluations; the last epoch is always evaluated"},
    {"eval_test", FUL__BOOL(TRAIN, eval_test), .help = "evaluate test too each time, for curves only; never used to choose"},
    {"collapse_stop", FUL__BOOL(TRAIN, collapse_stop),
     .help = "a collapse alarm (3 epochs in a row) stops the run instead of warning"},
    {"threads", FUL__INT(TRAIN, threads, 0, 1024), .help = "0 = as set for the process"},
    {NULL}};

/* Defaults -------------------------------------------------------------------------------------------------------------- */

static void optimizer_defaults(ful_train_config *t)
{
    t->lr = t->optimizer == FUL_OPT_SGD ? 0.1 : 1e-3;
    t->weight_decay = t->optimizer == FUL_OPT_SGD ? 5e-4 : 0.05;
}

void ful_config_defaults(ful_config *config)
{
    memset(config, 0, sizeof *config); /* padding too: configs are compared byte by byte in tests */
    ful_data_config_defaults(&config->data);
    ful_net_config_defaults(&config->net);
    ful_train_config *t = &config->train;
    t->epochs = 30;
    t->batch = 128;
    t->momentum = 0.9;
    t->nesterov = true;
    t->beta1 = 0.9;
    t->beta2 = 0.999;
    t->eps = 1e-8;
    t->step_epochs = 10;
    t->step_gamma = 0.1;
    t->init_split = 1;
    t->init_grouped = true;
    t->seed = 1;
    t->eval_every = 1;
    t->eval_test = true;
    optimizer_defaults(t);
}

/* Reading --------------------------------------------------------------------------------------------------------------- */

static ful_status check_kind(const ful__spot *spot, const char *name)
{
    enum { MOST_KINDS = 64 };
    const char *names[MOST_KINDS] = {0};
    const ful_data_kind *kinds = ful_data_kinds();
    for (int i = 0; kinds[i].name && i < MOST_KINDS - 1; i++) {
        if (strcmp(name, kinds[i].name) == 0) return FUL_OK;
        names[i] = kinds[i].name;
    }
    return ful__spot_unknown_word(spot, names);
}

static ful_status read_data(const ful__spot *root, ful_data_config *data)
{
    const ful__spot spot = ful__spot_key(root, "data"), name = ful__spot_key(&spot, "name");
    FUL_TRY(ful__schema_read(data_keys, &spot, data));
    if (name.node) FUL_TRY(check_kind(&name, data->name));
    const ful__spot channels = ful__spot_key(&spot, "channels");
    const ful__spot crop = ful__spot_key(&spot, "crop");
    if (data->crop > 0 && data->size < data->crop)
        return ful__spot_fail(&crop, "must be at most data.size, which must be given with it");
    if (data->channels == 2) return ful__spot_fail(&channels, "must be 1 or 3, or 0 for the set's own");
    const ful__spot mean = ful__spot_key(&spot, "mean"), std = ful__spot_key(&spot, "std");
    const bool has_mean = mean.node && !ful__yaml_is_null(mean.node), has_std = std.node && !ful__yaml_is_null(std.node);
    if (has_mean && !has_std) return ful__spot_fail(&mean, "must stand together with std");
    if (has_std && !has_mean) return ful__spot_fail(&std, "must stand together with mean");
    return FUL_OK;
}

static ful_status read_train(const ful__spot *root, ful_train_config *train)
{
    const ful__spot spot = ful__spot_key(root, "train");
    if (spot.node && spot.node->kind == FUL__YAML_MAP) FUL_TRY(ful__schema_read_key(train_keys, "optimizer", &spot, train));
    optimizer_defaults(train); /* they depend on the optimiser, so it is read first */
    FUL_TRY(ful__schema_read(train_keys, &spot, train));
    const ful__spot warmup = ful__spot_key(&spot, "warmup"), split = ful__spot_key(&spot, "init_split");
    if (train->init_split > 1 && !*train->init_from)
        return ful__spot_fail(&split, "needs train.init_from, whose dense blocks it cuts");
    if (train->warmup > train->epochs) return ful__spot_fail(&warmup, "must be at most train.epochs, %d", train->epochs);
    return FUL_OK;
}

ful_status ful__config_trial_graph(const ful_config *config, int n_moe, ful_graph **out)
{
    ful_net_config net = config->net;
    if (net.height == 0) net.height = config->data.crop ? config->data.crop : config->data.size;
    if (net.height == 0) net.height = net.patch > 0 ? net.patch : 32;
    if (net.in_channels == 0) net.in_channels = config->data.channels ? config->data.channels : 3;
    if (net.classes == 0) net.classes = 10;
    net.n_moe = n_moe;
    return ful_net_build_graph(&net, out);
}

static ful_status check_arch(const ful__spot *net, const char *arch)
{
    enum { MOST_ARCHS = 128 };
    const char *names[MOST_ARCHS] = {0};
    const ful__spot spot = ful__spot_key(net, "arch");
    const ful_arch_about *about = ful_arch_names();
    for (int i = 0; about[i].name && i < MOST_ARCHS - 1; i++) {
        if (strcmp(arch, about[i].name) == 0) return FUL_OK;
        names[i] = about[i].name;
    }
    return ful__spot_unknown_word(&spot, names);
}

/* The layers below check what they build; a failure is laid at the first block without which the net can be built. */
static ful_status check_net(const ful__spot *root, const ful_config *config)
{
    ful_graph *graph = NULL;
    ful_status status = ful__config_trial_graph(config, config->net.n_moe, &graph);
    ful_graph_destroy(&graph);
    if (status == FUL_OK || status == FUL_ERR_MEMORY) return status;
    ful__spot blamed = ful__spot_key(root, "net");
    const ful__spot list = ful__spot_key(root, "moe");
    for (int n = 0; n <= config->net.n_moe; n++) {
        status = ful__config_trial_graph(config, n, &graph);
        ful_graph_destroy(&graph);
        if (n > 0) blamed = ful__spot_item(&list, n - 1);
        if (status != FUL_OK) return ful__spot_context(&blamed, status);
    }
    return ful__fail(FUL_ERR_INTERNAL, "cannot build the net of %s: it failed once and then did not", root->file);
}

static bool has_key(const ful__key *keys, const char *name)
{
    while (keys->name && strcmp(keys->name, name) != 0) keys++;
    return keys->name != NULL;
}

/* A key of a block may have been written without its block. */
static ful_status unknown_at_the_top(const char *const *blocks, const ful__spot *root, int i)
{
    static const struct {
        const char *name;
        const ful__key *keys;
    } in[] = {{"data", data_keys}, {"net", net_keys}, {"train", train_keys}};
    const char *name = root->node->keys[i];
    const ful__spot spot = ful__spot_key(root, name);
    for (size_t b = 0; b < sizeof in / sizeof *in; b++)
        if (has_key(in[b].keys, name))
            return ful__spot_fail(&spot, "there is no such key (did you mean '%s.%s'?)", in[b].name, name);
    return ful__spot_unknown_key(blocks, root, i);
}

static ful_status read_config(const char *name, const ful__yaml *tree, ful_config *out)
{
    /* `router` and `dense` are applied to the moe list as it is read. */
    static const char *const blocks[] = {"data", "net", "moe", "train", "router", "dense", NULL};
    const ful__spot root = {.file = name, .node = tree};
    ful_config_defaults(out);
    if (!ful__yaml_is_null(tree)) {
        FUL_FAIL_IF(tree->kind != FUL__YAML_MAP, FUL_ERR_CONFIG,
                    "cannot use %s, line %d: a configuration must be a map of keys", name, tree->line);
        for (int i = 0; i < tree->count; i++) {
            bool known = false;
            for (int j = 0; blocks[j]; j++) known = known || strcmp(tree->keys[i], blocks[j]) == 0;
            if (!known) return unknown_at_the_top(blocks, &root, i);
        }
    }
    const ful__spot net = ful__spot_key(&root, "net");
    FUL_TRY(read_data(&root, &out->data));
    FUL_TRY(ful__schema_read(net_keys, &net, &out->net));
    FUL_TRY(check_arch(&net, out->net.arch));
    FUL_TRY(read_train(&root, &out->train));
    const ful__spot data = ful__spot_key(&root, "data"), augment = ful__spot_key(&data, "augment");
    if (out->train.batch % out->data.augment.repeats != 0)
        return ful__spot_fail(&augment, "repeat.times = %d must divide train.batch, %d", out->data.augment.repeats,
                              out->train.batch);
    FUL_TRY(ful__config_read_moe(&root, out));
    return check_net(&root, out);
}

ful_status ful_config_parse(const char *name, const char *yaml, ful_config *out)
{
    ful__yaml *tree = NULL;
    FUL_TRY(ful__yaml_parse(name, yaml, strlen(yaml), &tree));
    const ful_status status = read_config(name, tree, out);
    ful__yaml_destroy(&tree);
    return status;
}

static void forget_lines(ful__yaml *node)
{
    node->line = 0;
    for (int i = 0; i < node->count; i++) forget_lines(node->items[i]);
}

/* The node that "a.b.0=…" has just set: its lines count from its own start, which means nothing to a reader. */
static ful__yaml *find_set(ful__yaml *node, const char *assignment)
{
    char key[FUL__YAML_KEY_BYTES + 1];
    for (const char *at = assignment; node && *at && *at != '='; at += *at == '.') {
        const size_t n = strcspn(at, ".=");
        if (n > FUL__YAML_KEY_BYTES) return NULL;
        memcpy(key, at, n);
        key[n] = '\0';
        int i = 0;
        if (node->kind != FUL__YAML_LIST)
            node = ful__yaml_get(node, key);
        else
            node = sscanf(key, "%9d", &i) == 1 && i < node->count ? node->items[i] : NULL;
        at += n;
    }
    return node;
}

static ful_status apply_sets(ful__yaml **tree, const char *const *set, int n_set)
{
    if (n_set > 0 && ful__yaml_is_null(*tree)) {
        ful__yaml_destroy(tree);
        FUL_TRY(ful__yaml_new(FUL__YAML_MAP, NULL, tree));
    }
    for (int i = 0; i < n_set; i++) {
        FUL_TRY(ful__yaml_set(*tree, set[i]));
        ful__yaml *node = find_set(*tree, set[i]);
        if (node) forget_lines(node);
    }
    return FUL_OK;
}

ful_status ful_config_load(const char *path, const char *const *set, int n_set, ful_config *out)
{
    ful__yaml *tree = NULL;
    ful_status status = FUL_OK;
    FUL_FAIL_IF(path && ful__path_is_dir(path), FUL_ERR_CONFIG,
                "cannot read the configuration '%s': it is a folder; a run's configuration is its config.yaml", path);
    FUL_TRY_GOTO(status, done, path ? ful__yaml_load(path, &tree) : ful__yaml_new(FUL__YAML_MAP, NULL, &tree));
    FUL_TRY_GOTO(status, done, apply_sets(&tree, set, n_set));
    FUL_TRY_GOTO(status, done, read_config(path ? path : "the defaults", tree, out));
done:
    ful__yaml_destroy(&tree);
    return status;
}

/* Writing and explaining ------------------------------------------------------------------------------------------------ */

static ful_status put_block(ful__yaml *root, const char *name, const ful__key *keys, const void *base)
{
    ful__yaml *block = NULL;
    FUL_TRY(ful__schema_write(keys, base, &block));
    return ful__yaml_put(root, name, block);
}

ful_status ful__config_tree(const ful_config *config, ful__yaml **out)
{
    ful__yaml *moe = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__yaml_new(FUL__YAML_MAP, NULL, out));
    FUL_TRY_GOTO(status, failed, put_block(*out, "data", data_keys, &config->data));
    FUL_TRY_GOTO(status, failed, put_block(*out, "net", net_keys, &config->net));
    FUL_TRY_GOTO(status, failed, ful__config_write_moe(&config->net, &moe));
    FUL_TRY_GOTO(status, failed, ful__yaml_put(*out, "moe", moe));
    FUL_TRY_GOTO(status, failed, put_block(*out, "train", train_keys, &config->train));
    return FUL_OK;
failed:
    ful__yaml_destroy(out);
    return status;
}

ful_status ful_config_write(const ful_config *config, char **yaml_out)
{
    ful__yaml *root = NULL;
    *yaml_out = NULL;
    FUL_TRY(ful__config_tree(config, &root));
    const ful_status status = ful__yaml_write(root, yaml_out);
    ful__yaml_destroy(&root);
    return status;
}

/* Keys beside the blocks; config_moe.c reads them. */
static const ful__key whole_keys[] = {
    {"router", FUL__CUSTOM(NULL, NULL), .type = "a router's name", .fallback = "each its own",
     .help = "replaces every mixture's router"},
    {"dense", FUL__CUSTOM(NULL, NULL), .type = "none | active | single | param", .fallback = "none",
     .help = "every mixture becomes a dense block of width k*hidden | hidden | experts*hidden"},
    {NULL}};

ful_status ful_config_help(char **text_out)
{
    ful_config config;
    ful_moe_site site;
    ful__str s = {0};
    *text_out = NULL;
    ful_config_defaults(&config);
    ful__moe_site_defaults(&site, FUL_EXPERT_MLP);
    ful__str_add(&s, "data: the images\n");
    ful__schema_help(&s, data_keys, "data.", &config.data);
    ful__config_help_augment(&s);
    ful__str_add(&s, "\nnet: the classifier\n");
    ful__schema_help(&s, net_keys, "net.", &config.net);
    ful__str_add(&s, "\nmoe: a list of mixtures, each with these keys\n");
    ful__schema_help(&s, ful__moe_keys, "moe[].", &site);
    ful__str_add(&s, "\nfor all mixtures at once\n");
    ful__schema_help(&s, whole_keys, "", NULL);
    ful__str_add(&s, "\ntrain: the training\n");
    ful__schema_help(&s, train_keys, "train.", &config.train);
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK) *text_out = ful__str_take(&s);
    ful__str_deinit(&s);
    return status;
}

/* From the data set ------------------------------------------------------------------------------------------------------ */

/* Fills a size that is 0; one that was given must be the data set's. */
static ful_status settle(const char *key, int *value, int actual)
{
    FUL_FAIL_IF(*value != 0 && *value != actual, FUL_ERR_CONFIG, "cannot use net.%s = %d: the data set has %d", key, *value,
                actual);
    *value = actual;
    return FUL_OK;
}

ful_status ful__config_settle(ful_config *config, const ful_dataset_info *info)
{
    const int crop = config->data.crop;
    FUL_FAIL_IF(!crop && info->height != info->width, FUL_ERR_DATA, "cannot train on %d x %d images: they must be square",
                info->width, info->height);
    FUL_TRY(settle("height", &config->net.height, crop ? crop : info->height));
    FUL_TRY(settle("in_channels", &config->net.in_channels, info->channels));
    return settle("classes", &config->net.classes, info->classes);
}

ful_status ful_config_resolve(ful_config *config)
{
    ful_dataset *set = NULL;
    ful_dataset_info info;
    FUL_TRY(ful_dataset_open(&config->data, FUL_SPLIT_TRAIN, &set));
    ful_dataset_info_get(set, &info);
    ful_dataset_destroy(&set);
    return ful__config_settle(config, &info);
}
