/* SPDX-License-Identifier: Apache-2.0 */
/* Changing pixels before a pass: a corruption, then a view. */
#ifndef FUL_JUDGE_VIEWS_H
#define FUL_JUDGE_VIEWS_H

#include <fulcrum/judge.h>

typedef struct ful__change {
    ful_corruptor *corruptor; /* NULL: none */
    ful_view view;
    int h, w, c;
    uint8_t *between; /* [workers][h][w][c] */
} ful__change;

ful_status ful__change_init(ful__change *change, const ful_judge_pass *pass, const ful_dataset *set) FUL_CHECK_RESULT;
void ful__change_deinit(ful__change *change); /* accepts a zeroed one */
/* Whether pixels are changed at all; change: a ful__change, for ful_pixels_fn. */
bool ful__change_is_plain(const ful__change *change);
void ful__change_apply(void *change, int worker, uint32_t index, const uint8_t *in, uint8_t *out);

#endif
