/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Router temperature (card P1): logits are divided by tau, which goes from tau0 to the floor tau_min over the training.
 *
 *   const     tau0
 *   linear    tau0 + (tau_min - tau0) progress
 *   sigmoid   tau_min + (tau0 - tau_min) (s(progress) - s(1)) / (s(0) - s(1)), s(p) = 1/(1 + e^{-10(1/2 - p)})
 */
#include <math.h>

#include "moe/router.h"

static double fall(double progress)
{
    return 1 / (1 + exp(-10 * (0.5 - progress)));
}

float ful__router_temperature(const ful_moe_attr *attr, double progress)
{
    const double from = (double)attr->tau0, to = (double)attr->tau_min;
    if (!(progress > 0)) progress = 0;
    if (progress > 1) progress = 1;
    switch (attr->temperature) {
    case FUL_TEMPERATURE_CONST: break;
    case FUL_TEMPERATURE_LINEAR: return (float)(from + (to - from) * progress);
    case FUL_TEMPERATURE_SIGMOID: return (float)(to + (from - to) * (fall(progress) - fall(1)) / (fall(0) - fall(1)));
    }
    return attr->tau0;
}
