/* SPDX-License-Identifier: Apache-2.0 */
/* Progress on stderr. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static bool line_open; /* a line without its newline stands on the terminal */

static void duration(double seconds, char *text, size_t size)
{
    if (!isfinite(seconds))
        snprintf(text, size, "--:--");
    else if (seconds < 3600.0)
        snprintf(text, size, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, size, "%d:%02d:%02d", (int)(seconds / 3600.0), (int)seconds / 60 % 60, (int)seconds % 60);
}

void progress_end(void)
{
    if (line_open) fputc('\n', stderr);
    line_open = false;
}

/* Rewrites the open line on a terminal; elsewhere prints only lines that stay. */
static void put(const char *text, bool stays)
{
    if (common.quiet) return;
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%s", text);
        line_open = true;
        if (stays) progress_end();
        fflush(stderr);
    } else if (stays) {
        fprintf(stderr, "%s\n", text);
    }
}

void show_training(void *cookie, const ful_progress *p)
{
    char text[320], left[24], mixture[64] = "", scores[64] = "";
    (void)cookie;
    duration(p->seconds_left, left, sizeof left);
    if (isfinite(p->balance))
        snprintf(mixture, sizeof mixture, "  drop %.1f%%  experts %.0f%%", 100.0 * p->drop_rate, 100.0 * p->balance);
    if (p->epoch_end && isfinite(p->val_accuracy))
        snprintf(scores, sizeof scores, "  val %.2f%%", 100.0 * p->val_accuracy);
    else if (p->epoch_end && isfinite(p->test_accuracy))
        snprintf(scores, sizeof scores, "  test %.2f%%", 100.0 * p->test_accuracy);
    snprintf(text, sizeof text, "epoch %d/%d  step %lld/%lld  loss %.4f  acc %.2f%%%s%s  %.0f images/s  left %s", p->epoch,
             p->epochs, (long long)p->step, (long long)p->steps, p->loss, 100.0 * p->accuracy, mixture, scores,
             p->images_per_second, left);
    put(text, p->epoch_end);
}

/* A line a file on a terminal only: what a download did is told at its end. */
void show_fetch(void *cookie, const char *file, uint64_t done, uint64_t total)
{
    char text[320];
    (void)cookie;
    if (total > 0)
        snprintf(text, sizeof text, "%s  %.1f of %.1f MB", file, (double)done / 1e6, (double)total / 1e6);
    else
        snprintf(text, sizeof text, "%s  %.1f MB", file, (double)done / 1e6);
    put(text, false);
}

void show_study(void *cookie, const ful_study_progress *p)
{
    char text[700], left[24], since[24];
    (void)cookie;
    duration(p->seconds, since, sizeof since);
    duration(p->seconds_left, left, sizeof left);
    if (strcmp(p->event, "tick") == 0) {
        snprintf(text, sizeof text, "%d/%d runs done, %d running, %d failed  %s  left %s", p->done, p->runs, p->running,
                 p->failed, since, left);
        put(text, false);
        return;
    }
    if (strcmp(p->event, "start") == 0) return;
    if (strcmp(p->event, "jobs") == 0) {
        put(p->message, true);
        return;
    }
    snprintf(text, sizeof text, "[%d/%d] %s seed %llu: %s%s%s  (%s, left %s)", p->done + p->failed, p->runs, p->arm,
             (unsigned long long)p->seed, strcmp(p->event, "kept") == 0 ? "finished before" : p->event, *p->message ? ": " : "",
             p->message, since, left);
    put(text, true);
}
