/* SPDX-License-Identifier: Apache-2.0 */
/* The optimiser over a net's tensors, as the public header offers it. */
#include <fulcrum/optim.h>

#include "core/error.h"
#include "train/optim.h"

struct ful_optim {
    ful__optim *optim;
    ful_tensor *tensors;
};

static ful_status build(ful_optim *o, const ful_train_config *config, ful_net *net)
{
    const int n = ful_net_tensor_count(net);
    FUL_TRY(ful__calloc(&o->tensors, (size_t)n, sizeof *o->tensors, "a list of parameters"));
    for (int i = 0; i < n; i++) FUL_TRY(ful_net_tensor(net, i, &o->tensors[i]));
    return ful__optim_create(config, o->tensors, n, &o->optim);
}

ful_status ful_optim_create(const ful_train_config *config, ful_net *net, ful_optim **out)
{
    FUL_FAIL_IF(!config || !net || !out, FUL_ERR_ARG, "cannot make an optimiser with config, net or out NULL: all are needed");
    *out = NULL;
    ful_optim *o;
    FUL_TRY(ful__calloc(&o, 1, sizeof *o, "an optimiser"));
    const ful_status status = build(o, config, net);
    if (status != FUL_OK) ful_optim_destroy(&o);
    *out = o;
    return status;
}

void ful_optim_destroy(ful_optim **optim)
{
    if (!optim || !*optim) return;
    ful__optim_destroy(&(*optim)->optim);
    ful__free((*optim)->tensors);
    ful__free(*optim);
    *optim = NULL;
}

ful_status ful_optim_step(ful_optim *optim, double lr, int64_t step, double *norm_out)
{
    double norm = 0;
    FUL_FAIL_IF(!optim, FUL_ERR_ARG, "cannot make a step with optim NULL: an optimiser is needed");
    FUL_TRY(ful__optim_step(optim->optim, lr, step, &norm));
    if (norm_out) *norm_out = norm;
    return FUL_OK;
}
