/* SPDX-License-Identifier: Apache-2.0 */
/* Temperature, two classifiers on the same images, one classifier in two passes. */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include <fulcrum/judge.h>

/* ---- temperature ---- */

/* The derivative of one image's NLL by 1/T: the mean of its logits under softmax(logits/T), minus the label's logit. */
static double slope_of(const float *z, int label, int classes, double scale)
{
    double most = (double)z[0], sum = 0.0, weighted = 0.0;
    for (int c = 1; c < classes; c++) most = fmax(most, (double)z[c]);
    for (int c = 0; c < classes; c++) {
        const double e = exp(scale * ((double)z[c] - most));
        sum += e;
        weighted += e * ((double)z[c] - most);
    }
    return weighted / sum - ((double)z[label] - most);
}

static double slope(const float *logits, const int32_t *label, int64_t n, int classes, double scale)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += slope_of(logits + i * classes, label[i], classes, scale);
    return sum;
}

ful_status ful_judge_temperature(const float *logits, const int32_t *label, int64_t n, int classes, double *t_out)
{
    FUL_FAIL_IF(!logits || !label || !t_out || n < 1 || classes < 1, FUL_ERR_ARG,
                "cannot fit a temperature to %lld images of %d classes: at least one of each is needed", (long long)n, classes);
    for (int64_t i = 0; i < n; i++)
        FUL_FAIL_IF(label[i] < 0 || label[i] >= classes, FUL_ERR_ARG,
                    "cannot fit a temperature to label %d: it must be in 0..%d", label[i], classes - 1);
    for (int64_t i = 0; i < n * classes; i++)
        FUL_FAIL_IF(!isfinite(logits[i]), FUL_ERR_NUMERIC, "cannot fit a temperature to a logit of %g: all must be finite",
                    (double)logits[i]);
    double low = log(1e-3), high = log(1e3); /* of 1/T; the slope grows with it */
    while (high - low > 1e-10) {
        const double middle = 0.5 * (low + high);
        if (slope(logits, label, n, classes, exp(middle)) < 0.0)
            low = middle;
        else
            high = middle;
    }
    *t_out = exp(-0.5 * (low + high));
    return FUL_OK;
}

/* ---- the same images ---- */

ful_status ful_judge_compare(const ful_outcome *a, const ful_outcome *b, int64_t n, double level, ful_mcnemar *out)
{
    int64_t table[2][2] = {{0, 0}, {0, 0}};
    FUL_FAIL_IF(!a || !b || !out || n < 1, FUL_ERR_ARG, "cannot compare the outcomes of %lld images: at least one is needed",
                (long long)n);
    for (int64_t i = 0; i < n; i++) {
        FUL_FAIL_IF(
            a[i].label != b[i].label, FUL_ERR_DATA,
            "cannot compare outcomes whose image %lld is of class %d here and %d there: they must be of the same images",
            (long long)i, a[i].label, b[i].label);
        table[a[i].rank != 0][b[i].rank != 0]++;
    }
    return ful_stats_mcnemar(table[0][0], table[0][1], table[1][0], table[1][1], level, out);
}

static int first_best(const float *logits, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[best]) best = c;
    return best;
}

void ful_judge_agreement(const float *a, const float *b, int64_t n, int classes, ful_agreement *out)
{
    *out = (ful_agreement){.count = n, .bits = memcmp(a, b, (size_t)n * (size_t)classes * sizeof *a) == 0};
    for (int64_t i = 0; i < n; i++) {
        const float *x = a + i * classes, *y = b + i * classes;
        out->differ += first_best(x, classes) != first_best(y, classes);
        for (int c = 0; c < classes; c++) out->largest = fmax(out->largest, fabs((double)x[c] - (double)y[c]));
    }
}
