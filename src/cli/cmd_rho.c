/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum rho, data, doctor: what can be known before training. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int run_rho(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL};
    text_list set = {.count = 0};
    bool no_time = false;
    int n_operands, code;
    char *text = NULL;
    const option_spec options[] = {
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the configuration; may be repeated"},
        {"no-time", 0, OPTION_FLAG, &no_time, NULL, "do not measure a training step"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    ful_config config;
    ful_status status = ful_config_load(operands[0], set.items, set.count, &config);
    if (status == FUL_OK) status = ful_config_rho(&config, common.json, !no_time, &text);
    return status == FUL_OK ? print_text(text) : fail(status);
}

const command cmd_rho = {
    "rho", "[CONFIG.yaml] [--set KEY=VALUE ...]",
    "Account for every MAC of a net: which are routed (rho, in its variants), parameters, memory, time of a step", NULL,
    run_rho};

/* ---- data ---- */

static int list_kinds(void)
{
    for (const ful_data_kind *kind = ful_data_kinds(); kind->name; kind++) printf("%-10s %s\n", kind->name, kind->about);
    return EXIT_OK;
}

static int pack(const ful_data_config *config, const char *out)
{
    static const char *const names[] = {"train", "val", "test"};
    for (int split = 0; split < 3; split++) {
        char path[FUL_PATH_MAX + 16];
        ful_dataset *set = NULL;
        if (split == FUL_SPLIT_VAL && config->val_fraction <= 0.0) continue;
        snprintf(path, sizeof path, "%s/%s.pack", out, names[split]);
        ful_status status = ful_dataset_open(config, (ful_split)split, &set);
        if (status == FUL_OK) status = ful_dataset_pack(set, path);
        ful_dataset_info info = {0};
        if (set) ful_dataset_info_get(set, &info);
        ful_dataset_destroy(&set);
        if (status != FUL_OK) return fail(status);
        printf("%s: %lld images %dx%dx%d, %d classes\n", path, (long long)info.count, info.height, info.width, info.channels,
               info.classes);
    }
    return EXIT_OK;
}

static int run_data(const command *self, int argc, char **argv)
{
    const char *operands[2] = {NULL}, *out = NULL, *name = NULL;
    int n_operands, code, size = 0;
    const option_spec options[] = {
        {"name", 0, OPTION_TEXT, &name, "KIND", "what lies at PATH (default: PATH is itself a kind, or folder)"},
        {"size", 0, OPTION_INT, &size, "N", "bring images to N x N (default: the set's own)"},
        {"out", 'o', OPTION_TEXT, &out, "DIR", "pack: folder for train.pack and test.pack (must exist)"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 2, &n_operands)) >= 0) return code;
    const char *verb = operands[0];
    if (!verb) return usage_error(self, "list, info or pack is needed");
    if (strcmp(verb, "list") == 0) return list_kinds();
    const bool info = strcmp(verb, "info") == 0;
    if (!info && strcmp(verb, "pack") != 0) return usage_error(self, "unknown verb '%s': must be list, info or pack", verb);
    if (!operands[1]) return usage_error(self, "%s needs a path or the name of a set", verb);
    if (!info && !out) return usage_error(self, "pack needs --out DIR");
    ful_data_config config;
    ful_data_config_defaults(&config);
    config.size = size;
    bool known = false;
    for (const ful_data_kind *kind = ful_data_kinds(); kind->name; kind++)
        known = known || strcmp(kind->name, operands[1]) == 0;
    snprintf(config.name, sizeof config.name, "%s", name ? name : known ? operands[1] : "folder");
    if (!known || name) snprintf(config.path, sizeof config.path, "%s", operands[1]);
    if (!info) return pack(&config, out);
    char *text = NULL;
    const ful_status status = ful_data_describe(&config, common.json, &text);
    return status == FUL_OK ? print_text(text) : fail(status);
}

const command cmd_data = {"data", "list | info PATH_OR_NAME | pack PATH_OR_NAME --out DIR",
                          "List known data sets, describe one, or pack it into mapped files", NULL, run_data};

/* ---- doctor ---- */

static int run_doctor(const command *self, int argc, char **argv)
{
    int n_operands, code;
    char *text = NULL;
    const option_spec options[] = {{NULL, 0, OPTION_FLAG, NULL, NULL, NULL}};
    if ((code = parse(self, options, argc, argv, NULL, 0, &n_operands)) >= 0) return code;
    const ful_status status = ful_machine_describe(common.json, &text);
    return status == FUL_OK ? print_text(text) : fail(status);
}

const command cmd_doctor = {"doctor", "", "Say what this machine and build can do, what would be slow, and why", NULL,
                            run_doctor};
