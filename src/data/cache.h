/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded sets kept as packs in a cache folder, one file per (source, size, channels): <set>-<split>-<key>.pack. The key
 * covers the place, size and time of every source file, so a changed source never meets an old cache. Two processes may
 * build the same cache at once: each writes its own file and renames it into place.
 */
#ifndef FUL_DATA_CACHE_H
#define FUL_DATA_CACHE_H

#include "data/source.h"

/*
 * The decoded images of a source: mapped from the cache, or decoded now and kept there. A damaged cache is rebuilt, with a
 * warning; where the cache cannot be written the images stay in memory, with a warning. Packs are mapped as they are.
 */
ful_status ful__cache_open(const ful_data_config *config, const ful__source *source, ful__pack *out) FUL_CHECK_RESULT;

/* All images of a source that is no pack into an empty build; listed: its store, or NULL. */
ful_status ful__cache_fill(const ful__source *source, const struct ful__store *listed, ful__build *b) FUL_CHECK_RESULT;

#endif
