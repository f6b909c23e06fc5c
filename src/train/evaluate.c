/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluating a net on all batches of a loader. */
#include "train/evaluate.h"

#include <math.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/time.h"
#include "ops/op.h"

enum { TOP = 5 };

ful_status ful__evaluator_init(ful__evaluator *e, ful_net *net, int batch_max)
{
    *e = (ful__evaluator){.net = net, .classes = ful_net_classes(net)};
    size_t floats = 0;
    FUL_FAIL_IF(!ful__size_mul((size_t)batch_max, (size_t)e->classes, &floats), FUL_ERR_MEMORY,
                "cannot evaluate batches of %d over %d classes: too large", batch_max, e->classes);
    return ful__calloc(&e->logits, floats, sizeof(float), "logits");
}

void ful__evaluator_deinit(ful__evaluator *e)
{
    ful__free(e->logits);
    *e = (ful__evaluator){0};
}

/* Classes that are ahead of the label; equal ones with a lower number are ahead. */
static int rank_of(const float *logits, int classes, int label, int *best_out)
{
    int ahead = 0, best = 0;
    for (int c = 0; c < classes; c++) {
        ahead += logits[c] > logits[label] || (logits[c] == logits[label] && c < label);
        if (logits[c] > logits[best]) best = c;
    }
    *best_out = best;
    return ahead;
}

static void count_batch(const ful__evaluator *e, const ful_batch *batch, ful_eval *out)
{
    for (int i = 0; i < batch->n; i++) {
        const int label = batch->label[i];
        int best = 0;
        const int rank = rank_of(e->logits + (size_t)i * (size_t)e->classes, e->classes, label, &best);
        out->correct += rank == 0;
        out->correct_top5 += rank < TOP;
        if (out->confusion) out->confusion[(size_t)label * (size_t)e->classes + (size_t)best]++;
    }
    out->count += batch->n;
}

ful_status ful__evaluate(ful__evaluator *e, ful_loader *loader, const char *split, const volatile int *stop,
                         ful__batch_fn after, void *ctx, ful_eval *out)
{
    double loss = 0;
    FUL_TRY(ful_loader_start(loader, 0, 0));
    for (int64_t number = 0;; number++) {
        ful_batch batch;
        FUL_TRY(ful_loader_next(loader, &batch));
        if (batch.n == 0) break;
        FUL_FAIL_IF(stop && *stop, FUL_ERR_INTERRUPTED, "cannot finish the evaluation on %s: the user asked to stop", split);
        const double start = ful__seconds();
        FUL_TRY(ful_net_predict(e->net, batch.n, batch.x, batch.label, e->logits));
        out->seconds += ful__seconds() - start;
        ful__xent xent = {.n = batch.n, .classes = e->classes, .logits = e->logits, .label = batch.label};
        ful__softmax_xent(&xent);
        loss += xent.loss_out * batch.n;
        count_batch(e, &batch, out);
        if (after) after(ctx, &batch, number);
    }
    FUL_FAIL_IF(out->count == 0, FUL_ERR_DATA, "cannot evaluate on %s: it has no images", split);
    out->loss = loss / (double)out->count;
    out->classes = e->classes;
    FUL_FAIL_IF(!isfinite(out->loss), FUL_ERR_NUMERIC, "cannot go on with a loss of %g on %s: the net has diverged", out->loss,
                split);
    return FUL_OK;
}
