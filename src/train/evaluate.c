/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluating a net on all batches of a loader. */
#include "train/evaluate.h"

#include <math.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/time.h"
#include "ops/op.h"

enum { TOP = 5 };

ful_status ful__evaluator_init(ful__evaluator *e, ful_net *net, int batch_max, ful_ten_crop ten_crop)
{
    const int views = ten_crop == FUL_TEN_CROP_NONE ? 1 : 10;
    *e = (ful__evaluator){.net = net, .classes = ful_net_classes(net), .ten_crop = ten_crop, .views = views};
    size_t rows = 0, floats = 0;
    FUL_FAIL_IF(!ful__size_mul((size_t)batch_max, (size_t)views, &rows) || !ful__size_mul(rows, (size_t)e->classes, &floats),
                FUL_ERR_MEMORY, "cannot evaluate batches of %d over %d classes: too large", batch_max, e->classes);
    if (views > 1) FUL_TRY(ful__calloc(&e->label, rows, sizeof *e->label, "labels of ten crops"));
    return ful__calloc(&e->logits, floats, sizeof(float), "logits");
}

void ful__evaluator_deinit(ful__evaluator *e)
{
    ful__free(e->logits);
    ful__free(e->label);
    *e = (ful__evaluator){0};
}

int ful__rank_of(const float *logits, int classes, int label, int *best_out)
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
        const int rank = ful__rank_of(e->logits + (size_t)i * (size_t)e->classes, e->classes, label, &best);
        out->correct += rank == 0;
        out->correct_top5 += rank < TOP;
        if (out->confusion) out->confusion[(size_t)label * (size_t)e->classes + (size_t)best]++;
    }
    out->count += batch->n;
}

/* x - ln sum exp x */
static void log_softmax(float *x, int n)
{
    double most = (double)x[0], sum = 0;
    for (int i = 1; i < n; i++) most = fmax(most, (double)x[i]);
    for (int i = 0; i < n; i++) sum += exp((double)x[i] - most);
    for (int i = 0; i < n; i++) x[i] = (float)((double)x[i] - most - log(sum));
}

/* One row for each image from those of its views: their mean, or the logarithm of their mean probability. */
static void average_views(ful__evaluator *e, int n)
{
    const bool probabilities = e->ten_crop == FUL_TEN_CROP_PROBABILITIES;
    for (int i = 0; i < n; i++) {
        float *rows = e->logits + (size_t)i * (size_t)e->views * (size_t)e->classes;
        for (int v = 0; v < e->views && probabilities; v++) log_softmax(rows + (size_t)v * (size_t)e->classes, e->classes);
        for (int c = 0; c < e->classes; c++) {
            double sum = 0;
            for (int v = 0; v < e->views; v++) {
                const double value = (double)rows[(size_t)v * (size_t)e->classes + (size_t)c];
                sum += probabilities ? exp(value) : value;
            }
            sum /= e->views;
            e->logits[(size_t)i * (size_t)e->classes + (size_t)c] = (float)(probabilities ? log(fmax(sum, 1e-38)) : sum);
        }
    }
}

static ful_status predict(ful__evaluator *e, const ful_batch *batch)
{
    FUL_FAIL_IF(batch->views != e->views, FUL_ERR_INTERNAL, "cannot evaluate %d views of an image: %d are expected",
                batch->views, e->views);
    if (e->views == 1) return ful_net_predict(e->net, batch->n, batch->x, batch->label, e->logits);
    for (int i = 0; i < batch->n * e->views; i++) e->label[i] = batch->label[i / e->views];
    FUL_TRY(ful_net_predict(e->net, batch->n * e->views, batch->x, e->label, e->logits));
    average_views(e, batch->n);
    return FUL_OK;
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
        FUL_TRY(predict(e, &batch));
        out->seconds += ful__seconds() - start;
        ful__xent xent = {.n = batch.n, .classes = e->classes, .logits = e->logits, .label = batch.label};
        ful__softmax_xent(&xent);
        loss += xent.loss_out * batch.n;
        count_batch(e, &batch, out);
        if (after) after(ctx, &batch, number);
    }
    out->skipped = ful_loader_skipped(loader);
    FUL_FAIL_IF(out->count == 0, FUL_ERR_DATA, "cannot evaluate on %s: it has no images", split);
    out->loss = loss / (double)out->count;
    out->classes = e->classes;
    FUL_FAIL_IF(!isfinite(out->loss), FUL_ERR_NUMERIC, "cannot go on with a loss of %g on %s: the net has diverged", out->loss,
                split);
    return FUL_OK;
}
