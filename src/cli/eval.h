/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum eval: what was asked for, and what came out, between the command (cmd_eval.c) and its two ways to show it. */
#ifndef FUL_CLI_EVAL_H
#define FUL_CLI_EVAL_H

#include <jansson.h>

#include "cli/cli.h"

enum { BATCHES_MAX = 16 };

typedef struct eval_request {
    const char *model, *against; /* a run's folder or a checkpoint; against may be NULL */
    const char *path, *kind;     /* of the data; NULL: as trained */
    ful_split split;
    bool capacity, matrix, temperature;
    int bins, ten_crop;                  /* a ful_ten_crop; -1: as trained */
    int batches[BATCHES_MAX], n_batches; /* --batches */
    const char *figures;                 /* folder for SVG files, or NULL */
} eval_request;

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
    bool coupled; /* batches may differ: capacity was on, or the net mixes images */
} eval_result;

int show_eval_text(const eval_request *q, const eval_result *r);
int show_eval_json(const eval_request *q, const eval_result *r);
/* Prints and frees a jansson object; NULL is out of memory. */
int print_json(json_t *object);

#endif
