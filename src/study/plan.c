/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a plan (doc/study-plan.md) and expands it to arms, seeds and cells. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "study/study.h"

enum { DEFAULT_SEEDS = 5 };

/* Where in which file something is wrong: the beginning of every message. */
#define PLAN_FAIL(node, file, ...) plan_fail((node), (file), __VA_ARGS__)

static ful_status plan_fail(const ful__yaml *node, const char *file, const char *fmt, ...) FUL_PRINTF(3, 4);
static ful_status plan_fail(const ful__yaml *node, const char *file, const char *fmt, ...)
{
    char text[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (node && node->line > 0) return ful__fail(FUL_ERR_CONFIG, "cannot use %s, line %d: %s", file, node->line, text);
    return ful__fail(FUL_ERR_CONFIG, "cannot use %s: %s", file, text);
}

static ful_status check_keys(const ful__yaml *map, const char *file, const char *where, const char *const *known)
{
    if (map->kind != FUL__YAML_MAP) return PLAN_FAIL(map, file, "%s: must be a map of keys", where);
    for (int i = 0; i < map->count; i++) {
        bool found = false;
        for (const char *const *key = known; *key; key++) found = found || strcmp(map->keys[i], *key) == 0;
        if (found) continue;
        const char *meant = ful_word_nearest(map->keys[i], known);
        if (meant) return PLAN_FAIL(map->items[i], file, "%s.%s: unknown key (did you mean '%s'?)", where, map->keys[i], meant);
        return PLAN_FAIL(map->items[i], file, "%s.%s: unknown key", where, map->keys[i]);
    }
    return FUL_OK;
}

/* A name becomes a folder: letters, digits, dot, underscore, hyphen; not starting with a dot. */
static ful_status read_name(const ful__yaml *node, const char *file, const char *key, char out[FUL_NAME_MAX])
{
    if (!node || node->kind != FUL__YAML_SCALAR) return PLAN_FAIL(node, file, "%s: a name is needed", key);
    const size_t length = strlen(node->text);
    bool good = length > 0 && length < FUL_NAME_MAX && node->text[0] != '.';
    for (size_t i = 0; i < length && good; i++) good = isalnum((unsigned char)node->text[i]) || strchr("._-", node->text[i]);
    if (!good)
        return PLAN_FAIL(node, file, "%s = '%s': a name has 1 to %d letters, digits, '.', '_', '-' and no leading dot", key,
                         node->text, FUL_NAME_MAX - 1);
    memcpy(out, node->text, length + 1);
    return FUL_OK;
}

static int find_arm(const ful_study *s, const char *name)
{
    for (int i = 0; i < s->n_arms; i++)
        if (strcmp(s->arms[i].name, name) == 0) return i;
    return -1;
}

/* ---- arms ---- */

static void describe_arm(ful__arm *arm)
{
    const ful_net_config *net = &arm->config.net;
    size_t used = 0;
    arm->kind = FUL__ARM_DENSE;
    snprintf(arm->label, sizeof arm->label, "%s, no mixture", net->arch);
    for (int i = 0; i < net->n_moe && used < sizeof arm->label; i++) {
        const ful_moe_site *site = &net->moe[i];
        static const char *const expert_names[] = {"MLP", "conv", "depthwise conv"};
        const char *expert = expert_names[site->moe.expert];
        if (i > 0) used += (size_t)snprintf(arm->label + used, sizeof arm->label - used, "; ");
        if (used >= sizeof arm->label) break;
        if (site->dense > 0) {
            used += (size_t)snprintf(arm->label + used, sizeof arm->label - used, "dense %s block (h %d) at %s", expert,
                                     site->dense, site->at);
            continue;
        }
        used += (size_t)snprintf(arm->label + used, sizeof arm->label - used, "top-%d of %d %s experts (h %d) at %s, %s router",
                                 site->moe.k, site->moe.experts, expert, site->moe.hidden, site->at, site->moe.router);
        const bool frozen = strcmp(site->moe.router, "random") == 0 || strcmp(site->moe.router, "hash") == 0;
        if (arm->kind != FUL__ARM_MOE) arm->kind = frozen ? FUL__ARM_CONTROL : FUL__ARM_MOE;
    }
}

/* The arm's whole configuration: (like or base) + set + dense + router, as text for the configuration reader. */
static ful_status expand_arm(ful_study *s, const ful__yaml *node, const char *file, ful__yaml **trees, ful__arm *arm)
{
    static const char *const keys[] = {"name", "like", "set", "dense", "router", NULL};
    FUL_TRY(check_keys(node, file, "arms", keys));
    FUL_TRY(read_name(ful__yaml_get(node, "name"), file, "arms.name", arm->name));
    if (find_arm(s, arm->name) >= 0) return PLAN_FAIL(node, file, "arms.name = '%s': an earlier arm has that name", arm->name);

    const ful__yaml *like = ful__yaml_get(node, "like"), *start = ful__yaml_get(s->plan, "base");
    if (like) {
        FUL_TRY(read_name(like, file, "arms.like", arm->like));
        const int from = find_arm(s, arm->like);
        if (from < 0) return PLAN_FAIL(like, file, "arms.like = '%s': no earlier arm has that name", arm->like);
        start = trees[from];
    }
    ful__yaml **tree = &trees[s->n_arms];
    FUL_TRY(start ? ful__yaml_dup(start, tree) : ful__yaml_new(FUL__YAML_MAP, NULL, tree));
    const ful__yaml *set = ful__yaml_get(node, "set");
    if (set && set->kind != FUL__YAML_MAP) return PLAN_FAIL(set, file, "arms.set: must be a map of configuration keys");
    if (set) FUL_TRY(ful__yaml_merge(*tree, set));
    static const char *const words[] = {"dense", "router"};
    for (int i = 0; i < 2; i++) {
        const ful__yaml *word = ful__yaml_get(node, words[i]);
        ful__yaml *copy = NULL;
        if (!word) continue;
        FUL_TRY(ful__yaml_dup(word, &copy));
        FUL_TRY(ful__yaml_put(*tree, words[i], copy));
    }
    const ful__yaml *dense = ful__yaml_get(*tree, "dense");
    arm->dense_active = dense && dense->kind == FUL__YAML_SCALAR && strcmp(dense->text, "active") == 0;

    char *text = NULL, where[FUL_NAME_MAX + FUL_PATH_MAX];
    FUL_TRY(ful__yaml_write(*tree, &text));
    snprintf(where, sizeof where, "%s (arm '%s')", file, arm->name);
    ful_status status = ful_config_parse(where, text, &arm->config);
    ful__free(text);
    if (status != FUL_OK) return status;
    describe_arm(arm);
    return FUL_OK;
}

static ful_status read_arms(ful_study *s, const char *file)
{
    const ful__yaml *list = ful__yaml_get(s->plan, "arms");
    if (!list || list->kind != FUL__YAML_LIST || list->count < 1)
        return PLAN_FAIL(list, file, "arms: a list of at least one arm is needed");
    if (list->count > FUL__ARMS_MAX) return PLAN_FAIL(list, file, "arms: %d arms, at most %d", list->count, FUL__ARMS_MAX);
    ful__yaml *trees[FUL__ARMS_MAX] = {NULL};
    ful_status status = ful__calloc(&s->arms, (size_t)list->count, sizeof *s->arms, "arms");
    for (int i = 0; i < list->count && status == FUL_OK; i++) {
        status = expand_arm(s, list->items[i], file, trees, &s->arms[i]);
        if (status == FUL_OK) s->n_arms++;
    }
    for (int i = 0; i < FUL__ARMS_MAX; i++) ful__yaml_destroy(&trees[i]);
    return status;
}

/* ---- seeds, cells, options ---- */

static ful_status read_seeds(ful_study *s, const char *file)
{
    const ful__yaml *node = ful__yaml_get(s->plan, "seeds");
    int64_t value = DEFAULT_SEEDS;
    const bool list = node && node->kind == FUL__YAML_LIST;
    if (node && !list && (!ful__yaml_as_int(node, &value) || value < 1 || value > FUL__SEEDS_MAX))
        return PLAN_FAIL(node, file, "seeds: a count of 1 to %d, or a list of seeds, is needed", FUL__SEEDS_MAX);
    if (list && (node->count < 1 || node->count > FUL__SEEDS_MAX))
        return PLAN_FAIL(node, file, "seeds: a list of 1 to %d seeds is needed", FUL__SEEDS_MAX);
    s->n_seeds = list ? node->count : (int)value;
    FUL_TRY(ful__calloc(&s->seeds, (size_t)s->n_seeds, sizeof *s->seeds, "seeds"));
    for (int i = 0; i < s->n_seeds; i++) {
        s->seeds[i] = (uint64_t)i + 1;
        if (!list) continue;
        if (!ful__yaml_as_int(node->items[i], &value) || value < 0)
            return PLAN_FAIL(node->items[i], file, "seeds: each must be a whole number >= 0");
        s->seeds[i] = (uint64_t)value;
        for (int j = 0; j < i; j++)
            if (s->seeds[j] == s->seeds[i])
                return PLAN_FAIL(node->items[i], file, "seeds: %lld appears twice; pairs must differ", (long long)value);
    }
    return FUL_OK;
}

static ful_status cell_arm(const ful_study *s, const ful__yaml *cell, const char *file, const char *key, int *out)
{
    const ful__yaml *node = ful__yaml_get(cell, key);
    if (!node || node->kind != FUL__YAML_SCALAR) return PLAN_FAIL(cell, file, "cells.%s: the name of an arm is needed", key);
    *out = find_arm(s, node->text);
    if (*out < 0) return PLAN_FAIL(node, file, "cells.%s = '%s': no arm has that name", key, node->text);
    return FUL_OK;
}

/* Without `cells`: every mixture against its own active twin, or else against the first dense arm. */
static ful_status default_cells(ful_study *s)
{
    FUL_TRY(ful__calloc(&s->cells, (size_t)s->n_arms, sizeof *s->cells, "cells"));
    for (int i = 0; i < s->n_arms; i++) {
        if (s->arms[i].kind == FUL__ARM_DENSE) continue;
        int against = -1;
        for (int j = 0; j < s->n_arms; j++) {
            if (s->arms[j].kind != FUL__ARM_DENSE) continue;
            const bool twin = s->arms[j].dense_active &&
                              (strcmp(s->arms[j].like, s->arms[i].name) == 0 || strcmp(s->arms[j].like, s->arms[i].like) == 0);
            if (against < 0 || (twin && !s->arms[against].dense_active)) against = j;
            if (twin && strcmp(s->arms[j].like, s->arms[i].name) == 0) {
                against = j;
                break;
            }
        }
        if (against >= 0) s->cells[s->n_cells++] = (ful__cell){.arm = i, .against = against};
    }
    return FUL_OK;
}

static ful_status read_cells(ful_study *s, const char *file)
{
    static const char *const keys[] = {"arm", "against", NULL};
    const ful__yaml *list = ful__yaml_get(s->plan, "cells");
    if (!list) return default_cells(s);
    if (list->kind != FUL__YAML_LIST || list->count > FUL__CELLS_MAX)
        return PLAN_FAIL(list, file, "cells: a list of at most %d cells is needed", FUL__CELLS_MAX);
    FUL_TRY(ful__calloc(&s->cells, (size_t)list->count, sizeof *s->cells, "cells"));
    for (int i = 0; i < list->count; i++) {
        ful__cell *cell = &s->cells[i];
        FUL_TRY(check_keys(list->items[i], file, "cells", keys));
        FUL_TRY(cell_arm(s, list->items[i], file, "arm", &cell->arm));
        FUL_TRY(cell_arm(s, list->items[i], file, "against", &cell->against));
        if (cell->arm == cell->against) return PLAN_FAIL(list->items[i], file, "cells: an arm cannot be compared with itself");
        s->n_cells++;
    }
    return FUL_OK;
}

static ful_status read_options(ful_study *s, const char *file)
{
    const ful__yaml *about = ful__yaml_get(s->plan, "about"), *level = ful__yaml_get(s->plan, "level");
    const ful__yaml *test = ful__yaml_get(s->plan, "test");
    FUL_TRY(ful__strdup(&s->about, about && about->kind == FUL__YAML_SCALAR ? about->text : ""));
    s->level = 0.95;
    if (level && (!ful__yaml_as_double(level, &s->level) || !(s->level >= 0.5 && s->level < 1.0)))
        return PLAN_FAIL(level, file, "level: must lie in [0.5, 1)");
    static const char *const names[] = {"t", "flip", "sign"};
    s->test = FUL__P_T;
    if (!test) return FUL_OK;
    for (int i = 0; i < 3; i++)
        if (test->kind == FUL__YAML_SCALAR && strcmp(test->text, names[i]) == 0) {
            s->test = (ful__p_test)i;
            return FUL_OK;
        }
    return PLAN_FAIL(test, file, "test: must be t, flip or sign");
}

/* `base` may name a configuration file, relative to the plan. */
static ful_status load_base(ful_study *s, const char *plan_path)
{
    const ful__yaml *base = ful__yaml_get(s->plan, "base");
    if (!base || base->kind != FUL__YAML_SCALAR) return FUL_OK;
    char folder[FUL_PATH_MAX];
    const char *slash = strrchr(plan_path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - plan_path) : 1, slash ? plan_path : ".");
    char *path = NULL;
    ful__yaml *loaded = NULL;
    if (base->text[0] == '/')
        FUL_TRY(ful__strdup(&path, base->text));
    else
        FUL_TRY(ful__path_join(&path, folder, base->text));
    ful_status status = ful__yaml_load(path, &loaded);
    ful__free(path);
    if (status == FUL_OK) status = ful__yaml_put(s->plan, "base", loaded);
    return status;
}

/* "seeds=3" and the other keys of a plan change the plan; anything else changes the base configuration. */
static ful_status apply(ful_study *s, const char *assignment)
{
    static const char *const plan_keys[] = {"seeds=", "level=", "test=", "about="};
    for (size_t i = 0; i < sizeof plan_keys / sizeof *plan_keys; i++)
        if (strncmp(assignment, plan_keys[i], strlen(plan_keys[i])) == 0) return ful__yaml_set(s->plan, assignment);
    if (!ful__yaml_get(s->plan, "base")) {
        ful__yaml *base = NULL;
        FUL_TRY(ful__yaml_new(FUL__YAML_MAP, NULL, &base));
        FUL_TRY(ful__yaml_put(s->plan, "base", base));
    }
    return ful__yaml_set(ful__yaml_get(s->plan, "base"), assignment);
}

static ful_status load(ful_study *s, const char *path, const char *const *set, int n_set)
{
    static const char *const keys[] = {"study", "about", "base", "arms", "seeds", "cells", "level", "test", NULL};
    FUL_TRY(ful__yaml_load(path, &s->plan));
    if (ful__yaml_get(s->plan, "net") && !ful__yaml_get(s->plan, "arms"))
        return PLAN_FAIL(s->plan, path,
                         "it is one run's configuration; a plan has the keys study, base, arms and seeds "
                         "(doc/study-plan.md), and fulcrum train trains one run");
    FUL_TRY(check_keys(s->plan, path, "plan", keys));
    FUL_TRY(read_name(ful__yaml_get(s->plan, "study"), path, "study", s->name));
    FUL_TRY(load_base(s, path));
    for (int i = 0; i < n_set; i++) FUL_TRY(apply(s, set[i]));
    FUL_TRY(read_options(s, path));
    FUL_TRY(read_seeds(s, path));
    FUL_TRY(read_arms(s, path));
    return read_cells(s, path);
}

ful_status ful_study_load(const char *plan_path, const char *const *set, int n_set, ful_study **out)
{
    *out = NULL;
    ful_study *s;
    FUL_TRY(ful__calloc(&s, 1, sizeof *s, "study"));
    const ful_status status = load(s, plan_path, set, n_set);
    if (status != FUL_OK) {
        ful_study_destroy(&s);
        return status;
    }
    *out = s;
    return FUL_OK;
}

ful_status ful_study_open(const char *folder, ful_study **out)
{
    char *path = NULL;
    *out = NULL;
    FUL_TRY(ful__path_join(&path, folder, "plan.yaml"));
    ful_status status = ful_study_load(path, NULL, 0, out);
    ful__free(path);
    if (status == FUL_OK) status = ful__strdup(&(*out)->folder, folder);
    if (status != FUL_OK) ful_study_destroy(out);
    return status;
}

void ful_study_destroy(ful_study **study)
{
    ful_study *s = study ? *study : NULL;
    if (!s) return;
    ful__yaml_destroy(&s->plan);
    ful__free(s->about);
    ful__free(s->arms);
    ful__free(s->seeds);
    ful__free(s->cells);
    ful__free(s->folder);
    json_decref(s->judged);
    ful__free(s);
    *study = NULL;
}

int ful_study_missing(const ful_study *study)
{
    return study->missing;
}

const char *ful__arm_kind_name(ful__arm_kind kind)
{
    static const char *const names[] = {"dense", "moe", "control"};
    return names[kind];
}

void ful__study_config(const ful_study *study, int arm, int seed_index, ful_config *out)
{
    *out = study->arms[arm].config;
    out->train.seed = study->seeds[seed_index];
}

ful_status ful__study_path(const ful_study *study, int arm, int seed_index, const char *suffix, char **out)
{
    char name[2 * FUL_NAME_MAX + 64];
    snprintf(name, sizeof name, "runs/%s/seed%llu%s", study->arms[arm].name, (unsigned long long)study->seeds[seed_index],
             suffix);
    return ful__path_join(out, study->folder, name);
}
