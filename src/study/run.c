/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs what a study still lacks: each run a child process with its own folder and log. Order: all arms of the first seed, then
 * all of the second …, so that a study stopped half-way holds whole pairs. Every run of a study gets the same number of
 * threads, because sums inside a step may depend on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <fulcrum/core.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/time.h"
#include "study/study.h"

enum { JOBS_MAX = 256, POLL_NS = 20 * 1000 * 1000 };

typedef struct child {
    pid_t pid; /* 0: free */
    int run;
} child;

typedef struct runner {
    ful_study *study;
    const ful_study_options *options;
    int jobs, threads, runs, done, kept, failed, running;
    double began, spoke;
    child children[JOBS_MAX];
} runner;

/* Run number r is seed r / n_arms of arm r % n_arms. */
static int arm_of(const runner *r, int run)
{
    return run % r->study->n_arms;
}
static int seed_of(const runner *r, int run)
{
    return run / r->study->n_arms;
}

static void tell(runner *r, int run, const char *event, const char *message)
{
    if (!r->options->progress) return;
    const double now = ful__seconds() - r->began;
    const int fresh = r->done - r->kept, left = r->runs - r->done - r->failed;
    const ful_study_progress progress = {.runs = r->runs,
                                         .done = r->done,
                                         .failed = r->failed,
                                         .running = r->running,
                                         .seconds = now,
                                         .seconds_left = fresh > 0 ? now / fresh * left : NAN,
                                         .arm = r->study->arms[arm_of(r, run)].name,
                                         .seed = r->study->seeds[seed_of(r, run)],
                                         .event = event,
                                         .message = message};
    r->options->progress(r->options->cookie, &progress);
}

/* ---- what is there already ---- */

/* The run's configuration file: written once; a different one with results beside it is refused. */
static ful_status settle_config(runner *r, int run, bool *finished)
{
    ful_study *s = r->study;
    char *path = NULL, *result = NULL, *folder = NULL, *text = NULL, *old = NULL;
    size_t bytes = 0;
    ful_config config;
    ful__study_config(s, arm_of(r, run), seed_of(r, run), &config);
    ful_status status = ful_config_write(&config, &text);
    if (status == FUL_OK) status = ful__study_path(s, arm_of(r, run), seed_of(r, run), ".yaml", &path);
    if (status == FUL_OK) status = ful__study_path(s, arm_of(r, run), seed_of(r, run), "/result.json", &result);
    if (status == FUL_OK) status = ful__study_path(s, arm_of(r, run), seed_of(r, run), "", &folder);
    if (status == FUL_OK) {
        *finished = ful__path_exists(result);
        const bool begun = ful__path_exists(path) && ful__path_exists(folder);
        if (begun) status = ful__file_read(path, 1 << 20, &old, &bytes);
        if (status == FUL_OK && begun && strcmp(old, text) != 0)
            status = ful__fail(
                FUL_ERR_CONFIG,
                "cannot continue the study in %s: %s was begun with another configuration (see %s); use another folder",
                s->folder, folder, path);
        else if (status == FUL_OK && !begun)
            status = ful__file_write(path, text, strlen(text));
    }
    ful_free(text);
    ful__free(old);
    ful__free(path);
    ful__free(result);
    ful__free(folder);
    return status;
}

static ful_status prepare_folders(ful_study *s)
{
    for (int a = 0; a < s->n_arms; a++) {
        char *path = NULL, name[FUL_NAME_MAX + 8];
        snprintf(name, sizeof name, "runs/%s", s->arms[a].name);
        FUL_TRY(ful__path_join(&path, s->folder, name));
        const ful_status status = ful__mkdirs(path);
        ful__free(path);
        if (status != FUL_OK) return status;
    }
    char *plan = NULL, *text = NULL;
    FUL_TRY(ful__path_join(&plan, s->folder, "plan.yaml"));
    ful_status status = ful__yaml_write(s->plan, &text);
    if (status == FUL_OK) status = ful__file_write(plan, text, strlen(text));
    ful__free(plan);
    ful__free(text);
    return status;
}

/* ---- children ---- */

/* Between fork and exec only async-signal-safe calls: the parent has threads. */
static void become(char *const *argv, int log_fd, bool share_cores)
{
    static char passive[] = "OMP_WAIT_POLICY=passive";
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed study must not leave its runs behind */
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    const int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
    if (share_cores) putenv(passive);
    execv(argv[0], argv);
    _exit(127);
}

static ful_status start(runner *r, int run)
{
    ful_study *s = r->study;
    const int a = arm_of(r, run), i = seed_of(r, run);
    char *config = NULL, *folder = NULL, *log = NULL, threads[16];
    int slot = 0;
    while (r->children[slot].pid) slot++;
    snprintf(threads, sizeof threads, "%d", r->threads);
    ful_status status = ful__study_path(s, a, i, ".yaml", &config);
    if (status == FUL_OK) status = ful__study_path(s, a, i, "", &folder);
    if (status == FUL_OK) status = ful__study_path(s, a, i, ".log", &log);
    if (status == FUL_OK) {
        char *argv[] = {(char *)r->options->program,
                        "train",
                        config,
                        "--out",
                        folder,
                        "--resume",
                        "--arm",
                        s->arms[a].name,
                        "--threads",
                        threads,
                        "--quiet",
                        NULL};
        const int log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        const pid_t pid = log_fd < 0 ? -1 : fork();
        if (pid == 0) become(argv, log_fd, r->jobs > 1);
        if (pid < 0) status = ful__fail(FUL_ERR_IO, "cannot start a run with log %s: %s", log, strerror(errno));
        if (log_fd >= 0) close(log_fd);
        if (pid > 0) {
            r->children[slot] = (child){.pid = pid, .run = run};
            r->running++;
            tell(r, run, "start", "");
        }
    }
    ful__free(config);
    ful__free(folder);
    ful__free(log);
    return status;
}

/* Last line of a failed run's log, into text. */
static void last_line(const runner *r, int run, char *text, size_t size)
{
    char *log = NULL, *content = NULL;
    size_t bytes = 0;
    text[0] = '\0';
    if (ful__study_path(r->study, arm_of(r, run), seed_of(r, run), ".log", &log) == FUL_OK &&
        ful__file_read(log, 1 << 24, &content, &bytes) == FUL_OK) {
        while (bytes > 0 && content[bytes - 1] == '\n') content[--bytes] = '\0';
        const char *line = strrchr(content, '\n');
        snprintf(text, size, "%s", line ? line + 1 : content);
    }
    ful__free(log);
    ful__free(content);
}

static bool stop_asked(const runner *r)
{
    return r->options->stop && *r->options->stop;
}

static void finish(runner *r, child *c, int wait_status)
{
    char *result = NULL, text[400] = "";
    const bool clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
    bool written = false;
    if (ful__study_path(r->study, arm_of(r, c->run), seed_of(r, c->run), "/result.json", &result) == FUL_OK)
        written = ful__path_exists(result);
    ful__free(result);
    r->running--;
    if (clean && written) {
        r->done++;
        tell(r, c->run, "done", "");
    } else if (stop_asked(r)) {
        tell(r, c->run, "stopped", "");
    } else {
        last_line(r, c->run, text, sizeof text);
        if (!text[0] && WIFSIGNALED(wait_status)) snprintf(text, sizeof text, "killed by signal %d", WTERMSIG(wait_status));
        if (!text[0]) snprintf(text, sizeof text, "exit code %d", WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1);
        r->failed++;
        tell(r, c->run, "failed", text);
    }
    c->pid = 0;
}

static void reap(runner *r, bool block)
{
    for (int i = 0; i < r->jobs; i++) {
        int wait_status = 0;
        if (r->children[i].pid && waitpid(r->children[i].pid, &wait_status, block ? 0 : WNOHANG) > 0)
            finish(r, &r->children[i], wait_status);
    }
}

static void stop_children(runner *r)
{
    for (int i = 0; i < r->jobs; i++)
        if (r->children[i].pid) kill(r->children[i].pid, SIGINT);
    reap(r, true);
}

/* Waits for a free place, or for all to end; speaks once a second. */
static void wait_for(runner *r, int at_most)
{
    while (r->running > at_most && !stop_asked(r)) {
        reap(r, false);
        if (r->running <= at_most) break;
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
        const double now = ful__seconds();
        if (now - r->spoke < 1.0) continue;
        r->spoke = now;
        for (int i = 0; i < r->jobs; i++)
            if (r->children[i].pid) {
                tell(r, r->children[i].run, "tick", "");
                break;
            }
    }
}

/*
 * --jobs auto: independent one-thread runs use a machine better than one run with many threads, since they never wait for each
 * other; so as many jobs as cores, but no more than runs, and the cores are divided evenly.
 */
static void choose_jobs(runner *r)
{
    const int cores = ful_threads_get();
    r->jobs = r->options->jobs > 0 ? r->options->jobs : cores;
    if (r->jobs > r->runs) r->jobs = r->runs;
    if (r->jobs > JOBS_MAX) r->jobs = JOBS_MAX;
    r->threads = cores / r->jobs > 0 ? cores / r->jobs : 1;
}

static ful_status run_all(runner *r)
{
    for (int run = 0; run < r->runs; run++) {
        bool finished = false;
        FUL_TRY(settle_config(r, run, &finished));
    }
    for (int run = 0; run < r->runs && !stop_asked(r); run++) {
        bool finished = false;
        FUL_TRY(settle_config(r, run, &finished));
        if (finished) {
            r->done++;
            r->kept++;
            tell(r, run, "kept", "");
            continue;
        }
        wait_for(r, r->jobs - 1);
        if (!stop_asked(r)) FUL_TRY(start(r, run));
    }
    wait_for(r, 0);
    FUL_FAIL_IF(stop_asked(r), FUL_ERR_INTERRUPTED, "the study in %s was interrupted: the same command goes on where it was",
                r->study->folder);
    return FUL_OK;
}

ful_status ful_study_run(ful_study *study, const char *folder, const ful_study_options *options)
{
    FUL_FAIL_IF(!options->program, FUL_ERR_ARG, "cannot run a study without the program that trains a run");
    FUL_FAIL_IF(options->jobs < 0 || options->jobs > JOBS_MAX, FUL_ERR_ARG,
                "cannot run a study with jobs=%d: must be 0 (auto) to %d", options->jobs, JOBS_MAX);
    char *copy = NULL;
    FUL_TRY(ful__strdup(&copy, folder));
    ful__free(study->folder);
    study->folder = copy;
    FUL_TRY(prepare_folders(study));

    runner *r;
    FUL_TRY(ful__calloc(&r, 1, sizeof *r, "runner"));
    r->study = study;
    r->options = options;
    r->runs = study->n_arms * study->n_seeds;
    r->began = r->spoke = ful__seconds();
    choose_jobs(r);
    ful_status status = run_all(r);
    if (r->running) stop_children(r);
    ful__free(r);

    json_t *results = NULL;
    ful_status saved = ful__study_collect(study, &results);
    if (saved == FUL_OK) saved = ful__study_judge(study, results);
    if (saved == FUL_OK) saved = ful__study_save(study, results);
    json_decref(results);
    return status != FUL_OK ? status : saved;
}
