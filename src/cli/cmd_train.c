/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum train */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"

static int print_result(const ful_result *r, const char *folder)
{
    if (common.json)
        return print_json_line(json_pack("{s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "folder", text_json(folder), "test_accuracy",
                                         real_or_null(r->test_accuracy), "test_loss", real_or_null(r->test_loss),
                                         "train_accuracy", real_or_null(r->train_accuracy), "epochs", r->epochs, "seconds",
                                         real_or_null(r->seconds), "images_per_second", real_or_null(r->images_per_second)));
    printf("test accuracy %.2f %%  (loss %.4f; training accuracy %.2f %%)\n", 100.0 * r->test_accuracy, r->test_loss,
           100.0 * r->train_accuracy);
    if (r->test_accuracy_capacity == r->test_accuracy_capacity)
        printf("at the training capacity: %.2f %%\n", 100.0 * r->test_accuracy_capacity);
    if (r->val_accuracy == r->val_accuracy) printf("validation accuracy %.2f %%\n", 100.0 * r->val_accuracy);
    printf("%d epoch%s in %.1f s, %.0f images/s; everything is in %s\n", r->epochs, r->epochs == 1 ? "" : "s", r->seconds,
           r->images_per_second, folder);
    return EXIT_OK;
}

/* A few steps for their time; nothing is written. */
static int probe(const ful_config *config, int seconds)
{
    ful_probe p;
    const ful_status status = ful_train_probe(config, seconds, &stop_requested, &p);
    if (status != FUL_OK) return fail(status);
    if (common.json)
        return print_json_line(json_pack("{s:i, s:i, s:I, s:o, s:o}", "threads", p.threads, "batch", p.batch, "steps",
                                         (json_int_t)p.steps, "setup_seconds", real_or_null(p.setup_seconds), "step_seconds",
                                         real_or_null(p.step_seconds)));
    printf("%.2f ms a step of %d images on %d threads, %.0f images/s; %lld steps: about %.0f s, and %.2f s to begin\n",
           1e3 * p.step_seconds, p.batch, p.threads, p.batch / p.step_seconds, (long long)p.steps,
           (double)p.steps * p.step_seconds, p.setup_seconds);
    return EXIT_OK;
}

static int run(const command *self, int argc, char **argv)
{
    const char *folder = NULL, *arm = "", *operands[1] = {NULL};
    text_list set = {.count = 0};
    bool resume = false, help_config = false;
    int n_operands, code, probe_seconds = 0;
    const option_spec options[] = {
        {"out", 'o', OPTION_TEXT, &folder, "DIR", "the run's folder (created)"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the configuration; may be repeated"},
        {"resume", 'r', OPTION_FLAG, &resume, NULL, "go on from the folder's last checkpoint, if there is one"},
        {"arm", 0, OPTION_TEXT, &arm, "NAME", "name of the study's arm, written to result.json"},
        {"probe", 0, OPTION_INT, &probe_seconds, "SECONDS", "only time steps for so long, and write nothing (no --out then)"},
        {"help-config", 0, OPTION_FLAG, &help_config, NULL, "list every configuration key with default, range and meaning"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    ful_status status;
    if (help_config) {
        char *text = NULL;
        status = ful_config_help(&text);
        return status == FUL_OK ? print_text(text) : fail(status);
    }
    if (!folder && !probe_seconds) return usage_error(self, "--out DIR is needed");
    ful_config config;
    if ((status = ful_config_load(operands[0], set.items, set.count, &config)) != FUL_OK) return fail(status);
    watch_signals();
    if (probe_seconds) return probe(&config, probe_seconds);
    ful_result result;
    const ful_train_options train = {.resume = resume, .progress = show_training, .stop = &stop_requested, .arm = arm};
    status = ful_train(&config, folder, &train, &result);
    progress_end();
    return status == FUL_OK ? print_result(&result, folder) : fail(status);
}

const command cmd_train = {
    "train", "[CONFIG.yaml] [--set KEY=VALUE ...] --out DIR", "Train one classifier into a run folder",
    "Without CONFIG.yaml all keys have their defaults. Interrupt it (Ctrl-C) and it writes a checkpoint and ends with 130;\n"
    "the same command with --resume goes on, to the same bits.\n\n"
    "  fulcrum train --set data.name=clusters --set net.arch=resnet8 --set train.epochs=5 --out runs/first",
    run};
