/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A net: parameters, gradients and two executors over them. Memory, all of it from create:
 *
 *   value   every parameter and buffer, graph order, each 64-byte aligned      grad   likewise, trainable ones only
 *   work    of the pass that runs, training or inference: activations and scratch of one step | packed weights
 *
 * Packed weights are as the kernels of the pass want them (inference: with batch-norm folded in), made anew after a change. The
 * passes share the block, although inference keeps its packed weights there from batch to batch: a step changes the weights
 * anyway, so after the other pass they are made anew too.
 */
#include "nets/net.h"

#include <math.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "moe/moe_op.h"
#include "nets/init.h"

/* Life ------------------------------------------------------------------------------------------------------------------ */

void ful_net_options_defaults(ful_net_options *options)
{
    *options = (ful_net_options){.batch_max = 128, .train = true};
}

static ful_status check_graph(ful_net *net)
{
    const ful_graph *g = net->graph;
    FUL_FAIL_IF(g->count < 2, FUL_ERR_ARG,
                "cannot make a net of a graph of %d nodes: it needs an input and at least one operation", g->count);
    const ful__node *output = &g->nodes[g->output >= 0 ? g->output : g->count - 1];
    FUL_FAIL_IF(output->shape.h != 1 || output->shape.w != 1, FUL_ERR_ARG,
                "cannot make a net that ends in node '%s' of %d x %d x %d: the output must be 1 x 1 x classes", output->name,
                output->shape.h, output->shape.w, output->shape.c);
    net->x = g->nodes[0].shape;
    net->classes = output->shape.c;
    return FUL_OK;
}

/*
 * How many images inference takes in one go: so many that their maps stay in the second-level caches (an image needs about
 * three of its largest), yet enough that reading the weights (packed, up to four times their size) does not cost more than a
 * third of reading the maps. A net with a mixture gets whole batches, which its capacity and statistics are about.
 */
static int predict_at_once(const ful_net *net)
{
    const ful_graph *g = net->graph;
    const int batch = net->options.batch_max;
    double map = 0, maps = 0, weights = 0;
    for (int i = 0; i < g->count; i++) {
        const ful__node *node = &g->nodes[i];
        if (node->type == &ful__op_moe) return batch;
        if (!node->op || node->op->cost.macs == 0) continue;
        const double bytes = (double)ful__count(node->shape) * sizeof(float);
        map = bytes > map ? bytes : map;
        maps += 2 * bytes; /* written and read */
        for (int p = 0; p < node->op->n_params; p++) weights += (double)node->op->params[p].count * sizeof(float);
    }
    if (map == 0) return batch;
    const double fit = ful_threads_get() * 0.75 * (double)ful_cpu_l2_bytes() / (3 * map), amortised = 3 * 4 * weights / maps;
    const double want = fit > amortised ? fit : amortised;
    if (want >= batch) return batch;
    const int most = want < 1 ? 1 : (int)want, rounds = (batch + most - 1) / most;
    return (batch + rounds - 1) / rounds;
}

static ful_status make_pass(ful_net *net, int split)
{
    ful__pass *pass = &net->pass[split];
    const bool train = split == FUL__SPLIT_TRAIN;
    pass->n_max = train ? net->options.batch_max : predict_at_once(net);
    /* n_likely: what a convolution runs on must not depend on the threads, which predict_at_once knows */
    const ful__exec_spec spec = {.n_max = pass->n_max, .n_likely = net->options.batch_max, .train = train, .fresh = train};
    FUL_TRY(ful__exec_create(net->graph, &spec, &pass->exec));
    pass->stale = true;
    return FUL_OK;
}

/* Values and gradients laid out in graph order; the first walk measures. */
static ful_status lay_out_params(ful_net *net)
{
    const ful__exec *exec = net->pass[FUL__SPLIT_EVAL].exec;
    const size_t count = (size_t)(net->n_tensors = ful__exec_n_params(exec));
    FUL_TRY(ful__calloc(&net->tensors, count, sizeof *net->tensors, "the parameters of a net"));
    FUL_TRY(ful__calloc(&net->w, count, sizeof *net->w, "the parameters of a net"));
    FUL_TRY(ful__calloc(&net->dw, count, sizeof *net->dw, "the parameters of a net"));
    for (int walk = 0; walk < 2; walk++) {
        size_t value = 0, grad = 0;
        for (int i = 0; i < net->n_tensors; i++) {
            const ful__param *p = ful__exec_param(exec, i);
            const size_t bytes = ful__align64((size_t)p->count * sizeof(float));
            const bool has_grad = net->options.train && p->trainable;
            if (walk == 1) {
                net->w[i] = (float *)(void *)((char *)net->value.ptr + value);
                net->dw[i] = has_grad ? (float *)(void *)((char *)net->grad.ptr + grad) : NULL;
                net->tensors[i] = (ful_tensor){.name = p->name,
                                               .rank = p->rank,
                                               .count = p->count,
                                               .value = net->w[i],
                                               .grad = net->dw[i],
                                               .decay = p->decay};
                memcpy(net->tensors[i].shape, p->shape, sizeof p->shape);
                if (!net->options.blank) ful__init_param(p, net->options.seed, net->w[i]);
            }
            value += bytes;
            grad += has_grad ? bytes : 0;
        }
        if (walk == 1) break;
        FUL_TRY(ful__pages_alloc(&net->value, value, "the parameters of a net"));
        FUL_TRY(ful__pages_alloc(&net->grad, grad, "the gradients of a net"));
    }
    return FUL_OK;
}

static ful_status make_work(ful_net *net)
{
    size_t most = 0;
    for (int split = 0; split < FUL__SPLITS; split++) {
        ful__pass *pass = &net->pass[split];
        if (!pass->exec) continue;
        pass->packed_at = ful__align64(ful__exec_work_bytes(pass->exec, pass->n_max));
        const size_t bytes = pass->packed_at + ful__exec_packed_bytes(pass->exec);
        if (bytes > most) most = bytes;
    }
    FUL_TRY(ful__pages_alloc(&net->work, most, "the work memory and packed weights of a net"));
    if (!net->options.train) return FUL_OK;
    return ful__pages_alloc(&net->logits, 2 * (size_t)net->options.batch_max * (size_t)net->classes * sizeof(float),
                            "the logits of a net");
}

static ful_status build(ful_net *net)
{
    FUL_FAIL_IF(net->options.batch_max < 1, FUL_ERR_ARG, "cannot make a net with batch_max=%d: it must be at least 1",
                net->options.batch_max);
    FUL_TRY(check_graph(net));
    FUL_TRY(make_pass(net, FUL__SPLIT_EVAL));
    if (net->options.train) FUL_TRY(make_pass(net, FUL__SPLIT_TRAIN));
    FUL_TRY(ful__net_find_moe(net));
    FUL_TRY(lay_out_params(net));
    return make_work(net);
}

ful_status ful_net_create(ful_graph *graph, const ful_net_options *options, ful_net **out)
{
    ful_net *net = NULL;
    ful_status status = FUL_OK;
    if (out) *out = NULL;
    if (!graph || !options || !out)
        status = ful__fail(FUL_ERR_ARG, "cannot make a net with graph, options or out NULL: all are needed");
    if (status == FUL_OK) status = ful__calloc(&net, 1, sizeof *net, "a net");
    if (status != FUL_OK) {
        ful_graph_destroy(&graph);
        return status;
    }
    net->graph = graph;
    net->options = *options;
    status = build(net);
    if (status != FUL_OK) ful_net_destroy(&net);
    *out = net;
    return status;
}

void ful_net_destroy(ful_net **net)
{
    if (!net || !*net) return;
    ful_net *n = *net;
    for (int split = 0; split < FUL__SPLITS; split++) {
        ful__exec_destroy(&n->pass[split].exec);
        ful__free(n->pass[split].moe);
        ful__free(n->pass[split].times);
    }
    ful__pages_free(&n->value);
    ful__pages_free(&n->grad);
    ful__pages_free(&n->work);
    ful__pages_free(&n->logits);
    ful__free(n->tensors);
    ful__free(n->w);
    ful__free(n->dw);
    ful_graph_destroy(&n->graph);
    ful__free(n);
    *net = NULL;
}

/* Parameters ------------------------------------------------------------------------------------------------------------ */

int ful_net_tensor_count(const ful_net *net)
{
    return net->n_tensors;
}

ful_status ful_net_tensor(const ful_net *net, int i, ful_tensor *out)
{
    FUL_FAIL_IF(i < 0 || i >= net->n_tensors, FUL_ERR_ARG, "cannot give tensor %d: the net has %d", i, net->n_tensors);
    *out = net->tensors[i];
    return FUL_OK;
}

void ful_net_touched(ful_net *net)
{
    net->pass[FUL__SPLIT_TRAIN].stale = net->pass[FUL__SPLIT_EVAL].stale = true;
}

void ful_net_zero_grad(ful_net *net)
{
    if (net->grad.ptr) memset(net->grad.ptr, 0, net->grad.bytes);
}

int ful_net_classes(const ful_net *net)
{
    return net->classes;
}

ful_shape ful_net_input_shape(const ful_net *net)
{
    return net->x;
}

/* Training --------------------------------------------------------------------------------------------------------------- */

static ful__exec_run start_run(ful_net *net, int split)
{
    ful__pass *pass = &net->pass[split];
    if (net->ran != split) pass->stale = true;
    net->ran = split;
    return (ful__exec_run){.repack = pass->stale,
                           .seed = net->options.seed,
                           .w = net->w,
                           .dw = net->dw,
                           .work = net->work.ptr,
                           .packed = (char *)net->work.ptr + pass->packed_at,
                           .counters = &pass->counters,
                           .times = net->profiling ? pass->times : NULL};
}

static ful_status check_step(const ful_net *net, const ful_step *step)
{
    FUL_FAIL_IF(!net->options.train, FUL_ERR_ARG, "cannot train a net made with train=false: it has no training plan");
    FUL_FAIL_IF(step->n < 1 || step->n > net->options.batch_max, FUL_ERR_ARG,
                "cannot train on a batch of %d: it must be in 1..batch_max=%d", step->n, net->options.batch_max);
    FUL_FAIL_IF(!step->x || (!step->label && !step->soft), FUL_ERR_ARG,
                "cannot train with x or both label and soft NULL: images and targets are needed");
    FUL_FAIL_IF(!(step->label_smoothing >= 0 && step->label_smoothing <= 1), FUL_ERR_ARG,
                "cannot train with label_smoothing=%g: it must be in 0..1", (double)step->label_smoothing);
    for (int i = 0; i < step->n && step->label; i++)
        FUL_FAIL_IF(step->label[i] < 0 || step->label[i] >= net->classes, FUL_ERR_DATA,
                    "cannot train on label %d of image %d in the batch: the net has classes 0..%d", step->label[i], i,
                    net->classes - 1);
    return FUL_OK;
}

/* Balance losses of all mixtures since their statistics were reset. */
static double balance_losses(const ful_net *net)
{
    double sum = 0;
    for (int i = 0; i < net->n_moe; i++) {
        const ful_moe_stats *s = ful__moe_stats(net->pass[FUL__SPLIT_TRAIN].moe[i]);
        sum += s->loss_switch + s->loss_importance + s->loss_load + s->loss_z + s->loss_entropy;
    }
    return sum;
}

/* The one sentence about a step that went wrong in its numbers: it names the first layer that shows it. */
static ful_status numeric_failure(ful_net *net, const ful__exec_run *run, double loss)
{
    const char *layer = ful__exec_find_nonfinite(net->pass[FUL__SPLIT_TRAIN].exec, run);
    if (!layer)
        return ful__fail(FUL_ERR_NUMERIC, "cannot train on step %llu with a loss of %g: it must be finite",
                         (unsigned long long)run->step, loss);
    return ful__fail(FUL_ERR_NUMERIC, "cannot train on step %llu with a NaN or infinity in %s%s%s: values must be finite",
                     (unsigned long long)run->step, strcmp(layer, "input") ? "the output of layer '" : "the ", layer,
                     strcmp(layer, "input") ? "'" : "");
}

ful_status ful_net_train_step(ful_net *net, ful_step *step)
{
    FUL_FAIL_IF(!net || !step, FUL_ERR_ARG, "cannot train with net or step NULL: both are needed");
    FUL_TRY(check_step(net, step));
    ful__pass *pass = &net->pass[FUL__SPLIT_TRAIN];
    float *logits = net->logits.ptr, *dlogits = logits + (size_t)net->options.batch_max * (size_t)net->classes;
    ful__exec_run run = start_run(net, FUL__SPLIT_TRAIN);
    run.n = step->n;
    run.step = step->step;
    run.progress = step->progress;
    run.label = step->label;
    run.x = step->x;
    run.y = logits;
    run.dy = dlogits;
    const double balance = balance_losses(net);
    net->pass[FUL__SPLIT_EVAL].stale = true; /* forward moves the running statistics */
    const ful_status status = ful__exec_forward(pass->exec, &run);
    if (status == FUL_ERR_NUMERIC) return numeric_failure(net, &run, NAN);
    FUL_TRY(status);

    ful__xent loss = {.n = step->n,
                      .classes = net->classes,
                      .logits = logits,
                      .label = step->label,
                      .soft = step->soft,
                      .smoothing = step->label_smoothing,
                      .scale = 1.0f / (float)step->n,
                      .dlogits = dlogits};
    ful__net_loss(net, &loss);
    if (!isfinite(loss.loss_out)) return numeric_failure(net, &run, loss.loss_out);
    step->loss = loss.loss_out;
    step->correct = loss.correct_out;
    step->aux_loss = balance_losses(net) - balance;
    FUL_TRY(ful__exec_backward(pass->exec, &run));
    pass->stale = false;
    return FUL_OK;
}

void ful_net_after_step(ful_net *net, const ful_step *step)
{
    if (net->pass[FUL__SPLIT_TRAIN].exec) {
        ful__exec_run run = start_run(net, FUL__SPLIT_TRAIN);
        run.n = step->n;
        run.step = step->step;
        run.progress = step->progress;
        ful__exec_after_step(net->pass[FUL__SPLIT_TRAIN].exec, &run);
    }
    ful_net_touched(net);
}

/* Inference -------------------------------------------------------------------------------------------------------------- */

ful_status ful_net_predict(ful_net *net, int n, const float *x, const int32_t *label, float *logits_out)
{
    FUL_FAIL_IF(!net || n < 0 || (n > 0 && (!x || !logits_out)), FUL_ERR_ARG,
                "cannot predict %d images with net, x or logits NULL: all are needed, and n >= 0", n);
    for (int i = 0; i < n && label; i++)
        FUL_FAIL_IF(label[i] < 0 || label[i] >= net->classes, FUL_ERR_DATA,
                    "cannot count label %d of image %d: the net has classes 0..%d", label[i], i, net->classes - 1);
    ful__pass *pass = &net->pass[FUL__SPLIT_EVAL];
    for (int begin = 0; begin < n; begin += pass->n_max) {
        ful__exec_run run = start_run(net, FUL__SPLIT_EVAL);
        run.n = n - begin < pass->n_max ? n - begin : pass->n_max;
        run.x = x + begin * ful__count(net->x);
        run.y = logits_out + (int64_t)begin * net->classes;
        run.label = label ? label + begin : NULL;
        FUL_TRY(ful__exec_forward(pass->exec, &run));
        pass->stale = false;
    }
    return FUL_OK;
}

ful_status ful_net_describe_plan(const ful_net *net, bool train, char **text_out)
{
    const ful__exec *exec = net->pass[train ? FUL__SPLIT_TRAIN : FUL__SPLIT_EVAL].exec;
    FUL_FAIL_IF(!exec, FUL_ERR_ARG, "cannot describe the training plan of a net made with train=false: there is none");
    return ful__exec_describe(exec, text_out);
}
