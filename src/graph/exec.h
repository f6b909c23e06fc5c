/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An executor: a graph made ready to run for up to n_max images, either for training (forward and backward) or for inference
 * (batch-norm folded, no backward). It owns planned ops and offsets, but no tensors: whoever runs it brings parameters, packed
 * weights and work memory, so the experts of a mixture share one executor.
 *
 * Passes, in order: fuse (batch-norm + add + activation; for inference conv + batch-norm + add + activation; values of which
 * one position is read are made there alone), choose layouts
 * and insert reorders where neighbours disagree, plan ops, place all buffers of one step in one arena by liveness over forward
 * and backward. Every buffer is so many bytes an image (plus a fixed part), so offsets scale with n: work memory for n images
 * is ful__exec_work_bytes(exec, n), nothing larger is touched.
 */
#ifndef FUL_GRAPH_EXEC_H
#define FUL_GRAPH_EXEC_H

#include "graph/graph.h"

typedef struct ful__exec ful__exec;

/* Passes to leave out, for tests: fusion, and with it the leaving out of what nobody reads; in-place work and the sharing of
 * memory. */
enum { FUL__EXEC_NO_FUSE = 1u << 0, FUL__EXEC_NO_REUSE = 1u << 1 };

typedef struct ful__exec_spec {
    int n_max;
    int n_likely; /* what to be fast at; 0 = n_max (default) */
    bool train;
    ful__layout x_layout, y_layout; /* of the boundary buffers x, y, dy, dx (default NHWC) */
    bool need_dx;                   /* backward also gives the gradient of the input (experts yes, nets no) */
    bool fresh;                     /* packed weights are made anew in every call, and so share one place */
    unsigned off;                   /* FUL__EXEC_NO_… (default 0) */
} ful__exec_spec;

/* The graph is borrowed for the life of the executor. */
ful_status ful__exec_create(const ful_graph *g, const ful__exec_spec *spec, ful__exec **out) FUL_CHECK_RESULT;
void ful__exec_destroy(ful__exec **exec);

/* Parameters of the graph in node order, as its ops list them; the arrays w and dw of a run follow this order. */
int ful__exec_n_params(const ful__exec *exec);
const ful__param *ful__exec_param(const ful__exec *exec, int i);

bool ful__exec_backward_reads_y(const ful__exec *exec);
/* Makes runs of n images allocate nothing, not even the first: for a run whose n changes from step to step. */
ful_status ful__exec_prepare(ful__exec *exec, int n) FUL_CHECK_RESULT;

size_t ful__exec_work_bytes(const ful__exec *exec, int n); /* arena + scratch of one step: fixed + n * per_image */
size_t ful__exec_work_bytes_per_image(const ful__exec *exec);
size_t ful__exec_work_bytes_fixed(const ful__exec *exec);
size_t ful__exec_packed_bytes(const ful__exec *exec); /* packed/folded copies of one weight set */

/* Time spent on one row of ful__exec_rows. */
typedef struct ful__exec_time {
    double seconds;
    int64_t calls, images;
} ful__exec_time;

/*
 * x, y, dy, dx are the caller's and must not overlap. Forward may use y as work memory before it holds the output; x and dy are
 * only read. Backward reads x, and y where ful__exec_backward_reads_y says so, as forward left them. An executor keeps nothing
 * of a run: several threads may run it at once, each with its own work memory, as far as its ops allow that.
 */
typedef struct ful__exec_run {
    int n;
    bool repack; /* parameters changed since `packed` was last written */
    uint64_t seed, step;
    double progress;
    const uint32_t *row;
    const int32_t *label;
    float *const *w;     /* one pointer a parameter, plain layouts */
    float *const *dw;    /* backward ADDS; NULL entries where not trainable */
    void *work, *packed; /* 64-byte aligned; work must stay untouched between forward and backward */
    const float *x;
    float *y;
    const float *dy;
    float *dx;
    ful__counters *counters;
    ful__exec_time *times; /* [ful__exec_n_rows], added to; NULL: nothing is timed */
} ful__exec_run;

/* An op's failure is passed on with its sentence. n = 0 does nothing. */
ful_status ful__exec_forward(ful__exec *exec, const ful__exec_run *run) FUL_CHECK_RESULT;
ful_status ful__exec_backward(ful__exec *exec, const ful__exec_run *run) FUL_CHECK_RESULT;
void ful__exec_after_step(ful__exec *exec, const ful__exec_run *run);
/* First op whose output holds a NaN or Inf ("input" for x itself), NULL if none. Runs forward again, looking at each output
 * before its memory is used anew: running statistics and routing statistics see the batch twice, so this is for the end of a
 * run. */
const char *ful__exec_find_nonfinite(ful__exec *exec, const ful__exec_run *run);

/*
 * What can be timed: a row for each pass of each op. While times are taken, convolutions and linear layers make their two
 * gradients one after the other, so that each has its row; all others go backward in one. The last row is the sums of gradients
 * where a value is used twice (op NULL); any other row without an op is unused. Costs are of one image, floats_fixed weights
 * and their gradients: the least that a pass must move, each tensor read or written once.
 */
typedef enum ful__exec_pass { FUL__PASS_FORWARD, FUL__PASS_BACKWARD, FUL__PASS_DW, FUL__PASS_DX, FUL__PASS_SUM } ful__exec_pass;
typedef struct ful__exec_row {
    const ful__op *op;
    ful__exec_pass pass;
    int64_t macs, floats, floats_fixed;
} ful__exec_row;
int ful__exec_n_rows(const ful__exec *exec);
ful__exec_row ful__exec_row_at(const ful__exec *exec, int i);

/* The planned ops in execution order (for statistics and the plan table). */
int ful__exec_n_ops(const ful__exec *exec);
ful__op *ful__exec_op(const ful__exec *exec, int i);
/* Text of the plan: one line an op with layout, offsets, bytes, what was fused. Caller frees with ful__free. */
ful_status ful__exec_describe(const ful__exec *exec, char **text_out) FUL_CHECK_RESULT;

#endif
