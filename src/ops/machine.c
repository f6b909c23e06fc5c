/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine and build can do, and what would be slow here: the text behind `fulcrum doctor`. */
#include <fulcrum/core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/str.h"
#include "ops/dnnl/dnnl_shim.h"
#include "ops/op.h"

enum { ADVICE_MAX = 8, ADVICE_BYTES = 240 };

typedef struct machine {
    const char *cpu, *level, *seam, *wait_policy;
    int cores, threads, block;
    double memory_gib, load;
    char huge_pages[32];
    char advice[ADVICE_MAX][ADVICE_BYTES];
    int n_advice;
} machine;

/* The chosen word of /sys files such as "always [madvise] never". */
static void read_choice(const char *path, char *out, size_t size)
{
    char line[128] = "";
    FILE *f = fopen(path, "r");
    snprintf(out, size, "unknown");
    if (!f) return;
    if (fgets(line, sizeof line, f)) {
        char *open = strchr(line, '['), *close = open ? strchr(open, ']') : NULL;
        if (close) snprintf(out, size, "%.*s", (int)(close - open - 1), open + 1);
    }
    fclose(f);
}

static void advise(machine *m, const char *text)
{
    if (m->n_advice < ADVICE_MAX) snprintf(m->advice[m->n_advice++], ADVICE_BYTES, "%s", text);
}

static void give_advice(machine *m)
{
    char text[ADVICE_BYTES];
    if (!(ful_cpu_flags() & FUL_CPU_AVX2))
        advise(m, "No AVX2 (or masked off): kernels run at scalar speed, roughly a tenth of what a current CPU does.");
    else if (!(ful_cpu_flags() & FUL_CPU_AVX512))
        advise(m, "No AVX-512 (or masked off): products run at about half the speed of a CPU that has it.");
    if (strcmp(m->huge_pages, "never") == 0)
        advise(m, "Transparent huge pages are off: the first touch of tensors costs more. Allow them with madvise.");
    if (m->threads > m->cores) {
        snprintf(text, sizeof text, "%d threads on %d cores wait for each other: use --threads %d.", m->threads, m->cores,
                 m->cores);
        advise(m, text);
    }
    if (m->load > 0.5 * m->cores && strcmp(m->wait_policy, "passive") != 0) {
        snprintf(text, sizeof text,
                 "The machine is busy (load %.1f on %d cores) and threads spin while waiting: set OMP_WAIT_POLICY=passive.",
                 m->load, m->cores);
        advise(m, text);
    }
    if (m->memory_gib < 2.0) advise(m, "Less than 2 GiB of memory: use small batches; fulcrum rho shows what a net needs.");
}

static void look(machine *m)
{
    const unsigned flags = ful_cpu_flags();
    const char *policy = getenv("OMP_WAIT_POLICY");
    *m = (machine){.cpu = ful_cpu_name(), .threads = ful_threads_get(), .block = ful__block()};
    m->level = flags & FUL_CPU_AVX512 ? "avx512" : flags & FUL_CPU_AVX2 ? "avx2" : "scalar";
#ifdef FULCRUM_OPENMP
    m->seam = "OpenMP";
#else
    m->seam = "pthreads";
#endif
    m->wait_policy = policy ? policy : "default (spins)";
    m->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    m->memory_gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1073741824.0;
    if (getloadavg(&m->load, 1) != 1) m->load = 0.0;
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", m->huge_pages, sizeof m->huge_pages);
    give_advice(m);
}

static void write_text(const machine *m, ful__str *s)
{
    ful__str_addf(s, "fulcrum   %s\n", ful_version());
    ful__str_addf(s, "CPU       %s, %d cores\n", m->cpu, m->cores);
    ful__str_addf(s, "kernels   %s (channel blocks of %d)\n", m->level, m->block);
    ful__str_addf(s, "oneDNN    %s\n", ful__dnnl_version());
    ful__str_addf(s, "threads   %d, %s, wait policy %s\n", m->threads, m->seam, m->wait_policy);
    ful__str_addf(s, "memory    %.1f GiB, transparent huge pages: %s\n", m->memory_gib, m->huge_pages);
    ful__str_addf(s, "load      %.1f\n", m->load);
    for (int i = 0; i < m->n_advice; i++) ful__str_addf(s, "  slow: %s\n", m->advice[i]);
    if (m->n_advice == 0) ful__str_add(s, "Nothing here looks slow.\n");
}

static void write_json(const machine *m, ful__str *s)
{
    const struct {
        const char *key, *value;
    } texts[] = {{"version", ful_version()},      {"cpu", m->cpu},       {"kernels", m->level},
                 {"onednn", ful__dnnl_version()}, {"parallel", m->seam}, {"wait_policy", m->wait_policy},
                 {"huge_pages", m->huge_pages}};
    ful__str_add(s, "{");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ful__str_addf(s, "\"%s\": ", texts[i].key);
        ful__str_add_json(s, texts[i].value);
        ful__str_add(s, ", ");
    }
    ful__str_addf(s, "\"cores\": %d, \"threads\": %d, \"block\": %d, \"memory_gib\": %.2f, \"load\": %.2f, \"slow\": [",
                  m->cores, m->threads, m->block, m->memory_gib, m->load);
    for (int i = 0; i < m->n_advice; i++) {
        if (i) ful__str_add(s, ", ");
        ful__str_add_json(s, m->advice[i]);
    }
    ful__str_add(s, "]}\n");
}

ful_status ful_machine_describe(bool json, char **text_out)
{
    machine m;
    ful__str s = {0};
    *text_out = NULL;
    look(&m);
    (json ? write_json : write_text)(&m, &s);
    const ful_status status = ful__str_status(&s);
    if (status == FUL_OK)
        *text_out = ful__str_take(&s);
    else
        ful__str_deinit(&s);
    return status;
}
