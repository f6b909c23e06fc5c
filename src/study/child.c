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

/* Between fork and exec only async-signal-safe calls: the parent has threads. */
static void become(char *const *argv, int out_fd, int err_fd, bool share_cores)
{
    static char passive[] = "OMP_WAIT_POLICY=passive";
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a killed study must not leave its runs behind */
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    const int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
    if (share_cores) putenv(passive);
    execv(argv[0], argv);
    _exit(127);
}

ful_status ful__child_start(char *const *argv, int out_fd, int err_fd, bool share_cores, pid_t *out)
{
    const pid_t pid = fork();
    if (pid == 0) become(argv, out_fd, err_fd, share_cores);
    FUL_FAIL_IF(pid < 0, FUL_ERR_IO, "cannot start '%s': %s", argv[0], strerror(errno));
    *out = pid;
    return FUL_OK;
}
