/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a run from the weights of another (train.init_from). Where the other net has a dense block and this one a mixture,
 * the experts start from the block,
 *
 *   block3.moe.expert.5.fc1.weight   from itself where the file has it, else from   block3.ffn.fc1.weight
 *
 * in one of two ways:
 *
 *   copies   (sparse upcycling; card E1: Komatsuzaki et al. 2023) every expert is the block; routers stay as drawn.
 *   slices   (granular splitting; card E5; train.init_split = m) the block's h hidden units are cut into m slices of h/m, and
 *            expert m*c + j has slice j of copy c. The slices of a copy add up to the block; a mixture weighs what it adds, so
 *            the second layer's weight is multiplied by m * min(1, k/m) over what k gates sum to (k for `fixed`, otherwise 1),
 *            and its bias, which each expert has whole, by 1 over that sum. With train.init_grouped the router's rows of one
 *            copy start equal (the virtual groups of He et al. 2024, arXiv 2410.07524): top-k then takes copies whole, their
 *            gates are equal, and the net starts as the dense one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "graph/graph.h"
#include "moe/moe_op.h"
#include "nets/net.h"
#include "train/checkpoint.h"
#include "train/model.h"

typedef struct source {
    const ful__st_file *file;
    const char *kind; /* of its tensors: "ema" or "" */
    const ful_train_config *train;
    const ful_net *net;
} source;

static const ful__st_tensor *find(const source *s, const char *name)
{
    char full[2 * FUL__ST_NAME_MAX];
    snprintf(full, sizeof full, "%s%s%s", s->kind, *s->kind ? "/" : "", name);
    return ful__st_find(s->file, full);
}

/* Parameters of mixtures --------------------------------------------------------------------------------------------------- */

/* "block3.moe.expert.5.fc1.weight", taken apart. */
typedef struct expert_param {
    const ful_moe_attr *attr; /* of the mixture, */
    int k;                    /* experts it runs on a token, */
    int site;                 /* bytes of "block3" */
    int number;               /* 5 */
    const char *part;         /* ".fc1.weight" */
} expert_param;

/* The mixture "<site>.moe" of the net; NULL where there is none. */
static const ful__node *find_mixture(const ful_net *net, const char *name, int site)
{
    const size_t length = (size_t)site + strlen(".moe");
    for (int i = 0; i < net->graph->count; i++) {
        const ful__node *node = &net->graph->nodes[i];
        if (node->type == &ful__op_moe && strlen(node->name) == length && strncmp(node->name, name, length) == 0) return node;
    }
    return NULL;
}

static bool split_name(const ful_net *net, const char *name, expert_param *out)
{
    static const char word[] = ".moe.expert.";
    const char *expert = strstr(name, word);
    char *rest = NULL;
    if (!expert) return false;
    const long number = strtol(expert + strlen(word), &rest, 10);
    const int site = (int)(expert - name);
    const ful__node *mixture = find_mixture(net, name, site);
    if (*rest != '.' || !mixture) return false;
    ful__moe_account account;
    ful__moe_account_get(mixture->op, &account);
    *out = (expert_param){.attr = mixture->attr, .k = account.k, .site = site, .number = (int)number, .part = rest};
    return true;
}

/* The dense block's tensor: that of "<site>.ffn", or where the mixture stands in a ConvNeXt's block that block's own. `name`
 * becomes the first that was looked for. */
static const ful__st_tensor *find_dense(const source *s, const char *of, const expert_param *p, char name[FUL__ST_NAME_MAX + 1])
{
    char own[FUL__ST_NAME_MAX + 1];
    snprintf(name, FUL__ST_NAME_MAX + 1, "%.*s.ffn%s", p->site, of, p->part);
    snprintf(own, sizeof own, "%.*s%s", p->site, of, p->part);
    const ful__st_tensor *found = find(s, name);
    return found || !p->attr->bare ? found : find(s, own);
}

/* Slices ------------------------------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *part, const char *a, const char *b)
{
    return strcmp(part, a) == 0 || strcmp(part, b) == 0;
}

static ful_status check_split(const source *s, const ful_tensor *t, const expert_param *p)
{
    const int m = s->train->init_split, site = p->site;
    FUL_FAIL_IF(p->attr->experts % m != 0, FUL_ERR_CONFIG,
                "mixture '%.*s.moe' with experts = %d, train.init_split = %d: every copy of the block becomes %d experts, so "
                "their number must be a multiple of it",
                site, t->name, p->attr->experts, m, m);
    FUL_FAIL_IF(
        p->attr->norm == FUL_EXPERT_NORM_LAYER, FUL_ERR_CONFIG,
        "mixture '%.*s.moe' with norm = layer, train.init_split = %d: the block's norm is over all its hidden units, so "
        "only experts with norm none or batch can be slices of it",
        site, t->name, m);
    return FUL_OK;
}

/* Where `dim` of the tensor, the hidden units (`halves` times, one after the other), is m times as long in the block's. */
static ful_status check_slice(const source *s, const ful_tensor *t, const ful__st_tensor *from, int dim, int halves)
{
    const int64_t m = s->train->init_split, hidden = t->shape[dim] / halves;
    const int64_t whole = from->rank == t->rank ? from->shape[dim] / halves : 0;
    bool same = from->dtype == FUL__F32 && from->rank == t->rank && from->shape[dim] == whole * halves;
    for (int i = 0; i < t->rank && same; i++) same = i == dim || from->shape[i] == t->shape[i];
    FUL_FAIL_IF(!same, FUL_ERR_FORMAT,
                "its tensor '%s' must have the shape of '%s' but for the hidden units (%lld values there, %lld here)",
                from->name, t->name, (long long)from->count, (long long)t->count);
    FUL_FAIL_IF(whole % m != 0, FUL_ERR_CONFIG,
                "its block of '%s' has %lld hidden units and train.init_split = %lld: that must divide their number",
                from->name, (long long)whole, (long long)m);
    FUL_FAIL_IF(whole != hidden * m, FUL_ERR_CONFIG,
                "its block of '%s' has %lld hidden units and train.init_split = %lld: the experts of '%s' must have hidden = "
                "%lld, not %lld",
                from->name, (long long)whole, (long long)m, t->name, (long long)(whole / m), (long long)hidden);
    return FUL_OK;
}

/* value[halves*outer][hidden][inner] = factor * data[halves*outer][m*hidden][inner], of each m*hidden the slice-th hidden. */
static void cut(const ful_tensor *t, const ful__st_tensor *from, int dim, int halves, int64_t m, int64_t slice, float factor)
{
    int64_t inner = 1, outer = halves;
    for (int i = dim + 1; i < t->rank; i++) inner *= t->shape[i];
    for (int i = 0; i < dim; i++) outer *= t->shape[i];
    const int64_t run = t->shape[dim] / halves * inner;
    const float *data = from->data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < run; i++) t->value[o * run + i] = factor * data[(o * m + slice) * run + i];
}

static ful_status take_slice(const source *s, const ful_tensor *t, const expert_param *p, const ful__st_tensor *from)
{
    const int m = s->train->init_split;
    const float gates = strcmp(p->attr->router, "fixed") == 0 ? (float)p->k : 1;
    const float scale = (float)(p->k < m ? p->k : m) / gates;
    FUL_TRY(check_split(s, t, p));
    if (is_one_of(p->part, ".fc2.bias", ".conv2.bias")) {
        FUL_FAIL_IF(from->dtype != FUL__F32 || from->rank != 1 || from->count != t->count, FUL_ERR_FORMAT,
                    "its tensor '%s' must have the shape of '%s' (%lld values there, %lld here)", from->name, t->name,
                    (long long)from->count, (long long)t->count);
        for (int64_t i = 0; i < t->count; i++) t->value[i] = ((const float *)from->data)[i] / gates;
        return FUL_OK;
    }
    const bool second = is_one_of(p->part, ".fc2.weight", ".conv2.weight");
    const int dim = second ? 1 : 0, halves = !second && p->attr->gated ? 2 : 1;
    FUL_TRY(check_slice(s, t, from, dim, halves));
    cut(t, from, dim, halves, m, p->number % m, second ? scale : 1);
    return FUL_OK;
}

/* A drawn router, [experts * slots][d], whose rows for the slices of one copy become those of the first. */
static void group_rows(const source *s, const ful_tensor *t)
{
    static const char weight[] = ".moe.router.weight";
    const size_t length = strlen(t->name);
    const int m = s->train->init_split;
    if (m == 1 || !s->train->init_grouped || length < sizeof weight ||
        strcmp(t->name + length + 1 - sizeof weight, weight) != 0)
        return;
    const ful__node *mixture = find_mixture(s->net, t->name, (int)(length + 1 - sizeof weight));
    const ful_moe_attr *attr = mixture ? mixture->attr : NULL;
    if (!attr || strcmp(attr->router, "hash") == 0 || attr->experts % m != 0) return; /* a hash has no row of an expert */
    const int64_t row = t->count / attr->experts;
    for (int e = 0; e < attr->experts; e++)
        memmove(t->value + e * row, t->value + (e - e % m) * row, (size_t)row * sizeof(float));
}

/* A net ------------------------------------------------------------------------------------------------------------------ */

static ful_status take_whole(const ful_tensor *t, const ful__st_tensor *from)
{
    FUL_FAIL_IF(from->dtype != FUL__F32 || from->rank != t->rank ||
                    memcmp(from->shape, t->shape, (size_t)t->rank * sizeof t->shape[0]) != 0,
                FUL_ERR_FORMAT, "its tensor '%s' must have the shape of '%s' (%lld values there, %lld here)", from->name,
                t->name, (long long)from->count, (long long)t->count);
    memcpy(t->value, from->data, (size_t)t->count * sizeof(float));
    return FUL_OK;
}

/* Fills one parameter; its own tensor comes before the dense block's. */
static ful_status take(const source *s, const ful_tensor *t)
{
    char dense[FUL__ST_NAME_MAX + 1] = "";
    expert_param p;
    const ful__st_tensor *from = find(s, t->name);
    if (from) return take_whole(t, from);
    if (strstr(t->name, ".moe.router.")) {
        group_rows(s, t);
        return FUL_OK;
    }
    if (split_name(s->net, t->name, &p)) from = find_dense(s, t->name, &p, dense);
    FUL_FAIL_IF(!from, FUL_ERR_FORMAT, "it must have the tensor '%s'%s%s%s", t->name, *dense ? " or '" : "", dense,
                *dense ? "'" : "");
    return s->train->init_split > 1 ? take_slice(s, t, &p, from) : take_whole(t, from);
}

ful_status ful__upcycle(const ful_train_config *train, ful_net *net)
{
    char *path = NULL;
    ful__st_file *file = NULL;
    ful_status status = FUL_OK;
    FUL_FAIL_IF(train->init_split < 1, FUL_ERR_CONFIG,
                "cannot start from '%s' with train.init_split = %d: it must be at least 1", train->init_from,
                train->init_split);
    FUL_TRY_GOTO(status, done, ful__model_path(train->init_from, &path));
    FUL_TRY_GOTO(status, done, ful__checkpoint_open(path, &file));
    const source s = {.file = file, .kind = ful__checkpoint_kind(file), .train = train, .net = net};
    for (int i = 0; i < ful_net_tensor_count(net) && status == FUL_OK; i++) {
        ful_tensor t;
        status = ful_net_tensor(net, i, &t);
        if (status == FUL_OK) status = take(&s, &t);
    }
    if (status == FUL_ERR_FORMAT || status == FUL_ERR_CONFIG)
        status = ful__fail_context(status, "cannot start from '%s'", path);
    ful_net_touched(net);
done:
    ful__st_close(&file);
    ful__free(path);
    return status;
}
