/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum eval: what was asked for, and what came out, between the command (cmd_eval.c) and its two ways to show it. */
#ifndef FUL_CLI_EVAL_H
#define FUL_CLI_EVAL_H

#include "cli/cli.h"
#include "cli/json.h"

enum { BATCHES_MAX = 16 };

typedef struct eval_request {
    const char *model, *against; /* a run's folder or a checkpoint; against may be NULL */
    const char *path, *kind;     /* of the data; NULL: as trained */
    ful_split split;
    bool capacity, matrix, temperature, keep;
    int bins, ten_crop;                  /* a ful_ten_crop; -1: as trained */
    int batches[BATCHES_MAX], n_batches; /* --batches */
    const char *figures;                 /* folder for SVG files, or NULL */
    const ful_corruption *corrupt[FUL_CORRUPTIONS_MAX];
    int n_corrupt;
    bool severity[FUL_SEVERITIES];
    int corrupt_seed;
    const char *tta; /* as given, or NULL */
    ful_view views[FUL_VIEWS_MAX];
    int n_views; /* 0: none asked for */
} eval_request;

/* What is judged, and what it is compared with. */
typedef struct eval_subject {
    ful_model *model, *other; /* other: NULL unless request->against */
    ful_dataset *set, *other_set;
} eval_subject;

typedef struct eval_result {
    ful_predictions predictions;
    ful_judgement judgement;
    const char **names; /* of the classes, borrowed from the model; the list is ours */
    double temperature; /* 0: not asked for */
    int64_t temperature_images;
    ful_judgement cooled; /* at that temperature */
    double other_accuracy;
    ful_mcnemar compared; /* with request->against */
    ful_agreement agreement[BATCHES_MAX];
    ful_robust robust; /* with --corrupt */
    bool coupled;      /* batches may differ: capacity was on, or the net mixes images */
} eval_result;

/* A pass as the request has it; corruption may be NULL. */
ful_status eval_predict(const eval_request *q, ful_model *model, const ful_dataset *set, int batch, bool keep_logits,
                        const char *corruption, int severity, ful_predictions *out);
/* eval_corrupt.c: -1 or a usage error; the passes and their means; the two ways to show them */
int parse_corrupt(const command *self, const char *list, const char *severities, eval_request *q);
ful_status eval_corruptions(const eval_request *q, const eval_subject *subject, eval_result *r);
void show_robust_text(const eval_request *q, const ful_robust *r);
json_t *robust_json(const eval_request *q, const ful_robust *r);
/* A share as percent, a dash where there is none; returns out. */
const char *percent(double share, char out[16]);

int show_eval_text(const eval_request *q, const eval_result *r);
int show_eval_json(const eval_request *q, const eval_result *r);
/* Writes the same as evaluation.json into the run's folder, for the report. */
ful_status keep_eval(const eval_request *q, const eval_result *r);

#endif
