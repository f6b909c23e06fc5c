/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine can do at most, measured: the yardstick of `fulcrum bench` and bench/peaks. */
#ifndef FUL_CLI_PEAK_H
#define FUL_CLI_PEAK_H

/* One worker's loop: does `rounds` rounds on its own memory. */
typedef void (*peak_fn)(void *memory, long rounds);

/*
 * Rounds a second of fn on so many threads at once, each with its own memory[thread]: the best of a few windows that together
 * last about `seconds`. Threads start together and each counts its own time. Negative when threads cannot be started.
 */
double peak_rounds(int threads, double seconds, peak_fn fn, void *const *memory);

/* 1e9 fused multiply-adds a second times 2, float32, on registers alone; the level names the vectors ("avx512"). */
double peak_fma_gflops(int threads, double seconds);
const char *peak_level(void);

#endif
