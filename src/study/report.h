/* SPDX-License-Identifier: Apache-2.0 */
/* What the page is made of: the judged study, the rows its runs logged, and the figures drawn from them. */
#ifndef FUL_STUDY_REPORT_H
#define FUL_STUDY_REPORT_H

#include "core/str.h"
#include "study/study.h"

typedef struct ful__logs {
    json_t *metrics, *routing; /* arrays of rows; empty when the files are missing */
} ful__logs;

typedef struct ful__report {
    json_t *study; /* doc/format-study.md */
    int n_arms, n_seeds;
    ful__logs *logs; /* [arm * n_seeds + seed] */
} ful__report;

const json_t *ful__report_arm(const ful__report *r, int arm);
const char *ful__report_arm_name(const ful__report *r, int arm);
const ful__logs *ful__report_logs(const ful__report *r, int arm, int seed);

/* A figure appends its SVG; false when there is nothing to draw (then nothing was appended). */
typedef bool (*ful__figure_fn)(const ful__report *r, ful__str *out, bool standalone);
typedef struct ful__figure {
    const char *file; /* "gap-vs-rho" */
    const char *title, *caption;
    ful__figure_fn draw;
} ful__figure;
extern const ful__figure ful__figures[]; /* ends with a NULL file */

/* Health: heat maps and tables of every mixture layer (report_routing.c). */
void ful__report_routing(const ful__report *r, ful__str *out);

extern const char ful__report_css[];

#endif
