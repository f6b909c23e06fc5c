/* SPDX-License-Identifier: Apache-2.0 */
/* The list of references. */
#include "ops/ref.h"

#include <string.h>

static const ful__ref_entry entries[] = {
    {"conv2d", ful__conv2d_fwd__ref, ful__conv2d_bwd__ref},
    {"conv_fused", ful__conv_fused_fwd__ref, NULL},
    {"separable", ful__separable_fwd__ref, NULL},
    {"linear", ful__linear_fwd__ref, ful__linear_bwd__ref},
    {"reorder", ful__reorder_fwd__ref, ful__reorder_bwd__ref},
    {"batchnorm", ful__batchnorm_fwd__ref, ful__batchnorm_bwd__ref},
    {"layernorm", ful__layernorm_fwd__ref, ful__layernorm_bwd__ref},
    {"act", ful__act_fwd__ref, ful__act_bwd__ref},
    {"add", ful__add_fwd__ref, ful__add_bwd__ref},
    {"global_avg_pool", ful__global_avg_pool_fwd__ref, ful__global_avg_pool_bwd__ref},
    {"pool", ful__pool_fwd__ref, ful__pool_bwd__ref},
    {"flatten", ful__flatten_fwd__ref, ful__flatten_bwd__ref},
    {"dropout", ful__dropout_fwd__ref, ful__dropout_bwd__ref},
    {"scale", ful__scale_fwd__ref, ful__scale_bwd__ref},
    {"attention", ful__attention_fwd__ref, ful__attention_bwd__ref},
    {"absorbed_attention", ful__absorbed_attention_fwd__ref, ful__absorbed_attention_bwd__ref},
    {"tokens", ful__tokens_fwd__ref, ful__tokens_bwd__ref},
    {"take", ful__take_fwd__ref, ful__take_bwd__ref},
    {"excite", ful__excite_fwd__ref, ful__excite_bwd__ref},
    {"transpose", ful__transpose_fwd__ref, ful__transpose_bwd__ref},
    {"mlp", ful__mlp_fwd__ref, ful__mlp_bwd__ref},
    {NULL, NULL, NULL},
};

const ful__ref_entry *ful__ref_find(const char *op)
{
    for (const ful__ref_entry *e = entries; e->op; e++)
        if (strcmp(e->op, op) == 0) return e;
    return NULL;
}
