/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's frame. Each command is one file with one function; options are one table a command, from which parsing and
 * --help come. Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 bad data or
 * configuration, 130 interrupted.
 */
#ifndef FUL_CLI_CLI_H
#define FUL_CLI_CLI_H

#include <fulcrum/fulcrum.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_BAD_INPUT = 3,
    EXIT_INTERRUPTED = 130,
    ARGS_MAX = 4096,
    SET_MAX = 256
};

typedef enum option_kind { OPTION_FLAG, OPTION_INT, OPTION_TEXT, OPTION_LIST } option_kind;

typedef struct option_spec {
    const char *name; /* without the dashes */
    char letter;      /* short form, 0 for none */
    option_kind kind;
    void *target;      /* bool*, int*, const char**, text_list* */
    const char *value; /* name of the value in the help, NULL for flags */
    const char *help;
} option_spec;

typedef struct text_list {
    const char *items[SET_MAX];
    int count;
} text_list;

typedef struct command {
    const char *name, *arguments, *summary, *details;
    int (*run)(const struct command *self, int argc, char **argv);
} command;

extern const command cmd_train, cmd_eval, cmd_predict, cmd_inspect, cmd_study, cmd_report, cmd_rho, cmd_data, cmd_import,
    cmd_bench, cmd_doctor;

/* Options every command understands; filled by parse. */
typedef struct common_options {
    bool json, quiet, verbose;
} common_options;
extern common_options common;

/*
 * Parses argv[1..] by the table (ends with a NULL name) and the common options; operands go to operands[], their number to
 * *n_operands. Returns -1 to go on, or an exit code (help shown, usage error).
 */
int parse(const command *self, const option_spec *options, int argc, char **argv, const char **operands, int operands_max,
          int *n_operands);
int usage_error(const command *self, const char *fmt, ...) FUL_PRINTF(2, 3);
/* Prints the last failure and gives the exit code its status calls for. */
int fail(ful_status status);
/* Prints a text the library made, frees it, and reports a failed stdout. */
int print_text(char *text);

/* Becomes non-zero at SIGINT or SIGTERM once watched; a second signal ends the program at once. */
extern volatile int stop_requested;
void watch_signals(void);

/* Progress on stderr: one line that is rewritten on a terminal, a line an epoch (a run) elsewhere; nothing with --quiet. */
void show_training(void *cookie, const ful_progress *progress);
void show_fetch(void *cookie, const char *file, uint64_t done, uint64_t total);
void show_study(void *cookie, const ful_study_progress *progress);
void progress_end(void);

#endif
