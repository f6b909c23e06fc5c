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

/* {"mean", "sd", "ci"} of one figure; NULL: out of memory. */
static json_t *over_seeds(const json_t *runs, const ful__judged_figure *figure, double level, int *n_out)
{
    double sum = 0, square = 0;
    int n = 0;
    size_t i;
    json_t *run;
    json_array_foreach(runs, i, run)
    {
        const double value = ful__json_number(json_object_get(run, "judge"), figure->key);
        if (!isfinite(value)) continue;
        sum += value;
        n++;
    }
    const double mean = n > 0 ? sum / n : NAN;
    json_array_foreach(runs, i, run)
    {
        const double value = ful__json_number(json_object_get(run, "judge"), figure->key);
        if (isfinite(value)) square += (value - mean) * (value - mean);
    }
    *n_out = n > *n_out ? n : *n_out;
    const double sd = n > 1 ? sqrt(square / (n - 1)) : NAN;
    const double half = n > 1 ? ful_stats_t_quantile(0.5 + 0.5 * level, n - 1) * sd / sqrt(n) : NAN;
    json_t *ci = n > 1 ? json_pack("[o, o]", ful__json_real(fmax(0, mean - half)),
                                   ful__json_real(fmin(figure->most, mean + half)))
                       : json_null();
    return json_pack("{s:o, s:o, s:o}", "mean", ful__json_real(mean), "sd", ful__json_real(sd), "ci", ci);
}

ful_status ful__judge_arm(json_t *arm, double level)
{
    const json_t *runs = json_object_get(arm, "runs");
    json_t *judge = json_object();
    int n = 0, bad = !judge;
    for (const ful__judged_figure *f = ful__judged_figures; f->key; f++)
        bad |= json_object_set_new(judge, f->key, over_seeds(runs, f, level, &n));
    bad |= json_object_set_new(judge, "n", json_integer(n));
    if (n == 0) {
        json_decref(judge);
        judge = json_null();
    }
    bad |= json_object_set_new(arm, "judge", judge);
    return bad ? out_of_memory() : FUL_OK;
}
