/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to pixels before a pass: corruptions and the views of test-time augmentation. */
#include "judge/views.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"

enum { SHIFT_MAX = 64 };

/* Every view so far, moved as `by`; returns how many there are then. */
static int combine(ful_view *views, int n, const ful_view *by, int n_by)
{
    int total = n;
    for (int b = 0; b < n_by; b++)
        for (int i = 0; i < n; i++) {
            if (total == FUL_VIEWS_MAX) return 0;
            views[total++] = (ful_view){
                .dy = views[i].dy + by[b].dy, .dx = views[i].dx + by[b].dx, .mirror = views[i].mirror != by[b].mirror};
        }
    return total;
}

int ful_judge_views(const char *text, ful_view views_out[FUL_VIEWS_MAX])
{
    bool flipped = false, shifted = false;
    int n = 1;
    views_out[0] = (ful_view){0};
    for (const char *at = text; at && n > 0;) {
        int pixels = 0, used = 0;
        if (strncmp(at, "flip", 4) == 0 && !flipped) {
            const ful_view flip = {.mirror = true};
            n = combine(views_out, n, &flip, 1);
            flipped = true;
            used = 4;
        } else if (sscanf(at, "shift%2d%n", &pixels, &used) == 1 && pixels >= 1 && pixels <= SHIFT_MAX && !shifted) {
            const ful_view moves[4] = {{.dy = -pixels}, {.dy = pixels}, {.dx = -pixels}, {.dx = pixels}};
            n = combine(views_out, n, moves, 4);
            shifted = true;
        } else {
            return 0;
        }
        at += used;
        if (*at == '\0') return n;
        if (*at++ != ',') return 0;
    }
    return 0;
}

ful_status ful__change_init(ful__change *change, const ful_judge_pass *pass, const ful_dataset *set)
{
    ful_dataset_info info;
    const int workers = pass->pass.workers > 0 ? pass->pass.workers : 1;
    ful_dataset_info_get(set, &info);
    *change = (ful__change){.h = info.height, .w = info.width, .c = info.channels};
    const size_t bytes = (size_t)info.height * (size_t)info.width * (size_t)info.channels;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, failed, ful__calloc(&change->between, (size_t)workers, bytes, "changed images"));
    if (pass->corruption)
        FUL_TRY_GOTO(status, failed,
                     ful_corruptor_create(pass->corruption, pass->severity, pass->corrupt_seed, info.height, info.width,
                                          info.channels, workers, &change->corruptor));
    return FUL_OK;
failed:
    ful__change_deinit(change);
    return status;
}

void ful__change_deinit(ful__change *change)
{
    ful_corruptor_destroy(&change->corruptor);
    ful__free(change->between);
    *change = (ful__change){0};
}

static bool is_plain(const ful_view *v)
{
    return v->dy == 0 && v->dx == 0 && !v->mirror;
}

bool ful__change_is_plain(const ful__change *change)
{
    return !change->corruptor && is_plain(&change->view);
}

static void apply_view(const ful__change *k, const uint8_t *in, uint8_t *out)
{
    const ful_view *v = &k->view;
    for (int y = 0; y < k->h; y++)
        for (int x = 0; x < k->w; x++, out += k->c) {
            const int from_y = y + v->dy, from_x = (v->mirror ? k->w - 1 - x : x) + v->dx;
            if (from_y < 0 || from_y >= k->h || from_x < 0 || from_x >= k->w)
                memset(out, 0, (size_t)k->c);
            else
                memcpy(out, in + ((ptrdiff_t)from_y * k->w + from_x) * k->c, (size_t)k->c);
        }
}

void ful__change_apply(void *change, int worker, uint32_t index, const uint8_t *in, uint8_t *out)
{
    const ful__change *k = change;
    if (!k->corruptor) {
        apply_view(k, in, out);
        return;
    }
    if (is_plain(&k->view)) {
        ful_corruptor_apply(k->corruptor, worker, index, in, out);
        return;
    }
    uint8_t *between = k->between + (ptrdiff_t)worker * k->h * k->w * k->c;
    ful_corruptor_apply(k->corruptor, worker, index, in, between);
    apply_view(k, between, out);
}
