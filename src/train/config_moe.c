/* SPDX-License-Identifier: Apache-2.0 */
/* The `moe:` list of a configuration, and the words that turn all its mixtures into a baseline (card I3). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "ops/act_math.h"
#include "train/config.h"

/* Capacity factors: 1.25 <-> 1250 permille; none (dropless) <-> 0 ---------------------------------------------------------- */

static ful_status read_permille(const ful__key *key, const ful__spot *spot, void *base)
{
    double value = 0;
    int permille = 0;
    const char *text = spot->node->kind == FUL__YAML_SCALAR ? spot->node->text : "";
    const bool none = strcmp(text, "none") == 0 || strcmp(text, "inf") == 0 || strcmp(text, ".inf") == 0;
    if (!none) {
        if (!ful__yaml_as_double(spot->node, &value) || !(value > 0 && value <= 1e6))
            return ful__spot_fail(spot, "must be a number > 0 and <= 1000000, or none");
        permille = (int)lrint(value * 1000);
        if (permille < 1 || fabs(value * 1000 - permille) > 1e-6)
            return ful__spot_fail(spot, "must have at most three decimals: capacity is integer arithmetic");
    }
    memcpy((unsigned char *)base + key->offset, &permille, sizeof permille);
    return FUL_OK;
}

static ful_status write_permille(const ful__key *key, const void *base, ful__yaml **out)
{
    int permille = 0;
    char text[FUL__NUMBER_BYTES] = "none";
    memcpy(&permille, (const unsigned char *)base + key->offset, sizeof permille);
    if (permille > 0) ful__double_text(permille / 1000.0, text);
    return ful__yaml_new(FUL__YAML_SCALAR, text, out);
}

/* Table ----------------------------------------------------------------------------------------------------------------- */

#define PERMILLE(owner, field) FUL__CUSTOM(read_permille, write_permille), FUL__AT(owner, field), .type = "number > 0 | none"
#define SITE                   ful_moe_site

static const char *const places[] = {"append", "replace", NULL};
static const char *const experts[] = {"mlp", "conv", "dwconv", NULL};
static const char *const tokens[] = {"image", "pixel", NULL};
static const char *const norms[] = {"none", "layer", "batch", NULL};
static const char *const router_inputs[] = {"raw", "layernorm", "l2", NULL};
static const char *const gates[] = {"softmax_all", "renorm", NULL};
static const char *const noises[] = {"normal", "uniform", NULL};
static const char *const temperatures[] = {"const", "linear", "sigmoid", NULL};
static const char *const drops[] = {"position", "priority", NULL};

static const ful__key temperature_keys[] = {
    {"schedule", FUL__WORD(SITE, moe.temperature, temperatures), .help = "of the router's temperature over the training"},
    {"start", FUL__FLOAT(SITE, moe.tau0, 0, 1000), .above_min = true, .help = "logits are divided by it"},
    {"min", FUL__FLOAT(SITE, moe.tau_min, 0, 1000), .above_min = true, .help = "where linear and sigmoid end; at most start"},
    {NULL}};

static const ful__key balance_keys[] = {
    {"switch", FUL__FLOAT(SITE, moe.switch_coef, 0, 1000), .help = "Switch load-balance loss"},
    {"switch_global", FUL__BOOL(SITE, moe.switch_global),
     .help = "its loads over the global batch instead of each micro-batch"},
    {"importance", FUL__FLOAT(SITE, moe.importance_coef, 0, 1000), .help = "CV^2 of the experts' summed probabilities"},
    {"load", FUL__FLOAT(SITE, moe.load_coef, 0, 1000), .help = "CV^2 of the smooth load (noisy top-k)"},
    {"z", FUL__FLOAT(SITE, moe.z_coef, 0, 1000), .help = "router z-loss"},
    {"entropy", FUL__FLOAT(SITE, moe.entropy_coef, -1000, 1000), .help = "mean token entropy: > 0 sharpens, < 0 softens"},
    {"bias_rate", FUL__FLOAT(SITE, moe.bias_rate, 0, 10), .help = "step of the auxiliary-loss-free selection bias"},
    {NULL}};

#define EXPERTS_MOST (double)FUL_EXPERTS_MAX
enum { HIDDEN_MOST = 1 << 20 };

const ful__key ful__moe_keys[] = {
    {"at", FUL__TEXT(SITE, at), .type = "head | stage<N> | block<N>",
     .help = "after global pooling, at a stage, or at a vit's block; last<N>, every<N>: several of its blocks"},
    {"place", FUL__WORD(SITE, place, places), .fallback = "append | blocks replace",
     .help = "after the stage's last block or the block, or instead of it or its MLP"},
    {"expert", FUL__WORD(SITE, moe.expert, experts), .help = "MLP on a vector, conv block, or depthwise conv block on a map"},
    {"token", FUL__WORD(SITE, moe.token, tokens), .fallback = "image | blocks pixel",
     .help = "what is routed: a whole image, or each pixel (patch)"},
    {"experts", FUL__INT(SITE, moe.experts, 1, EXPERTS_MOST), .help = "how many"},
    {"k", FUL__INT(SITE, moe.k, 1, EXPERTS_MOST), .help = "experts a token uses; at most experts"},
    {"hidden", FUL__INT(SITE, moe.hidden, 1, HIDDEN_MOST), .fallback = "128 | blocks the MLP's", .help = "width of an expert"},
    {"act", FUL__WORD(SITE, moe.act, ful__act_names), .fallback = "gelu | conv relu", .help = "activation inside experts"},
    {"gated", FUL__BOOL(SITE, moe.gated), .fallback = "false | blocks the MLP's",
     .help = "MLP experts fc2(act(a) g), [a | g] = fc1 x: GEGLU with gelu, SwiGLU with silu"},
    {"norm", FUL__WORD(SITE, moe.norm, norms), .fallback = "none | conv layer",
     .help = "inside experts; batch sees small, shifting batches there"},
    {"shared_init", FUL__BOOL(SITE, moe.shared_init), .help = "all experts start with the same weights"},
    {"router", FUL__TEXT(SITE, moe.router), .type = "a router's name", .help = "who chooses the experts"},
    {"router_input", FUL__WORD(SITE, moe.router_input, router_inputs), .help = "what is done to the vector before the router"},
    {"router_init", FUL__FLOAT(SITE, moe.router_init, -1, 100),
     .help = "sd of the router's initial weights; below 0: the method's own"},
    {"gate", FUL__WORD(SITE, moe.gate, gates),
     .help = "probability over all experts, or renormalised over the chosen (k >= 2)"},
    {"noisy", FUL__BOOL(SITE, moe.noisy), .help = "noisy top-k with a learned noise scale"},
    {"noise_std", FUL__FLOAT(SITE, moe.noise_std, 0, 1000), .help = "size of the noise on training logits; 0 = none"},
    {"noise_kind", FUL__WORD(SITE, moe.noise_kind, noises),
     .help = "normal: sd noise_std/experts; uniform: U(0, noise_std), for the choice alone"},
    {"jitter", FUL__FLOAT(SITE, moe.jitter, 0, 1), .below_max = true, .help = "training input of the router times U(1-j, 1+j)"},
    {"temperature", FUL__MAP(temperature_keys)},
    {"capacity_factor", PERMILLE(SITE, moe.capacity_permille), .help = "training capacity over an even share; none = dropless"},
    {"capacity_min", FUL__INT(SITE, moe.capacity_min, 0, 1000000), .help = "least capacity of an expert"},
    {"eval_capacity_factor", PERMILLE(SITE, moe.eval_capacity_permille),
     .help = "none: a prediction never depends on its neighbours"},
    {"drop", FUL__WORD(SITE, moe.drop, drops), .help = "who is dropped first: the last in the batch, or the least sure"},
    {"slots", FUL__INT(SITE, moe.soft_slots, 1, 65536), .help = "Soft MoE: slots an expert"},
    {"balance", FUL__MAP(balance_keys)},
    {"dense", FUL__INT(SITE, dense, 0, INT32_MAX), .help = "0: a mixture; else a dense block of this width instead (baseline)"},
    {NULL}};

void ful__moe_site_defaults(ful_moe_site *site, ful_expert expert)
{
    memset(site, 0, sizeof *site);
    snprintf(site->at, sizeof site->at, "head");
    ful_moe_defaults(&site->moe, expert);
}

/* At a transformer's blocks a mixture takes the place of the MLP, patch by patch, with experts of the MLP's own form. */
static void block_defaults(ful_moe_site *site, const ful_net_config *net)
{
    const ful_mlp_attr mlp = ful_net_block_mlp(net);
    if (!ful_moe_at_block(site->at) || mlp.hidden == 0 || site->moe.expert != FUL_EXPERT_MLP) return;
    site->place = FUL_PLACE_REPLACE;
    site->moe.token = FUL_TOKEN_PIXEL;
    site->moe.hidden = mlp.hidden;
    site->moe.act = mlp.act;
    site->moe.gated = mlp.gated;
}

/* Reading --------------------------------------------------------------------------------------------------------------- */

/* The spot of a key that breaks a rule together with others; the item's own where the key was left at its default. */
static ful__spot blame(const ful__spot *item, const char *key)
{
    ful__spot spot = ful__spot_key(item, key);
    if (!spot.node) spot.node = item->node;
    return spot;
}

/* Soft MoE mixes all tokens, so capacity limits mean nothing to it. */
static bool is_soft(const char *router)
{
    return strncmp(router, "soft_", 5) == 0 || strcmp(router, "soft") == 0;
}

static ful_status check_router(const ful__spot *spot, const char *router)
{
    enum { MOST_ROUTERS = 128 };
    const char *names[MOST_ROUTERS] = {0};
    const ful_router_about *about = ful_router_names();
    for (int i = 0; about[i].name && i < MOST_ROUTERS - 1; i++) {
        if (strcmp(router, about[i].name) == 0) return FUL_OK;
        names[i] = about[i].name;
    }
    return ful__spot_unknown_word(spot, names);
}

static ful_status check_site(const ful__spot *item, const ful_moe_site *site, const ful__spot *router)
{
    const ful_moe_attr *m = &site->moe;
    const ful__spot k = blame(item, "k"), gate = blame(item, "gate"), capacity = blame(item, "capacity_factor");
    const ful__spot eval_capacity = blame(item, "eval_capacity_factor"), temperature = blame(item, "temperature");
    if (router->node) FUL_TRY(check_router(router, m->router));
    if (m->k > m->experts) return ful__spot_fail(&k, "k = %d must be in 1..experts, and experts = %d", m->k, m->experts);
    if (m->gate == FUL_GATE_RENORM && m->k == 1 && site->dense == 0)
        return ful__spot_fail(&gate, "renorm with k = 1 makes every gate 1 and trains no router; use softmax_all or k >= 2");
    if (m->tau_min > m->tau0)
        return ful__spot_fail(&temperature, "min = %g must be at most start, %g", (double)m->tau_min, (double)m->tau0);
    if (!is_soft(m->router)) return FUL_OK;
    if (m->capacity_permille)
        return ful__spot_fail(&capacity, "must be none with the router '%s', which drops nothing", m->router);
    if (m->eval_capacity_permille)
        return ful__spot_fail(&eval_capacity, "must be none with the router '%s', which drops nothing", m->router);
    return FUL_OK;
}

/* `over`: the router of the whole document, or NULL. */
static ful_status read_site(const ful__spot *item, const ful__spot *over, const ful_net_config *net, ful_moe_site *site)
{
    ful__moe_site_defaults(site, FUL_EXPERT_MLP);
    if (item->node->kind != FUL__YAML_MAP) return ful__spot_fail(item, "must be a map of keys, e.g. {at: head, experts: 8}");
    FUL_TRY(ful__schema_read_key(ful__moe_keys, "expert", item, site));
    ful__moe_site_defaults(site, site->moe.expert); /* they depend on the expert and the place, and capacity on the router */
    FUL_TRY(ful__schema_read_key(ful__moe_keys, "at", item, site));
    block_defaults(site, net);
    FUL_TRY(ful__schema_read_key(ful__moe_keys, "router", item, site));
    if (is_soft(over ? over->node->text : site->moe.router)) site->moe.capacity_permille = 0;
    FUL_TRY(ful__schema_read(ful__moe_keys, item, site));
    if (!over) {
        const ful__spot own = ful__spot_key(item, "router");
        return check_site(item, site, &own);
    }
    if (is_soft(over->node->text)) site->moe.capacity_permille = site->moe.eval_capacity_permille = 0;
    snprintf(site->moe.router, sizeof site->moe.router, "%.*s", FUL_ROUTER_NAME_MAX - 1, over->node->text);
    return check_site(item, site, over);
}

/* Baselines ------------------------------------------------------------------------------------------------------------- */

/* MACs of the net with this one site, all and routed, for one image. Stand-in sizes do where the data set has not been opened:
 * only Soft MoE over the patches of a map depends on them. */
static ful_status site_macs(const ful_config *config, const ful_moe_site *site, int dense, int64_t *all, int64_t *routed)
{
    ful_config one = *config;
    ful_graph *graph = NULL;
    ful_account account = {0};
    ful_status status = FUL_OK;
    one.net.moe[0] = *site;
    one.net.moe[0].dense = dense;
    FUL_TRY_GOTO(status, done, ful__config_trial_graph(&one, 1, &graph));
    FUL_TRY_GOTO(status, done, ful_graph_account(graph, &account));
    *all = account.macs;
    *routed = account.macs_routed;
done:
    ful_account_deinit(&account);
    ful_graph_destroy(&graph);
    return status;
}

/* Width of the dense block that costs what the mixture executes, in units of hidden: k, but for Soft MoE what its experts run
 * on their slots. A dense block's MACs are linear in its width, so those of one `hidden` are the difference of two widths. */
static ful_status executed_experts(const ful_config *config, const ful_moe_site *site, double *out)
{
    const int h = site->moe.hidden;
    int64_t all = 0, routed = 0, narrow = 0, wide = 0, none = 0;
    *out = site->moe.k;
    if (!is_soft(site->moe.router)) return FUL_OK;
    FUL_TRY(site_macs(config, site, 0, &all, &routed));
    FUL_TRY(site_macs(config, site, h, &narrow, &none));
    FUL_TRY(site_macs(config, site, 2 * h, &wide, &none));
    if (wide > narrow) *out = (double)routed / (double)(wide - narrow);
    return FUL_OK;
}

enum { BASE_NONE = 0, BASE_ACTIVE, BASE_SINGLE, BASE_PARAM };
static const char *const baselines[] = {"none", "active", "single", "param", NULL};

static ful_status make_dense(const ful__spot *spot, int baseline, const ful_config *config, ful_moe_site *site)
{
    double copies = 1;
    if (baseline == BASE_ACTIVE) FUL_TRY(executed_experts(config, site, &copies));
    if (baseline == BASE_PARAM) copies = site->moe.experts;
    const double width = fmax(1, rint(copies * site->moe.hidden));
    if (width > HIDDEN_MOST) return ful__spot_fail(spot, "the dense width must be at most %d, not %.0f", HIDDEN_MOST, width);
    site->dense = (int)width;
    return FUL_OK;
}

static ful_status read_baseline(const ful__spot *root, int *out)
{
    static const ful__key key[] = {{"dense", .kind = FUL__KEY_WORD, .words = baselines}, {NULL}};
    *out = BASE_NONE;
    const ful__spot spot = ful__spot_key(root, "dense");
    return ful__yaml_is_null(spot.node) ? FUL_OK : ful__schema_read_key(key, "dense", root, out);
}

ful_status ful__config_read_moe(const ful__spot *root, ful_config *config)
{
    const ful__spot list = ful__spot_key(root, "moe"), dense = ful__spot_key(root, "dense");
    const ful__spot router = ful__spot_key(root, "router");
    const bool over = router.node && !ful__yaml_is_null(router.node);
    int baseline = BASE_NONE;
    FUL_TRY(read_baseline(root, &baseline));
    if (over && router.node->kind != FUL__YAML_SCALAR) return ful__spot_fail(&router, "must be a router's name");
    if (over) FUL_TRY(check_router(&router, router.node->text));
    if (!list.node || ful__yaml_is_null(list.node)) return FUL_OK;
    if (list.node->kind != FUL__YAML_LIST)
        return ful__spot_fail(&list, "must be a list of mixtures, as in moe=[{at: head, experts: 8}]");
    if (list.node->count > FUL_MOE_SITES_MAX)
        return ful__spot_fail(&list, "may have at most %d mixtures, not %d", FUL_MOE_SITES_MAX, list.node->count);
    for (int i = 0; i < list.node->count; i++) {
        const ful__spot item = ful__spot_item(&list, i);
        ful_moe_site *site = &config->net.moe[i];
        FUL_TRY(read_site(&item, over ? &router : NULL, &config->net, site));
        if (baseline != BASE_NONE) FUL_TRY(make_dense(&dense, baseline, config, site));
    }
    config->net.n_moe = list.node->count;
    return FUL_OK;
}

ful_status ful__config_write_moe(const ful_net_config *net, ful__yaml **out)
{
    FUL_TRY(ful__yaml_new(FUL__YAML_LIST, NULL, out));
    ful_status status = FUL_OK;
    for (int i = 0; i < net->n_moe && status == FUL_OK; i++) {
        ful__yaml *site = NULL;
        status = ful__schema_write(ful__moe_keys, &net->moe[i], &site);
        if (status == FUL_OK) status = ful__yaml_push(*out, site);
    }
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}
