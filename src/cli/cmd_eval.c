/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum eval: judging a trained classifier. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/eval.h"

/* ---- passes ---- */

ful_status eval_predict(const eval_request *q, ful_model *model, const ful_dataset *set, int batch, bool keep_logits,
                        const char *corruption, int severity, ful_predictions *out)
{
    ful_judge_pass pass;
    const ful_data_config *data = &ful_model_config(model)->data;
    ful_judge_pass_defaults(&pass);
    pass.pass.batch = batch;
    pass.pass.training_capacity = q->capacity;
    pass.pass.workers = data->workers;
    pass.pass.ten_crop = q->ten_crop < 0 ? data->ten_crop : (ful_ten_crop)q->ten_crop;
    pass.pass.stop = &stop_requested;
    pass.keep_logits = keep_logits;
    pass.corruption = corruption;
    pass.severity = severity;
    pass.corrupt_seed = (uint64_t)q->corrupt_seed;
    if (q->n_views > 1) {
        pass.views = q->views;
        pass.n_views = q->n_views;
    }
    return ful_judge_predict(model, set, &pass, out);
}

static ful_status predict(const eval_request *q, ful_model *model, const ful_dataset *set, int batch, bool keep_logits,
                          ful_predictions *out)
{
    return eval_predict(q, model, set, batch, keep_logits, NULL, 0, out);
}

/* What to evaluate on: the data of the first model in the shape that this one takes. */
static ful_data_config data_for(const eval_request *q, const ful_model *first, const ful_model *model)
{
    ful_data_config data = ful_model_config(first)->data;
    data.size = ful_model_config(model)->data.size;
    data.crop = ful_model_config(model)->data.crop;
    data.channels = ful_model_config(model)->data.channels;
    if (q->path) snprintf(data.path, sizeof data.path, "%s", q->path);
    if (q->path && !q->kind && strcmp(data.name, "clusters") == 0) /* generated images lie nowhere */
        snprintf(data.name, sizeof data.name, "folder");
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

static ful_status compare_with(const eval_request *q, const eval_subject *u, eval_result *r)
{
    ful_predictions p = {0};
    int64_t right = 0;
    ful_status status = predict(q, u->other, u->other_set, 0, false, &p);
    if (status == FUL_OK) status = ful_predictions_compare(&r->predictions, &p, r->judgement.level, &r->compared);
    for (int64_t i = 0; status == FUL_OK && i < p.count; i++) right += p.outcome[i].rank == 0;
    if (status == FUL_OK) r->other_accuracy = (double)right / (double)p.count;
    ful_predictions_deinit(&p);
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
    if (status == FUL_OK && r->temperature > 0) {
        status = ful_judge_reliability_svg(&r->cooled, &svg);
        if (status == FUL_OK) status = write_text(q->figures, "reliability-cooled.svg", svg);
    }
    if (status == FUL_OK && q->n_corrupt > 0) {
        status = ful_judge_robust_svg(&r->robust, q->model, q->against, &svg);
        if (status == FUL_OK) status = write_text(q->figures, "corruptions.svg", svg);
    }
    return status;
}

/* ---- the command ---- */

static ful_status open_subject(const eval_request *q, eval_subject *u)
{
    int largest = 0;
    for (int i = 0; i < q->n_batches; i++) largest = q->batches[i] > largest ? q->batches[i] : largest;
    ful_status status = ful_model_open(q->model, largest, &u->model);
    if (status != FUL_OK) return status;
    const ful_data_config data = data_for(q, u->model, u->model);
    status = ful_model_data(u->model, &data, q->split, &u->set);
    if (status != FUL_OK || !q->against) return status;
    status = ful_model_open(q->against, 0, &u->other);
    if (status != FUL_OK) return status;
    const ful_data_config other = data_for(q, u->model, u->other);
    return ful_model_data(u->other, &other, q->split, &u->other_set);
}

static void close_subject(eval_subject *u)
{
    ful_dataset_destroy(&u->set);
    ful_dataset_destroy(&u->other_set);
    ful_model_destroy(&u->model);
    ful_model_destroy(&u->other);
}

static ful_status evaluate(const eval_request *q, const eval_subject *u, eval_result *r)
{
    const ful_judge_options options = {.bins = q->bins, .level = 0.95};
    const int batch = q->n_batches > 0 ? q->batches[0] : 0;
    ful_status status = predict(q, u->model, u->set, batch, q->temperature || q->n_batches > 0, &r->predictions);
    if (status == FUL_OK)
        status = ful_judge(r->predictions.outcome, r->predictions.count, r->predictions.classes, &options, &r->judgement);
    if (status == FUL_OK && q->temperature) status = fit_temperature(q, u->model, r);
    if (status == FUL_OK) status = compare_batches(q, u->model, u->set, r);
    if (status == FUL_OK && q->against) status = compare_with(q, u, r);
    if (status == FUL_OK && q->n_corrupt > 0) status = eval_corruptions(q, u, r);
    r->coupled = mixes_images(ful_model_config(u->model), q->capacity);
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
    eval_subject u = {0};
    eval_result r = {0};
    int code;
    watch_signals();
    ful_status status = open_subject(q, &u);
    if (status == FUL_OK) status = name_classes(u.model, &r);
    if (status == FUL_OK) status = evaluate(q, &u, &r);
    if (status == FUL_OK && q->figures) status = write_figures(q, &r);
    if (status == FUL_OK && q->keep) status = keep_eval(q, &r);
    if (status != FUL_OK)
        code = fail(status);
    else
        code = common.json ? show_eval_json(q, &r) : show_eval_text(q, &r);
    free(r.names);
    ful_judgement_deinit(&r.judgement);
    ful_judgement_deinit(&r.cooled);
    ful_predictions_deinit(&r.predictions);
    close_subject(&u);
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

/* "flip,shift4,ten-crop": views by ourselves, ten crops by the loader. */
static int parse_tta(const command *self, const char *text, eval_request *q)
{
    static const char crops[] = "ten-crop";
    char rest[64];
    if (!text) return -1;
    q->tta = text;
    snprintf(rest, sizeof rest, "%s", text);
    char *at = strstr(rest, crops);
    if (at) {
        const char *after = at + strlen(crops);
        if (*after == ',')
            memmove(at, after + 1, strlen(after));
        else
            at[at > rest ? -1 : 0] = '\0';
        q->ten_crop = FUL_TEN_CROP_PROBABILITIES;
    }
    q->n_views = *rest ? ful_judge_views(rest, q->views) : 1;
    if (q->n_views == 0) return usage_error(self, "--tta %s: must be of flip, shift<1..64> and ten-crop, each once", text);
    return -1;
}

static int parse_split(const command *self, const char *text, eval_request *q)
{
    static const char *const names[] = {"train", "val", "test"};
    int split = 0;
    while (split < 3 && strcmp(names[split], text) != 0) split++;
    if (split == 3) return usage_error(self, "--split %s: must be train, val or test", text);
    q->split = (ful_split)split;
    return -1;
}

static int parse_ten_crop(const command *self, const char *text, eval_request *q)
{
    static const char *const averages[] = {"none", "logits", "probabilities"};
    int average = 0;
    q->ten_crop = -1;
    if (!text) return -1;
    while (average < 3 && strcmp(averages[average], text) != 0) average++;
    if (average == 3) return usage_error(self, "--ten-crop %s: must be none, logits or probabilities", text);
    q->ten_crop = average;
    return -1;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int run_eval(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL}, *split = "test", *batches = NULL, *ten_crop = NULL, *tta = NULL;
    const char *corrupt = NULL, *severity = NULL;
    eval_request q = {.bins = 15, .corrupt_seed = 1};
    int n_operands, code;
    const option_spec options[] = {
        {"data", 'd', OPTION_TEXT, &q.path, "PATH", "data set to evaluate on (default: the one it was trained on)"},
        {"name", 0, OPTION_TEXT, &q.kind, "KIND",
         "what lies at PATH (see fulcrum data list; default: the trained kind; of generated images, folder)"},
        {"split", 0, OPTION_TEXT, &split, "NAME", "train, val or test (default test)"},
        {"training-capacity", 0, OPTION_FLAG, &q.capacity, NULL, "evaluate with the capacity limits of training"},
        {"against", 0, OPTION_TEXT, &q.against, "OTHER", "another run or checkpoint on the same images: McNemar's test"},
        {"batches", 0, OPTION_TEXT, &batches, "LIST", "do predictions depend on the batch? e.g. 1,7,128"},
        {"corrupt", 0, OPTION_TEXT, &corrupt, "LIST", "also on corrupted images: all, common, or names (doc/corruptions.md)"},
        {"severity", 0, OPTION_TEXT, &severity, "LIST", "of corruptions, e.g. 3 or 1-5 (default 1-5)"},
        {"corrupt-seed", 0, OPTION_INT, &q.corrupt_seed, "N", "other draws of the corruptions (default 1)"},
        {"tta", 0, OPTION_TEXT, &tta, "LIST", "average probabilities over views: flip, shift<N>, ten-crop"},
        {"ten-crop", 0, OPTION_TEXT, &ten_crop, "WHAT", "average logits or probabilities over ten crops (or none of that)"},
        {"temperature", 0, OPTION_FLAG, &q.temperature, NULL, "also with a temperature fitted on the validation split"},
        {"bins", 0, OPTION_INT, &q.bins, "N", "bins of calibration, 1 to 1000 (default 15)"},
        {"confusion", 0, OPTION_FLAG, &q.matrix, NULL, "the whole confusion matrix; of many classes the 30 worst pairs"},
        {"figures", 0, OPTION_TEXT, &q.figures, "DIR", "write confusion.svg, reliability.svg, corruptions.svg into a folder"},
        {"keep", 0, OPTION_FLAG, &q.keep, NULL, "also write it all as RUN/evaluation.json, which fulcrum report shows"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "a run folder or checkpoint is needed");
    if (q.keep && !is_folder(operands[0])) return usage_error(self, "--keep needs the folder of a run, not a checkpoint");
    if (q.bins < 1 || q.bins > FUL_JUDGE_BINS_MAX)
        return usage_error(self, "--bins %d: must be in 1..%d", q.bins, FUL_JUDGE_BINS_MAX);
    if ((code = parse_split(self, split, &q)) >= 0 || (code = parse_ten_crop(self, ten_crop, &q)) >= 0 ||
        (code = parse_tta(self, tta, &q)) >= 0 || (code = parse_batches(self, batches, &q)) >= 0 ||
        (code = parse_corrupt(self, corrupt, severity, &q)) >= 0)
        return code;
    q.model = operands[0];
    return run_request(&q);
}

const command cmd_eval = {"eval", "RUN_OR_CHECKPOINT [--data PATH]",
                          "Judge a trained classifier: accuracy, classes, confusion, calibration, robustness",
                          "doc/judging.md says how to read each figure. Intervals are at 95 %.\n\n"
                          "  fulcrum eval runs/moe --against runs/dense\n"
                          "  fulcrum eval runs/moe --against runs/dense --corrupt common --figures figures\n"
                          "  fulcrum eval runs/moe --temperature --tta flip,shift2 --json",
                          run_eval};
