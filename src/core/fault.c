/* SPDX-License-Identifier: Apache-2.0 */
/* Fault injection: counters in front of every place where the operating system can refuse us. Cheap enough to stay in. */
#include <stdatomic.h>

#include "core/mem.h"

static struct {
    atomic_long calls, fail_at;
} faults[FUL__FAULT_KINDS];

void ful__fault_fail_at(ful__fault kind, long n)
{
    atomic_store(&faults[kind].calls, 0);
    atomic_store(&faults[kind].fail_at, n);
}

long ful__fault_count(ful__fault kind)
{
    return atomic_load(&faults[kind].calls);
}

bool ful__fault_hit(ful__fault kind)
{
    const long call = atomic_fetch_add_explicit(&faults[kind].calls, 1, memory_order_relaxed) + 1;
    return call == atomic_load_explicit(&faults[kind].fail_at, memory_order_relaxed);
}
