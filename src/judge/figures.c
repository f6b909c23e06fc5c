/* SPDX-License-Identifier: Apache-2.0 */
/* Figures from outcomes: accuracy, classes, confusion, calibration. */
#include <math.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include <fulcrum/judge.h>

void ful_judge_options_defaults(ful_judge_options *options)
{
    *options = (ful_judge_options){.bins = 15, .level = 0.95};
}

void ful_judgement_deinit(ful_judgement *j)
{
    ful__free(j->confusion);
    ful__free(j->per_class);
    ful__free(j->width);
    ful__free(j->mass);
    *j = (ful_judgement){0};
}

static ful_status check(const ful_outcome *outcomes, int64_t n, int classes, const ful_judge_options *o)
{
    FUL_FAIL_IF(!outcomes || n < 1 || classes < 1, FUL_ERR_ARG,
                "cannot judge %lld outcomes over %d classes: at least one of each is needed", (long long)n, classes);
    FUL_FAIL_IF(o->bins < 1 || o->bins > FUL_JUDGE_BINS_MAX, FUL_ERR_ARG,
                "cannot judge calibration with bins=%d: must be in 1..%d", o->bins, FUL_JUDGE_BINS_MAX);
    FUL_FAIL_IF(!(o->level > 0.0 && o->level < 1.0), FUL_ERR_ARG, "cannot judge with level=%g: must lie between 0 and 1",
                o->level);
    for (int64_t i = 0; i < n; i++) {
        const ful_outcome *x = &outcomes[i];
        FUL_FAIL_IF(x->label < 0 || x->label >= classes || x->predicted < 0 || x->predicted >= classes, FUL_ERR_ARG,
                    "cannot judge image %lld with label %d and prediction %d: both must be in 0..%d", (long long)i, x->label,
                    x->predicted, classes - 1);
        FUL_FAIL_IF(!(x->confidence >= 0.0f && x->confidence <= 1.0f) || !isfinite(x->nll) || !isfinite(x->square), FUL_ERR_ARG,
                    "cannot judge image %lld with confidence %g, nll %g, square %g: all must be finite, confidence in 0..1",
                    (long long)i, (double)x->confidence, (double)x->nll, (double)x->square);
    }
    return FUL_OK;
}

/* ---- sums ---- */

static void add_sums(const ful_outcome *outcomes, ful_judgement *j)
{
    double confidence = 0.0, nll = 0.0, brier = 0.0;
    for (int64_t i = 0; i < j->count; i++) {
        const ful_outcome *o = &outcomes[i];
        j->correct += o->rank == 0;
        j->correct_top5 += o->rank < FUL_JUDGE_TOP;
        j->confusion[(int64_t)o->label * j->classes + o->predicted]++;
        confidence += (double)o->confidence;
        nll += (double)o->nll;
        brier += (double)o->square - 2.0 * exp(-(double)o->nll) + 1.0; /* sum (p - y)^2 = sum p^2 - 2 p_label + 1 */
    }
    const double n = (double)j->count;
    j->confidence = confidence / n;
    j->nll = nll / n;
    j->brier = brier / n;
}

static void fill_shares(ful_judgement *j)
{
    j->accuracy = (double)j->correct / (double)j->count;
    j->top5 = (double)j->correct_top5 / (double)j->count;
    ful_stats_wilson(j->correct, j->count, j->level, &j->accuracy_low, &j->accuracy_high);
    ful_stats_wilson(j->correct_top5, j->count, j->level, &j->top5_low, &j->top5_high);
}

/* ---- classes ---- */

static double ratio(int64_t a, int64_t b)
{
    return b > 0 ? (double)a / (double)b : NAN;
}

static void fill_classes(ful_judgement *j)
{
    double sum[3] = {0.0, 0.0, 0.0};
    int there[3] = {0, 0, 0};
    for (int c = 0; c < j->classes; c++) {
        ful_class_figures *f = &j->per_class[c];
        *f = (ful_class_figures){0};
        for (int k = 0; k < j->classes; k++) {
            f->support += j->confusion[(int64_t)c * j->classes + k];
            f->predicted += j->confusion[(int64_t)k * j->classes + c];
        }
        f->correct = j->confusion[(int64_t)c * j->classes + c];
        f->accuracy = (double)(j->count - f->support - f->predicted + 2 * f->correct) / (double)j->count;
        f->precision = ratio(f->correct, f->predicted);
        f->recall = ratio(f->correct, f->support);
        f->f1 = ratio(2 * f->correct, f->support + f->predicted);
        ful_stats_wilson(f->correct, f->support, j->level, &f->recall_low, &f->recall_high);
        const double figures[3] = {f->precision, f->recall, f->f1};
        for (int k = 0; k < 3; k++) {
            if (isnan(figures[k])) continue;
            sum[k] += figures[k];
            there[k]++;
        }
    }
    j->macro_precision = there[0] ? sum[0] / there[0] : NAN;
    j->macro_recall = there[1] ? sum[1] / there[1] : NAN;
    j->macro_f1 = there[2] ? sum[2] / there[2] : NAN;
}

int ful_judge_confused(const ful_judgement *j, int n_max, ful_confused *out)
{
    int n = 0;
    for (int t = 0; t < j->classes; t++)
        for (int p = 0; p < j->classes; p++) {
            const int64_t count = j->confusion[(int64_t)t * j->classes + p];
            if (t == p || count == 0) continue;
            int at = n;
            while (at > 0 && out[at - 1].count < count) at--; /* equal counts stay in order of classes */
            if (at >= n_max) continue;
            if (n < n_max) n++;
            for (int i = n - 1; i > at; i--) out[i] = out[i - 1];
            out[at] = (ful_confused){
                .truth = t, .predicted = p, .count = count, .share = ratio(count, j->per_class[t].support)};
        }
    return n;
}

/* ---- calibration ---- */

/* What the order by confidence needs of an image. */
typedef struct ranked {
    float confidence;
    int32_t right;
    int64_t image;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->confidence != y->confidence) return x->confidence < y->confidence ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static void add_to_bin(ful_bin *bin, double confidence, bool right)
{
    bin->count++;
    bin->correct += right;
    bin->confidence += confidence; /* a sum until close_bins */
}

/* Sums to means; the expected error over the bins, and the largest. */
static double close_bins(ful_bin *bins, int n_bins, int64_t n, double *largest)
{
    double expected = 0.0;
    *largest = 0.0;
    for (int b = 0; b < n_bins; b++) {
        ful_bin *bin = &bins[b];
        bin->accuracy = ratio(bin->correct, bin->count);
        bin->confidence = bin->count > 0 ? bin->confidence / (double)bin->count : NAN;
        if (bin->count == 0) continue;
        const double gap = fabs(bin->accuracy - bin->confidence);
        expected += gap * (double)bin->count / (double)n;
        *largest = fmax(*largest, gap);
    }
    return expected;
}

static void bin_by_width(const ful_outcome *outcomes, ful_judgement *j)
{
    for (int b = 0; b < j->bins; b++) {
        j->width[b].low = (double)b / j->bins;
        j->width[b].high = (double)(b + 1) / j->bins;
    }
    for (int64_t i = 0; i < j->count; i++) {
        const double confidence = (double)outcomes[i].confidence;
        const int at = (int)ceil(confidence * j->bins) - 1; /* (low, high] */
        add_to_bin(&j->width[at < 0 ? 0 : at < j->bins ? at : j->bins - 1], confidence, outcomes[i].rank == 0);
    }
    j->ece_width = close_bins(j->width, j->bins, j->count, &j->mce);
}

static ful_status bin_by_mass(const ful_outcome *outcomes, ful_judgement *j)
{
    ranked *order = NULL;
    double largest;
    FUL_TRY(ful__calloc(&order, (size_t)j->count, sizeof *order, "an order by confidence"));
    for (int64_t i = 0; i < j->count; i++)
        order[i] = (ranked){.confidence = outcomes[i].confidence, .right = outcomes[i].rank == 0, .image = i};
    qsort(order, (size_t)j->count, sizeof *order, compare_ranked);
    for (int b = 0; b < j->bins; b++) {
        int64_t begin, end;
        ful__share(j->count, j->bins, b, &begin, &end);
        j->mass[b].low = j->mass[b].high = NAN;
        if (begin == end) continue;
        j->mass[b].low = (double)order[begin].confidence;
        j->mass[b].high = (double)order[end - 1].confidence;
        for (int64_t i = begin; i < end; i++) add_to_bin(&j->mass[b], (double)order[i].confidence, order[i].right);
    }
    ful__free(order);
    j->ece_mass = close_bins(j->mass, j->bins, j->count, &largest);
    return FUL_OK;
}

/* ---- all of it ---- */

static ful_status judge(const ful_outcome *outcomes, ful_judgement *j)
{
    const size_t classes = (size_t)j->classes, bins = (size_t)j->bins;
    size_t cells = 0;
    FUL_FAIL_IF(!ful__size_mul(classes, classes, &cells), FUL_ERR_MEMORY, "cannot judge %d classes: too many", j->classes);
    FUL_TRY(ful__calloc(&j->confusion, cells, sizeof *j->confusion, "a confusion table"));
    FUL_TRY(ful__calloc(&j->per_class, classes, sizeof *j->per_class, "figures of classes"));
    FUL_TRY(ful__calloc(&j->width, bins, sizeof *j->width, "bins"));
    FUL_TRY(ful__calloc(&j->mass, bins, sizeof *j->mass, "bins"));
    add_sums(outcomes, j);
    fill_shares(j);
    fill_classes(j);
    bin_by_width(outcomes, j);
    return bin_by_mass(outcomes, j);
}

ful_status ful_judge(const ful_outcome *outcomes, int64_t n, int classes, const ful_judge_options *options, ful_judgement *out)
{
    ful_judge_options o;
    FUL_FAIL_IF(!out, FUL_ERR_ARG, "cannot judge into a null pointer: out must be given");
    *out = (ful_judgement){0};
    ful_judge_options_defaults(&o);
    if (options) o = *options;
    FUL_TRY(check(outcomes, n, classes, &o));
    *out = (ful_judgement){.count = n, .classes = classes, .bins = o.bins, .level = o.level};
    const ful_status status = judge(outcomes, out);
    if (status != FUL_OK) ful_judgement_deinit(out);
    return status;
}

ful_status ful_judgement_add(ful_judgement *j, const ful_judgement *other)
{
    FUL_FAIL_IF(!j || !other || j->classes != other->classes || j->bins != other->bins, FUL_ERR_ARG,
                "cannot add judgements of %d and %d classes, %d and %d bins: they must be of the same", j ? j->classes : 0,
                other ? other->classes : 0, j ? j->bins : 0, other ? other->bins : 0);
    const double a = (double)j->count, b = (double)other->count;
    j->confidence = (a * j->confidence + b * other->confidence) / (a + b);
    j->nll = (a * j->nll + b * other->nll) / (a + b);
    j->brier = (a * j->brier + b * other->brier) / (a + b);
    j->count += other->count;
    j->correct += other->correct;
    j->correct_top5 += other->correct_top5;
    for (int64_t i = 0; i < (int64_t)j->classes * j->classes; i++) j->confusion[i] += other->confusion[i];
    for (int i = 0; i < j->bins; i++) {
        ful_bin *bin = &j->width[i];
        const ful_bin *more = &other->width[i];
        double sum = bin->count > 0 ? bin->confidence * (double)bin->count : 0.0;
        if (more->count > 0) sum += more->confidence * (double)more->count;
        bin->count += more->count;
        bin->correct += more->correct;
        bin->confidence = sum;
        j->mass[i] = (ful_bin){.low = NAN, .high = NAN, .confidence = NAN, .accuracy = NAN};
    }
    j->ece_width = close_bins(j->width, j->bins, j->count, &j->mce);
    j->ece_mass = NAN;
    fill_shares(j);
    fill_classes(j);
    return FUL_OK;
}
