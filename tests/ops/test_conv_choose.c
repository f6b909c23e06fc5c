/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of a convolution's algorithm: measured once, kept in the process and in a file that may be missing or damaged. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fulcrum/core.h>

#include "core/file.h"
#include "core/mem.h"
#include "ops/common.h"
#include "ops/conv2d/choose.h"
#include "support/fault.h"

static char folder[] = "/tmp/test-conv-choose-XXXXXX";

static ful__dnnl_conv_spec spec_of(int channels, ful_conv_algorithm algorithm)
{
    ful__dnnl_conv_spec s = {.name = "conv",
                             .x = {8, 8, channels},
                             .y = {8, 8, channels},
                             .x_layout = FUL__BLOCKED,
                             .y_layout = FUL__BLOCKED,
                             .train = true,
                             .n_max = 4};
    ful_conv2d_defaults(&s.attr);
    s.attr.out_channels = channels;
    s.attr.pad_h = s.attr.pad_w = 1;
    s.attr.algorithm = algorithm;
    return s;
}

static bool choose(const ful__dnnl_conv_spec *s, ful__dnnl_pass pass)
{
    ful__conv_way way = FUL__CONV_WAYS;
    assert_ok(ful__conv_choose(s, pass, 4, &way));
    assert_true(way == FUL__CONV_DIRECT || way == FUL__CONV_WINOGRAD); /* patches are for inference */
    return way == FUL__CONV_WINOGRAD;
}

/* body in a process that has chosen nothing yet. */
static void in_child(int (*body)(void))
{
    fflush(stdout);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(body());
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static char *file_text(void)
{
    char path[128], *text = NULL;
    size_t bytes;
    snprintf(path, sizeof path, "%s/fulcrum/conv-choices.tsv", folder);
    assert_ok(ful__file_read(path, 1 << 20, &text, &bytes));
    return text;
}

static void write_text(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/fulcrum", folder);
    assert_ok(ful__mkdirs(path));
    snprintf(path, sizeof path, "%s/fulcrum/conv-choices.tsv", folder);
    assert_ok(ful__file_write(path, text, strlen(text)));
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static int choose_three(void)
{
    const ful__dnnl_conv_spec s = spec_of(16, FUL_CONV_AUTO);
    for (int pass = 0; pass < FUL__DNNL_PASSES; pass++) (void)choose(&s, (ful__dnnl_pass)pass);
    return 0;
}

static void measured_once(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    in_child(choose_three);
    char *first = file_text();
    assert_int_equal(lines(first), 1 + 3);
    in_child(choose_three);
    char *second = file_text();
    assert_string_equal(first, second);
    ful__free(first);
    ful__free(second);
}

/* What the file says is taken, although a measurement might say otherwise. */
static int as_written(void)
{
    const ful__dnnl_conv_spec s = spec_of(16, FUL_CONV_AUTO);
    const bool first = choose(&s, FUL__DNNL_FWD);
    char *text = file_text(), *word = strstr(text, first ? "winograd" : "direct");
    if (!word) return 1;
    ful__free(text);
    return 0;
}

static int opposite(void)
{
    char *text = file_text(), turned[4096] = "";
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *tab = strrchr(line, '\t');
        const bool head = strncmp(line, "fulcrum", 7) == 0;
        const size_t keep = head ? strlen(line) : (size_t)(tab - line + 1);
        const char *other = head ? "" : strcmp(tab + 1, "direct") == 0 ? "winograd" : "direct";
        snprintf(turned + strlen(turned), sizeof turned - strlen(turned), "%.*s%s\n", (int)keep, line, other);
    }
    ful__free(text);
    write_text(turned);
    const ful__dnnl_conv_spec s = spec_of(16, FUL_CONV_AUTO);
    const bool now = choose(&s, FUL__DNNL_BWD_X);
    char *dx = strstr(turned, "dx ");
    return dx && (strstr(dx, now ? "\twinograd\n" : "\tdirect\n") == strchr(dx, '\t')) ? 0 : 1;
}

static void file_is_believed(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    in_child(choose_three);
    in_child(as_written);
    in_child(opposite);
}

static void damaged_file_is_replaced(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    const char *const bad[] = {"", "nonsense", "fulcrum-conv-2\tanother machine\t0\toneDNN 9\nx\ty\n", "fulcrum-conv-2\t\n\n\n",
                               "fulcrum-conv-1\tof an older version\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(bad[i]);
        in_child(choose_three);
        char *text = file_text();
        assert_int_equal(lines(text), 1 + 3);
        assert_true(strncmp(text, "fulcrum-conv-2\t", 15) == 0);
        ful__free(text);
    }
}

/* The text with its kernels' stamp changed by one letter. */
static void change_stamp(char *text)
{
    char *end = strchr(text, '\n');
    assert_true(end != NULL && end > text && strstr(text, "\tkernels ") != NULL);
    end[-1] = end[-1] == '0' ? '1' : '0';
}

/* Choices of other kernels are made anew, so that the file is again as it was. */
static int measured_anew(void)
{
    char *text = file_text(), *first = strchr(text, '\n') + 1;
    change_stamp(text);
    strcpy(strchr(first, '\n') + 1, "");
    write_text(text);
    choose_three();
    char *now = file_text();
    const int result = lines(now) == 1 + 3 && strncmp(now, text, (size_t)(first - text)) != 0 ? 0 : 1;
    ful__free(text);
    ful__free(now);
    return result;
}

static void other_kernels(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    in_child(choose_three);
    in_child(measured_anew);
}

static int no_folder(void)
{
    setenv("XDG_CACHE_HOME", "/dev/null/nowhere", 1);
    return choose_three();
}

static int another_file(void)
{
    char path[128], *text = NULL;
    size_t bytes;
    snprintf(path, sizeof path, "%s/a study's.tsv", folder);
    setenv("FULCRUM_CONV_FILE", path, 1);
    choose_three();
    if (ful__file_read(path, 1 << 20, &text, &bytes) != FUL_OK || lines(text) != 1 + 3) return 1;
    ful__free(text);
    return 0;
}

static void a_file_of_ones_own(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    in_child(another_file);
}

static void without_a_folder(void **state)
{
    (void)state;
    in_child(no_folder);
}

static void as_asked(void **state)
{
    (void)state;
    const bool can = ful_cpu_flags() & FUL_CPU_AVX2;
    ful__dnnl_conv_spec direct = spec_of(32, FUL_CONV_DIRECT), winograd = spec_of(32, FUL_CONV_WINOGRAD);
    assert_false(choose(&direct, FUL__DNNL_FWD));
    assert_int_equal(choose(&winograd, FUL__DNNL_FWD), can);
    assert_int_equal(choose(&winograd, FUL__DNNL_BWD_W), can);
    winograd.attr.bias = true; /* whose gradient comes with the plain sum */
    assert_false(choose(&winograd, FUL__DNNL_BWD_W));
    winograd = spec_of(32, FUL_CONV_WINOGRAD);
    winograd.attr.stride_h = 2;
    assert_false(choose(&winograd, FUL__DNNL_FWD));
    ful__conv_way way;
    ful__dnnl_conv_spec strips = winograd;
    strips.attr.algorithm = FUL_CONV_STRIPS;
    strips.y.h = strips.y.w = 4;
    assert_ok(ful__conv_choose(&strips, FUL__DNNL_FWD, 4, &way));
    assert_int_equal(way, can ? FUL__CONV_STRIPS : FUL__CONV_DIRECT);
    setenv("FULCRUM_CONV", "winograd", 1);
    assert_int_equal(choose(&direct, FUL__DNNL_FWD), can);
    setenv("FULCRUM_CONV", "direct", 1);
    winograd = spec_of(32, FUL_CONV_WINOGRAD);
    assert_false(choose(&winograd, FUL__DNNL_FWD));
    unsetenv("FULCRUM_CONV");
}

static int text_is_taken_over(void)
{
    const ful__dnnl_conv_spec s = spec_of(48, FUL_CONV_AUTO);
    char *text = NULL;
    const bool first = choose(&s, FUL__DNNL_FWD);
    if (ful__conv_choices_text(&text) != FUL_OK || !strstr(text, "c48-48") || !strstr(text, first ? "winograd" : "direct"))
        return 1;
    if (ful__conv_choices_add(text, "a copy") != FUL_OK) return 2;
    ful__free(text);
    return 0;
}

/* What a run's folder lends goes before the machine's file, whatever the kernels, and is not written there. */
static int text_is_lent(void)
{
    const ful__dnnl_conv_spec s = spec_of(16, FUL_CONV_AUTO);
    char *before = file_text(), *text = file_text(), *now = NULL, turned[4096] = "";
    change_stamp(text);
    const char *forward = strstr(text, "forward ");
    const bool winograd = strncmp(strchr(forward, '\t'), "\twinograd", 9) == 0;
    snprintf(turned, sizeof turned, "%.*s%.*s\t%s\n", (int)(strchr(text, '\n') + 1 - text), text,
             (int)(strchr(forward, '\t') - forward), forward, winograd ? "direct" : "winograd");
    if (ful__conv_choices_add(turned, "a run's folder") != FUL_OK) return 1;
    if (choose(&s, FUL__DNNL_FWD) == winograd) return 2;
    const ful__dnnl_conv_spec other = spec_of(80, FUL_CONV_AUTO);
    (void)choose(&other, FUL__DNNL_FWD); /* the file is read and written */
    char *after = file_text();
    if (strncmp(after, before, strlen(before)) != 0 || lines(after) != lines(before) + 1) return 3;
    if (choose(&s, FUL__DNNL_FWD) == winograd) return 4;
    if (ful__conv_choices_text(&now) != FUL_OK || lines(now) != lines(after)) return 5;
    if (!strstr(now, strchr(turned, '\n') + 1)) return 6;
    ful__free(before);
    ful__free(text);
    ful__free(after);
    ful__free(now);
    return 0;
}

static void texts(void **state)
{
    (void)state;
    if (!(ful_cpu_flags() & FUL_CPU_AVX2)) skip();
    in_child(text_is_taken_over);
    in_child(choose_three);
    in_child(text_is_lent);
    assert_fails(ful__conv_choices_add("what", "a file"), FUL_ERR_FORMAT, "cannot read 'a file': line 1");
    assert_ok(ful__conv_choices_add("fulcrum-conv-1\tanother\n", "a file"));
}

static ful_status choose_afresh(void *ctx)
{
    (void)ctx;
    static int channels;
    ful__conv_way way;
    const ful__dnnl_conv_spec s = spec_of(channels += 16, FUL_CONV_AUTO);
    return ful__conv_choose(&s, FUL__DNNL_FWD, 1, &way);
}

/* A choice that cannot be kept or measured is an error or is made anew; nothing is left behind. */
static void failing_memory(void **state)
{
    (void)state;
    for (long n = 1; n < 40; n++) {
        ful__fault_fail_at(FUL__FAULT_ALLOC, n);
        const ful_status status = choose_afresh(NULL);
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
        assert_true(status == FUL_OK || status == FUL_ERR_MEMORY);
        if (n % 8 == 0) assert_ok(choose_afresh(NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* these fork, so they come before anything starts threads */
        cmocka_unit_test(measured_once), cmocka_unit_test(file_is_believed),   cmocka_unit_test(damaged_file_is_replaced),
        cmocka_unit_test(other_kernels), cmocka_unit_test(a_file_of_ones_own), cmocka_unit_test(without_a_folder),
        cmocka_unit_test(texts),         cmocka_unit_test(as_asked),           cmocka_unit_test(failing_memory),
    };
    if (!mkdtemp(folder)) return 1;
    setenv("XDG_CACHE_HOME", folder, 1);
    unsetenv("FULCRUM_CONV");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? failed : 1;
}
