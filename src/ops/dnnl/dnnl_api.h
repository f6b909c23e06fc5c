/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between oneDNN 2 and 3, made one: memory descriptors (values there, handles here), and a "kernel": a primitive
 * with the memory objects it runs on.
 */
#ifndef FUL_OPS_DNNL_API_H
#define FUL_OPS_DNNL_API_H

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/mem.h"

/* The one engine and stream; made at first use, which also takes over ful_cpu_flags() as the highest instruction set. */
ful_status ful__dnnl_init(void) FUL_CHECK_RESULT;
dnnl_engine_t ful__dnnl_engine(void);
/* Gives oneDNN the thread count of the calling place: ful_threads_get(), or 1 inside a piece of a parallel loop. */
void ful__dnnl_use_threads(void);
/* FUL_OK, or a failure "cannot <what> '<name>' …: oneDNN says …". */
ful_status ful__dnnl_check(dnnl_status_t status, const char *what, const char *name) FUL_CHECK_RESULT;

/* Memory descriptors. ful__md owns, ful__md_ref borrows. A zeroed ful__md is "none". */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t ful__md;
typedef const_dnnl_memory_desc_t ful__md_ref;
#else
typedef dnnl_memory_desc_t ful__md;
typedef const dnnl_memory_desc_t *ful__md_ref;
#endif
ful__md_ref ful__md_see(const ful__md *md); /* NULL when none */
dnnl_status_t ful__md_make(ful__md *out, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag);
dnnl_status_t ful__md_copy(ful__md *out, ful__md_ref from);
void ful__md_free(ful__md *md);
int ful__md_dims(ful__md_ref md, const dnnl_dim_t **dims_out); /* rank */
/* How a blocked tensor lies: axis d in steps of stride[d], each step a box of inner blocks, the last one contiguous. */
typedef struct ful__md_blocks {
    dnnl_dim_t stride[DNNL_MAX_NDIMS];
    int count; /* of inner blocks */
    dnnl_dim_t size[DNNL_MAX_NDIMS], axis[DNNL_MAX_NDIMS];
} ful__md_blocks;
bool ful__md_blocks_get(ful__md_ref md, ful__md_blocks *out); /* false: laid out in a way only oneDNN knows */
/* Where element x of one axis lies; the place of an element is the sum over its axes. */
int64_t ful__md_place(const ful__md_blocks *b, int axis, int64_t x);

/* A convolution's primitive descriptor. fwd_hint: of the forward pass, for the backward ones. */
typedef struct ful__dnnl_conv_desc {
    dnnl_prop_kind_t prop; /* forward_training, forward_inference, backward_data, backward_weights */
    dnnl_alg_kind_t alg;
    ful__md_ref x, w, b, y;
    dnnl_dims_t strides, dilates, pad;
    const char *avoid; /* an implementation that is not taken, or NULL */
} ful__dnnl_conv_desc;
dnnl_status_t ful__dnnl_conv_pd(dnnl_primitive_desc_t *out, const ful__dnnl_conv_desc *d, const_dnnl_primitive_attr_t attr,
                                const_dnnl_primitive_desc_t fwd_hint);
dnnl_status_t ful__dnnl_reorder_pd(dnnl_primitive_desc_t *out, ful__md_ref from, ful__md_ref to);
dnnl_status_t ful__dnnl_append_sum(dnnl_post_ops_t ops);
dnnl_status_t ful__dnnl_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta);

/*
 * A primitive and idle sets of memory objects for its arguments (the last is the scratchpad if it wants one). A run takes a set
 * or makes one, so runs in several threads do not meet.
 */
enum { FUL__DNNL_ARGS = 5, FUL__DNNL_IMPL_BYTES = 48 };
typedef struct ful__dnnl_binding ful__dnnl_binding;
typedef struct ful__dnnl_kernel {
    dnnl_primitive_t primitive;
    char impl[FUL__DNNL_IMPL_BYTES];
    int n_args;
    int arg[FUL__DNNL_ARGS];
    ful__md md[FUL__DNNL_ARGS];
    size_t scratch_bytes;
    pthread_mutex_t lock;
    ful__dnnl_binding *idle;
} ful__dnnl_kernel;

/* Takes over pd, also on failure. args: DNNL_ARG_… without the scratchpad. */
ful_status ful__dnnl_kernel_create(dnnl_primitive_desc_t pd, const int *args, int n_args, const char *name,
                                   ful__dnnl_kernel **out) FUL_CHECK_RESULT;
void ful__dnnl_kernel_destroy(ful__dnnl_kernel **kernel);
/* buffer[i] belongs to args[i]. scratch holds at least room bytes; where that is too little the binding brings its own. */
/* Makes now what the first run would. */
ful_status ful__dnnl_kernel_prepare(ful__dnnl_kernel *kernel, const char *name) FUL_CHECK_RESULT;
ful_status ful__dnnl_kernel_run(ful__dnnl_kernel *kernel, void *const *buffer, void *scratch, size_t room,
                                const char *name) FUL_CHECK_RESULT;

#endif
