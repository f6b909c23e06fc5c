/* SPDX-License-Identifier: Apache-2.0 */
/* `fulcrum rho`: what a configuration costs before it is trained. Layers, rho in its variants (card I2), capacity, memory, and
 * on request the time of a training step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/time.h"
#include "train/json.h"
#include "train/optim.h"

typedef struct costs {
    ful_config config; /* with all sizes known */
    ful_net *net;
    ful_account account;
    char *plan;
    double step_seconds; /* median; NaN when not measured */
} costs;

/* The variants, in the order of the account's fields. */
static const struct variant {
    const char *name;
    size_t offset;
    const char *about;
} variants[] = {
    {"exec", offsetof(ful_account, rho_exec), "kX/(B+R+kX): the share that is routed in what really runs for an image"},
    {"site", offsetof(ful_account, rho_site), "X/(B+X): the dense net's share at the site; independent of k and E"},
    {"total", offsetof(ful_account, rho_total), "EX/(B+R+EX): the capacity view, as if every expert ran"},
    {"train", offsetof(ful_account, rho_train), "the routed share of forward and backward together"},
    {"params", offsetof(ful_account, rho_params), "the experts' share of the parameters"},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static double variant_value(const ful_account *a, int i)
{
    double value = 0;
    memcpy(&value, (const char *)a + variants[i].offset, sizeof value);
    return value;
}

/* Measuring ------------------------------------------------------------------------------------------------------------------
 */

typedef struct bench {
    ful__optim *optim;
    ful_tensor *tensors;
    float *x;
    int32_t *label;
} bench;

static ful_status bench_init(bench *b, const costs *c)
{
    const int batch = c->config.train.batch, n = ful_net_tensor_count(c->net);
    const ful_shape shape = ful_net_input_shape(c->net);
    const size_t values = (size_t)batch * (size_t)shape.h * (size_t)shape.w * (size_t)shape.c;
    FUL_TRY(ful__calloc(&b->tensors, (size_t)n, sizeof *b->tensors, "a list of parameters"));
    FUL_TRY(ful__calloc(&b->x, values, sizeof *b->x, "images"));
    FUL_TRY(ful__calloc(&b->label, (size_t)batch, sizeof *b->label, "labels"));
    for (int i = 0; i < n; i++) FUL_TRY(ful_net_tensor(c->net, i, &b->tensors[i]));
    ful__rng_fill_normal(ful__stream_make(1, "bench", "images"), 0, 1, b->x, values);
    for (int i = 0; i < batch; i++) b->label[i] = i % ful_net_classes(c->net);
    return ful__optim_create(&c->config.train, b->tensors, n, &b->optim);
}

static void bench_deinit(bench *b)
{
    ful__optim_destroy(&b->optim);
    ful__free(b->tensors);
    ful__free(b->x);
    ful__free(b->label);
}

/* A step as the loop does it, with a learning rate that cannot diverge. */
static ful_status one_step(const costs *c, bench *b, int64_t number)
{
    double norm = 0;
    ful_step step = {.n = c->config.train.batch, .x = b->x, .label = b->label, .step = (uint64_t)number};
    FUL_TRY(ful_net_train_step(c->net, &step));
    FUL_TRY(ful__optim_step(b->optim, 1e-6, number, &norm));
    ful_net_after_step(c->net, &step);
    return FUL_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median of up to 15 steps after 2 that warm up, within about 2 seconds; 3 steps at least. */
static ful_status measure(costs *c, bench *b)
{
    enum { WARM = 2, LEAST = 3, MOST = 15 };
    double seconds[MOST];
    int n = 0;
    for (int i = 0; i < WARM; i++) FUL_TRY(one_step(c, b, i));
    const double begin = ful__seconds();
    while (n < MOST && (n < LEAST || ful__seconds() - begin < 2)) {
        const double start = ful__seconds();
        FUL_TRY(one_step(c, b, WARM + n));
        seconds[n++] = ful__seconds() - start;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    c->step_seconds = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    return FUL_OK;
}

/* Text ------------------------------------------------------------------------------------------------------------------------
 */

/* 1234567 -> "1,234,567" */
static const char *grouped(int64_t value, char out[32])
{
    char digits[24];
    const int n = snprintf(digits, sizeof digits, "%lld", (long long)value);
    char *to = out;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-') *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

static void add_layers(ful__str *s, const ful_account *a)
{
    char params[32], macs[32], shape[32];
    ful__str_addf(s, "%-28s %-16s %-12s %12s %16s  %s\n", "layer", "op", "output", "parameters", "MACs", "kind");
    for (int i = 0; i < a->n_layers; i++) {
        const ful_layer_cost *l = &a->layers[i];
        if (l->macs == 0 && l->params == 0) continue;
        snprintf(shape, sizeof shape, "%dx%dx%d", l->out.h, l->out.w, l->out.c);
        ful__str_addf(s, "%-28s %-16s %-12s %12s %16s", l->name, l->op, shape, grouped(l->params, params),
                      grouped(l->macs, macs));
        if (l->routed)
            ful__str_addf(s, "  routed %.2f %%, router %.2f %%\n", 100 * (double)l->macs_routed / (double)l->macs,
                          100 * (double)l->macs_router / (double)l->macs);
        else
            ful__str_add(s, l->macs > 0 ? "  shared\n" : "\n");
    }
    ful__str_addf(s, "%-28s %-16s %-12s %12s %16s\n", "total", "", "", grouped(a->params, params), grouped(a->macs, macs));
}

static void add_rho(ful__str *s, const ful_account *a)
{
    char text[5][32];
    ful__str_add(
        s, "\nrho: the routed share of the compute of one image, forward; MACs of convolutions and products, nothing else\n");
    for (int i = 0; i < VARIANTS; i++)
        ful__str_addf(s, "  %-7s %8.6f  %s\n", variants[i].name, variant_value(a, i), variants[i].about);
    ful__str_addf(s, "  B shared %s, R routers %s, X one expert %s, kX executed %s, EX all experts %s\n",
                  grouped(a->macs_shared, text[0]), grouped(a->macs_router, text[1]), grouped(a->macs_one_expert, text[2]),
                  grouped(a->macs_routed, text[3]), grouped(a->macs_all_experts, text[4]));
    if (a->macs_unread > 0)
        ful__str_addf(s,
                      "  of B %s are not executed: of the last block nothing but the class token is read (doc/nets.md says "
                      "what that saves)\n",
                      grouped(a->macs_unread, text[0]));
    ful__str_addf(s, "  parameters %s, of them active for an image %s, in experts %s\n", grouped(a->params, text[0]),
                  grouped(a->params_active, text[1]), grouped(a->params_experts, text[2]));
}

static void add_memory(ful__str *s, const costs *c)
{
    const ful_account *a = &c->account;
    const int batch = c->config.train.batch;
    if (a->nominal_pairs > 0)
        ful__str_addf(
            s, "\ncapacity in training: a batch of %d asks for %lld pairs of token and expert, and %lld have room: %.3f\n",
            batch, (long long)a->nominal_pairs, (long long)a->capacity_pairs,
            (double)a->capacity_pairs / (double)a->nominal_pairs);
    ful__str_addf(
        s,
        "\nmemory of a training step of %d images: activations and scratch %.1f MB, parameters and gradients %.1f MB, "
        "packed weights %.1f MB\n",
        batch, 1e-6 * (double)a->work_bytes, 1e-6 * (double)a->param_bytes, 1e-6 * (double)a->packed_bytes);
    if (!isnan(c->step_seconds))
        ful__str_addf(s, "time of a training step, measured on %d threads: %.2f ms, %.0f images/s\n", ful_threads_get(),
                      1e3 * c->step_seconds, batch / c->step_seconds);
    ful__str_addf(s, "\nplan of a training step\n%s", c->plan);
}

/* JSON ------------------------------------------------------------------------------------------------------------------------
 */

static void emit_shape(ful__emitter *j, const char *key, ful_shape shape)
{
    const int64_t sizes[3] = {shape.h, shape.w, shape.c};
    ful__emit_ints(j, key, sizes, 3);
}

static void emit_layers(ful__emitter *j, const ful_account *a)
{
    ful__emit_open(j, "layers", '[');
    for (int i = 0; i < a->n_layers; i++) {
        const ful_layer_cost *l = &a->layers[i];
        ful__emit_open(j, NULL, '{');
        ful__emit_text(j, "name", l->name);
        ful__emit_text(j, "op", l->op);
        emit_shape(j, "in", l->in);
        emit_shape(j, "out", l->out);
        ful__emit_int(j, "params", l->params);
        ful__emit_int(j, "macs", l->macs);
        ful__emit_int(j, "macs_routed", l->macs_routed);
        ful__emit_int(j, "macs_router", l->macs_router);
        ful__emit_bool(j, "routed", l->routed);
        ful__emit_close(j, '}');
    }
    ful__emit_close(j, ']');
}

static void emit_rho(ful__emitter *j, const ful_account *a)
{
    ful__emit_open(j, "rho", '{');
    for (int i = 0; i < VARIANTS; i++) ful__emit_real(j, variants[i].name, variant_value(a, i));
    ful__emit_close(j, '}');
    ful__emit_open(j, "about", '{');
    for (int i = 0; i < VARIANTS; i++) ful__emit_text(j, variants[i].name, variants[i].about);
    ful__emit_close(j, '}');
    ful__emit_open(j, "macs", '{');
    ful__emit_int(j, "forward", a->macs);
    ful__emit_int(j, "shared", a->macs_shared);
    ful__emit_int(j, "router", a->macs_router);
    ful__emit_int(j, "routed", a->macs_routed);
    ful__emit_int(j, "one_expert", a->macs_one_expert);
    ful__emit_int(j, "all_experts", a->macs_all_experts);
    ful__emit_int(j, "unread", a->macs_unread);
    ful__emit_close(j, '}');
    ful__emit_open(j, "params", '{');
    ful__emit_int(j, "total", a->params);
    ful__emit_int(j, "active", a->params_active);
    ful__emit_int(j, "experts", a->params_experts);
    ful__emit_close(j, '}');
}

static ful_status as_json(const costs *c, char **out)
{
    const ful_account *a = &c->account;
    const int batch = c->config.train.batch;
    ful__emitter j = {0};
    ful__emit_open(&j, NULL, '{');
    ful__emit_text(&j, "arch", c->config.net.arch);
    ful__emit_int(&j, "batch", batch);
    emit_layers(&j, a);
    emit_rho(&j, a);
    ful__emit_open(&j, "capacity", '{');
    ful__emit_int(&j, "pairs_asked", a->nominal_pairs);
    ful__emit_int(&j, "pairs_room", a->capacity_pairs);
    ful__emit_real(&j, "padding", a->nominal_pairs > 0 ? (double)a->capacity_pairs / (double)a->nominal_pairs : NAN);
    ful__emit_close(&j, '}');
    ful__emit_open(&j, "memory", '{');
    ful__emit_int(&j, "work_bytes", (int64_t)a->work_bytes);
    ful__emit_int(&j, "param_bytes", (int64_t)a->param_bytes);
    ful__emit_int(&j, "packed_bytes", (int64_t)a->packed_bytes);
    ful__emit_close(&j, '}');
    ful__emit_open(&j, "step", '{');
    ful__emit_real(&j, "seconds", c->step_seconds);
    ful__emit_real(&j, "images_per_s", batch / c->step_seconds);
    ful__emit_int(&j, "threads", ful_threads_get());
    ful__emit_close(&j, '}');
    ful__emit_text(&j, "plan", c->plan);
    ful__emit_close(&j, '}');
    ful__str_add(&j.text, "\n");
    return ful__emit_take(&j, out);
}

static ful_status as_text(const costs *c, char **out)
{
    ful__str s = {0};
    add_layers(&s, &c->account);
    add_rho(&s, &c->account);
    add_memory(&s, c);
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK) *out = ful__str_take(&s);
    ful__str_deinit(&s);
    return status;
}

/* ----------------------------------------------------------------------------------------------------------------------------
 */

static ful_status make_net(costs *c)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    const ful_net_config *net = &c->config.net;
    if (net->height == 0 || net->in_channels == 0 || net->classes == 0) FUL_TRY(ful_config_resolve(&c->config));
    ful_net_options_defaults(&options);
    options.batch_max = c->config.train.batch;
    options.seed = c->config.train.seed;
    FUL_TRY(ful_net_build_graph(net, &graph));
    FUL_TRY(ful_net_create(graph, &options, &c->net));
    FUL_TRY(ful_net_account(c->net, &c->account));
    return ful_net_describe_plan(c->net, true, &c->plan);
}

ful_status ful_config_rho(const ful_config *config, bool json, bool time, char **text_out)
{
    costs *c = NULL;
    bench b = {0};
    ful_status status = FUL_OK;
    *text_out = NULL;
    FUL_TRY(ful__calloc(&c, 1, sizeof *c, "an account"));
    c->config = *config;
    c->step_seconds = NAN;
    FUL_TRY_GOTO(status, done, make_net(c));
    if (time) FUL_TRY_GOTO(status, done, bench_init(&b, c));
    if (time) FUL_TRY_GOTO(status, done, measure(c, &b));
    status = json ? as_json(c, text_out) : as_text(c, text_out);
done:
    bench_deinit(&b);
    ful_free(c->plan);
    ful_account_deinit(&c->account);
    ful_net_destroy(&c->net);
    ful__free(c);
    return status;
}
