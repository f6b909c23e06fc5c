/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What opcheck cannot see of the convolutions: oneDNN held to each instruction set from its first use on, bits of an image in
 * any batch, runs inside a parallel loop, memory that fails. (opcheck judges the numbers of all shapes.)
 */
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/parallel.h"
#include "core/rng.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/strips.h"
#include "ops/conv2d/winograd.h"
#include "ops/ref.h"
#include "support/fault.h"

enum { N_MAX = 128 };

typedef struct shape {
    ful_shape x;
    int out, kernel, stride, pad, groups, dilation;
} shape;

/* Of the nets, smaller where that changes no kernel, and some of nobody's. */
static const shape shapes[] = {
    {{16, 16, 3}, 16, 3, 1, 1, 1, 1},  {{12, 12, 1}, 32, 3, 1, 1, 1, 1},  {{16, 16, 16}, 16, 3, 1, 1, 1, 1},
    {{16, 16, 16}, 32, 3, 2, 1, 1, 1}, {{16, 16, 16}, 32, 1, 2, 0, 1, 1}, {{8, 8, 64}, 64, 3, 1, 1, 1, 1},
    {{4, 4, 128}, 128, 3, 1, 1, 1, 1}, {{2, 2, 128}, 256, 3, 1, 1, 1, 1}, {{8, 8, 32}, 64, 1, 1, 0, 1, 1},
    {{8, 8, 64}, 64, 3, 2, 1, 64, 1},  {{9, 9, 32}, 32, 3, 1, 1, 32, 1},  {{7, 7, 24}, 40, 3, 1, 1, 1, 1},
    {{9, 9, 10}, 7, 5, 2, 2, 1, 1},    {{12, 12, 16}, 16, 3, 1, 1, 2, 1}, {{12, 12, 32}, 32, 3, 1, 2, 1, 2},
    {{28, 28, 3}, 64, 7, 2, 3, 1, 1},  {{4, 4, 64}, 10, 1, 1, 0, 1, 1},   {{1, 1, 48}, 48, 3, 1, 1, 1, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static ful_conv_algorithm algorithm = FUL_CONV_DIRECT; /* of the convolutions made now */
static bool with_bias = true;

/* Normal draws, the same 4,099 again and again: a prime, so that no image is like another. */
static float *make(const char *name, int64_t count)
{
    enum { PERIOD = 4099 };
    float draws[PERIOD], *x = aligned_alloc(64, ((size_t)count * sizeof *x + 127) / 64 * 64);
    if (!x) abort();
    ful__rng_fill_normal(ful__stream_make(3, "test", name), 0, 1.0f, draws, PERIOD);
    for (int64_t i = 0; i < count; i++) x[i] = draws[i % PERIOD];
    return x;
}

static ful_conv2d_attr attr_of(const shape *s)
{
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = s->out;
    a.kernel_h = a.kernel_w = s->kernel;
    a.stride_h = a.stride_w = s->stride;
    a.pad_h = a.pad_w = s->pad;
    a.groups = s->groups;
    a.dilation_h = a.dilation_w = s->dilation;
    a.bias = with_bias;
    a.algorithm = algorithm;
    return a;
}

/* A planned convolution and one set of everything a run needs. */
typedef struct rig {
    ful__op *op;
    float *x, *y, *dy, *dx, *w[2], *dw[2], *scratch, *packed;
    ful__run run;
} rig;

static void rig_deinit(rig *r)
{
    float *all[] = {r->x, r->y, r->dy, r->dx, r->w[0], r->w[1], r->dw[0], r->dw[1], r->scratch, r->packed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    if (r->op) r->op->type->destroy(r->op);
    *r = (rig){0};
}

static ful_status rig_plan(rig *r, const shape *s, int n_max, bool train)
{
    const ful_conv2d_attr a = attr_of(s);
    *r = (rig){0};
    const ful_status status = ful__op_conv2d.create("conv", &a, &s->x, 1, &r->op);
    if (status != FUL_OK) return status;
    r->op->type->layouts(r->op);
    return r->op->type->plan(r->op, n_max, train);
}

static void rig_fill(rig *r, int n_max, bool train)
{
    const ful__op *op = r->op;
    r->x = make("x", n_max * ful__count(op->x[0]));
    r->dx = make("dx", n_max * ful__count(op->x[0]));
    r->y = make("y", n_max * ful__count(op->y));
    r->dy = make("dy", n_max * ful__count(op->y));
    for (int i = 0; i < op->n_params; i++) {
        r->w[i] = make("w", op->params[i].count);
        r->dw[i] = make("dw", op->params[i].count);
        memset(r->dw[i], 0, (size_t)op->params[i].count * sizeof(float));
    }
    r->scratch = make("scratch", (int64_t)(op->need.scratch_fixed + (size_t)n_max * op->need.scratch_per_image) / 4 + 1);
    r->packed = make("packed", (int64_t)op->need.packed / 4 + 1);
    r->run = (ful__run){.n = n_max, .train = train, .repack = true, .x = {r->x}, .y = r->y, .dy = r->dy, .dx = {r->dx}};
    r->run.w = r->w;
    r->run.dw = r->dw;
    r->run.scratch = r->scratch;
    r->run.packed = r->packed;
}

static void rig_init(rig *r, const shape *s, int n_max, bool train)
{
    if (rig_plan(r, s, n_max, train) != FUL_OK) abort();
    rig_fill(r, n_max, train);
}

#define must(call)                                          \
    do {                                                    \
        if ((call) != FUL_OK) {                             \
            printf("%s: %s\n", #call, ful_error_message()); \
            return 1;                                       \
        }                                                   \
    } while (0)

/* At each level in a process of its own ---------------------------------------------------------------------------------- */

typedef int (*child_fn)(void);

static void at_each_level(child_fn child)
{
    const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            ful_cpu_mask_set(masks[i]);
            const int result = child();
            fflush(stdout);
            _exit(result);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("mask %x: status %d", masks[i], status);
    }
}

/* y of image i of a batch of 128 against the same image in batches of all sizes, at all ends of the batch. */
static int same_in_batches(const shape *s, bool train)
{
    const int ns[] = {1, 2, 3, 7, 16, 64, 127};
    rig r;
    rig_init(&r, s, N_MAX, train);
    const int64_t cx = ful__count(r.op->x[0]), cy = ful__count(r.op->y);
    float *whole = r.y, *part = make("part", N_MAX * cy);
    must(r.op->type->forward(r.op, &r.run));
    r.run.y = part;
    r.run.repack = false;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (int first = 0; first + ns[i] <= N_MAX; first += N_MAX - ns[i] > 1 ? (N_MAX - ns[i]) / 2 : 1) {
            r.run.n = ns[i];
            r.run.x[0] = r.x + first * cx;
            must(r.op->type->forward(r.op, &r.run));
            if (memcmp(part, whole + first * cy, (size_t)(ns[i] * cy) * sizeof *part) == 0) continue;
            printf("%dx%dx%d -> %d: other bits for images %d..%d alone\n", s->x.h, s->x.w, s->x.c, s->out, first,
                   first + ns[i] - 1);
            return 1;
        }
    free(part);
    rig_deinit(&r);
    return 0;
}

static int batches(void)
{
    for (int i = 0; i < SHAPES; i++)
        if (same_in_batches(&shapes[i], false)) return 1;
    if (same_in_batches(&shapes[2], true)) return 1;
    algorithm = FUL_CONV_WINOGRAD;
    const int winograd[] = {2, 5, 6, 7, 11, 17};
    for (int i = 0; i < 6; i++)
        if (same_in_batches(&shapes[winograd[i]], i % 2)) return 1;
    algorithm = FUL_CONV_PATCHES;
    const int patches[] = {7, 8, 16, 17};
    for (int i = 0; i < 4; i++)
        if (same_in_batches(&shapes[patches[i]], false)) return 1;
    algorithm = FUL_CONV_STRIPS;
    const int strips[] = {0, 1, 3, 4, 7, 8, 11, 16};
    for (int i = 0; i < 8; i++)
        if (same_in_batches(&shapes[strips[i]], i % 2)) return 1;
    return 0;
}

static void bits_in_any_batch(void **state)
{
    (void)state;
    at_each_level(batches);
}

/* Layout-free numbers of a run: sums against the reference's, weighted so that a swap of two values shows. */
static double probe(const float *v, int64_t count, ful_shape s, ful__layout layout)
{
    const ful__strides st = ful__strides_of(s, layout);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t image = i / ful__count(s), pixel = i / s.c % ((int64_t)s.h * s.w), c = i % s.c;
        sum += sin((double)i) * v[image * ful__count(s) + c / ful__block() * st.block + pixel * st.pixel + c % ful__block()];
    }
    return sum;
}

static double probe_double(const double *v, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += sin((double)i) * v[i];
    return sum;
}

static double *as_doubles(const float *v, int64_t count, ful_shape s, ful__layout layout)
{
    const ful__strides st = ful__strides_of(s, layout);
    double *d = malloc((size_t)count * sizeof *d);
    if (!d) abort();
    for (int64_t i = 0; i < count; i++) {
        const int64_t image = i / ful__count(s), pixel = i / s.c % ((int64_t)s.h * s.w), c = i % s.c;
        d[i] = v[image * ful__count(s) + c / ful__block() * st.block + pixel * st.pixel + c % ful__block()];
    }
    return d;
}

static int near(const char *what, const shape *s, double got, double want, int64_t terms)
{
    if (fabs(got - want) <= 1e-5 * sqrt((double)terms) * 10) return 0;
    printf("%dx%dx%d -> %d groups %d: %s %g, wanted %g\n", s->x.h, s->x.w, s->x.c, s->out, s->groups, what, got, want);
    return 1;
}

static int against_reference(const shape *s)
{
    enum { N = 2 };
    rig r;
    rig_init(&r, s, N, true);
    const ful__op *op = r.op;
    const int64_t cx = N * ful__count(op->x[0]), cy = N * ful__count(op->y), cw = op->params[0].count;
    const ful_shape flat = {1, 1, 1};
    const ful_conv2d_attr a = attr_of(s);
    must(op->type->forward(r.op, &r.run));
    must(op->type->backward(r.op, &r.run));
    double *x = as_doubles(r.x, cx, op->x[0], op->x_layout[0]), *dy = as_doubles(r.dy, cy, op->y, op->y_layout);
    double *w[2] = {as_doubles(r.w[0], cw, flat, FUL__NHWC), as_doubles(r.w[1], s->out, flat, FUL__NHWC)};
    double *y = calloc((size_t)cy, sizeof *y), *dx = calloc((size_t)cx, sizeof *dx);
    double *dw[2] = {calloc((size_t)cw, sizeof *dw[0]), calloc((size_t)s->out, sizeof *dw[1])};
    const ful__ref ref = {.op = op, .attr = &a, .n = N, .x = {x}, .y = y, .dy = dy, .dx = {dx}, .w = w, .dw = dw};
    ful__conv2d_fwd__ref(&ref);
    ful__conv2d_bwd__ref(&ref);
    const int64_t terms = cy * cw / s->out;
    const int bad = near("y", s, probe(r.y, cy, op->y, op->y_layout), probe_double(y, cy), terms) +
                    near("dx", s, probe(r.dx, cx, op->x[0], op->x_layout[0]), probe_double(dx, cx), terms) +
                    near("dw", s, probe(r.dw[0], cw, flat, FUL__NHWC), probe_double(dw[0], cw), terms) +
                    near("db", s, probe(r.dw[1], s->out, flat, FUL__NHWC), probe_double(dw[1], s->out), terms);
    double *doubles[] = {x, dy, w[0], w[1], y, dx, dw[0], dw[1]};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) free(doubles[i]);
    rig_deinit(&r);
    return bad;
}

static int numbers(void)
{
    int bad = 0;
    for (int i = 0; i < SHAPES; i++)
        if (ful__count(shapes[i].x) * shapes[i].out < 1 << 19) bad += against_reference(&shapes[i]);
    algorithm = FUL_CONV_STRIPS;
    for (int i = 0; i < SHAPES; i++)
        if (ful__count(shapes[i].x) * shapes[i].out < 1 << 19) bad += against_reference(&shapes[i]);
    return bad;
}

static void numbers_at_each_level(void **state)
{
    (void)state;
    at_each_level(numbers);
}

/* Kernels of our own by themselves --------------------------------------------------------------------------------------- */

enum { IMAGES = 3 };

/* A convolution without bias in the reference's numbers, and buffers to run it in without the op around the kernels. That one
 * asks oneDNN for its layouts, and oneDNN knows nothing of the emulated AVX-512. */
typedef struct bare {
    const shape *s;
    rig r;
    ful_conv2d_attr attr;
    ful_shape x, y;
    float *bias, *residual;
    double *want_y, *want_dx, *want_dw;
} bare;

static void bare_init(bare *b, const shape *s)
{
    const ful_shape flat = {1, 1, 1};
    *b = (bare){.s = s, .attr = attr_of(s), .x = s->x};
    rig_init(&b->r, s, IMAGES, true);
    b->y = b->r.op->y;
    const int64_t cx = IMAGES * ful__count(b->x), cy = IMAGES * ful__count(b->y), cw = b->r.op->params[0].count;
    b->bias = make("bias", b->y.c);
    b->residual = make("residual", cy);
    b->want_y = calloc((size_t)cy, sizeof *b->want_y);
    b->want_dx = calloc((size_t)cx, sizeof *b->want_dx);
    b->want_dw = calloc((size_t)cw, sizeof *b->want_dw);
    double *x = as_doubles(b->r.x, cx, b->x, b->x.c % ful__block() == 0 ? FUL__BLOCKED : FUL__NHWC);
    double *dy = as_doubles(b->r.dy, cy, b->y, FUL__BLOCKED);
    double *w[1] = {as_doubles(b->r.w[0], cw, flat, FUL__NHWC)}, *dw[1] = {b->want_dw};
    const ful__ref ref = {
        .op = b->r.op, .attr = &b->attr, .n = IMAGES, .x = {x}, .y = b->want_y, .dy = dy, .dx = {b->want_dx}, .w = w, .dw = dw};
    ful__conv2d_fwd__ref(&ref);
    ful__conv2d_bwd__ref(&ref);
    free(x);
    free(dy);
    free(w[0]);
}

static void bare_deinit(bare *b)
{
    free(b->bias);
    free(b->residual);
    free(b->want_y);
    free(b->want_dx);
    free(b->want_dw);
    rig_deinit(&b->r);
}

static double size_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i] * values[i] / (double)count;
    return sqrt(sum);
}

/* Every value against the reference's, to a share of size. */
static int near_to(double size, const char *what, const bare *b, const float *got, const double *want, int64_t count,
                   ful_shape of, ful__layout layout)
{
    double *values = as_doubles(got, count, of, layout), worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs(values[i] - want[i]);
        worst = isfinite(off) ? fmax(worst, off) : INFINITY;
    }
    free(values);
    if (worst <= 2e-5 * size) return 0;
    printf("%dx%dx%d -> %d kernel %d stride %d pad %d, CPU flags %x: %s is off by %g of %g\n", b->x.h, b->x.w, b->x.c, b->y.c,
           b->s->kernel, b->s->stride, b->s->pad, ful_cpu_flags(), what, worst, size);
    return 1;
}

static int all_near(const char *what, const bare *b, const float *got, const double *want, int64_t count, ful_shape of,
                    ful__layout layout)
{
    return near_to(size_of(want, count), what, b, got, want, count, of, layout);
}

/* One pass planned on strips or on Winograd's algorithm. */
typedef struct own {
    bool winograd;
    ful__dnnl_pass pass;
    ful__strips strips;
    ful__winograd tiles;
    float *packed, *scratch;
} own;

static bool own_applies(const bare *b, ful__dnnl_pass pass, bool winograd)
{
    return winograd ? ful__winograd_applies(&b->attr, b->x, b->y) : ful__strips_applies(&b->attr, b->x, b->y, pass);
}

static void own_init(own *o, const bare *b, ful__dnnl_pass pass, bool winograd)
{
    *o = (own){.winograd = winograd, .pass = pass};
    size_t packed, scratch;
    if (winograd) {
        o->tiles = ful__winograd_plan(&b->attr, b->x, b->y, pass == FUL__DNNL_BWD_X, IMAGES);
        packed = ful__winograd_packed_bytes(&o->tiles);
        scratch = ful__winograd_scratch_bytes(&o->tiles, pass == FUL__DNNL_BWD_W);
    } else {
        o->strips = ful__strips_plan(&b->attr, b->x, b->y, pass, IMAGES);
        packed = ful__strips_packed_bytes(&o->strips);
        scratch = ful__strips_scratch_bytes(&o->strips);
    }
    o->packed = make("packed", (int64_t)(packed / sizeof(float)));
    o->scratch = make("scratch", (int64_t)(scratch / sizeof(float)));
    if (pass == FUL__DNNL_BWD_W) return;
    if (winograd)
        ful__winograd_pack(&o->tiles, b->r.w[0], pass == FUL__DNNL_BWD_X, o->packed);
    else
        ful__strips_pack(&o->strips, b->r.w[0], o->packed);
}

static void own_deinit(own *o)
{
    free(o->packed);
    free(o->scratch);
}

static void own_apply(const own *o, ful__conv_run run)
{
    run.packed = o->packed;
    run.scratch = o->scratch;
    if (o->winograd)
        ful__winograd_apply(&o->tiles, &run);
    else
        ful__strips_apply(&o->strips, &run);
}

/* y = act(conv(x) + bias + residual) of fewer images than planned for; the residual lies where y goes. */
static int own_fused(const own *o, const bare *b, ful_act act)
{
    const int n = IMAGES - 1;
    const int64_t cy = n * ful__count(b->y);
    double *want = as_doubles(b->residual, cy, b->y, FUL__BLOCKED);
    for (int64_t i = 0; i < cy; i++) want[i] += b->want_y[i] + b->bias[i % b->y.c];
    const double size = size_of(want, cy); /* of what is rounded */
    for (int64_t i = 0; i < cy; i++) want[i] = ful__act_value__ref(act, want[i]);
    memcpy(b->r.y, b->residual, (size_t)cy * sizeof(float));
    own_apply(o, (ful__conv_run){.n = n, .x = b->r.x, .bias = b->bias, .residual = b->r.y, .act = act, .y = b->r.y});
    const char *what = o->winograd ? "Winograd's fused y" : "strips' fused y";
    const int bad = near_to(size, what, b, b->r.y, want, cy, b->y, FUL__BLOCKED);
    free(want);
    return bad;
}

static int own_pass(const bare *b, ful__dnnl_pass pass, bool winograd)
{
    static const char *const names[FUL__DNNL_PASSES][2] = {
        {"strips' y", "Winograd's y"}, {"strips' dx", "Winograd's dx"}, {"strips' dw", "Winograd's dw"}};
    const char *name = names[pass][winograd];
    const ful_shape flat = {1, 1, 1};
    const rig *r = &b->r;
    const int64_t cw = r->op->params[0].count;
    int bad = 0;
    own o;
    if (!own_applies(b, pass, winograd)) return 0;
    own_init(&o, b, pass, winograd);
    switch (pass) {
    case FUL__DNNL_FWD:
        own_apply(&o, (ful__conv_run){.n = IMAGES, .x = r->x, .y = r->y});
        bad = all_near(name, b, r->y, b->want_y, IMAGES * ful__count(b->y), b->y, FUL__BLOCKED);
        bad += own_fused(&o, b, FUL_ACT_RELU) + own_fused(&o, b, FUL_ACT_RELU6) + own_fused(&o, b, FUL_ACT_HARD_SWISH);
        break;
    case FUL__DNNL_BWD_X:
        own_apply(&o, (ful__conv_run){.n = IMAGES, .x = r->dy, .y = r->dx});
        bad = all_near(name, b, r->dx, b->want_dx, IMAGES * ful__count(b->x), b->x, FUL__BLOCKED);
        break;
    case FUL__DNNL_BWD_W:
        memset(r->dw[0], 0, (size_t)cw * sizeof(float));
        if (winograd)
            ful__winograd_grad(&o.tiles, IMAGES, r->x, r->dy, r->dw[0], o.scratch);
        else
            ful__strips_grad(&o.strips, IMAGES, r->x, r->dy, r->dw[0], o.scratch);
        bad = all_near(name, b, r->dw[0], b->want_dw, cw, flat, FUL__NHWC);
    }
    own_deinit(&o);
    return bad;
}

static int own_kernels(const shape *s)
{
    if (s->out % ful__block() != 0) return 0;
    bare b;
    int bad = 0;
    bare_init(&b, s);
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++)
        for (int winograd = 0; winograd < 2; winograd++) bad += own_pass(&b, (ful__dnnl_pass)pass, winograd);
    bare_deinit(&b);
    return bad;
}

static int all_own_kernels(void)
{
    static const shape more[] = {
        {{9, 7, 16}, 48, 3, 2, 1, 1, 1},   {{8, 8, 32}, 80, 5, 2, 2, 1, 1},   {{5, 6, 48}, 16, 1, 2, 0, 1, 1},
        {{1, 1, 32}, 32, 3, 2, 1, 1, 1},   {{9, 9, 3}, 48, 7, 2, 3, 1, 1},    {{9, 9, 16}, 16, 3, 1, 2, 1, 2},
        {{1, 1, 16}, 16, 3, 1, 1, 1, 1},   {{3, 2, 16}, 32, 3, 1, 1, 1, 1},   {{6, 5, 32}, 48, 3, 1, 0, 1, 1},
        {{5, 7, 48}, 16, 3, 1, 2, 1, 1},   {{13, 11, 32}, 32, 3, 1, 1, 1, 1}, {{4, 9, 80}, 48, 3, 1, 1, 1, 1},
        {{2, 3, 272}, 16, 3, 1, 1, 1, 1},  {{3, 5, 16}, 288, 3, 1, 1, 1, 1},  {{37, 37, 16}, 16, 3, 1, 1, 1, 1},
        {{9, 21, 64}, 128, 3, 1, 1, 1, 1},
    };
    int bad = 0;
    with_bias = false;
    for (int i = 0; i < SHAPES; i++) bad += ful__count(shapes[i].x) * shapes[i].out < 1 << 19 ? own_kernels(&shapes[i]) : 0;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) bad += own_kernels(&more[i]);
    return bad;
}

static void own_kernels_by_themselves(void **state)
{
    (void)state;
    at_each_level(all_own_kernels);
}

/* Rounding --------------------------------------------------------------------------------------------------------------- */

/* Root mean square of the error of y over that of y itself. */
static double rounding_of(ful_conv_algorithm how, const shape *s)
{
    rig r;
    algorithm = how;
    rig_init(&r, s, 2, true);
    algorithm = FUL_CONV_DIRECT;
    const ful__op *op = r.op;
    const int64_t cx = 2 * ful__count(op->x[0]), cy = 2 * ful__count(op->y), cw = op->params[0].count;
    const ful_shape flat = {1, 1, 1};
    const ful_conv2d_attr a = attr_of(s);
    assert_ok(op->type->forward(r.op, &r.run));
    double *x = as_doubles(r.x, cx, op->x[0], op->x_layout[0]), *got = as_doubles(r.y, cy, op->y, op->y_layout);
    double *w[2] = {as_doubles(r.w[0], cw, flat, FUL__NHWC), as_doubles(r.w[1], s->out, flat, FUL__NHWC)};
    double *y = calloc((size_t)cy, sizeof *y), error = 0, size = 0;
    const ful__ref ref = {.op = op, .attr = &a, .n = 2, .x = {x}, .y = y, .w = w};
    ful__conv2d_fwd__ref(&ref);
    for (int64_t i = 0; i < cy; i++) {
        error += (got[i] - y[i]) * (got[i] - y[i]);
        size += y[i] * y[i];
    }
    double *doubles[] = {x, got, w[0], w[1], y};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) free(doubles[i]);
    rig_deinit(&r);
    return sqrt(error / size);
}

/* What the points of interpolation are chosen for. */
static void winograd_rounding(void **state)
{
    (void)state;
    const shape s = {{8, 8, 64}, 64, 3, 1, 1, 1, 1};
    const double direct = rounding_of(FUL_CONV_DIRECT, &s), winograd = rounding_of(FUL_CONV_WINOGRAD, &s);
    printf("relative error over 64 channels: plain sum %.2g, Winograd %.2g\n", direct, winograd);
    assert_true(winograd < 5 * direct);
}

/* Inside a parallel loop ------------------------------------------------------------------------------------------------- */

enum { PIECES = 4 };

typedef struct pieces {
    rig *rigs;
    ful_status status[PIECES];
} pieces;

static void run_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    pieces *p = ctx;
    rig *r = &p->rigs[chunk];
    p->status[chunk] = p->rigs[0].op->type->forward(p->rigs[0].op, &r->run);
    if (p->status[chunk] == FUL_OK) p->status[chunk] = p->rigs[0].op->type->backward(p->rigs[0].op, &r->run);
}

/* One planned op serves four runs at once, each with its own buffers: the bits are those of a loop on one thread. */
static void check_inside_a_loop(const shape *s)
{
    rig rigs[PIECES];
    for (int i = 0; i < PIECES; i++) {
        rig_init(&rigs[i], s, 8, true);
        rigs[i].run.n = 5 + i % 2;
    }
    pieces p = {.rigs = rigs};
    assert_ok(ful_threads_set(2));
    ful__parallel_for(PIECES, run_piece, &p);
    for (int i = 0; i < PIECES; i++) assert_ok(p.status[i]);

    rig alone;
    assert_ok(ful_threads_set(1));
    rig_init(&alone, s, 8, true);
    for (int n = 5; n <= 6; n++) {
        const int64_t cx = n * ful__count(alone.op->x[0]), cy = n * ful__count(alone.op->y), cw = alone.op->params[0].count;
        alone.run.n = n;
        memset(alone.dw[0], 0, (size_t)cw * sizeof(float));
        assert_ok(alone.op->type->forward(alone.op, &alone.run));
        assert_ok(alone.op->type->backward(alone.op, &alone.run));
        for (int i = n - 5; i < PIECES; i += 2) {
            assert_memory_equal(alone.y, rigs[i].y, (size_t)cy * sizeof(float));
            assert_memory_equal(alone.dx, rigs[i].dx, (size_t)cx * sizeof(float));
            assert_memory_equal(alone.dw[0], rigs[i].dw[0], (size_t)cw * sizeof(float));
        }
    }
    assert_ok(ful_threads_set(2));
    rig_deinit(&alone);
    for (int i = 0; i < PIECES; i++) rig_deinit(&rigs[i]);
}

static void inside_a_loop(void **state)
{
    (void)state;
    check_inside_a_loop(&shapes[5]);
    algorithm = FUL_CONV_STRIPS;
    check_inside_a_loop(&shapes[3]);
    with_bias = false;
    check_inside_a_loop(&shapes[3]);
    algorithm = FUL_CONV_WINOGRAD;
    check_inside_a_loop(&shapes[5]);
    algorithm = FUL_CONV_DIRECT;
    with_bias = true;
}

static void same_bits_run_to_run(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, &shapes[2], 16, true);
    const int64_t cw = r.op->params[0].count;
    float *first = make("first", cw);
    for (int run = 0; run < 5; run++) {
        memset(r.dw[0], 0, (size_t)cw * sizeof(float));
        assert_ok(r.op->type->backward(r.op, &r.run));
        if (run == 0) memcpy(first, r.dw[0], (size_t)cw * sizeof(float));
        assert_memory_equal(first, r.dw[0], (size_t)cw * sizeof(float));
    }
    free(first);
    rig_deinit(&r);
}

/* Memory that fails ------------------------------------------------------------------------------------------------------ */

static ful_status whole_life(void *ctx)
{
    rig r;
    (void)ctx;
    ful_status status = rig_plan(&r, &shapes[0], 2, true);
    if (status == FUL_OK) {
        rig_fill(&r, 2, true);
        r.run.n = 1; /* not what was planned: primitives are made now */
        status = r.op->type->forward(r.op, &r.run);
        if (status == FUL_OK) status = r.op->type->backward(r.op, &r.run);
    }
    rig_deinit(&r);
    return status;
}

static void failing_memory(void **state)
{
    (void)state;
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, whole_life, NULL) > 10);
}

/* Winograd and folding --------------------------------------------------------------------------------------------------- */

/* How many of the passes of a training plan run on kernels of that name. */
static int passes_on(const char *name, const shape *s)
{
    rig r;
    int count = 0;
    rig_init(&r, s, 4, true);
    for (const char *at = ful__conv2d_kernel(r.op); (at = strstr(at, name)) != NULL; at++) count++;
    rig_deinit(&r);
    return count;
}

/* The algorithm asked for is the one that runs, and the gradient of a bias keeps dw on the plain sum. */
static void named_kernels(void **state)
{
    (void)state;
    assert_int_equal(passes_on("winograd", &shapes[5]), 0);
    assert_int_equal(passes_on("strips", &shapes[3]), 0);
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) return;
    for (int bias = 0; bias < 2; bias++) {
        with_bias = bias;
        algorithm = FUL_CONV_WINOGRAD;
        assert_int_equal(passes_on("winograd", &shapes[5]), bias ? 2 : 3);
        algorithm = FUL_CONV_STRIPS;
        assert_int_equal(passes_on("strips", &shapes[3]), bias ? 2 : 3);
        assert_int_equal(passes_on("strips", &shapes[0]), bias ? 1 : 2); /* of 3 colours: not dx */
    }
    algorithm = FUL_CONV_DIRECT;
}

/* Two output channels of two weights each: w gamma/sd, beta + (bias - mean) gamma/sd. */
static void folding(void **state)
{
    (void)state;
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = 2;
    a.kernel_h = a.kernel_w = 1;
    const float w[4] = {1, 2, 3, 4}, bias[2] = {1, -1}, gamma[2] = {2, 3}, beta[2] = {0.5f, 0}, mean[2] = {4, 5};
    const float var[2] = {3.75f, 8.75f}, eps = 0.25f; /* sd 2 and 3 */
    float w_out[4], b_out[2];
    ful__fold_batchnorm(&a, 2, w, bias, gamma, beta, mean, var, eps, w_out, b_out);
    assert_true(w_out[0] == 1 && w_out[1] == 2 && w_out[2] == 3 && w_out[3] == 4);
    assert_true(b_out[0] == -2.5f && b_out[1] == -6);
    ful__fold_batchnorm(&a, 2, w, NULL, gamma, beta, mean, var, eps, w_out, b_out);
    assert_true(b_out[0] == -3.5f && b_out[1] == -5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_in_any_batch), /* these three before anything starts threads: they fork */
        cmocka_unit_test(numbers_at_each_level), cmocka_unit_test(own_kernels_by_themselves),
        cmocka_unit_test(inside_a_loop),         cmocka_unit_test(same_bits_run_to_run),
        cmocka_unit_test(failing_memory),        cmocka_unit_test(named_kernels),
        cmocka_unit_test(winograd_rounding),     cmocka_unit_test(folding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
