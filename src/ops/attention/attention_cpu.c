/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention by blocks (Dao et al. 2022): scores of at most 96 queries on 128 keys are made, turned into probabilities and used
 * up while they stand in a cache; nothing larger ever exists. Forward goes over the blocks of keys with a running maximum and
 * sum of each row, by which what was gathered so far is scaled; it leaves both to backward, which makes the same probabilities
 * again. Of short sequences, where one block holds everything, it leaves the probabilities themselves: with heads of 64 less
 * than the queries and keys they come from, and quicker read than made.
 *
 *   dV += P^T dY,  dP = dY V^T,  dS = P (dP - rowsum(dY Y)) scale,  dQ += dS K,  dK += dS^T Q
 *
 * A unit of work is a block of queries of one head of one image in forward, all of one head of one image in backward. The
 * right side of each product is packed into panels that lie in a piece, because slices of rows far apart fight for few sets of
 * the cache.
 *
 *   saved    one block: [n][heads][queries][padded t] probabilities, else [n][heads][queries][maximum, 1/sum]
 *            | qk_norm: [n][t][2d] queries and keys normalised
 *   scratch  qk_norm: the normalised ones at inference; in backward [n][heads][4][head] gradients of its weights, and room for
 *            dx where nobody else wants it
 */
#include "ops/attention/attention.h"

#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "ops/gemm/gemm_block.h"
#include "ops/slabs.h"

/* Queries and keys of a block, of heads up to 64 wide; wider ones have fewer. */
enum { QUERIES = 96, KEYS = 128, UNIT = 16, PANELS = 1 << 13, PANEL_MAX = 32 /* columns of a panel, at any level */ };

/* Rows of some matrices that the next unit of work will meet, and that come nearer while this one's products run: a few with
 * each tile, because a burst would hold up its loads. */
enum { AHEAD_MAX = 9, LINE = 16 };
typedef struct at_ahead {
    const float *at[AHEAD_MAX];
    int64_t ld[AHEAD_MAX], rows[AHEAD_MAX];
    int matrices;
    int64_t width, share; /* share: rows of all with a tile */
    int matrix;
    int64_t row; /* where the fetching stands */
} at_ahead;

static inline void fetch_ahead(at_ahead *a)
{
    for (int64_t i = 0; i < a->share && a->matrix < a->matrices; i++) {
        const float *row = a->at[a->matrix] + a->row * a->ld[a->matrix];
        for (int64_t c = 0; c < a->width; c += LINE) __builtin_prefetch(row + c, 0, 2);
        if (++a->row < a->rows[a->matrix]) continue;
        a->row = 0;
        a->matrix++;
    }
}

/* C [m][n] (+)= A B: A(i, p) = a[i*a_rs + p*a_cs], B as it was packed, rows of C ldc apart. */
typedef struct at_product {
    int64_t m, n, k;
    const float *a;
    int64_t a_rs, a_cs;
    const float *b;
    const float *b_turned; /* column j of B is b_turned + j*b_turned_ld, [k], where a_cs is 1 and nothing is added; or NULL */
    int64_t b_turned_ld;
    float *c;
    int64_t ldc;
    bool add, whole; /* whole: C may be written up to a multiple of 16 columns */
    bool past;       /* C goes past the caches: a multiple of 16 columns, its rows 64-byte aligned, nothing added */
    at_ahead *ahead;
} at_product;

typedef struct at_kernels {
    int tile_rows;    /* of a product, at most */
    int ahead_panels; /* of a product, over whose tiles what is fetched ahead is spread */
    /* x [rows][width], rows ld apart, as the right side of a product */
    void (*pack)(const float *x, int64_t ld, int64_t rows, int64_t width, float *out);
    void (*product)(const at_product *x);
    /* Scores and probabilities are written on to the end of a vector: their rows have room. */
    /* s [rows][cols] becomes exp(scale s - most); the running maximum of scale * s and sum of each row; factor: what the sums
     * of the blocks before are now worth */
    void (*softmax_rows)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, bool first, float *most, float *sum,
                         float *factor);
    void (*scale_rows)(float *y, int64_t ld, int64_t rows, int64_t cols, const float *factor);
    /* Probabilities of exponentials; copy, 64-byte aligned, receives them past the caches, whole rows, when not NULL. */
    void (*normalise_rows)(float *s, int64_t ld, int64_t rows, int64_t cols, const float *factor, float *copy);
    /* s becomes the probabilities; saved [rows][2] */
    void (*probabilities)(float *s, int64_t ld, int64_t rows, int64_t cols, float scale, const float *saved);
    void (*dscores)(const float *p, float *dp, int64_t ld, int64_t rows, int64_t cols, float scale, const float *mean);
    void (*dots)(const float *a, const float *b, int64_t ld, int64_t rows, int64_t cols, float *out);
    void (*norm)(const float *x, int64_t n, float eps, const float *gamma, const float *beta, float *y);
    void (*norm_back)(const float *x, int64_t n, float eps, const float *gamma, float *g, float *dgamma, float *dbeta);
} at_kernels;

#define SIMD_KERNELS "ops/attention/attention_kernels.h"
#include "ops/simd_levels.h"

typedef struct at_pass {
    const ful__attention *at;
    const ful__run *run;
    const at_kernels *kernels;
    float scale;
    float *kept;    /* probabilities [n][heads][queries][padded t], NULL at inference and where stats tell them */
    float *stats;   /* [n][heads][queries][2], NULL at inference and where there are kept ones */
    float *normed;  /* [n][t][2d], NULL without qk_norm */
    float *weights; /* [n][heads][4][head], NULL but in backward with qk_norm */
    float *dx;      /* backward */
    int64_t query_blocks, key_blocks;
    int64_t units, group, others; /* of work: all, those of a piece, and those that other threads take meanwhile */
    bool backward;
    bool past; /* dx goes past the caches, which would not hold it until it is read: its old lines need not come */
} at_pass;

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Blocks of at most so many, or fewer where heads are wide: either side of a packed block may end in a panel of its own. */
static int64_t blocks_of(const ful__attention *at, int64_t positions, int64_t most)
{
    const int64_t fit = PANELS / round_up(at->head, PANEL_MAX) / PANEL_MAX * PANEL_MAX, size = fit < most ? fit : most;
    return (positions + size - 1) / size;
}

static int64_t padded(int64_t keys)
{
    return round_up(keys, UNIT);
}

static bool one_block(const ful__attention *at)
{
    return blocks_of(at, at->queries, QUERIES) == 1 && blocks_of(at, at->tokens, KEYS) == 1;
}

static size_t kept_floats(const ful__attention *at)
{
    return one_block(at) ? (size_t)(at->attr.heads * at->queries * padded(at->tokens)) : 0;
}

static size_t stats_floats(const ful__attention *at)
{
    return one_block(at) ? 0 : 2 * (size_t)(at->attr.heads * at->queries);
}

static size_t normed_floats(const ful__attention *at)
{
    return at->attr.qk_norm ? 2 * (size_t)(at->tokens * at->d) : 0;
}

void ful__attention_need(ful__attention *at)
{
    ful__need *need = &at->base.need;
    *need = (ful__need){.scratch_per_image = at->train ? 0 : normed_floats(at) * sizeof(float)};
    if (!at->train) return;
    need->saved_per_image = (kept_floats(at) + stats_floats(at) + normed_floats(at)) * sizeof(float);
    if (at->attr.qk_norm) need->scratch_per_image = (4 * (size_t)at->d + (size_t)ful__count(at->base.x[0])) * sizeof(float);
    need->backward_x = 1;
    need->backward_y = true;
}

static at_pass begin(const ful__op *op, const ful__run *run)
{
    const ful__attention *at = (const ful__attention *)op;
    at_pass p = {.at = at, .run = run, .kernels = SIMD_PICK(kernels), .scale = (float)(1 / sqrt((double)at->head))};
    float *saved = at->train ? run->saved : NULL;
    p.kept = one_block(at) ? saved : NULL;
    p.stats = one_block(at) ? NULL : saved;
    p.normed = !at->attr.qk_norm ? NULL
               : at->train       ? saved + (size_t)run->n * (kept_floats(at) + stats_floats(at))
                                 : run->scratch;
    p.weights = at->attr.qk_norm && at->train ? run->scratch : NULL;
    p.dx = run->dx[0] || !p.weights ? run->dx[0] : p.weights + (int64_t)run->n * 4 * at->d;
    p.query_blocks = blocks_of(at, at->queries, QUERIES);
    p.key_blocks = blocks_of(at, at->tokens, KEYS);
    return p;
}

/* Matrices of one head of one image, from row t on: which = 0, 1, 2 for queries, keys, values; of y and dy the queries. */
typedef struct matrix {
    float *at;
    int64_t ld;
} matrix;

static matrix output_matrix(const at_pass *p, const float *y, int64_t image, int64_t head, int64_t t)
{
    const ful__attention *at = p->at;
    return (matrix){(float *)y + (image * at->queries + t) * at->d + head * at->head, at->d};
}

static matrix raw_matrix(const at_pass *p, const float *x, int64_t image, int64_t head, int which, int64_t t)
{
    const ful__attention *at = p->at;
    const int64_t ld = 3 * (int64_t)at->d;
    return (matrix){(float *)x + (image * at->tokens + t) * ld + which * at->d + head * at->head, ld};
}

static matrix input_matrix(const at_pass *p, int64_t image, int64_t head, int which, int64_t t)
{
    const ful__attention *at = p->at;
    if (which == 2 || !p->normed) return raw_matrix(p, p->run->x[0], image, head, which, t);
    const int64_t ld = 2 * (int64_t)at->d;
    return (matrix){p->normed + (image * at->tokens + t) * ld + which * at->d + head * at->head, ld};
}

static void normalise_token(void *ctx, int64_t token, int thread)
{
    (void)thread;
    const at_pass *p = ctx;
    const ful__attention *at = p->at;
    const float *x = p->run->x[0] + token * 3 * at->d;
    float *y = p->normed + token * 2 * at->d;
    for (int64_t c = 0; c < 2 * (int64_t)at->d; c += at->head) {
        const int side = c < at->d ? FUL__ATTENTION_Q_GAMMA : FUL__ATTENTION_K_GAMMA;
        p->kernels->norm(x + c, at->head, at->attr.eps, p->run->w[side], p->run->w[side + 1], y + c);
    }
}

/* A block of queries against a block of keys. */
typedef struct meeting {
    int64_t image, head, query, queries, key, keys;
    at_ahead *ahead;
} meeting;

/* scores = a x b^T, a [queries][head], b [keys][head] as it lies, and packed and turned */
static void score(const at_pass *p, const meeting *m, matrix a, matrix b, const float *turned, float *scores)
{
    p->kernels->product(&(at_product){.m = m->queries,
                                      .n = m->keys,
                                      .k = p->at->head,
                                      .a = a.at,
                                      .a_rs = a.ld,
                                      .a_cs = 1,
                                      .b = turned,
                                      .b_turned = b.at,
                                      .b_turned_ld = b.ld,
                                      .c = scores,
                                      .ldc = padded(m->keys),
                                      .whole = true,
                                      .ahead = m->ahead});
}

/* c [queries][head] (+)= scores x b, b [keys][head] packed */
static void gather_keys(const at_pass *p, const meeting *m, const float *scores, const float *b, matrix c)
{
    p->kernels->product(&(at_product){.m = m->queries,
                                      .n = p->at->head,
                                      .k = m->keys,
                                      .a = scores,
                                      .a_rs = padded(m->keys),
                                      .a_cs = 1,
                                      .b = b,
                                      .c = c.at,
                                      .ldc = c.ld,
                                      .add = m->key > 0,
                                      .past = p->past,
                                      .ahead = m->ahead});
}

/* c [keys][head] (+)= scores^T x b, b [queries][head] packed */
static void gather_queries(const at_pass *p, const meeting *m, const float *scores, const float *b, matrix c)
{
    p->kernels->product(&(at_product){.m = m->keys,
                                      .n = p->at->head,
                                      .k = m->queries,
                                      .a = scores,
                                      .a_rs = 1,
                                      .a_cs = padded(m->keys),
                                      .b = b,
                                      .c = c.at,
                                      .ldc = c.ld,
                                      .add = m->query > 0,
                                      .past = p->past,
                                      .ahead = m->ahead});
}

static void pack(const at_pass *p, matrix x, int64_t rows, float *out)
{
    p->kernels->pack(x.at, x.ld, rows, p->at->head, out);
}

/* x^T, in the panels of our GEMM, which are as wide. */
static void pack_turned(const at_pass *p, matrix x, int64_t rows, float *out)
{
    const ful__gemm_level *level = ful__gemm_level_now();
    const ful__gemm_side side = {.x = x.at, .ld = x.ld, .along_k = true, .units = rows};
    for (int64_t first = 0; first < rows; first += level->nr) {
        const int64_t count = ful__at_most(level->nr, rows - first);
        ful__gemm_pack_strip(level, &side, first, (int)count, 0, p->at->head, out + first * p->at->head, level->nr);
    }
}

static void set_keys(const at_pass *p, int64_t block, meeting *m)
{
    ful__share(p->at->tokens, p->key_blocks, block, &m->key, &m->keys);
    m->keys -= m->key;
}

static void set_queries(const at_pass *p, int64_t block, meeting *m)
{
    ful__share(p->at->queries, p->query_blocks, block, &m->query, &m->queries);
    m->queries -= m->query;
}

static float *stats_of(const at_pass *p, const meeting *m)
{
    return p->stats + 2 * ((m->image * p->at->attr.heads + m->head) * p->at->queries + m->query);
}

static float *kept_of(const at_pass *p, const meeting *m)
{
    return p->kept ? p->kept + (m->image * p->at->attr.heads + m->head) * p->at->queries * padded(p->at->tokens) : NULL;
}

/* Everything in one block: probabilities at once. */
static void forward_whole(const at_pass *p, meeting *m, float *scores, float *panels)
{
    float most[QUERIES], sum[QUERIES], factor[QUERIES];
    set_keys(p, 0, m);
    const matrix keys = input_matrix(p, m->image, m->head, 1, 0);
    pack_turned(p, keys, m->keys, panels);
    score(p, m, input_matrix(p, m->image, m->head, 0, 0), keys, panels, scores);
    p->kernels->softmax_rows(scores, padded(m->keys), m->queries, m->keys, p->scale, true, most, sum, factor);
    for (int64_t r = 0; r < m->queries; r++) factor[r] = 1 / sum[r];
    p->kernels->normalise_rows(scores, padded(m->keys), m->queries, m->keys, factor, kept_of(p, m));
    pack(p, input_matrix(p, m->image, m->head, 2, 0), m->keys, panels);
    gather_keys(p, m, scores, panels, output_matrix(p, p->run->y, m->image, m->head, 0));
}

/* Block after block of keys. */
static void forward_blocks(const at_pass *p, meeting *m, float *scores, float *panels)
{
    float most[QUERIES], sum[QUERIES], factor[QUERIES];
    const matrix y = output_matrix(p, p->run->y, m->image, m->head, m->query);
    for (int64_t block = 0; block < p->key_blocks; block++) {
        set_keys(p, block, m);
        const matrix keys = input_matrix(p, m->image, m->head, 1, m->key);
        pack_turned(p, keys, m->keys, panels);
        score(p, m, input_matrix(p, m->image, m->head, 0, m->query), keys, panels, scores);
        p->kernels->softmax_rows(scores, padded(m->keys), m->queries, m->keys, p->scale, block == 0, most, sum, factor);
        if (block > 0) p->kernels->scale_rows(y.at, y.ld, m->queries, p->at->head, factor);
        pack(p, input_matrix(p, m->image, m->head, 2, m->key), m->keys, panels);
        gather_keys(p, m, scores, panels, y);
    }
    float *stats = p->stats ? stats_of(p, m) : NULL;
    for (int64_t r = 0; r < m->queries; r++) {
        factor[r] = 1 / sum[r];
        if (!stats) continue;
        stats[2 * r] = most[r];
        stats[2 * r + 1] = factor[r];
    }
    p->kernels->scale_rows(y.at, y.ld, m->queries, p->at->head, factor);
}

static void forward_unit(const at_pass *p, int64_t unit, at_ahead *ahead)
{
    _Alignas(64) float scores[QUERIES * KEYS], panels[PANELS];
    const int64_t number = unit / p->query_blocks;
    meeting m = {.image = number / p->at->attr.heads, .head = number % p->at->attr.heads, .ahead = ahead};
    set_queries(p, unit % p->query_blocks, &m);
    if (one_block(p->at))
        forward_whole(p, &m, scores, panels);
    else
        forward_blocks(p, &m, scores, panels);
}

/* The gradients of queries and keys of one head of one image, through their norm. */
static void norm_back(const at_pass *p, int64_t image, int64_t head)
{
    const ful__attention *at = p->at;
    float *weights = p->weights + (image * at->attr.heads + head) * 4 * at->head;
    for (int64_t i = 0; i < 4 * (int64_t)at->head; i++) weights[i] = 0;
    for (int64_t t = 0; t < at->tokens; t++)
        for (int side = 0; side < 2; side++)
            p->kernels->norm_back(raw_matrix(p, p->run->x[0], image, head, side, t).at, at->head, at->attr.eps,
                                  p->run->w[2 * side], raw_matrix(p, p->dx, image, head, side, t).at,
                                  weights + 2 * side * at->head, weights + (2 * side + 1) * at->head);
}

/* A block of keys, packed. */
typedef struct key_panels {
    _Alignas(64) float keys[PANELS], keys_turned[PANELS], values_turned[PANELS];
} key_panels;

static void meet(const at_pass *p, const meeting *m, const key_panels *k)
{
    const ful__attention *at = p->at;
    _Alignas(64) float made[QUERIES * KEYS], dscores[QUERIES * KEYS], panels[PANELS];
    float mean[QUERIES];
    const float *scores = p->kept ? kept_of(p, m) : made;
    const int64_t ld = padded(m->keys);
    const matrix q = input_matrix(p, m->image, m->head, 0, m->query);
    const matrix y = output_matrix(p, p->run->y, m->image, m->head, m->query);
    const matrix dy = output_matrix(p, p->run->dy, m->image, m->head, m->query);
    p->kernels->dots(dy.at, y.at, at->d, m->queries, at->head, mean);
    if (!p->kept) {
        score(p, m, q, input_matrix(p, m->image, m->head, 1, m->key), k->keys_turned, made);
        p->kernels->probabilities(made, ld, m->queries, m->keys, p->scale, stats_of(p, m));
    }
    pack(p, dy, m->queries, panels);
    gather_queries(p, m, scores, panels, raw_matrix(p, p->dx, m->image, m->head, 2, m->key));
    score(p, m, dy, input_matrix(p, m->image, m->head, 2, m->key), k->values_turned, dscores);
    p->kernels->dscores(scores, dscores, ld, m->queries, m->keys, p->scale, mean);
    gather_keys(p, m, dscores, k->keys, raw_matrix(p, p->dx, m->image, m->head, 0, m->query));
    pack(p, q, m->queries, panels);
    gather_queries(p, m, dscores, panels, raw_matrix(p, p->dx, m->image, m->head, 1, m->key));
}

/* Positions that do not ask have no part in the gradient of queries. */
static void clear_others(const at_pass *p, int64_t image, int64_t head)
{
    const ful__attention *at = p->at;
    for (int64_t t = at->queries; t < at->tokens; t++)
        memset(raw_matrix(p, p->dx, image, head, 0, t).at, 0, (size_t)at->head * sizeof(float));
}

static void backward_unit(const at_pass *p, int64_t unit, at_ahead *ahead)
{
    key_panels k;
    meeting m = {.image = unit / p->at->attr.heads, .head = unit % p->at->attr.heads, .ahead = ahead};
    for (int64_t block = 0; block < p->key_blocks; block++) {
        set_keys(p, block, &m);
        pack(p, input_matrix(p, m.image, m.head, 1, m.key), m.keys, k.keys);
        if (!p->kept) pack_turned(p, input_matrix(p, m.image, m.head, 1, m.key), m.keys, k.keys_turned);
        pack_turned(p, input_matrix(p, m.image, m.head, 2, m.key), m.keys, k.values_turned);
        for (int64_t queries = 0; queries < p->query_blocks; queries++) {
            set_queries(p, queries, &m);
            meet(p, &m, &k);
        }
    }
    clear_others(p, m.image, m.head);
    if (p->weights) norm_back(p, m.image, m.head);
}

/* Pieces ----------------------------------------------------------------------------------------------------------------- */

static void add_ahead(at_ahead *a, matrix x, int64_t rows)
{
    a->at[a->matrices] = x.at;
    a->ld[a->matrices] = x.ld;
    a->rows[a->matrices++] = rows;
    a->share += rows;
}

/* What a unit will meet. Of long sequences nothing: they have work enough beside their memory. */
static at_ahead look_ahead(const at_pass *p, int64_t unit)
{
    const ful__attention *at = p->at;
    at_ahead a = {.width = at->head};
    if (unit >= p->units || p->query_blocks > 1 || p->key_blocks > 1) return a;
    const int64_t image = unit / at->attr.heads, head = unit % at->attr.heads;
    const int products = !p->backward ? 2 : p->kept ? 4 : 5;
    for (int which = 2; which >= 0; which--)
        add_ahead(&a, input_matrix(p, image, head, which, 0), which > 0 ? at->tokens : at->queries);
    add_ahead(&a, output_matrix(p, p->run->y, image, head, 0), at->queries);
    if (p->backward) {
        add_ahead(&a, output_matrix(p, p->run->dy, image, head, 0), at->queries);
        for (int which = 2; which >= 0 && !p->past; which--)
            add_ahead(&a, raw_matrix(p, p->dx, image, head, which, 0), at->tokens);
        if (p->kept)
            add_ahead(&a, (matrix){kept_of(p, &(meeting){.image = image, .head = head}), at->head},
                      ful__divide_up(at->queries * padded(at->tokens), at->head));
    }
    const int64_t tiles = ful__divide_up(at->queries, p->kernels->tile_rows);
    a.share = ful__divide_up(a.share, products * p->kernels->ahead_panels * tiles);
    return a;
}

/* Some units of one image, or all of them: heads lie side by side in its rows. Behind a piece a thread most likely takes the
 * one after those that the others have. */
static void work_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const at_pass *p = ctx;
    const int64_t begin = piece * p->group, end = begin + p->group;
    for (int64_t unit = begin; unit < end; unit++) {
        at_ahead ahead = look_ahead(p, unit + 1 < end ? unit + 1 : unit + 1 + p->others);
        if (p->backward)
            backward_unit(p, unit, &ahead);
        else
            forward_unit(p, unit, &ahead);
    }
}

/* Pieces are images, where there are enough of them for all threads to end at about the same time. */
static void work_all(at_pass *p, int64_t units_of_image)
{
    enum { IMAGES_A_THREAD = 8 };
    p->units = p->run->n * units_of_image;
    const int threads = ful__parallel_active() ? 1 : ful_threads_get();
    p->group = p->run->n >= IMAGES_A_THREAD * threads ? units_of_image : 1;
    p->others = (threads - 1) * p->group;
    ful__parallel_for(p->units / p->group, work_piece, p);
}

ful_status ful__attention_forward(ful__op *op, const ful__run *run)
{
    at_pass p = begin(op, run);
    if (p.normed) ful__parallel_for(run->n * p.at->tokens, normalise_token, &p);
    work_all(&p, p.at->attr.heads * p.query_blocks);
    if (run->counters) run->counters->macs += run->n * op->cost.macs;
    return FUL_OK;
}

/* dw += what the heads of all images gave, in order. */
static void add_weights(const at_pass *p)
{
    const ful__attention *at = p->at;
    for (int i = 0; i < 4; i++)
        for (int64_t j = 0; j < at->head; j++) {
            double sum = 0;
            for (int64_t h = 0; h < (int64_t)p->run->n * at->attr.heads; h++)
                sum += (double)p->weights[(h * 4 + i) * at->head + j];
            if (p->run->dw && p->run->dw[i]) p->run->dw[i][j] += (float)sum;
        }
}

ful_status ful__attention_backward(ful__op *op, const ful__run *run)
{
    at_pass p = begin(op, run);
    if (run->n == 0 || !p.dx) return FUL_OK;
    p.backward = true;
    p.past = p.kept && !p.weights && ful__worth_streaming(p.dx, run->n * ful__count(op->x[0]), p.at->head);
    work_all(&p, p.at->attr.heads);
    if (p.weights) add_weights(&p);
    return FUL_OK;
}
