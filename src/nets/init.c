/* SPDX-License-Identifier: Apache-2.0 */
/* Initial values, keyed by (seed, parameter name): no parameter's values depend on which others there are. */
#include "nets/init.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

static void fill(float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) x[i] = value;
}

void ful__init_param(const ful__param *p, uint64_t seed, float *value_out)
{
    const ful__stream stream = ful__stream_make(seed, "init", p->init_name[0] ? p->init_name : p->name);
    const size_t count = (size_t)p->count;
    const double fan_in = p->fan_in > 0 ? (double)p->fan_in : 1;
    switch (p->init) {
    case FUL_INIT_ZEROS: fill(value_out, p->count, 0); break;
    case FUL_INIT_ONES: fill(value_out, p->count, p->gain); break;
    case FUL_INIT_HE_NORMAL:
        ful__rng_fill_normal(stream, 0, (float)sqrt((double)p->gain * 2 / fan_in), value_out, count);
        break;
    case FUL_INIT_LECUN_NORMAL: ful__rng_fill_normal(stream, 0, (float)sqrt((double)p->gain / fan_in), value_out, count); break;
    case FUL_INIT_TRUNC_NORMAL: ful__rng_fill_truncated_normal(stream, 0, p->gain, value_out, count); break;
    case FUL_INIT_NORMAL: ful__rng_fill_normal(stream, 0, p->gain, value_out, count); break;
    }
}
