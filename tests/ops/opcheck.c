/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of opcheck, its table, and the counting of cases. What it is for: opcheck.h. */
#include "ops/opcheck.h"

#include <fulcrum/core.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/opcheck_rig.h"

/* The table: every op named in CMakeLists.txt. */
#define X(op) extern const check_suite check_suite_##op;
CHECK_SUITES
#undef X
static const check_suite *const suites[] = {
#define X(op) &check_suite_##op,
    CHECK_SUITES
#undef X
};
enum { SUITES = sizeof suites / sizeof *suites };

const int check_edges[CHECK_EDGES_COUNT] = {1, 15, 16, 17, 31, 37};

/* Modes ----------------------------------------------------------------------------------------------------------------- */

typedef struct mode {
    const char *name;
    unsigned use;
    bool (*run)(const check_suite *suite, const check_case *c);
    bool verdict; /* counts tests */
} mode;

static const mode modes[] = {{"test", CHECK_TEST, check_test, true},
                             {"grad", CHECK_GRAD, check_grad, true},
                             {"perf", CHECK_PERF, check_perf, false},
                             {"support", CHECK_TEST | CHECK_PERF, check_support, false}};
enum { MODES = sizeof modes / sizeof *modes };

struct check_sink {
    const check_suite *suite;
    const mode *mode;
    int passed, failed;
};

void check_add(check_sink *sink, unsigned use, const check_case *given)
{
    if (!(use & sink->mode->use) || (use & CHECK_SLOW && check_quick())) return;
    if (given->refused && sink->mode->run != check_test) return;
    check_case c = *given;
    if (c.n_x == 0) c.n_x = 1;
    if (c.n_max == 0) c.n_max = 6;
    if (c.y.h == 0) c.y = c.x[0];
    for (int i = 1; i < c.n_x; i++)
        if (c.x[i].h == 0) c.x[i] = c.x[0];
    if (sink->mode->run(sink->suite, &c))
        sink->passed++;
    else
        sink->failed++;
    fflush(stdout);
}

void check_addf(check_sink *sink, unsigned use, check_case c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c.text, sizeof c.text, format, args);
    va_end(args);
    check_add(sink, use, &c);
}

/* Command line ---------------------------------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "usage: opcheck test|grad|perf|support [op]\nops:");
    for (int i = 0; i < SUITES; i++) fprintf(stderr, " %s", suites[i]->name);
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    const mode *m = NULL;
    bool found = false;
    for (int i = 0; i < MODES && argc > 1; i++)
        if (strcmp(argv[1], modes[i].name) == 0) m = &modes[i];
    if (!m || argc > 3) return usage();
    check_sink sink = {.mode = m};
    for (int i = 0; i < SUITES; i++) {
        if (argc > 2 && strcmp(argv[2], suites[i]->name) != 0) continue;
        found = true;
        sink.suite = suites[i];
        sink.suite->cases(&sink);
    }
    if (!found) return usage();
    if (!m->verdict) return sink.failed > 0;
    printf("[==========] %d test(s) run.\n[  PASSED  ] %d test(s).\n", sink.passed + sink.failed, sink.passed);
    if (sink.failed > 0) printf("[  FAILED  ] %d test(s).\n", sink.failed);
    return sink.failed > 0 || sink.passed == 0;
}
