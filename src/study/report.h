/* SPDX-License-Identifier: Apache-2.0 */
/* What the page is made of: the judged study, what its runs logged, and the figures drawn from them. */
#ifndef FUL_STUDY_REPORT_H
#define FUL_STUDY_REPORT_H

#include "core/str.h"
#include "study/study.h"

enum { FUL__EPOCHS_MAX = 4096 }; /* of a curve; later rows are left out */

typedef enum ful__curve_kind { FUL__CURVE_TEST_ACC, FUL__CURVE_TRAIN_LOSS, FUL__CURVES } ful__curve_kind;

/* One epoch over the seeds of an arm; low and high are NaN where no seed has a value. */
typedef struct ful__curve_point {
    double sum, low, high;
    int n;
} ful__curve_point;

typedef struct ful__curve {
    int epochs;
    ful__curve_point *points;
} ful__curve;

typedef struct ful__report {
    json_t *study;      /* doc/format-study.md */
    const char *folder; /* borrowed */
    int n_arms, n_seeds;
    ful__curve *curves; /* [arm * FUL__CURVES + kind] */
} ful__report;

const json_t *ful__report_arm(const ful__report *r, int arm);
const char *ful__report_arm_name(const ful__report *r, int arm);

/* report_logs.c */
ful_status ful__report_read_curves(ful__report *r) FUL_CHECK_RESULT;
void ful__report_free_curves(ful__report *r); /* accepts a zeroed report */
const ful__curve *ful__report_curve(const ful__report *r, int arm, ful__curve_kind kind);
/* Rows of the first seed that has any, else an empty list; also on failure the caller's json_decref. */
ful_status ful__report_read_routing(const ful__report *r, int arm, json_t **out) FUL_CHECK_RESULT;

/* A figure appends its SVG; false when there is nothing to draw (then nothing was appended). */
typedef bool (*ful__figure_fn)(const ful__report *r, ful__str *out, bool standalone);
typedef struct ful__figure {
    const char *file; /* "gap-vs-rho" */
    const char *title, *caption;
    ful__figure_fn draw;
} ful__figure;
extern const ful__figure ful__figures[]; /* ends with a NULL file */

/* Health: heat maps and tables of every mixture layer (report_routing.c). */
ful_status ful__report_routing(const ful__report *r, ful__str *out) FUL_CHECK_RESULT;

/* What the nets said of the test images, from predictions.bin of the runs (report_judge.c). */
ful_status ful__report_judge(const ful__report *r, ful__str *out) FUL_CHECK_RESULT;

/* What fulcrum eval --keep left beside the runs (report_kept.c). */
ful_status ful__report_kept(const ful__report *r, ful__str *out) FUL_CHECK_RESULT;

extern const char ful__report_css[];

#endif
