/* SPDX-License-Identifier: Apache-2.0 */
/* y[i] = a[i] + b[i]; y may be a or b. Compiled once a CPU level. */
static TARGET void FN(add)(const float *a, const float *b, float *y, int64_t count, bool stream)
{
    int64_t i = 0;
    if (stream) {
        for (; i + LANES <= count; i += LANES) vstream(y + i, vload(a + i) + vload(b + i));
        vfence();
    }
    for (; i + LANES <= count; i += LANES) vstore(y + i, vload(a + i) + vload(b + i));
    for (; i < count; i++) y[i] = a[i] + b[i];
}

static const add_fn FN(kernel) = FN(add);
