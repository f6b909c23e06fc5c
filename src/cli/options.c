/* SPDX-License-Identifier: Apache-2.0 */
/* Options, help, errors and signals shared by the commands. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

common_options common;
volatile int stop_requested;

static int threads;
static const char *cpu_mask;

static const option_spec shared_options[] = {
    {"json", 0, OPTION_FLAG, &common.json, NULL, "machine-readable result"},
    {"quiet", 'q', OPTION_FLAG, &common.quiet, NULL, "no progress, warnings only"},
    {"verbose", 'v', OPTION_FLAG, &common.verbose, NULL, "debug messages"},
    {"threads", 't', OPTION_INT, &threads, "N", "worker threads (default: the cores this process may use)"},
    {"cpu-mask", 0, OPTION_TEXT, &cpu_mask, "HEX", "CPU levels kernels may use: 1 AVX2, 2 AVX-512 (default: all there are)"},
    {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
};

/* ---- help ---- */

static void show_options(const option_spec *options)
{
    for (const option_spec *o = options; o->name; o++) {
        char left[48];
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ',
                 o->letter ? ", " : "  ", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

static void show_command_help(const command *self, const option_spec *options)
{
    printf("usage: fulcrum %s%s%s\n\n%s.\n", self->name, *self->arguments ? " " : "", self->arguments, self->summary);
    if (self->details) printf("\n%s\n", self->details);
    printf("\nOptions:\n");
    show_options(options);
    show_options(shared_options);
}

int usage_error(const command *self, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "fulcrum %s: ", self->name);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "; see fulcrum %s --help\n", self->name);
    va_end(args);
    return EXIT_USAGE;
}

/* ---- parsing ---- */

static const option_spec *find_long(const option_spec *options, const char *name, size_t length)
{
    for (const option_spec *o = options; o->name; o++)
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0) return o;
    return NULL;
}

static const option_spec *find_short(const option_spec *options, char letter)
{
    for (const option_spec *o = options; o->name; o++)
        if (o->letter && o->letter == letter) return o;
    return NULL;
}

static int unknown_option(const command *self, const option_spec *options, const char *word, size_t length)
{
    enum { MOST = 64 };
    const char *names[MOST] = {0};
    char given[64];
    int n = 0;
    for (const option_spec *o = options; o->name && n < MOST - 1; o++) names[n++] = o->name;
    for (const option_spec *o = shared_options; o->name && n < MOST - 1; o++) names[n++] = o->name;
    snprintf(given, sizeof given, "%.*s", (int)(length < sizeof given ? length : sizeof given - 1), word + 2);
    const char *meant = word[1] == '-' ? ful_word_nearest(given, names) : NULL;
    if (meant) return usage_error(self, "unknown option '%s' (did you mean '--%s'?)", word, meant);
    return usage_error(self, "unknown option '%s'", word);
}

static int store(const command *self, const option_spec *o, const char *value)
{
    if (o->kind == OPTION_FLAG) {
        *(bool *)o->target = true;
    } else if (o->kind == OPTION_TEXT) {
        *(const char **)o->target = value;
    } else if (o->kind == OPTION_LIST) {
        text_list *list = o->target;
        if (list->count == SET_MAX) return usage_error(self, "--%s given more than %d times", o->name, SET_MAX);
        list->items[list->count++] = value;
    } else {
        char *end;
        errno = 0;
        const long number = strtol(value, &end, 10);
        if (errno || end == value || *end || number < 0 || number > 1000000000)
            return usage_error(self, "--%s %s: a whole number of 0 to 1000000000 is needed", o->name, value);
        *(int *)o->target = (int)number;
    }
    return -1;
}

static void log_to_stderr(void *cookie, ful_log_level level, const char *message)
{
    static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
    (void)cookie;
    progress_end();
    fprintf(stderr, "fulcrum: %s%s\n", names[level], message);
}

static int apply_common(const command *self)
{
    ful_log_set(log_to_stderr, NULL, common.verbose ? FUL_LOG_DEBUG : common.quiet ? FUL_LOG_WARN : FUL_LOG_INFO);
    if (cpu_mask) {
        char *end;
        const unsigned long mask = strtoul(cpu_mask, &end, 16);
        if (end == cpu_mask || *end) return usage_error(self, "--cpu-mask %s: a hexadecimal number is needed", cpu_mask);
        ful_cpu_mask_set((unsigned)mask);
    }
    if (threads > 0) {
        const ful_status status = ful_threads_set(threads);
        if (status != FUL_OK) return fail(status);
    }
    return -1;
}

int parse(const command *self, const option_spec *options, int argc, char **argv, const char **operands, int operands_max,
          int *n_operands)
{
    bool only_operands = false;
    *n_operands = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            if (*n_operands == operands_max) return usage_error(self, "unexpected argument '%s'", word);
            operands[(*n_operands)++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            show_command_help(self, options);
            return EXIT_OK;
        }
        const bool is_long = word[1] == '-';
        const char *equals = is_long ? strchr(word, '=') : NULL;
        const size_t length = !is_long ? 1 : equals ? (size_t)(equals - word - 2) : strlen(word + 2);
        const option_spec *o = is_long ? find_long(options, word + 2, length) : find_short(options, word[1]);
        if (!o) o = is_long ? find_long(shared_options, word + 2, length) : find_short(shared_options, word[1]);
        if (!o) return unknown_option(self, options, word, length);
        const char *value = equals ? equals + 1 : !is_long && word[2] ? word + 2 : NULL;
        if (o->kind == OPTION_FLAG && value) return usage_error(self, "option '--%s' takes no value", o->name);
        if (o->kind != OPTION_FLAG && !value) {
            if (i + 1 >= argc) return usage_error(self, "option '%s' needs a value", word);
            value = argv[++i];
        }
        const int code = store(self, o, value);
        if (code >= 0) return code;
    }
    return apply_common(self);
}

/* ---- results, failures, signals ---- */

int fail(ful_status status)
{
    progress_end();
    const char *message = ful_error_message();
    fprintf(stderr, "fulcrum: %s\n", *message ? message : ful_status_meaning(status));
    switch (status) {
    case FUL_ERR_CONFIG:
    case FUL_ERR_DATA:
    case FUL_ERR_FORMAT: return EXIT_BAD_INPUT;
    case FUL_ERR_INTERRUPTED: return EXIT_INTERRUPTED;
    default: return EXIT_FAILED;
    }
}

int print_text(char *text)
{
    const bool printed = fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    ful_free(text);
    if (printed) return EXIT_OK;
    fprintf(stderr, "fulcrum: cannot write the result to standard output: %s\n", strerror(errno));
    return EXIT_FAILED;
}

static void on_signal(int number)
{
    if (stop_requested) _exit(128 + number);
    stop_requested = number;
}

void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}
