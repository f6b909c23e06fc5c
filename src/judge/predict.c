/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a model over a data set, kept as outcomes. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include <fulcrum/judge.h>

void ful_judge_pass_defaults(ful_judge_pass *pass)
{
    *pass = (ful_judge_pass){.temperature = 1.0};
    ful_pass_defaults(&pass->pass);
}

void ful_predictions_deinit(ful_predictions *p)
{
    ful__free(p->outcome);
    ful__free(p->logits);
    *p = (ful_predictions){0};
}

typedef struct keeper {
    ful_predictions *to;
    double temperature;
    int64_t at;
} keeper;

static void keep(void *cookie, const ful_batch *batch, const float *logits)
{
    keeper *k = cookie;
    const int64_t classes = k->to->classes;
    ful_outcomes_of(logits, batch->label, batch->n, k->to->classes, k->temperature, k->to->outcome + k->at);
    if (k->to->logits) memcpy(k->to->logits + k->at * classes, logits, (size_t)(batch->n * classes) * sizeof *logits);
    k->at += batch->n;
}

ful_status ful_judge_predict(ful_model *model, const ful_dataset *set, const ful_judge_pass *pass, ful_predictions *out)
{
    ful_dataset_info info;
    ful_eval sums;
    keeper k = {.to = out, .temperature = pass->temperature};
    *out = (ful_predictions){0};
    FUL_FAIL_IF(!(pass->temperature > 0.0), FUL_ERR_ARG, "cannot predict at temperature %g: it must be > 0", pass->temperature);
    ful_dataset_info_get(set, &info);
    *out = (ful_predictions){.count = info.count, .classes = info.classes, .fingerprint = info.fingerprint};
    size_t values = 0;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__calloc(&out->outcome, (size_t)info.count, sizeof *out->outcome, "outcomes"));
    if (pass->keep_logits) {
        if (!ful__size_mul((size_t)info.count, (size_t)info.classes, &values))
            FUL_TRY_GOTO(status, done, ful__fail(FUL_ERR_MEMORY, "cannot keep the logits of so many images: too large"));
        FUL_TRY_GOTO(status, done, ful__calloc(&out->logits, values, sizeof *out->logits, "logits"));
    }
    FUL_TRY_GOTO(status, done, ful_model_pass(model, set, &pass->pass, keep, &k, &sums));
    out->seconds = sums.seconds;
done:
    if (status != FUL_OK) ful_predictions_deinit(out);
    return status;
}
