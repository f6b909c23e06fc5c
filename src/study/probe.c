/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The times a choice of jobs and threads rests on. A choice is measured by what it would do: as many children as it has jobs
 * train the heaviest arm beside each other for a second or two (`fulcrum train --probe`), and say how long their steps took.
 * Measuring must be cheap beside the study, so a study that is short by its MACs is not measured at all, and the others
 * stop measuring when a small share of the time they are going to take is spent.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/time.h"
#include "study/child.h"
#include "study/jobs.h"

enum { SECONDS_LEAST = 1, SECONDS_MOST = 3, POLL_NS = 5 * 1000 * 1000 };

/* At this rate of a core, which few nets reach, a study that takes less than so long is not worth a probe … */
static const double MACS_A_SECOND = 40e9, SHORT_BY_RULE = 30.0;
/* … and by the first probe, one that takes less than so long is not worth more of them. */
static const double SHORT_BY_PROBE = 60.0;
/* Beyond the first two, probes may take this share of the whole study's time. */
static const double SHARE = 0.03;

typedef struct probe {
    pid_t pid;
    int fd; /* read end of its standard output; -1: closed */
} probe;

/* What the children of one choice said. */
typedef struct answer {
    double step_seconds, setup_seconds, steps, bytes;
} answer;

static ful_status start_probe(const ful_study *s, const ful__jobs *j, const ful__choice *c, const char *program, int seconds,
                              probe *out)
{
    char *config = NULL, threads[16], time[16];
    int ends[2];
    snprintf(threads, sizeof threads, "%d", c->threads);
    snprintf(time, sizeof time, "%d", seconds);
    FUL_FAIL_IF(pipe2(ends, O_CLOEXEC) != 0, FUL_ERR_IO, "cannot measure jobs: no pipe: %s", strerror(errno));
    const int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    ful_status status = ful__study_path(s, j->heaviest, 0, ".yaml", &config);
    if (status == FUL_OK) {
        char *argv[] = {(char *)program, "train", config, "--probe", time, "--json", "--threads", threads, "--quiet", NULL};
        status = ful__child_start(argv, s->folder, ends[1], null_fd >= 0 ? null_fd : ends[1], c->jobs > 1, &out->pid);
    }
    if (null_fd >= 0) close(null_fd);
    close(ends[1]);
    out->fd = ends[0];
    ful__free(config);
    return status;
}

/* Waits for a child to end; a child that is asked to stop does. */
static bool end_probe(const probe *p, const volatile int *stop, struct rusage *usage)
{
    int how = 0;
    while (wait4(p->pid, &how, WNOHANG, usage) == 0) {
        if (stop && *stop) kill(p->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
    return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

/* Adds what a child printed (less than a pipe holds) to the sums. */
static bool read_probe(const probe *p, answer *sum)
{
    char text[2048];
    size_t used = 0;
    for (ssize_t got; used < sizeof text && (got = read(p->fd, text + used, sizeof text - used)) > 0;) used += (size_t)got;
    json_t *said = json_loadb(text, used, 0, NULL);
    sum->step_seconds += ful__json_number(said, "step_seconds");
    sum->setup_seconds = fmax(sum->setup_seconds, ful__json_number(said, "setup_seconds"));
    sum->steps = ful__json_number(said, "steps");
    json_decref(said);
    return sum->step_seconds > 0.0 && sum->steps > 0.0;
}

/* Measures one choice; *good_out is false when a child failed: the runs themselves will say why. */
static ful_status measure(const ful_study *s, const ful__jobs *j, const ful__choice *c, const char *program,
                          const volatile int *stop, int seconds, answer *out, bool *good_out)
{
    probe *probes;
    ful_status status = FUL_OK;
    int started = 0;
    *out = (answer){0};
    *good_out = true;
    FUL_TRY(ful__calloc(&probes, (size_t)c->jobs, sizeof *probes, "probes"));
    for (; started < c->jobs && status == FUL_OK; started++) status = start_probe(s, j, c, program, seconds, &probes[started]);
    for (int i = 0; i < started; i++) {
        struct rusage usage = {0};
        const bool ended = probes[i].pid > 0 && end_probe(&probes[i], stop, &usage);
        *good_out = *good_out && ended && read_probe(&probes[i], out);
        out->bytes = fmax(out->bytes, 1024.0 * (double)usage.ru_maxrss);
        if (probes[i].fd >= 0) close(probes[i].fd);
    }
    ful__free(probes);
    out->step_seconds /= c->jobs;
    FUL_FAIL_IF(stop && *stop, FUL_ERR_INTERRUPTED, "cannot measure jobs: the study in %s was asked to stop", s->folder);
    return status;
}

static double seconds_by_rule(const ful__jobs *j)
{
    double work = 0.0;
    for (int i = 0; i < j->n_runs; i++) work += j->work[i];
    return work / (MACS_A_SECOND * j->cores);
}

static ful_status measure_choice(const ful_study *s, const ful__jobs *j, ful__choice *c, const char *program,
                                 const volatile int *stop, int seconds, answer *said, bool *good)
{
    FUL_TRY(measure(s, j, c, program, stop, seconds, said, good));
    if (!*good) return FUL_OK;
    c->step_seconds = said->step_seconds;
    return ful__jobs_predict(j, c, said->steps, said->setup_seconds);
}

/*
 * First the choice with one job: it cannot ask for too much memory, and tells how much a run needs and how long the study may
 * take. Then the others in their order.
 */
static ful_status measure_choices(const ful_study *s, ful__jobs *j, const char *program, const volatile int *stop)
{
    const double begin = ful__seconds();
    answer said;
    bool good;
    ful__choice one = {.jobs = 1, .threads = j->cores};
    FUL_TRY(measure_choice(s, j, &one, program, stop, SECONDS_LEAST, &said, &good));
    if (!good) return FUL_OK;
    j->run_bytes = said.bytes;
    ful__jobs_list(j);
    double best = one.total_seconds;
    for (int i = 0; i < j->n_choices && one.total_seconds >= SHORT_BY_PROBE; i++) {
        ful__choice *c = &j->choices[i];
        if (c->jobs == 1 && c->threads == j->cores) {
            *c = one;
            continue;
        }
        const double left = SHARE * best - (ful__seconds() - begin),
                     room = left / (j->n_choices - i) - 2.0 * said.setup_seconds;
        if (i > 0 && room < SECONDS_LEAST) continue; /* the rule's choice is always measured */
        const int seconds = i == 0 || room < SECONDS_LEAST ? SECONDS_LEAST : room > SECONDS_MOST ? SECONDS_MOST : (int)room;
        FUL_TRY(measure_choice(s, j, c, program, stop, seconds, &said, &good));
        best = fmin(best, c->total_seconds); /* fmin prefers a number to NaN */
    }
    return FUL_OK;
}

ful_status ful__jobs_measure(const ful_study *s, ful__jobs *j, const char *program, const volatile int *stop)
{
    ful__jobs_list(j);
    if (j->n_choices > 1 && seconds_by_rule(j) >= SHORT_BY_RULE) FUL_TRY(measure_choices(s, j, program, stop));
    ful__jobs_choose(j);
    return FUL_OK;
}
