/* SPDX-License-Identifier: Apache-2.0 */
/* What of the machine this process may use: cores and memory, also inside a container. */
#include <fulcrum/core.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "study/jobs.h"

/* The numbers of one line of a small file, "max" being INFINITY; returns how many. */
static int read_numbers(const char *path, double *out, int most)
{
    char line[128];
    int n = 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (fgets(line, sizeof line, f)) {
        char *rest = NULL;
        for (char *word = strtok_r(line, " \n", &rest); word && n < most; word = strtok_r(NULL, " \n", &rest))
            out[n++] = strcmp(word, "max") == 0 ? INFINITY : atof(word);
    }
    fclose(f);
    return n;
}

/* "key: 123 kB" of /proc/meminfo, "key 123" of memory.stat; NAN when it is not there. */
static double read_key(const char *path, const char *key)
{
    char line[160];
    double value = NAN;
    FILE *f = fopen(path, "r");
    if (!f) return NAN;
    while (isnan(value) && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) value = atof(line + strlen(key));
    fclose(f);
    return value;
}

/* This process' group in the unified hierarchy, "/sys/fs/cgroup/a/b"; the root where there is no such file. */
static void group_folder(char *out, size_t size)
{
    char line[512];
    FILE *f = fopen("/proc/self/cgroup", "r");
    snprintf(out, size, "/sys/fs/cgroup");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::/", 4) == 0) snprintf(out, size, "/sys/fs/cgroup/%.*s", (int)strcspn(line + 4, "\n"), line + 4);
    if (f) fclose(f);
}

/* To the group above; false at the root. A limit anywhere on the way holds. */
static bool climb(char *folder)
{
    char *slash = strrchr(folder, '/');
    if (!slash || slash < folder + strlen("/sys/fs/cgroup")) return false;
    *slash = '\0';
    return true;
}

int ful__machine_cores(void)
{
    char folder[600], path[660];
    double cores = ful_threads_get(), quota[2];
    group_folder(folder, sizeof folder);
    do {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        if (read_numbers(path, quota, 2) == 2 && quota[1] > 0.0) cores = fmin(cores, ceil(quota[0] / quota[1]));
    } while (climb(folder));
    /* version 1, as seen from inside */
    if (read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota[0], 1) == 1 && quota[0] > 0.0 &&
        read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &quota[1], 1) == 1 && quota[1] > 0.0)
        cores = fmin(cores, ceil(quota[0] / quota[1]));
    return cores >= 1.0 ? (int)cores : 1;
}

/* limit - (usage - what the kernel can take back); INFINITY without a limit. */
static double left_below(const char *limit_path, const char *usage_path, const char *stat_path, const char *file_key)
{
    double limit = INFINITY, usage = 0.0;
    if (read_numbers(limit_path, &limit, 1) != 1 || !isfinite(limit)) return INFINITY;
    if (read_numbers(usage_path, &usage, 1) != 1) usage = 0.0;
    const double cached = read_key(stat_path, file_key);
    return limit - usage + (isfinite(cached) ? cached : 0.0);
}

double ful__machine_free_bytes(void)
{
    char folder[600], limit[660], usage[660], stat[660];
    const double available = 1024.0 * read_key("/proc/meminfo", "MemAvailable:");
    double bytes = isfinite(available) ? available : INFINITY;
    group_folder(folder, sizeof folder);
    do {
        snprintf(limit, sizeof limit, "%s/memory.max", folder);
        snprintf(usage, sizeof usage, "%s/memory.current", folder);
        snprintf(stat, sizeof stat, "%s/memory.stat", folder);
        bytes = fmin(bytes, left_below(limit, usage, stat, "file "));
    } while (climb(folder));
    bytes = fmin(bytes, left_below("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                                   "/sys/fs/cgroup/memory/memory.stat", "total_cache "));
    return fmax(bytes, 0.0);
}
