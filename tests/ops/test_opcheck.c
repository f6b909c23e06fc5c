/* SPDX-License-Identifier: Apache-2.0 */
/* The judge judged: real ops, each made to break one rule of ops/op.h, must be found out, and for that reason. */
#include <stdlib.h>

#include "core/error.h"
#include "core/mem.h"
#include "ops/opcheck_rig.h"
#include "support/test.h"
#include <fulcrum/core.h>

/* Spoiled ops ------------------------------------------------------------------------------------------------------------ */

/* What the op now does wrong; run: the run it was given, n > 0. */
typedef void (*spoil_fn)(ful__op *op, const ful__run *run);
static spoil_fn before_forward, after_forward, before_backward, after_backward;
static bool forget_repack, forget_rows, forget_train, claim_in_place, claim_blocked, say_argument, fail;
static int64_t extra_macs;
static const ful__op_type *sound; /* the real op */
static ful__op_type spoiled;

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    const ful_status status = sound->create(name, attr, x, n_x, out);
    if (status != FUL_OK) return say_argument ? FUL_ERR_ARG : status;
    (*out)->type = &spoiled;
    (*out)->cost.macs += extra_macs;
    return FUL_OK;
}

static void layouts(ful__op *op)
{
    sound->layouts(op);
    if (claim_blocked) op->y_layout = FUL__BLOCKED;
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    const ful_status status = sound->plan(op, n_max, train);
    op->need.inplace = op->need.inplace || claim_in_place;
    return status;
}

static ful__run twist(const ful__run *run)
{
    ful__run r = *run;
    if (forget_repack) r.repack = false;
    if (forget_rows) r.row = NULL;
    if (forget_train) r.train = true;
    return r;
}

static ful_status forward(ful__op *op, const ful__run *run)
{
    const ful__run r = twist(run);
    if (fail) return ful__fail(FUL_ERR_INTERNAL, "cannot go on: a test wants it");
    if (run->n > 0 && before_forward) before_forward(op, run);
    const ful_status status = sound->forward(op, &r);
    if (run->n > 0 && after_forward) after_forward(op, run);
    return status;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    const ful__run r = twist(run);
    if (run->n > 0 && before_backward) before_backward(op, run);
    const ful_status status = sound->backward(op, &r);
    if (run->n > 0 && after_backward) after_backward(op, run);
    return status;
}

/* Red zones are poisoned under AddressSanitizer, which must not end this program. */
#define SPOIL(name) __attribute__((no_sanitize("address"))) static void name(ful__op *op, const ful__run *run)

SPOIL(nudge_y)
{
    run->y[run->n * ful__count(op->y) - 1] += 1e-3f;
}

SPOIL(write_before_y)
{
    (void)op;
    run->y[-1] = 0;
}

SPOIL(write_behind_y)
{
    run->y[run->n * ful__count(op->y)] = 0;
}

SPOIL(write_behind_scratch)
{
    ((char *)run->scratch)[(size_t)run->n * op->need.scratch_per_image + op->need.scratch_fixed] = 1;
}

SPOIL(write_x)
{
    (void)op;
    ((float *)(uintptr_t)run->x[0])[0] = 2;
}

SPOIL(write_dy)
{
    (void)op;
    ((float *)(uintptr_t)run->dy)[0] = 2;
}

SPOIL(write_w)
{
    (void)op;
    run->w[0][0] += 1;
}

SPOIL(clear_dw)
{
    memset(run->dw[0], 0, (size_t)op->params[0].count * sizeof(float));
}

SPOIL(scale_dx)
{
    for (int64_t i = 0; run->dx[0] && i < run->n * ful__count(op->x[0]); i++) run->dx[0][i] *= 1.001f;
}

SPOIL(read_y)
{
    (void)op;
    run->dw[0][0] += run->y[0] * 0;
}

SPOIL(read_scratch)
{
    (void)op;
    run->y[0] += *(float *)run->scratch * 0;
}

SPOIL(allocate)
{
    (void)op;
    (void)run;
    void *p = NULL;
    if (ful__calloc(&p, 1, 8, "a test") == FUL_OK) ful__free(p);
}

SPOIL(count_more)
{
    (void)op;
    run->counters->macs++;
}

/* Hardly wrong, but not the same bits. */
SPOIL(ask_threads)
{
    (void)op;
    run->y[0] *= 1 + 1e-7f * (float)ful_threads_get();
}

SPOIL(ask_level)
{
    (void)op;
    run->y[0] *= ful_cpu_flags() & FUL_CPU_AVX512 ? 1 : ful_cpu_flags() & FUL_CPU_AVX2 ? 1 + 2e-7f : 1 + 4e-7f;
}

SPOIL(ask_batch)
{
    (void)op;
    run->y[0] *= 1 + 1e-7f * (float)run->n;
}

static int runs_so_far;
SPOIL(ask_history)
{
    (void)op;
    run->y[0] *= 1 + 1e-7f * (float)(runs_so_far++ % 7);
}

SPOIL(move_statistics)
{
    (void)op;
    run->w[2][0] += 1;
}

/* Judging --------------------------------------------------------------------------------------------------------------- */

static ful_linear_attr linear_attr = {.out_features = 19, .bias = true, .gain = 1};
static ful_batchnorm_attr norm_attr = {.eps = 1e-3f, .momentum = 0.1f};
static ful_dropout_attr dropout_attr = {.p = 0.5f};
static check_case linear_case, norm_case, dropout_case;

static int set_up(void **state)
{
    (void)state;
    before_forward = after_forward = before_backward = after_backward = NULL;
    forget_repack = forget_rows = forget_train = claim_in_place = claim_blocked = say_argument = fail = false;
    extra_macs = 0;
    linear_case = (check_case){.attr = &linear_attr, .text = "19", .n_x = 1, .x = {{3, 1, 19}}, .y = {3, 1, 19}, .n_max = 6};
    linear_case.macs = 3 * 19 * 19;
    norm_case = (check_case){.attr = &norm_attr, .text = "norm", .n_x = 1, .x = {{3, 3, 16}}, .y = {3, 3, 16}, .n_max = 6};
    dropout_case = (check_case){.attr = &dropout_attr, .text = "drop", .n_x = 1, .x = {{3, 3, 16}}, .y = {3, 3, 16}};
    dropout_case.n_max = 6;
    return 0;
}

typedef bool (*judge_fn)(const check_suite *suite, const check_case *c);

/* The judge's words; NULL where it found nothing. The caller frees. */
static char *judge(judge_fn fn, const ful__op_type *type, const check_case *c)
{
    sound = type;
    spoiled = *type;
    spoiled.create = create;
    spoiled.layouts = layouts;
    spoiled.plan = plan;
    spoiled.forward = forward;
    spoiled.backward = backward;
    const check_suite suite = {
        .name = type->name, .type = &spoiled, .tolerance = 4e-6, .magnitude = CHECK_RANGE, .same_bits = ~0u};
    char *text = NULL;
    size_t bytes;
    check_out = open_memstream(&text, &bytes);
    assert_non_null(check_out);
    const bool good = fn(&suite, c);
    fclose(check_out);
    check_out = NULL;
    if (!good) return text;
    if (bytes) fail_msg("passed, but said: %s", text);
    free(text);
    return NULL;
}

static void expect(judge_fn fn, const ful__op_type *type, const check_case *c, const char *words)
{
    char *text = judge(fn, type, c);
    if (!text) fail_msg("found nothing wrong; it should have said '%s'", words);
    if (!strstr(text, words)) fail_msg("said: %s\nit should have said '%s'", text, words);
    free(text);
}

static void expect_sound(judge_fn fn, const ful__op_type *type, const check_case *c)
{
    char *text = judge(fn, type, c);
    if (text) fail_msg("%s", text);
}

static void test_sound_ops_pass(void **state)
{
    (void)state;
    expect_sound(check_test, &ful__op_linear, &linear_case);
    expect_sound(check_grad, &ful__op_linear, &linear_case);
    expect_sound(check_grad, &ful__op_batchnorm, &norm_case);
    expect_sound(check_test, &ful__op_dropout, &dropout_case);
}

static void test_wrong_values(void **state)
{
    after_forward = nudge_y;
    expect(check_test, &ful__op_linear, &linear_case, "channel 18] is ");
    (void)set_up(state);
    after_backward = scale_dx;
    expect(check_test, &ful__op_linear, &linear_case, "dx[0][image 0");
    expect(check_grad, &ful__op_linear, &linear_case, "central difference");
    (void)set_up(state);
    before_backward = clear_dw;
    expect(check_test, &ful__op_linear, &linear_case, "d weight[0]");
    expect(check_grad, &ful__op_linear, &linear_case, "central difference");
}

static void test_memory_of_others(void **state)
{
    after_forward = write_before_y;
    expect(check_test, &ful__op_linear, &linear_case, "forward wrote before y");
    (void)set_up(state);
    after_forward = write_behind_y;
    expect(check_test, &ful__op_linear, &linear_case, "forward wrote behind y of 228 bytes, at byte 228");
    (void)set_up(state);
    after_backward = write_behind_scratch;
    expect(check_test, &ful__op_batchnorm, &norm_case, "backward wrote behind scratch");
    (void)set_up(state);
    after_forward = write_x;
    expect(check_test, &ful__op_linear, &linear_case, "forward changed x[0]");
    (void)set_up(state);
    after_backward = write_x;
    expect(check_test, &ful__op_linear, &linear_case, "backward changed x[0]");
    (void)set_up(state);
    after_backward = write_dy;
    expect(check_test, &ful__op_linear, &linear_case, "backward changed dy");
    (void)set_up(state);
    after_forward = write_w;
    expect(check_test, &ful__op_linear, &linear_case, "forward changed weight");
    (void)set_up(state);
    after_backward = move_statistics;
    expect(check_test, &ful__op_batchnorm, &norm_case, "backward changed running_mean");
    (void)set_up(state);
    before_forward = allocate;
    expect(check_test, &ful__op_linear, &linear_case, "forward allocated memory 1 times");
}

static void test_reading_what_is_undefined(void **state)
{
    before_backward = read_y;
    expect(check_test, &ful__op_linear, &linear_case, "nan, the reference");
    (void)set_up(state);
    after_forward = read_scratch; /* forward of a learnable scale writes none */
    norm_case.attr = &(ful_scale_attr){.value = 1, .learnable = true};
    expect(check_test, &ful__op_scale, &norm_case, "nan, the reference");
}

static void test_flags(void **state)
{
    forget_repack = true;
    expect(check_test, &ful__op_linear, &linear_case, "repack=1");
    (void)set_up(state);
    forget_rows = true;
    expect(check_test, &ful__op_dropout, &dropout_case, "rows=1");
    (void)set_up(state);
    claim_in_place = true;
    norm_case.attr = &(ful_pool_attr){FUL_POOL_MAX, 3, 1, 1};
    expect(check_test, &ful__op_pool, &norm_case, "y_over=0");
    (void)set_up(state);
    claim_blocked = true;
    expect(check_test, &ful__op_linear, &linear_case, "layouts: blocked with 19 channels");
    (void)set_up(state);
    fail = true;
    expect(check_test, &ful__op_linear, &linear_case, "forward gave FUL_ERR_INTERNAL: cannot go on");
}

static void test_costs(void **state)
{
    extra_macs = 1;
    expect(check_test, &ful__op_linear, &linear_case, "it costs 1084 macs, not 1083");
    (void)set_up(state);
    after_forward = count_more;
    expect(check_test, &ful__op_linear, &linear_case, "counted 1084 macs, cost says 1 x 1083");
    (void)set_up(state);
    linear_case.y.h = 2;
    expect(check_test, &ful__op_linear, &linear_case, "its output is 3x1x19, not 2x1x19");
}

static void test_bits(void **state)
{
    after_forward = ask_threads;
    expect(check_test, &ful__op_linear, &linear_case, "other bits than before");
    (void)set_up(state);
    after_forward = ask_batch;
    expect(check_test, &ful__op_linear, &linear_case, "other bits than before");
    (void)set_up(state);
    after_forward = ask_history;
    expect(check_test, &ful__op_linear, &linear_case, "repack=0");
    check_level levels[3];
    if (check_levels(levels) < 2) return;
    (void)set_up(state);
    after_forward = ask_level;
    expect(check_test, &ful__op_linear, &linear_case, "other bits than before");
}

static void test_building(void **state)
{
    say_argument = true;
    expect(check_test, &ful__op_linear, &linear_case, "with allocation 1 failing, create and plan gave FUL_ERR_ARG");
    (void)set_up(state);
    linear_case.refused = "out_features=19";
    expect(check_test, &ful__op_linear, &linear_case, "create gave FUL_OK (), not a refusal with 'out_features=19'");
    linear_case.x[0].c = 0;
    expect(check_test, &ful__op_linear, &linear_case, "not a refusal with 'out_features=19'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_sound_ops_pass, set_up),
        cmocka_unit_test_setup(test_wrong_values, set_up),
        cmocka_unit_test_setup(test_memory_of_others, set_up),
        cmocka_unit_test_setup(test_reading_what_is_undefined, set_up),
        cmocka_unit_test_setup(test_flags, set_up),
        cmocka_unit_test_setup(test_costs, set_up),
        cmocka_unit_test_setup(test_bits, set_up),
        cmocka_unit_test_setup(test_building, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
