/* SPDX-License-Identifier: Apache-2.0 */
/* What the runs said of the test images (predictions.bin), as figures of a run, of an arm over its seeds, and of
 * a cell over its pairs. */
#ifndef FUL_STUDY_JUDGED_H
#define FUL_STUDY_JUDGED_H

#include <fulcrum/judge.h>
#include <jansson.h>

enum {
    FUL__JUDGED_TOP1,
    FUL__JUDGED_TOP5,
    FUL__JUDGED_F1,
    FUL__JUDGED_NLL,
    FUL__JUDGED_BRIER,
    FUL__JUDGED_ECE,
    FUL__JUDGED_ECE_MASS,
    FUL__JUDGED_MCE,
    FUL__JUDGED_FIGURES
};

typedef struct ful__judged_figure {
    const char *key, *title; /* in study.json; in tables, where values are times `factor` with so many digits */
    double factor;
    int digits;
    double most; /* no value is above it */
} ful__judged_figure;
extern const ful__judged_figure ful__judged_figures[]; /* by the numbers above; ends with a NULL key */

/* One run's outcomes, of ful_outcomes_read; outcome NULL: there are none. */
typedef struct ful__said {
    ful_outcome *outcome; /* ful_free */
    int64_t n;
    int classes;
    uint64_t fingerprint;
} ful__said;

/* predictions.bin of a run's folder below a study's ("" below is none). A missing file, which older versions did not write, is
 * FUL_OK; a damaged one FUL_ERR_FORMAT or FUL_ERR_IO. */
ful_status ful__said_read(const char *study_folder, const char *run_folder, ful__said *out) FUL_CHECK_RESULT;

/* Sets run["judge"] to the figures of the run's outcomes, or null where they are missing or damaged. */
ful_status ful__judge_run(const char *study_folder, json_t *run) FUL_CHECK_RESULT;
/* Sets arm["judge"] to {"n", <key>: {"mean", "sd", "ci"}} over those of its runs that have figures, or null where none has.
 * ci: Student's at `level`, cut where values cannot be; null for one run. */
ful_status ful__judge_arm(json_t *arm, double level) FUL_CHECK_RESULT;
/* Sets cell["judge"] to the same of the paired differences arm - against, over the seeds where both have figures, from top-5
 * on: the gap in accuracy is the cell's own. Secondary figures: no verdict is drawn from them, and nothing corrects for their
 * number. */
ful_status ful__judge_cell(json_t *cell, const json_t *arm, const json_t *against, double level) FUL_CHECK_RESULT;

#endif
