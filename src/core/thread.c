/* SPDX-License-Identifier: Apache-2.0 */
/* Starting threads. */
#include "core/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"

/* A new thread inherits the mask, so signals (SIGINT above all) keep going to the program's own threads. */
ful_status ful__thread_start(pthread_t *out, void *(*fn)(void *), void *arg, const char *what)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = ful__fault_hit(FUL__FAULT_THREAD) ? EAGAIN : pthread_create(out, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    FUL_FAIL_IF(error, FUL_ERR_MEMORY, "cannot start a thread for %s: %s", what, strerror(error));
    return FUL_OK;
}
