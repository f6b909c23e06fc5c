/* SPDX-License-Identifier: Apache-2.0 */
/* Absorbed attention as what it stands for: the linear layer at all positions, then attention with one query. */
#include <stdlib.h>

#include "ops/common.h"
#include "ops/ref.h"

/* The two layers, and what passes between them: queries, keys and values of all images, and their gradients. */
typedef struct layers {
    ful__op *linear, *attention;
    double *qkv, *dqkv;
    ful__ref first, second;
} layers;

static void end(layers *l)
{
    ful__free(l->qkv);
    if (l->attention) l->attention->type->destroy(l->attention);
    if (l->linear) l->linear->type->destroy(l->linear);
}

static ful_status begin(layers *l, const ful__ref *r)
{
    const ful__absorbed_attr *attr = r->attr;
    *l = (layers){0};
    FUL_TRY(ful__op_linear.create("qkv", &attr->qkv, r->op->x, 1, &l->linear));
    FUL_TRY(ful__op_attention.create("attention", &attr->attention, &l->linear->y, 1, &l->attention));
    const size_t count = (size_t)r->n * (size_t)ful__count(l->linear->y);
    FUL_TRY(ful__calloc(&l->qkv, 2 * count + 1, sizeof *l->qkv, "a reference"));
    l->dqkv = l->qkv + count;
    l->first = l->second = *r;
    l->first.op = l->linear;
    l->first.attr = &attr->qkv;
    l->first.y = l->qkv;
    l->first.dy = l->dqkv;
    l->second.op = l->attention;
    l->second.attr = &attr->attention;
    l->second.x[0] = l->qkv;
    l->second.dx[0] = l->dqkv;
    l->second.w = l->second.dw = NULL;
    return FUL_OK;
}

void ful__absorbed_attention_fwd__ref(const ful__ref *r)
{
    layers l;
    if (begin(&l, r) != FUL_OK) abort();
    ful__linear_fwd__ref(&l.first);
    ful__attention_fwd__ref(&l.second);
    end(&l);
}

void ful__absorbed_attention_bwd__ref(const ful__ref *r)
{
    layers l;
    if (begin(&l, r) != FUL_OK) abort();
    ful__linear_fwd__ref(&l.first);
    ful__attention_bwd__ref(&l.second);
    ful__linear_bwd__ref(&l.first);
    end(&l);
}
