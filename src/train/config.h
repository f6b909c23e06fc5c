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

/* The whole configuration as a tree; the caller destroys it. */
ful_status ful__config_tree(const ful_config *config, ful__yaml **out) FUL_CHECK_RESULT;

/* data.augment of a ful_data_config, and what its items are (config_augment.c). */
ful_status ful__config_read_augment(const ful__key *key, const ful__spot *spot, void *base) FUL_CHECK_RESULT;
ful_status ful__config_write_augment(const ful__key *key, const void *base, ful__yaml **out) FUL_CHECK_RESULT;
void ful__config_help_augment(ful__str *s);

/* The net's graph with what the data set has not yet said filled by stand-ins (32 px, 3 channels, 10 classes). */
ful_status ful__config_trial_graph(const ful_config *config, int n_moe, ful_graph **out) FUL_CHECK_RESULT;

/* Comparing (config_compare.c): by values with all defaults filled in, so that a configuration written by another version,
 * which knew fewer keys or ordered them otherwise, is the same where it means the same. */
typedef struct ful__config_change {
    bool found;                  /* they differ */
    char key[FUL__KEY_PATH_MAX]; /* in "moe[0].balance.switch" */
    char was[100], is[100];      /* its values, cut where they are long */
} ful__config_change;
enum { FUL__CONFIG_BYTES_MAX = 1 << 20 };
/* The first key in which they differ. */
ful_status ful__config_compare(const ful_config *was, const ful_config *is, ful__config_change *out) FUL_CHECK_RESULT;
/* Copies the keys that say where and how fast, not what (data.path, data.cache, data.workers, train.threads): a run may go on
 * with others. Net sizes that are 0 in `from`, still to be filled from the data, become 0. */
void ful__config_take_free_keys(ful_config *to, const ful_config *from);
/* Compares the configuration file of something begun with what it would go on with, free keys apart. FUL_ERR_CONFIG names what
 * cannot be read. */
ful_status ful__config_check_stored(const char *path, const ful_config *now, ful__config_change *out) FUL_CHECK_RESULT;

/* Net sizes and classes that are 0 become the data set's; others must be. */
ful_status ful__config_settle(ful_config *config, const ful_dataset_info *info) FUL_CHECK_RESULT;

#endif
