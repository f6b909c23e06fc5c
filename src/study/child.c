/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of a study. */
#include "study/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/error.h"
#include "core/str.h"

/* Between fork and exec only async-signal-safe calls: the parent has threads. */
static void become(char *const *argv, char *choices, int out_fd, int err_fd, bool share_cores)
{
    static char passive[] = "OMP_WAIT_POLICY=passive";
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed study must not leave its runs behind */
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    const int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
    if (share_cores) putenv(passive);
    putenv(choices);
    execv(argv[0], argv);
    _exit(127);
}

ful_status ful__child_start(char *const *argv, const char *study_folder, int out_fd, int err_fd, bool share_cores, pid_t *out)
{
    ful__str choices = {0};
    ful__str_addf(&choices, "FULCRUM_CONV_FILE=%s/conv-choices.tsv", study_folder);
    if (ful__str_status(&choices) != FUL_OK) {
        ful__str_deinit(&choices);
        return FUL_ERR_MEMORY;
    }
    const pid_t pid = fork();
    if (pid == 0) become(argv, choices.data, out_fd, err_fd, share_cores);
    ful__str_deinit(&choices);
    FUL_FAIL_IF(pid < 0, FUL_ERR_IO, "cannot start '%s': %s", argv[0], strerror(errno));
    *out = pid;
    return FUL_OK;
}
