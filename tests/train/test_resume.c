/* SPDX-License-Identifier: Apache-2.0 */
/* A run that was killed, or asked to stop, again and again, ends as the run that was left alone: the same bits, the same rows.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "core/rng.h"
#include "core/time.h"
#include "train_support.h"

static const char train_keys[] =
    "ema: 0.9, clip_norm: 1, label_smoothing: 0.1, warmup: 0.5, optimizer: adamw, lr: 0.002, epochs: 4";

static void config_here(ful_config *config)
{
    test_config(config, TEST_MOE, train_keys);
    config->data.val_fraction = 0.1;
}

static ful_status train_here(const char *folder, bool resume)
{
    ful_config config;
    const ful_train_options options = {.resume = resume};
    config_here(&config);
    return ful_train(&config, folder, &options, NULL);
}

/* This program as a child that trains: a process of its own, because a killed one takes its threads with it. */
static pid_t start_child(const char *self, const char *folder)
{
    const pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "train", folder, (char *)NULL);
        _exit(126);
    }
    assert_true(pid > 0);
    return pid;
}

static void sleep_ms(int64_t ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void test_killed_at_random_moments(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make((uint64_t)time(NULL), "test", "kill");
    const char *folder = test_path("killed", "");
    char self[300];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    const double begin = ful__seconds();
    assert_ok(train_here(test_path("alone", ""), false));
    const double alone = ful__seconds() - begin;
    int killed = 0, status = -1;
    for (int i = 0; i < 200; i++) {
        /* The later, the more likely that it comes to its end. */
        const int64_t most = (int64_t)(1000 * alone * (0.3 + 0.06 * i)) + 20;
        const pid_t pid = start_child(self, folder);
        const double deadline = ful__seconds() + (double)ful__rng_below(s, 0, (uint64_t)i, (uint64_t)most) / 1000;
        pid_t done = 0;
        while ((done = waitpid(pid, &status, WNOHANG)) == 0 && ful__seconds() < deadline) sleep_ms(1);
        if (done == 0) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            killed++;
        }
        if (WIFEXITED(status)) break;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the child ended with %d", status);
    printf("killed %d times\n", killed);
    test_same_runs("alone", "killed");
    char command[400];
    snprintf(command, sizeof command, "ls %s | grep -c tmp- >/dev/null", folder);
    assert_true(system(command) != 0); /* nothing of the killed writers is left */
}

/* Raises a flag after a while. */
typedef struct alarm_clock {
    int64_t ms;
    volatile int *flag;
} alarm_clock;

static void *ring(void *arg)
{
    const alarm_clock *clock = arg;
    sleep_ms(clock->ms);
    *clock->flag = 1;
    return NULL;
}

/* Trains to the end in sessions that are stopped after random times; returns how many stops fell into an evaluation. */
static int train_in_pieces(const ful_config *config, const char *name, int64_t first_ms, int64_t more_ms)
{
    const ful__stream s = ful__stream_make((uint64_t)time(NULL), "test", name);
    const int64_t batches = (int64_t)(config->data.gen_train * (1 - config->data.val_fraction)) / config->train.batch;
    int stopped = 0, in_evaluation = 0;
    char at_end[40];
    ful_status status = FUL_ERR_INTERRUPTED;
    snprintf(at_end, sizeof at_end, "\"batch\": %lld,", (long long)batches);
    for (int i = 0; i < 100; i++) {
        volatile int flag = i == 0; /* once before the first step */
        alarm_clock clock = {.ms = first_ms + (int64_t)ful__rng_below(s, 0, (uint64_t)i, (uint64_t)(more_ms * (i + 2))),
                             .flag = &flag};
        const ful_train_options options = {.resume = i > 0, .stop = &flag};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, ring, &clock), 0);
        status = ful_train(config, test_path(name, ""), &options, NULL);
        pthread_join(thread, NULL);
        if (status != FUL_ERR_INTERRUPTED) break;
        assert_non_null(strstr(ful_error_message(), "asked to stop in epoch"));
        assert_false(ful__path_exists(test_path(name, "error.json")));
        ful__st_file *file = NULL;
        assert_ok(ful__st_open(test_path(name, "last.safetensors"), &file));
        in_evaluation += strstr(ful__st_meta_get(file, "state"), at_end) != NULL;
        ful__st_close(&file);
        stopped++;
    }
    assert_ok(status);
    assert_true(stopped > 0);
    printf("stopped %d times, %d of them in an evaluation\n", stopped, in_evaluation);
    return in_evaluation;
}

static void test_stopped_at_random_moments(void **state)
{
    (void)state;
    ful_config config;
    config_here(&config);
    train_in_pieces(&config, "stopped", 10, 40);
    test_same_runs("alone", "stopped");
    test_same_tensors(test_path("alone", "best.safetensors"), test_path("stopped", "best.safetensors"));
}

/* Stops that are seen in the evaluation: the epoch is not trained again, and nothing of it is counted twice. */
static void test_stopped_in_evaluations(void **state)
{
    (void)state;
    ful_config config;
    config_here(&config);
    config.data.gen_train = 64;
    config.data.gen_test = 1500;
    assert_ok(ful_train(&config, test_path("evaluated", ""), NULL, NULL));
    assert_true(train_in_pieces(&config, "pieces", 100, 100) > 0);
    test_same_runs("evaluated", "pieces");
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "train") == 0) {
        const ful_status status = train_here(argv[2], true);
        if (status != FUL_OK) fprintf(stderr, "%s\n", ful_error_message());
        return (int)status;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_random_moments),
        cmocka_unit_test(test_stopped_at_random_moments),
        cmocka_unit_test(test_stopped_in_evaluations),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
