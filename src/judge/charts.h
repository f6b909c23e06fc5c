/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures of a judgement, appended to a page (standalone false) or as files of their own. */
#ifndef FUL_JUDGE_CHARTS_H
#define FUL_JUDGE_CHARTS_H

#include <fulcrum/judge.h>

#include "judge/svg.h"

void ful__confusion_svg(const ful_judgement *j, const char *const *names, bool standalone, ful__str *out);
/* other: the name of what r has as the other; not read where there is none. */
void ful__robust_svg(const ful_robust *r, const char *name, const char *other, bool standalone, ful__str *out);
void ful__reliability_svg(const ful_judgement *j, bool standalone, ful__str *out);

#endif
