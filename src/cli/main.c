/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum: chooses the command. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const command *const commands[] = {&cmd_train,   &cmd_study,  &cmd_report, &cmd_rho,   &cmd_eval,  &cmd_predict,
                                          &cmd_inspect, &cmd_import, &cmd_data,   &cmd_bench, &cmd_doctor};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void show_help(FILE *out)
{
    fprintf(out,
            "fulcrum %s: does a sparse mixture of experts pay in this image classifier, and where?\n\n"
            "usage: fulcrum COMMAND [ARGUMENT ...] [--help]\n\n",
            ful_version());
    for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out,
            "\nEvery command takes --help, --quiet, --verbose, --threads N, --cpu-mask HEX, and --json where it has a result.\n"
            "Results go to stdout, progress to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 bad data or configuration, 130 "
            "interrupted.\n"
            "\nFirst steps:  fulcrum doctor;  fulcrum study studies/demo.yaml --out runs/demo\n");
}

static const command *find(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0) return commands[i];
    return NULL;
}

static int unknown_command(const char *word)
{
    const char *names[N_COMMANDS + 1] = {0};
    for (int i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
    const char *meant = ful_word_nearest(word, names);
    fprintf(stderr, "fulcrum: unknown command '%s'", word);
    if (meant) fprintf(stderr, " (did you mean '%s'?)", meant);
    fprintf(stderr, "; see fulcrum --help\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        show_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        char *help[] = {argv[0], "--help", NULL};
        const command *about = argc > 2 ? find(argv[2]) : NULL;
        if (argc > 2 && !about) return unknown_command(argv[2]);
        if (about) return about->run(about, 2, help);
        show_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("fulcrum %s\n", ful_version());
        return EXIT_OK;
    }
    const command *chosen = find(word);
    return chosen ? chosen->run(chosen, argc - 1, argv + 1) : unknown_command(word);
}
