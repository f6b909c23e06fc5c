/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a mixture op, and where its arrays lie in the memory that a run brings. */
#ifndef FUL_MOE_MOE_MEMORY_H
#define FUL_MOE_MOE_MEMORY_H

#include "moe/dispatch.h"
#include "moe/experts.h"
#include "moe/moe_op.h"
#include "moe/router.h"

typedef struct ful__moe {
    ful__op base;
    ful_moe_attr attr;
    ful__router *router;
    ful__experts *experts;
    int64_t tokens;   /* of an image */
    int64_t width;    /* floats of a token */
    int64_t mix_macs; /* a token: into and out of slots */
    bool pooled;      /* the router sees the average of a map; else the token itself */
    /* by plan */
    int n_max;
    bool train;
    int classes;
    ful_moe_stats stats;
    int eval_permille;    /* 0: the attribute's, -1: the training capacity */
    double *global_share; /* [e] choices of this step so far (card D3) */
    int64_t *step_chosen; /* [e] likewise, for the router's after_step */
    int32_t *last_expert; /* [t][k] the last route: what `predict` shows outlives the run's memory */
    float *last_gate;
    int64_t last_t;
} ful__moe;

/*
 * t tokens, k slots a token, c columns of a score row: e for pairs; for soft routes the s = k slots. R = ful__moe_rows(m,
 * n).all rows of experts, w = m->width.
 */
typedef struct ful__moe_memory {
    /* forward writes, backward reads */
    float *input;             /* [t][d] router input: own array where pooled, else NULL */
    float *logits, *prob;     /* [t][c] */
    float *dispatch;          /* [t][c] soft */
    int32_t *expert;          /* [t][k] pairs, as are the next four */
    float *gate;              /* [t][k] */
    uint8_t *kept;            /* [t][k] */
    float *dprob, *dlogits;   /* [t][c] of the balance losses; training */
    int64_t *chosen, *counts; /* [e] */
    ful__dispatch plan;       /* its arrays; soft: offsets only */
    float *z;                 /* [R][w] soft: the slots */
    float *o;                 /* [R][w] what the experts gave */
    void *router_saved, *experts_saved;
    /* forward's or backward's own */
    uint32_t *token_id;       /* [t] */
    int32_t *label;           /* [t] */
    float *priority;          /* [t] forward */
    uint32_t *order;          /* [2t] forward */
    float *dgate, *ddispatch; /* [t][c] or [t][k] backward */
    float *d_o, *dx_rows;     /* [R][w] backward; one array where the experts allow it */
    float *dinput;            /* [t][d] backward, where pooled */
    void *router_scratch, *experts_scratch;
} ful__moe_memory;

ful__rows_bound ful__moe_rows(const ful__moe *m, int64_t n);
/* Lays out the memory of a run of n images. */
void ful__moe_memory_lay(const ful__moe *m, int64_t n, void *saved, void *scratch, bool backward, ful__moe_memory *out);
/* What the planner must reserve, into op->need. */
void ful__moe_memory_need(ful__moe *m);

#endif
