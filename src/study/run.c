/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs what a study still lacks: each run a child process with its own folder and log. Order: all arms of the first seed, then
 * all of the second …, so that a study stopped half-way holds whole pairs; within a seed the longest first, so that the last
 * round is short. How many at once: jobs.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <fulcrum/core.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/time.h"
#include "study/child.h"
#include "study/jobs.h"
#include "train/config.h"

enum { POLL_NS = 5 * 1000 * 1000 };

typedef struct child {
    pid_t pid; /* 0: free */
    int run;
} child;

typedef struct runner {
    ful_study *study;
    const ful_study_options *options;
    int jobs, threads, runs, done, kept, failed, running;
    double began, spoke;
    int *queue;   /* [runs] those not finished when the study began, in the order they start */
    double *work; /* [runs] of the queue's */
    int n_queue;
    child children[FUL__JOBS_MAX];
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

/* A run that was begun with a configuration of another meaning is refused. */
static ful_status check_begun(const ful_study *s, const char *folder, const char *path, const ful_config *config)
{
    ful__config_change change;
    const ful_status status = ful__config_check_stored(path, config, &change);
    if (status != FUL_OK) return ful__fail_context(status, "cannot continue the study in %s", s->folder);
    FUL_FAIL_IF(
        change.found, FUL_ERR_CONFIG,
        "cannot continue the study in %s: %s was begun with another configuration: %s is %s in %s, and %s in the plan now; "
        "use another folder",
        s->folder, folder, change.key, change.was, path, change.is);
    return FUL_OK;
}

/* The run's configuration file: written by this version, where the run is not finished, as one that begins or goes on. */
static ful_status settle_config(runner *r, int run, bool *finished)
{
    ful_study *s = r->study;
    char *path = NULL, *result = NULL, *folder = NULL, *text = NULL;
    ful_config config;
    ful_status status = FUL_OK;
    ful__study_config(s, arm_of(r, run), seed_of(r, run), &config);
    FUL_TRY_GOTO(status, done, ful__study_path(s, arm_of(r, run), seed_of(r, run), ".yaml", &path));
    FUL_TRY_GOTO(status, done, ful__study_path(s, arm_of(r, run), seed_of(r, run), "/result.json", &result));
    FUL_TRY_GOTO(status, done, ful__study_path(s, arm_of(r, run), seed_of(r, run), "", &folder));
    if (ful__path_exists(path) && ful__path_exists(folder)) FUL_TRY_GOTO(status, done, check_begun(s, folder, path, &config));
    *finished = ful__path_exists(result);
    if (*finished) goto done;
    FUL_TRY_GOTO(status, done, ful_config_write(&config, &text));
    FUL_TRY_GOTO(status, done, ful__file_write(path, text, strlen(text)));
done:
    ful_free(text);
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
    return FUL_OK;
}

static ful_status write_plan(const ful_study *s)
{
    char *plan = NULL, *text = NULL;
    FUL_TRY(ful__path_join(&plan, s->folder, "plan.yaml"));
    ful_status status = ful__yaml_write(s->plan, &text);
    if (status == FUL_OK) status = ful__file_write(plan, text, strlen(text));
    ful__free(plan);
    ful__free(text);
    return status;
}

/* ---- children ---- */

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
        pid_t pid = 0;
        if (log_fd < 0) status = ful__fail(FUL_ERR_IO, "cannot start a run with log %s: %s", log, strerror(errno));
        if (status == FUL_OK) status = ful__child_start(argv, s->folder, log_fd, log_fd, r->jobs > 1, &pid);
        if (log_fd >= 0) close(log_fd);
        if (status == FUL_OK) {
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

/* ---- what is left, and how ---- */

/* Settles every run before the first starts; fills the queue. */
static ful_status fill_queue(runner *r, const double *work_of_arm)
{
    const int n_arms = r->study->n_arms;
    for (int run = 0; run < r->runs && !stop_asked(r); run++) {
        bool finished = false;
        FUL_TRY(settle_config(r, run, &finished));
        if (finished) {
            r->done++;
            r->kept++;
            tell(r, run, "kept", "");
            continue;
        }
        /* among the runs of its seed, behind those with as much work */
        int at = r->n_queue++;
        const double work = work_of_arm[arm_of(r, run)];
        for (; at > 0 && r->queue[at - 1] / n_arms == run / n_arms && r->work[at - 1] < work; at--) {
            r->queue[at] = r->queue[at - 1];
            r->work[at] = r->work[at - 1];
        }
        r->queue[at] = run;
        r->work[at] = work;
    }
    return FUL_OK;
}

/* What the user asks for; else what the study began with; else what is measured. */
static ful_status choose_jobs(runner *r, ful__jobs *j)
{
    ful__choice before;
    FUL_TRY(ful__jobs_recall(r->study, &before, &j->run_bytes));
    if (r->options->jobs > 0) {
        const int jobs = r->options->jobs < j->n_runs ? r->options->jobs : j->n_runs;
        const int threads = before.threads ? before.threads : j->cores / jobs;
        j->chosen = (ful__choice){.jobs = jobs, .threads = threads > 0 ? threads : 1};
        j->why = "asked";
    } else if (before.threads) {
        const int cores = j->cores;
        j->cores = cores / before.threads > 0 ? cores / before.threads : 1; /* in units of a run's threads */
        ful__jobs_list(j);
        j->cores = cores;
        j->chosen = (ful__choice){.jobs = j->choices[0].jobs, .threads = before.threads};
        j->n_choices = 0;
        j->why = "kept";
    } else {
        FUL_TRY(ful__jobs_measure(r->study, j, r->options->program, r->options->stop));
    }
    return before.threads ? FUL_OK : ful__jobs_record(r->study, j);
}

/* Chooses how many runs at once. */
static ful_status prepare(runner *r, ful__jobs *j)
{
    char text[512];
    j->n_runs = r->n_queue;
    j->work = r->work;
    if (r->n_queue == 0 || stop_asked(r)) return FUL_OK;
    FUL_TRY(choose_jobs(r, j));
    r->jobs = j->chosen.jobs;
    r->threads = j->chosen.threads;
    ful__jobs_text(j, text, sizeof text);
    tell(r, r->queue[0], "jobs", text);
    return FUL_OK;
}

static ful_status run_all(runner *r, ful__jobs *j)
{
    FUL_TRY(prepare(r, j));
    for (int i = 0; i < r->n_queue && !stop_asked(r); i++) {
        wait_for(r, r->jobs - 1);
        if (!stop_asked(r)) FUL_TRY(start(r, r->queue[i]));
    }
    wait_for(r, 0);
    FUL_FAIL_IF(stop_asked(r), FUL_ERR_INTERRUPTED, "the study in %s was interrupted: the same command goes on where it was",
                r->study->folder);
    return FUL_OK;
}

/* What there is to do. A folder of another study is refused here, before anything of it is written over. */
static ful_status settle(runner *r, ful__jobs *j)
{
    double *work = NULL;
    FUL_TRY(ful__calloc(&r->queue, (size_t)r->runs, sizeof *r->queue, "a queue of runs"));
    FUL_TRY(ful__calloc(&r->work, (size_t)r->runs, sizeof *r->work, "a queue of runs"));
    FUL_TRY(ful__calloc(&work, (size_t)r->study->n_arms, sizeof *work, "work of arms"));
    ful_status status = prepare_folders(r->study);
    if (status == FUL_OK) status = ful__jobs_account(r->study, work, &j->run_bytes, &j->heaviest);
    if (status == FUL_OK) status = fill_queue(r, work);
    if (status == FUL_OK) status = write_plan(r->study);
    ful__free(work);
    return status;
}

/* Judges what is there, after an interrupt or a failure too. */
static ful_status judge(ful_study *study)
{
    json_t *results = NULL;
    FUL_TRY(ful__study_collect(study, &results));
    ful_status status = ful__study_judge(study, results);
    if (status == FUL_OK) status = ful__study_save(study, results);
    json_decref(study->judged);
    study->judged = status == FUL_OK ? results : NULL;
    if (status != FUL_OK) json_decref(results);
    return status;
}

ful_status ful_study_run(ful_study *study, const char *folder, const ful_study_options *options)
{
    FUL_FAIL_IF(!options->program, FUL_ERR_ARG, "cannot run a study without the program that trains a run");
    FUL_FAIL_IF(options->jobs < 0 || options->jobs > FUL__JOBS_MAX, FUL_ERR_ARG,
                "cannot run a study with jobs=%d: must be 0 (auto) to %d", options->jobs, FUL__JOBS_MAX);
    char *copy = NULL;
    FUL_TRY(ful__strdup(&copy, folder));
    ful__free(study->folder);
    study->folder = copy;

    runner *r;
    ful__jobs j = {.cores = ful__machine_cores(), .free_bytes = ful__machine_free_bytes()};
    FUL_TRY(ful__calloc(&r, 1, sizeof *r, "runner"));
    r->study = study;
    r->options = options;
    r->runs = study->n_arms * study->n_seeds;
    r->began = r->spoke = ful__seconds();
    ful_status status = settle(r, &j);
    const bool settled = status == FUL_OK;
    if (settled) status = run_all(r, &j);
    if (r->running) stop_children(r);
    ful__free(r->queue);
    ful__free(r->work);
    ful__free(r);
    const ful_status judged = settled ? judge(study) : FUL_OK;
    return status != FUL_OK ? status : judged;
}
