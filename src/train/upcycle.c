/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a run from the weights of another (train.init_from). Sparse upcycling (card E1: Komatsuzaki et al. 2023): where the
 * other net has a dense block and this one a mixture, every expert starts as a copy of the block; routers stay as drawn.
 *
 *   block3.moe.expert.5.fc1.weight   from itself where the file has it, else from   block3.ffn.fc1.weight
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "train/checkpoint.h"
#include "train/model.h"

/* The dense block's name of an expert's parameter; false where it is none. */
static bool dense_name(const char *name, char out[FUL__ST_NAME_MAX + 1])
{
    static const char word[] = ".moe.expert.";
    const char *expert = strstr(name, word);
    char *rest = NULL;
    if (!expert) return false;
    (void)strtol(expert + strlen(word), &rest, 10);
    if (*rest != '.') return false;
    snprintf(out, FUL__ST_NAME_MAX + 1, "%.*s.ffn%s", (int)(expert - name), name, rest);
    return true;
}

static const ful__st_tensor *find(const ful__st_file *file, const char *kind, const char *name)
{
    char full[2 * FUL__ST_NAME_MAX];
    snprintf(full, sizeof full, "%s%s%s", kind, *kind ? "/" : "", name);
    return ful__st_find(file, full);
}

/* Fills one parameter; its own tensor comes before the dense block's. */
static ful_status take(const ful__st_file *file, const char *kind, const ful_tensor *t)
{
    char dense[FUL__ST_NAME_MAX + 1] = "";
    const ful__st_tensor *from = find(file, kind, t->name);
    if (!from && dense_name(t->name, dense)) from = find(file, kind, dense);
    if (!from && strstr(t->name, ".moe.router.")) return FUL_OK;
    FUL_FAIL_IF(!from, FUL_ERR_FORMAT, "it must have the tensor '%s'%s%s%s", t->name, *dense ? " or '" : "", dense,
                *dense ? "'" : "");
    FUL_FAIL_IF(from->dtype != FUL__F32 || from->rank != t->rank ||
                    memcmp(from->shape, t->shape, (size_t)t->rank * sizeof t->shape[0]) != 0,
                FUL_ERR_FORMAT, "its tensor '%s' must have the shape of '%s' (%lld values there, %lld here)", from->name,
                t->name, (long long)from->count, (long long)t->count);
    memcpy(t->value, from->data, (size_t)t->count * sizeof(float));
    return FUL_OK;
}

ful_status ful__upcycle(const char *run_or_checkpoint, ful_net *net)
{
    char *path = NULL;
    ful__st_file *file = NULL;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__model_path(run_or_checkpoint, &path));
    FUL_TRY_GOTO(status, done, ful__checkpoint_open(path, &file));
    const char *kind = ful__checkpoint_kind(file);
    for (int i = 0; i < ful_net_tensor_count(net) && status == FUL_OK; i++) {
        ful_tensor t;
        status = ful_net_tensor(net, i, &t);
        if (status == FUL_OK) status = take(file, kind, &t);
    }
    if (status == FUL_ERR_FORMAT) status = ful__fail_context(status, "cannot start from '%s'", path);
    ful_net_touched(net);
done:
    ful__st_close(&file);
    ful__free(path);
    return status;
}
