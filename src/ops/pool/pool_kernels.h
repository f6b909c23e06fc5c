/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling of one plane [h][w][width], vectors along the channels. Compiled once a CPU level. */

/* Up to LANES places in memory as int32 lanes. */
INLINE vi FN(load_places)(const void *p, int64_t at, int n, bool wide)
{
    vi out;
    if (wide) {
        typedef uint16_t places __attribute__((vector_size(2 * LANES)));
        places v = {0};
        memcpy(&v, (const uint16_t *)p + at, (size_t)n * sizeof(uint16_t));
        out = __builtin_convertvector(v, vi);
    } else {
        typedef uint8_t places __attribute__((vector_size(LANES)));
        places v = {0};
        memcpy(&v, (const uint8_t *)p + at, (size_t)n);
        out = __builtin_convertvector(v, vi);
    }
    return out;
}

INLINE void FN(store_places)(void *p, int64_t at, vi value, int n, bool wide)
{
    if (wide) {
        typedef uint16_t places __attribute__((vector_size(2 * LANES)));
        const places v = __builtin_convertvector(value, places);
        memcpy((uint16_t *)p + at, &v, (size_t)n * sizeof(uint16_t));
    } else {
        typedef uint8_t places __attribute__((vector_size(LANES)));
        const places v = __builtin_convertvector(value, places);
        memcpy((uint8_t *)p + at, &v, (size_t)n);
    }
}

/* The largest of a window and its place, for the vector at channel col. A NaN is larger than all, and stays. */
INLINE void FN(max_of)(const pool_shape *s, const pool_window *win, const float *x, int64_t out, float *y, void *place,
                       const int tail)
{
    const float *first = x + ((int64_t)win->y0 * s->w + win->x0) * s->width;
    vf best = vget(first, tail);
    vi at = (vi){0} + ((win->y0 - win->top) * s->kernel + win->x0 - win->left);
    for (int iy = win->y0; iy < win->y1; iy++)
        for (int ix = win->x0; ix < win->x1; ix++) {
            const vf value = vget(x + ((int64_t)iy * s->w + ix) * s->width, tail);
            const vi better = ~(value <= best) & (best == best);
            const vi here = (vi){0} + ((iy - win->top) * s->kernel + ix - win->left);
            best = (vf)(((vi)value & better) | ((vi)best & ~better));
            at = (here & better) | (at & ~better);
        }
    vput(y + out, best, tail);
    if (place) FN(store_places)(place, out, at, tail ? tail : LANES, s->wide);
}

static TARGET void FN(max_forward)(const pool_shape *s, const float *x, float *y, void *place)
{
    for (int oy = 0; oy < s->oh; oy++)
        for (int ox = 0; ox < s->ow; ox++) {
            const pool_window win = window_at(s, oy, ox);
            const int64_t out = ((int64_t)oy * s->ow + ox) * s->width;
            int col = 0;
            for (; col + LANES <= s->width; col += LANES) FN(max_of)(s, &win, x + col, out + col, y, place, 0);
            if (col < s->width) FN(max_of)(s, &win, x + col, out + col, y, place, s->width - col);
        }
}

/* dx of the pixel that was the maximum += dy */
INLINE void FN(max_to)(const pool_shape *s, const pool_window *win, const float *dy, int64_t out, const void *place, float *dx,
                       const int tail)
{
    const vf g = vget(dy + out, tail);
    const vi at = FN(load_places)(place, out, tail ? tail : LANES, s->wide);
    for (int iy = win->y0; iy < win->y1; iy++)
        for (int ix = win->x0; ix < win->x1; ix++) {
            const int here = (iy - win->top) * s->kernel + ix - win->left;
            float *p = dx + ((int64_t)iy * s->w + ix) * s->width;
            vput(p, vget(p, tail) + (vf)((vi)g & (at == here)), tail);
        }
}

static TARGET void FN(max_backward)(const pool_shape *s, const float *dy, const void *place, float *dx)
{
    for (int oy = 0; oy < s->oh; oy++)
        for (int ox = 0; ox < s->ow; ox++) {
            const pool_window win = window_at(s, oy, ox);
            const int64_t out = ((int64_t)oy * s->ow + ox) * s->width;
            int col = 0;
            for (; col + LANES <= s->width; col += LANES) FN(max_to)(s, &win, dy, out + col, place, dx + col, 0);
            if (col < s->width) FN(max_to)(s, &win, dy, out + col, place, dx + col, s->width - col);
        }
}

INLINE vf FN(pixels)(const pool_window *win)
{
    return vset((float)((win->y1 - win->y0) * (win->x1 - win->x0)));
}

INLINE vf FN(avg_of)(const pool_shape *s, const pool_window *win, const float *x, const int tail)
{
    vf sum = {0};
    for (int iy = win->y0; iy < win->y1; iy++)
        for (int ix = win->x0; ix < win->x1; ix++) sum += vget(x + ((int64_t)iy * s->w + ix) * s->width, tail);
    return sum / FN(pixels)(win);
}

static TARGET void FN(avg_forward)(const pool_shape *s, const float *x, float *y)
{
    for (int oy = 0; oy < s->oh; oy++)
        for (int ox = 0; ox < s->ow; ox++, y += s->width) {
            const pool_window win = window_at(s, oy, ox);
            int col = 0;
            for (; col + LANES <= s->width; col += LANES) vstore(y + col, FN(avg_of)(s, &win, x + col, 0));
            if (col < s->width) vstore_n(y + col, FN(avg_of)(s, &win, x + col, s->width - col), s->width - col);
        }
}

INLINE void FN(avg_to)(const pool_shape *s, const pool_window *win, vf g, float *dx, const int tail)
{
    for (int iy = win->y0; iy < win->y1; iy++)
        for (int ix = win->x0; ix < win->x1; ix++) {
            float *p = dx + ((int64_t)iy * s->w + ix) * s->width;
            vput(p, vget(p, tail) + g, tail);
        }
}

static TARGET void FN(avg_backward)(const pool_shape *s, const float *dy, float *dx)
{
    for (int oy = 0; oy < s->oh; oy++)
        for (int ox = 0; ox < s->ow; ox++, dy += s->width) {
            const pool_window win = window_at(s, oy, ox);
            const vf pixels = FN(pixels)(&win);
            int col = 0;
            for (; col + LANES <= s->width; col += LANES) FN(avg_to)(s, &win, vload(dy + col) / pixels, dx + col, 0);
            const int tail = s->width - col;
            if (tail) FN(avg_to)(s, &win, vload_n(dy + col, tail) / pixels, dx + col, tail);
        }
}

static const pool_kernels FN(kernels) = {FN(max_forward), FN(max_backward), FN(avg_forward), FN(avg_backward)};
