/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of a study: the runs, and the probes that time them. */
#ifndef FUL_STUDY_CHILD_H
#define FUL_STUDY_CHILD_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Starts argv[0] with standard output and error to the given descriptors (which stay the caller's) and no input, in a process
 * group of its own; it is asked to end when this process dies. share_cores: others run beside it, so its threads must not spin.
 * What its convolutions run on is kept in the study's folder, so that all runs of a study round alike.
 */
ful_status ful__child_start(char *const *argv, const char *study_folder, int out_fd, int err_fd, bool share_cores,
                            pid_t *out) FUL_CHECK_RESULT;

#endif
