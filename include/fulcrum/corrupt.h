/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Corruptions of images, of the kind of CIFAR-C (Hendrycks & Dietterich 2019), made on the fly: doc/corruptions.md has the
 * parameters of each severity, and where these differ from the original. What an image becomes depends on (seed, corruption,
 * severity, index) alone.
 */
#ifndef FULCRUM_CORRUPT_H
#define FULCRUM_CORRUPT_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FUL_SEVERITIES = 5, FUL_CORRUPTIONS_MAX = 32 };

typedef struct ful_corruption {
    const char *name;  /* "gaussian_noise" */
    const char *group; /* noise | blur | weather | digital */
    const char *about;
    bool common; /* one of the fifteen that a mean corruption error is taken over; the others are extras */
} ful_corruption;
/* All of them; ends with a NULL name. Static storage. */
FUL_API const ful_corruption *ful_corruptions(void);

typedef struct ful_corruptor ful_corruptor;
/*
 * Prepares one corruption at severity 1..5 for 8-bit HWC images of this size with 1 or 3 channels. workers: threads that may
 * apply it at once, >= 1; all memory is taken here. FUL_ERR_ARG for an unknown name or a value out of range.
 */
FUL_API ful_status ful_corruptor_create(const char *name, int severity, uint64_t seed, int height, int width, int channels,
                                        int workers, ful_corruptor **out) FUL_CHECK_RESULT;
FUL_API void ful_corruptor_destroy(ful_corruptor **corruptor);
/* The image at `index` corrupted; corruptor: a ful_corruptor (void, so that this is a ful_pixels_fn of fulcrum/data.h); worker:
 * 0..workers-1, each at most once at a time. in and out do not overlap. */
FUL_API void ful_corruptor_apply(void *corruptor, int worker, uint32_t index, const uint8_t *in, uint8_t *out);

#ifdef __cplusplus
}
#endif
#endif
