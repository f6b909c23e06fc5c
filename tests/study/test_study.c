/* SPDX-License-Identifier: Apache-2.0 */
/* Plans, scheduling, verdicts and the page, with a stand-in for the program that trains (fake_train.sh). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fulcrum/study.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "study/study.h"

static char folder[256];

static const char *const plan_text = "study: little\n"
                                     "about: a <b>bold</b> question\n"
                                     "base:\n"
                                     "  data: {name: clusters}\n"
                                     "  net: {arch: resnet8, width: 8}\n"
                                     "  train: {epochs: 3}\n"
                                     "arms:\n"
                                     "  - name: moe\n"
                                     "    set:\n"
                                     "      moe:\n"
                                     "        - {at: stage3, expert: conv, experts: 8, k: 2, hidden: 16}\n"
                                     "  - name: dense\n"
                                     "    like: moe\n"
                                     "    dense: active\n"
                                     "seeds: 4\n";

static const char *in_folder(const char *name)
{
    static char paths[4][512]; /* a call may name several */
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static char *write_plan(const char *text)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/plan-%zu.yaml", folder, strlen(text));
    assert_int_equal(ful__file_write(path, text, strlen(text)), FUL_OK);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/fulcrum-study-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char line[300];
    (void)state;
    snprintf(line, sizeof line, "rm -rf '%s'", folder);
    unsetenv("FAKE_FAIL");
    unsetenv("FAKE_SLEEP");
    unsetenv("FAKE_LOG");
    return system(line);
}

/* ---- plans ---- */

static void a_plan_expands(void **state)
{
    (void)state;
    ful_study *s;
    const char *set[] = {"train.epochs=7", "seeds=[3, 9]"};
    assert_int_equal(ful_study_load(write_plan(plan_text), set, 2, &s), FUL_OK);
    assert_int_equal(s->n_arms, 2);
    assert_int_equal(s->n_seeds, 2);
    assert_int_equal(s->seeds[1], 9);
    assert_int_equal(s->arms[0].config.train.epochs, 7);
    assert_int_equal(s->arms[0].kind, FUL__ARM_MOE);
    assert_int_equal(s->arms[1].kind, FUL__ARM_DENSE);
    assert_int_equal(s->arms[1].config.net.moe[0].dense, 32); /* active: width k*h */
    assert_int_equal(s->n_cells, 1);
    assert_int_equal(s->cells[0].arm, 0);
    assert_int_equal(s->cells[0].against, 1);
    ful_study_destroy(&s);
    assert_null(s);
}

static void bad_plans_name_place_and_rule(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"about: x\n", "study: a name is needed"},
        {"study: ../evil\n", "no leading dot"},
        {"study: a\narms: []\n", "at least one arm"},
        {"study: a\narmz: []\n", "line 2: plan.armz: unknown key"},
        {"study: a\narms:\n  - name: x\n    like: y\n", "line 4: arms.like = 'y': no earlier arm"},
        {"study: a\narms:\n  - name: x\n  - name: x\n", "an earlier arm has that name"},
        {"study: a\nseeds: 0\narms:\n  - name: x\n", "line 2: seeds: a count of 1 to 1000"},
        {"study: a\nseeds: [1, 1]\narms:\n  - name: x\n", "appears twice"},
        {"study: a\nlevel: 2\narms:\n  - name: x\n", "level: must lie in"},
        {"study: a\ntest: z\narms:\n  - name: x\n", "test: must be t, flip or sign"},
        {"study: a\narms:\n  - name: x\ncells:\n  - {arm: x, against: q}\n", "line 5: cells.against = 'q': no arm"},
        {"study: a\narms:\n  - name: x\ncells:\n  - {arm: x, against: x}\n", "compared with itself"},
        {"study: a\narms:\n  - name: x\n    set: {train: {epochz: 3}}\n", "epochz"},
        {"study: a\narms:\n  - name: x\n    set: {train: {epochs: -3}}\n", "arm 'x'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ful_study *s = (ful_study *)1;
        const ful_status status = ful_study_load(write_plan(cases[i].text), NULL, 0, &s);
        if (status != FUL_ERR_CONFIG || !strstr(ful_error_message(), cases[i].expected))
            fail_msg("case %zu: %s '%s' lacks '%s'", i, ful_status_name(status), ful_error_message(), cases[i].expected);
        assert_null(s);
    }
}

static void a_plan_survives_lack_of_memory(void **state)
{
    (void)state;
    const char *path = write_plan(plan_text);
    for (long n = 1;; n++) {
        ful_study *s = NULL;
        ful__fault_fail_at(FUL__FAULT_ALLOC, n);
        const ful_status status = ful_study_load(path, NULL, 0, &s);
        const long calls = ful__fault_count(FUL__FAULT_ALLOC);
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        if (calls < n) {
            assert_int_equal(status, FUL_OK);
            ful_study_destroy(&s);
            break;
        }
        if (status == FUL_OK) ful_study_destroy(&s);
        assert_int_equal(status, FUL_ERR_MEMORY);
        assert_null(s);
    }
}

/* ---- running ---- */

typedef struct seen {
    int done, kept, failed;
    char message[300];
} seen;

static void watch(void *cookie, const ful_study_progress *p)
{
    seen *s = cookie;
    s->done += strcmp(p->event, "done") == 0;
    s->kept += strcmp(p->event, "kept") == 0;
    if (strcmp(p->event, "failed") != 0) return;
    s->failed++;
    snprintf(s->message, sizeof s->message, "%s", p->message);
}

static ful_status run_plan(const char *text, int jobs, seen *s, int *missing)
{
    ful_study *study;
    const ful_study_options options = {.program = "tests/study/fake_train.sh", .jobs = jobs, .progress = watch, .cookie = s};
    memset(s, 0, sizeof *s);
    assert_int_equal(ful_study_load(write_plan(text), NULL, 0, &study), FUL_OK);
    const ful_status status = ful_study_run(study, in_folder("out"), &options);
    if (missing) *missing = ful_study_missing(study);
    ful_study_destroy(&study);
    return status;
}

static json_t *results_of_folder(void)
{
    char path[512];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/out/study.json", folder);
    assert_int_equal(ful__json_load(path, &root), FUL_OK);
    return root;
}

static void finished_runs_are_kept(void **state)
{
    (void)state;
    seen s;
    int missing;
    assert_int_equal(run_plan(plan_text, 3, &s, &missing), FUL_OK);
    assert_int_equal(s.done, 8);
    assert_int_equal(missing, 0);
    assert_int_equal(run_plan(plan_text, 3, &s, &missing), FUL_OK);
    assert_int_equal(s.done, 0);
    assert_int_equal(s.kept, 8);

    json_t *root = results_of_folder();
    const json_t *cell = json_array_get(json_object_get(root, "cells"), 0);
    /* accuracies .810 .820 .830 .840 against .715 .725 .735 .745: every gap is .095 */
    assert_true(fabs(ful__json_number(cell, "mean") - 0.095) < 1e-9);
    assert_string_equal(ful__json_string(cell, "verdict"), "helps");
    assert_true(fabs(ful__json_number(cell, "p_flip") - 0.125) < 1e-12);
    json_decref(root);
}

/* Writes the text of a begun run's configuration again, with each line that has `find` in it left out or replaced. */
static void edit_config(const char *name, const char *find, const char *replace)
{
    char *text = NULL, edited[16384] = "";
    size_t bytes = 0;
    bool found = false;
    assert_int_equal(ful__file_read(in_folder(name), 1 << 20, &text, &bytes), FUL_OK);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const bool here = strstr(line, find) != NULL;
        found = found || here;
        assert_true(strlen(edited) + strlen(line) + strlen(replace) + 2 < sizeof edited);
        strcat(edited, here ? replace : line);
        if (!here || *replace) strcat(edited, "\n");
    }
    ful__free(text);
    assert_true(found);
    assert_int_equal(ful__file_write(in_folder(name), edited, strlen(edited)), FUL_OK);
}

/* An older version wrote fewer keys, in another order, with other words for the same numbers: what counts is the meaning. */
static void a_study_of_an_older_version_goes_on(void **state)
{
    (void)state;
    seen s;
    int missing;
    char *text = NULL;
    size_t bytes = 0;
    setenv("FAKE_FAIL", "moe:2", 1); /* begun, and not finished */
    assert_int_equal(run_plan(plan_text, 2, &s, &missing), FUL_OK);
    assert_int_equal(missing, 1);
    unsetenv("FAKE_FAIL");
    static const char *const runs[] = {"out/runs/moe/seed1.yaml", "out/runs/moe/seed2.yaml", "out/runs/dense/seed4.yaml"};
    for (int i = 0; i < 3; i++) {
        edit_config(runs[i], "  collapse_stop: ", "");
        edit_config(runs[i], "  layer_scale: ", "");
        edit_config(runs[i], "  lr: ", "  # a comment\n  lr: 1e-1");
        edit_config(runs[i], "  workers: ", "  workers: 2"); /* how fast, not what */
    }
    assert_int_equal(run_plan(plan_text, 2, &s, &missing), FUL_OK);
    assert_int_equal(s.kept, 7);
    assert_int_equal(s.done, 1);
    assert_int_equal(missing, 0);
    /* The run that was trained now has this version's whole configuration; those that were finished keep theirs. */
    assert_int_equal(ful__file_read(in_folder(runs[1]), 1 << 20, &text, &bytes), FUL_OK);
    assert_non_null(strstr(text, "  collapse_stop: "));
    ful__free(text);
    assert_int_equal(ful__file_read(in_folder(runs[0]), 1 << 20, &text, &bytes), FUL_OK);
    assert_null(strstr(text, "  collapse_stop: "));
    ful__free(text);
}

/* Another value is refused by name, and nothing of the study that is there is written over. */
static void another_study_in_the_folder_is_refused(void **state)
{
    static const struct {
        const char *run, *find, *replace, *expected;
    } cases[] = {
        {"out/runs/moe/seed1.yaml", "  epochs: ", "  epochs: 4", "train.epochs is 4 in "},
        {"out/runs/dense/seed3.yaml", "    hidden: ", "    hidden: 20", "moe[0].hidden is 20 in "},
        {"out/runs/dense/seed3.yaml", "  augment: ", "  augment: [flip]", "data.augment is [flip] in "},
        {"out/runs/dense/seed3.yaml", "  augment: ", "  augment: [flip]", ", and [] in the plan now"},
        {"out/runs/moe/seed1.yaml", "  epochs: ", "  epochs: many", "must be a whole number"},
        {"out/runs/moe/seed1.yaml", "  epochs: ", "  from_the_future: 1", "there is no such key"},
    };
    (void)state;
    seen s;
    char *plan = NULL, *text = NULL, *results = NULL;
    size_t bytes = 0;
    assert_int_equal(run_plan(plan_text, 3, &s, NULL), FUL_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ful__file_read(in_folder(cases[i].run), 1 << 20, &text, &bytes), FUL_OK);
        edit_config(cases[i].run, cases[i].find, cases[i].replace);
        assert_int_equal(run_plan(plan_text, 1, &s, NULL), FUL_ERR_CONFIG);
        if (!strstr(ful_error_message(), cases[i].expected) || !strstr(ful_error_message(), "cannot continue the study in "))
            fail_msg("case %zu: '%s' lacks '%s'", i, ful_error_message(), cases[i].expected);
        assert_int_equal(ful__file_write(in_folder(cases[i].run), text, bytes), FUL_OK);
        ful__free(text);
    }
    assert_int_equal(ful__file_read(in_folder("out/plan.yaml"), 1 << 20, &plan, &bytes), FUL_OK);
    assert_int_equal(ful__file_read(in_folder("out/study.json"), 1 << 20, &results, &bytes), FUL_OK);
    char *changed = strdup(plan_text);
    strstr(changed, "epochs: 3")[8] = '4';
    assert_int_equal(run_plan(changed, 1, &s, NULL), FUL_ERR_CONFIG);
    assert_non_null(strstr(ful_error_message(), "seed1 was begun with another configuration: train.epochs is 3 in "));
    free(changed);
    assert_int_equal(ful__file_read(in_folder("out/plan.yaml"), 1 << 20, &text, &bytes), FUL_OK);
    assert_string_equal(text, plan);
    ful__free(text);
    assert_int_equal(ful__file_read(in_folder("out/study.json"), 1 << 20, &text, &bytes), FUL_OK);
    assert_string_equal(text, results);
    ful__free(text);
    ful__free(plan);
    ful__free(results);
}

static void a_failed_run_does_not_lose_the_others(void **state)
{
    (void)state;
    seen s;
    int missing;
    setenv("FAKE_FAIL", "moe:2", 1);
    assert_int_equal(run_plan(plan_text, 2, &s, &missing), FUL_OK);
    assert_int_equal(s.done, 7);
    assert_int_equal(s.failed, 1);
    assert_int_equal(missing, 1);
    assert_non_null(strstr(s.message, "the loss became NaN"));
    json_t *root = results_of_folder();
    assert_true(ful__json_number(json_array_get(json_object_get(root, "cells"), 0), "n") == 3.0);
    json_decref(root);
    unsetenv("FAKE_FAIL");
    assert_int_equal(run_plan(plan_text, 2, &s, &missing), FUL_OK); /* the same command mends it */
    assert_int_equal(s.done, 1);
    assert_int_equal(s.kept, 7);
    assert_int_equal(missing, 0);
}

static void an_interrupt_keeps_what_is_done(void **state)
{
    (void)state;
    ful_study *study;
    seen s = {0};
    volatile int stop = 1;
    const ful_study_options options = {
        .program = "tests/study/fake_train.sh", .jobs = 1, .progress = watch, .cookie = &s, .stop = &stop};
    assert_int_equal(ful_study_load(write_plan(plan_text), NULL, 0, &study), FUL_OK);
    assert_int_equal(ful_study_run(study, in_folder("out"), &options), FUL_ERR_INTERRUPTED);
    assert_int_equal(s.done, 0);
    assert_int_equal(ful_study_missing(study), 8);
    ful_study_destroy(&study);
}

static void seeds_come_in_whole_pairs(void **state)
{
    (void)state;
    seen s;
    char *text = NULL;
    size_t bytes;
    setenv("FAKE_LOG", in_folder("log"), 1);
    assert_int_equal(run_plan(plan_text, 1, &s, NULL), FUL_OK);
    assert_int_equal(ful__file_read(in_folder("log"), 4096, &text, &bytes), FUL_OK);
    assert_string_equal(text, "moe 1\ndense 1\nmoe 2\ndense 2\nmoe 3\ndense 3\nmoe 4\ndense 4\n");
    ful__free(text);
}

/* ---- words ---- */

/* A judged study of one cell with the given accuracies and figures of the mixture arm. */
static json_t *judge(const double *moe, const double *dense, int n, double rho, int k, const char *extra)
{
    ful__arm arms[2] = {{.name = "moe", .kind = FUL__ARM_MOE}, {.name = "dense", .kind = FUL__ARM_DENSE}};
    ful__cell cell = {.arm = 0, .against = 1};
    uint64_t seeds[16] = {1, 2, 3, 4, 5, 6, 7, 8};
    ful_study s = {.arms = arms, .n_arms = 2, .seeds = seeds, .n_seeds = n, .cells = &cell, .n_cells = 1, .level = 0.95};
    json_t *runs[2] = {json_array(), json_array()};
    for (int i = 0; i < n; i++) {
        json_t *run = json_pack("{s:f, s:s}", "acc", moe[i], "init_hash", "x"), *more = json_loads(extra, 0, NULL);
        json_object_update(run, more);
        json_decref(more);
        json_array_append_new(runs[0], run);
        json_array_append_new(runs[1], json_pack("{s:f, s:f, s:s}", "acc", dense[i], "train_acc", 0.9, "init_hash", "x"));
    }
    json_t *root = json_pack("{s:[{s:s, s:s, s:o, s:i, s:i, s:{s:f}}, {s:s, s:s, s:o}]}", "arms", "name", "moe", "kind", "moe",
                             "runs", runs[0], "experts", 8, "k", k, "rho", "exec", rho, "name", "dense", "kind", "dense",
                             "runs", runs[1]);
    assert_non_null(root);
    assert_int_equal(ful__study_judge(&s, root), FUL_OK);
    return root;
}

static bool says(const json_t *root, const char *list, const char *words)
{
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(json_array_get(json_object_get(root, "cells"), 0), list), i,
                       line) if (strstr(json_string_value(line), words)) return true;
    return false;
}

static const char *verdict_of(const json_t *root)
{
    return ful__json_string(json_array_get(json_object_get(root, "cells"), 0), "verdict");
}

static void verdicts_follow_the_numbers(void **state)
{
    (void)state;
    const double high[6] = {.80, .81, .82, .80, .81, .83}, low[6] = {.78, .80, .79, .785, .78, .80},
                 mixed[6] = {.79, .80, .78, .80, .775, .81};
    const char *healthy =
        "{\"gate_mass\": 0.3, \"effective_experts\": 7.4, \"dead\": 0, \"drop_rate\": 0.02, \"collapsed\": false}";

    json_t *root = judge(high, low, 6, 0.4, 2, healthy);
    assert_string_equal(verdict_of(root), "helps");
    json_decref(root);

    root = judge(low, high, 6, 0.02, 1,
                 "{\"effective_experts\": 1.4, \"dead\": 6, \"drop_rate\": 0.4, \"train_acc\": 0.8, \"collapsed\": true}");
    assert_string_equal(verdict_of(root), "hurts");
    assert_true(says(root, "why", "Only 2.0 % of the executed MACs"));
    assert_true(says(root, "why", "one expert (k = 1)"));
    assert_true(says(root, "why", "collapsed in 6 of 6"));
    assert_true(says(root, "why", "dropped 40 %"));
    assert_true(says(root, "why", "fits the training set worse as well (-10.00 points): each expert learns from only 12 %"));
    assert_true(says(root, "try", "Raise rho"));
    json_decref(root);

    root = judge(mixed, low, 6, 0.4, 2, healthy);
    assert_string_equal(verdict_of(root), "no evidence");
    assert_true(says(root, "why", "would usually be missed"));
    assert_true(says(root, "why", "experts stayed alive"));
    assert_true(says(root, "try", "gate: renorm"));
    json_decref(root);

    root = judge(high, low, 3, 0.4, 2, healthy);
    assert_true(says(root, "why", "cannot go below p = 0.25"));
    json_decref(root);

    root = judge(high, low, 1, 0.4, 2, healthy);
    assert_string_equal(verdict_of(root), "incomplete");
    json_decref(root);
}

/* ---- the page ---- */

static void the_page_is_whole_and_escaped(void **state)
{
    (void)state;
    seen s;
    char *page = NULL, *path = NULL;
    size_t bytes;
    assert_int_equal(run_plan(plan_text, 4, &s, NULL), FUL_OK);
    assert_int_equal(ful__strdup(&path, in_folder("report.html")), FUL_OK);
    assert_int_equal(ful_report_write(in_folder("out"), path), FUL_OK);
    assert_int_equal(ful__file_read(path, 1 << 22, &page, &bytes), FUL_OK);
    static const char *const expected[] = {"<!doctype html>",
                                           "a &lt;b&gt;bold&lt;/b&gt; question",
                                           "helps",
                                           "moe vs dense",
                                           "Load of each expert",
                                           "&lt;cat&gt;",
                                           "prefers-color-scheme:dark",
                                           "name=\"viewport\"",
                                           "Exact configurations",
                                           "experts: 8",
                                           "</html>"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!strstr(page, expected[i])) fail_msg("the page lacks '%s'", expected[i]);
    static const char *const unwanted[] = {"<script", "http://", "https://", "<link", "nan", "inf)", "<b>bold"};
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++) {
        const char *at = page;
        while ((at = strstr(at, unwanted[i])) && strncmp(at, "http://www.w3.org/2000/svg", 26) == 0) at++;
        if (at) fail_msg("the page holds '%s': %.80s", unwanted[i], at);
    }
    ful__free(page);

    assert_int_equal(ful_report_figures(in_folder("out"), in_folder("figures")), FUL_OK);
    assert_true(ful__path_exists(in_folder("figures/gap-vs-rho.svg")));
    assert_int_equal(ful_report_write(in_folder("out/runs/moe/seed1"), path), FUL_OK); /* one run alone */
    assert_int_equal(ful_report_write("/nonexistent", path), FUL_ERR_DATA);
    ful__free(path);
}

/* ---- what the nets said ---- */

/* 40 images of two classes; the arm is wrong about every `miss`-th. */
static void leave_outcomes(const char *path, int miss)
{
    ful_outcome list[40];
    for (int i = 0; i < 40; i++) {
        const bool wrong = i % miss == 0;
        list[i] = (ful_outcome){
            i % 2, wrong ? 1 - i % 2 : i % 2, wrong, wrong ? .6f : .9f, wrong ? .91629f : .10536f, wrong ? .52f : .82f};
    }
    assert_int_equal(ful_outcomes_write(path, list, 40, 2, 77), FUL_OK);
}

static void the_page_tells_what_the_nets_said(void **state)
{
    (void)state;
    seen s;
    char *page = NULL, *path = NULL;
    size_t bytes;
    assert_int_equal(run_plan(plan_text, 4, &s, NULL), FUL_OK);
    leave_outcomes(in_folder("out/runs/moe/seed1/predictions.bin"), 10);
    leave_outcomes(in_folder("out/runs/moe/seed2/predictions.bin"), 8);
    leave_outcomes(in_folder("out/runs/dense/seed1/predictions.bin"), 4);
    assert_int_equal(ful__file_write(in_folder("out/runs/dense/seed2/predictions.bin"), "damaged", 7), FUL_OK);
    assert_int_equal(ful__strdup(&path, in_folder("report.html")), FUL_OK);
    assert_int_equal(ful_report_write(in_folder("out"), path), FUL_OK);
    assert_int_equal(ful__file_read(path, 1 << 22, &page, &bytes), FUL_OK);
    /* moe: 4 of 40 wrong, then 5; dense: 10 of 40. Of seed 1 only moe has 8 right, only dense 2 (multiples of 10, not of 4). */
    static const char *const expected[] = {"What the nets said of the test images",
                                           "<td>88.75<br><span class=\"soft\">72.87 … 100.00</span></td>",
                                           "<td>75.00</td>",
                                           "Confusion matrix",
                                           "Reliability",
                                           "Recall by class",
                                           "<td>1</td><td>28</td><td>8</td><td>2</td><td>2</td><td>+15.00</td>",
                                           "it is cut short"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!strstr(page, expected[i])) fail_msg("the page lacks '%s'", expected[i]);
    assert_null(strstr(page, "nan"));
    ful__free(page);
    ful__free(path);
}

/* study.json and the table have them too: mean, sd and Student's interval over the seeds whose outcomes are there. */
/* Differences are paired by seed; a seed that one arm lacks is no pair. The quantile is Student's of one degree of freedom. */
static void check_paired(const json_t *root, const char *key)
{
    const json_t *arms = json_object_get(root, "arms"), *cell = json_array_get(json_object_get(root, "cells"), 0);
    const json_t *found = json_object_get(json_object_get(cell, "judge"), key), *ci = json_object_get(found, "ci");
    double d[2];
    char path[32];
    snprintf(path, sizeof path, "judge.%s", key);
    for (size_t seed = 0; seed < 2; seed++)
        d[seed] = ful__json_number(json_array_get(json_object_get(json_array_get(arms, 0), "runs"), seed), path) -
                  ful__json_number(json_array_get(json_object_get(json_array_get(arms, 1), "runs"), seed), path);
    const double mean = 0.5 * (d[0] + d[1]), half = 12.706204736 * 0.5 * fabs(d[0] - d[1]);
    assert_true(fabs(mean) > 1e-3);
    assert_true(fabs(ful__json_number(found, "mean") - mean) < 1e-9);
    assert_true(fabs(ful__json_number(found, "sd") - fabs(d[0] - d[1]) / sqrt(2)) < 1e-9);
    assert_true(fabs(json_number_value(json_array_get(ci, 0)) - (mean - half)) < 1e-6);
    assert_true(fabs(json_number_value(json_array_get(ci, 1)) - (mean + half)) < 1e-6);
}

static void secondary_figures_have_paired_intervals(void **state)
{
    (void)state;
    seen s;
    ful_study *study = NULL;
    char *text = NULL, *path = NULL;
    size_t bytes;
    assert_int_equal(run_plan(plan_text, 4, &s, NULL), FUL_OK);
    leave_outcomes(in_folder("out/runs/moe/seed1/predictions.bin"), 10);
    leave_outcomes(in_folder("out/runs/moe/seed2/predictions.bin"), 8);
    leave_outcomes(in_folder("out/runs/moe/seed3/predictions.bin"), 2);
    leave_outcomes(in_folder("out/runs/dense/seed1/predictions.bin"), 4);
    assert_int_equal(ful_study_open(in_folder("out"), &study), FUL_OK);
    assert_int_equal(ful_study_results(study, false, &text), FUL_OK); /* one pair: a difference, and no interval */
    if (!strstr(text, "moe vs dense                     1                         -                   -0.1"))
        fail_msg("%s", text);
    ful_free(text);
    ful_study_destroy(&study);
    leave_outcomes(in_folder("out/runs/dense/seed2/predictions.bin"), 5);
    assert_int_equal(ful_study_open(in_folder("out"), &study), FUL_OK);
    assert_int_equal(ful_study_results(study, true, &text), FUL_OK);
    json_t *root = json_loads(text, 0, NULL);
    const json_t *cell = json_array_get(json_object_get(root, "cells"), 0);
    assert_int_equal((int)ful__json_number(cell, "judge.n"), 2);
    assert_null(json_object_get(json_object_get(cell, "judge"), "top1")); /* that is the gap itself */
    check_paired(root, "nll");
    check_paired(root, "ece");
    check_paired(root, "f1");
    json_decref(root);
    ful_free(text);
    ful_study_destroy(&study);
    assert_int_equal(ful__strdup(&path, in_folder("report.html")), FUL_OK);
    assert_int_equal(ful_report_write(in_folder("out"), path), FUL_OK);
    assert_int_equal(ful__file_read(path, 1 << 22, &text, &bytes), FUL_OK);
    assert_non_null(strstr(text, "<th>secondary differences</th><th>pairs</th><th>Δ top-5 %</th>"));
    assert_non_null(strstr(text, "verdicts rest on accuracy alone"));
    assert_null(strstr(text, "nan"));
    ful__free(text);
    ful__free(path);
}

static void figures_of_judging_have_intervals(void **state)
{
    (void)state;
    seen s;
    ful_study *study = NULL;
    char *text = NULL;
    assert_int_equal(run_plan(plan_text, 4, &s, NULL), FUL_OK);
    assert_int_equal(ful_study_open(in_folder("out"), &study), FUL_OK);
    assert_int_equal(ful_study_results(study, false, &text), FUL_OK);
    assert_null(strstr(text, "secondary"));
    assert_null(strstr(text, "on test images")); /* runs of an older version kept nothing */
    ful_free(text);
    ful_study_destroy(&study);

    leave_outcomes(in_folder("out/runs/moe/seed1/predictions.bin"), 10); /* 4 of 40 wrong, then 5; one dense run of 10 */
    leave_outcomes(in_folder("out/runs/moe/seed2/predictions.bin"), 8);
    leave_outcomes(in_folder("out/runs/dense/seed1/predictions.bin"), 4);
    assert_int_equal(ful__file_write(in_folder("out/runs/dense/seed2/predictions.bin"), "damaged", 7), FUL_OK);
    assert_int_equal(ful_study_open(in_folder("out"), &study), FUL_OK);
    assert_int_equal(ful_study_results(study, false, &text), FUL_OK);
    if (!strstr(text, "moe                  2                         -   0.1966 [0.0678, 0.3254]       15.63 [7.68, 23.57]\n"))
        fail_msg("%s", text);
    if (!strstr(text, "dense                1                         -                    0.3081                     22.50\n"))
        fail_msg("%s", text);
    ful_free(text);
    assert_int_equal(ful_study_results(study, true, &text), FUL_OK);
    json_t *root = json_loads(text, 0, NULL), *arm = json_array_get(json_object_get(root, "arms"), 0);
    const json_t *top1 = json_object_get(json_object_get(arm, "judge"), "top1");
    assert_true(fabs(ful__json_number(top1, "mean") - 0.8875) < 1e-9);
    assert_true(fabs(ful__json_number(top1, "sd") - 0.0176776695) < 1e-9);
    assert_true(fabs(json_number_value(json_array_get(json_object_get(top1, "ci"), 0)) - 0.7286724) < 1e-6);
    assert_true(fabs(json_number_value(json_array_get(json_object_get(top1, "ci"), 1)) - 1) < 1e-12); /* no share is above */
    assert_true(fabs(ful__json_number(json_array_get(json_object_get(arm, "runs"), 1), "judge.ece") - 0.1625) < 1e-6);
    arm = json_array_get(json_object_get(root, "arms"), 1);
    assert_int_equal((int)ful__json_number(arm, "judge.n"), 1);
    assert_true(json_is_null(json_object_get(json_object_get(json_object_get(arm, "judge"), "nll"), "ci")));
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(arm, "runs"), 1), "judge")));
    json_decref(root);
    ful_free(text);
    ful_study_destroy(&study);
}

/* A page shows a long study without growing with it. */
static void a_long_study_has_a_light_page(void **state)
{
    enum { EPOCHS = 3000, ROW = 300 };
    (void)state;
    seen s;
    char *text = NULL, *page = NULL;
    size_t used = 0, bytes;
    assert_int_equal(run_plan(plan_text, 4, &s, NULL), FUL_OK);
    assert_int_equal(ful__calloc(&text, EPOCHS, ROW, "rows"), FUL_OK);
    for (int e = 1; e <= EPOCHS; e++)
        used += (size_t)snprintf(text + used, ROW,
                                 "{\"epoch\": %d, \"train\": {\"loss\": %.4f}, \"test\": {\"acc\": 0.%04d}}\n", e,
                                 e == 1234 ? 77.0 : 2.0, e);
    assert_int_equal(ful__file_write(in_folder("out/runs/moe/seed1/metrics.jsonl"), text, used), FUL_OK);
    used = 0;
    for (int e = 1; e <= EPOCHS; e++)
        used += (size_t)snprintf(
            text + used, ROW,
            "{\"epoch\": %d, \"layer\": \"stage3.moe\", \"split\": \"train\", \"load\": [0.2,0.1,0.1,0.1,0.2,0.1,0.1,0.1]}\n",
            e);
    assert_int_equal(ful__file_write(in_folder("out/runs/moe/seed1/routing.jsonl"), text, used), FUL_OK);
    ful__free(text);
    char *path = NULL;
    assert_int_equal(ful__strdup(&path, in_folder("report.html")), FUL_OK);
    assert_int_equal(ful_report_write(in_folder("out"), path), FUL_OK);
    assert_int_equal(ful__file_read(path, 1 << 24, &page, &bytes), FUL_OK);
    assert_true(bytes < 600000);
    assert_non_null(strstr(page, ">3000</text>")); /* all epochs are there */
    assert_non_null(strstr(page, ">60</text>"));   /* and the one high loss is in the band: the axis reaches it */
    ful__free(page);
    ful__free(path);
}

/* Far more arms and cells than anyone reads, and no more time than they need. */
static void a_plan_of_many_arms_expands(void **state)
{
    enum { ARMS = 100 };
    (void)state;
    char *text = NULL;
    ful_study *s;
    assert_int_equal(ful__calloc(&text, ARMS, 100, "a plan"), FUL_OK);
    size_t used = (size_t)snprintf(text, 100, "study: many\nbase: {net: {arch: resnet8}}\narms:\n");
    for (int a = 0; a < ARMS; a++)
        used += (size_t)snprintf(text + used, 100, "  - name: a%d\n    set: {net: {width: %d}}\n", a, 4 + a);
    used += (size_t)snprintf(text + used, 100, "seeds: 1000\ncells:\n");
    for (int a = 1; a < ARMS; a++) used += (size_t)snprintf(text + used, 100, "  - {arm: a%d, against: a0}\n", a);
    assert_int_equal(ful_study_load(write_plan(text), NULL, 0, &s), FUL_OK);
    assert_int_equal(s->n_arms, ARMS);
    assert_int_equal(s->n_cells, ARMS - 1);
    assert_int_equal(s->arms[ARMS - 1].config.net.width, 3 + ARMS);
    ful_study_destroy(&s);
    ful__free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plan_expands, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_plans_name_place_and_rule, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_plan_survives_lack_of_memory, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(finished_runs_are_kept, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_study_of_an_older_version_goes_on, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(another_study_in_the_folder_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_failed_run_does_not_lose_the_others, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_interrupt_keeps_what_is_done, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(seeds_come_in_whole_pairs, make_folder, remove_folder),
        cmocka_unit_test(verdicts_follow_the_numbers),
        cmocka_unit_test_setup_teardown(the_page_tells_what_the_nets_said, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(figures_of_judging_have_intervals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(secondary_figures_have_paired_intervals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_page_is_whole_and_escaped, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_long_study_has_a_light_page, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_plan_of_many_arms_expands, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
