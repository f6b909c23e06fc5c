/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum import: a checkpoint out of the weights of torchvision or timm. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"

static int run(const command *self, int argc, char **argv)
{
    const char *operands[1] = {NULL}, *out = NULL, *names = NULL, *config_path = NULL;
    text_list set = {.count = 0};
    int n_operands, code;
    const option_spec options[] = {
        {"out", 'o', OPTION_TEXT, &out, "FILE", "the checkpoint to write"},
        {"config", 'c', OPTION_TEXT, &config_path, "FILE", "a configuration (default: all keys have their defaults)"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the configuration; may be repeated"},
        {"classes", 0, OPTION_TEXT, &names, "FILE", "names of the classes, one a line"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "a safetensors file is needed");
    if (!out) return usage_error(self, "--out FILE is needed");
    ful_config config;
    ful_weights_info info;
    ful_status status = ful_config_load(config_path, set.items, set.count, &config);
    if (status == FUL_OK) status = ful_weights_import(operands[0], &config, names, out, &info);
    if (status != FUL_OK) return fail(status);
    if (common.json)
        return print_json_line(json_pack("{s:o, s:s, s:i, s:i}", "checkpoint", text_json(out), "names", info.names, "tensors",
                                         info.read, "drawn", info.fresh));
    printf("%s: %d tensors, named as in %s; %d drawn\n", out, info.read, info.names, info.fresh);
    return EXIT_OK;
}

const command cmd_import = {
    "import", "FILE.safetensors --set net.arch=NAME --out CHECKPOINT", "Make a checkpoint of torchvision's or timm's weights",
    "eval, predict and inspect then work on the checkpoint. Images are normalised as ImageNet's unless data.mean and data.std\n"
    "say otherwise. To start a training from such a file, set net.weights instead.\n\n"
    "  fulcrum import resnet50.safetensors --set net.arch=resnet50 --classes imagenet.txt --out resnet50.ckpt.safetensors",
    run};
