/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of judging for a study: of each run from what it kept, of each arm over its seeds. */
#include "study/judged.h"

#include <math.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/study.h"

const ful__judged_figure ful__judged_figures[] = {
    [FUL__JUDGED_TOP1] = {"top1", "top-1 %", 100, 2, 1},
    [FUL__JUDGED_TOP5] = {"top5", "top-5 %", 100, 2, 1},
    [FUL__JUDGED_F1] = {"f1", "macro F1 %", 100, 2, 1},
    [FUL__JUDGED_NLL] = {"nll", "NLL", 1, 4, INFINITY},
    [FUL__JUDGED_BRIER] = {"brier", "Brier", 1, 4, 2},
    [FUL__JUDGED_ECE] = {"ece", "ECE %", 100, 2, 1},
    [FUL__JUDGED_ECE_MASS] = {"ece_mass", "ECE mass %", 100, 2, 1},
    [FUL__JUDGED_MCE] = {"mce", "MCE %", 100, 2, 1},
    [FUL__JUDGED_FIGURES] = {NULL, NULL, 0, 0, 0},
};

static ful_status out_of_memory(void)
{
    return ful__fail(FUL_ERR_MEMORY, "cannot judge the runs of a study: out of memory for their figures");
}

ful_status ful__said_read(const char *study_folder, const char *run_folder, ful__said *out)
{
    char *folder = NULL, *path = NULL;
    ful_status status = FUL_OK;
    *out = (ful__said){0};
    if (!*run_folder) return FUL_OK;
    FUL_TRY_GOTO(status, done, ful__path_join(&folder, study_folder, run_folder));
    FUL_TRY_GOTO(status, done, ful__path_join(&path, folder, "predictions.bin"));
    if (ful__path_exists(path)) status = ful_outcomes_read(path, &out->outcome, &out->n, &out->classes, &out->fingerprint);
done:
    ful__free(path);
    ful__free(folder);
    return status;
}

static ful_status figures_of(const ful__said *said, json_t **out)
{
    ful_judgement j = {0};
    FUL_TRY(ful_judge(said->outcome, said->n, said->classes, NULL, &j));
    const double values[FUL__JUDGED_FIGURES] = {
        [FUL__JUDGED_TOP1] = j.accuracy,     [FUL__JUDGED_TOP5] = j.top5,   [FUL__JUDGED_F1] = j.macro_f1,
        [FUL__JUDGED_NLL] = j.nll,           [FUL__JUDGED_BRIER] = j.brier, [FUL__JUDGED_ECE] = j.ece_width,
        [FUL__JUDGED_ECE_MASS] = j.ece_mass, [FUL__JUDGED_MCE] = j.mce};
    ful_judgement_deinit(&j);
    int bad = !(*out = json_object());
    for (int i = 0; i < FUL__JUDGED_FIGURES; i++)
        bad |= json_object_set_new(*out, ful__judged_figures[i].key, ful__json_real(values[i]));
    return bad ? out_of_memory() : FUL_OK;
}

ful_status ful__judge_run(const char *study_folder, json_t *run)
{
    ful__said said;
    json_t *figures = NULL;
    ful_status status = ful__said_read(study_folder, ful__json_string(run, "folder"), &said);
    if (status == FUL_ERR_FORMAT || status == FUL_ERR_IO) status = FUL_OK; /* the report names it */
    if (status == FUL_OK && said.outcome && said.n > 0) status = figures_of(&said, &figures);
    ful_free(said.outcome);
    if (json_object_set_new(run, "judge", figures ? figures : json_null()) && status == FUL_OK) status = out_of_memory();
    return status;
}

/* {"mean", "sd", "ci"} of n values, the interval cut to least..most. NULL: out of memory. */
static json_t *summary(const double *x, int n, double level, double least, double most)
{
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    const double mean = n > 0 ? sum / n : NAN;
    for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    const double sd = n > 1 ? sqrt(square / (n - 1)) : NAN;
    const double half = n > 1 ? ful_stats_t_quantile(0.5 + 0.5 * level, n - 1) * sd / sqrt(n) : NAN;
    json_t *ci = n > 1 ? json_pack("[o, o]", ful__json_real(fmax(least, mean - half)), ful__json_real(fmin(most, mean + half)))
                       : json_null();
    return json_pack("{s:o, s:o, s:o}", "mean", ful__json_real(mean), "sd", ful__json_real(sd), "ci", ci);
}

/* A figure of each run that has it, or its difference from the run of the same seed in `against`; returns how many. */
static int figures_over(const json_t *arm, const json_t *against, const char *key, double *out)
{
    const json_t *runs = json_object_get(arm, "runs"), *others = json_object_get(against, "runs");
    int n = 0;
    for (size_t i = 0; i < json_array_size(runs); i++) {
        double value = ful__json_number(json_object_get(json_array_get(runs, i), "judge"), key);
        if (against) value -= ful__json_number(json_object_get(json_array_get(others, i), "judge"), key);
        if (isfinite(value)) out[n++] = value;
    }
    return n;
}

/* Sets object["judge"] to {"n", <key>: {"mean", "sd", "ci"}} of the figures from `first` on; null where there is none. */
static ful_status judge_over_seeds(json_t *object, const json_t *arm, const json_t *against, int first, double level)
{
    json_t *judge = json_object();
    double *values = NULL;
    int most = 0, bad = !judge;
    ful_status status = ful__calloc(&values, json_array_size(json_object_get(arm, "runs")) + 1, sizeof *values,
                                    "figures of runs");
    for (const ful__judged_figure *f = &ful__judged_figures[first]; f->key && status == FUL_OK; f++) {
        const int n = figures_over(arm, against, f->key, values);
        bad |= json_object_set_new(judge, f->key, summary(values, n, level, against ? -f->most : 0, f->most));
        if (n > most) most = n;
    }
    bad |= json_object_set_new(judge, "n", json_integer(most));
    if (most == 0) {
        json_decref(judge);
        judge = json_null();
    }
    bad |= json_object_set_new(object, "judge", judge);
    ful__free(values);
    return status == FUL_OK && bad ? out_of_memory() : status;
}

ful_status ful__judge_arm(json_t *arm, double level)
{
    return judge_over_seeds(arm, arm, NULL, 0, level);
}

ful_status ful__judge_cell(json_t *cell, const json_t *arm, const json_t *against, double level)
{
    return judge_over_seeds(cell, arm, against, FUL__JUDGED_TOP5, level);
}
