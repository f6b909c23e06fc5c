/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum rho, doctor: what can be known before training. */
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
