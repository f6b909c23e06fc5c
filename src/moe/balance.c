/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Losses that keep experts in use, each times its coefficient, summed over layers by the trainer (aux_reduce = sum). T tokens,
 * E experts, P [T][E] the scores, l the logits:
 *
 *   switch (D2)      E sum_e f_e p_e       f_e = chosen_e / (T k), before drops, not differentiated; p_e = mean_t P_te.
 * Uniform: 1 global (D3)      f over all micro-batches of the step so far, p still of this one importance (D1)  CV^2 of I_e =
 * sum_t P_te                              CV^2 = population variance / mean^2 load (D1)        CV^2 of sum_t Phi((clean_te -
 * threshold_te) / sd_te)  the chance to be chosen again under new noise z (D4)           mean_t lse(l_t)^2 entropy (D9) mean_t
 * -sum_e P_te ln P_te
 *
 * Gradients are with respect to P and l themselves; the router takes them through its own score function.
 */
#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "moe/router_rows.h"
#include "moe/router_types.h"
#include "moe/sums.h"

/* Losses of column sums: each has the same gradient for every token --------------------------------------------------- */

/* CV^2 of x [n], and push_j += coefficient dCV^2/dx_j = 2 (x_j - m)/(n m^2) - 2 v/(n m^3). 0 where the mean is 0. */
static double cv2(const double *x, int n, double coefficient, double *push)
{
    double mean = 0, variance = 0;
    for (int j = 0; j < n; j++) mean += x[j];
    mean /= n;
    for (int j = 0; j < n; j++) variance += (x[j] - mean) * (x[j] - mean);
    variance /= n;
    if (!(mean > 0)) return 0;
    for (int j = 0; j < n; j++)
        push[j] += coefficient * (2 * (x[j] - mean) / (n * mean * mean) - 2 * variance / (n * mean * mean * mean));
    return variance / (mean * mean);
}

/* E sum_e f_e p_e with f_e = count_e / total; push_e += coefficient E f_e / T. */
static double switch_loss(const ful__balance_run *b, const double *importance, double coefficient, double *push)
{
    double total = 0, dot = 0;
    for (int j = 0; j < b->e; j++) total += b->global_share ? b->global_share[j] : (double)b->chosen[j];
    if (!(total > 0)) return 0;
    for (int j = 0; j < b->e; j++) {
        const double share = (b->global_share ? b->global_share[j] : (double)b->chosen[j]) / total;
        dot += share * importance[j] / (double)b->t;
        push[j] += coefficient * b->e * share / (double)b->t;
    }
    return b->e * dot;
}

typedef struct push_job {
    const ful__balance_run *b;
    const double *push;
} push_job;

static void push_chunk(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const push_job *job = ctx;
    int64_t begin;
    const int64_t rows = ful__rows_of(job->b->t, chunk, &begin);
    for (int64_t t = begin; t < begin + rows; t++)
        for (int j = 0; j < job->b->e; j++) job->b->dprob[t * job->b->e + j] += (float)job->push[j];
}

static void importance_losses(ful__balance_run *b)
{
    const double of_switch = (double)b->attr->switch_coef, of_importance = (double)b->attr->importance_coef;
    if (of_switch == 0 && of_importance == 0) return;
    double importance[FUL_EXPERTS_MAX], push[FUL_EXPERTS_MAX];
    for (int first = 0; first < b->e; first += FUL__SUM_COLUMNS)
        ful__column_sums_of(b->prob, b->t, b->e, first, b->e - first < FUL__SUM_COLUMNS ? b->e - first : FUL__SUM_COLUMNS,
                            importance + first);
    memset(push, 0, (size_t)b->e * sizeof *push);
    if (of_switch != 0) b->switch_loss = of_switch * switch_loss(b, importance, of_switch, push);
    if (of_importance != 0) b->importance_loss = of_importance * cv2(importance, b->e, of_importance, push);
    push_job job = {b, push};
    if (b->dprob) ful__parallel_for(ful__rows_chunks(b->t), push_chunk, &job);
}

/* Losses of single tokens --------------------------------------------------------------------------------------------- */

enum { TILE = 256 };

typedef struct token_job {
    const ful__balance_run *b;
    int64_t pieces;
    double z[FUL__SUM_PIECES], entropy[FUL__SUM_PIECES];
} token_job;

/* Sum over rows of lse(l)^2; dl_e += scale 2 lse softmax(l)_e. rows*e <= TILE, or one long row: `share` is scratch of rows*e.
 */
static double z_of_rows(const float *l, int64_t rows, int e, double scale, float *share, float *dl)
{
    float max[TILE], sum[TILE] = {0}, lse[TILE];
    double z = 0;
    for (int64_t t = 0; t < rows; t++) {
        max[t] = l[t * e];
        for (int j = 1; j < e; j++)
            if (l[t * e + j] > max[t]) max[t] = l[t * e + j];
        for (int j = 0; j < e; j++) share[t * e + j] = l[t * e + j] - max[t];
    }
    ful__exp_array(share, share, rows * e);
    for (int64_t t = 0; t < rows; t++)
        for (int j = 0; j < e; j++) sum[t] += share[t * e + j];
    ful__log_array(sum, lse, rows);
    for (int64_t t = 0; t < rows; t++) {
        lse[t] += max[t];
        z += (double)lse[t] * (double)lse[t];
        const float slope = (float)scale * 2 * lse[t] / sum[t];
        for (int j = 0; dl && j < e; j++) dl[t * e + j] += slope * share[t * e + j];
    }
    return z;
}

/* dp_e += scale d(-sum p ln p)/dp_e = -scale (ln p_e + 1) */
static void entropy_gradient(const float *p, int64_t n, float scale, float *dp)
{
    float tile[TILE];
    for (int64_t first = 0; first < n; first += TILE) {
        const int length = n - first < TILE ? (int)(n - first) : TILE;
        ful__log_array(p + first, tile, length);
        for (int j = 0; j < length; j++) dp[first + j] -= scale * (tile[j] + 1);
    }
}

static void token_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    token_job *job = ctx;
    const ful__balance_run *b = job->b;
    const int e = b->e;
    const double of_z = (double)b->attr->z_coef / (double)b->t, of_entropy = (double)b->attr->entropy_coef / (double)b->t;
    int64_t begin, end;
    ful__share(b->t, job->pieces, piece, &begin, &end);
    if (of_entropy != 0) {
        job->entropy[piece] = ful__entropy_sum(b->prob + begin * e, (end - begin) * e);
        if (b->dprob) entropy_gradient(b->prob + begin * e, (end - begin) * e, (float)of_entropy, b->dprob + begin * e);
    }
    float share[FUL_EXPERTS_MAX];
    const int64_t block = e < TILE ? TILE / e : 1;
    for (int64_t t = begin; of_z != 0 && t < end; t += block)
        job->z[piece] += z_of_rows(b->logits + t * e, end - t < block ? end - t : block, e, of_z, share,
                                   b->dlogits ? b->dlogits + t * e : NULL);
}

static void token_losses(ful__balance_run *b)
{
    if (b->attr->z_coef == 0 && b->attr->entropy_coef == 0) return;
    token_job job = {.b = b, .pieces = ful__sum_pieces(b->t)};
    ful__parallel_for(job.pieces, token_piece, &job);
    double z = 0, entropy = 0;
    for (int64_t piece = 0; piece < job.pieces; piece++) {
        z += job.z[piece];
        entropy += job.entropy[piece];
    }
    b->z_loss = (double)b->attr->z_coef * z / (double)b->t;
    b->entropy_loss = (double)b->attr->entropy_coef * entropy / (double)b->t;
}

/* Load loss ----------------------------------------------------------------------------------------------------------- */

static const double least_sd = 1e-6; /* softplus can underflow */

/*
 * The expert whose noisy logit H expert j must beat. Shazeer's: the k-th largest of the others, so the (k+1)-th of all for one
 * in the top k. V-MoE's (noise of one size): the k-th largest of all. ranked: the k + 1 best of the token.
 */
static int rival(const ful__balance_run *b, const float *h, const int32_t *ranked, int j)
{
    const int kth = ranked[b->k - 1];
    const bool in_top = h[j] > h[kth] || (h[j] == h[kth] && j <= kth);
    return b->attr->noisy && in_top ? ranked[b->k] : kth;
}

static double load_z(const ful__balance_run *b, const float *h, int64_t at, int j, int against, double *sd_out)
{
    const double sd = (double)b->noise_sd[at + j];
    *sd_out = sd > least_sd ? sd : least_sd;
    return ((double)b->clean_logits[at + j] - (double)h[against]) / *sd_out;
}

typedef struct load_job {
    const ful__balance_run *b;
    int64_t pieces;
    int first, columns; /* experts whose load is summed */
    const double *push; /* d loss / d load, for the second pass */
    double partial[FUL__SUM_PIECES][FUL__SUM_COLUMNS];
} load_job;

/* partial[j] = sum over t of Phi(z_tj). */
static void load_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    load_job *job = ctx;
    const ful__balance_run *b = job->b;
    int32_t ranked[FUL_EXPERTS_MAX];
    int64_t begin, end;
    ful__share(b->t, job->pieces, piece, &begin, &end);
    for (int j = 0; j < job->columns; j++) job->partial[piece][j] = 0;
    for (int64_t t = begin; t < end; t++) {
        const float *h = b->logits + t * b->e;
        if (!ful__top_k_rows(h, 1, b->e, b->k + 1, ranked, NULL)) continue;
        for (int j = 0; j < job->columns; j++) {
            double sd;
            const double z = load_z(b, h, t * b->e, job->first + j, rival(b, h, ranked, job->first + j), &sd);
            job->partial[piece][j] += 0.5 * erfc(-z * 0.70710678118654752);
        }
    }
}

/* With phi the normal density: dclean_j += c phi/sd, dH_rival -= c phi/sd, dsd_j -= c phi z/sd. */
static void load_gradient_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const load_job *job = ctx;
    const ful__balance_run *b = job->b;
    int32_t ranked[FUL_EXPERTS_MAX];
    int64_t begin, end;
    ful__share(b->t, job->pieces, piece, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const int64_t at = t * b->e;
        const float *h = b->logits + at;
        if (!ful__top_k_rows(h, 1, b->e, b->k + 1, ranked, NULL)) continue;
        for (int j = 0; j < b->e; j++) {
            double sd;
            const int against = rival(b, h, ranked, j);
            const double z = load_z(b, h, at, j, against, &sd);
            const double slope = job->push[j] * 0.39894228040143268 * exp(-0.5 * z * z) / sd;
            b->dclean[at + j] += (float)slope;
            b->dlogits[at + against] -= (float)slope;
            if (b->dnoise_sd && sd > least_sd) b->dnoise_sd[at + j] -= (float)(slope * z);
        }
    }
}

static void load_losses(ful__balance_run *b)
{
    const double coefficient = (double)b->attr->load_coef;
    if (coefficient == 0 || !b->noise_sd || b->k == b->e)
        return; /* without noise, or with all chosen, there is no load to move */
    double load[FUL_EXPERTS_MAX], push[FUL_EXPERTS_MAX];
    load_job job = {.b = b, .pieces = ful__sum_pieces(b->t), .push = push};
    for (job.first = 0; job.first < b->e; job.first += FUL__SUM_COLUMNS) {
        job.columns = b->e - job.first < FUL__SUM_COLUMNS ? b->e - job.first : FUL__SUM_COLUMNS;
        ful__parallel_for(job.pieces, load_piece, &job);
        for (int j = 0; j < job.columns; j++) {
            load[job.first + j] = 0;
            for (int64_t piece = 0; piece < job.pieces; piece++) load[job.first + j] += job.partial[piece][j];
        }
    }
    memset(push, 0, (size_t)b->e * sizeof *push);
    b->load_loss = coefficient * cv2(load, b->e, coefficient, push);
    if (b->dlogits && b->dclean) ful__parallel_for(job.pieces, load_gradient_piece, &job);
}

/* All ----------------------------------------------------------------------------------------------------------------- */

void ful__balance(ful__balance_run *b)
{
    b->switch_loss = b->importance_loss = b->load_loss = b->z_loss = b->entropy_loss = 0;
    for (int j = 0; b->global_share && j < b->e; j++) b->global_share[j] += (double)b->chosen[j];
    if (b->t == 0) return;
    importance_losses(b);
    token_losses(b);
    load_losses(b);
}

void ful__balance_route(ful__balance_run *out, const ful__router *r, const ful__router_run *run, const int64_t *chosen,
                        double *global_share)
{
    *out = (ful__balance_run){.attr = &r->attr,
                              .t = run->t,
                              .e = r->e,
                              .k = r->k,
                              .logits = run->logits,
                              .prob = run->prob,
                              .expert = run->expert,
                              .chosen = chosen,
                              .global_share = global_share,
                              .dprob = run->dprob_extra,
                              .dlogits = run->dlogits_extra};
    const size_t bytes = (size_t)run->t * (size_t)(r->kind == FUL__ROUTE_PAIRS ? r->e : r->k) * sizeof(float);
    if (run->train && run->dprob_extra) memset(run->dprob_extra, 0, bytes);
    if (run->train && run->dlogits_extra) memset(run->dlogits_extra, 0, bytes);
    if (!run->train) out->dprob = out->dlogits = NULL;
    if (!r->balance) return;
    if (r->type->noise) r->type->noise(r, run, out);
    ful__balance(out);
}
