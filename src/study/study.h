/* SPDX-License-Identifier: Apache-2.0 */
/* The study as data: what the plan expands to (plan.c), what the runs left (outcome.c), what follows from it (verdict.c). */
#ifndef FUL_STUDY_STUDY_H
#define FUL_STUDY_STUDY_H

#include <fulcrum/study.h>
#include <jansson.h>

#include "core/yaml.h"

enum { FUL__ARMS_MAX = 1000, FUL__SEEDS_MAX = 1000, FUL__CELLS_MAX = 1000 };

typedef enum ful__arm_kind { FUL__ARM_DENSE, FUL__ARM_MOE, FUL__ARM_CONTROL } ful__arm_kind;

typedef struct ful__arm {
    char name[FUL_NAME_MAX];
    char like[FUL_NAME_MAX]; /* the arm it started from, "" for base */
    ful__arm_kind kind;
    bool dense_active; /* the plan made it with `dense: active` */
    ful_config config; /* of the first seed */
    char label[160];   /* "top-2 of 8 conv experts (h 64) at stage3, softmax router" */
} ful__arm;

typedef struct ful__cell {
    int arm, against; /* indices of arms; gap = accuracy(arm) - accuracy(against) */
} ful__cell;

typedef enum ful__p_test { FUL__P_T, FUL__P_FLIP, FUL__P_SIGN } ful__p_test;

struct ful_study {
    char name[FUL_NAME_MAX];
    char *about;
    ful__yaml *plan; /* effective plan, assignments applied; written to plan.yaml */
    ful__arm *arms;
    int n_arms;
    uint64_t *seeds;
    int n_seeds;
    ful__cell *cells;
    int n_cells;
    double level;
    ful__p_test test;
    char *folder;   /* NULL until run or opened */
    int missing;    /* of the last collection */
    json_t *judged; /* what ful_study_run found at its end; NULL before */
};

/* Configuration of one run. */
void ful__study_config(const ful_study *study, int arm, int seed_index, ful_config *out);
/* "<folder>/runs/<arm>/seed<s>" and suffix ("" | ".yaml" | ".log" | "/result.json"); the caller frees with ful__free. */
ful_status ful__study_path(const ful_study *study, int arm, int seed_index, const char *suffix, char **out) FUL_CHECK_RESULT;
const char *ful__arm_kind_name(ful__arm_kind kind);

/* Builds the object of doc/format-study.md from the run folders. */
ful_status ful__study_collect(ful_study *study, json_t **out) FUL_CHECK_RESULT;
/* Adds "cells", "headline" and "power" to a collected object (verdict.c). */
ful_status ful__study_judge(const ful_study *study, json_t *collected) FUL_CHECK_RESULT;
/* Terminal table of a judged object. */
ful_status ful__study_table(const json_t *judged, char **text_out) FUL_CHECK_RESULT;
/* Writes <folder>/study.json. */
ful_status ful__study_save(const ful_study *study, const json_t *judged) FUL_CHECK_RESULT;

/* ---- small readers of jansson objects, shared with the report ---- */
/* Number at a dotted path ("test.acc"); NAN when absent or null. */
double ful__json_number(const json_t *object, const char *path);
const char *ful__json_string(const json_t *object, const char *path); /* "" when absent */
/* A JSON text of one from outside, whose bytes need not be UTF-8 (ful_text_utf8); NULL: out of memory. */
json_t *ful__json_text(const char *text);
/* A JSON real, or null for NaN and infinities; never NULL unless memory is out. */
json_t *ful__json_real(double value);
/* Reads a JSON file (<= 256 MiB), FUL_ERR_FORMAT naming file and place. */
ful_status ful__json_load(const char *path, json_t **out) FUL_CHECK_RESULT;

#endif
