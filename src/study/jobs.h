/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many runs of a study at once, and how many threads each.
 *
 *   jobs.c      the choice: what may be chosen, what each choice would take, what fits into memory, what the folder remembers
 *   probe.c     the times it rests on: real steps of the heaviest arm, as many children at once as a choice has jobs
 *
 * Sums inside a step may depend on the number of threads, so all runs of a study get the same number, and a study that goes on
 * keeps it: it is written to <folder>/jobs.json before the first run.
 */
#ifndef FUL_STUDY_JOBS_H
#define FUL_STUDY_JOBS_H

#include "study/study.h"

enum { FUL__JOBS_MAX = 256, FUL__CHOICES_MAX = 32 };

/* One choice and what is known of it. */
typedef struct ful__choice {
    int jobs, threads;
    double step_seconds;  /* of the heaviest arm, with so many runs beside each other; NaN when not measured */
    double total_seconds; /* of all runs that are left, by that; NaN when not measured */
} ful__choice;

/* What is to be run, and what came out. */
typedef struct ful__jobs {
    int cores;          /* that this process may use */
    double free_bytes;  /* that this process may take */
    int n_runs;         /* that are left */
    const double *work; /* [n_runs] multiply-accumulates of each, in the order they will start; borrowed */
    int heaviest;       /* arm with the most work */
    double run_bytes;   /* peak memory of one run: estimated, then measured */
    ful__choice choices[FUL__CHOICES_MAX];
    int n_choices;
    ful__choice chosen;
    const char *why; /* "asked", "kept", "rule", "measured" */
} ful__jobs;

/* ---- the choice (pure) ---- */

/*
 * The choices, the rule's first: as many jobs as there are cores, runs, and room in the memory, and the cores divided among
 * them. Then fewer threads for so many jobs, where cores are left over; then fewer jobs of 2, 4 … threads, and one of all of
 * them.
 */
void ful__jobs_list(ful__jobs *j);
/* Seconds until the last of n runs has ended when each takes seconds[i] and starts, in this order, as a job falls free. */
double ful__jobs_makespan(const double *seconds, int n, int jobs);
/* total_seconds of a choice whose step_seconds was measured: steps and setup are of a run of the heaviest arm. */
ful_status ful__jobs_predict(const ful__jobs *j, ful__choice *choice, double steps, double setup_seconds) FUL_CHECK_RESULT;
/* Takes the measured choice with the least total; the first (the rule) when it was not measured. */
void ful__jobs_choose(ful__jobs *j);
/* "2 runs at once, 1 thread each (measured: 2 x 1 in 3:20, 1 x 2 in 4:02)" */
void ful__jobs_text(const ful__jobs *j, char *text, size_t size);

/* ---- the machine ---- */

int ful__machine_cores(void);         /* threads set, or cores of the affinity mask; at most the control group's quota */
double ful__machine_free_bytes(void); /* memory available, at most what the control group leaves; INFINITY when unknown */

/* ---- work and memory, from the plan alone ---- */

/* work[n_arms]: MACs of one run; bytes_out: a generous guess of the largest run's memory; heaviest_out: the arm with most
 * work. */
ful_status ful__jobs_account(const ful_study *s, double *work, double *bytes_out, int *heaviest_out) FUL_CHECK_RESULT;

/* ---- the folder ---- */

/* What an earlier call of the study chose: jobs.json, else the threads a finished run names; threads 0 when there is neither.
 */
ful_status ful__jobs_recall(const ful_study *s, ful__choice *out, double *run_bytes) FUL_CHECK_RESULT;
ful_status ful__jobs_record(const ful_study *s, const ful__jobs *j) FUL_CHECK_RESULT;

/* ---- probe.c ---- */

/* Measures the choices of j as far as that is worth its time, and chooses. stop may be NULL. */
ful_status ful__jobs_measure(const ful_study *s, ful__jobs *j, const char *program, const volatile int *stop) FUL_CHECK_RESULT;

#endif
