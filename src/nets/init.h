/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_NETS_INIT_H
#define FUL_NETS_INIT_H

#include "ops/op.h"

/* The initial values of a parameter: a function of (seed, name) alone, so that every arm of a study starts from the same
 * backbone. */
void ful__init_param(const ful__param *p, uint64_t seed, float *value_out);

#endif
