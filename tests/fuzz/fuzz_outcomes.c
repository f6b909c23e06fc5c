/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of outcomes: as they are, and with head and checksum made to fit, so that a search gets past them. */
#include <stdlib.h>
#include <string.h>

#include <fulcrum/core.h>

#include "core/file.h"
#include "train/outcome.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const void *data, size_t bytes)
{
    ful__outcome_head head;
    const ful_outcome *list = NULL;
    const ful_status status = ful__outcomes_parse("input", data, bytes, &head, &list);
    if (status != FUL_OK) {
        if (status != FUL_ERR_FORMAT || strncmp(ful_error_message(), "cannot ", 7) != 0) abort();
        return;
    }
    for (int64_t i = 0; i < head.count; i++)
        if (list[i].predicted < 0 || list[i].predicted >= head.classes || !(list[i].confidence <= 1)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ful__outcome_head head;
    uint64_t sum;
    unsigned char *copy = calloc(bytes + 1, 1);
    if (!copy) return 0;
    if (bytes > 0) memcpy(copy, data, bytes);
    check(copy, bytes);
    if (bytes >= sizeof head + sizeof sum) {
        memcpy(&head, copy, sizeof head);
        memcpy(head.magic, FUL__OUTCOME_MAGIC, sizeof head.magic);
        head.byte_order = FUL__OUTCOME_ORDER;
        head.record_bytes = sizeof(ful_outcome);
        memcpy(copy, &head, sizeof head);
        const size_t room = bytes - sizeof head - sizeof sum;
        sum = ful__hash64(copy + sizeof head, room, ful__hash64(&head, sizeof head, 0));
        memcpy(copy + sizeof head + room, &sum, sizeof sum);
        check(copy, bytes);
    }
    free(copy);
    return 0;
}
