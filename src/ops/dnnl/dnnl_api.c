/* SPDX-License-Identifier: Apache-2.0 */
/* The engine, and everything that is written differently for oneDNN 2 and 3. */
#include "ops/dnnl/dnnl_api.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/dnnl/dnnl_shim.h"

extern void omp_set_num_threads(int n) __attribute__((weak));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_status_t init_status;
static dnnl_engine_t engine;
static dnnl_stream_t stream;

/* oneDNN must not use what the mask hides. Without AVX2 in the processor itself it knows best (AVX). */
static void limit_isa(void)
{
#if defined(__x86_64__)
    const unsigned flags = ful_cpu_flags();
    if (flags & FUL_CPU_AVX512 || !__builtin_cpu_supports("avx2")) return;
    (void)dnnl_set_max_cpu_isa(flags & FUL_CPU_AVX2 ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_sse41);
#endif
}

static void init(void)
{
    limit_isa();
    init_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (init_status == dnnl_success) init_status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
}

ful_status ful__dnnl_init(void)
{
    pthread_once(&once, init);
    return ful__dnnl_check(init_status, "start", "oneDNN");
}

dnnl_engine_t ful__dnnl_engine(void)
{
    return engine;
}

void ful__dnnl_use_threads(void)
{
    if (omp_set_num_threads) omp_set_num_threads(ful__parallel_active() ? 1 : ful_threads_get());
}

ful_status ful__dnnl_check(dnnl_status_t status, const char *what, const char *name)
{
    switch (status) {
    case dnnl_success: return FUL_OK;
    case dnnl_out_of_memory: return ful__fail(FUL_ERR_MEMORY, "cannot %s '%s': oneDNN is out of memory", what, name);
    case dnnl_unimplemented:
        return ful__fail(FUL_ERR_UNSUPPORTED, "cannot %s '%s': this oneDNN has no such kernel", what, name);
    default: return ful__fail(FUL_ERR_INTERNAL, "cannot %s '%s': oneDNN failed with status %d", what, name, (int)status);
    }
}

const char *ful__dnnl_version(void)
{
    static char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

/* Versions --------------------------------------------------------------------------------------------------------------- */

static bool is_avoided(const_dnnl_primitive_desc_t pd, const ful__dnnl_conv_desc *d)
{
    const char *impl = NULL;
    return d->avoid && dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl) == dnnl_success &&
           strcmp(impl, d->avoid) == 0;
}

#if DNNL_VERSION_MAJOR >= 3

ful__md_ref ful__md_see(const ful__md *md)
{
    return *md;
}

dnnl_status_t ful__md_make(ful__md *out, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(out, rank, dims, dnnl_f32, tag);
}

dnnl_status_t ful__md_copy(ful__md *out, ful__md_ref from)
{
    return dnnl_memory_desc_clone(out, from);
}

void ful__md_free(ful__md *md)
{
    if (*md) (void)dnnl_memory_desc_destroy(*md);
    *md = NULL;
}

int ful__md_dims(ful__md_ref md, const dnnl_dim_t **dims_out)
{
    int rank = 0;
    const dnnl_dims_t *dims = NULL;
    (void)dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &rank);
    (void)dnnl_memory_desc_query(md, dnnl_query_dims, &dims);
    *dims_out = *dims;
    return rank;
}

bool ful__md_blocks_get(ful__md_ref md, ful__md_blocks *out)
{
    dnnl_format_kind_t kind = dnnl_format_kind_undef;
    const dnnl_dims_t *strides = NULL, *sizes = NULL, *axes = NULL;
    dnnl_status_t status = dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind);
    if (status != dnnl_success || kind != dnnl_blocked) return false;
    status = dnnl_memory_desc_query(md, dnnl_query_strides, &strides);
    if (status == dnnl_success) status = dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &out->count);
    if (status == dnnl_success) status = dnnl_memory_desc_query(md, dnnl_query_inner_blks, &sizes);
    if (status == dnnl_success) status = dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &axes);
    if (status != dnnl_success) return false;
    memcpy(out->stride, *strides, sizeof out->stride);
    memcpy(out->size, *sizes, sizeof out->size);
    memcpy(out->axis, *axes, sizeof out->axis);
    return true;
}

static dnnl_status_t first_pd(dnnl_primitive_desc_t *out, const ful__dnnl_conv_desc *d, const_dnnl_primitive_attr_t attr,
                              const_dnnl_primitive_desc_t fwd_hint)
{
    if (d->prop == dnnl_backward_data)
        return dnnl_convolution_backward_data_primitive_desc_create(out, engine, d->alg, d->x, d->w, d->y, d->strides,
                                                                    d->dilates, d->pad, d->pad, fwd_hint, attr);
    if (d->prop == dnnl_backward_weights)
        return dnnl_convolution_backward_weights_primitive_desc_create(out, engine, d->alg, d->x, d->w, d->b, d->y, d->strides,
                                                                       d->dilates, d->pad, d->pad, fwd_hint, attr);
    return dnnl_convolution_forward_primitive_desc_create(out, engine, d->prop, d->alg, d->x, d->w, d->b, d->y, d->strides,
                                                          d->dilates, d->pad, d->pad, attr);
}

dnnl_status_t ful__dnnl_conv_pd(dnnl_primitive_desc_t *out, const ful__dnnl_conv_desc *d, const_dnnl_primitive_attr_t attr,
                                const_dnnl_primitive_desc_t fwd_hint)
{
    dnnl_status_t status = first_pd(out, d, attr, fwd_hint);
    while (status == dnnl_success && is_avoided(*out, d)) status = dnnl_primitive_desc_next_impl(*out);
    return status;
}

dnnl_status_t ful__dnnl_append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

dnnl_status_t ful__dnnl_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta)
{
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, beta);
}

#else

ful__md_ref ful__md_see(const ful__md *md)
{
    return md->ndims > 0 ? md : NULL;
}

dnnl_status_t ful__md_make(ful__md *out, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(out, rank, dims, dnnl_f32, tag);
}

dnnl_status_t ful__md_copy(ful__md *out, ful__md_ref from)
{
    *out = *from;
    return dnnl_success;
}

void ful__md_free(ful__md *md)
{
    *md = (ful__md){0};
}

int ful__md_dims(ful__md_ref md, const dnnl_dim_t **dims_out)
{
    *dims_out = md->dims;
    return md->ndims;
}

bool ful__md_blocks_get(ful__md_ref md, ful__md_blocks *out)
{
    if (md->format_kind != dnnl_blocked) return false;
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    out->count = b->inner_nblks;
    memcpy(out->stride, b->strides, sizeof out->stride);
    memcpy(out->size, b->inner_blks, sizeof out->size);
    memcpy(out->axis, b->inner_idxs, sizeof out->axis);
    return true;
}

/* The first implementation of what desc describes that is not to be avoided. */
static dnnl_status_t wanted_pd(dnnl_primitive_desc_t *out, const ful__dnnl_conv_desc *d, const_dnnl_op_desc_t desc,
                               const_dnnl_primitive_attr_t attr, const_dnnl_primitive_desc_t fwd_hint)
{
    dnnl_primitive_desc_iterator_t at = NULL;
    dnnl_status_t status = dnnl_primitive_desc_iterator_create(&at, desc, attr, engine, fwd_hint);
    *out = NULL;
    while (status == dnnl_success && !*out) {
        *out = dnnl_primitive_desc_iterator_fetch(at);
        if (!*out) status = dnnl_out_of_memory;
        if (*out && is_avoided(*out, d)) {
            (void)dnnl_primitive_desc_destroy(*out);
            *out = NULL;
            status = dnnl_primitive_desc_iterator_next(at);
        }
    }
    if (at) (void)dnnl_primitive_desc_iterator_destroy(at);
    return status;
}

dnnl_status_t ful__dnnl_conv_pd(dnnl_primitive_desc_t *out, const ful__dnnl_conv_desc *d, const_dnnl_primitive_attr_t attr,
                                const_dnnl_primitive_desc_t fwd_hint)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status;
    if (d->prop == dnnl_backward_data)
        status = dnnl_dilated_convolution_backward_data_desc_init(&desc, d->alg, d->x, d->w, d->y, d->strides, d->dilates,
                                                                  d->pad, d->pad);
    else if (d->prop == dnnl_backward_weights)
        status = dnnl_dilated_convolution_backward_weights_desc_init(&desc, d->alg, d->x, d->w, d->b, d->y, d->strides,
                                                                     d->dilates, d->pad, d->pad);
    else
        status = dnnl_dilated_convolution_forward_desc_init(&desc, d->prop, d->alg, d->x, d->w, d->b, d->y, d->strides,
                                                            d->dilates, d->pad, d->pad);
    return status != dnnl_success ? status : wanted_pd(out, d, &desc, attr, fwd_hint);
}

dnnl_status_t ful__dnnl_append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

dnnl_status_t ful__dnnl_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta);
}

#endif

int64_t ful__md_place(const ful__md_blocks *b, int axis, int64_t x)
{
    int64_t box = 1, place = 0, step = 1;
    for (int i = 0; i < b->count; i++)
        if (b->axis[i] == axis) box *= b->size[i];
    int64_t inside = x % box;
    for (int i = b->count - 1; i >= 0; step *= b->size[i--])
        if (b->axis[i] == axis) {
            place += inside % b->size[i] * step;
            inside /= b->size[i];
        }
    return x / box * b->stride[axis] + place;
}

dnnl_status_t ful__dnnl_reorder_pd(dnnl_primitive_desc_t *out, ful__md_ref from, ful__md_ref to)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) status = dnnl_reorder_primitive_desc_create(out, from, engine, to, engine, attr);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Kernels ---------------------------------------------------------------------------------------------------------------- */

struct ful__dnnl_binding {
    ful__dnnl_binding *next;
    dnnl_exec_arg_t arg[FUL__DNNL_ARGS];
    ful__pages scratch; /* where the caller's is too small */
};

static dnnl_status_t read_pd(ful__dnnl_kernel *k, const_dnnl_primitive_desc_t pd)
{
    const char *impl = "";
    dnnl_status_t status = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl);
    snprintf(k->impl, sizeof k->impl, "%s", status == dnnl_success ? impl : "");
    for (int i = 0; i < k->n_args && status == dnnl_success; i++) {
        const ful__md_ref md = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, k->arg[i]);
        status = md ? ful__md_copy(&k->md[i], md) : dnnl_invalid_arguments;
    }
    if (status != dnnl_success) return status;
    const ful__md_ref scratch = ful__md_see(&k->md[k->n_args - 1]);
    k->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (k->scratch_bytes == 0) ful__md_free(&k->md[--k->n_args]);
    return dnnl_primitive_create(&k->primitive, pd);
}

ful_status ful__dnnl_kernel_create(dnnl_primitive_desc_t pd, const int *args, int n_args, const char *name,
                                   ful__dnnl_kernel **out)
{
    ful__dnnl_kernel *k = NULL;
    ful_status status = ful__calloc(&k, 1, sizeof *k, "a oneDNN kernel");
    if (status == FUL_OK) {
        pthread_mutex_init(&k->lock, NULL);
        memcpy(k->arg, args, (size_t)n_args * sizeof *args);
        k->arg[n_args] = DNNL_ARG_SCRATCHPAD;
        k->n_args = n_args + 1;
        status = ful__dnnl_check(read_pd(k, pd), "create a primitive for", name);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    if (status != FUL_OK) ful__dnnl_kernel_destroy(&k);
    *out = k;
    return status;
}

static void binding_destroy(ful__dnnl_binding *b)
{
    if (!b) return;
    for (int i = 0; i < FUL__DNNL_ARGS; i++)
        if (b->arg[i].memory) (void)dnnl_memory_destroy(b->arg[i].memory);
    ful__pages_free(&b->scratch);
    ful__free(b);
}

void ful__dnnl_kernel_destroy(ful__dnnl_kernel **kernel)
{
    ful__dnnl_kernel *k = *kernel;
    *kernel = NULL;
    if (!k) return;
    while (k->idle) {
        ful__dnnl_binding *b = k->idle;
        k->idle = b->next;
        binding_destroy(b);
    }
    for (int i = 0; i < k->n_args; i++) ful__md_free(&k->md[i]);
    if (k->primitive) (void)dnnl_primitive_destroy(k->primitive);
    pthread_mutex_destroy(&k->lock);
    ful__free(k);
}

static ful_status binding_create(const ful__dnnl_kernel *k, const char *name, ful__dnnl_binding **out)
{
    ful__dnnl_binding *b = NULL;
    FUL_TRY(ful__calloc(&b, 1, sizeof *b, "a oneDNN kernel's arguments"));
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < k->n_args && status == dnnl_success; i++) {
        b->arg[i].arg = k->arg[i];
        status = dnnl_memory_create(&b->arg[i].memory, ful__md_see(&k->md[i]), engine, DNNL_MEMORY_NONE);
    }
    if (status != dnnl_success) binding_destroy(b);
    *out = status == dnnl_success ? b : NULL;
    return ful__dnnl_check(status, "create memory for", name);
}

static ful_status binding_take(ful__dnnl_kernel *k, const char *name, ful__dnnl_binding **out)
{
    pthread_mutex_lock(&k->lock);
    ful__dnnl_binding *b = k->idle;
    if (b) k->idle = b->next;
    pthread_mutex_unlock(&k->lock);
    *out = b;
    return b ? FUL_OK : binding_create(k, name, out);
}

static void binding_give(ful__dnnl_kernel *k, ful__dnnl_binding *b)
{
    pthread_mutex_lock(&k->lock);
    b->next = k->idle;
    k->idle = b;
    pthread_mutex_unlock(&k->lock);
}

ful_status ful__dnnl_kernel_prepare(ful__dnnl_kernel *k, const char *name)
{
    ful__dnnl_binding *b;
    FUL_TRY(binding_take(k, name, &b));
    binding_give(k, b);
    return FUL_OK;
}

static dnnl_status_t execute(const ful__dnnl_kernel *k, ful__dnnl_binding *b, void *const *buffer, void *scratch)
{
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < k->n_args && status == dnnl_success; i++)
        status = dnnl_memory_set_data_handle(b->arg[i].memory, k->arg[i] == DNNL_ARG_SCRATCHPAD ? scratch : buffer[i]);
    if (status == dnnl_success) status = dnnl_primitive_execute(k->primitive, stream, k->n_args, b->arg);
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    return status;
}

ful_status ful__dnnl_kernel_run(ful__dnnl_kernel *k, void *const *buffer, void *scratch, size_t room, const char *name)
{
    ful__dnnl_binding *b;
    ful__dnnl_use_threads();
    FUL_TRY(binding_take(k, name, &b));
    ful_status status = FUL_OK;
    if (k->scratch_bytes > room && !b->scratch.ptr) status = ful__pages_alloc(&b->scratch, k->scratch_bytes, "oneDNN scratch");
    if (status == FUL_OK)
        status = ful__dnnl_check(execute(k, b, buffer, b->scratch.ptr ? b->scratch.ptr : scratch), "run a primitive of", name);
    binding_give(k, b);
    return status;
}
