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
#include "core/str.h"
#include "core/time.h"
#include "ops/conv2d/winograd.h"

enum { KEY_MAX = 96, CHOICES_MAX = 4096, FILE_MAX = 1 << 20, ROUNDS_LEAST = 4, ROUNDS_MOST = 20 };

/* A measured batch has at most so many multiply-accumulates: some ten milliseconds. */
#define MACS_MAX 2e9
/* Rounds go on for so long: a short pass is measured more often, so that a neighbour's burst of work does not decide. */
#define SECONDS 0.06
/* Winograd must be faster by this factor, so that noise does not decide against the more exact sum. */
#define CLEARLY 0.97

typedef struct choice {
    char key[KEY_MAX];
    bool winograd;
} choice;

static const char *const pass_names[FUL__DNNL_PASSES] = {"forward", "dx", "dw"}; /* and "infer" */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static choice *choices; /* of the process, in the order they came */
static int n_choices;

/* Table ------------------------------------------------------------------------------------------------------------------ */

static const choice *find(const char *key)
{
    for (int i = 0; i < n_choices; i++)
        if (strcmp(choices[i].key, key) == 0) return &choices[i];
    return NULL;
}

/* The first to come stays. A full table only means that the next net measures again. */
static ful_status keep(const char *key, bool winograd)
{
    if (find(key) || n_choices == CHOICES_MAX) return FUL_OK;
    FUL_TRY(ful__realloc(&choices, (size_t)n_choices + 1, sizeof *choices, "the choices of convolutions"));
    choices[n_choices] = (choice){.winograd = winograd};
    snprintf(choices[n_choices].key, KEY_MAX, "%s", key);
    n_choices++;
    return FUL_OK;
}

/* Text: a line that names the machine, then "key TAB algorithm" each. */
static void head_of(char *out, size_t bytes)
{
    snprintf(out, bytes, "fulcrum-conv-1\t%s\t%x\toneDNN %s\n", ful_cpu_name(), ful_cpu_flags(), ful__dnnl_version());
}

static ful_status make_text(char **out)
{
    ful__str s = {0};
    char head[256];
    head_of(head, sizeof head);
    ful__str_add(&s, head);
    for (int i = 0; i < n_choices; i++)
        ful__str_addf(&s, "%s\t%s\n", choices[i].key, choices[i].winograd ? "winograd" : "direct");
    const ful_status status = ful__str_status(&s);
    if (status != FUL_OK) {
        ful__str_deinit(&s);
        return status;
    }
    *out = ful__str_take(&s);
    return FUL_OK;
}

/* One line "key TAB algorithm". */
static ful_status take_line(const char *line, size_t length)
{
    const char *tab = memchr(line, '\t', length);
    if (!tab || tab == line || tab - line >= KEY_MAX) return FUL_ERR_FORMAT;
    const size_t left = length - (size_t)(tab + 1 - line);
    const bool winograd = left == 8 && memcmp(tab + 1, "winograd", 8) == 0;
    if (!winograd && !(left == 6 && memcmp(tab + 1, "direct", 6) == 0)) return FUL_ERR_FORMAT;
    char key[KEY_MAX] = {0};
    memcpy(key, line, (size_t)(tab - line));
    return keep(key, winograd);
}

/* FUL_ERR_FORMAT: line *number is not understood. Another machine's text is understood, and ignored. */
static ful_status take_text(const char *text, int *number)
{
    char head[256];
    head_of(head, sizeof head);
    *number = 1;
    if (strncmp(text, "fulcrum-conv-1\t", 15) != 0) return FUL_ERR_FORMAT;
    const bool ours = strncmp(text, head, strlen(head)) == 0;
    for (const char *line = strchr(text, '\n'); line && line[1];) {
        const char *end = strchr(++line, '\n');
        ++*number;
        if (!end) return FUL_ERR_FORMAT;
        if (ours) FUL_TRY(take_line(line, (size_t)(end - line)));
        line = end;
    }
    return FUL_OK;
}

ful_status ful__conv_choices_text(char **out)
{
    pthread_mutex_lock(&lock);
    const ful_status status = n_choices ? make_text(out) : ful__strdup(out, "");
    pthread_mutex_unlock(&lock);
    return status;
}

ful_status ful__conv_choices_add(const char *text, const char *from)
{
    int line;
    pthread_mutex_lock(&lock);
    const ful_status status = take_text(text, &line);
    pthread_mutex_unlock(&lock);
    FUL_FAIL_IF(status == FUL_ERR_FORMAT, FUL_ERR_FORMAT,
                "cannot read '%s': line %d is not a key, a tab, and direct or winograd", from, line);
    return status;
}

/* File ------------------------------------------------------------------------------------------------------------------- */

/* The machine's file, with its lock in fd; fd < 0 where there is none to be had: choices then last as long as the process. */
typedef struct store {
    char *path;
    int fd;
} store;

static ful_status store_open(store *s)
{
    char *folder = NULL, *beside = NULL;
    *s = (store){.fd = -1};
    ful_status status = ful__cache_folder(&folder);
    if (status == FUL_OK) status = ful__mkdirs(folder);
    if (status == FUL_OK) status = ful__path_join(&s->path, folder, "conv-choices.tsv");
    if (status == FUL_OK) status = ful__path_join(&beside, folder, "conv-choices.lock");
    if (status == FUL_OK) s->fd = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd >= 0 && flock(s->fd, LOCK_EX) != 0) {
        close(s->fd);
        s->fd = -1;
    }
    ful__free(folder);
    ful__free(beside);
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
    if (status == FUL_OK) status = take_text(text, &line);
    ful__free(text);
    if (status == FUL_ERR_FORMAT) ful__log(FUL_LOG_WARN, "'%s' is damaged: convolutions are measured anew", s->path);
    return status == FUL_ERR_MEMORY ? status : FUL_OK;
}

static ful_status store_write(const store *s)
{
    char *text = NULL;
    if (s->fd < 0) return FUL_OK;
    FUL_TRY(make_text(&text));
    const ful_status status = ful__file_write(s->path, text, strlen(text));
    if (status != FUL_OK) ful__log(FUL_LOG_DEBUG, "the choices of convolutions are not kept: %s", ful_error_message());
    ful__free(text);
    return status == FUL_ERR_MEMORY ? status : FUL_OK;
}

/* Measuring -------------------------------------------------------------------------------------------------------------- */

typedef struct trial {
    ful__dnnl_conv *direct;
    ful__winograd winograd;
    ful__dnnl_pass pass;
    int n;
    bool train;                          /* the weights change before every run */
    ful__pages x, y, w, packed, scratch; /* each large enough for both */
} trial;

static void trial_deinit(trial *t)
{
    ful__dnnl_conv_destroy(&t->direct);
    ful__pages_free(&t->x);
    ful__pages_free(&t->y);
    ful__pages_free(&t->w);
    ful__pages_free(&t->packed);
    ful__pages_free(&t->scratch);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* No zeros and no denormals, which some arithmetic finds easy or hard. */
static void fill(ful__pages *pages)
{
    float *x = pages->ptr;
    for (size_t i = 0; i < pages->bytes / sizeof *x; i++) x[i] = (float)(i * 7 % 16) * 0.0625f - 0.46f;
}

static ful_status trial_init(trial *t, const ful__dnnl_conv_spec *like, ful__dnnl_pass pass, int n)
{
    ful__dnnl_conv_spec spec = *like;
    spec.n_max = n;
    spec.passes = 1u << pass;
    spec.attr.bias = spec.sum = spec.relu = false;
    *t = (trial){.pass = pass, .n = n, .train = spec.train};
    t->winograd = ful__winograd_plan(&spec.attr, spec.x, spec.y, pass == FUL__DNNL_BWD_X, n);
    FUL_TRY(ful__dnnl_conv_create(&spec, &t->direct));
    ful__need need = {0};
    ful__dnnl_conv_need(t->direct, &need);
    const size_t scratch = need.scratch_fixed + (size_t)n * need.scratch_per_image;
    const size_t ours = ful__winograd_scratch_bytes(&t->winograd, pass == FUL__DNNL_BWD_W), f = sizeof(float);
    FUL_TRY(ful__pages_alloc(&t->x, (size_t)n * (size_t)ful__count(spec.x) * f, "a trial of a convolution"));
    FUL_TRY(ful__pages_alloc(&t->y, (size_t)n * (size_t)ful__count(spec.y) * f, "a trial of a convolution"));
    FUL_TRY(ful__pages_alloc(&t->w, 9 * (size_t)spec.x.c * (size_t)spec.y.c * f, "a trial of a convolution"));
    FUL_TRY(ful__pages_alloc(&t->packed, larger(need.packed, ful__winograd_packed_bytes(&t->winograd)),
                             "a trial of a convolution"));
    FUL_TRY(ful__pages_alloc(&t->scratch, larger(scratch, ours), "a trial of a convolution"));
    fill(&t->x);
    fill(&t->y);
    fill(&t->w);
    return FUL_OK;
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

static void run_winograd(trial *t, bool repack)
{
    const ful__winograd *plan = &t->winograd;
    if (t->pass == FUL__DNNL_BWD_W) {
        ful__winograd_grad(plan, t->n, t->x.ptr, t->y.ptr, t->w.ptr, t->scratch.ptr);
        return;
    }
    const bool dx = t->pass == FUL__DNNL_BWD_X;
    const ful__winograd_run r = {.n = t->n,
                                 .x = dx ? t->y.ptr : t->x.ptr,
                                 .packed = t->packed.ptr,
                                 .y = dx ? t->x.ptr : t->y.ptr,
                                 .scratch = t->scratch.ptr};
    if (repack) ful__winograd_pack(plan, t->w.ptr, dx, t->packed.ptr);
    ful__winograd_apply(plan, &r);
}

/* Seconds of each, the least of the rounds after the first, taken in turns. */
static ful_status measure(trial *t, double *direct, double *winograd)
{
    double spent = 0;
    *direct = *winograd = 1e30;
    for (int round = 0; round < ROUNDS_LEAST || (round < ROUNDS_MOST && spent < SECONDS); round++) {
        const bool repack = t->train || round == 0;
        const double begin = ful__seconds();
        FUL_TRY(run_direct(t, repack));
        const double middle = ful__seconds();
        run_winograd(t, repack);
        const double end = ful__seconds();
        if (round == 0) continue; /* warms up */
        spent += end - begin;
        if (middle - begin < *direct) *direct = middle - begin;
        if (end - middle < *winograd) *winograd = end - middle;
    }
    return FUL_OK;
}

/* Choosing --------------------------------------------------------------------------------------------------------------- */

static ful_conv_algorithm wanted(const ful_conv2d_attr *attr)
{
    const char *text = getenv("FULCRUM_CONV");
    if (text && strcmp(text, "direct") == 0) return FUL_CONV_DIRECT;
    if (text && strcmp(text, "winograd") == 0) return FUL_CONV_WINOGRAD;
    if (text && strcmp(text, "auto") == 0) return FUL_CONV_AUTO;
    return attr->algorithm;
}

static void key_of(const ful__dnnl_conv_spec *s, ful__dnnl_pass pass, int n, char *out)
{
    snprintf(out, KEY_MAX, "%s n%d c%d-%d %dx%d pad%d,%d t%d", s->train ? pass_names[pass] : "infer", n, s->x.c, s->y.c, s->y.h,
             s->y.w, s->attr.pad_h, s->attr.pad_w, ful_threads_get());
}

static ful_status measure_and_keep(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, const char *key)
{
    trial t;
    double direct = 0, winograd = 0;
    ful_status status = trial_init(&t, spec, pass, n);
    if (status == FUL_OK) status = measure(&t, &direct, &winograd);
    trial_deinit(&t);
    FUL_TRY(status);
    ful__log(FUL_LOG_DEBUG, "convolution %s: direct %.3f ms, winograd %.3f ms", key, 1e3 * direct, 1e3 * winograd);
    return keep(key, winograd < CLEARLY * direct);
}

/* The choice is not in the process: from the file, or measured under the file's lock. */
static ful_status look_further(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, const char *key)
{
    store file;
    ful_status status = store_open(&file);
    if (status == FUL_OK) status = store_read(&file);
    if (status == FUL_OK && !find(key)) {
        status = measure_and_keep(spec, pass, n, key);
        if (status == FUL_OK) status = store_write(&file);
    }
    store_close(&file);
    return status;
}

ful_status ful__conv_choose(const ful__dnnl_conv_spec *spec, ful__dnnl_pass pass, int n, bool *winograd_out)
{
    *winograd_out = false;
    const ful_conv2d_attr *a = &spec->attr;
    if (spec->x_layout != FUL__BLOCKED || spec->y_layout != FUL__BLOCKED || !ful__winograd_applies(a, spec->x, spec->y))
        return FUL_OK;
    if (pass == FUL__DNNL_BWD_W && a->bias) return FUL_OK; /* oneDNN sums the bias's gradient on the way */
    *winograd_out = wanted(a) == FUL_CONV_WINOGRAD;
    if (wanted(a) != FUL_CONV_AUTO) return FUL_OK;

    const double macs = 9.0 * spec->x.c * (double)ful__count(spec->y);
    const int most = macs < MACS_MAX ? (int)(MACS_MAX / macs) : 1;
    char key[KEY_MAX];
    if (n > most) n = most;
    key_of(spec, pass, n, key);
    pthread_mutex_lock(&lock);
    ful_status status = FUL_OK;
    if (!find(key)) status = look_further(spec, pass, n, key);
    const choice *found = find(key);
    *winograd_out = found && found->winograd;
    pthread_mutex_unlock(&lock);
    return status;
}
