/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/conv2d/choose.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <fulcrum/core.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/str.h"
#include "core/time.h"
#include "ops/conv2d/patches.h"
#include "ops/conv2d/strips.h"
#include "ops/conv2d/winograd.h"

enum { KEY_MAX = 128, CHOICES_MAX = 4096, FILE_MAX = 1 << 20, ROUNDS_LEAST = 4, ROUNDS_MOST = 400 };

/* A measured batch has at most so many multiply-accumulates: some ten milliseconds. */
#define MACS_MAX 2e9
/* Rounds go on for so long: a short pass is measured more often, so that a neighbour's burst of work does not decide. */
#define SECONDS 0.03
/* Another way must be faster than the direct one by this factor, so that noise does not decide against the more exact sum. */
#define CLEARLY 0.97
/* What a library's loops cost at inference beside our own, which run with the threads standing together (exec.c): an empty
 * region of OpenMP takes a microsecond, and there is one for the loop, one where the threads part and one where they gather
 * again. */
#define APART 3e-6

/* The first words of a file. The number grows when there is a new way, so that choices are made anew. FUL_CONV_KERNELS
 * (CMakeLists.txt) stands for the kernels the program is built with, and for how they are measured. */
#define HEAD_WORD "fulcrum-conv-"
#define HEAD      HEAD_WORD "2\t"
#define KERNELS   "\tkernels " FUL_CONV_KERNELS "\n"

typedef struct choice {
    char key[KEY_MAX];
    ful__conv_way way;
    bool lent; /* by a run's folder: goes before the machine's, and is not written there */
} choice;

static const char *const way_names[FUL__CONV_WAYS] = {"direct", "winograd", "patches", "strips"};
static const char *const pass_names[FUL__DNNL_PASSES] = {"forward", "dx", "dw"}; /* and "infer" */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static choice *choices; /* of the process, in the order they came */
static int n_choices;

/* Table ------------------------------------------------------------------------------------------------------------------ */

static const choice *find_of(const char *key, bool lent)
{
    for (int i = 0; i < n_choices; i++)
        if (choices[i].lent == lent && strcmp(choices[i].key, key) == 0) return &choices[i];
    return NULL;
}

static const choice *find(const char *key)
{
    const choice *lent = find_of(key, true);
    return lent ? lent : find_of(key, false);
}

/* The first to come stays. A full table only means that the next net measures again. */
static ful_status keep(const char *key, ful__conv_way way, bool lent)
{
    if (find_of(key, lent) || n_choices == CHOICES_MAX) return FUL_OK;
    FUL_TRY(ful__realloc(&choices, (size_t)n_choices + 1, sizeof *choices, "the choices of convolutions"));
    choices[n_choices] = (choice){.way = way, .lent = lent};
    snprintf(choices[n_choices].key, KEY_MAX, "%s", key);
    n_choices++;
    return FUL_OK;
}

/* Text: a line that names the machine and the kernels, then "key TAB algorithm" each. */
static int machine_of(char *out, size_t bytes)
{
    return snprintf(out, bytes, HEAD "%s\t%x\toneDNN %s", ful_cpu_name(), ful_cpu_flags(), ful__dnnl_version());
}

/* Of what is in force, or of what belongs to the machine. */
static ful_status make_text(bool machines, char **out)
{
    ful__str s = {0};
    char machine[256];
    machine_of(machine, sizeof machine);
    ful__str_addf(&s, "%s" KERNELS, machine);
    for (int i = 0; i < n_choices; i++)
        if (machines ? !choices[i].lent : find(choices[i].key) == &choices[i])
            ful__str_addf(&s, "%s\t%s\n", choices[i].key, way_names[choices[i].way]);
    const ful_status status = ful__str_status(&s);
    if (status != FUL_OK) {
        ful__str_deinit(&s);
        return status;
    }
    *out = ful__str_take(&s);
    return FUL_OK;
}

/* One line "key TAB algorithm". */
static ful_status take_line(const char *line, size_t length, bool lent)
{
    const char *tab = memchr(line, '\t', length);
    if (!tab || tab == line || tab - line >= KEY_MAX) return FUL_ERR_FORMAT;
    char key[KEY_MAX] = {0}, word[16] = {0};
    const size_t left = length - (size_t)(tab + 1 - line);
    if (left >= sizeof word) return FUL_ERR_FORMAT;
    memcpy(key, line, (size_t)(tab - line));
    memcpy(word, tab + 1, left);
    for (int way = 0; way < FUL__CONV_WAYS; way++)
        if (strcmp(word, way_names[way]) == 0) return keep(key, (ful__conv_way)way, lent);
    return FUL_ERR_FORMAT;
}

/* What a text is: the choices of this machine with these kernels; of a study, which keeps its choices whatever the kernels; of
 * a run, likewise, and lent. */
typedef enum source { OF_MACHINE, OF_STUDY, OF_RUN } source;

static bool is_ours(const char *text, source from)
{
    char machine[256];
    const size_t length = (size_t)machine_of(machine, sizeof machine);
    if (strncmp(text, machine, length) != 0) return false;
    if (from == OF_MACHINE) return strncmp(text + length, KERNELS, sizeof KERNELS - 1) == 0;
    return text[length] == '\t' || text[length] == '\n';
}

/* FUL_ERR_FORMAT: line *number is not understood. Another machine's text is understood, and ignored. */
static ful_status take_text(const char *text, source from, int *number)
{
    *number = 1;
    if (strncmp(text, HEAD_WORD, sizeof HEAD_WORD - 1) != 0) return FUL_ERR_FORMAT;
    const bool ours = is_ours(text, from);
    for (const char *line = strchr(text, '\n'); line && line[1];) {
        const char *end = strchr(++line, '\n');
        ++*number;
        if (!end) return FUL_ERR_FORMAT;
        if (ours) FUL_TRY(take_line(line, (size_t)(end - line), from == OF_RUN));
        line = end;
    }
    return FUL_OK;
}

ful_status ful__conv_choices_text(char **out)
{
    pthread_mutex_lock(&lock);
    const ful_status status = n_choices ? make_text(false, out) : ful__strdup(out, "");
    pthread_mutex_unlock(&lock);
    return status;
}

ful_status ful__conv_choices_add(const char *text, const char *from)
{
    int line;
    pthread_mutex_lock(&lock);
    const ful_status status = take_text(text, OF_RUN, &line);
    pthread_mutex_unlock(&lock);
    FUL_FAIL_IF(status == FUL_ERR_FORMAT, FUL_ERR_FORMAT,
                "cannot read '%s': line %d is not a key, a tab, and direct, winograd, patches or strips", from, line);
    return status;
}

/* File ------------------------------------------------------------------------------------------------------------------- */

/* The machine's or a study's file, with its lock in fd; fd < 0 where there is none to be had: choices then last as long as the
 * process. */
typedef struct store {
    source from;
    char *path;
    int fd;
} store;

static ful_status store_path(source *from, char **out)
{
    const char *given = getenv("FULCRUM_CONV_FILE");
    *from = given && *given ? OF_STUDY : OF_MACHINE;
    if (*from == OF_STUDY) return ful__strdup(out, given);
    char *folder = NULL;
    ful_status status = ful__cache_folder(&folder);
    if (status == FUL_OK) status = ful__mkdirs(folder);
    if (status == FUL_OK) status = ful__path_join(out, folder, "conv-choices.tsv");
    ful__free(folder);
    return status;
}

static ful_status store_open(store *s)
{
    ful__str beside = {0};
    *s = (store){.fd = -1};
    ful_status status = store_path(&s->from, &s->path);
    if (status == FUL_OK) {
        ful__str_addf(&beside, "%s.lock", s->path);
        status = ful__str_status(&beside);
    }
    if (status == FUL_OK) s->fd = open(beside.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd >= 0 && flock(s->fd, LOCK_EX) != 0) {
        close(s->fd);
        s->fd = -1;
    }
    ful__str_deinit(&beside);
    return status == FUL_ERR_MEMORY ? status : FUL_OK;
}

static void store_close(store *s)
{
    if (s->fd >= 0) close(s->fd); /* and with it the lock */
    ful__free(s->path);
}

static ful_status store_read(const store *s)
{
    char *text = NULL;
    size_t bytes;
    int line;
    if (s->fd < 0 || !ful__path_exists(s->path)) return FUL_OK;
    ful_status status = ful__file_read(s->path, FILE_MAX, &text, &bytes);
    if (status == FUL_OK) status = take_text(text, s->from, &line);
    ful__free(text);
    if (status == FUL_ERR_FORMAT) ful__log(FUL_LOG_WARN, "'%s' is damaged: convolutions are measured anew", s->path);
    return status == FUL_ERR_MEMORY ? status : FUL_OK;
}

static ful_status store_write(const store *s)
{
    char *text = NULL;
    if (s->fd < 0) return FUL_OK;
    FUL_TRY(make_text(true, &text));
    const ful_status status = ful__file_write(s->path, text, strlen(text));
    if (status != FUL_OK) ful__log(FUL_LOG_DEBUG, "the choices of convolutions are not kept: %s", ful_error_message());
    ful__free(text);
    return status == FUL_ERR_MEMORY ? status : FUL_OK;
}

/* Measuring -------------------------------------------------------------------------------------------------------------- */

/* One pass of a convolution on memory of its own, each block large enough for every way. */
typedef struct trial {
    const ful__dnnl_conv_spec *spec;
    ful__dnnl_pass pass;
    int n;
    bool way[FUL__CONV_WAYS]; /* that apply */
    ful__dnnl_conv *direct;
    ful__winograd winograd;
    ful__patches patches;
    ful__strips strips;
    ful__pages x, y, w, packed, scratch;
    ful__pages others; /* stands for the other layers' weights: read before a run, it drives this layer's out of caches */
} trial;

static void trial_deinit(trial *t)
{
    ful__dnnl_conv_destroy(&t->direct);
    ful__pages_free(&t->x);
    ful__pages_free(&t->y);
    ful__pages_free(&t->w);
    ful__pages_free(&t->packed);
    ful__pages_free(&t->scratch);
    ful__pages_free(&t->others);
}

static void at_least(size_t *bytes, size_t need)
{
    if (need > *bytes) *bytes = need;
}

/* No zeros and no denormals, which some arithmetic finds easy or hard. */
static void fill(ful__pages *pages)
{
    float *x = pages->ptr;
    for (size_t i = 0; i < pages->bytes / sizeof *x; i++) x[i] = (float)(i * 7 % 16) * 0.0625f - 0.46f;
}

static size_t weight_bytes(const ful__dnnl_conv_spec *s)
{
    return (size_t)s->attr.kernel_h * (size_t)s->attr.kernel_w * (size_t)s->x.c * (size_t)s->y.c * sizeof(float);
}

/* Other layers' weights come between two runs of a layer. Small ones stay in the second-level cache; of those that take a good
 * part of the third, a net has more than it holds. */
static size_t others_bytes(const ful__dnnl_conv_spec *s)
{
    enum { OTHERS_MAX = 1 << 26 };
    const size_t l2 = (size_t)ful_cpu_l2_bytes(), l3 = (size_t)ful_cpu_l3_bytes(), far = l3 + l3 / 4;
    if (weight_bytes(s) < l2 / 4) return 0;
    return weight_bytes(s) < l3 / 16 ? 2 * l2 * (size_t)ful_threads_get() : far < OTHERS_MAX ? far : OTHERS_MAX;
}

static ful_status trial_memory(trial *t)
{
    static const char what[] = "a trial of a convolution";
    const ful__dnnl_conv_spec *s = t->spec;
    ful__need need = {0};
    ful__dnnl_conv_need(t->direct, &need);
    size_t packed = need.packed, scratch = need.scratch_fixed + (size_t)t->n * need.scratch_per_image;
    if (t->way[FUL__CONV_WINOGRAD]) {
        at_least(&packed, ful__winograd_packed_bytes(&t->winograd));
        at_least(&scratch, ful__winograd_scratch_bytes(&t->winograd, t->pass == FUL__DNNL_BWD_W));
    }
    if (t->way[FUL__CONV_PATCHES]) {
        at_least(&packed, ful__patches_packed_bytes(&t->patches));
        at_least(&scratch, ful__patches_scratch_bytes(&t->patches));
    }
    if (t->way[FUL__CONV_STRIPS]) {
        at_least(&packed, ful__strips_packed_bytes(&t->strips));
        at_least(&scratch, ful__strips_scratch_bytes(&t->strips));
    }
    FUL_TRY(ful__pages_alloc(&t->x, (size_t)t->n * (size_t)ful__count(s->x) * sizeof(float), what));
    FUL_TRY(ful__pages_alloc(&t->y, (size_t)t->n * (size_t)ful__count(s->y) * sizeof(float), what));
    FUL_TRY(ful__pages_alloc(&t->w, weight_bytes(s), what));
    FUL_TRY(ful__pages_alloc(&t->packed, packed, what));
    FUL_TRY(ful__pages_alloc(&t->scratch, scratch, what));
    fill(&t->x);
    fill(&t->y);
    fill(&t->w);
    return others_bytes(s) > 0 ? ful__pages_alloc(&t->others, others_bytes(s), what) : FUL_OK;
}

static void read_piece(void *ctx, int64_t piece, int thread)
{
    (void)thread;
    const trial *t = ctx;
    const float *x = t->others.ptr;
    const int64_t count = (int64_t)(t->others.bytes / sizeof *x), share = count / ful_threads_get();
    volatile float sink = 0;
    for (int64_t i = piece * share; i < (piece + 1) * share; i += 16) sink = sink + x[i];
}

static ful_status trial_init(trial *t, const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n,
                             const bool way[FUL__CONV_WAYS])
{
    ful__dnnl_conv_spec alone = *spec;
    alone.n_max = n;
    alone.passes = 1u << pass;
    alone.attr.bias = alone.sum = false;
    alone.act = FUL_ACT_NONE;
    *t = (trial){.spec = spec, .pass = pass, .n = n};
    memcpy(t->way, way, sizeof t->way);
    t->winograd = ful__winograd_plan(&spec->attr, spec->x, spec->y, pass == FUL__DNNL_BWD_X, n);
    t->patches = ful__patches_plan(&spec->attr, spec->x, spec->y, n);
    t->strips = ful__strips_plan(&spec->attr, spec->x, spec->y, pass, n);
    FUL_TRY(ful__dnnl_conv_create(&alone, &t->direct));
    return trial_memory(t);
}

static ful_status run_direct(trial *t, bool repack)
{
    ful__dnnl_conv_run r = {
        .n = t->n, .repack = repack, .x = t->x.ptr, .w = t->w.ptr, .packed = t->packed.ptr, .scratch = t->scratch.ptr};
    if (t->pass == FUL__DNNL_FWD) {
        r.y = t->y.ptr;
        return ful__dnnl_conv_forward(t->direct, &r);
    }
    r.dy = t->y.ptr;
    if (t->pass == FUL__DNNL_BWD_X)
        r.dx = t->x.ptr;
    else
        r.dw = t->w.ptr;
    return ful__dnnl_conv_backward(t->direct, &r);
}

static void run_strips(trial *t, const ful__conv_run *r, bool repack)
{
    if (t->pass == FUL__DNNL_BWD_W) {
        ful__strips_grad(&t->strips, t->n, t->x.ptr, t->y.ptr, t->w.ptr, t->scratch.ptr);
        return;
    }
    if (repack) ful__strips_pack(&t->strips, t->w.ptr, t->packed.ptr);
    ful__strips_apply(&t->strips, r);
}

static ful_status run_way(trial *t, ful__conv_way way, bool repack)
{
    const bool dx = t->pass == FUL__DNNL_BWD_X;
    const ful__conv_run r = {.n = t->n,
                             .x = dx ? t->y.ptr : t->x.ptr,
                             .packed = t->packed.ptr,
                             .y = dx ? t->x.ptr : t->y.ptr,
                             .scratch = t->scratch.ptr};
    if (way == FUL__CONV_DIRECT) return run_direct(t, repack);
    if (way == FUL__CONV_PATCHES) {
        if (repack) ful__patches_pack(&t->patches, t->w.ptr, t->packed.ptr);
        ful__patches_apply(&t->patches, &r);
    } else if (way == FUL__CONV_STRIPS) {
        run_strips(t, &r, repack);
    } else if (t->pass == FUL__DNNL_BWD_W) {
        ful__winograd_grad(&t->winograd, t->n, t->x.ptr, t->y.ptr, t->w.ptr, t->scratch.ptr);
    } else {
        if (repack) ful__winograd_pack(&t->winograd, t->w.ptr, dx, t->packed.ptr);
        ful__winograd_apply(&t->winograd, &r);
    }
    return FUL_OK;
}

/*
 * Seconds of each way, the least of its rounds after the first, taken in turns. In training the weights change before every
 * run and are packed anew; inference keeps them (the ways share their memory, and what the others leave there is as good).
 */
static ful_status measure(trial *t, double seconds[FUL__CONV_WAYS])
{
    double spent = 0;
    for (int way = 0; way < FUL__CONV_WAYS; way++) seconds[way] = 1e30;
    for (int round = 0; round < ROUNDS_LEAST || (round < ROUNDS_MOST && spent < SECONDS); round++) {
        for (int way = 0; way < FUL__CONV_WAYS; way++) {
            if (!t->way[way]) continue;
            if (t->others.ptr) ful__parallel_for(ful_threads_get(), read_piece, t);
            const double begin = ful__seconds();
            FUL_TRY(run_way(t, (ful__conv_way)way, t->spec->train || round == 0));
            const bool apart = way == FUL__CONV_DIRECT && !t->spec->train && ful_threads_get() > 1;
            const double took = ful__seconds() - begin + (apart ? APART : 0);
            if (round == 0) continue; /* warms up */
            spent += took;
            if (took < seconds[way]) seconds[way] = took;
        }
    }
    return FUL_OK;
}

/* Choosing --------------------------------------------------------------------------------------------------------------- */

static ful_conv_algorithm wanted(const ful_conv2d_attr *attr)
{
    static const char *const words[] = {"auto", "direct", "winograd", "patches", "strips"}; /* as ful_conv_algorithm */
    const char *text = getenv("FULCRUM_CONV");
    for (int i = 0; text && i < 5; i++)
        if (strcmp(text, words[i]) == 0) return (ful_conv_algorithm)i;
    return attr->algorithm;
}

static void key_of(const ful__dnnl_conv_spec *s, ful__dnnl_pass pass, int n, char *out)
{
    const ful_conv2d_attr *a = &s->attr;
    snprintf(out, KEY_MAX, "%s n%d c%d-%d %dx%d k%dx%d s%d,%d pad%d,%d d%d,%d", s->train ? pass_names[pass] : "infer", n,
             s->x.c, s->y.c, s->y.h, s->y.w, a->kernel_h, a->kernel_w, a->stride_h, a->stride_w, a->pad_h, a->pad_w,
             a->dilation_h, a->dilation_w);
}

static ful_status measure_and_keep(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, const bool way[FUL__CONV_WAYS],
                                   const char *key)
{
    trial t;
    double seconds[FUL__CONV_WAYS];
    ful_status status = trial_init(&t, spec, pass, n, way);
    if (status == FUL_OK) status = measure(&t, seconds);
    trial_deinit(&t);
    FUL_TRY(status);
    ful__conv_way best = FUL__CONV_DIRECT;
    double least = CLEARLY * seconds[FUL__CONV_DIRECT];
    for (int i = FUL__CONV_DIRECT + 1; i < FUL__CONV_WAYS; i++) {
        if (seconds[i] >= least) continue;
        least = seconds[i];
        best = (ful__conv_way)i;
    }
    ful__log(FUL_LOG_DEBUG, "convolution %s: direct %.3f ms, %s %.3f ms", key, 1e3 * seconds[FUL__CONV_DIRECT], way_names[best],
             1e3 * seconds[best]);
    return keep(key, best, false);
}

/* The choice is not in the process: from the file, or measured under the file's lock. */
static ful_status look_further(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, const bool way[FUL__CONV_WAYS],
                               const char *key)
{
    store file;
    ful_status status = store_open(&file);
    if (status == FUL_OK) status = store_read(&file);
    if (status == FUL_OK && !find(key)) {
        status = measure_and_keep(spec, pass, n, way, key);
        if (status == FUL_OK) status = store_write(&file);
    }
    store_close(&file);
    return status;
}

/* A measured batch is no larger than need be. */
static int measured_batch(const ful__dnnl_conv_spec *s, int n)
{
    const double macs = (double)s->attr.kernel_h * s->attr.kernel_w * s->x.c / s->attr.groups * (double)ful__count(s->y);
    const int most = macs < MACS_MAX ? (int)(MACS_MAX / macs) : 1;
    return n < most ? n : most;
}

/* Which ways there are for a pass. */
static void list_ways(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, bool way[FUL__CONV_WAYS])
{
    const ful_conv2d_attr *a = &spec->attr;
    const bool blocked = spec->x_layout == FUL__BLOCKED;
    for (int i = 0; i < FUL__CONV_WAYS; i++) way[i] = i == FUL__CONV_DIRECT;
    if (spec->y_layout != FUL__BLOCKED) return;
    way[FUL__CONV_WINOGRAD] = blocked && ful__winograd_applies(a, spec->x, spec->y);
    way[FUL__CONV_PATCHES] = blocked && !spec->train &&
                             ful__patches_applies(a, spec->x, spec->y, n > spec->n_max ? n : spec->n_max);
    way[FUL__CONV_STRIPS] = ful__strips_applies(a, spec->x, spec->y, pass);
}

/* Enough for the four times as many weights that Winograd's tiles of 4 x 4 take. */
static bool many_pixels(const ful__dnnl_conv_spec *spec, int n)
{
    enum { FEW_PIXELS = 128 };
    return spec->train || (int64_t)n * spec->y.h * spec->y.w >= FEW_PIXELS;
}

static const ful__conv_way way_of[] = {[FUL_CONV_DIRECT] = FUL__CONV_DIRECT,
                                       [FUL_CONV_WINOGRAD] = FUL__CONV_WINOGRAD,
                                       [FUL_CONV_PATCHES] = FUL__CONV_PATCHES,
                                       [FUL_CONV_STRIPS] = FUL__CONV_STRIPS};

bool ful__conv_layouts(const ful__dnnl_conv_spec *spec, ful__layout *x_out, ful__layout *y_out)
{
    const ful_conv_algorithm want = wanted(&spec->attr);
    ful__dnnl_conv_spec blocked = *spec;
    bool way[FUL__CONV_WAYS];
    if (want == FUL_CONV_AUTO || want == FUL_CONV_DIRECT || spec->y.c % ful__block() != 0) return false;
    blocked.x_layout = spec->x.c % ful__block() == 0 ? FUL__BLOCKED : FUL__NHWC;
    blocked.y_layout = FUL__BLOCKED;
    list_ways(&blocked, FUL__DNNL_FWD, spec->n_max, way);
    if (!way[way_of[want]]) return false;
    *x_out = blocked.x_layout;
    *y_out = blocked.y_layout;
    return true;
}

ful_status ful__conv_choose(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, ful__conv_way *out)
{
    const ful_conv2d_attr *a = &spec->attr;
    bool way[FUL__CONV_WAYS];
    int others = 0;
    const ful_conv_algorithm want = wanted(a);
    list_ways(spec, pass, n, way);
    *out = FUL__CONV_DIRECT;
    if (want == FUL_CONV_DIRECT) return FUL_OK;
    if (pass == FUL__DNNL_BWD_W && a->bias) return FUL_OK; /* oneDNN sums the bias's gradient on the way */
    if (want != FUL_CONV_AUTO) {
        if (way[way_of[want]]) *out = way_of[want];
        return FUL_OK;
    }
    if (way[FUL__CONV_WINOGRAD] && many_pixels(spec, n)) way[FUL__CONV_STRIPS] = false; /* not measured: never the better one */
    for (int i = FUL__CONV_DIRECT + 1; i < FUL__CONV_WAYS; i++) others += way[i];
    if (others == 0) return FUL_OK;

    char key[KEY_MAX];
    n = measured_batch(spec, n);
    key_of(spec, pass, n, key);
    pthread_mutex_lock(&lock);
    ful_status status = FUL_OK;
    if (!find(key)) status = look_further(spec, pass, n, way, key);
    const choice *found = find(key);
    if (found && way[found->way]) *out = found->way;
    pthread_mutex_unlock(&lock);
    return status;
}
