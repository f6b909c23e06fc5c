/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules; formulas in the header. */
#include "train/schedule.h"

#include <math.h>

double ful__schedule_lr(const ful_train_config *config, int64_t step, int64_t steps_per_epoch)
{
    const double pi = 3.14159265358979323846;
    const double s = (double)step, per_epoch = (double)steps_per_epoch;
    const double all = per_epoch * config->epochs, warm = rint(config->warmup * per_epoch);
    const double f = config->lr_final, t = all > warm ? (s - warm) / (all - warm) : 1;
    if (s < warm) return config->lr * (s + 1) / warm;
    switch (config->schedule) {
    case FUL_SCHEDULE_COSINE: return config->lr * (f + (1 - f) * 0.5 * (1 + cos(pi * t)));
    case FUL_SCHEDULE_LINEAR: return config->lr * (1 - (1 - f) * t);
    case FUL_SCHEDULE_STEP: return config->lr * pow(config->step_gamma, floor(s / (per_epoch * config->step_epochs)));
    case FUL_SCHEDULE_CONST: return config->lr;
    }
    return config->lr;
}
