/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_CORE_TIME_H
#define FUL_CORE_TIME_H

double ful__seconds(void); /* monotonic clock */

#endif
