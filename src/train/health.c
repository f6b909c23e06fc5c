/* SPDX-License-Identifier: Apache-2.0 */
/* Watching mixtures over epochs: collapse alarms (card H2) and the change of first choices (card H3). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "train/run.h"

static const char *const split_names[2] = {"train", "test"};

static void describe(char *out, size_t bytes, const ful__layer *layer, const ful_moe_health *health, int experts, int split)
{
    const int epochs = layer->signs[split];
    if (4 * health->dead >= experts)
        snprintf(out, bytes, "%.128s: %d of %d experts dead for %d epochs (%s)", layer->name, health->dead, experts, epochs,
                 split_names[split]);
    else
        snprintf(out, bytes, "%.128s: only %.1f of %d experts effective for %d epochs (%s)", layer->name,
                 health->effective_experts, experts, epochs, split_names[split]);
}

void ful__health_count_signs(ful__run *run, int split)
{
    for (int i = 0; i < run->n_layers; i++) {
        ful__layer *layer = &run->layers[i];
        const ful_moe_stats *stats = ful_net_moe_stats(run->net, i, split);
        ful_moe_health health;
        ful_moe_health_compute(stats, &health);
        layer->signs[split] = health.collapse_sign ? layer->signs[split] + 1 : 0;
        if (layer->signs[split] < FUL__ALARM_EPOCHS) continue;
        char text[sizeof run->alarm];
        describe(text, sizeof text, layer, &health, stats->experts, split);
        ful__log(FUL_LOG_WARN, "%s", text);
        if (!*run->alarm) memcpy(run->alarm, text, sizeof text);
    }
}

/* First choices of the first images' tokens. A layer without routes of its own (Soft MoE) has no probe. */
void ful__health_probe(void *ctx, const ful_batch *batch, int64_t number)
{
    ful__run *run = ctx;
    if (number * run->config.train.batch >= FUL__PROBE_IMAGES) return;
    for (int i = 0; i < run->n_layers; i++) {
        ful__layer *layer = &run->layers[i];
        const ful_moe_stats *stats = ful_net_moe_stats(run->net, i, 1);
        const int64_t images = number * run->config.train.batch + batch->n;
        const int64_t tokens = stats->tokens / images * batch->n;
        for (int64_t t = 0; t < tokens && layer->n_probe_now < FUL__PROBE_TOKENS; t++) {
            float gate = 0;
            if (ful_net_moe_route(run->net, i, t, 1, &layer->probe_now[layer->n_probe_now], &gate) < 1) break;
            layer->n_probe_now++;
        }
    }
}

void ful__health_end_probe(ful__run *run)
{
    for (int i = 0; i < run->n_layers; i++) {
        ful__layer *layer = &run->layers[i];
        int64_t changed = 0;
        for (int64_t t = 0; t < layer->n_probe_now; t++) changed += layer->probe[t] != layer->probe_now[t];
        const bool comparable = layer->n_probe == layer->n_probe_now && layer->n_probe > 0;
        layer->change_rate = comparable ? (double)changed / (double)layer->n_probe : NAN;
        memcpy(layer->probe, layer->probe_now, (size_t)layer->n_probe_now * sizeof *layer->probe);
        layer->n_probe = layer->n_probe_now;
        layer->n_probe_now = 0;
    }
}
