/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules at points that can be computed by hand. */
#include <math.h>

#include "support/test.h"
#include "train/schedule.h"

static ful_train_config config_of(ful_schedule schedule)
{
    return (ful_train_config){.epochs = 10, .lr = 0.2, .schedule = schedule, .step_epochs = 4, .step_gamma = 0.1};
}

static void check(const ful_train_config *c, int64_t step, double wanted)
{
    const double got = ful__schedule_lr(c, step, 100);
    if (fabs(got - wanted) > 1e-15) fail_msg("step %ld: lr = %.17g, wanted %.17g", (long)step, got, wanted);
}

static void test_shapes(void **state)
{
    (void)state;
    ful_train_config c = config_of(FUL_SCHEDULE_COSINE);
    check(&c, 0, 0.2);
    check(&c, 500, 0.1);
    check(&c, 250, 0.2 * 0.5 * (1 + sqrt(0.5)));
    c.lr_final = 0.1;
    check(&c, 1000, 0.02);
    check(&c, 500, 0.2 * 0.55);
    c.schedule = FUL_SCHEDULE_LINEAR;
    check(&c, 0, 0.2);
    check(&c, 500, 0.2 * 0.55);
    check(&c, 1000, 0.02);
    c.schedule = FUL_SCHEDULE_CONST;
    check(&c, 999, 0.2);
    c.schedule = FUL_SCHEDULE_STEP;
    check(&c, 399, 0.2);
    check(&c, 400, 0.2 * 0.1);
    check(&c, 799, 0.2 * 0.1);
    check(&c, 800, 0.2 * pow(0.1, 2));
}

/* Warm-up of a fraction of an epoch ends on the step it should, is never 0, and the rest of the schedule starts at the peak. */
static void test_warmup(void **state)
{
    (void)state;
    ful_train_config c = config_of(FUL_SCHEDULE_COSINE);
    c.warmup = 0.5;
    check(&c, 0, 0.2 / 50);
    check(&c, 24, 0.1);
    check(&c, 49, 0.2);
    check(&c, 50, 0.2);
    check(&c, 525, 0.1);
    c.warmup = 10;
    check(&c, 999, 0.2);
    c.warmup = 0.001; /* less than a step */
    check(&c, 0, 0.2);
    c.schedule = FUL_SCHEDULE_STEP; /* steps count from the run's start */
    c.warmup = 1;
    check(&c, 399, 0.2);
    check(&c, 400, 0.2 * 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_warmup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
