/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a model over a data set, kept as outcomes. */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "judge/views.h"

void ful_judge_pass_defaults(ful_judge_pass *pass)
{
    *pass = (ful_judge_pass){.temperature = 1.0, .severity = 3, .corrupt_seed = 1};
    ful_pass_defaults(&pass->pass);
}

void ful_predictions_deinit(ful_predictions *p)
{
    ful__free(p->outcome);
    ful__free(p->logits);
    *p = (ful_predictions){0};
}

ful_status ful_predictions_compare(const ful_predictions *a, const ful_predictions *b, double level, ful_mcnemar *out)
{
    FUL_FAIL_IF(!a || !b || !out, FUL_ERR_ARG, "cannot compare predictions with one or the output NULL: all are needed");
    FUL_FAIL_IF(a->count != b->count, FUL_ERR_DATA,
                "cannot compare predictions of %lld images with those of %lld: both must be of the same images",
                (long long)a->count, (long long)b->count);
    return ful_judge_compare(a->outcome, b->outcome, a->count, level, out);
}

typedef struct keeper {
    ful_predictions *to;
    double temperature;
    bool add; /* probabilities are summed up in to->logits */
    int64_t at;
} keeper;

/* p += softmax(z) */
static void add_softmax(const float *z, int classes, float *p)
{
    double most = (double)z[0], sum = 0.0;
    for (int c = 1; c < classes; c++) most = fmax(most, (double)z[c]);
    for (int c = 0; c < classes; c++) sum += exp((double)z[c] - most);
    for (int c = 0; c < classes; c++) p[c] += (float)(exp((double)z[c] - most) / sum);
}

static void keep(void *cookie, const ful_batch *batch, const float *logits)
{
    keeper *k = cookie;
    ful_predictions *to = k->to;
    const int64_t classes = to->classes;
    if (k->add) {
        for (int i = 0; i < batch->n; i++) {
            add_softmax(logits + i * classes, to->classes, to->logits + (k->at + i) * classes);
            to->outcome[k->at + i].label = batch->label[i];
        }
    } else {
        ful_outcomes_of(logits, batch->label, batch->n, to->classes, k->temperature, to->outcome + k->at);
        if (to->logits) memcpy(to->logits + k->at * classes, logits, (size_t)(batch->n * classes) * sizeof *logits);
    }
    k->at += batch->n;
}

/* Sums of probabilities over the views to logits, and these to outcomes. */
static void average(ful_predictions *p, int views, double temperature)
{
    for (int64_t i = 0; i < p->count * p->classes; i++) p->logits[i] = logf(fmaxf(p->logits[i] / (float)views, 1e-38f));
    for (int64_t i = 0; i < p->count; i++) {
        const int32_t label = p->outcome[i].label;
        ful_outcomes_of(p->logits + i * p->classes, &label, 1, p->classes, temperature, &p->outcome[i]);
    }
}

static ful_status run_views(ful_model *model, const ful_dataset *set, const ful_judge_pass *pass, ful__change *change,
                            ful_predictions *out)
{
    const int n = pass->views ? pass->n_views : 1;
    ful_pass one = pass->pass;
    for (int v = 0; v < n; v++) {
        keeper k = {.to = out, .temperature = pass->temperature, .add = n > 1};
        ful_eval sums;
        if (pass->views) change->view = pass->views[v];
        one.change = ful__change_is_plain(change) ? NULL : ful__change_apply;
        one.change_ctx = change;
        FUL_TRY(ful_model_pass(model, set, &one, keep, &k, &sums));
        out->seconds += sums.seconds;
        out->count = sums.count; /* the same in each view: damaged images are left out */
        out->skipped = sums.skipped;
    }
    if (n > 1) average(out, n, pass->temperature);
    return FUL_OK;
}

static ful_status make_room(ful_predictions *p, bool logits)
{
    size_t values = 0;
    FUL_TRY(ful__calloc(&p->outcome, (size_t)p->count, sizeof *p->outcome, "outcomes"));
    if (!logits) return FUL_OK;
    FUL_FAIL_IF(!ful__size_mul((size_t)p->count, (size_t)p->classes, &values), FUL_ERR_MEMORY,
                "cannot keep the logits of so many images: too large");
    return ful__calloc(&p->logits, values, sizeof *p->logits, "logits");
}

ful_status ful_judge_predict(ful_model *model, const ful_dataset *set, const ful_judge_pass *pass, ful_predictions *out)
{
    ful_dataset_info info;
    ful__change change = {0};
    FUL_FAIL_IF(!model || !set || !pass || !out, FUL_ERR_ARG,
                "cannot predict with model, data, pass or out NULL: all are needed");
    *out = (ful_predictions){0};
    FUL_FAIL_IF(!(pass->temperature > 0.0), FUL_ERR_ARG, "cannot predict at temperature %g: it must be > 0", pass->temperature);
    FUL_FAIL_IF(pass->views && (pass->n_views < 1 || pass->n_views > FUL_VIEWS_MAX), FUL_ERR_ARG,
                "cannot average over %d views: at least 1, at most %d", pass->n_views, FUL_VIEWS_MAX);
    FUL_FAIL_IF(pass->pass.ten_crop != FUL_TEN_CROP_NONE && ful_model_config(model)->data.crop == 0, FUL_ERR_CONFIG,
                "cannot average ten crops with data.crop=0: each would be the whole image; data.crop must be above 0");
    ful_dataset_info_get(set, &info);
    *out = (ful_predictions){.count = info.count, .classes = info.classes, .fingerprint = info.fingerprint};
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, make_room(out, pass->keep_logits || (pass->views && pass->n_views > 1)));
    FUL_TRY_GOTO(status, done, ful__change_init(&change, pass, set));
    FUL_TRY_GOTO(status, done, run_views(model, set, pass, &change, out));
    out->skipped += info.left_out;
done:
    ful__change_deinit(&change);
    if (status != FUL_OK) ful_predictions_deinit(out);
    return status;
}
