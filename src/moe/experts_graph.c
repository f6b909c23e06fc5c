/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experts as instances of one planned graph, run one after the other on their gathered rows: each run uses all threads inside
 * its operations, and memory grows with the rows that are there, not with the number of experts.
 *
 *   packed   [e] forward fresh, [e] backward fresh | expert 0's packed weights | expert 1's | …   (each 64-byte aligned)
 *   saved    expert 0's work memory for its rows | expert 1's | …                                 (training)
 *   scratch  gathered rows of the expert at work | its work memory                                (inference: one for all)
 */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "moe/dispatch.h"
#include "moe/experts.h"

ful_status ful__experts_plan_graph(ful__experts *x, ful__layout layout)
{
    FUL_FAIL_IF(x->most.one > INT32_MAX, FUL_ERR_ARG, "cannot plan moe '%s' for %lld rows an expert: at most 2^31-1", x->name,
                (long long)x->most.one);
    const int64_t share = x->most.all / x->e; /* of the rows, when the router is fair */
    const ful__exec_spec spec = {.n_max = (int)x->most.one,
                                 .n_likely = share < 1             ? 1
                                             : share < x->most.one ? (int)share
                                                                   : (int)x->most.one,
                                 .train = x->train,
                                 .x_layout = layout,
                                 .y_layout = layout,
                                 .need_dx = true};
    FUL_TRY(ful__exec_create(x->graph, &spec, &x->exec));
    /* an expert's share of a training batch may be any number of rows, and no step may allocate */
    for (int n = 1; x->train && n <= spec.n_max; n++) FUL_TRY(ful__exec_prepare(x->exec, n));
    return FUL_OK;
}

static size_t gathered_bytes(const ful__experts *x, ful__rows_bound bound)
{
    return ful__align64((size_t)(bound.one * x->width) * sizeof(float));
}

size_t ful__experts_saved_graph(const ful__experts *x, ful__rows_bound bound)
{
    if (!x->train) return 0;
    return (size_t)x->e * ful__align64(ful__exec_work_bytes_fixed(x->exec) + 64) +
           (size_t)bound.all * ful__exec_work_bytes_per_image(x->exec);
}

size_t ful__experts_scratch_graph(const ful__experts *x, ful__rows_bound bound, bool backward)
{
    size_t bytes = gathered_bytes(x, bound);
    if (!x->train && !backward)
        bytes += ful__exec_work_bytes_fixed(x->exec) + (size_t)bound.one * ful__exec_work_bytes_per_image(x->exec);
    return bytes;
}

static size_t flags_bytes(const ful__experts *x)
{
    return ful__align64(2 * (size_t)x->e);
}

static size_t packed_stride(const ful__experts *x)
{
    return ful__align64(ful__exec_packed_bytes(x->exec));
}

size_t ful__experts_packed_graph(const ful__experts *x)
{
    return flags_bytes(x) + (size_t)x->e * packed_stride(x);
}

/* The run of expert i, and whether its packed weights of this pass are stale. */
static ful__exec_run run_of(const ful__experts *x, const ful__experts_run *run, int i, bool backward)
{
    uint8_t *fresh = (uint8_t *)run->packed + (backward ? x->e : 0);
    const bool repack = !fresh[i];
    fresh[i] = 1;
    return (ful__exec_run){
        .n = (int)(run->offset[i + 1] - run->offset[i]),
        .repack = repack,
        .seed = run->seed,
        .step = run->step,
        .progress = run->progress,
        .w = run->w + (ptrdiff_t)i * x->n_params,
        .dw = run->dw ? run->dw + (ptrdiff_t)i * x->n_params : NULL,
        .packed = (char *)run->packed + flags_bytes(x) + (size_t)i * packed_stride(x),
    };
}

/* The expert's rows in one piece: where they are, or gathered into scratch. */
static const float *rows_of(const ful__experts *x, const ful__experts_run *run, int i)
{
    const int64_t begin = run->offset[i];
    if (!run->index) return run->x + begin * x->width;
    ful__gather(run->x, run->index + begin, run->offset[i + 1] - begin, x->width, run->scratch);
    return run->scratch;
}

ful_status ful__experts_forward_graph(ful__experts *x, ful__experts_run *run)
{
    if (run->repack) memset(run->packed, 0, (size_t)x->e);
    char *work = x->train ? run->saved : (char *)run->scratch + gathered_bytes(x, run->bound);
    for (int i = 0; i < x->e; i++) {
        if (run->offset[i + 1] == run->offset[i]) continue;
        ful__counters counters = {0};
        ful__exec_run r = run_of(x, run, i, false);
        r.x = rows_of(x, run, i);
        r.y = run->o + run->offset[i] * x->width;
        r.work = work;
        r.counters = &counters;
        const ful_status status = ful__exec_forward(x->exec, &r);
        if (status != FUL_OK) return ful__fail_context(status, "expert %d of moe '%s'", i, x->name);
        run->macs += counters.macs;
        if (x->train) work += ful__align64(ful__exec_work_bytes(x->exec, r.n));
    }
    return FUL_OK;
}

ful_status ful__experts_backward_graph(ful__experts *x, ful__experts_run *run)
{
    if (run->repack) memset((char *)run->packed + x->e, 0, (size_t)x->e);
    char *work = run->saved;
    for (int i = 0; i < x->e; i++) {
        if (run->offset[i + 1] == run->offset[i]) continue;
        ful__exec_run r = run_of(x, run, i, true);
        r.x = rows_of(x, run, i);
        r.y = run->o + run->offset[i] * x->width;
        r.dy = run->d_o + run->offset[i] * x->width;
        r.dx = run->dx ? run->dx + run->offset[i] * x->width : NULL;
        r.work = work;
        const ful_status status = ful__exec_backward(x->exec, &r);
        if (status != FUL_OK) return ful__fail_context(status, "expert %d of moe '%s'", i, x->name);
        work += ful__align64(ful__exec_work_bytes(x->exec, r.n));
    }
    return FUL_OK;
}
