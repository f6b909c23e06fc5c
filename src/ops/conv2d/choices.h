/* SPDX-License-Identifier: Apache-2.0 */
/* The choices of convolutions (choose.h) as text, for whoever keeps them with a run. */
#ifndef FUL_OPS_CONV2D_CHOICES_H
#define FUL_OPS_CONV2D_CHOICES_H

#include <fulcrum/status.h>

/* The choices this process has made or read so far, as text ("" if none); the caller frees it. add: they are taken over, and
 * go before what the machine's file says. A line that is not understood is FUL_ERR_FORMAT. */
ful_status ful__conv_choices_text(char **out) FUL_CHECK_RESULT;
ful_status ful__conv_choices_add(const char *text, const char *from) FUL_CHECK_RESULT;

#endif
