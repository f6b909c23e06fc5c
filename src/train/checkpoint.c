/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run to a safetensors file and back (doc/format-checkpoint.md). Tensors: parameters under their own names, optimiser state
 * and averages as "<kind>/<name>", the probe of first choices as "probe/<layer>". What is not a tensor is JSON in the metadata
 * "state", whose numbers read back exactly.
 */
#include <fulcrum/core.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "train/checkpoint.h"
#include "train/run.h"

/* Metadata --------------------------------------------------------------------------------------------------------------- */

enum { META_MAX = 16, TEXT_MAX = 8 };
#define FORMAT_STEM "fulcrum-checkpoint-" /* and its version */

typedef struct metadata {
    ful__st_meta entries[META_MAX];
    int n;
    char *texts[TEXT_MAX]; /* owned */
    int n_texts;
    char seed[24], epoch[24], step[24], init_hash[24];
} metadata;

static void add(metadata *m, const char *key, const char *value)
{
    m->entries[m->n++] = (ful__st_meta){key, value};
}

static ful_status add_json(metadata *m, const char *key, ful__emitter *j)
{
    FUL_TRY(ful__emit_take(j, &m->texts[m->n_texts]));
    add(m, key, m->texts[m->n_texts++]);
    return FUL_OK;
}

static ful_status add_floats(metadata *m, const char *key, const float *values, int n)
{
    ful__emitter j = {0};
    char text[FUL__NUMBER_BYTES];
    ful__emit_open(&j, NULL, '[');
    for (int i = 0; i < n; i++) ful__emit_raw(&j, NULL, ful__float_text(values[i], text));
    ful__emit_close(&j, ']');
    return add_json(m, key, &j);
}

static ful_status add_classes(metadata *m, const ful__run *run)
{
    ful__emitter j = {0};
    ful__emit_open(&j, NULL, '[');
    for (int c = 0; c < run->config.net.classes; c++)
        ful__emit_text(&j, NULL, ful_dataset_class_name(run->data[FUL_SPLIT_TRAIN], c));
    ful__emit_close(&j, ']');
    return add_json(m, "classes", &j);
}

static ful_status fill_metadata(metadata *m, const ful__run *run)
{
    const ful_dataset_info *info = &run->info[FUL_SPLIT_TRAIN];
    snprintf(m->seed, sizeof m->seed, "%" PRIu64, run->config.train.seed);
    snprintf(m->epoch, sizeof m->epoch, "%d", run->h.epoch);
    snprintf(m->step, sizeof m->step, "%" PRId64, run->h.step);
    snprintf(m->init_hash, sizeof m->init_hash, "%016" PRIx64, run->init_hash);
    add(m, "format", FUL__CHECKPOINT_FORMAT);
    add(m, "version", ful_version());
    add(m, "config", run->yaml);
    add(m, "seed", m->seed);
    add(m, "epoch", m->epoch);
    add(m, "step", m->step);
    add(m, "init_hash", m->init_hash);
    FUL_TRY(add_classes(m, run));
    FUL_TRY(add_floats(m, "mean", info->mean, info->channels));
    FUL_TRY(add_floats(m, "std", info->std, info->channels));
    if (run->routing) add(m, "routing", run->routing);
    FUL_TRY(ful__state_write(run, &m->texts[m->n_texts]));
    add(m, "state", m->texts[m->n_texts++]);
    return FUL_OK;
}

static void metadata_deinit(metadata *m)
{
    for (int i = 0; i < TEXT_MAX; i++) ful__free(m->texts[i]);
}

/* Tensors ---------------------------------------------------------------------------------------------------------------- */

typedef struct listing {
    ful__st_tensor *tensors;
    char **names; /* owned */
    int n;
} listing;

static void listing_deinit(listing *l)
{
    for (int i = 0; i < l->n; i++) ful__free(l->names[i]);
    ful__free(l->names);
    ful__free(l->tensors);
}

static ful_status add_tensor(listing *l, const char *kind, const char *name, const ful__st_tensor *tensor)
{
    const size_t bytes = strlen(kind) + strlen(name) + 2;
    FUL_TRY(ful__calloc(&l->names[l->n], bytes, 1, "a tensor's name"));
    snprintf(l->names[l->n], bytes, "%s%s%s", kind, *kind ? "/" : "", name);
    l->tensors[l->n] = *tensor;
    l->tensors[l->n].name = l->names[l->n];
    l->n++;
    return FUL_OK;
}

static ful__st_tensor float_tensor(const ful_tensor *t, const float *value)
{
    ful__st_tensor out = {.dtype = FUL__F32, .rank = t->rank, .count = t->count, .data = value};
    memcpy(out.shape, t->shape, (size_t)t->rank * sizeof t->shape[0]);
    return out;
}

/* All tensors of a run, in place: for writing them, and for finding them in a file. */
static ful_status list_tensors(const ful__run *run, listing *l)
{
    const int states = ful__optim_state_count(run->optim);
    const size_t most = (size_t)(run->n_tensors + states + run->n_layers);
    FUL_TRY(ful__calloc(&l->tensors, most, sizeof *l->tensors, "a list of tensors"));
    FUL_TRY(ful__calloc(&l->names, most, sizeof *l->names, "a list of names"));
    for (int i = 0; i < run->n_tensors; i++) {
        const ful__st_tensor t = float_tensor(&run->tensors[i], run->tensors[i].value);
        FUL_TRY(add_tensor(l, "", run->tensors[i].name, &t));
    }
    for (int i = 0; i < states; i++) {
        const ful__optim_state s = ful__optim_state_at(run->optim, i);
        const ful__st_tensor t = float_tensor(s.tensor, s.value);
        FUL_TRY(add_tensor(l, s.kind, s.tensor->name, &t));
    }
    for (int i = 0; i < run->n_layers; i++) {
        const ful__layer *layer = &run->layers[i];
        const ful__st_tensor t = {
            .dtype = FUL__I32, .rank = 1, .shape = {layer->n_probe}, .count = layer->n_probe, .data = layer->probe};
        FUL_TRY(add_tensor(l, "probe", layer->name, &t));
    }
    return FUL_OK;
}

ful_status ful__checkpoint_save(ful__run *run, const char *name)
{
    metadata m = {0};
    listing l = {0};
    char *path = NULL;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, fill_metadata(&m, run));
    FUL_TRY_GOTO(status, done, list_tensors(run, &l));
    FUL_TRY_GOTO(status, done, ful__folder_path(run, name, &path));
    FUL_TRY_GOTO(status, done, ful__st_write(path, l.tensors, l.n, m.entries, m.n));
done:
    ful__free(path);
    listing_deinit(&l);
    metadata_deinit(&m);
    return status;
}

ful_status ful__checkpoint_write(const char *path, const ful__checkpoint_model *model)
{
    metadata m = {0};
    ful__st_tensor *tensors = NULL;
    ful_status status = FUL_OK;
    const int n = ful_net_tensor_count(model->net);
    add(&m, "format", FUL__CHECKPOINT_FORMAT);
    add(&m, "version", ful_version());
    add(&m, "config", model->config);
    add(&m, "classes", model->classes);
    add(&m, "seed", "0");
    add(&m, "epoch", "0");
    add(&m, "step", "0");
    FUL_TRY_GOTO(status, done, add_floats(&m, "mean", model->mean, model->channels));
    FUL_TRY_GOTO(status, done, add_floats(&m, "std", model->std, model->channels));
    FUL_TRY_GOTO(status, done, ful__calloc(&tensors, (size_t)n, sizeof *tensors, "a list of tensors"));
    for (int i = 0; i < n; i++) {
        ful_tensor t;
        FUL_TRY_GOTO(status, done, ful_net_tensor(model->net, i, &t));
        tensors[i] = float_tensor(&t, t.value);
        tensors[i].name = t.name;
    }
    FUL_TRY_GOTO(status, done, ful__st_write(path, tensors, n, m.entries, m.n));
done:
    ful__free(tensors);
    metadata_deinit(&m);
    return status;
}

/* Reading ---------------------------------------------------------------------------------------------------------------- */

ful_status ful__checkpoint_open(const char *path, ful__st_file **out)
{
    FUL_TRY(ful__st_open(path, out));
    const char *format = ful__st_meta_get(*out, "format");
    if (format && strcmp(format, FUL__CHECKPOINT_FORMAT) == 0 && ful__st_meta_get(*out, "config")) return FUL_OK;
    const char *version = ful__st_meta_get(*out, "version");
    if (format && strncmp(format, FORMAT_STEM, strlen(FORMAT_STEM)) == 0 && strcmp(format, FUL__CHECKPOINT_FORMAT) != 0)
        (void)ful__fail(FUL_ERR_FORMAT,
                        "cannot use '%s': it has the format '%.40s' of fulcrum %.20s, and fulcrum %s reads '%s'", path, format,
                        version ? version : "?", ful_version(), FUL__CHECKPOINT_FORMAT);
    else
        (void)ful__fail(FUL_ERR_FORMAT,
                        "cannot use '%s': its metadata must have the format '%s' and a config, and it has '%.40s' (weights of "
                        "another program: fulcrum import)",
                        path, FUL__CHECKPOINT_FORMAT, format ? format : "");
    ful__st_close(out);
    return FUL_ERR_FORMAT;
}

const char *ful__checkpoint_kind(const ful__st_file *file)
{
    for (int i = 0; i < ful__st_count(file); i++)
        if (strncmp(ful__st_tensor_at(file, i)->name, "ema/", 4) == 0) return "ema";
    return "";
}

static ful_status find_tensor(const ful__st_file *file, const ful__st_tensor *wanted, const ful__st_tensor **out)
{
    const ful__st_tensor *t = ful__st_find(file, wanted->name);
    FUL_FAIL_IF(!t, FUL_ERR_FORMAT, "it must have the tensor '%s'", wanted->name);
    const bool same = t->dtype == wanted->dtype && t->rank == wanted->rank &&
                      memcmp(t->shape, wanted->shape, (size_t)t->rank * sizeof t->shape[0]) == 0;
    FUL_FAIL_IF(!same, FUL_ERR_FORMAT, "its tensor '%s' must have the net's shape (%lld values there, %lld here)", wanted->name,
                (long long)t->count, (long long)wanted->count);
    *out = t;
    return FUL_OK;
}

ful_status ful__checkpoint_read_params(const ful__st_file *file, const char *kind, ful_net *net)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        char name[FUL__ST_NAME_MAX + 1];
        const ful__st_tensor *found = NULL;
        ful_tensor t;
        FUL_TRY(ful_net_tensor(net, i, &t));
        ful__st_tensor wanted = float_tensor(&t, t.value);
        snprintf(name, sizeof name, "%s%s%s", kind, *kind ? "/" : "", t.name);
        wanted.name = name;
        FUL_TRY(find_tensor(file, &wanted, &found));
        memcpy(t.value, found->data, (size_t)t.count * sizeof(float));
    }
    ful_net_touched(net);
    return FUL_OK;
}

/* A probe may have any length up to the most. */
static ful_status read_probe(const ful__st_file *file, ful__layer *layer)
{
    char name[FUL__ST_NAME_MAX + 1];
    snprintf(name, sizeof name, "probe/%s", layer->name);
    const ful__st_tensor *t = ful__st_find(file, name);
    FUL_FAIL_IF(!t || t->dtype != FUL__I32 || t->rank != 1 || t->count > FUL__PROBE_TOKENS, FUL_ERR_FORMAT,
                "it must have the tensor '%s', a list of at most %d I32", name, FUL__PROBE_TOKENS);
    layer->n_probe = t->count;
    memcpy(layer->probe, t->data, (size_t)t->count * sizeof *layer->probe);
    return FUL_OK;
}

/* The run's tensors are all there, and others: names one. */
static ful_status refuse_extra(const ful__run *run, const ful__st_file *file)
{
    listing l = {0};
    const char *extra = "";
    const ful_status status = list_tensors(run, &l);
    for (int i = 0; i < ful__st_count(file) && status == FUL_OK; i++) {
        const char *name = ful__st_tensor_at(file, i)->name;
        bool known = false;
        for (int k = 0; k < l.n && !known; k++) known = strcmp(l.names[k], name) == 0;
        if (!known) extra = name;
    }
    listing_deinit(&l);
    FUL_TRY(status);
    return ful__fail(FUL_ERR_FORMAT, "its tensor '%s' is none of the run's", extra);
}

static ful_status read_tensors(ful__run *run, const ful__st_file *file)
{
    const int states = ful__optim_state_count(run->optim), wanted_count = run->n_tensors + states + run->n_layers;
    FUL_TRY(ful__checkpoint_read_params(file, "", run->net));
    for (int i = 0; i < states; i++) {
        char name[FUL__ST_NAME_MAX + 1];
        const ful__optim_state s = ful__optim_state_at(run->optim, i);
        const ful__st_tensor *found = NULL;
        ful__st_tensor wanted = float_tensor(s.tensor, s.value);
        snprintf(name, sizeof name, "%s/%s", s.kind, s.tensor->name);
        wanted.name = name;
        FUL_TRY(find_tensor(file, &wanted, &found));
        memcpy(s.value, found->data, (size_t)found->count * sizeof(float));
    }
    for (int i = 0; i < run->n_layers; i++) FUL_TRY(read_probe(file, &run->layers[i]));
    return ful__st_count(file) == wanted_count ? FUL_OK : refuse_extra(run, file);
}

ful_status ful__checkpoint_load(ful__run *run, const char *path)
{
    ful__st_file *file = NULL;
    FUL_TRY(ful__checkpoint_open(path, &file));
    const char *routing = ful__st_meta_get(file, "routing");
    ful_status status = ful__state_read(run, ful__st_meta_get(file, "state"));
    if (status == FUL_OK) status = read_tensors(run, file);
    if (status != FUL_OK && status != FUL_ERR_MEMORY) status = ful__fail_context(status, "cannot resume from '%s'", path);
    if (status == FUL_OK && routing) status = ful__strdup(&run->routing, routing);
    ful__st_close(&file);
    return status;
}
