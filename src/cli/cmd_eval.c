/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum eval: judging a trained classifier. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

/* ---- passes ---- */

static ful_status predict(const eval_request *q, ful_model *model, const ful_dataset *set, int batch, bool keep_logits,
                          ful_predictions *out)
{
    ful_judge_pass pass;
    ful_judge_pass_defaults(&pass);
    pass.pass.batch = batch;
    pass.pass.training_capacity = q->capacity;
    pass.pass.workers = ful_model_config(model)->data.workers;
    pass.pass.ten_crop = q->ten_crop < 0 ? ful_model_config(model)->data.ten_crop : (ful_ten_crop)q->ten_crop;
    pass.pass.stop = &stop_requested;
    pass.keep_logits = keep_logits;
    return ful_judge_predict(model, set, &pass, out);
}

/* What to evaluate on: the data of the first model in the shape that this one takes. */
static ful_data_config data_for(const eval_request *q, const ful_model *first, const ful_model *model)
{
    ful_data_config data = ful_model_config(first)->data;
    data.size = ful_model_config(model)->data.size;
    data.crop = ful_model_config(model)->data.crop;
    data.channels = ful_model_config(model)->data.channels;
    if (q->path) snprintf(data.path, sizeof data.path, "%s", q->path);
    if (q->kind) snprintf(data.name, sizeof data.name, "%s", q->kind);
    return data;
}

/* The temperature is fitted on the validation split and nowhere else. */
static ful_status fit_temperature(const eval_request *q, ful_model *model, eval_result *r)
{
    ful_dataset *val = NULL;
    ful_predictions p = {0};
    int32_t *label = NULL;
    const ful_data_config data = data_for(q, model, model);
    const ful_judge_options options = {.bins = q->bins, .level = 0.95};
    ful_outcome *cooled = NULL;
    ful_status status = ful_model_data(model, &data, FUL_SPLIT_VAL, &val);
    if (status == FUL_OK) status = predict(q, model, val, 0, true, &p);
    if (status == FUL_OK) {
        label = calloc((size_t)p.count, sizeof *label);
        cooled = calloc((size_t)r->predictions.count, sizeof *cooled);
        status = label && cooled ? FUL_OK : FUL_ERR_MEMORY;
    }
    for (int64_t i = 0; status == FUL_OK && i < p.count; i++) label[i] = p.outcome[i].label;
    if (status == FUL_OK) status = ful_judge_temperature(p.logits, label, p.count, p.classes, &r->temperature);
    if (status == FUL_OK) {
        r->temperature_images = p.count;
        for (int64_t i = 0; i < r->predictions.count; i++)
            ful_outcomes_of(r->predictions.logits + i * r->predictions.classes, &r->predictions.outcome[i].label, 1,
                            r->predictions.classes, r->temperature, &cooled[i]);
        status = ful_judge(cooled, r->predictions.count, r->predictions.classes, &options, &r->cooled);
    }
    free(label);
    free(cooled);
    ful_predictions_deinit(&p);
    ful_dataset_destroy(&val);
    return status;
}

static ful_status compare_with(const eval_request *q, const ful_model *first, eval_result *r)
{
    ful_model *other = NULL;
    ful_dataset *set = NULL;
    ful_predictions p = {0};
    ful_status status = ful_model_open(q->against, 0, &other);
    if (status == FUL_OK) {
        const ful_data_config data = data_for(q, first, other);
        status = ful_model_data(other, &data, q->split, &set);
    }
    if (status == FUL_OK) status = predict(q, other, set, 0, false, &p);
    if (status == FUL_OK && p.count != r->predictions.count) {
        fprintf(stderr, "fulcrum: cannot compare %lld images with %lld: both classifiers must see the same\n",
                (long long)r->predictions.count, (long long)p.count);
        status = FUL_ERR_DATA;
    }
    if (status == FUL_OK)
        status = ful_judge_compare(r->predictions.outcome, p.outcome, p.count, r->judgement.level, &r->compared);
    if (status == FUL_OK) {
        int64_t right = 0;
        for (int64_t i = 0; i < p.count; i++) right += p.outcome[i].rank == 0;
        r->other_accuracy = (double)right / (double)p.count;
    }
    ful_predictions_deinit(&p);
    ful_dataset_destroy(&set);
    ful_model_destroy(&other);
    return status;
}

/* The first batch is what the others are compared with; its predictions are the result. */
static ful_status compare_batches(const eval_request *q, ful_model *model, const ful_dataset *set, eval_result *r)
{
    const ful_predictions *first = &r->predictions;
    ful_status status = FUL_OK;
    for (int i = 0; i < q->n_batches && status == FUL_OK; i++) {
        ful_predictions p = {0};
        status = predict(q, model, set, q->batches[i], true, &p);
        if (status == FUL_OK) ful_judge_agreement(first->logits, p.logits, p.count, p.classes, &r->agreement[i]);
        ful_predictions_deinit(&p);
    }
    return status;
}

/* Whether images of a batch can touch each other: a capacity at evaluation, or blends of the whole batch. */
static bool mixes_images(const ful_config *config, bool capacity)
{
    for (int i = 0; i < config->net.n_moe; i++) {
        const ful_moe_site *site = &config->net.moe[i];
        if (site->dense) continue;
        if (site->moe.eval_capacity_permille != 0 || (capacity && site->moe.capacity_permille != 0)) return true;
        if (strcmp(site->moe.router, "soft_batch") == 0) return true;
    }
    return false;
}

/* ---- figures ---- */

static ful_status write_text(const char *folder, const char *name, char *text)
{
    const ful_status status = ful_judge_write_figure(folder, name, text);
    ful_free(text);
    return status;
}

static ful_status write_figures(const eval_request *q, const eval_result *r)
{
    char *svg = NULL;
    ful_status status = ful_judge_confusion_svg(&r->judgement, r->names, &svg);
    if (status == FUL_OK) status = write_text(q->figures, "confusion.svg", svg);
    if (status == FUL_OK) status = ful_judge_reliability_svg(&r->judgement, &svg);
    if (status == FUL_OK) status = write_text(q->figures, "reliability.svg", svg);
    if (status != FUL_OK || r->temperature == 0) return status;
    status = ful_judge_reliability_svg(&r->cooled, &svg);
    return status == FUL_OK ? write_text(q->figures, "reliability-cooled.svg", svg) : status;
}

/* ---- the command ---- */

static ful_status evaluate(const eval_request *q, ful_model *model, eval_result *r)
{
    ful_dataset *set = NULL;
    const ful_data_config data = data_for(q, model, model);
    const ful_judge_options options = {.bins = q->bins, .level = 0.95};
    const int batch = q->n_batches > 0 ? q->batches[0] : 0;
    ful_status status = ful_model_data(model, &data, q->split, &set);
    if (status == FUL_OK) status = predict(q, model, set, batch, q->temperature || q->n_batches > 0, &r->predictions);
    if (status == FUL_OK)
        status = ful_judge(r->predictions.outcome, r->predictions.count, r->predictions.classes, &options, &r->judgement);
    if (status == FUL_OK && q->temperature) status = fit_temperature(q, model, r);
    if (status == FUL_OK) status = compare_batches(q, model, set, r);
    if (status == FUL_OK && q->against) status = compare_with(q, model, r);
    r->coupled = mixes_images(ful_model_config(model), q->capacity);
    ful_dataset_destroy(&set);
    return status;
}

static ful_status name_classes(const ful_model *model, eval_result *r)
{
    const int classes = ful_model_config(model)->net.classes;
    r->names = calloc((size_t)classes, sizeof *r->names);
    for (int c = 0; r->names && c < classes; c++) r->names[c] = ful_model_class_name(model, c);
    return r->names ? FUL_OK : FUL_ERR_MEMORY;
}

static int run_request(const eval_request *q)
{
    ful_model *model = NULL;
    eval_result r = {0};
    int largest = 0, code;
    for (int i = 0; i < q->n_batches; i++) largest = q->batches[i] > largest ? q->batches[i] : largest;
    watch_signals();
    ful_status status = ful_model_open(q->model, largest, &model);
    if (status == FUL_OK) status = name_classes(model, &r);
    if (status == FUL_OK) status = evaluate(q, model, &r);
    if (status == FUL_OK && q->figures) status = write_figures(q, &r);
    if (status != FUL_OK)
        code = fail(status);
    else
        code = common.json ? show_eval_json(q, &r) : show_eval_text(q, &r);
    free(r.names);
    ful_judgement_deinit(&r.judgement);
    ful_judgement_deinit(&r.cooled);
    ful_predictions_deinit(&r.predictions);
    ful_model_destroy(&model);
    return code;
}

/* "1,7,128" */
static int parse_batches(const command *self, const char *text, eval_request *q)
{
    while (text && *text) {
        char *end;
        const long number = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || number < 1 || number > 65536 || q->n_batches == BATCHES_MAX)
            return usage_error(self, "--batches %s: at most %d whole numbers of 1 to 65536 with commas are needed", text,
                               BATCHES_MAX);
        q->batches[q->n_batches++] = (int)number;
        text = *end ? end + 1 : end;
    }
    return -1;
}

static int run_eval(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL}, *split_name = "test", *batches = NULL, *ten_crop = NULL;
    eval_request q = {.bins = 15};
    int n_operands, code;
    const option_spec options[] = {
        {"data", 'd', OPTION_TEXT, &q.path, "PATH", "data set to evaluate on (default: the one it was trained on)"},
        {"name", 0, OPTION_TEXT, &q.kind, "KIND", "what lies at PATH (see fulcrum data list; default: the trained kind)"},
        {"split", 0, OPTION_TEXT, &split_name, "NAME", "train, val or test (default test)"},
        {"training-capacity", 0, OPTION_FLAG, &q.capacity, NULL, "evaluate with the capacity limits of training"},
        {"ten-crop", 0, OPTION_TEXT, &ten_crop, "WHAT", "average logits or probabilities over ten crops (or none of that)"},
        {"against", 0, OPTION_TEXT, &q.against, "OTHER", "another run or checkpoint on the same images: McNemar's test"},
        {"batches", 0, OPTION_TEXT, &batches, "LIST", "do predictions depend on the batch? e.g. 1,7,128"},
        {"temperature", 0, OPTION_FLAG, &q.temperature, NULL, "also with a temperature fitted on the validation split"},
        {"bins", 0, OPTION_INT, &q.bins, "N", "bins of calibration, 1 to 1000 (default 15)"},
        {"confusion", 0, OPTION_FLAG, &q.matrix, NULL, "the whole confusion matrix; of many classes the 30 worst pairs"},
        {"figures", 0, OPTION_TEXT, &q.figures, "DIR", "write confusion.svg and reliability.svg into a folder"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "a run folder or checkpoint is needed");
    static const char *const names[] = {"train", "val", "test"}, *const averages[] = {"none", "logits", "probabilities"};
    int split = 0, average = 0;
    while (split < 3 && strcmp(names[split], split_name) != 0) split++;
    if (split == 3) return usage_error(self, "--split %s: must be train, val or test", split_name);
    while (ten_crop && average < 3 && strcmp(averages[average], ten_crop) != 0) average++;
    if (average == 3) return usage_error(self, "--ten-crop %s: must be none, logits or probabilities", ten_crop);
    q.ten_crop = ten_crop ? average : -1;
    if (q.bins < 1 || q.bins > FUL_JUDGE_BINS_MAX)
        return usage_error(self, "--bins %d: must be in 1..%d", q.bins, FUL_JUDGE_BINS_MAX);
    if ((code = parse_batches(self, batches, &q)) >= 0) return code;
    q.model = operands[0];
    q.split = (ful_split)split;
    return run_request(&q);
}

const command cmd_eval = {"eval", "RUN_OR_CHECKPOINT [--data PATH]",
                          "Judge a trained classifier: accuracy, classes, confusion, calibration",
                          "doc/judging.md says how to read each figure. Intervals are at 95 %.\n\n"
                          "  fulcrum eval runs/moe --against runs/dense\n"
                          "  fulcrum eval runs/moe --temperature --figures figures --json",
                          run_eval};
