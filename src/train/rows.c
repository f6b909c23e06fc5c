/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of metrics.jsonl and routing.jsonl (doc/format-run.md). */
#include <math.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "train/run.h"
#include "train/schedule.h"

static ful_status append(const ful__run *run, const char *name, ful__emitter *j)
{
    char *line = NULL, *path = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(ful__emit_take(j, &line));
    FUL_TRY_GOTO(status, done, ful__folder_path(run, name, &path));
    FUL_TRY_GOTO(status, done, ful__file_append_line(path, line));
done:
    ful__free(line);
    ful__free(path);
    return status;
}

static void add_figures(ful__emitter *j, const char *key, const ful__figures *f, bool there, bool capacity)
{
    if (!there) {
        ful__emit_raw(j, key, NULL);
        return;
    }
    ful__emit_open(j, key, '{');
    ful__emit_real(j, "loss", f->loss);
    ful__emit_real(j, "acc", f->acc);
    if (capacity) ful__emit_real(j, "acc_capacity", f->acc_capacity);
    ful__emit_close(j, '}');
}

void ful__rows_mixed(ful__emitter *j, const ful__run *run)
{
    const ful_augment *a = &run->config.data.augment;
    if (a->mixup > 0 || a->cutmix > 0) ful__emit_bool(j, "mixed_labels", true);
}

ful_status ful__rows_append_metrics(ful__run *run, bool evaluated_val, bool evaluated_test)
{
    const ful__history *h = &run->h;
    const ful__sums *s = &h->sums;
    ful__emitter j = {0};
    ful__emit_open(&j, NULL, '{');
    ful__emit_int(&j, "epoch", h->epoch + 1);
    ful__emit_int(&j, "epochs", run->config.train.epochs);
    ful__emit_int(&j, "step", h->step);
    ful__emit_real(&j, "lr", ful__schedule_lr(&run->config.train, h->step - 1, run->batches));
    ful__emit_real(&j, "seconds", s->seconds);
    ful__emit_real(&j, "images_per_s", s->seconds > 0 ? (double)s->seen / s->seconds : NAN);
    ful__emit_real(&j, "data_wait_s", s->wait);
    ful__emit_real(&j, "grad_norm", s->grad_norm / (double)s->steps);
    ful__emit_open(&j, "train", '{');
    ful__emit_real(&j, "loss", h->train.loss);
    ful__emit_real(&j, "aux_loss", h->train_aux_loss);
    ful__emit_real(&j, "acc", h->train.acc);
    ful__rows_mixed(&j, run);
    if (run->config.data.on_error == FUL_ON_ERROR_SKIP) ful__emit_int(&j, "skipped", s->skipped);
    ful__emit_close(&j, '}');
    add_figures(&j, "val", &h->val, evaluated_val, false);
    add_figures(&j, "test", &h->test, evaluated_test, true);
    ful__emit_close(&j, '}');
    return append(run, "metrics.jsonl", &j);
}

/* Shares of a whole; zeros where there was nothing. */
static void add_shares(ful__emitter *j, const char *key, const int64_t *counts, int n, int64_t whole)
{
    ful__emit_open(j, key, '[');
    for (int i = 0; i < n; i++) ful__emit_real(j, NULL, whole > 0 ? (double)counts[i] / (double)whole : 0);
    ful__emit_close(j, ']');
}

static void add_health(ful__emitter *j, const ful_moe_stats *s, const ful_moe_health *h)
{
    ful__emit_real(j, "drop_rate", h->drop_rate);
    ful__emit_real(j, "all_dropped_rate", h->all_dropped_rate);
    ful__emit_real(j, "entropy", h->entropy);
    ful__emit_real(j, "entropy_marginal", h->entropy_marginal);
    ful__emit_real(j, "entropy_marginal_norm", h->entropy_marginal_norm);
    ful__emit_real(j, "margin", h->margin);
    ful__emit_real(j, "gate_mass", h->gate_mass);
    ful__emit_real(j, "gate_grad_rms", h->gate_grad_rms);
    ful__emit_real(j, "load_cv2", h->load_cv2);
    ful__emit_real(j, "max_over_mean", h->max_over_mean);
    ful__emit_real(j, "gini", h->gini);
    ful__emit_real(j, "effective_experts", h->effective_experts);
    ful__emit_int(j, "dead", h->dead);
    ful__emit_int(j, "unused", h->unused);
    ful__emit_real(j, "class_mi", h->class_mi);
    ful__emit_real(j, "class_nmi", h->class_nmi);
    ful__emit_real(j, "class_entropy_experts", h->class_entropy_experts);
    ful__emit_bool(j, "collapse_sign", h->collapse_sign);
    const double batches = s->batches > 0 ? (double)s->batches : 1;
    ful__emit_open(j, "losses", '{');
    ful__emit_real(j, "switch", s->loss_switch / batches);
    ful__emit_real(j, "importance", s->loss_importance / batches);
    ful__emit_real(j, "load", s->loss_load / batches);
    ful__emit_real(j, "z", s->loss_z / batches);
    ful__emit_real(j, "entropy", s->loss_entropy / batches);
    ful__emit_close(j, '}');
}

void ful__rows_routing(ful__emitter *j, const char *key, const ful__run *run, int layer, int split, bool brief)
{
    const ful_moe_stats *s = ful_net_moe_stats(run->net, layer, split);
    const ful__layer *l = &run->layers[layer];
    ful_moe_health health;
    ful_moe_health_compute(s, &health);
    ful__emit_open(j, key, '{');
    ful__emit_int(j, "epoch", run->h.epoch + 1);
    ful__emit_text(j, "layer", l->name);
    ful__emit_text(j, "split", split == 0 ? "train" : "test");
    ful__emit_int(j, "experts", s->experts);
    ful__emit_int(j, "k", s->k);
    ful__emit_int(j, "tokens", s->tokens);
    ful__emit_int(j, "pairs", s->pairs);
    add_shares(j, "load", s->chosen, s->experts, s->pairs);
    add_shares(j, "kept", s->kept, s->experts, s->pairs);
    ful__emit_open(j, "importance", '[');
    for (int e = 0; e < s->experts; e++) ful__emit_real(j, NULL, s->tokens > 0 ? s->importance[e] / (double)s->tokens : 0);
    ful__emit_close(j, ']');
    add_health(j, s, &health);
    if (!brief && s->class_expert) {
        ful__emit_open(j, "class_expert", '[');
        for (int c = 0; c < s->classes; c++)
            ful__emit_ints(j, NULL, s->class_expert + (size_t)c * (size_t)s->experts, s->experts);
        ful__emit_close(j, ']');
    }
    ful__emit_real(j, "change_rate", split == 1 ? l->change_rate : NAN);
    ful__emit_int(j, "macs_executed", s->macs_executed);
    ful__emit_int(j, "macs_router", s->macs_router);
    ful__emit_bool(j, "alarm", l->signs[split] >= FUL__ALARM_EPOCHS);
    ful__emit_close(j, '}');
}

ful_status ful__rows_append_routing(ful__run *run, int split)
{
    for (int i = 0; i < run->n_layers; i++) {
        ful__emitter j = {0};
        ful__rows_routing(&j, NULL, run, i, split, false);
        FUL_TRY(append(run, "routing.jsonl", &j));
    }
    return FUL_OK;
}
