/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A graph on a bench: executor, parameters and memory, so that a test says only what it is about.
 *
 *   rig r;
 *   rig_open(&r, graph, n_max, train);       takes the graph over; parameters drawn by (seed, name), small norms and biases too
 *   rig_forward(&r, n, x);                   r.y
 *   rig_backward(&r, dy);                    r.dx, and r.dw added to
 *   rig_step(&r, lr);                        plain SGD; zeroes r.dw
 */
#ifndef FUL_TESTS_MOE_RIG_H
#define FUL_TESTS_MOE_RIG_H

#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/rng.h"
#include "graph/exec.h"
#include "moe/moe_op.h"
#include "support/test.h"

typedef struct rig {
    ful_graph *graph;
    ful__exec *exec;
    ful_shape x_shape, y_shape;
    int n_max, n;
    int n_params;
    bool train, repack;
    uint64_t step;
    double progress;
    const uint32_t *row;
    const int32_t *label;
    float **w, **dw;
    ful__pages work, packed;
    float *x, *y, *dy, *dx;
    ful__counters counters;
} rig;

static inline float *rig_floats(int64_t count)
{
    float *p = calloc((size_t)count, sizeof *p);
    assert_non_null(p);
    return p;
}

static inline void rig_fill(float *x, int64_t count, uint64_t seed, const char *name, float sd)
{
    ful__rng_fill_normal(ful__stream_make(seed, "test", name), 0, sd, x, (size_t)count);
}

/* Values that a trained net could have: every parameter matters, variances stay positive. key: what the draw is keyed by. */
static inline void rig_draw(const ful__param *p, uint64_t seed, const char *key, float *w)
{
    const size_t length = strlen(p->name);
    const bool variance = length > 4 && strcmp(p->name + length - 4, "_var") == 0;
    const float sd = p->rank > 1 ? 1.0f / sqrtf((float)(p->count / p->shape[0])) : 0.2f;
    rig_fill(w, p->count, seed, key, sd);
    for (int64_t i = 0; i < p->count; i++) {
        if (p->init == FUL_INIT_ONES) w[i] += 1;
        if (variance) w[i] = 1 + w[i] * w[i];
    }
}

static inline void rig_open_spec(rig *r, ful_graph *graph, const ful__exec_spec *spec)
{
    *r = (rig){.graph = graph, .n_max = spec->n_max, .train = spec->train, .repack = true, .progress = 0.5};
    assert_ok(ful__exec_create(graph, spec, &r->exec));
    const ful_node last = graph->output >= 0 ? graph->output : ful_graph_count(graph) - 1;
    assert_ok(ful_graph_shape(graph, 0, &r->x_shape));
    assert_ok(ful_graph_shape(graph, last, &r->y_shape));
    r->n_params = ful__exec_n_params(r->exec);
    r->w = calloc((size_t)r->n_params + 1, sizeof *r->w);
    r->dw = calloc((size_t)r->n_params + 1, sizeof *r->dw);
    for (int i = 0; i < r->n_params; i++) {
        const ful__param *p = ful__exec_param(r->exec, i);
        r->w[i] = rig_floats(p->count);
        if (p->trainable) r->dw[i] = rig_floats(p->count);
        rig_draw(p, 1, p->name, r->w[i]);
    }
    assert_ok(ful__pages_alloc(&r->work, ful__exec_work_bytes(r->exec, r->n_max) + 64, "work"));
    assert_ok(ful__pages_alloc(&r->packed, ful__exec_packed_bytes(r->exec) + 64, "packed"));
    r->x = rig_floats(r->n_max * ful__count(r->x_shape));
    r->dx = rig_floats(r->n_max * ful__count(r->x_shape));
    r->y = rig_floats(r->n_max * ful__count(r->y_shape));
    r->dy = rig_floats(r->n_max * ful__count(r->y_shape));
}

static inline void rig_open(rig *r, ful_graph *graph, int n_max, bool train)
{
    const ful__exec_spec spec = {.n_max = n_max, .train = train, .need_dx = true};
    rig_open_spec(r, graph, &spec);
}

static inline void rig_close(rig *r)
{
    for (int i = 0; i < r->n_params; i++) {
        free(r->w[i]);
        free(r->dw[i]);
    }
    free(r->w);
    free(r->dw);
    free(r->x);
    free(r->y);
    free(r->dx);
    free(r->dy);
    ful__pages_free(&r->work);
    ful__pages_free(&r->packed);
    ful__exec_destroy(&r->exec);
    ful_graph_destroy(&r->graph);
}

static inline ful__exec_run rig_run(rig *r)
{
    return (ful__exec_run){.n = r->n,
                           .repack = r->repack,
                           .seed = 7,
                           .step = r->step,
                           .progress = r->progress,
                           .row = r->row,
                           .label = r->label,
                           .w = r->w,
                           .dw = r->dw,
                           .work = r->work.ptr,
                           .packed = r->packed.ptr,
                           .x = r->x,
                           .y = r->y,
                           .dy = r->dy,
                           .dx = r->dx,
                           .counters = &r->counters};
}

static inline void rig_forward(rig *r, int n, const float *x)
{
    r->n = n;
    if (n > 0) memcpy(r->x, x, (size_t)(n * ful__count(r->x_shape)) * sizeof *x);
    const ful__exec_run run = rig_run(r);
    assert_ok(ful__exec_forward(r->exec, &run));
}

static inline void rig_backward(rig *r, const float *dy)
{
    if (r->n > 0) memcpy(r->dy, dy, (size_t)(r->n * ful__count(r->y_shape)) * sizeof *dy);
    const ful__exec_run run = rig_run(r);
    assert_ok(ful__exec_backward(r->exec, &run));
    r->repack = false;
}

static inline void rig_zero_grad(rig *r)
{
    for (int i = 0; i < r->n_params; i++)
        if (r->dw[i]) memset(r->dw[i], 0, (size_t)ful__exec_param(r->exec, i)->count * sizeof(float));
}

static inline void rig_step(rig *r, float lr)
{
    for (int i = 0; i < r->n_params; i++)
        for (int64_t j = 0; r->dw[i] && j < ful__exec_param(r->exec, i)->count; j++) r->w[i][j] -= lr * r->dw[i][j];
    rig_zero_grad(r);
    const ful__exec_run run = rig_run(r);
    ful__exec_after_step(r->exec, &run);
    r->repack = true;
    r->step++;
}

/* The number of the parameter whose name ends in `suffix`. */
static inline int rig_param(const rig *r, const char *suffix)
{
    for (int i = 0; i < r->n_params; i++) {
        const char *name = ful__exec_param(r->exec, i)->name;
        const size_t length = strlen(name), tail = strlen(suffix);
        if (length >= tail && strcmp(name + length - tail, suffix) == 0) return i;
    }
    fail_msg("no parameter *%s", suffix);
    return -1;
}

/* The mixture op of the graph (the first). */
static inline ful__op *rig_moe(const rig *r)
{
    for (int i = 0; i < ful__exec_n_ops(r->exec); i++)
        if (ful__exec_op(r->exec, i)->type == &ful__op_moe) return ful__exec_op(r->exec, i);
    fail_msg("no mixture in the graph");
    return NULL;
}

/* A graph of one mixture on an input of that shape. */
static inline ful_graph *rig_moe_graph(ful_shape shape, const ful_moe_attr *attr)
{
    ful_graph *g;
    ful_node x, y;
    assert_ok(ful_graph_create(&g));
    assert_ok(ful_graph_input(g, shape, &x));
    assert_ok(ful_graph_moe(g, "site.moe", x, attr, &y));
    assert_ok(ful_graph_set_output(g, y));
    return g;
}

#endif
