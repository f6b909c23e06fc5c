/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Studies: arms x paired seeds, run as child processes, judged by statistics, told in words, and shown on one page.
 * The plan's format is described in doc/study-plan.md, what a finished study holds in doc/format-study.md.
 */
#ifndef FULCRUM_STUDY_H
#define FULCRUM_STUDY_H

#include <fulcrum/stats.h>
#include <fulcrum/train.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a study ---- */

typedef struct ful_study ful_study;
/* Reads and expands a plan; every arm's configuration is checked. Errors name file, line, key, value and rule. */
FUL_API ful_status ful_study_load(const char *plan_path, const char *const *set, int n_set, ful_study **out) FUL_CHECK_RESULT;
/* Opens a study's folder written by ful_study_run. */
FUL_API ful_status ful_study_open(const char *folder, ful_study **out) FUL_CHECK_RESULT;
FUL_API void ful_study_destroy(ful_study **study);

typedef struct ful_study_progress {
    int runs, done, failed, running;
    double seconds, seconds_left;
    const char *arm; /* of the run this message is about, with its seed */
    uint64_t seed;
    const char *event; /* "jobs" (before the first run), "start", "done", "failed", "kept" (was finished before), "stopped" (by
                          the user), "tick" */
    const char *message; /* how many runs at once and why, or the last line of that run's log */
} ful_study_progress;
typedef void (*ful_study_progress_fn)(void *cookie, const ful_study_progress *progress);

typedef struct ful_study_options {
    const char *program; /* the fulcrum program that trains a run; borrowed */
    int jobs;            /* runs at once; 0 = measured by a short probe (--jobs auto), see doc/study-plan.md */
    ful_study_progress_fn progress;
    void *cookie;
    const volatile int *stop; /* when non-zero: children are asked to checkpoint, FUL_ERR_INTERRUPTED */
} ful_study_options;
/*
 * Runs what is not finished yet, each run a child process in <folder>/runs/<arm>/seed<s>; a failed run is reported and does not
 * stop the others (then FUL_ERR_DATA-free: the status is FUL_OK and the study says which runs are missing). Writes plan.yaml
 * and study.json.
 */
FUL_API ful_status ful_study_run(ful_study *study, const char *folder, const ful_study_options *options) FUL_CHECK_RESULT;
/* Collects results, computes statistics and verdicts; JSON (doc/format-study.md) or a table for a terminal. Caller frees with
 * ful_free. */
FUL_API ful_status ful_study_results(ful_study *study, bool json, char **text_out) FUL_CHECK_RESULT;
/* Exit figure: number of runs that failed or are missing. */
FUL_API int ful_study_missing(const ful_study *study);
/* One self-contained HTML page about a study's folder (or a single run's). Atomic. */
FUL_API ful_status ful_report_write(const char *folder, const char *html_path) FUL_CHECK_RESULT;
/* The charts of the page as SVG files into a folder (for documents). */
FUL_API ful_status ful_report_figures(const char *folder, const char *out_folder) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
