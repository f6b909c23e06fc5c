/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a net's passes goes: the executors' rows with names, kernels and costs, and the loss between them. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/time.h"
#include "nets/net.h"

ful_status ful_net_profile(ful_net *net, bool on)
{
    FUL_FAIL_IF(!net, FUL_ERR_ARG, "cannot profile net NULL: a net is needed");
    net->profiling = false;
    if (!on) return FUL_OK;
    for (int split = 0; split < FUL__SPLITS; split++) {
        ful__pass *pass = &net->pass[split];
        if (!pass->exec) continue;
        const size_t count = (size_t)ful__exec_n_rows(pass->exec);
        if (!pass->times) FUL_TRY(ful__calloc(&pass->times, count, sizeof *pass->times, "the times of a net"));
        memset(pass->times, 0, count * sizeof *pass->times);
    }
    net->loss_time = (ful__exec_time){0};
    net->profiling = true;
    return FUL_OK;
}

void ful__net_loss(ful_net *net, ful__xent *loss)
{
    if (!net->profiling) {
        ful__softmax_xent(loss);
        return;
    }
    const double begin = ful__seconds();
    ful__softmax_xent(loss);
    net->loss_time.seconds += ful__seconds() - begin;
    net->loss_time.calls++;
    net->loss_time.images += loss->n;
}

/* Which of an op's kernels, named "forward, dx, dw" or by one name for all, serves a pass. */
static void name_kernel(const ful__op *op, ful__exec_pass pass, char *out, size_t size)
{
    const char *from = op->type->kernel ? op->type->kernel(op) : "", *comma;
    for (int skip = pass == FUL__PASS_DX ? 1 : pass == FUL__PASS_DW ? 2 : 0; skip > 0 && (comma = strstr(from, ", ")); skip--)
        from = comma + 2;
    snprintf(out, size, "%.*s", (int)strcspn(from, ","), from);
}

static void set_time(ful_profile_row *row, const ful__exec_time *time)
{
    row->seconds = time->seconds;
    row->calls = time->calls;
    row->images = time->images;
}

static bool fill_row(const ful__pass *pass, int i, ful_profile_row *row)
{
    static const char *const names[] = {"forward", "backward", "dw", "dx", "backward"};
    const ful__exec_row r = ful__exec_row_at(pass->exec, i);
    if (!r.op && r.pass != FUL__PASS_SUM) return false;
    *row = (ful_profile_row){.pass = names[r.pass],
                             .macs = r.macs,
                             .bytes = r.floats * (int64_t)sizeof(float),
                             .weight_bytes = r.floats_fixed * (int64_t)sizeof(float)};
    snprintf(row->op, sizeof row->op, "%s", r.op ? r.op->type->name : "sum");
    snprintf(row->name, sizeof row->name, "%s", r.op ? r.op->name : "");
    if (r.op) name_kernel(r.op, r.pass, row->kernel, sizeof row->kernel);
    if (pass->times) set_time(row, &pass->times[i]);
    return true;
}

static ful_profile_row loss_row(const ful_net *net)
{
    ful_profile_row row = {.op = "loss", .pass = "forward", .bytes = 2 * net->classes * (int64_t)sizeof(float)};
    set_time(&row, &net->loss_time);
    return row;
}

ful_status ful_net_profile_get(const ful_net *net, int split, ful_profile *out)
{
    FUL_FAIL_IF(!net || !out, FUL_ERR_ARG, "cannot give a profile with net or out NULL: both are needed");
    *out = (ful_profile){0};
    FUL_FAIL_IF(split < 0 || split >= FUL__SPLITS || !net->pass[split].exec, FUL_ERR_ARG,
                "cannot give the profile of split %d: it must be 1, or 0 in a net made with train=true", split);
    const ful__pass *pass = &net->pass[split];
    const int count = ful__exec_n_rows(pass->exec);
    FUL_TRY(ful__calloc(&out->rows, (size_t)count + 1, sizeof *out->rows, "a profile"));
    for (int i = 0; i < count; i++) out->n_rows += fill_row(pass, i, &out->rows[out->n_rows]);
    if (split == FUL__SPLIT_TRAIN) out->rows[out->n_rows++] = loss_row(net);
    return FUL_OK;
}

void ful_profile_deinit(ful_profile *profile)
{
    if (!profile) return;
    ful__free(profile->rows);
    *profile = (ful_profile){0};
}
