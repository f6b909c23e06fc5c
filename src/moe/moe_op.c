/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mixture-of-experts operation: y = x + sum over a token's experts of gate * f_expert(x); bare: the sum alone.
 *
 *   forward    router input -> router -> capacity -> dispatch plan -> experts on their rows only -> combine -> balance losses,
 * counts backward   combine -> experts -> dispatch, the residual path -> router
 *
 * A token is an image (a 1 x 1 map, or a whole map in either layout: images are rows of contiguous floats) or a pixel. What
 * forward leaves for backward is one block, what a pass needs for itself another; inference keeps nothing, so there both are
 * scratch.
 */
#include "moe/moe_op.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "moe/moe_memory.h"
#include "moe/slots.h"
#include "moe/vec.h"

/* Life ------------------------------------------------------------------------------------------------------------------- */

static void destroy(ful__op *op)
{
    if (!op) return;
    ful__moe *m = (ful__moe *)op;
    ful__router_destroy(&m->router);
    ful__experts_destroy(&m->experts);
    ful__moe_stats_deinit(&m->stats);
    ful__free(m->global_share);
    ful__free(m->step_chosen);
    ful__free(m->last_expert);
    ful__free(m->last_gate);
    ful__op_deinit(op);
    ful__free(m);
}

/* Soft routes mix pixels of one image, or whole rows of any kind over the batch. */
static ful_status check_route(const ful__moe *m)
{
    FUL_FAIL_IF(m->router->kind == FUL__ROUTE_SLOTS_IMAGE && m->attr.token != FUL_TOKEN_PIXEL, FUL_ERR_CONFIG,
                "cannot build moe '%s' with router=%s, token=image: it mixes the pixels of one image, so it needs token=pixel",
                m->base.name, m->attr.router);
    return FUL_OK;
}

/* The name that keys the initial values of a parameter of the dense block at the same site: "stage3.moe" ->
 * "stage3.ffn.fc1.weight". */
static ful_status set_init_name(ful__param *p, const char *node, const char *suffix)
{
    const char *dot = strrchr(node, '.');
    const int stem = dot ? (int)(dot + 1 - node) : 0;
    const int length = snprintf(p->init_name, sizeof p->init_name, "%.*sffn.%s", stem, node, suffix);
    FUL_FAIL_IF(length < 0 || length >= (int)sizeof p->init_name, FUL_ERR_ARG,
                "cannot build moe '%s': the name of its parameter '%s' must have at most %d bytes", node, suffix,
                FUL__OP_NAME_MAX - 1);
    return FUL_OK;
}

static ful_status add_params(ful__moe *m)
{
    ful__op *op = &m->base;
    const size_t stem = strlen(op->name) + 1;
    for (int i = 0; i < m->router->n_params; i++) {
        const ful__param *p = &m->router->params[i];
        FUL_TRY(ful__op_add_param(op, p->name + stem, p->rank, p->shape, p->init, p->gain, p->fan_in, p->trainable, p->decay));
    }
    for (int e = 0; e < m->experts->e; e++)
        for (int j = 0; j < m->experts->n_params; j++) {
            const ful__param *p = ful__experts_param(m->experts, j);
            char suffix[FUL__OP_NAME_MAX + 32];
            snprintf(suffix, sizeof suffix, "expert.%d.%s", e, p->name);
            FUL_TRY(ful__op_add_param(op, suffix, p->rank, p->shape, p->init, p->gain, p->fan_in, p->trainable, p->decay));
            if (m->attr.shared_init) FUL_TRY(set_init_name(&op->params[op->n_params - 1], op->name, p->name));
        }
    return FUL_OK;
}

/* Card I2. Mixing into and out of slots is a matrix product over all tokens that no choice saves: it counts with the router. */
static void count_cost(ful__moe *m)
{
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    m->mix_macs = soft ? 2 * m->router->k * m->width : 0;
    ful__cost *cost = &m->base.cost;
    cost->macs_router = m->tokens * (m->router->macs_per_token + m->mix_macs);
    cost->macs_routed = ful__moe_rows(m, 1).all * m->experts->macs;
    cost->macs = cost->macs_router + cost->macs_routed;
    const int64_t experts_used = soft ? m->experts->e : m->router->k;
    int64_t floats = 2 * ful__count(m->base.x[0]) + experts_used * m->experts->params;
    for (int i = 0; i < m->router->n_params; i++) floats += m->router->params[i].count;
    cost->bytes = floats * (int64_t)sizeof(float);
}

static ful_status build(ful__moe *m, const char *name, const ful_shape *x, int n_x)
{
    FUL_TRY(ful__op_init(&m->base, &ful__op_moe, name, x, n_x));
    FUL_FAIL_IF(n_x != 1, FUL_ERR_ARG, "cannot build moe '%s' with %d inputs: it takes 1", name, n_x);
    FUL_TRY(ful__moe_check(name, &m->attr));
    char router_name[FUL__OP_NAME_MAX];
    const int length = snprintf(router_name, sizeof router_name, "%s.router", name);
    FUL_FAIL_IF(length >= (int)sizeof router_name, FUL_ERR_ARG, "cannot build moe '%s': its name must have at most %d bytes",
                name, FUL__OP_NAME_MAX - 1 - (int)strlen(".router"));
    FUL_TRY(ful__router_create(router_name, &m->attr, x[0].c, &m->router));
    FUL_TRY(check_route(m));
    FUL_TRY(ful__experts_create(name, &m->attr, x[0], &m->experts));
    m->tokens = m->attr.token == FUL_TOKEN_PIXEL ? (int64_t)x[0].h * x[0].w : 1;
    m->width = m->experts->width;
    m->pooled = m->attr.token == FUL_TOKEN_IMAGE && (x[0].h != 1 || x[0].w != 1);
    count_cost(m);
    return add_params(m);
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    ful__moe *m;
    FUL_TRY(ful__calloc(&m, 1, sizeof *m, "a mixture of experts"));
    m->attr = *(const ful_moe_attr *)attr;
    const ful_status status = build(m, name, x, n_x);
    if (status != FUL_OK) {
        destroy(&m->base);
        return status;
    }
    *out = &m->base;
    return FUL_OK;
}

static void layouts(ful__op *op)
{
    const ful__moe *m = (const ful__moe *)op;
    op->x_layout[0] = op->y_layout = ful__experts_layout(m->experts, op->x_layout[0]);
}

/* Everything that a run must not allocate. */
static ful_status plan_state(ful__moe *m)
{
    const int e = m->router->e;
    FUL_TRY(ful__calloc(&m->global_share, (size_t)e, sizeof *m->global_share, "the shares of a step"));
    FUL_TRY(ful__calloc(&m->step_chosen, (size_t)e, sizeof *m->step_chosen, "the choices of a step"));
    FUL_TRY(ful__moe_stats_init(&m->stats, m->base.name, e, m->router->k, m->classes));
    if (m->router->kind != FUL__ROUTE_PAIRS) return FUL_OK;
    const size_t pairs = (size_t)(m->n_max * m->tokens * m->router->k);
    FUL_TRY(ful__calloc(&m->last_expert, pairs, sizeof *m->last_expert, "the last route"));
    return ful__calloc(&m->last_gate, pairs, sizeof *m->last_gate, "the last route");
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    ful__moe *m = (ful__moe *)op;
    const ful__rows_bound most = ful__moe_rows(m, n_max);
    FUL_FAIL_IF(most.all > INT32_MAX / 2, FUL_ERR_UNSUPPORTED,
                "cannot plan moe '%s' for a batch of %d with %lld tokens an image and k=%d: at most 2^30 pairs", op->name,
                n_max, (long long)m->tokens, m->router->k);
    m->n_max = n_max;
    m->train = train;
    FUL_TRY(ful__experts_plan(m->experts, most, op->x_layout[0], train));
    ful__moe_memory_need(m);
    op->need.backward_x = 1;
    op->need.inplace = !train; /* combine reads x_t right before it writes y_t; in training backward reads x again */
    op->need.inplace_dx = true;
    return plan_state(m);
}

/* Router input ----------------------------------------------------------------------------------------------------------- */

typedef struct pooling {
    const ful__moe *m;
    const ful__vec *f;
    int64_t pixels;
    int piece, pieces;         /* channels that lie together, how many such pieces */
    int64_t pixel, next_piece; /* distances */
    float *vector, *image;     /* [n][d] and [n] images */
} pooling;

static void pool_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const pooling *p = ctx;
    const int d = p->m->router->d;
    float *r = p->vector + i * d;
    memset(r, 0, (size_t)d * sizeof *r);
    for (int b = 0; b < p->pieces; b++)
        for (int64_t at = 0; at < p->pixels; at++)
            p->f->add(p->image + i * p->m->width + b * p->next_piece + at * p->pixel, r + b * p->piece, p->piece);
    p->f->scale(r, 1.0f / (float)p->pixels, r, d);
}

static void unpool_piece(void *ctx, int64_t i, int thread)
{
    (void)thread;
    const pooling *p = ctx;
    const int d = p->m->router->d;
    float *r = p->vector + i * d;
    p->f->scale(r, 1.0f / (float)p->pixels, r, d);
    for (int b = 0; b < p->pieces; b++)
        for (int64_t at = 0; at < p->pixels; at++)
            p->f->add(r + b * p->piece, p->image + i * p->m->width + b * p->next_piece + at * p->pixel, p->piece);
}

/* Averages of n images (pool_piece), or the gradient of the averages added to the images' (unpool_piece; scales `vector`). */
static void pool(const ful__moe *m, int n, ful__chunk_fn fn, float *vector, float *image)
{
    const ful_shape s = m->base.x[0];
    const ful__strides strides = ful__strides_of(s, m->base.x_layout[0]);
    const bool blocked = m->base.x_layout[0] == FUL__BLOCKED;
    pooling p = {.m = m, .f = ful__vec_get(), .pixels = (int64_t)s.h * s.w, .piece = blocked ? ful__block() : s.c};
    p.pieces = s.c / p.piece;
    p.pixel = strides.pixel;
    p.next_piece = strides.block;
    p.vector = vector;
    p.image = image;
    ful__parallel_for(n, fn, &p);
}

/* What the router is told of this run. */
static ful__router_run router_run(const ful__moe *m, const ful__run *run, const ful__moe_memory *mem)
{
    if (run->row)
        for (int64_t i = 0, t = 0; i < run->n; i++)
            for (int64_t p = 0; p < m->tokens; p++, t++) mem->token_id[t] = run->row[i] * (uint32_t)m->tokens + (uint32_t)p;
    return (ful__router_run){
        .t = mem->plan.t,
        .group = m->router->kind == FUL__ROUTE_SLOTS_IMAGE ? m->tokens : mem->plan.t,
        .train = run->train,
        .seed = run->seed,
        .step = run->step,
        .progress = run->progress,
        .token_id = run->row ? mem->token_id : NULL,
        .x = m->pooled ? mem->input : run->x[0],
        .w = run->w,
        .dw = run->dw,
        .logits = mem->logits,
        .prob = mem->prob,
        .dispatch = mem->dispatch,
        .expert = mem->expert,
        .gate = mem->gate,
        .dprob_extra = mem->dprob,
        .dlogits_extra = mem->dlogits,
        .saved = mem->router_saved,
        .scratch = mem->router_scratch,
    };
}

/* Forward ---------------------------------------------------------------------------------------------------------------- */

/* Slots an expert has in this batch; 0: no limit. */
static int64_t capacity(const ful__moe *m, const ful__run *run, int64_t t)
{
    int permille = m->attr.capacity_permille;
    if (!run->train && m->eval_permille >= 0) permille = m->eval_permille ? m->eval_permille : m->attr.eval_capacity_permille;
    if (permille == 0 || !m->router->capacity) return 0;
    return ful_moe_capacity(t, m->router->e, m->router->k, permille, m->attr.capacity_min);
}

/* Choices -> kept pairs -> the dispatch plan. */
static void plan_pairs(ful__moe *m, const ful__run *run, ful__moe_memory *mem)
{
    const int64_t t = mem->plan.t, cap = capacity(m, run, t);
    const bool limited = cap > 0, by_priority = limited && m->attr.drop == FUL_DROP_PRIORITY;
    if (by_priority) ful__route_priority(mem->prob, t, m->router->e, mem->priority);
    ful__capacity_fill(mem->expert, t, m->router->k, m->router->e, cap, by_priority ? mem->priority : NULL, mem->order,
                       limited ? mem->kept : NULL, mem->chosen, mem->counts);
    if (!limited) mem->kept = NULL;
    ful__dispatch_plan(&mem->plan, mem->expert, mem->kept, mem->counts);
    m->stats.capacity_slots += cap * m->router->e;
}

static void plan_slots(const ful__moe *m, int n, ful__moe_memory *mem)
{
    const ful__rows_bound rows = ful__moe_rows(m, n);
    for (int e = 0; e <= m->router->e; e++) mem->plan.offset[e] = e * rows.one;
}

static ful__slots slots_of(const ful__moe *m, const ful__router_run *rr)
{
    return (ful__slots){
        .groups = rr->t / rr->group, .m = rr->group, .e = m->router->e, .p = m->attr.soft_slots, .width = m->width};
}

static ful__experts_run experts_run(const ful__moe *m, const ful__run *run, const ful__moe_memory *mem)
{
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    return (ful__experts_run){
        .bound = ful__moe_rows(m, run->n),
        .offset = mem->plan.offset,
        .x = soft ? mem->z : run->x[0],
        .index = soft ? NULL : mem->plan.token,
        .o = mem->o,
        .d_o = mem->d_o,
        .dx = mem->dx_rows,
        .repack = run->repack,
        .seed = run->seed,
        .step = run->step,
        .progress = run->progress,
        .w = run->w + m->router->n_params,
        .dw = run->dw ? run->dw + m->router->n_params : NULL,
        .saved = mem->experts_saved,
        .scratch = mem->experts_scratch,
        .packed = run->packed,
    };
}

static void remember_route(ful__moe *m, const ful__moe_memory *mem)
{
    const size_t pairs = (size_t)(mem->plan.t * m->router->k);
    memcpy(m->last_expert, mem->expert, pairs * sizeof *m->last_expert);
    memcpy(m->last_gate, mem->gate, pairs * sizeof *m->last_gate);
    m->last_t = mem->plan.t;
}

/* Statistics, and for pairs the balance losses, whose gradients wait in mem->dprob and dlogits for backward. */
static void account(ful__moe *m, const ful__run *run, ful__moe_memory *mem, const ful__router_run *rr)
{
    if (run->label)
        for (int64_t t = 0; t < rr->t; t++) mem->label[t] = run->label[t / m->tokens];
    ful__moe_stats_add_route(&m->stats, m->router, rr, mem->kept, mem->chosen, mem->counts, run->label ? mem->label : NULL);
    if (m->router->kind != FUL__ROUTE_PAIRS) {
        const ful__slots s = slots_of(m, rr);
        m->stats.soft_slot_norm += ful__slots_norm(&s, run->x[0], mem->z);
        return;
    }
    remember_route(m, mem);
    ful__balance_run balance = {0};
    ful__balance_route(&balance, m->router, rr, mem->chosen, run->train && m->attr.switch_global ? m->global_share : NULL);
    ful__moe_stats_add_losses(&m->stats, &balance);
    for (int e = 0; run->train && e < m->router->e; e++) m->step_chosen[e] += mem->chosen[e];
}

/* What the kernels did. */
static void count_macs(ful__moe *m, const ful__run *run, int64_t t, int64_t routed)
{
    const int64_t router = t * (m->router->macs_per_token + m->mix_macs);
    m->stats.macs_executed += routed;
    m->stats.macs_router += router;
    if (!run->counters) return;
    run->counters->macs += routed + router;
    run->counters->macs_routed += routed;
    run->counters->macs_router += router;
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    ful__moe *m = (ful__moe *)op;
    if (run->n == 0) return FUL_OK;
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    ful__moe_memory mem;
    ful__moe_memory_lay(m, run->n, run->saved, run->scratch, false, &mem);
    if (m->pooled) pool(m, run->n, pool_piece, mem.input, (float *)run->x[0]);
    const ful__router_run rr = router_run(m, run, &mem);
    FUL_TRY(m->router->type->forward(m->router, &rr));
    const ful__slots slots = slots_of(m, &rr);
    if (soft) {
        plan_slots(m, run->n, &mem);
        ful__slots_dispatch(&slots, mem.dispatch, run->x[0], mem.z);
    } else {
        plan_pairs(m, run, &mem);
    }
    ful__experts_run er = experts_run(m, run, &mem);
    FUL_TRY(ful__experts_forward(m->experts, &er));
    account(m, run, &mem, &rr); /* before y, which may take the place of x */
    count_macs(m, run, rr.t, er.macs);
    const float *residual = m->attr.bare ? NULL : run->x[0];
    if (soft)
        ful__slots_combine(&slots, mem.prob, residual, mem.o, run->y);
    else
        ful__combine(&mem.plan, mem.gate, m->width, residual, mem.o, run->y);
    return FUL_OK;
}

/* Backward --------------------------------------------------------------------------------------------------------------- */

static ful_status backward(ful__op *op, const ful__run *run)
{
    ful__moe *m = (ful__moe *)op;
    if (run->n == 0) return FUL_OK;
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    const float *residual = m->attr.bare ? NULL : run->dy;
    float *dx = run->dx[0];
    ful__moe_memory mem;
    ful__moe_memory_lay(m, run->n, run->saved, run->scratch, true, &mem);
    ful__router_run rr = router_run(m, run, &mem);
    const ful__slots slots = slots_of(m, &rr);
    mem.plan.rows = mem.plan.offset[m->router->e];
    if (soft)
        ful__slots_combine_backward(&slots, mem.prob, run->dy, mem.o, mem.d_o, mem.dgate);
    else
        ful__combine_backward(&mem.plan, mem.gate, m->width, run->dy, mem.o, mem.d_o, mem.dgate);

    ful__experts_run er = experts_run(m, run, &mem);
    if (!dx && !soft && m->experts->grouped) er.dx = NULL;
    FUL_TRY(ful__experts_backward(m->experts, &er));
    if (soft)
        ful__slots_dispatch_backward(&slots, mem.dispatch, run->x[0], residual, mem.dx_rows, dx, mem.ddispatch);
    else if (dx)
        ful__dispatch_backward(&mem.plan, m->width, residual, mem.dx_rows, dx);

    rr.dgate = mem.dgate;
    rr.ddispatch = mem.ddispatch;
    rr.dx = dx && m->pooled ? mem.dinput : dx;
    if (mem.dinput) memset(mem.dinput, 0, (size_t)(rr.t * m->router->d) * sizeof *mem.dinput);
    m->router->type->backward(m->router, &rr);
    if (dx && m->pooled) pool(m, run->n, unpool_piece, mem.dinput, dx);
    if (!soft) ful__moe_stats_add_gate_grad(&m->stats, &rr);
    return FUL_OK;
}

static void after_step(ful__op *op, const ful__run *run)
{
    ful__moe *m = (ful__moe *)op;
    if (m->router->type->after_step) m->router->type->after_step(m->router, run->w, m->step_chosen);
    ful__moe_begin_step(op);
}

const ful__op_type ful__op_moe = {
    .name = "moe",
    .create = create,
    .layouts = layouts,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .after_step = after_step,
    .destroy = destroy,
};

/* As the layers above see it --------------------------------------------------------------------------------------------- */

void ful__moe_account_get(const ful__op *op, ful__moe_account *out)
{
    const ful__moe *m = (const ful__moe *)op;
    const bool soft = m->router->kind != FUL__ROUTE_PAIRS;
    *out = (ful__moe_account){
        .experts = m->router->e,
        .k = soft ? m->router->e : m->router->k,
        .tokens = m->tokens,
        .expert_macs = m->experts->macs * (soft ? m->attr.soft_slots : m->tokens),
        .router_macs = op->cost.macs_router,
        .expert_params = m->experts->params,
        .capacity_permille = m->router->capacity ? m->attr.capacity_permille : 0,
        .per_batch = m->router->kind == FUL__ROUTE_SLOTS_BATCH,
    };
    for (int i = 0; i < m->router->n_params; i++) out->router_params += m->router->params[i].count;
}

ful_status ful__moe_set_classes(ful__op *op, int classes)
{
    ful__moe *m = (ful__moe *)op;
    ful_moe_stats stats;
    FUL_TRY(ful__moe_stats_init(&stats, op->name, m->router->e, m->router->k, classes));
    ful__moe_stats_deinit(&m->stats);
    m->stats = stats;
    m->classes = classes;
    return FUL_OK;
}

const ful_moe_stats *ful__moe_stats(const ful__op *op)
{
    return &((const ful__moe *)op)->stats;
}

void ful__moe_stats_clear(ful__op *op)
{
    ful__moe_stats_reset(&((ful__moe *)op)->stats);
}

void ful__moe_last_route(const ful__op *op, int64_t *t_out, int *k_out, const int32_t **expert_out, const float **gate_out)
{
    const ful__moe *m = (const ful__moe *)op;
    *t_out = m->last_t;
    *k_out = m->router->kind == FUL__ROUTE_PAIRS ? m->router->k : 0;
    *expert_out = m->last_expert;
    *gate_out = m->last_gate;
}

void ful__moe_set_eval_capacity(ful__op *op, int permille)
{
    ((ful__moe *)op)->eval_permille = permille;
}

void ful__moe_begin_step(ful__op *op)
{
    ful__moe *m = (ful__moe *)op;
    memset(m->global_share, 0, (size_t)m->router->e * sizeof *m->global_share);
    memset(m->step_chosen, 0, (size_t)m->router->e * sizeof *m->step_chosen);
}
