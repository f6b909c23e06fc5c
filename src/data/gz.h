/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in memory, gzip or not, read as a stream. Checksums and lengths of every gzip member are verified. */
#ifndef FUL_DATA_GZ_H
#define FUL_DATA_GZ_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

typedef struct ful__gz {
    const char *name; /* for messages; borrowed, like the bytes */
    const uint8_t *bytes;
    size_t n, at; /* at: next byte to give to zlib, or to hand out when not compressed */
    bool compressed, ended;
    z_stream z;
} ful__gz;

bool ful__gz_is(const void *bytes, size_t n);
ful_status ful__gz_open(ful__gz *g, const char *name, const void *bytes, size_t n) FUL_CHECK_RESULT;
/* Up to `want` bytes; fewer only at the end of the data. */
ful_status ful__gz_read(ful__gz *g, void *out, size_t want, size_t *got) FUL_CHECK_RESULT;
void ful__gz_close(ful__gz *g); /* accepts a zeroed one */

#endif
