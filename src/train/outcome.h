/* SPDX-License-Identifier: Apache-2.0 */
/* The file of outcomes (doc/format-run.md, predictions.bin). */
#ifndef FUL_TRAIN_OUTCOME_H
#define FUL_TRAIN_OUTCOME_H

#include <fulcrum/train.h>

#define FUL__OUTCOME_MAGIC "FULPRED" /* and its NUL */
#define FUL__OUTCOME_ORDER 0x01020304u

typedef struct ful__outcome_head {
    char magic[8];
    uint32_t byte_order, record_bytes;
    int64_t count;
    int32_t classes, zero;
    uint64_t fingerprint; /* of the data split */
} ful__outcome_head;
_Static_assert(sizeof(ful__outcome_head) == 40 && sizeof(ful_outcome) == 24, "as written in doc/format-run.md");

/* Checks everything; *out points into data, which must be 8-byte aligned, and outlive it. */
ful_status ful__outcomes_parse(const char *name, const void *data, size_t bytes, ful__outcome_head *head,
                               const ful_outcome **out) FUL_CHECK_RESULT;

#endif
