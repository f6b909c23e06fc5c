/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the weights of another program into a net of ours (weights.h): the naming with the most tensors in the file is
 * taken; every tensor of the net must then be there in its shape, and every one of the file must be used. Shapes are equal but
 * for sides of 1 (a linear layer stored as a 1x1 convolution). Convolutions [out][in/groups][h][w] and linear layers [out][in]
 * lie as PyTorch has them.
 */
#include "train/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/str.h"
#include "train/checkpoint.h"

typedef struct loader {
    const ful__st_file *file;
    const char *arch;
    ful_net *net;
    bool other_classes;
    const char *own; /* a checkpoint of ours: what stands before its names; NULL: another program's file */
    const ful__naming *naming;
    int *blocks; /* [stages + 1] of each stage, by its number */
    int stages, all_blocks;
    bool *used; /* [tensors of the file] */
    ful__str missing, misshapen;
    int n_missing, n_misshapen;
    ful_weights_info info;
} loader;

enum { STAGES_MAX = 1024, NAMES_SHOWN = 3 };

/* Our names --------------------------------------------------------------------------------------------------------------- */

static bool has_tensor(const ful_net *net, const char *name)
{
    ful_tensor t;
    for (int i = 0; i < ful_net_tensor_count(net); i++)
        if (ful_net_tensor(net, i, &t) == FUL_OK && strcmp(t.name, name) == 0) return true;
    return false;
}

static ful_status count_blocks(loader *l)
{
    FUL_TRY(ful__calloc(&l->blocks, STAGES_MAX + 1, sizeof *l->blocks, "the blocks of a net"));
    for (int k = 0; k < ful_net_tensor_count(l->net); k++) {
        char general[FUL__WEIGHT_NAME_MAX];
        ful__name_vars v = {.i = -1};
        ful_tensor t;
        FUL_TRY(ful_net_tensor(l->net, k, &t));
        ful__name_generalise(t.name, general, &v);
        if (v.s < 1 || v.s > STAGES_MAX) continue;
        if (v.s > l->stages) l->stages = v.s;
        if (v.i + 1 > l->blocks[v.s]) l->blocks[v.s] = v.i + 1;
    }
    for (int s = 1; s <= l->stages; s++) l->all_blocks += l->blocks[s];
    return FUL_OK;
}

/* Whether the block of the name has, and has not, the modules that `when` lists. */
static bool applies(const loader *l, const char *when, const ful__name_vars *v)
{
    while (when && *when) {
        char name[FUL__WEIGHT_NAME_MAX];
        const size_t length = strcspn(when + 1, "+-");
        snprintf(name, sizeof name, "stage%d.%d.%.*s.weight", v->s, v->i, (int)length, when + 1);
        if (has_tensor(l->net, name) != (*when == '+')) return false;
        when += 1 + length;
    }
    return true;
}

/* Mixtures and their dense twins are ours alone: where the file does not have them, they start as drawn. */
static bool is_site(const char *name)
{
    return strstr(name, ".moe.") || strstr(name, ".ffn.");
}

/* What a naming calls our tensor; false where it has no rule for it. */
static bool their_name(const loader *l, const ful__naming *naming, const char *name, char out[FUL__WEIGHT_NAME_MAX])
{
    if (l->own) {
        snprintf(out, FUL__WEIGHT_NAME_MAX, "%s%s", l->own, name);
        return true;
    }
    char general[FUL__WEIGHT_NAME_MAX];
    ful__name_vars v = {.n = l->all_blocks, .m = l->stages};
    ful__name_generalise(name, general, &v);
    for (int s = 1; s < v.s && s <= l->stages; s++) v.b += l->blocks[s];
    v.b += v.i;
    const char *ending = strrchr(general, '.');
    const size_t module = ending ? (size_t)(ending - general) : strlen(general);
    for (const ful__name_rule *r = naming->rules; r->ours; r++) {
        const bool whole = strcmp(r->ours, general) == 0;
        if (!whole && (strlen(r->ours) != module || strncmp(r->ours, general, module) != 0)) continue;
        if (!applies(l, r->when, &v)) continue;
        ful__name_fill(r->theirs, &v, whole ? "" : ending, out);
        return true;
    }
    return false;
}

/* Choosing the naming ------------------------------------------------------------------------------------------------------ */

static ful_status count_found(const loader *l, const ful__naming *naming, int *out)
{
    *out = 0;
    for (int k = 0; k < ful_net_tensor_count(l->net); k++) {
        char name[FUL__WEIGHT_NAME_MAX];
        ful_tensor t;
        FUL_TRY(ful_net_tensor(l->net, k, &t));
        if (their_name(l, naming, t.name, name)) *out += ful__st_find(l->file, name) != NULL;
    }
    return FUL_OK;
}

static bool is_for(const ful__naming *naming, const char *arch)
{
    return strncmp(arch, naming->archs, strlen(naming->archs)) == 0;
}

/* A checkpoint of ours has our names; averaged weights are the model where there are any. */
static bool is_own(loader *l)
{
    const char *format = ful__st_meta_get(l->file, "format");
    if (!format || strcmp(format, FUL__CHECKPOINT_FORMAT) != 0) return false;
    l->own = "";
    for (int i = 0; i < ful__st_count(l->file); i++)
        if (strncmp(ful__st_tensor_at(l->file, i)->name, "ema/", 4) == 0) l->own = "ema/";
    return true;
}

static ful_status choose_naming(loader *l)
{
    int most = 0;
    bool any = false;
    snprintf(l->info.names, sizeof l->info.names, "fulcrum");
    if (is_own(l)) return FUL_OK;
    for (const ful__naming *n = ful__namings(); n->program; n++) {
        int found = 0;
        if (!is_for(n, l->arch)) continue;
        any = true;
        FUL_TRY(count_found(l, n, &found));
        if (found > most) {
            most = found;
            l->naming = n;
        }
    }
    FUL_FAIL_IF(!any, FUL_ERR_CONFIG, "no other program's names for %s are known: doc/nets.md lists those that are", l->arch);
    FUL_FAIL_IF(!l->naming, FUL_ERR_FORMAT,
                "none of its %d tensors, such as '%s', is named as torchvision or timm name those of %s",
                ful__st_count(l->file), ful__st_count(l->file) ? ful__st_tensor_at(l->file, 0)->name : "", l->arch);
    snprintf(l->info.names, sizeof l->info.names, "%s", l->naming->program);
    return FUL_OK;
}

/* Copying -------------------------------------------------------------------------------------------------------------------
 */

/* The sides that are not 1. */
static int squeeze(const int64_t *shape, int rank, int64_t out[FUL__ST_RANK_MAX])
{
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (shape[i] != 1) out[n++] = shape[i];
    return n;
}

static bool same_shape(const ful_tensor *t, const ful__st_tensor *from)
{
    int64_t a[FUL__ST_RANK_MAX], b[FUL__ST_RANK_MAX];
    const int n = squeeze(t->shape, t->rank, a);
    return n == squeeze(from->shape, from->rank, b) && memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static void add_shape(ful__str *s, const int64_t *shape, int rank)
{
    for (int i = 0; i < rank; i++) ful__str_addf(s, "%s%lld", i ? "x" : "", (long long)shape[i]);
}

static void add_misshapen(loader *l, const ful_tensor *t, const ful__st_tensor *from)
{
    if (l->n_misshapen++ >= NAMES_SHOWN) return;
    ful__str_addf(&l->misshapen, "%s'%s' is ", l->n_misshapen > 1 ? ", " : "", from->name);
    add_shape(&l->misshapen, from->shape, from->rank);
    ful__str_addf(&l->misshapen, " and here, as %s, ", t->name);
    add_shape(&l->misshapen, t->shape, t->rank);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* The classifier of another number of classes stays as it was drawn, where that is allowed. */
static bool left_fresh(loader *l, const ful_tensor *t, const ful__st_tensor *from)
{
    if (!l->other_classes || strncmp(t->name, "fc.", 3) != 0 || from->rank < 1 || from->shape[0] == t->shape[0]) return false;
    l->info.file_classes = from->shape[0] < INT32_MAX ? (int)from->shape[0] : INT32_MAX;
    l->info.fresh++;
    return true;
}

/* Numbers that a net could not run with are refused here, where the tensor's name is known. */
static ful_status check_values(const ful_tensor *t, const ful__st_tensor *from)
{
    const bool variance = ends_with(t->name, ".running_var");
    for (int64_t i = 0; i < t->count; i++) {
        FUL_FAIL_IF(!isfinite(t->value[i]), FUL_ERR_FORMAT, "value %lld of tensor '%s' is not a finite float32: %g",
                    (long long)i, from->name, (double)t->value[i]);
        FUL_FAIL_IF(variance && t->value[i] < 0, FUL_ERR_FORMAT,
                    "value %lld of tensor '%s' is %g: a running variance is not negative", (long long)i, from->name,
                    (double)t->value[i]);
    }
    return FUL_OK;
}

static ful_status copy(loader *l, const ful_tensor *t, const ful__st_tensor *from)
{
    if (!same_shape(t, from)) {
        if (!left_fresh(l, t, from)) add_misshapen(l, t, from);
        return FUL_OK;
    }
    FUL_FAIL_IF(!ful__st_floats(from, t->value), FUL_ERR_FORMAT, "tensor '%s' holds whole numbers, and weights are fractions",
                from->name);
    FUL_TRY(check_values(t, from));
    l->info.read++;
    if (l->naming && ends_with(t->name, ".running_var"))
        for (int64_t i = 0; i < t->count; i++) t->value[i] += l->naming->var_shift;
    return FUL_OK;
}

static ful_status copy_all(loader *l)
{
    for (int k = 0; k < ful_net_tensor_count(l->net); k++) {
        char name[FUL__WEIGHT_NAME_MAX] = "?";
        ful_tensor t;
        FUL_TRY(ful_net_tensor(l->net, k, &t));
        const bool named = their_name(l, l->naming, t.name, name);
        const ful__st_tensor *from = named ? ful__st_find(l->file, name) : NULL;
        if (is_site(t.name) && (!named || l->own) && !(from && same_shape(&t, from))) {
            l->info.fresh++;
        } else if (from) {
            for (int i = 0; i < ful__st_count(l->file); i++) l->used[i] |= ful__st_tensor_at(l->file, i) == from;
            FUL_TRY(copy(l, &t, from));
        } else if (l->n_missing++ < NAMES_SHOWN) {
            ful__str_addf(&l->missing, "%s'%s' (here %s)", l->n_missing > 1 ? ", " : "", name, t.name);
        }
    }
    return FUL_OK;
}

static ful_status check_all_used(const loader *l)
{
    ful__str names = {0};
    int unused = 0;
    for (int i = 0; i < ful__st_count(l->file); i++) {
        const char *name = ful__st_tensor_at(l->file, i)->name;
        if (l->used[i] || ends_with(name, ".num_batches_tracked") || (l->own && (strchr(name, '/') || is_site(name)))) continue;
        if (unused++ < NAMES_SHOWN) ful__str_addf(&names, "%s'%s'", unused > 1 ? ", " : "", name);
    }
    ful_status status = unused > 0 ? ful__str_status(&names) : FUL_OK;
    if (status == FUL_OK && unused > 0)
        status = ful__fail(FUL_ERR_FORMAT, "it has %d tensors that %s has no place for: %s%s", unused, l->arch, names.data,
                           unused > NAMES_SHOWN ? ", ..." : "");
    ful__str_deinit(&names);
    return status;
}

static ful_status check(const loader *l)
{
    if (l->n_missing > 0) {
        FUL_TRY(ful__str_status(&l->missing));
        return ful__fail(FUL_ERR_FORMAT, "it lacks %d of the tensors of %s: %s%s", l->n_missing, l->arch, l->missing.data,
                         l->n_missing > NAMES_SHOWN ? ", ..." : "");
    }
    if (l->n_misshapen > 0) {
        FUL_TRY(ful__str_status(&l->misshapen));
        return ful__fail(FUL_ERR_FORMAT,
                         "%d of its tensors have other shapes than those of the net (net.stem, net.width and "
                         "net.height decide): %s%s",
                         l->n_misshapen, l->misshapen.data, l->n_misshapen > NAMES_SHOWN ? ", ..." : "");
    }
    return check_all_used(l);
}

/* Use ------------------------------------------------------------------------------------------------------------------- */

static ful_status load(loader *l)
{
    FUL_TRY(ful__calloc(&l->used, (size_t)ful__st_count(l->file) + 1, sizeof *l->used, "a list of tensors"));
    FUL_TRY(count_blocks(l));
    FUL_TRY(choose_naming(l));
    FUL_TRY(copy_all(l));
    return check(l);
}

/* PyTorch's own files are zip archives. */
static ful_status open_file(const char *path, ful__st_file **out)
{
    ful__file f;
    char magic[4] = "";
    size_t got = 0;
    *out = NULL;
    FUL_TRY(ful__file_open(&f, path));
    const ful_status status = ful__file_read_at(&f, path, 0, magic, sizeof magic, &got);
    ful__file_close(&f);
    FUL_TRY(status);
    FUL_FAIL_IF(got == 4 && memcmp(magic, "PK\3\4", 4) == 0, FUL_ERR_FORMAT,
                "cannot read '%s': it is a zip archive, as torch.save writes; it must be safetensors "
                "(safetensors.torch.save_file(model.state_dict(), ...))",
                path);
    return ful__st_open(path, out);
}

ful_status ful__weights_take(ful_net *net, const char *arch, const char *path, const ful__st_file *file, bool other_classes,
                             ful_weights_info *info_out)
{
    loader l = {.file = file, .arch = arch, .net = net, .other_classes = other_classes};
    ful_status status = load(&l);
    ful_net_touched(net);
    if (status != FUL_OK && status != FUL_ERR_MEMORY)
        status = ful__fail_context(status, "cannot take the weights of '%s'%s%s%s", path, l.naming ? " (named as in " : "",
                                   l.naming ? l.naming->program : "", l.naming ? ")" : "");
    if (info_out) *info_out = l.info;
    ful__str_deinit(&l.missing);
    ful__str_deinit(&l.misshapen);
    ful__free(l.blocks);
    ful__free(l.used);
    return status;
}

ful_status ful_net_read_weights(ful_net *net, const char *arch, const char *path, bool other_classes,
                                ful_weights_info *info_out)
{
    FUL_FAIL_IF(!net || !arch || !path, FUL_ERR_ARG, "cannot read weights with net, arch or path NULL: all are needed");
    ful__st_file *file = NULL;
    FUL_TRY(open_file(path, &file));
    const ful_status status = ful__weights_take(net, arch, path, file, other_classes, info_out);
    ful__st_close(&file);
    return status;
}

ful_status ful__weights_classes(const char *path, const char *arch, int *out)
{
    ful__st_file *file = NULL;
    const ful__st_tensor *fc = NULL;
    FUL_TRY(open_file(path, &file));
    for (const ful__naming *n = ful__namings(); n->program && !fc; n++)
        for (const ful__name_rule *r = n->rules; r->ours && is_for(n, arch) && !fc; r++) {
            char name[FUL__WEIGHT_NAME_MAX];
            snprintf(name, sizeof name, "%s.weight", r->theirs);
            if (strcmp(r->ours, "fc") == 0) fc = ful__st_find(file, name);
        }
    if (!fc) fc = ful__st_find(file, "fc.weight");
    const bool usable = fc && fc->rank > 0 && fc->count > 0 && fc->shape[0] > 1 && fc->shape[0] < INT32_MAX;
    *out = usable ? (int)fc->shape[0] : 0;
    ful__st_close(&file);
    FUL_FAIL_IF(*out == 0, FUL_ERR_FORMAT, "cannot take the weights of '%s': no classifier with a name known for %s is in it",
                path, arch);
    return FUL_OK;
}
