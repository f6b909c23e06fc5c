/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers between red zones, inputs, and one run of an op by the contract of ops/op.h. */
#include "ops/opcheck_rig.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "core/rng.h"
#include <fulcrum/core.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes)   ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)0)
#endif

FILE *check_out;

void check_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(check_out ? check_out : stdout, format, args);
    va_end(args);
}

void *check_alloc(size_t bytes)
{
    void *p = aligned_alloc(64, ful__align64(bytes ? bytes : 1));
    if (!p) {
        fprintf(stderr, "opcheck: cannot allocate %zu bytes\n", bytes);
        exit(2);
    }
    memset(p, 0, ful__align64(bytes));
    return p;
}

bool check_quick(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    const char *quick = getenv("OPCHECK_QUICK");
    return quick && strcmp(quick, "0") != 0;
#endif
}

/* Levels and layouts ---------------------------------------------------------------------------------------------------- */

int check_levels(check_level out[3])
{
    static unsigned has = ~0u; /* what the process began with */
    if (has == ~0u) has = ful_cpu_flags();
    static const check_level all[] = {{"avx512", FUL_CPU_AVX512 | FUL_CPU_AVX2}, {"avx2", FUL_CPU_AVX2}, {"scalar", 0}};
    int count = 0;
    for (int i = 0; i < 3; i++)
        if ((has & all[i].mask) == all[i].mask) out[count++] = all[i];
    return count;
}

/* Neighbours offer blocked layouts only where the block divides the channels. */
int check_offers(const check_case *c, ful__layout out[4][FUL__X_MAX])
{
    int count = 0;
    for (int bits = 0; bits < 1 << c->n_x; bits++) {
        bool possible = true;
        for (int i = 0; i < c->n_x; i++) {
            out[count][i] = bits >> i & 1 ? FUL__BLOCKED : FUL__NHWC;
            if (out[count][i] == FUL__BLOCKED && c->x[i].c % ful__block() != 0) possible = false;
        }
        count += possible;
    }
    return count;
}

/* Red zones ------------------------------------------------------------------------------------------------------------- */

enum { ZONE = 2048, SHIFT_MAX = 64 }; /* bytes before and after; a zone is a NaN to whoever reads it as floats */
static const unsigned char zone_byte = 0xFD, undefined_byte = 0xFF;

static void buffer_init(check_buffer *b, const char *what, size_t capacity)
{
    *b = (check_buffer){.capacity = capacity, .what = what};
    b->memory = check_alloc(2 * ZONE + SHIFT_MAX + capacity);
}

static size_t buffer_bytes(const check_buffer *b)
{
    return 2 * ZONE + SHIFT_MAX + b->capacity;
}

static void *buffer_at(const check_buffer *b)
{
    return b->memory + b->begin;
}

/* `used` bytes of undefined content, red all around; the zones cannot be read under AddressSanitizer. */
static void *buffer_open(check_buffer *b, size_t used, int shift)
{
    ASAN_UNPOISON_MEMORY_REGION(b->memory, buffer_bytes(b));
    b->begin = ZONE + (size_t)shift * sizeof(float);
    b->used = used;
    const size_t end = b->begin + used;
    memset(b->memory, zone_byte, b->begin);
    memset(b->memory + b->begin, undefined_byte, used);
    memset(b->memory + end, zone_byte, buffer_bytes(b) - end);
    ASAN_POISON_MEMORY_REGION(b->memory, b->begin);
    ASAN_POISON_MEMORY_REGION(b->memory + end, buffer_bytes(b) - end);
    return buffer_at(b);
}

static bool zone_whole(const unsigned char *zone, size_t bytes)
{
    return zone[0] == zone_byte && memcmp(zone, zone + 1, bytes - 1) == 0;
}

/* Whether the zones are whole. */
static bool buffer_whole(check_buffer *b, const char *pass, char *why)
{
    if (!b->memory) return true;
    ASAN_UNPOISON_MEMORY_REGION(b->memory, buffer_bytes(b));
    const size_t end = b->begin + b->used, behind = buffer_bytes(b) - end;
    if (!zone_whole(b->memory, b->begin)) {
        snprintf(why, CHECK_WHY, "%s wrote before %s", pass, b->what);
        return false;
    }
    if (!zone_whole(b->memory + end, behind)) {
        size_t at = b->used;
        while (b->memory[b->begin + at] == zone_byte) at++;
        snprintf(why, CHECK_WHY, "%s wrote behind %s of %zu bytes, at byte %zu", pass, b->what, b->used, at);
        return false;
    }
    ASAN_POISON_MEMORY_REGION(b->memory, b->begin);
    ASAN_POISON_MEMORY_REGION(b->memory + end, behind);
    return true;
}

static void buffer_deinit(check_buffer *b)
{
    if (b->memory) ASAN_UNPOISON_MEMORY_REGION(b->memory, buffer_bytes(b));
    free(b->memory);
    b->memory = NULL;
}

/* Inputs ---------------------------------------------------------------------------------------------------------------- */

static const float edge_values[] = {0.0f,  -0.0f,  1e-40f, -1e-40f, 1e-30f, 3.0f,  -3.0f,
                                    10.0f, -10.0f, 90.0f,  -90.0f,  1e4f,   -1e4f, 1.17549435e-38f};

static void shape_data(check_data data, float *x, size_t count, size_t per_image)
{
    enum { EDGES = sizeof edge_values / sizeof *edge_values };
    for (size_t i = 0; i < count; i++) {
        if (data == CHECK_OFFSET) x[i] += 100;
        if (data == CHECK_TIES) x[i] = roundf(x[i]);
        if (data == CHECK_EDGES && i % 3 == 1) x[i] = edge_values[i / 3 % EDGES];
    }
    if (data == CHECK_NAN && count > per_image) x[per_image + per_image / 2] = NAN;
}

/* Weights about as they are in a net: values near 1 for those that start at 1 (positive for variances), else normal. */
static void draw_param(const ful__param *p, ful__stream s, uint64_t at, float *w)
{
    ful__rng_fill_normal(s, at, 1, w, (size_t)p->count);
    if (p->init != FUL_INIT_ONES) return;
    for (int64_t i = 0; i < p->count; i++) {
        const float size = 0.5f + fabsf(w[i]);
        w[i] = p->trainable && w[i] < 0 ? -size : size;
    }
}

static float *draw(ful__stream s, uint64_t at, size_t count)
{
    float *x = check_alloc(count * sizeof *x);
    ful__rng_fill_normal(s, at, 1, x, count);
    return x;
}

void check_inputs_init(check_inputs *in, const check_case *c, const ful__op *op)
{
    *in = (check_inputs){0};
    const ful__stream s = ful__stream_make(20, "opcheck", c->text);
    const size_t n = (size_t)c->n_max;
    for (int i = 0; i < op->n_x; i++) {
        const size_t per_image = (size_t)ful__count(op->x[i]);
        in->x[i] = draw(s, (uint64_t)i, n * per_image);
        shape_data(c->data, in->x[i], n * per_image, per_image);
        if (i == 1 && c->twin) memcpy(in->x[1], in->x[0], n * per_image * sizeof(float));
    }
    in->dy = draw(s, 8, n * (size_t)ful__count(op->y));
    in->row = check_alloc(n * sizeof *in->row);
    for (uint32_t i = 0; i < n; i++) in->row[i] = 5 + 3 * i;
    for (int i = 0; i < op->n_params; i++) {
        const ful__param *p = &op->params[i];
        for (int set = 0; set < CHECK_SETS; set++) {
            in->w[set][i] = check_alloc((size_t)p->count * sizeof(float));
            draw_param(p, s, 16 + 2 * (uint64_t)i + (uint64_t)set, in->w[set][i]);
        }
        in->dw[i] = draw(s, 64 + (uint64_t)i, (size_t)p->count);
    }
}

void check_inputs_deinit(check_inputs *in)
{
    for (int i = 0; i < FUL__X_MAX; i++) free(in->x[i]);
    for (int i = 0; i < CHECK_PARAMS; i++) {
        for (int set = 0; set < CHECK_SETS; set++) free(in->w[set][i]);
        free(in->dw[i]);
    }
    free(in->dy);
    free(in->row);
}

/* Layouts --------------------------------------------------------------------------------------------------------------- */

/* Where value i of an image lies in the layout. */
static int64_t offset_of(ful_shape s, ful__layout layout, int64_t i)
{
    if (layout == FUL__NHWC) return i;
    const int64_t ch = i % s.c, pixel = i / s.c, b = ful__block();
    const ful__strides t = ful__strides_of(s, layout);
    return ch / b * t.block + pixel * t.pixel + ch % b;
}

static void to_layout(const float *plain, float *to, ful_shape s, ful__layout layout)
{
    const int64_t count = ful__count(s);
    if (layout == FUL__NHWC) memcpy(to, plain, (size_t)count * sizeof *to);
    for (int64_t i = 0; layout != FUL__NHWC && i < count; i++) to[offset_of(s, layout, i)] = plain[i];
}

static void from_layout(const float *from, float *plain, ful_shape s, ful__layout layout, int n)
{
    const int64_t count = ful__count(s);
    for (int image = 0; image < n; image++, from += count, plain += count) {
        if (layout == FUL__NHWC) memcpy(plain, from, (size_t)count * sizeof *plain);
        for (int64_t i = 0; layout != FUL__NHWC && i < count; i++) plain[i] = from[offset_of(s, layout, i)];
    }
}

/* Images first, first + 1 … of the inputs, in a ring, to a buffer in the op's layout. */
static void load_images(const check_rig *rig, const check_knobs *k, const float *plain, ful_shape s, ful__layout layout,
                        float *to)
{
    const int64_t per_image = ful__count(s);
    for (int i = 0; i < k->n; i++) to_layout(plain + (k->first + i) % rig->c->n_max * per_image, to + i * per_image, s, layout);
}

/* Life ------------------------------------------------------------------------------------------------------------------ */

static bool plan(check_rig *rig, const check_knobs *k)
{
    const check_case *c = rig->c;
    if (rig->suite->type->create("the.op", c->attr, c->x, c->n_x, &rig->op) != FUL_OK) {
        snprintf(rig->why, sizeof rig->why, "create: %.400s", ful_error_message());
        return false;
    }
    ful__op *op = rig->op;
    for (int i = 0; i < op->n_x; i++) op->x_layout[i] = k->offer[i];
    op->type->layouts(op);
    for (int i = 0; i <= op->n_x; i++) {
        const ful__layout layout = i < op->n_x ? op->x_layout[i] : op->y_layout;
        const ful_shape s = i < op->n_x ? op->x[i] : op->y;
        if (layout == FUL__BLOCKED && s.c % ful__block() != 0) {
            snprintf(rig->why, sizeof rig->why, "layouts: blocked with %d channels, which %d does not divide", s.c,
                     ful__block());
            return false;
        }
    }
    if (op->type->plan(op, c->n_max, k->train) != FUL_OK) {
        snprintf(rig->why, sizeof rig->why, "plan: %.400s", ful_error_message());
        return false;
    }
    return true;
}

static const char *const x_names[] = {"x[0]", "x[1]"}, *const dx_names[] = {"dx[0]", "dx[1]"};

static const char *param_suffix(const ful__op *op, int i)
{
    return op->params[i].name + strlen(op->name) + 1;
}

bool check_rig_init(check_rig *rig, const check_suite *suite, const check_case *c, const check_inputs *in, const check_knobs *k)
{
    *rig = (check_rig){.suite = suite, .c = c, .in = in};
    ful_cpu_mask_set(k->mask);
    (void)ful_threads_set(k->threads);
    if (!plan(rig, k)) return false;
    const ful__op *op = rig->op;
    const size_t n = (size_t)c->n_max;
    for (int i = 0; i < op->n_x; i++) {
        buffer_init(&rig->x[i], x_names[i], n * (size_t)ful__count(op->x[i]) * sizeof(float));
        buffer_init(&rig->dx[i], dx_names[i], n * (size_t)ful__count(op->x[i]) * sizeof(float));
    }
    buffer_init(&rig->y, "y", n * (size_t)ful__count(op->y) * sizeof(float));
    buffer_init(&rig->dy, "dy", n * (size_t)ful__count(op->y) * sizeof(float));
    for (int i = 0; i < op->n_params; i++) {
        buffer_init(&rig->w[i], param_suffix(op, i), (size_t)op->params[i].count * sizeof(float));
        buffer_init(&rig->dw[i], "dw", (size_t)op->params[i].count * sizeof(float));
    }
    buffer_init(&rig->saved, "saved", n * op->need.saved_per_image + op->need.saved_fixed);
    buffer_init(&rig->scratch, "scratch", n * op->need.scratch_per_image + op->need.scratch_fixed);
    for (int set = 0; set < CHECK_SETS; set++) {
        buffer_init(&rig->packed[set], "packed", op->need.packed);
        buffer_open(&rig->packed[set], op->need.packed, 0);
    }
    return true;
}

void check_rig_deinit(check_rig *rig)
{
    for (int i = 0; i < FUL__X_MAX; i++) {
        buffer_deinit(&rig->x[i]);
        buffer_deinit(&rig->dx[i]);
    }
    for (int i = 0; i < CHECK_PARAMS; i++) {
        buffer_deinit(&rig->w[i]);
        buffer_deinit(&rig->dw[i]);
    }
    for (int set = 0; set < CHECK_SETS; set++) buffer_deinit(&rig->packed[set]);
    buffer_deinit(&rig->y);
    buffer_deinit(&rig->dy);
    buffer_deinit(&rig->saved);
    buffer_deinit(&rig->scratch);
    if (rig->op) rig->op->type->destroy(rig->op);
    rig->op = NULL;
}

void check_result_init(check_result *r, const check_case *c, const ful__op *op)
{
    *r = (check_result){0};
    const size_t n = (size_t)c->n_max;
    r->y = check_alloc(n * (size_t)ful__count(op->y) * sizeof(float));
    for (int i = 0; i < op->n_x; i++) r->dx[i] = check_alloc(n * (size_t)ful__count(op->x[i]) * sizeof(float));
    for (int i = 0; i < op->n_params; i++) {
        r->w[i] = check_alloc((size_t)op->params[i].count * sizeof(float));
        r->dw[i] = check_alloc((size_t)op->params[i].count * sizeof(float));
    }
}

void check_result_deinit(check_result *r, const ful__op *op)
{
    free(r->y);
    for (int i = 0; i < op->n_x; i++) free(r->dx[i]);
    for (int i = 0; i < op->n_params; i++) {
        free(r->w[i]);
        free(r->dw[i]);
    }
}

/* Running --------------------------------------------------------------------------------------------------------------- */

/* One run: the buffers as given to the op, and what must not have changed afterwards. */
typedef struct session {
    check_rig *rig;
    const check_knobs *k;
    ful__run run;
    float *w[CHECK_PARAMS], *dw[CHECK_PARAMS];
    ful__counters counters;
} session;

static bool zones_whole(check_rig *rig, const char *pass)
{
    bool whole = buffer_whole(&rig->y, pass, rig->why) && buffer_whole(&rig->dy, pass, rig->why) &&
                 buffer_whole(&rig->saved, pass, rig->why) && buffer_whole(&rig->scratch, pass, rig->why);
    for (int i = 0; i < FUL__X_MAX && whole; i++)
        whole = buffer_whole(&rig->x[i], pass, rig->why) && buffer_whole(&rig->dx[i], pass, rig->why);
    for (int i = 0; i < CHECK_PARAMS && whole; i++)
        whole = buffer_whole(&rig->w[i], pass, rig->why) && buffer_whole(&rig->dw[i], pass, rig->why);
    for (int set = 0; set < CHECK_SETS && whole; set++) whole = buffer_whole(&rig->packed[set], pass, rig->why);
    return whole;
}

static size_t images_bytes(const check_knobs *k, ful_shape s)
{
    return (size_t)k->n * (size_t)ful__count(s) * sizeof(float);
}

static void begin(session *s, check_rig *rig, const check_knobs *k)
{
    const ful__op *op = rig->op;
    *s = (session){.rig = rig, .k = k};
    s->run = (ful__run){.n = k->n, .train = k->train, .repack = !k->stale, .seed = 77, .step = 3, .progress = 0.5};
    s->run.row = k->rows ? rig->in->row : NULL;
    s->run.counters = &s->counters;
    for (int i = 0; i < op->n_x; i++) {
        float *x = buffer_open(&rig->x[i], images_bytes(k, op->x[i]), k->shift);
        load_images(rig, k, rig->in->x[i], op->x[i], op->x_layout[i], x);
        s->run.x[i] = x;
        buffer_open(&rig->dx[i], 0, 0);
    }
    if (rig->c->twin && op->x_layout[0] == op->x_layout[1]) s->run.x[1] = s->run.x[0];
    float *y = buffer_open(&rig->y, images_bytes(k, op->y), k->shift);
    s->run.y = k->y_over == CHECK_NONE ? y : buffer_at(&rig->x[k->y_over]);
    buffer_open(&rig->dy, 0, 0);
    for (int i = 0; i < op->n_params; i++) {
        const size_t bytes = (size_t)op->params[i].count * sizeof(float);
        s->w[i] = buffer_open(&rig->w[i], bytes, k->shift);
        memcpy(s->w[i], rig->in->w[k->set][i], bytes);
        buffer_open(&rig->dw[i], 0, 0);
    }
    s->run.w = s->w;
    s->run.saved = buffer_open(&rig->saved, k->train ? (size_t)k->n * op->need.saved_per_image + op->need.saved_fixed : 0, 0);
    s->run.scratch = buffer_open(&rig->scratch, (size_t)k->n * op->need.scratch_per_image + op->need.scratch_fixed, 0);
    s->run.packed = buffer_at(&rig->packed[k->set]);
}

typedef ful_status (*pass_fn)(ful__op *op, const ful__run *run);

typedef struct piece {
    session *s;
    pass_fn fn;
    ful_status status;
    char sentence[400]; /* of the thread that ran it */
} piece;

static void run_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    piece *p = ctx;
    if (chunk != 0) return;
    p->status = p->fn(p->s->rig->op, &p->s->run);
    snprintf(p->sentence, sizeof p->sentence, "%s", p->status == FUL_OK ? "" : ful_error_message());
}

/* Calls forward or backward: it must succeed, allocate nothing, and stay inside its buffers. */
static bool call(session *s, const char *pass, pass_fn fn)
{
    check_rig *rig = s->rig;
    piece p = {.s = s, .fn = fn};
    ful__fault_fail_at(FUL__FAULT_ALLOC, LONG_MAX);
    if (s->k->inside)
        ful__parallel_for(2, run_piece, &p);
    else
        run_piece(&p, 0, 0);
    const long allocations = ful__fault_count(FUL__FAULT_ALLOC);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
    if (p.status != FUL_OK)
        snprintf(rig->why, sizeof rig->why, "%s gave %s: %.400s", pass, ful_status_name(p.status), p.sentence);
    else if (allocations > 0 && (!rig->suite->late || s->k->stale))
        snprintf(rig->why, sizeof rig->why, "%s allocated memory %ld times", pass, allocations);
    else
        return zones_whole(rig, pass);
    return false;
}

/* Images that the op had to leave as they are. */
static bool images_kept(session *s, const char *pass, const char *what, const void *now, const float *plain, ful_shape shape,
                        ful__layout layout)
{
    float *was = check_alloc(images_bytes(s->k, shape));
    load_images(s->rig, s->k, plain, shape, layout, was);
    const bool kept = memcmp(now, was, images_bytes(s->k, shape)) == 0;
    free(was);
    if (!kept) snprintf(s->rig->why, sizeof s->rig->why, "%s changed %s", pass, what);
    return kept;
}

static bool y_kept(session *s, const check_result *out)
{
    const ful__op *op = s->rig->op;
    float *now = check_alloc(images_bytes(s->k, op->y));
    from_layout(s->run.y, now, op->y, op->y_layout, s->k->n);
    const bool kept = memcmp(now, out->y, images_bytes(s->k, op->y)) == 0;
    free(now);
    if (!kept) snprintf(s->rig->why, sizeof s->rig->why, "backward changed y");
    return kept;
}

/* Weights never change but for statistics, and these only in a training forward of at least one image. */
static bool weights_kept(session *s, const char *pass, float *const *was, bool statistics_move)
{
    const ful__op *op = s->rig->op;
    for (int i = 0; i < op->n_params; i++) {
        if (!op->params[i].trainable && statistics_move) continue;
        if (memcmp(s->w[i], was[i], s->rig->w[i].used) == 0) continue;
        snprintf(s->rig->why, sizeof s->rig->why, "%s changed %s", pass, param_suffix(op, i));
        return false;
    }
    return true;
}

static bool counters_right(session *s)
{
    const ful__cost *cost = &s->rig->op->cost;
    const ful__counters *got = &s->counters;
    const int64_t n = s->k->n;
    if (got->macs == n * cost->macs && got->macs_routed == n * cost->macs_routed && got->macs_router == n * cost->macs_router)
        return true;
    snprintf(s->rig->why, sizeof s->rig->why, "counted %lld macs, cost says %d x %lld", (long long)got->macs, s->k->n,
             (long long)cost->macs);
    return false;
}

static bool forward(session *s, check_result *out)
{
    check_rig *rig = s->rig;
    const ful__op *op = rig->op;
    if (!call(s, "forward", op->type->forward)) return false;
    for (int i = 0; i < op->n_x; i++)
        if (s->k->y_over != i && !images_kept(s, "forward", x_names[i], s->run.x[i], rig->in->x[i], op->x[i], op->x_layout[i]))
            return false;
    if (!weights_kept(s, "forward", rig->in->w[s->k->set], s->k->train && s->k->n > 0) || !counters_right(s)) return false;
    from_layout(s->run.y, out->y, op->y, op->y_layout, s->k->n);
    for (int i = 0; i < op->n_params; i++) memcpy(out->w[i], s->w[i], rig->w[i].used);
    return true;
}

/* What backward was not promised is undefined: x, y, scratch. */
static void begin_backward(session *s)
{
    check_rig *rig = s->rig;
    const check_knobs *k = s->k;
    const ful__op *op = rig->op;
    const unsigned reads = rig->c->twin && op->need.backward_x ? 3 : op->need.backward_x;
    for (int i = 0; i < op->n_x; i++) {
        const bool holds_y = k->y_over == i && op->need.backward_y;
        if (!(reads & 1u << i) && !holds_y) memset(buffer_at(&rig->x[i]), undefined_byte, rig->x[i].used);
    }
    if (!op->need.backward_y && k->y_over == CHECK_NONE) memset(buffer_at(&rig->y), undefined_byte, rig->y.used);
    float *dy = buffer_open(&rig->dy, images_bytes(k, op->y), k->shift);
    load_images(rig, k, rig->in->dy, op->y, op->y_layout, dy);
    s->run.dy = dy;
    for (int i = 0; i < op->n_x; i++) {
        if (k->dx_null & 1u << i) continue;
        s->run.dx[i] = k->dx_over == i ? dy : buffer_open(&rig->dx[i], images_bytes(k, op->x[i]), k->shift);
    }
    for (int i = 0; i < op->n_params; i++) {
        if (!op->params[i].trainable) continue;
        const size_t bytes = (size_t)op->params[i].count * sizeof(float);
        s->dw[i] = buffer_open(&rig->dw[i], bytes, k->shift);
        memcpy(s->dw[i], rig->in->dw[i], bytes);
    }
    s->run.dw = s->dw;
    s->run.scratch = buffer_open(&rig->scratch, rig->scratch.used, 0);
}

static bool backward(session *s, check_result *out)
{
    check_rig *rig = s->rig;
    const check_knobs *k = s->k;
    const ful__op *op = rig->op;
    begin_backward(s);
    if (!call(s, "backward", op->type->backward)) return false;
    for (int i = 0; i < op->n_x; i++)
        if (op->need.backward_x & 1u << i &&
            !images_kept(s, "backward", x_names[i], s->run.x[i], rig->in->x[i], op->x[i], op->x_layout[i]))
            return false;
    if (k->dx_over == CHECK_NONE && !images_kept(s, "backward", "dy", s->run.dy, rig->in->dy, op->y, op->y_layout))
        return false;
    if (op->need.backward_y && !y_kept(s, out)) return false;
    if (!weights_kept(s, "backward", out->w, false) || !counters_right(s)) return false;
    for (int i = 0; i < op->n_x; i++)
        if (s->run.dx[i]) from_layout(s->run.dx[i], out->dx[i], op->x[i], op->x_layout[i], k->n);
    for (int i = 0; i < op->n_params; i++)
        if (s->dw[i]) memcpy(out->dw[i], s->dw[i], rig->dw[i].used);
    out->backward = true;
    return true;
}

/* An op that overwrote an x which its backward reads cannot go back; the planner would not have let it. */
static bool can_go_back(const session *s)
{
    const check_knobs *k = s->k;
    const ful__op *op = s->rig->op;
    if (!k->train || !op->type->backward) return false;
    return k->y_over == CHECK_NONE || !(op->need.backward_x & 1u << k->y_over);
}

bool check_rig_run(check_rig *rig, const check_knobs *k, check_result *out)
{
    session s;
    (void)ful_threads_set(k->threads);
    rig->why[0] = '\0';
    out->backward = false;
    begin(&s, rig, k);
    return forward(&s, out) && (!can_go_back(&s) || backward(&s, out));
}

/* Words ----------------------------------------------------------------------------------------------------------------- */

static const char *layout_name(ful__layout layout)
{
    return layout == FUL__BLOCKED ? "blocked" : "nhwc";
}

static const char *level_name(unsigned mask)
{
    return mask & FUL_CPU_AVX512 ? "avx512" : mask & FUL_CPU_AVX2 ? "avx2" : "scalar";
}

void check_knobs_text(const check_rig *rig, const check_knobs *k, char *text, size_t bytes)
{
    const check_case *c = rig->c;
    size_t at = (size_t)snprintf(text, bytes, "%s (%s)", rig->suite->name, c->text);
    for (int i = 0; i < c->n_x && at < bytes; i++)
        at += (size_t)snprintf(text + at, bytes - at, " x%d=%dx%dx%d", i, c->x[i].h, c->x[i].w, c->x[i].c);
    for (int i = 0; i < c->n_x && at < bytes; i++)
        at += (size_t)snprintf(text + at, bytes - at, " offer%d=%s", i, layout_name(k->offer[i]));
    if (rig->op && at < bytes)
        at += (size_t)snprintf(text + at, bytes - at, " demand=%s,%s->%s", layout_name(rig->op->x_layout[0]),
                               c->n_x > 1 ? layout_name(rig->op->x_layout[1]) : "-", layout_name(rig->op->y_layout));
    if (at < bytes)
        snprintf(text + at, bytes - at,
                 " n=%d/%d first=%d %s level=%s threads=%d weights=%d repack=%d y_over=%d dx_over=%d dx_null=%x rows=%d "
                 "inside=%d shift=%d",
                 k->n, c->n_max, k->first, k->train ? "train" : "eval", level_name(k->mask & ful_cpu_flags()), k->threads,
                 k->set, !k->stale, k->y_over, k->dx_over, k->dx_null, k->rows, k->inside, k->shift);
}
