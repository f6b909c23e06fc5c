/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUL_DATA_CONFIG_H
#define FUL_DATA_CONFIG_H

#include <fulcrum/data.h>

ful_status ful__data_config_check(const ful_data_config *config) FUL_CHECK_RESULT;
ful_status ful__augment_check(const ful_augment *augment) FUL_CHECK_RESULT;
int ful__data_classes_of(const ful_data_config *config); /* classes that such a set must have; 0: any */

#endif
