/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax cross-entropy of rows of logits x against targets t:
 *
 *   loss = sum_j t_j (m - x_j + ln s),  m = max x, s = sum_j exp(x_j - m);   dlogits = (exp(x - m) / s - t) * scale
 *
 * The exponentials are taken in float, sums and differences in double: a confident row's loss, ln s with s = 1 + tiny, keeps
 * its digits. A NaN among the logits gives a NaN loss, and so does a label outside 0..classes-1.
 */
#include <math.h>

#include "ops/act_math.h"
#include "ops/op.h"

/* Exponentials are taken in pieces, so that a run without dlogits needs no memory. */
enum { PIECE = 256 };

static int first_max(const float *x, int count)
{
    int best = 0;
    for (int j = 1; j < count; j++)
        if (x[j] > x[best]) best = j;
    return best;
}

/* Sum of exp(x - x[best]) over the others, whose own share is exactly 1; the exponentials are kept where e is not NULL. */
static double sum_others(const float *x, int count, int best, float *e)
{
    const float max = x[best]; /* e may be x */
    float piece[PIECE];
    double sum = 0;
    for (int at = 0; at < count; at += PIECE) {
        const int length = count - at < PIECE ? count - at : PIECE;
        float *out = e ? e + at : piece;
        ful__exp_shifted(x + at, max, out, length);
        for (int j = 0; j < length; j++)
            if (at + j != best) sum += (double)out[j];
    }
    return sum;
}

/* Target j of row i. */
static double target(const ful__xent *x, int64_t i, int j)
{
    if (x->soft) return (double)x->soft[i * x->classes + j];
    const double rest = (double)x->smoothing / x->classes;
    return j == x->label[i] ? 1 - (double)x->smoothing + rest : rest;
}

/* sum_j t_j (max - x_j). A target of 0 takes no part, whatever its logit. */
static double distance(const ful__xent *x, int64_t i, const float *logits, double max)
{
    if (!x->soft && x->smoothing == 0) return max - (double)logits[x->label[i]];
    double sum = 0;
    for (int j = 0; j < x->classes; j++) {
        const double t = target(x, i, j);
        if (t != 0) sum += t * (max - (double)logits[j]);
    }
    return sum;
}

static double target_sum(const ful__xent *x, int64_t i)
{
    double sum = x->soft ? 0 : 1;
    for (int j = 0; x->soft && j < x->classes; j++) sum += target(x, i, j);
    return sum;
}

/* dlogits may be the logits themselves: they are read before they are written. */
static double one_row(ful__xent *x, int64_t i)
{
    const float *logits = x->logits + i * x->classes;
    float *d = x->dlogits ? x->dlogits + i * x->classes : NULL;
    const bool label_fits = x->label && x->label[i] >= 0 && x->label[i] < x->classes;
    const bool valid = x->soft || label_fits;
    const int best = first_max(logits, x->classes);
    const float max = logits[best];
    const double far = valid ? distance(x, i, logits, (double)max) : (double)NAN;
    const double others = sum_others(logits, x->classes, best, d);
    for (int j = 0; d && j < x->classes; j++)
        d[j] = valid ? (float)(((double)d[j] / (1 + others) - target(x, i, j)) * (double)x->scale) : NAN;
    if (label_fits && best == x->label[i] && !isnan(others) && !isnan(max)) x->correct_out++;
    return far + target_sum(x, i) * log1p(others);
}

void ful__softmax_xent(ful__xent *x)
{
    double total = 0;
    x->correct_out = 0;
    for (int64_t i = 0; i < x->n; i++) {
        const double loss = one_row(x, i);
        if (x->row_loss) x->row_loss[i] = (float)loss;
        total += loss;
    }
    x->loss_out = x->n > 0 ? total / x->n : 0;
}
