/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a net. */
#ifndef FUL_NETS_NET_H
#define FUL_NETS_NET_H

#include "core/mem.h"
#include "graph/exec.h"
#include <fulcrum/net.h>

enum { FUL__SPLIT_TRAIN = 0, FUL__SPLIT_EVAL = 1, FUL__SPLITS = 2 };

/* One way to run the net: for training, or for inference. */
typedef struct ful__pass {
    ful__exec *exec;
    int n_max;        /* images it takes at once: a step's batch, or what inference cuts a batch into */
    size_t packed_at; /* its packed weights in the net's work block, behind its own work */
    bool stale;       /* parameters changed, or the other pass ran, since they were written */
    ful__op **moe;    /* [n_moe] the mixtures, borrowed from exec */
    ful__counters counters;
    ful__exec_time *times; /* [ful__exec_n_rows] once profiled */
} ful__pass;

struct ful_net {
    ful_graph *graph; /* owned */
    ful_net_options options;
    ful_shape x;
    int classes, n_tensors, n_moe;
    ful__pass pass[FUL__SPLITS]; /* over the same parameters; training is there only if asked for */
    ful_tensor *tensors;
    float **w, **dw;        /* as the executors want them */
    ful__pages value, grad; /* all parameters; all gradients */
    ful__pages work;        /* work and packed weights of whichever pass runs */
    int ran;                /* which ran last */
    ful__pages logits;      /* [batch_max][classes] and their gradient */
    bool profiling;
    ful__exec_time loss_time;
};

ful_status ful__net_find_moe(ful_net *net) FUL_CHECK_RESULT;
void ful__net_loss(ful_net *net, ful__xent *loss); /* softmax cross-entropy, timed while profiling */

#endif
