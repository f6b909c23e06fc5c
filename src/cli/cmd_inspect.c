/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum inspect */
#include "cli/cli.h"

static int run_inspect(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL};
    int n_operands, code;
    char *text = NULL;
    const option_spec options[] = {{NULL, 0, OPTION_FLAG, NULL, NULL, NULL}};
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "a run folder or checkpoint is needed");
    const ful_status status = ful_model_inspect(operands[0], common.json, &text);
    return status == FUL_OK ? print_text(text) : fail(status);
}

const command cmd_inspect = {"inspect", "RUN_OR_CHECKPOINT",
                             "Show tensors, experts, the memory plan and routing health of a checkpoint", NULL, run_inspect};
