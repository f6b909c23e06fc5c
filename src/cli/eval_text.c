/* SPDX-License-Identifier: Apache-2.0 */
/* The result of fulcrum eval for a reader. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"

enum { FEW = 20, WORST = 10, PAIRS = 5, PAIRS_MAX = 30, NAME_WIDE = 20 };

const char *percent(double share, char out[16])
{
    if (isnan(share))
        snprintf(out, 16, "-");
    else
        snprintf(out, 16, "%.2f", 100.0 * share);
    return out;
}

static const char *class_name(const eval_result *r, int c, char out[NAME_WIDE + 1])
{
    if (*r->names[c])
        snprintf(out, NAME_WIDE + 1, "%s", r->names[c]);
    else
        snprintf(out, NAME_WIDE + 1, "%d", c);
    return out;
}

static void show_head(const eval_request *q, const eval_result *r)
{
    const ful_judgement *j = &r->judgement;
    printf("%lld images: top-1 %.2f %% (%.2f to %.2f), ", (long long)j->count, 100.0 * j->accuracy, 100.0 * j->accuracy_low,
           100.0 * j->accuracy_high);
    if (j->classes > FUL_JUDGE_TOP) /* of fewer it is always all */
        printf("top-5 %.2f %% (%.2f to %.2f), ", 100.0 * j->top5, 100.0 * j->top5_low, 100.0 * j->top5_high);
    printf("loss %.4f, %.0f images/s\n", j->nll, (double)j->count / r->predictions.seconds);
    if (q->tta)
        printf("test-time augmentation %s: probabilities averaged over %d views\n", q->tta,
               q->n_views * (q->ten_crop > 0 ? 10 : 1));
    if (r->predictions.skipped > 0) printf("%lld damaged images were skipped\n", (long long)r->predictions.skipped);
}

static void show_calibration_row(const char *name, const ful_judgement *j)
{
    printf("%-24s %8.4f %8.4f %8.2f %8.2f %8.2f %12.2f\n", name, j->nll, j->brier, 100.0 * j->ece_width, 100.0 * j->ece_mass,
           100.0 * j->mce, 100.0 * j->confidence);
}

static void show_calibration(const eval_result *r)
{
    char name[64];
    printf("\n%-24s %8s %8s %8s %8s %8s %12s\n", "calibration", "NLL", "Brier", "ECE %", "ECEmass%", "MCE %", "confidence %");
    show_calibration_row("as it is", &r->judgement);
    if (r->temperature == 0) return;
    snprintf(name, sizeof name, "temperature %.3f", r->temperature);
    show_calibration_row(name, &r->cooled);
    printf("the temperature was fitted on the %lld validation images\n", (long long)r->temperature_images);
}

/* ---- classes ---- */

static const ful_class_figures *sorting;

static int by_recall(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    const double p = sorting[x].recall, q = sorting[y].recall;
    if (isnan(p) || isnan(q)) return isnan(p) - isnan(q);
    return p != q ? (p > q) - (p < q) : x - y;
}

static void show_class(const eval_result *r, int c)
{
    const ful_class_figures *f = &r->judgement.per_class[c];
    char name[NAME_WIDE + 1], text[6][16];
    printf("%-20s %7lld %9s %9s %9s %9s %9s %9s\n", class_name(r, c, name), (long long)f->support, percent(f->recall, text[0]),
           percent(f->recall_low, text[1]), percent(f->recall_high, text[2]), percent(f->precision, text[3]),
           percent(f->f1, text[4]), percent(f->accuracy, text[5]));
}

static void show_classes(const eval_result *r)
{
    const ful_judgement *j = &r->judgement;
    int *order = calloc((size_t)j->classes, sizeof *order);
    if (!order) return;
    for (int c = 0; c < j->classes; c++) order[c] = c;
    const bool many = j->classes > FEW;
    sorting = j->per_class;
    if (many) qsort(order, (size_t)j->classes, sizeof *order, by_recall);
    printf("\n%-20s %7s %9s %9s %9s %9s %9s %9s\n", many ? "weakest classes" : "class", "images", "recall %", "from", "to",
           "precis. %", "F1 %", "accur. %");
    for (int i = 0; i < (many ? WORST : j->classes); i++) show_class(r, order[i]);
    printf("%-20s %7lld %9.2f %9s %9s %9.2f %9.2f\n", "mean over classes", (long long)j->count, 100.0 * j->macro_recall, "", "",
           100.0 * j->macro_precision, 100.0 * j->macro_f1);
    free(order);
}

static void show_confused(const eval_result *r, int most)
{
    ful_confused pairs[PAIRS_MAX];
    char truth[NAME_WIDE + 1], predicted[NAME_WIDE + 1];
    const int n = ful_judge_confused(&r->judgement, most, pairs);
    if (n > 0) printf("\nmost confused (true, taken for)\n");
    for (int i = 0; i < n; i++)
        printf("%-20s %-20s %7lld  %6.2f %% of the class\n", class_name(r, pairs[i].truth, truth),
               class_name(r, pairs[i].predicted, predicted), (long long)pairs[i].count, 100.0 * pairs[i].share);
}

static void show_matrix(const eval_result *r)
{
    const ful_judgement *j = &r->judgement;
    char name[NAME_WIDE + 1];
    printf("\nconfusion matrix (rows: true class, columns: predicted)\n%-20s", "");
    for (int c = 0; c < j->classes; c++) printf(" %5.5s", class_name(r, c, name));
    printf("\n");
    for (int i = 0; i < j->classes; i++) {
        printf("%-20s", class_name(r, i, name));
        for (int k = 0; k < j->classes; k++) printf(" %5lld", (long long)j->confusion[(int64_t)i * j->classes + k]);
        printf("\n");
    }
}

/* ---- comparisons ---- */

static void show_batches(const eval_request *q, const eval_result *r)
{
    if (q->n_batches == 0) return;
    printf("\n%-12s %20s %26s\n", "batch", "other predictions", "largest logit difference");
    for (int i = 0; i < q->n_batches; i++) {
        const ful_agreement *a = &r->agreement[i];
        printf("%-12d %20lld %26.3g%s\n", q->batches[i], (long long)a->differ, a->largest, a->bits ? "  (the same bits)" : "");
    }
    printf("%s\n", r->coupled ? "images of a batch compete for capacity here (or are blended), so batches may differ"
                              : "dropless: a prediction must not depend on the batch");
}

static void show_against(const eval_request *q, const eval_result *r)
{
    const ful_mcnemar *m = &r->compared;
    if (!q->against) return;
    printf("\nagainst %s: %+.2f points (%+.2f to %+.2f), %.2f %% against %.2f %%\n", q->against, 100.0 * m->difference,
           100.0 * m->low, 100.0 * m->high, 100.0 * r->judgement.accuracy, 100.0 * r->other_accuracy);
    printf("%-20s %12s %12s\n%-20s %12lld %12lld\n%-20s %12lld %12lld\n", "", "other right", "other wrong", "this right",
           (long long)m->both, (long long)m->only_a, "this wrong", (long long)m->only_b, (long long)m->neither);
    printf("McNemar: p = %.4g (%s); mid-p %.4g, exact %.4g, chi-square %.3f with continuity correction\n", m->p,
           m->exact ? "exact binomial: few images differ" : "chi-square with continuity correction", m->p_mid, m->p_exact,
           m->chi2);
}

int show_eval_text(const eval_request *q, const eval_result *r)
{
    show_head(q, r);
    show_calibration(r);
    show_classes(r);
    if (q->matrix && r->judgement.classes <= FEW)
        show_matrix(r);
    else
        show_confused(r, q->matrix ? PAIRS_MAX : PAIRS);
    show_batches(q, r);
    show_against(q, r);
    if (q->n_corrupt > 0) show_robust_text(q, &r->robust);
    return EXIT_OK;
}
