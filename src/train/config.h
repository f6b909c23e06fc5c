/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces a configuration is read by: blocks data, net and train in config.c, the lists data.augment and moe
 * in config_augment.c and config_moe.c. */
#ifndef FUL_TRAIN_CONFIG_H
#define FUL_TRAIN_CONFIG_H

#include "train/schema.h"
#include <fulcrum/train.h>

extern const ful__key ful__moe_keys[]; /* of a ful_moe_site */

/* Reads the `moe:` list; `root` is the whole document: its `router:` and `dense:` are applied to every site (card I3). */
ful_status ful__config_read_moe(const ful__spot *root, ful_config *config) FUL_CHECK_RESULT;
ful_status ful__config_write_moe(const ful_net_config *net, ful__yaml **out) FUL_CHECK_RESULT;
/* A site with all defaults, those of this expert. */
void ful__moe_site_defaults(ful_moe_site *site, ful_expert expert);

/* data.augment of a ful_data_config, and what its items are (config_augment.c). */
ful_status ful__config_read_augment(const ful__key *key, const ful__spot *spot, void *base) FUL_CHECK_RESULT;
ful_status ful__config_write_augment(const ful__key *key, const void *base, ful__yaml **out) FUL_CHECK_RESULT;
void ful__config_help_augment(ful__str *s);

/* The net's graph with what the data set has not yet said filled by stand-ins (32 px, 3 channels, 10 classes). */
ful_status ful__config_trial_graph(const ful_config *config, int n_moe, ful_graph **out) FUL_CHECK_RESULT;

/* Net sizes and classes that are 0 become the data set's; others must be. */
ful_status ful__config_settle(ful_config *config, const ful_dataset_info *info) FUL_CHECK_RESULT;

#endif
