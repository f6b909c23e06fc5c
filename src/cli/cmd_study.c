/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum study, fulcrum report */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* The program that trains a run: this one. */
static const char *own_path(char *buffer, size_t size)
{
    const ssize_t length = readlink("/proc/self/exe", buffer, size - 1);
    if (length <= 0) return NULL;
    buffer[length] = '\0';
    return buffer;
}

static int finish_study(ful_study *study, const char *folder)
{
    char *text = NULL, report[FUL_PATH_MAX + 16];
    ful_status status = ful_study_results(study, common.json, &text);
    if (status != FUL_OK) return fail(status);
    const int code = print_text(text);
    snprintf(report, sizeof report, "%s/report.html", folder);
    if (code != EXIT_OK) return code;
    if ((status = ful_report_write(folder, report)) != FUL_OK) return fail(status);
    if (!common.json) printf("\nreport: %s\n", report);
    return ful_study_missing(study) > 0 ? EXIT_FAILED : EXIT_OK;
}

static int parse_jobs(const command *self, const char *text, int *jobs)
{
    char *end;
    *jobs = 0;
    if (!text || strcmp(text, "auto") == 0) return -1;
    const long number = strtol(text, &end, 10);
    if (end == text || *end || number < 1 || number > 256)
        return usage_error(self, "--jobs %s: auto, or 1 to 256, is needed", text);
    *jobs = (int)number;
    return -1;
}

static int run_study(const command *self, int argc, char **argv)
{
    const char *folder = NULL, *jobs_text = NULL, *operands[1] = {NULL};
    text_list set = {.count = 0};
    int n_operands, code, jobs, seeds = 0;
    bool dry = false;
    char seeds_text[32], program[4096];
    const option_spec options[] = {
        {"out", 'o', OPTION_TEXT, &folder, "DIR", "the study's folder (created; an interrupted study goes on)"},
        {"jobs", 'j', OPTION_TEXT, &jobs_text, "N",
         "runs at once; auto: what a short measurement finds fastest (default auto)"},
        {"seeds", 0, OPTION_INT, &seeds, "N", "seeds 1..N instead of the plan's"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "change one key of the base configuration; may be repeated"},
        {"results", 0, OPTION_FLAG, &dry, NULL, "train nothing: show what the folder holds"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!folder) return usage_error(self, "--out DIR is needed");
    if (!operands[0] && !dry) return usage_error(self, "a plan is needed");
    if ((code = parse_jobs(self, jobs_text, &jobs)) >= 0) return code;
    if (seeds > 0) {
        snprintf(seeds_text, sizeof seeds_text, "seeds=%d", seeds);
        if (set.count == SET_MAX) return usage_error(self, "too many --set");
        set.items[set.count++] = seeds_text;
    }
    ful_study *study = NULL;
    ful_status status = dry ? ful_study_open(folder, &study) : ful_study_load(operands[0], set.items, set.count, &study);
    if (status == FUL_OK && !dry) {
        watch_signals();
        const ful_study_options run = {
            .program = own_path(program, sizeof program), .jobs = jobs, .progress = show_study, .stop = &stop_requested};
        status = ful_study_run(study, folder, &run);
        progress_end();
    }
    code = status == FUL_OK ? finish_study(study, folder) : fail(status);
    ful_study_destroy(&study);
    return code;
}

const command cmd_study = {"study", "PLAN.yaml --out DIR [--jobs N]",
                           "Train arms x paired seeds and say, with error bars, whether the mixture paid",
                           "The plan's format is in doc/study-plan.md. Finished runs are never redone; a failed run does not "
                           "lose the others (exit code 1 then).\n\n"
                           "  fulcrum study studies/demo.yaml --out runs/demo",
                           run_study};

static int run_report(const command *self, int argc, char **argv)
{
    const char *page = NULL, *figures = NULL, *operands[1] = {NULL};
    char path[FUL_PATH_MAX + 16];
    int n_operands, code;
    const option_spec options[] = {
        {"out", 'o', OPTION_TEXT, &page, "FILE.html", "the page (default DIR/report.html)"},
        {"figures", 0, OPTION_TEXT, &figures, "DIR", "also write the charts as SVG files"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 1, &n_operands)) >= 0) return code;
    if (!operands[0]) return usage_error(self, "the folder of a study or run is needed");
    if (!page) {
        snprintf(path, sizeof path, "%s/report.html", operands[0]);
        page = path;
    }
    ful_status status = ful_report_write(operands[0], page);
    if (status == FUL_OK && figures) status = ful_report_figures(operands[0], figures);
    if (status != FUL_OK) return fail(status);
    printf("%s\n", page);
    return EXIT_OK;
}

const command cmd_report = {
    "report", "DIR [-o FILE.html]", "Write one self-contained page about a study or a run",
    "The page is one file without scripts that needs no network; it reads well on a phone, light and dark.", run_report};
