/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a checkpoint that is not tensors, as JSON whose numbers read back exactly. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/time.h"
#include "train/run.h"

/* Plain fields, by table -------------------------------------------------------------------------------------------------- */

typedef enum field_kind { INT, INT64, REAL } field_kind;
typedef struct entry {
    const char *name;
    field_kind kind;
    size_t offset;
    bool added; /* after the first version of the format: where it is absent it stays as the run began with it, 0 */
} entry;

static const entry history_fields[] = {
#define FIELD(kind, name)                                \
    {                                                    \
#name, kind, offsetof(ful__history, name), false \
    }
#define ADDED(kind, name)                               \
    {                                                   \
#name, kind, offsetof(ful__history, name), true \
    }
    FIELD(INT, epoch),
    FIELD(INT64, batch),
    FIELD(INT64, step),
    FIELD(INT64, sums.seen),
    FIELD(INT64, sums.correct),
    FIELD(INT64, sums.steps),
    ADDED(INT64, sums.skipped),
    FIELD(REAL, sums.loss),
    FIELD(REAL, sums.aux_loss),
    FIELD(REAL, sums.grad_norm),
    FIELD(REAL, sums.seconds),
    FIELD(REAL, sums.wait),
    FIELD(INT64, sums.macs),
    FIELD(INT64, sums.macs_routed),
    FIELD(REAL, val.loss),
    FIELD(REAL, val.acc),
    FIELD(REAL, test.loss),
    FIELD(REAL, test.acc),
    FIELD(REAL, test.acc_capacity),
    FIELD(REAL, train.loss),
    FIELD(REAL, train.acc),
    FIELD(REAL, train_aux_loss),
    FIELD(REAL, best_val),
    FIELD(REAL, best_test),
    FIELD(INT, best_test_epoch),
    FIELD(REAL, seconds_train),
    FIELD(REAL, seconds_eval),
    FIELD(REAL, seconds_total),
    FIELD(REAL, infer_images_per_s),
    ADDED(INT64, skipped_test),
    FIELD(REAL, counted_macs),
    FIELD(REAL, counted_routed),
#undef ADDED
#undef FIELD
};

static const entry stats_fields[] = {
#define FIELD(kind, name)                                 \
    {                                                     \
#name, kind, offsetof(ful_moe_stats, name), false \
    }
    FIELD(INT64, tokens),          FIELD(INT64, pairs),         FIELD(INT64, dropped),        FIELD(INT64, all_dropped),
    FIELD(INT64, batches),         FIELD(REAL, entropy_sum),    FIELD(REAL, margin_sum),      FIELD(REAL, gate_mass_sum),
    FIELD(REAL, gate_grad_sq_sum), FIELD(REAL, loss_switch),    FIELD(REAL, loss_importance), FIELD(REAL, loss_load),
    FIELD(REAL, loss_z),           FIELD(REAL, loss_entropy),   FIELD(INT64, macs_executed),  FIELD(INT64, macs_router),
    FIELD(INT64, capacity_slots),  FIELD(REAL, soft_slot_norm),
#undef FIELD
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void write_fields(ful__emitter *j, const entry *fields, size_t n, const void *base)
{
    for (size_t i = 0; i < n; i++) {
        const void *from = (const char *)base + fields[i].offset;
        int64_t wide = 0;
        int narrow = 0;
        double real = 0;
        memcpy(fields[i].kind == INT     ? (void *)&narrow
               : fields[i].kind == INT64 ? (void *)&wide
                                         : (void *)&real,
               from, fields[i].kind == INT ? sizeof narrow : 8);
        if (fields[i].kind == REAL)
            ful__emit_real(j, fields[i].name, real);
        else
            ful__emit_int(j, fields[i].name, fields[i].kind == INT ? narrow : wide);
    }
}

/* Every field of the first version must be there; null is NaN. What else the map holds is not looked at. */
static ful_status read_fields(const json_t *map, const entry *fields, size_t n, void *base)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(map, fields[i].name);
        void *to = (char *)base + fields[i].offset;
        if (!value && fields[i].added) continue;
        const double real = json_is_null(value) ? NAN : json_number_value(value);
        const int64_t wide = json_integer_value(value);
        const int narrow = (int)wide;
        const bool good = fields[i].kind == REAL
                              ? json_is_number(value) || json_is_null(value)
                              : json_is_integer(value) && wide >= 0 && (fields[i].kind == INT64 || wide == narrow);
        FUL_FAIL_IF(!good, FUL_ERR_FORMAT, "its state must have a number '%s'", fields[i].name);
        if (fields[i].kind == REAL)
            memcpy(to, &real, sizeof real);
        else if (fields[i].kind == INT64)
            memcpy(to, &wide, sizeof wide);
        else
            memcpy(to, &narrow, sizeof narrow);
    }
    return FUL_OK;
}

static ful_status read_ints(const json_t *map, const char *key, int64_t *out, size_t n)
{
    const json_t *list = json_object_get(map, key);
    FUL_FAIL_IF(json_array_size(list) != n, FUL_ERR_FORMAT, "its state must have %zu numbers in '%s'", n, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        FUL_FAIL_IF(!json_is_integer(item), FUL_ERR_FORMAT, "its state must have whole numbers in '%s'", key);
        out[i] = json_integer_value(item);
    }
    return FUL_OK;
}

static ful_status read_reals(const json_t *map, const char *key, double *out, size_t n)
{
    const json_t *list = json_object_get(map, key);
    FUL_FAIL_IF(json_array_size(list) != n, FUL_ERR_FORMAT, "its state must have %zu numbers in '%s'", n, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        FUL_FAIL_IF(!json_is_number(item), FUL_ERR_FORMAT, "its state must have numbers in '%s'", key);
        out[i] = json_number_value(item);
    }
    return FUL_OK;
}

/* Statistics of an epoch under way ------------------------------------------------------------------------------------------
 */

static void write_stats(ful__emitter *j, const ful_moe_stats *s)
{
    ful__emit_open(j, NULL, '{');
    write_fields(j, stats_fields, COUNT(stats_fields), s);
    ful__emit_ints(j, "chosen", s->chosen, s->experts);
    ful__emit_ints(j, "kept", s->kept, s->experts);
    ful__emit_reals(j, "importance", s->importance, s->experts);
    ful__emit_ints(j, "class_expert", s->class_expert, s->class_expert ? s->classes * s->experts : 0);
    ful__emit_close(j, '}');
}

static ful_status read_stats(const json_t *map, ful_moe_stats *s)
{
    const size_t experts = (size_t)s->experts;
    FUL_TRY(read_fields(map, stats_fields, COUNT(stats_fields), s));
    FUL_TRY(read_ints(map, "chosen", s->chosen, experts));
    FUL_TRY(read_ints(map, "kept", s->kept, experts));
    FUL_TRY(read_reals(map, "importance", s->importance, experts));
    return read_ints(map, "class_expert", s->class_expert, s->class_expert ? experts * (size_t)s->classes : 0);
}

/* The net lends its statistics for reading. They are its own, writable memory, and putting an interrupted epoch's sums back is
 * the one thing that must write them. */
static ful_moe_stats *writable_stats(const ful__run *run, int layer)
{
    return (ful_moe_stats *)(uintptr_t)ful_net_moe_stats(run->net, layer, 0);
}

/* State ------------------------------------------------------------------------------------------------------------------ */

ful_status ful__state_write(const ful__run *run, char **out)
{
    ful__emitter j = {0};
    ful__history h = run->h;
    h.seconds_total += ful__seconds() - run->started;
    ful__emit_open(&j, NULL, '{');
    write_fields(&j, history_fields, COUNT(history_fields), &h);
    ful__emit_hex(&j, "fingerprint_train", run->info[FUL_SPLIT_TRAIN].fingerprint);
    ful__emit_hex(&j, "fingerprint_test", run->info[FUL_SPLIT_TEST].fingerprint);
    ful__emit_open(&j, "layers", '[');
    for (int i = 0; i < run->n_layers; i++) {
        const ful__layer *layer = &run->layers[i];
        const int64_t signs[2] = {layer->signs[0], layer->signs[1]};
        ful__emit_open(&j, NULL, '{');
        ful__emit_text(&j, "name", layer->name);
        ful__emit_ints(&j, "signs", signs, 2);
        ful__emit_close(&j, '}');
    }
    ful__emit_close(&j, ']');
    ful__emit_open(&j, "epoch_stats", '[');
    for (int i = 0; i < run->n_layers && h.batch > 0; i++) write_stats(&j, ful_net_moe_stats(run->net, i, 0));
    ful__emit_close(&j, ']');
    ful__emit_close(&j, '}');
    return ful__emit_take(&j, out);
}

static ful_status check_fingerprint(const json_t *state, const char *key, uint64_t actual)
{
    char text[17];
    const char *stored = json_string_value(json_object_get(state, key));
    snprintf(text, sizeof text, "%016" PRIx64, actual);
    FUL_FAIL_IF(!stored || strcmp(stored, text) != 0, FUL_ERR_DATA,
                "the images are others: they have the %s %s, and the checkpoint %.16s", key, text, stored ? stored : "none");
    return FUL_OK;
}

static ful_status read_layers(const json_t *state, ful__run *run)
{
    const json_t *layers = json_object_get(state, "layers"), *stats = json_object_get(state, "epoch_stats");
    const size_t n = (size_t)run->n_layers;
    FUL_FAIL_IF(json_array_size(layers) != n || (run->h.batch > 0 && json_array_size(stats) != n), FUL_ERR_FORMAT,
                "its state must have %zu mixture layers", n);
    for (int i = 0; i < run->n_layers; i++) {
        int64_t signs[2] = {0};
        FUL_TRY(read_ints(json_array_get(layers, (size_t)i), "signs", signs, 2));
        run->layers[i].signs[0] = (int)signs[0];
        run->layers[i].signs[1] = (int)signs[1];
        if (run->h.batch > 0) FUL_TRY(read_stats(json_array_get(stats, (size_t)i), writable_stats(run, i)));
    }
    return FUL_OK;
}

ful_status ful__state_read(ful__run *run, const char *text)
{
    json_t *state = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    ful_status status = FUL_OK;
    if (!json_is_object(state)) status = ful__fail(FUL_ERR_FORMAT, "its metadata must have a map 'state'");
    if (status == FUL_OK) status = read_fields(state, history_fields, COUNT(history_fields), &run->h);
    if (status == FUL_OK && (run->h.epoch > run->config.train.epochs || run->h.batch > run->batches))
        status = ful__fail(FUL_ERR_FORMAT, "its epoch %d and batch %lld are behind the run's end", run->h.epoch,
                           (long long)run->h.batch);
    if (status == FUL_OK) status = check_fingerprint(state, "fingerprint_train", run->info[FUL_SPLIT_TRAIN].fingerprint);
    if (status == FUL_OK) status = check_fingerprint(state, "fingerprint_test", run->info[FUL_SPLIT_TEST].fingerprint);
    if (status == FUL_OK) status = read_layers(state, run);
    json_decref(state);
    return status;
}
