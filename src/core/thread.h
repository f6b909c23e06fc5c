/* SPDX-License-Identifier: Apache-2.0 */
/* Long-lived threads (data loaders, pools). Loops use parallel.h. */
#ifndef FUL_CORE_THREAD_H
#define FUL_CORE_THREAD_H

#include <fulcrum/status.h>
#include <pthread.h>

/* Starts fn(arg) in a thread that the caller joins with pthread_join; FUL_ERR_MEMORY names `what`. All signals are blocked in
 * it. */
ful_status ful__thread_start(pthread_t *out, void *(*fn)(void *), void *arg, const char *what) FUL_CHECK_RESULT;

#endif
