/* SPDX-License-Identifier: Apache-2.0 */
/* The images in shards of our own. */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/store_make.h"

/* Names come from a file: what could garble a message becomes '?'. */
static void copy_clean(const char *from, char *to, size_t room)
{
    size_t n = 0;
    for (; from[n] && n + 1 < room; n++) to[n] = (unsigned char)from[n] < 0x20 || from[n] == 0x7f ? '?' : from[n];
    to[n] = '\0';
}

/* All shards name the same classes, in the order of their numbers. */
static ful_status take_classes(ful__listing *l, const char *path, const ful__shard *shard, int number)
{
    const char *name = shard->class_names;
    ful__classes *c = &l->store->classes;
    for (uint64_t i = 0; i < shard->tail.classes; i++, name += strlen(name) + 1) {
        int label = 0;
        const int known = number == 0 ? (int)i : ful__classes_find(c, name);
        if (number == 0) FUL_TRY(ful__classes_add(c, l->store->path, name, &label));
        FUL_FAIL_IF(known != (int)i || (number == 0 && label != (int)i), FUL_ERR_FORMAT,
                    "cannot use shard '%s': its class %llu is '%s', which stands twice, or not there in the first shard", path,
                    (unsigned long long)i, name);
    }
    FUL_FAIL_IF(shard->tail.classes != (uint64_t)c->count, FUL_ERR_FORMAT,
                "cannot use shard '%s' with %llu classes: the first shard has %d", path,
                (unsigned long long)shard->tail.classes, c->count);
    return FUL_OK;
}

static ful_status check_place(const char *path, const ful__shard *shard, const ful__shard *first, uint64_t next, int number,
                              int count)
{
    FUL_FAIL_IF(shard->head.key != first->head.key || shard->tail.total != first->tail.total, FUL_ERR_FORMAT,
                "cannot use shard '%s': it belongs to another set than the first shard", path);
    FUL_FAIL_IF(shard->head.number != (uint32_t)number || shard->head.first != next, FUL_ERR_FORMAT,
                "cannot use shard '%s': it is number %u and begins with image %llu, number %d with image %llu is due", path,
                shard->head.number, (unsigned long long)shard->head.first, number, (unsigned long long)next);
    const bool last = shard->tail.flags & FUL__SHARD_LAST;
    FUL_FAIL_IF(last != (number == count - 1), FUL_ERR_FORMAT, "cannot use shard '%s': %s", path,
                last ? "it is the last of its set, but others follow"
                     : "others must follow it, the set is not complete (`fulcrum data pack` goes on where it was)");
    return FUL_OK;
}

static ful_status add_shard(ful__listing *l, int number, uint64_t *next)
{
    uint32_t place;
    ful__store *s = l->store;
    const char *path = l->source->files[number].path;
    FUL_TRY(ful__store_add_place(s, path, false, &place));
    ful__shard *shard = NULL;
    FUL_TRY(ful__calloc(&shard, 1, sizeof *shard, "a shard"));
    s->places[place].shard = shard;
    FUL_TRY(ful__shard_open(path, shard));
    FUL_TRY(check_place(path, shard, s->places[0].shard, *next, number, (int)l->source->n_files));
    FUL_TRY(take_classes(l, path, shard, number));
    for (uint64_t i = 0; i < shard->tail.count; i++) {
        char name[4096];
        const ful__shard_entry *e = &shard->index[i];
        copy_clean(shard->names + e->name, name, sizeof name);
        FUL_TRY(ful__store_add(s, place, name, i, e->bytes, (int)e->label));
        s->bytes += e->bytes;
    }
    *next = shard->tail.next;
    return FUL_OK;
}

ful_status ful__list_shards(ful__listing *l)
{
    uint64_t next = 0;
    l->store->keep_order = l->store->keep_classes = true;
    for (int i = 0; i < l->source->n_files; i++) FUL_TRY(add_shard(l, i, &next));
    return FUL_OK;
}
