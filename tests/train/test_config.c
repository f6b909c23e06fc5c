/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: what is written reads back the same, what is wrong is named with file, line, key, value and rule. */
#include <stdlib.h>
#include <unistd.h>

#include <fulcrum/train.h>

#include "core/file.h"
#include "core/rng.h"
#include "support/fault.h"
#include "train/config.h"

/* Round trip ------------------------------------------------------------------------------------------------------------ */

typedef struct dice {
    ful__stream stream;
    uint64_t index;
} dice;

static int roll(dice *d, int low, int high)
{
    return low + (int)ful__rng_below(d->stream, 0, d->index++, (uint64_t)(high - low) + 1);
}

/* Numbers with many digits, so that the text must be exact. */
static double real(dice *d, double low, double high)
{
    const double u = (double)ful__rng_below(d->stream, 1, d->index++, 1ull << 53) * 0x1p-53;
    return low + (high - low) * u;
}

static void random_text(dice *d, char *out, int most)
{
    static const char *const pieces[] = {"a",  "0",        ".", "-",    " ", ":",    "#",  "'",
                                         "\"", "\xc3\xa9", "/", "null", "~", "true", "\n", "\t"};
    out[0] = '\0';
    for (int i = roll(d, 0, 6); i > 0; i--) {
        const char *piece = pieces[roll(d, 0, 15)];
        if (strlen(out) + strlen(piece) < (size_t)most) strcat(out, piece);
    }
}

static void random_site(dice *d, ful_moe_site *site)
{
    static const char *const routers[] = {"softmax", "random", "hash", "sigmoid"};
    ful_moe_attr *m = &site->moe;
    memset(site, 0, sizeof *site);
    const bool conv = roll(d, 0, 1);
    ful_moe_defaults(m, conv ? FUL_EXPERT_CONV : FUL_EXPERT_MLP);
    snprintf(site->at, sizeof site->at, "%s", conv ? "stage2" : "head");
    m->experts = roll(d, 2, 9);
    m->k = roll(d, 2, m->experts);
    m->hidden = roll(d, 1, 40);
    m->act = (ful_act)roll(d, 0, 4);
    m->norm = (ful_expert_norm)roll(d, 0, 1);
    m->shared_init = roll(d, 0, 1);
    memset(m->router, 0, sizeof m->router);
    snprintf(m->router, sizeof m->router, "%s", routers[roll(d, 0, 3)]);
    const bool softmax = strcmp(m->router, "softmax") == 0;
    if (softmax) {
        m->gate = (ful_gate_mode)roll(d, 0, 1);
        m->router_input = (ful_router_input)roll(d, 0, 2);
        m->router_init = (float)real(d, 0, 0.1);
        if (roll(d, 0, 1)) {
            m->noise_std = (float)real(d, 0, 2);
            m->noise_kind = (ful_router_noise)roll(d, 0, 1);
        }
        m->jitter = (float)real(d, 0, 0.3);
        m->tau0 = (float)real(d, 1, 3);
        m->tau_min = (float)real(d, 0.1, 1);
        m->temperature = (ful_temperature)roll(d, 0, 2);
        m->switch_coef = (float)real(d, 0, 0.1);
        m->switch_global = roll(d, 0, 1);
        m->importance_coef = (float)real(d, 0, 0.1);
        m->z_coef = (float)real(d, 0, 0.01);
        m->entropy_coef = (float)real(d, -0.1, 0.1);
        if (m->noise_std == 0) m->bias_rate = (float)real(d, 0, 0.01);
    }
    m->capacity_permille = roll(d, 0, 1) ? 0 : roll(d, 1, 4000);
    m->capacity_min = roll(d, 0, 8);
    m->eval_capacity_permille = roll(d, 0, 1) ? 0 : roll(d, 1, 4000);
    m->drop = (ful_drop_order)roll(d, 0, 1);
    site->dense = roll(d, 0, 2) ? 0 : roll(d, 1, 300);
}

/* Keys of what is off are not written, so they stay the defaults. */
static void random_augment(dice *d, ful_augment *a)
{
    a->rrc = a->crop_pad == 0 && roll(d, 0, 1);
    if (a->rrc) {
        a->rrc_filter = (ful_filter)roll(d, 0, 1);
        a->rrc_scale[0] = real(d, 0.01, 0.5);
        a->rrc_ratio[1] = real(d, 1, 2);
    }
    for (int i = 0; i < 4; i++) a->jitter[i] = roll(d, 0, 2) ? 0 : real(d, 0, 0.5);
    a->policy = (ful_policy)roll(d, 0, 3);
    if (a->policy == FUL_POLICY_RAND) a->rand_n = roll(d, 0, 16), a->rand_m = roll(d, 0, 30);
    if (roll(d, 0, 1)) a->erase_p = real(d, 0.1, 1), a->erase_ratio[0] = real(d, 0.1, 1);
    if (roll(d, 0, 1)) a->mixup = real(d, 0.1, 2);
    if (roll(d, 0, 1)) a->cutmix = real(d, 0.1, 2);
    a->repeats = 1;
}

static void random_config(dice *d, ful_config *c)
{
    ful_config_defaults(c);
    ful_data_config *data = &c->data;
    random_text(d, data->path, FUL_PATH_MAX);
    random_text(d, data->cache, FUL_PATH_MAX);
    data->size = roll(d, 0, 1) ? 0 : roll(d, 28, 224);
    data->channels = roll(d, 0, 1) ? 3 : 0;
    data->train_limit = roll(d, 0, 1000000);
    data->val_fraction = real(d, 0, 0.5);
    data->val_seed = (uint64_t)roll(d, 0, 100);
    data->augment.crop_pad = roll(d, 0, 8);
    data->augment.flip = roll(d, 0, 1);
    random_augment(d, &data->augment);
    data->crop = data->size && roll(d, 0, 1) ? data->size - 4 : 0;
    data->ten_crop = (ful_ten_crop)roll(d, 0, 2);
    data->normalize_given = roll(d, 0, 1);
    for (int i = 0; i < 3 && data->normalize_given; i++) {
        data->mean[i] = (float)real(d, 0, 1);
        data->std[i] = (float)real(d, 0.1, 1);
    }
    data->workers = roll(d, 0, 4);
    data->gen_noise = real(d, 0, 100);
    data->gen_seed = INT64_MAX;
    memset(c->net.arch, 0, sizeof c->net.arch);
    snprintf(c->net.arch, sizeof c->net.arch, "%s", roll(d, 0, 1) ? "resnet20" : "resnet8");
    c->net.width = roll(d, 0, 24);
    c->net.dropout = real(d, 0, 0.9);
    c->net.drop_path = real(d, 0, 0.9);
    c->net.n_moe = roll(d, 0, 3);
    for (int i = 0; i < c->net.n_moe; i++) random_site(d, &c->net.moe[i]);
    ful_train_config *t = &c->train;
    t->epochs = roll(d, 1, 300);
    t->batch = roll(d, 1, 1024);
    t->optimizer = (ful_optimizer)roll(d, 0, 1);
    t->lr = real(d, 1e-6, 1);
    t->momentum = real(d, 0, 1);
    t->nesterov = roll(d, 0, 1);
    t->beta1 = real(d, 0, 1);
    t->beta2 = real(d, 0, 1);
    t->eps = real(d, 1e-12, 1e-3);
    t->weight_decay = real(d, 0, 0.1);
    t->schedule = (ful_schedule)roll(d, 0, 3);
    t->lr_final = real(d, 0, 1);
    t->warmup = real(d, 0, 1) * t->epochs;
    t->step_epochs = roll(d, 1, 100);
    t->step_gamma = real(d, 0.01, 1);
    t->label_smoothing = real(d, 0, 1);
    t->clip_norm = real(d, 0, 10);
    t->ema = real(d, 0, 1);
    t->seed = (uint64_t)roll(d, 0, 1 << 30) << 32;
    t->eval_every = roll(d, 1, 10);
    t->eval_test = roll(d, 0, 1);
    t->collapse_stop = roll(d, 0, 1);
    t->threads = roll(d, 0, 8);
}

static void check_round_trip(const ful_config *config)
{
    char *text = NULL, *again = NULL;
    ful_config back;
    assert_ok(ful_config_write(config, &text));
    const ful_status status = ful_config_parse("again.yaml", text, &back);
    if (status != FUL_OK) {
        printf("%s", text);
        fail_msg("%s", ful_error_message());
    }
    if (memcmp(config, &back, sizeof back) != 0) {
        assert_ok(ful_config_write(&back, &again));
        assert_string_equal(text, again);
        size_t at = 0;
        while (((const char *)config)[at] == ((const char *)&back)[at]) at++;
        fail_msg("the texts are the same, and the structs differ at byte %zu", at);
    }
    ful_free(text);
}

static void test_written_reads_back(void **state)
{
    (void)state;
    dice d = {.stream = ful__stream_make(11, "test", "config")};
    ful_config config;
    ful_config_defaults(&config);
    check_round_trip(&config);
    for (int i = 0; i < 200; i++) {
        random_config(&d, &config);
        check_round_trip(&config);
    }
}

/* Values ------------------------------------------------------------------------------------------------------------------ */

static void test_defaults_depend(void **state)
{
    (void)state;
    ful_config c, d;
    ful_config_defaults(&d);
    assert_true(d.train.epochs == 30 && d.train.batch == 128 && d.train.lr == 0.1 && d.train.weight_decay == 5e-4);
    assert_true(d.train.momentum == 0.9 && d.train.nesterov && d.train.eval_test && d.train.eval_every == 1);
    assert_ok(ful_config_parse("x", "", &c));
    assert_memory_equal(&c, &d, sizeof c);
    assert_ok(ful_config_parse("x", "train: {optimizer: adamw}", &c));
    assert_true(c.train.lr == 1e-3 && c.train.weight_decay == 0.05);
    assert_ok(ful_config_parse("x", "train: {lr: 0.5, optimizer: adamw}", &c));
    assert_true(c.train.lr == 0.5 && c.train.weight_decay == 0.05);
    assert_ok(ful_config_parse("x", "moe:\n- {at: stage3, expert: conv}\n- {}\n", &c));
    assert_int_equal(c.net.moe[0].moe.act, FUL_ACT_RELU);
    assert_int_equal(c.net.moe[0].moe.norm, FUL_EXPERT_NORM_LAYER);
    assert_int_equal(c.net.moe[1].moe.act, FUL_ACT_GELU);
    assert_string_equal(c.net.moe[1].at, "head");
    assert_ok(ful_config_parse("x", "moe: [{capacity_factor: none, eval_capacity_factor: 1.25}]", &c));
    assert_int_equal(c.net.moe[0].moe.capacity_permille, 0);
    assert_int_equal(c.net.moe[0].moe.eval_capacity_permille, 1250);
    assert_ok(ful_config_parse("x", "moe: [{router: soft_sample}]", &c)); /* which drops nothing */
    assert_int_equal(c.net.moe[0].moe.capacity_permille, 0);
    assert_ok(ful_config_parse("x", "data: {augment: [flip, crop4], mean: [0.5], std: [0.25]}", &c));
    assert_true(c.data.augment.flip && c.data.augment.crop_pad == 4 && c.data.normalize_given && c.data.mean[2] == 0.5f &&
                c.data.std[1] == 0.25f);
    assert_ok(ful_config_parse("x",
                               "data: {augment: [{rrc: {scale: [0.2, 1]}}, {jitter: {hue: 0.1}}, randaugment, mixup, {cutmix: "
                               "{alpha: 0.5}}, erase, {repeat: {times: 2}}]}",
                               &c));
    const ful_augment *a = &c.data.augment;
    assert_true(a->rrc && a->rrc_scale[0] == 0.2 && a->rrc_ratio[1] == 4.0 / 3 && a->jitter[0] == 0 && a->jitter[3] == 0.1);
    assert_true(a->policy == FUL_POLICY_RAND && a->rand_n == 2 && a->rand_m == 9 && a->mixup == 0.2 && a->cutmix == 0.5);
    assert_true(a->erase_p == 0.25 && a->repeats == 2 && !a->flip && a->crop_pad == 0);
    assert_ok(ful_config_parse("x", "data: null\nnet: ~\nmoe:\ntrain:\ndense:\nrouter:\n", &c));
    assert_memory_equal(&c, &d, sizeof c);
}

static void test_baselines(void **state)
{
    (void)state;
    static const char *const moe =
        "moe:\n- {at: stage3, expert: conv, experts: 8, k: 2, hidden: 24}\n- {hidden: 10, k: 3, experts: 4}\n";
    static const struct {
        const char *line;
        int dense[2];
    } cases[] = {
        {"dense: none\n", {0, 0}}, {"dense: active\n", {48, 30}}, {"dense: single\n", {24, 10}}, {"dense: param\n", {192, 40}}};
    ful_config c;
    char text[400];
    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s%s", cases[i].line, moe);
        assert_ok(ful_config_parse("x", text, &c));
        assert_int_equal(c.net.moe[0].dense, cases[i].dense[0]);
        assert_int_equal(c.net.moe[1].dense, cases[i].dense[1]);
    }
    snprintf(text, sizeof text, "router: random\n%s", moe);
    assert_ok(ful_config_parse("x", text, &c));
    assert_string_equal(c.net.moe[0].moe.router, "random");
    assert_string_equal(c.net.moe[1].moe.router, "random");
    /* Soft MoE of one image over itself runs every expert. */
    assert_ok(ful_config_parse("x", "dense: active\nmoe: [{router: soft_sample, experts: 4, hidden: 16}]", &c));
    assert_int_equal(c.net.moe[0].dense, 64);
    /* Soft MoE over the 64 pixels of a map runs 4 experts on 2 slots each: 8/64 of an expert on every pixel. */
    assert_ok(ful_config_parse(
        "x", "dense: active\nmoe: [{at: stage3, token: pixel, router: soft_patch, experts: 4, slots: 2, hidden: 48}]", &c));
    assert_int_equal(c.net.moe[0].dense, 6);
    assert_fails(ful_config_parse("x", "moe: [{experts: 4096, hidden: 1048576}]\ndense: param", &c), FUL_ERR_CONFIG,
                 "dense width");
}

/* Errors ------------------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *yaml, *says;
} errors[] = {
    {"train:\n  lr: -1\n", "cannot use bad.yaml, line 2: train.lr = -1: must be > 0"},
    {"train:\n  lr: 0\n", "train.lr = 0: must be > 0"},
    {"train:\n  lr: fast\n", "line 2: train.lr = fast: must be a number"},
    {"train:\n  lr: .inf\n", "train.lr = .inf: must be a number"},
    {"train:\n  lr: .nan\n", "train.lr = .nan: must be a number"},
    {"train:\n  lr: \"0.1\"\n", "must be a number"},
    {"train: {batch: 0}\n", "line 1: train.batch = 0: must be in 1..1000000"},
    {"train: {batch: 1.5}\n", "train.batch = 1.5: must be a whole number"},
    {"train: {batch: [1]}\n", "train.batch: must be a whole number"},
    {"train: {batch: 99999999999}\n", "must be in 1..1000000"},
    {"train: {momentum: 1}\n", "train.momentum = 1: must be >= 0 and < 1"},
    {"train: {eps: 0}\n", "must be > 0 and <= 1"},
    {"train: {nesterov: yes}\n", "train.nesterov = yes: must be true or false"},
    {"train: {optimizer: adam}\n", "train.optimizer = adam: must be one of sgd, adamw (did you mean 'adamw'?)"},
    {"train: {schedule: [1]}\n", "train.schedule: must be one of cosine, step, linear, const"},
    {"train: {seed: -1}\n", "train.seed = -1: must be a whole number in 0..9223372036854775807"},
    {"train: {seed: 9223372036854775808}\n", "must be a whole number in 0.."},
    {"train: {epochs: 2, warmup: 3}\n", "train.warmup = 3: must be at most train.epochs, 2"},
    {"train:\n  epochs: 5\n  epoch: 5\n", "line 3: train.epoch: there is no such key (did you mean 'epochs'?)"},
    {"train:\n  zzz: 5\n", "line 2: train.zzz: there is no such key"},
    {"train: 5\n", "line 1: train = 5: must be a map of keys"},
    {"trian: {}\n", "line 1: trian: there is no such key (did you mean 'train'?)"},
    {"[1]\n", "a configuration must be a map of keys"},
    {"data: {augment: crop4}\n", "must be a list, e.g. [crop4, flip]"},
    {"data:\n  augment:\n    - flip\n    - crop0\n", "line 4: data.augment[1] = crop0: must be crop<1..64>"},
    {"data: {augment: [flip, flip]}\n", "data.augment[1] = flip: flip may stand there once"},
    {"data: {augment: [rcc]}\n", "data.augment[0] = rcc: must be one of crop<1..64>, rrc, flip, jitter"},
    {"data: {augment: [autoaugmnt]}\n", "(did you mean 'autoaugment'?)"},
    {"data: {augment: [crop4, rrc]}\n", "data.augment[1] = rrc: only one of rrc and crop4 may stand there"},
    {"data: {augment: [trivialaugment, {randaugment: {n: 1}}]}\n", "only one of randaugment, trivialaugment and autoaugment"},
    {"data: {augment: [{randaugment: {m: 31}}]}\n", "data.augment[0].randaugment.m = 31: must be in 0..30"},
    {"data: {augment: [{rrc: {scal: [0.1, 1]}}]}\n", "rrc.scal: there is no such key (did you mean 'scale'?)"},
    {"data: {augment: [{rrc: {scale: [0.5, 0.1]}}]}\n", "rrc.scale: must be a list of two ascending numbers > 0 and <= 1"},
    {"data: {augment: [{rrc: {interpolation: cubic}}]}\n", "must be one of bilinear, bicubic (did you mean 'bicubic'?)"},
    {"data: {augment: [{mixup: {alpha: 0}}]}\n", "mixup.alpha = 0: must be > 0 and <= 1000"},
    {"data: {augment: [{repeat: {times: 3}}]}\ntrain: {batch: 128}\n", "repeat.times = 3 must divide train.batch, 128"},
    {"data: {crop: 24}\n", "data.crop = 24: must be at most data.size, which must be given with it"},
    {"data: {size: 32, crop: 48}\n", "data.crop = 48: must be at most data.size"},
    {"data: {ten_crop: both}\n", "data.ten_crop = both: must be one of none, logits, probabilities"},
    {"data: {mean: [0.5]}\n", "data.mean: must stand together with std"},
    {"data: {std: [0.5]}\n", "data.std: must stand together with mean"},
    {"data: {mean: [0.5], std: [0]}\n", "data.std[0] = 0: must be a number > 0 and <= 1"},
    {"data: {mean: [1, 2], std: [1]}\n", "1 or 3 numbers"},
    {"data: {channels: 2}\n", "data.channels = 2: must be 1 or 3"},
    {"data: {val_fraction: 0.6}\n", "must be in 0..0.5"},
    {"data: {name: 0123456789012345678901234567890123456789012345678901234567890123456789}\n", "at most 63 bytes, not 70"},
    {"data: {name: cifar}\n", "data.name = cifar: must be one of"},
    {"net:\n  arch: resnet21\n", "line 2: net.arch = resnet21: must be one of"},
    {"net: {arch: resnet21}\n", "(did you mean 'resnet20'?)"},
    {"net: {dropout: 1}\n", "net.dropout = 1: must be >= 0 and < 1"},
    {"net:\n  stem: huge\n", "stem"},
    {"moe: {}\n", "moe: must be a list of mixtures"},
    {"moe: [5]\n", "moe[0] = 5: must be a map of keys"},
    {"moe:\n- {}\n- k: 9\n", "line 3: moe[1].k = 9: k = 9 must be in 1..experts, and experts = 8"},
    {"moe: [{experts: 1}]\n", "line 1: moe[0].k: k = 2 must be in 1..experts, and experts = 1"},
    {"moe:\n- k: 1\n  gate: renorm\n", "line 3: moe[0].gate = renorm: renorm with k = 1"},
    {"moe: [{capacity_factor: 1.0005}]\n", "moe[0].capacity_factor = 1.0005: must have at most three decimals"},
    {"moe: [{capacity_factor: 0}]\n", "must be a number > 0"},
    {"moe: [{router: softmaks}]\n", "moe[0].router = softmaks: must be one of"},
    {"moe: [{router: softmaks}]\n", "(did you mean 'softmax'?)"},
    {"moe: [{router: soft_sample, capacity_factor: 1.25}]\n",
     "must be none with the router 'soft_sample', which drops nothing"},
    {"moe: [{temperature: {start: 1, min: 2}}]\n", "min = 2 must be at most start, 1"},
    {"moe:\n- balance: {swich: 1}\n", "line 2: moe[0].balance.swich: there is no such key (did you mean 'switch'?)"},
    {"moe:\n- balance: {z: -1}\n", "moe[0].balance.z = -1: must be in 0..1000"},
    {"moe:\n- {at: head}\n- at: stage9\n", "line 3: moe[1]: cannot place moe item 2 at=stage9"},
    {"router: nobody\n", "router = nobody: must be one of"},
    {"router: [a]\n", "router: must be a router's name"},
    {"dense: activ\n", "dense = activ: must be one of none, active, single, param (did you mean 'active'?)"},
    {"train:\n  lr: 1\n  lr: 2\n", "already given"},
    {"train: {lr: &a 1}\n", "anchors"},
    {"train: {lr\n", "line"},
};

static void test_errors_name_all(void **state)
{
    (void)state;
    ful_config c;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        const ful_status status = ful_config_parse("bad.yaml", errors[i].yaml, &c);
        if (status != FUL_ERR_CONFIG || !strstr(ful_error_message(), errors[i].says) ||
            !strstr(ful_error_message(), "bad.yaml"))
            fail_msg("%s  gave %s: %s\n  wanted: %s", errors[i].yaml, ful_status_name(status), ful_error_message(),
                     errors[i].says);
    }
    char many[1000] = "moe: [{}";
    for (int i = 0; i < FUL_MOE_SITES_MAX; i++) strcat(many, ", {}");
    strcat(many, "]");
    assert_fails(ful_config_parse("bad.yaml", many, &c), FUL_ERR_CONFIG, "moe: may have at most 16 mixtures, not 17");
}

static void test_sets(void **state)
{
    (void)state;
    char path[] = "/tmp/fulcrum-config-XXXXXX";
    static const char text[] = "net: {arch: resnet8}\nmoe:\n- {at: stage3, expert: conv, k: 2}\ntrain: {epochs: 3}\n";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    ful_config c;
    static const char *const good[] = {"train.lr=0.05", "moe.0.k=1", "data.augment=[flip]", "train.epochs=7"};
    assert_ok(ful_config_load(path, good, 4, &c));
    assert_true(c.train.lr == 0.05 && c.net.moe[0].moe.k == 1 && c.data.augment.flip && c.train.epochs == 7);
    assert_ok(ful_config_load(NULL, good, 1, &c));
    assert_true(c.train.lr == 0.05 && c.train.epochs == 30);
    static const char *const bad[][2] = {
        {"train.lr=-1", "cannot use the setting train.lr = -1: must be > 0"},
        {"train.lrr=1", "cannot use the setting train.lrr: there is no such key (did you mean 'lr'?)"},
        {"train.lr", "key=value"},
        {"moe.1.k=1", "0..0"},
        {"moe.0.k=99", "cannot use the setting moe[0].k = 99"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(ful_config_load(path, &bad[i][0], 1, &c), FUL_ERR_CONFIG, bad[i][1]);
    assert_int_equal(truncate(path, 0), 0);
    assert_ok(ful_config_load(path, good, 1, &c)); /* an empty file is all defaults */
    unlink(path);
    assert_fails(ful_config_load(path, NULL, 0, &c), FUL_ERR_IO, "cannot open");
}

/* At a transformer's blocks other defaults stand: those that V-MoE has. */
static void test_block_defaults(void **state)
{
    (void)state;
    static const char yaml[] =
        "net: {arch: vit_tiny, width: 64, mlp: swiglu}\n"
        "moe:\n  - {at: last2, experts: 4}\n  - {at: block3, hidden: 40, token: image, act: relu, gated: false}\n"
        "  - {at: head}\n";
    ful_config c;
    assert_ok(ful_config_parse("vit.yaml", yaml, &c));
    const ful_moe_site *last = &c.net.moe[0], *third = &c.net.moe[1], *head = &c.net.moe[2];
    assert_true(last->place == FUL_PLACE_REPLACE && last->moe.token == FUL_TOKEN_PIXEL && last->moe.hidden == 256);
    assert_true(last->moe.act == FUL_ACT_SILU && last->moe.gated);
    assert_true(third->place == FUL_PLACE_REPLACE && third->moe.token == FUL_TOKEN_IMAGE && third->moe.hidden == 40);
    assert_true(third->moe.act == FUL_ACT_RELU && !third->moe.gated);
    assert_true(head->place == FUL_PLACE_APPEND && head->moe.token == FUL_TOKEN_IMAGE && head->moe.hidden == 128);
    assert_fails(ful_config_parse("r.yaml", "net: {arch: resnet8}\nmoe: [{at: last2}]\n", &c), FUL_ERR_CONFIG,
                 "cannot use r.yaml, line 2: moe[0]");
    assert_fails(ful_config_parse("p.yaml", "net: {arch: vit_tiny, patch: 5}\ndata: {size: 32}\n", &c), FUL_ERR_CONFIG,
                 "patch must divide 32");
    assert_ok(ful_config_parse("q.yaml", "net: {arch: vit_tiny, patch: 7}\ndata: {name: mnist}\n", &c));
    assert_ok(ful_config_parse("d.yaml", "dense: active\nnet: {arch: vit_tiny}\nmoe: [{at: every2, k: 2}]\n", &c));
    assert_int_equal(c.net.moe[0].dense, 2 * 768);
}

/* Documents --------------------------------------------------------------------------------------------------------------- */

/* doc/config.md holds the help between its fences, word for word. */
static void test_document_is_current(void **state)
{
    (void)state;
    char *help = NULL, *document = NULL;
    size_t bytes = 0;
    assert_ok(ful_config_help(&help));
    assert_ok(ful__file_read("doc/config.md", 1 << 20, &document, &bytes));
    const char *begin = strstr(document, "```text\n"), *end = begin ? strstr(begin + 8, "```") : NULL;
    assert_non_null(end);
    const size_t n = (size_t)(end - begin) - 8;
    if (n != strlen(help) || memcmp(begin + 8, help, n) != 0) {
        printf("%s", help);
        fail_msg("the block in doc/config.md is not what ful_config_help() says, which is above");
    }
    ful_free(help);
    ful__free(document);
}

/* Every key that a complete configuration is written with stands in the help, under its block's name. */
static void test_help_has_every_key(void **state)
{
    (void)state;
    static ful_config c;
    char *help = NULL, *yaml = NULL, block[32] = "", wanted[100];
    int keys = 0;
    ful_config_defaults(&c);
    assert_ok(ful_config_help(&help));
    assert_ok(ful_config_write(&c, &yaml));
    for (char *line = strtok(yaml, "\n"); line; line = strtok(NULL, "\n")) {
        const int indent = (int)strspn(line, " "), length = (int)strcspn(line + indent, ":");
        if (indent == 0) snprintf(block, sizeof block, "%.*s", length, line);
        if (indent != 2 || line[indent] == '-') continue;
        snprintf(wanted, sizeof wanted, "\n  %s.%.*s", block, length, line + indent);
        if (!strstr(help, wanted)) fail_msg("the help does not have '%s'", wanted + 3);
        keys++;
    }
    assert_true(keys > 60);
    ful_free(help);
    ful_free(yaml);
}

/* What two configurations differ in, "" where they mean the same. */
static const char *difference(const char *was_yaml, const char *is_yaml)
{
    static ful_config was, is;
    static char text[400];
    ful__config_change change;
    assert_ok(ful_config_parse("was", was_yaml, &was));
    assert_ok(ful_config_parse("is", is_yaml, &is));
    assert_ok(ful__config_compare(&was, &is, &change));
    snprintf(text, sizeof text, "%s: %s -> %s", change.key, change.was, change.is);
    return change.found ? text : "";
}

#define MIXTURE "{at: stage3, expert: conv, experts: 8, k: 2, hidden: 16}"

static void test_compare(void **state)
{
    (void)state;
    assert_string_equal(difference("{}", "train: {lr: 1e-1, epochs: 30}\nnet: {}\n"), "");
    assert_string_equal(difference("train: {epochs: 3, lr: 0.2}", "train: {lr: 0.20, epochs: 3}"), "");
    assert_string_equal(difference("{}", "train: {epochs: 3}"), "train.epochs: 30 -> 3");
    assert_string_equal(difference("{}", "data: {augment: [crop4, flip]}"), "data.augment: [] -> [crop4, flip]");
    assert_string_equal(difference("data: {augment: [crop4, flip]}", "data: {augment: [flip]}"),
                        "data.augment: [crop4, flip] -> [flip]");
    assert_string_equal(difference("{}", "data: {mean: [0.5], std: [0.5]}"), "data.mean: nothing -> [0.5, 0.5, 0.5]");
    assert_string_equal(difference("data: {mean: [0.5], std: [0.5]}", "{}"), "data.mean: [0.5, 0.5, 0.5] -> nothing");
    assert_string_equal(difference("moe: [" MIXTURE "]", "moe: [{k: 2, hidden: 16, experts: 8, at: stage3, expert: conv}]"),
                        "");
    assert_string_equal(difference("moe: [" MIXTURE "]", "moe: [" MIXTURE "]\nrouter: random\n"),
                        "moe[0].router: softmax -> random");
    const char *grown = difference("{}", "moe: [" MIXTURE "]"); /* a long value is cut, with a sign */
    assert_int_equal(strncmp(grown, "moe: [] -> [{at: stage3, ", 25), 0);
    assert_string_equal(grown + strlen(grown) - 3, "...");
}

static ful_status compare_two(void *ctx)
{
    static ful_config was, is;
    ful__config_change change;
    FUL_TRY(ful_config_parse("was", ctx, &was));
    FUL_TRY(ful_config_parse("is", "data: {augment: [crop4, flip]}\nnet: {arch: linear}\n", &is));
    return ful__config_compare(&was, &is, &change);
}

static ful_status parse_and_write(void *ctx)
{
    static ful_config c;
    char *text = NULL;
    FUL_TRY(ful_config_parse("x", ctx, &c));
    FUL_TRY(ful_config_write(&c, &text));
    ful_free(text);
    FUL_TRY(ful_config_help(&text));
    ful_free(text);
    return FUL_OK;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    static char yaml[] = "data: {augment: [crop4, flip], mean: [0.5], std: [0.5]}\nnet: {arch: linear}\ntrain: {lr: 0.5}\n";
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, parse_and_write, yaml, 300);
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, compare_two, yaml, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_defaults_depend),
        cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_errors_name_all),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_block_defaults),
        cmocka_unit_test(test_document_is_current),
        cmocka_unit_test(test_help_has_every_key),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
