/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs logged, for the page. A study has thousands of runs and a run thousands of rows, so logs are read one run at a time
 * and only sums stay: of the curves an arm's mean and range by epoch, of routing one run an arm, while it is drawn.
 */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/report.h"

enum { LOG_BYTES_MAX = 256 << 20 };

static const char *const curve_paths[FUL__CURVES] = {"test.acc", "train.loss"};

/* Rows of a *.jsonl file as text; NULL when the file is missing. */
static ful_status read_log(const ful__report *r, int arm, int seed, const char *name, char **out)
{
    const json_t *run = json_array_get(json_object_get(ful__report_arm(r, arm), "runs"), (size_t)seed);
    char *path = NULL, *run_path = NULL;
    size_t bytes = 0;
    *out = NULL;
    FUL_TRY(ful__path_join(&run_path, r->folder, ful__json_string(run, "folder")));
    ful_status status = ful__path_join(&path, run_path, name);
    if (status == FUL_OK && ful__path_exists(path)) status = ful__file_read(path, LOG_BYTES_MAX, out, &bytes);
    ful__free(path);
    ful__free(run_path);
    return status;
}

/* The next row of a log, NULL at its end or at a damaged line (a killed run's last). The caller's json_decref. */
static json_t *next_row(char **line)
{
    char *end = *line ? strchr(*line, '\n') : NULL;
    if (!end) return NULL;
    json_t *row = json_loadb(*line, (size_t)(end - *line), 0, NULL);
    *line = end + 1;
    return row;
}

/* ---- curves ---- */

static ful_status add_row(ful__curve *curves, int epoch, const json_t *row)
{
    for (int k = 0; k < FUL__CURVES; k++) {
        ful__curve *c = &curves[k];
        const double value = ful__json_number(row, curve_paths[k]);
        if (epoch >= c->epochs) {
            FUL_TRY(ful__realloc(&c->points, (size_t)epoch + 1, sizeof *c->points, "curves"));
            c->points[epoch] = (ful__curve_point){.low = NAN, .high = NAN};
            c->epochs = epoch + 1;
        }
        if (!isfinite(value)) continue;
        ful__curve_point *p = &c->points[epoch];
        p->sum += value;
        p->n++;
        p->low = fmin(p->low, value); /* fmin prefers a number to NaN */
        p->high = fmax(p->high, value);
    }
    return FUL_OK;
}

ful_status ful__report_read_curves(ful__report *r)
{
    FUL_TRY(ful__calloc(&r->curves, (size_t)r->n_arms * FUL__CURVES + 1, sizeof *r->curves, "curves"));
    for (int a = 0; a < r->n_arms; a++)
        for (int s = 0; s < r->n_seeds; s++) {
            char *text = NULL;
            ful_status status = read_log(r, a, s, "metrics.jsonl", &text);
            char *line = text;
            json_t *row;
            for (int e = 0; e < FUL__EPOCHS_MAX && status == FUL_OK && (row = next_row(&line)); e++) {
                status = add_row(&r->curves[a * FUL__CURVES], e, row);
                json_decref(row);
            }
            ful__free(text);
            FUL_TRY(status);
        }
    return FUL_OK;
}

const ful__curve *ful__report_curve(const ful__report *r, int arm, ful__curve_kind kind)
{
    return &r->curves[arm * FUL__CURVES + kind];
}

void ful__report_free_curves(ful__report *r)
{
    for (int i = 0; r->curves && i < r->n_arms * FUL__CURVES; i++) ful__free(r->curves[i].points);
    ful__free(r->curves);
    r->curves = NULL;
}

/* ---- routing ---- */

ful_status ful__report_read_routing(const ful__report *r, int arm, json_t **out)
{
    *out = json_array();
    FUL_FAIL_IF(!*out, FUL_ERR_MEMORY, "cannot read routing.jsonl: out of memory");
    for (int s = 0; s < r->n_seeds && json_array_size(*out) == 0; s++) {
        char *text = NULL;
        FUL_TRY(read_log(r, arm, s, "routing.jsonl", &text));
        char *line = text;
        json_t *row;
        while ((row = next_row(&line))) json_array_append_new(*out, row);
        ful__free(text);
    }
    return FUL_OK;
}
