/* SPDX-License-Identifier: Apache-2.0 */
/* How many runs at once: the choice on made-up measurements, and a study that measures, remembers and goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fulcrum/core.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "study/jobs.h"

static const double gib = 1073741824.0;

/* "4x2 4x1 …" */
static const char *list(int cores, int runs, double free_gib, double run_gib)
{
    static char text[256];
    ful__jobs j = {.cores = cores, .n_runs = runs, .free_bytes = free_gib * gib, .run_bytes = run_gib * gib};
    size_t used = 0;
    ful__jobs_list(&j);
    for (int i = 0; i < j.n_choices; i++) {
        assert_true(j.choices[i].jobs >= 1 && j.choices[i].threads >= 1);
        assert_true(j.choices[i].jobs * j.choices[i].threads <= cores);
        assert_true(isnan(j.choices[i].total_seconds));
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%dx%d", i ? " " : "", j.choices[i].jobs,
                                 j.choices[i].threads);
    }
    return text;
}

static void the_choices_fill_the_machine(void **state)
{
    (void)state;
    assert_string_equal(list(1, 9, 8, 1), "1x1");
    assert_string_equal(list(2, 12, 8, 1), "2x1 1x2");
    assert_string_equal(list(2, 1, 8, 1), "1x2 1x1"); /* one run: all cores, or is one better? */
    assert_string_equal(list(6, 50, 8, 1), "6x1 3x2 1x4 1x6");
    assert_string_equal(list(16, 100, 64, 1), "16x1 8x2 4x4 2x8 1x16");
    assert_string_equal(list(8, 3, 64, 1), "3x2 3x1 2x4 1x8");    /* fewer runs than cores */
    assert_string_equal(list(8, 100, 4, 1.5), "2x4 2x2 2x1 1x8"); /* memory for two */
    assert_string_equal(list(8, 100, 1, 1.5), "1x8 1x4 1x2 1x1"); /* for less than one: tried all the same */
    assert_string_equal(list(2, 12, INFINITY, 1), "2x1 1x2");     /* unknown */
}

static void the_last_round_counts(void **state)
{
    const double equal[] = {1, 1, 1}, mixed[] = {3, 1, 1, 1}, late[] = {1, 1, 1, 3};
    (void)state;
    assert_true(ful__jobs_makespan(equal, 3, 1) == 3.0);
    assert_true(ful__jobs_makespan(equal, 3, 2) == 2.0); /* one core idles through half of it */
    assert_true(ful__jobs_makespan(equal, 3, 3) == 1.0);
    assert_true(ful__jobs_makespan(mixed, 4, 2) == 3.0); /* the longest first … */
    assert_true(ful__jobs_makespan(late, 4, 2) == 4.0);  /* … or last */
    assert_true(ful__jobs_makespan(equal, 0, 2) == 0.0);
}

/* Two cores, runs of 100 steps: 2 x 1 takes `two` a step, 1 x 2 `one`. */
static const char *chosen(int runs, double two, double one)
{
    static char text[32];
    double work[16];
    ful__jobs j = {.cores = 2, .n_runs = runs, .free_bytes = INFINITY, .run_bytes = 1, .work = work};
    for (int i = 0; i < runs; i++) work[i] = 5.0;
    ful__jobs_list(&j);
    j.choices[0].step_seconds = two;
    j.choices[1].step_seconds = one;
    for (int i = 0; i < j.n_choices; i++)
        if (isfinite(j.choices[i].step_seconds)) assert_int_equal(ful__jobs_predict(&j, &j.choices[i], 100, 0.5), FUL_OK);
    ful__jobs_choose(&j);
    snprintf(text, sizeof text, "%dx%d %s", j.chosen.jobs, j.chosen.threads, j.why);
    return text;
}

static void the_fastest_is_taken(void **state)
{
    (void)state;
    assert_string_equal(chosen(12, 1.0, 0.55), "2x1 measured"); /* two threads are 1.8 times as fast as one: not twice */
    assert_string_equal(chosen(12, 1.0, 0.45), "1x2 measured"); /* two runs share a cache that is too small for both */
    assert_string_equal(chosen(3, 1.0, 0.55), "1x2 measured");  /* 3 runs: 2 rounds against 3 x 0.55 */
    assert_string_equal(chosen(4, 1.0, 0.55), "2x1 measured");
    assert_string_equal(chosen(12, NAN, NAN), "2x1 rule");
    assert_string_equal(chosen(12, NAN, 0.1), "2x1 rule"); /* nothing to compare with */
    assert_string_equal(chosen(12, 1.0, NAN), "2x1 measured");
}

static void unequal_arms_are_weighed(void **state)
{
    const double work[] = {8, 4, 2}; /* of 100 s, 50 s, 25 s with one thread */
    ful__jobs j = {.cores = 2, .n_runs = 3, .free_bytes = INFINITY, .work = work};
    (void)state;
    ful__choice two = {.jobs = 2, .threads = 1, .step_seconds = 1.0}, one = {.jobs = 1, .threads = 2, .step_seconds = 0.6};
    assert_int_equal(ful__jobs_predict(&j, &two, 100, 0), FUL_OK);
    assert_int_equal(ful__jobs_predict(&j, &one, 100, 0), FUL_OK);
    assert_true(fabs(two.total_seconds - 100.0) < 1e-9);
    assert_true(fabs(one.total_seconds - 105.0) < 1e-9);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 1);
    assert_int_equal(ful__jobs_predict(&j, &two, 100, 0), FUL_ERR_MEMORY);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
}

static void the_machine_has_something(void **state)
{
    (void)state;
    assert_true(ful__machine_cores() >= 1);
    assert_true(ful__machine_cores() <= ful_threads_get());
    assert_true(ful__machine_free_bytes() > 1e6);
}

/* ---- a study ---- */

static char folder[64];

static const char *const long_plan = "study: long\n"
                                     "base: {data: {name: clusters}, net: {arch: resnet8}, train: {epochs: 5000}}\n"
                                     "arms:\n"
                                     "  - name: small\n"
                                     "  - name: large\n"
                                     "    set: {net: {arch: resnet20}}\n"
                                     "seeds: 3\n"
                                     "cells: [{arm: large, against: small}]\n";

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/fulcrum-jobs-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char line[128];
    static const char *const names[] = {"FAKE_LOG", "FAKE_STEP_1", "FAKE_STEP_2", "FAKE_FAIL"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    snprintf(line, sizeof line, "rm -rf '%s'", folder);
    return system(line);
}

static void in_folder(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
}

static void hear(void *cookie, const ful_study_progress *p)
{
    if (strcmp(p->event, "jobs") == 0) snprintf(cookie, 512, "%s", p->message);
}

/* Runs the plan with the stand-in; what it said about jobs goes to text. */
static ful_status run(const char *plan, int jobs, char text[512], int *missing)
{
    char path[128], out[128];
    ful_study *study;
    const ful_study_options options = {.program = "tests/study/fake_train.sh", .jobs = jobs, .progress = hear, .cookie = text};
    in_folder("plan.yaml", path);
    in_folder("out", out);
    *text = '\0';
    assert_int_equal(ful__file_write(path, plan, strlen(plan)), FUL_OK);
    assert_int_equal(ful_study_load(path, NULL, 0, &study), FUL_OK);
    const ful_status status = ful_study_run(study, out, &options);
    *missing = ful_study_missing(study);
    ful_study_destroy(&study);
    return status;
}

static char *log_text(void)
{
    char path[128], *text = NULL;
    size_t bytes;
    in_folder("log", path);
    assert_int_equal(ful__file_read(path, 1 << 16, &text, &bytes), FUL_OK);
    return text;
}

static void a_study_measures_and_remembers(void **state)
{
    char text[512], log[128];
    int missing;
    (void)state;
    if (ful__machine_cores() < 2) skip();
    assert_int_equal(ful_threads_set(2), FUL_OK);
    in_folder("log", log);
    setenv("FAKE_LOG", log, 1);
    setenv("FAKE_STEP_1", "0.5", 1); /* two at once with a thread each, or … */
    setenv("FAKE_STEP_2", "0.2", 1); /* … one with two threads */
    setenv("FAKE_FAIL", "small:2", 1);
    assert_int_equal(run(long_plan, 0, text, &missing), FUL_OK);
    assert_int_equal(missing, 1);
    assert_non_null(strstr(text, "1 run at once, 2 threads each (measured"));
    assert_non_null(strstr(text, "2 x 1"));
    char *lines = log_text();
    assert_non_null(
        strstr(lines, "probe 2\nprobe 1\nprobe 1\nlarge 1\nsmall 1\nlarge 2\nsmall 2\n")); /* the longer arm first */
    ful__free(lines);

    /* going on keeps the threads, although now another choice would be faster, and measures nothing */
    setenv("FAKE_STEP_1", "0.1", 1);
    unsetenv("FAKE_FAIL");
    unlink(log);
    assert_int_equal(run(long_plan, 0, text, &missing), FUL_OK);
    assert_int_equal(missing, 0);
    assert_non_null(strstr(text, "1 run at once, 2 threads each (the threads this study began with)"));
    lines = log_text();
    assert_string_equal(lines, "small 2\n");
    ful__free(lines);
}

static void a_choice_of_the_user_keeps_the_threads_too(void **state)
{
    char text[512], path[128];
    int missing;
    (void)state;
    if (ful__machine_cores() < 2) skip();
    assert_int_equal(ful_threads_set(2), FUL_OK);
    setenv("FAKE_FAIL", "small:1", 1);
    assert_int_equal(run(long_plan, 1, text, &missing), FUL_OK);
    assert_non_null(strstr(text, "1 run at once, 2 threads each (as asked)"));
    assert_int_equal(run(long_plan, 2, text, &missing), FUL_OK);
    assert_non_null(strstr(text, "1 run at once, 2 threads each (as asked)")); /* one is left */

    in_folder("out/jobs.json", path);
    assert_int_equal(ful__file_write(path, "{\"jobs\": 0, \"threads\": 1}", 25), FUL_OK);
    assert_int_equal(run(long_plan, 0, text, &missing), FUL_ERR_FORMAT);
    assert_non_null(strstr(ful_error_message(), "jobs must be in 1..256"));
    unlink(path); /* a study of before there were records: its runs know */
    assert_int_equal(run(long_plan, 0, text, &missing), FUL_OK);
    assert_non_null(strstr(text, "2 threads each (the threads this study began with)"));
}

static void failing_probes_fall_back_to_the_rule(void **state)
{
    char text[512];
    int missing;
    (void)state;
    if (ful__machine_cores() < 2) skip();
    assert_int_equal(ful_threads_set(2), FUL_OK);
    setenv("FAKE_STEP_1", "x", 1);
    setenv("FAKE_STEP_2", "x", 1);
    assert_int_equal(run(long_plan, 0, text, &missing), FUL_OK);
    assert_int_equal(missing, 0);
    assert_non_null(strstr(text, "2 runs at once, 1 thread each (one job a core"));
}

static void an_interrupt_ends_the_measuring(void **state)
{
    char path[128];
    volatile int stop = 1;
    ful__jobs j = {.cores = 2, .free_bytes = INFINITY, .n_runs = 2, .work = (const double[]){1e15, 1e15}};
    ful_study *study;
    (void)state;
    in_folder("plan.yaml", path);
    assert_int_equal(ful__file_write(path, long_plan, strlen(long_plan)), FUL_OK);
    assert_int_equal(ful_study_load(path, NULL, 0, &study), FUL_OK);
    assert_int_equal(ful__strdup(&study->folder, folder), FUL_OK);
    assert_int_equal(ful__jobs_measure(study, &j, "tests/study/fake_train.sh", &stop), FUL_ERR_INTERRUPTED);
    ful_study_destroy(&study);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_choices_fill_the_machine),
        cmocka_unit_test(the_last_round_counts),
        cmocka_unit_test(the_fastest_is_taken),
        cmocka_unit_test(unequal_arms_are_weighed),
        cmocka_unit_test(the_machine_has_something),
        cmocka_unit_test_setup_teardown(a_study_measures_and_remembers, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_choice_of_the_user_keeps_the_threads_too, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(failing_probes_fall_back_to_the_rule, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_interrupt_ends_the_measuring, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
