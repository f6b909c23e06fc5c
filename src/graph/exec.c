/* SPDX-License-Identifier: Apache-2.0 */
/* The executor: runs the program the passes made. Nothing is allocated after create, and nothing is written but what a run
 * brings. */
#include "graph/exec.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/time.h"
#include "graph/program.h"

struct ful__exec {
    ful__program p;
};

/* Life ------------------------------------------------------------------------------------------------------------------ */

static ful_status list_params(ful__program *p)
{
    const ful_graph *g = p->graph;
    FUL_TRY(ful__calloc(&p->first_param, (size_t)g->count, sizeof *p->first_param, "the parameters of an executor"));
    for (int i = 0; i < g->count; i++) {
        p->first_param[i] = p->n_params;
        if (g->nodes[i].op) p->n_params += g->nodes[i].op->n_params;
    }
    FUL_TRY(ful__calloc(&p->params, (size_t)p->n_params, sizeof *p->params, "the parameters of an executor"));
    for (int i = 0; i < g->count; i++)
        for (int k = 0; g->nodes[i].op && k < g->nodes[i].op->n_params; k++)
            p->params[p->first_param[i] + k] = &g->nodes[i].op->params[k];
    return FUL_OK;
}

/* Room for all the passes may add: a step for each input of a node, of which either may be a reorder, and one at the end; a
 * gradient and a sum for each input of a step. */
static ful_status make_room(ful__program *p)
{
    const size_t nodes = (size_t)p->graph->count * (1 + FUL__X_MAX), steps = 1 + nodes * (1 + FUL__X_MAX);
    FUL_TRY(ful__calloc(&p->steps, nodes, sizeof *p->steps, "the steps of an executor"));
    return ful__calloc(&p->tensors, nodes + steps + 2 * FUL__X_MAX * steps + 2, sizeof *p->tensors,
                       "the tensors of an executor");
}

ful_status ful__exec_create(const ful_graph *g, const ful__exec_spec *spec, ful__exec **out)
{
    *out = NULL;
    FUL_FAIL_IF(g->count < 2, FUL_ERR_ARG, "cannot plan a graph of %d nodes: it needs an input and at least one operation",
                g->count);
    FUL_FAIL_IF(spec->n_max < 1, FUL_ERR_ARG, "cannot plan for batches of up to %d: at least 1", spec->n_max);
    ful__exec *exec = NULL;
    FUL_TRY(ful__calloc(&exec, 1, sizeof *exec, "an executor"));
    ful__program *p = &exec->p;
    ful_status status = FUL_OK;
    p->graph = g;
    p->spec = *spec;
    FUL_TRY_GOTO(status, failed, list_params(p));
    FUL_TRY_GOTO(status, failed, make_room(p));
    FUL_TRY_GOTO(status, failed, ful__program_fuse(p));
    FUL_TRY_GOTO(status, failed, ful__program_layout(p));
    FUL_TRY_GOTO(status, failed, ful__program_plan(p));
    *out = exec;
    return FUL_OK;
failed:
    ful__exec_destroy(&exec);
    return status;
}

void ful__program_deinit(ful__program *p)
{
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].op) p->steps[i].op->type->destroy(p->steps[i].op);
    ful__free(p->steps);
    ful__free(p->instrs);
    ful__free(p->tensors);
    ful__free(p->homes);
    ful__free(p->first_param);
    ful__free(p->params);
}

void ful__exec_destroy(ful__exec **exec)
{
    if (!exec || !*exec) return;
    ful__program_deinit(&(*exec)->p);
    ful__free(*exec);
    *exec = NULL;
}

const ful__program *ful__exec_program(const ful__exec *exec)
{
    return &exec->p;
}

/* Figures --------------------------------------------------------------------------------------------------------------- */

int ful__exec_n_params(const ful__exec *exec)
{
    return exec->p.n_params;
}

const ful__param *ful__exec_param(const ful__exec *exec, int i)
{
    return exec->p.params[i];
}

bool ful__exec_backward_reads_y(const ful__exec *exec)
{
    const ful__program *p = &exec->p;
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].dy >= 0 && p->steps[i].y == p->output && p->steps[i].op->need.backward_y) return true;
    return false;
}

size_t ful__exec_work_bytes(const ful__exec *exec, int n)
{
    return exec->p.work_fixed + (size_t)n * exec->p.work_per_image;
}

size_t ful__exec_work_bytes_per_image(const ful__exec *exec)
{
    return exec->p.work_per_image;
}

size_t ful__exec_work_bytes_fixed(const ful__exec *exec)
{
    return exec->p.work_fixed;
}

size_t ful__exec_packed_bytes(const ful__exec *exec)
{
    return exec->p.packed_bytes;
}

int ful__exec_n_rows(const ful__exec *exec)
{
    return ful__program_n_rows(&exec->p);
}

ful__exec_row ful__exec_row_at(const ful__exec *exec, int i)
{
    return ful__program_row_at(&exec->p, i);
}

int ful__exec_n_ops(const ful__exec *exec)
{
    return exec->p.n_steps;
}

ful__op *ful__exec_op(const ful__exec *exec, int i)
{
    return exec->p.steps[i].op;
}

ful_status ful__exec_describe(const ful__exec *exec, char **text_out)
{
    return ful__program_describe(&exec->p, text_out);
}

/* Running --------------------------------------------------------------------------------------------------------------- */

enum { FOLDED_MAX = 4 };

/* A run's memory. */
typedef struct frame {
    const ful__program *p;
    const ful__exec_run *run;
    char *base[FUL__BASES];
    float *folded[FOLDED_MAX]; /* parameters of the step now running, where folded */
} frame;

static frame frame_of(const ful__exec *exec, const ful__exec_run *run)
{
    return (frame){.p = &exec->p,
                   .run = run,
                   .base = {[FUL__BASE_WORK] = run->work,
                            [FUL__BASE_X] = (char *)run->x,
                            [FUL__BASE_Y] = (char *)run->y,
                            [FUL__BASE_DY] = (char *)run->dy,
                            [FUL__BASE_DX] = (char *)run->dx}};
}

static void *home_at(const frame *f, int home)
{
    if (home < 0) return NULL;
    const ful__home *h = &f->p->homes[home];
    char *base = f->base[h->base];
    return base ? base + (size_t)f->run->n * h->offset_per_image + h->offset_fixed : NULL;
}

static float *tensor_at(const frame *f, int tensor)
{
    return tensor < 0 ? NULL : home_at(f, f->p->tensors[tensor].home);
}

/* Weight and bias of a convolution with its batch-norm, into folded[0] and [1]. */
static void fold_conv(const frame *f, ful_node conv, ful_node norm, float *const *folded)
{
    const ful__program *p = f->p;
    const ful__node *nodes = p->graph->nodes;
    const ful_conv2d_attr *attr = nodes[conv].attr;
    float *const *w = f->run->w + p->first_param[conv], *const *bn = f->run->w + p->first_param[norm];
    ful__fold_batchnorm(attr, nodes[nodes[conv].x[0]].shape.c, w[0], attr->bias ? w[1] : NULL, bn[0], bn[1], bn[2], bn[3],
                        ((const ful_batchnorm_attr *)nodes[norm].attr)->eps, folded[0], folded[1]);
}

/* The parameters of a folded step, made anew when those of the graph changed. */
static void fold(frame *f, const ful__step *s)
{
    const ful__fused *fused = &s->fused;
    char *at = (char *)f->run->packed + s->folded_offset;
    for (int k = 0; k < s->op->n_params; k++) {
        f->folded[k] = (float *)(void *)at;
        at += ful__align64((size_t)s->op->params[k].count * sizeof(float));
    }
    if (!f->run->repack) return;
    const bool both = fused->depthwise >= 0;
    if (both) fold_conv(f, fused->depthwise, fused->depthwise_norm, f->folded);
    fold_conv(f, fused->conv, fused->norm, f->folded + (both ? 2 : 0));
}

/* Fills what forward and backward of a step have in common. */
static void prepare(frame *f, const ful__step *s, ful__run *r)
{
    const ful__exec_run *run = f->run;
    *r = (ful__run){.n = run->n,
                    .train = f->p->spec.train,
                    .repack = run->repack || f->p->spec.fresh,
                    .seed = run->seed,
                    .step = run->step,
                    .progress = run->progress,
                    .row = run->row,
                    .label = run->label,
                    .y = tensor_at(f, s->y),
                    .saved = home_at(f, s->saved),
                    .packed = (char *)run->packed + s->packed_offset,
                    .counters = run->counters};
    for (int k = 0; k < s->op->n_x; k++) r->x[k] = tensor_at(f, s->x[k]);
    if (ful__step_folded(s)) {
        fold(f, s);
        r->w = f->folded;
    } else {
        r->w = run->w + s->param;
        r->dw = run->dw ? run->dw + s->param : NULL;
    }
}

static void prepare_forward(frame *f, const ful__step *s, ful__run *r)
{
    prepare(f, s, r);
    r->scratch = home_at(f, s->scratch);
    r->summed = s->x_summed;
    r->leave = s->y_left;
}

static ful_status step_forward(frame *f, int i)
{
    const ful__step *s = &f->p->steps[i], *before = i > 0 ? s - 1 : NULL, *after = i + 1 < f->p->n_steps ? s + 1 : NULL;
    ful__run r, run_before, run_after;
    ful__map_work make_y, sum_x;
    prepare_forward(f, s, &r);
    if (before && before->y_left) {
        prepare_forward(f, before, &run_before);
        make_y = (ful__map_work){before->op->type->make_y, before->op, &run_before, !before->y_again};
        r.before = &make_y;
    }
    if (after && after->x_summed) {
        prepare_forward(f, after, &run_after);
        sum_x = (ful__map_work){after->op->type->sum_x, after->op, &run_after, true};
        r.after = &sum_x;
    }
    return s->op->type->forward(s->op, &r);
}

static void prepare_backward(frame *f, const ful__step *s, ful__run *r)
{
    prepare(f, s, r);
    r->scratch = home_at(f, s->scratch_back);
    r->dy = tensor_at(f, s->dy);
    r->dy_more = tensor_at(f, s->dy_more);
    r->dx_more = tensor_at(f, s->dx_more);
    for (int k = 0; k < s->op->n_x; k++) r->dx[k] = tensor_at(f, s->dx[k]);
    r->summed = s->dy_summed;
    r->leave = s->dx_left;
}

/* The step of instruction j, NULL where there is none. */
static const ful__step *step_of(const ful__program *p, int j)
{
    return j >= 0 && j < p->n_instrs && p->instrs[j].step >= 0 ? &p->steps[p->instrs[j].step] : NULL;
}

/* Everything that backward takes, or as much of it as one row of the times needs: dw comes first then. */
static ful_status step_backward(frame *f, int j, ful__exec_pass part)
{
    const ful__step *s = step_of(f->p, j), *before = step_of(f->p, j - 1), *after = step_of(f->p, j + 1);
    const ful__step *again = ful__step_again(f->p, f->p->instrs[j].step);
    ful__run r, run_before, run_after, run_again;
    ful__map_work make_dx, sum_dy, make_y;
    prepare_backward(f, s, &r);
    if (again && part != FUL__PASS_DX) {
        prepare_forward(f, again, &run_again);
        make_y = (ful__map_work){again->op->type->make_y, again->op, &run_again, false};
        r.again = &make_y;
    }
    if (before && before->dx_left && part != FUL__PASS_DX) {
        prepare_backward(f, before, &run_before);
        make_dx = (ful__map_work){before->op->type->make_dx, before->op, &run_before, part != FUL__PASS_BACKWARD};
        r.before = &make_dx;
    }
    if (after && after->dy_summed && part != FUL__PASS_DW) {
        prepare_backward(f, after, &run_after);
        const bool kept = after->op->need.sum_dy_keeps && after->dx[1] >= 0;
        sum_dy = (ful__map_work){after->op->type->sum_dy, after->op, &run_after, !kept};
        r.after = &sum_dy;
    }
    if (part == FUL__PASS_DW) r.dx[0] = r.dx[1] = NULL;
    if (part == FUL__PASS_DX) r.dw = NULL;
    return s->op->type->backward(s->op, &r);
}

/* c = a + b, or c = a where b is NULL; c may be a or b. */
typedef struct summation {
    const float *a, *b;
    float *c;
    int64_t count;
} summation;

enum { SUM_CHUNK = 1 << 15 };
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

static void sum_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const summation *s = ctx;
    const int64_t end = (chunk + 1) * SUM_CHUNK < s->count ? (chunk + 1) * SUM_CHUNK : s->count;
    int64_t i = chunk * SUM_CHUNK;
    if (!s->b) {
        memcpy(s->c + i, s->a + i, (size_t)(end - i) * sizeof(float));
        return;
    }
    for (; i + 16 <= end; i += 16) *(lanes *)(s->c + i) = *(const lanes *)(s->a + i) + *(const lanes *)(s->b + i);
    for (; i < end; i++) s->c[i] = s->a[i] + s->b[i];
}

static void add_tensors(const frame *f, const ful__instr *in)
{
    summation s = {.a = tensor_at(f, in->a), .b = tensor_at(f, in->b), .c = tensor_at(f, in->c)};
    s.count = f->run->n * ful__count(f->p->tensors[in->c].shape);
    ful__parallel_for((s.count + SUM_CHUNK - 1) / SUM_CHUNK, sum_chunk, &s);
}

/* Times ------------------------------------------------------------------------------------------------------------------- */

static ful__exec_time *start_time(const frame *f, int row)
{
    ful__exec_time *t = &f->run->times[row];
    t->calls++;
    t->images += f->run->n;
    t->seconds -= ful__seconds();
    return t;
}

static ful_status timed_forward(frame *f, int i)
{
    ful__exec_time *t = start_time(f, ful__program_row(f->p, i, FUL__PASS_FORWARD));
    const ful_status status = step_forward(f, i);
    t->seconds += ful__seconds();
    return status;
}

static ful_status timed_backward(frame *f, int j, ful__exec_pass part)
{
    const int row = ful__program_row(f->p, f->p->instrs[j].step, part);
    if (row < 0) return FUL_OK;
    ful__exec_time *t = start_time(f, row);
    const ful_status status = step_backward(f, j, part);
    t->seconds += ful__seconds();
    return status;
}

/* A step has either one row for all of backward, or one for each of its gradients. */
static ful_status timed_instruction(frame *f, int j)
{
    const ful__instr *in = &f->p->instrs[j];
    if (in->step < 0) {
        ful__exec_time *t = start_time(f, ful__program_row(f->p, f->p->n_steps, FUL__PASS_SUM));
        add_tensors(f, in);
        t->seconds += ful__seconds();
        return FUL_OK;
    }
    FUL_TRY(timed_backward(f, j, FUL__PASS_BACKWARD));
    FUL_TRY(timed_backward(f, j, FUL__PASS_DW));
    return timed_backward(f, j, FUL__PASS_DX);
}

/* Passes ------------------------------------------------------------------------------------------------------------------ */

static ful_status check_run(const ful__exec *exec, const ful__exec_run *run)
{
    FUL_FAIL_IF(run->n < 0 || run->n > exec->p.spec.n_max, FUL_ERR_ARG, "cannot run a batch of %d: planned for 0..%d", run->n,
                exec->p.spec.n_max);
    return FUL_OK;
}

static bool image_by_image(const ful__op_type *type)
{
    const ful__op_type *const types[] = {
        &ful__op_conv2d,          &ful__op_conv_fused, &ful__op_separable, &ful__op_linear,  &ful__op_batchnorm,
        &ful__op_layernorm,       &ful__op_act,        &ful__op_add,       &ful__op_pool,    &ful__op_dropout,
        &ful__op_global_avg_pool, &ful__op_scale,      &ful__op_flatten,   &ful__op_reorder, &ful__op_attention,
        &ful__op_tokens,          &ful__op_take,       &ful__op_mlp,       &ful__op_excite,  &ful__op_absorbed};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (type == types[i]) return true;
    return false;
}

/* Whether a step's loops are all its own, so that the threads may stay together through it. */
static bool own_loops(const ful__step *s)
{
    return image_by_image(s->op->type) && !s->op->need.library;
}

/* Steps first … end - 1. */
typedef struct stretch {
    frame *f;
    int first, end;
    ful_status status;
} stretch;

static void forward_stretch(void *ctx)
{
    stretch *s = ctx;
    for (int i = s->first; i < s->end && s->status == FUL_OK; i++)
        s->status = s->f->run->times ? timed_forward(s->f, i) : step_forward(s->f, i);
}

/* In inference the threads stay together through steps that follow each other: a loop of a few microseconds, as there are with
 * one image, is not worth waking them. */
static ful_status forward(ful__exec *exec, const ful__exec_run *run)
{
    frame f = frame_of(exec, run);
    const ful__program *p = &exec->p;
    stretch s = {.f = &f};
    for (; s.first < p->n_steps && run->n > 0; s.first = s.end) {
        const bool together = !p->spec.train && own_loops(&p->steps[s.first]);
        s.end = s.first + 1;
        while (together && s.end < p->n_steps && own_loops(&p->steps[s.end])) s.end++;
        if (s.end - s.first > 1)
            ful__parallel_together(forward_stretch, &s);
        else
            forward_stretch(&s);
        FUL_TRY(s.status);
    }
    return FUL_OK;
}

/*
 * Inference in slices: a thread takes a few images through all steps before it takes others, so that what passes from step to
 * step stays in its caches. Each slice reads all weights, so a net has few of them, or uses each often enough. A slice is a run
 * of its own, in a share of the work memory, with the same bits.
 */
typedef struct slices {
    ful__exec *exec;
    const ful__exec_run *run;
    int64_t count;
    size_t work_bytes; /* of one thread */
    ful_status *status;
    ful__counters *counters;
    atomic_flag failed;                /* one has, and says why: */
    char sentence[FUL__MESSAGE_BYTES]; /* sentences are a thread's own */
} slices;

enum {
    SLICE_BYTES = 1 << 20, /* work memory that a slice is wanted to have, */
    SLICE_BYTES_MOST = 2 << 20,
    SLICE_PACKED_BYTES = 2 << 20, /* and what few weights are; of others */
    SLICE_USES = 256,             /* a slice makes so many multiply-adds with each */
    SLICES_MAX = 512
};

static size_t slice_bytes(const ful__exec *exec, int64_t n, int64_t count)
{
    return ful__align64(ful__exec_work_bytes(exec, (int)((n + count - 1) / count)));
}

/* Images of a slice, 0: none would do. */
static int64_t images_of_slice(const ful__program *p)
{
    const int64_t fit = (int64_t)(SLICE_BYTES / (p->work_per_image + 1)) + 1;
    if (p->packed_bytes <= SLICE_PACKED_BYTES) return fit;
    double macs = 1, weights = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const ful__op *op = p->steps[i].op;
        macs += (double)op->cost.macs;
        for (int k = 0; k < op->n_params; k++) weights += (double)op->params[k].count;
    }
    const double uses = ceil(SLICE_USES * weights / macs), images = uses > (double)fit ? uses : (double)fit;
    return images * (double)p->work_per_image <= SLICE_BYTES_MOST ? (int64_t)images : 0;
}

/* How many slices a run goes in: 1 where weights would be read too often, where an op is about the whole batch, or where the
 * work memory does not hold a share for each thread. */
static int64_t slices_of(const ful__exec *exec, int n)
{
    const ful__program *p = &exec->p;
    const int threads = ful_threads_get();
    if (p->spec.train || p->spec.off || n < 2 || ful__parallel_active()) return 1;
    for (int i = 0; i < p->n_steps; i++)
        if (!image_by_image(p->steps[i].op->type)) return 1;
    const int64_t images = images_of_slice(p);
    if (images == 0) return 1;
    int64_t count = (n + images - 1) / images;
    if (count < threads && p->packed_bytes > SLICE_PACKED_BYTES) return 1;
    if (count < threads) count = threads;
    if (count > SLICES_MAX) count = SLICES_MAX;
    if (count > n) count = n;
    const int64_t at_once = threads < count ? threads : count;
    return (size_t)at_once * slice_bytes(exec, n, count) <= ful__exec_work_bytes(exec, n) ? count : 1;
}

static void forward_slice(void *ctx, int64_t i, int thread)
{
    slices *s = ctx;
    const ful__program *p = &s->exec->p;
    ful__exec_run r = *s->run;
    int64_t begin, end;
    ful__share(s->run->n, s->count, i, &begin, &end);
    r.n = (int)(end - begin);
    r.x += begin * ful__count(p->tensors[0].shape);
    r.y += begin * ful__count(p->tensors[p->output].shape);
    r.row = r.row ? r.row + begin : NULL;
    r.label = r.label ? r.label + begin : NULL;
    r.work = (char *)r.work + (size_t)thread * s->work_bytes;
    r.counters = &s->counters[i];
    s->status[i] = forward(s->exec, &r);
    if (s->status[i] != FUL_OK && !atomic_flag_test_and_set(&s->failed))
        snprintf(s->sentence, sizeof s->sentence, "%s", ful_error_message());
}

static ful_status forward_in_slices(ful__exec *exec, const ful__exec_run *run, int64_t count)
{
    ful_status status[SLICES_MAX] = {FUL_OK};
    ful__counters counters[SLICES_MAX] = {{0}};
    ful__exec_run fresh = *run;
    slices s = {.exec = exec,
                .run = run,
                .count = count,
                .work_bytes = slice_bytes(exec, run->n, count),
                .status = status,
                .counters = counters,
                .failed = ATOMIC_FLAG_INIT};
    if (run->repack) { /* the weights once, by the first slice alone */
        forward_slice(&s, 0, 0);
        FUL_TRY(status[0]);
        fresh.repack = false;
        s.run = &fresh;
        counters[0] = (ful__counters){0};
    }
    ful__parallel_for(count, forward_slice, &s);
    for (int64_t i = 0; i < count; i++) {
        FUL_FAIL_IF(status[i] != FUL_OK, status[i], "%s", s.sentence);
        if (!run->counters) continue;
        run->counters->macs += counters[i].macs;
        run->counters->macs_routed += counters[i].macs_routed;
        run->counters->macs_router += counters[i].macs_router;
    }
    return FUL_OK;
}

ful_status ful__exec_forward(ful__exec *exec, const ful__exec_run *run)
{
    FUL_TRY(check_run(exec, run));
    const int64_t count = run->times ? 1 : slices_of(exec, run->n);
    return count > 1 ? forward_in_slices(exec, run, count) : forward(exec, run);
}

ful_status ful__exec_backward(ful__exec *exec, const ful__exec_run *run)
{
    FUL_TRY(check_run(exec, run));
    frame f = frame_of(exec, run);
    for (int j = 0; j < exec->p.n_instrs && run->n > 0; j++) {
        const ful__instr *in = &exec->p.instrs[j];
        if (run->times)
            FUL_TRY(timed_instruction(&f, j));
        else if (in->step >= 0)
            FUL_TRY(step_backward(&f, j, FUL__PASS_BACKWARD));
        else
            add_tensors(&f, in);
    }
    return FUL_OK;
}

void ful__exec_after_step(ful__exec *exec, const ful__exec_run *run)
{
    frame f = frame_of(exec, run);
    for (int i = 0; i < exec->p.n_steps; i++) {
        const ful__step *s = &exec->p.steps[i];
        if (!s->op->type->after_step) continue;
        ful__run r;
        prepare(&f, s, &r);
        s->op->type->after_step(s->op, &r);
    }
}

ful_status ful__exec_prepare(ful__exec *exec, int n)
{
    for (int i = 0; i < exec->p.n_steps; i++) {
        ful__op *op = exec->p.steps[i].op;
        if (op->type->prepare) FUL_TRY(op->type->prepare(op, n));
    }
    return FUL_OK;
}

static bool all_finite(const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* An output that is not kept shows in the one behind it, unless the parameters tell. */
static bool finite_output(const frame *f, const ful__step *s)
{
    if (s->y_again) {
        for (int k = 0; k < s->op->n_params; k++)
            if (!all_finite(f->run->w[s->param + k], s->op->params[k].count)) return false;
        return true;
    }
    return all_finite(tensor_at(f, s->y), f->run->n * ful__count(f->p->tensors[s->y].shape));
}

const char *ful__exec_find_nonfinite(ful__exec *exec, const ful__exec_run *run)
{
    const ful__program *p = &exec->p;
    ful__exec_run again = *run;
    again.counters = NULL;
    again.times = NULL;
    frame f = frame_of(exec, &again);
    if (check_run(exec, run) != FUL_OK || run->n == 0) return NULL;
    if (!all_finite(run->x, run->n * ful__count(p->tensors[0].shape))) return "input";
    for (int i = 0; i < p->n_steps; i++) {
        const ful__step *s = &p->steps[i];
        const ful_status status = step_forward(&f, i);
        if (status == FUL_OK && s->y_left) continue; /* made by the next step */
        if (i > 0 && s[-1].y_left && !finite_output(&f, s - 1)) return s[-1].op->name;
        if (status == FUL_ERR_NUMERIC || !finite_output(&f, s)) return s->op->name;
        if (status != FUL_OK) return NULL;
    }
    return NULL;
}
