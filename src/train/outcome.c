/* SPDX-License-Identifier: Apache-2.0 */
/* Outcomes: what is kept of a net's output for one image, and the file of them (predictions.bin, doc/format-run.md). */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "train/evaluate.h"
#include "train/outcome.h"

static ful_outcome outcome_of(const float *logits, int classes, int label, double scale)
{
    ful_outcome o = {.label = label};
    o.rank = ful__rank_of(logits, classes, label, &o.predicted);
    const double most = (double)logits[o.predicted];
    double sum = 0, square = 0;
    for (int c = 0; c < classes; c++) {
        const double e = exp(scale * ((double)logits[c] - most));
        sum += e;
        square += e * e;
    }
    o.confidence = (float)(1 / sum);
    o.nll = (float)(log(sum) - scale * ((double)logits[label] - most));
    o.square = (float)(square / (sum * sum));
    return o;
}

void ful_outcomes_of(const float *logits, const int32_t *label, int64_t n, int classes, double temperature, ful_outcome *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = outcome_of(logits + i * classes, classes, label[i], 1 / temperature);
}

/* The file: head, n records as they lie in memory, XXH3 of all before it. Little-endian, as every machine this runs on is. */

static ful_status write_parts(ful__writer *w, const ful__outcome_head *head, const ful_outcome *outcomes)
{
    const size_t bytes = (size_t)head->count * sizeof *outcomes;
    const uint64_t sum = ful__hash64(outcomes, bytes, ful__hash64(head, sizeof *head, 0));
    FUL_TRY(ful__writer_write(w, head, sizeof *head));
    FUL_TRY(ful__writer_write(w, outcomes, bytes));
    FUL_TRY(ful__writer_write(w, &sum, sizeof sum));
    return ful__writer_commit(w);
}

ful_status ful_outcomes_write(const char *path, const ful_outcome *outcomes, int64_t n, int classes, uint64_t fingerprint)
{
    FUL_FAIL_IF(!path || (!outcomes && n > 0) || n < 0 || classes < 1, FUL_ERR_ARG,
                "cannot write %lld outcomes over %d classes: path and outcomes must be given, n >= 0, classes >= 1",
                (long long)n, classes);
    const ful__outcome_head head = {.magic = FUL__OUTCOME_MAGIC,
                                    .byte_order = FUL__OUTCOME_ORDER,
                                    .record_bytes = sizeof(ful_outcome),
                                    .count = n,
                                    .classes = classes,
                                    .fingerprint = fingerprint};
    ful__writer w = {0};
    FUL_TRY(ful__writer_create(&w, path));
    const ful_status status = write_parts(&w, &head, outcomes);
    ful__writer_abort(&w);
    return status;
}

static bool is_outcome(const ful_outcome *o, int classes)
{
    return o->label >= 0 && o->label < classes && o->predicted >= 0 && o->predicted < classes && o->rank >= 0 &&
           o->rank < classes && (o->rank == 0) == (o->label == o->predicted) && o->confidence > 0 && o->confidence <= 1 &&
           o->nll >= -1e-6f && isfinite(o->nll) && o->square > 0 && o->square <= 1.0001f;
}

ful_status ful__outcomes_parse(const char *name, const void *data, size_t bytes, ful__outcome_head *head,
                               const ful_outcome **out)
{
    uint64_t sum;
    FUL_FAIL_IF(bytes < sizeof *head + sizeof sum, FUL_ERR_FORMAT, "cannot read '%s' of %zu bytes as outcomes: it is cut short",
                name, bytes);
    memcpy(head, data, sizeof *head);
    FUL_FAIL_IF(memcmp(head->magic, FUL__OUTCOME_MAGIC, sizeof head->magic) != 0 || head->byte_order != FUL__OUTCOME_ORDER ||
                    head->record_bytes != sizeof(ful_outcome),
                FUL_ERR_FORMAT, "cannot read '%s' as outcomes: it does not begin as one of this version's files does", name);
    const size_t room = bytes - sizeof *head - sizeof sum;
    FUL_FAIL_IF(head->classes < 1 || head->count < 0 || (uint64_t)head->count != room / sizeof(ful_outcome) ||
                    room % sizeof(ful_outcome) != 0,
                FUL_ERR_FORMAT, "cannot read '%s' as %lld outcomes over %d classes: its length is %zu bytes", name,
                (long long)head->count, head->classes, bytes);
    const unsigned char *records = (const unsigned char *)data + sizeof *head;
    memcpy(&sum, records + room, sizeof sum);
    FUL_FAIL_IF(sum != ful__hash64(records, room, ful__hash64(head, sizeof *head, 0)), FUL_ERR_FORMAT,
                "cannot read '%s' as outcomes: its checksum does not fit, the file is damaged", name);
    *out = (const ful_outcome *)(const void *)records;
    for (int64_t i = 0; i < head->count; i++)
        FUL_FAIL_IF(!is_outcome(&(*out)[i], head->classes), FUL_ERR_FORMAT,
                    "cannot read '%s' as outcomes: image %lld has numbers that cannot be", name, (long long)i);
    return FUL_OK;
}

ful_status ful_outcomes_read(const char *path, ful_outcome **out, int64_t *n_out, int *classes_out, uint64_t *fingerprint_out)
{
    ful__map map = {0};
    ful__outcome_head head;
    const ful_outcome *records = NULL;
    ful_status status = FUL_OK;
    FUL_FAIL_IF(!path || !out || !n_out || !classes_out || !fingerprint_out, FUL_ERR_ARG,
                "cannot read outcomes with a null path or output: all are needed");
    *out = NULL;
    FUL_TRY_GOTO(status, done, ful__map_open(&map, path));
    FUL_TRY_GOTO(status, done, ful__outcomes_parse(path, map.ptr, map.bytes, &head, &records));
    FUL_TRY_GOTO(status, done, ful__calloc(out, (size_t)head.count, sizeof **out, "outcomes"));
    memcpy(*out, records, (size_t)head.count * sizeof **out);
    *n_out = head.count;
    *classes_out = head.classes;
    *fingerprint_out = head.fingerprint;
done:
    ful__map_close(&map);
    return status;
}
