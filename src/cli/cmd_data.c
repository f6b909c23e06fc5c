/* SPDX-License-Identifier: Apache-2.0 */
/* fulcrum data: known sets, what lies at a path, packing, downloading. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"

static const char *const split_names[] = {"train", "val", "test"};

static int list_kinds(void)
{
    for (const ful_data_kind *kind = ful_data_kinds(); kind->name; kind++) printf("%-14s %s\n", kind->name, kind->about);
    return EXIT_OK;
}

/* ---- pack ---- */

/* One file of decoded images of one size a split. */
static int pack_decoded(const ful_data_config *given, const char *out)
{
    ful_data_config decoded = *given, *config = &decoded;
    decoded.decode = FUL_DECODE_CACHE;
    for (int split = 0; split < 3; split++) {
        char path[FUL_PATH_MAX + 16];
        ful_dataset *set = NULL;
        if (split == FUL_SPLIT_VAL && config->val_fraction <= 0.0) continue;
        snprintf(path, sizeof path, "%s/%s.pack", out, split_names[split]);
        ful_status status = ful_dataset_open(config, (ful_split)split, &set);
        if (status == FUL_OK) status = ful_dataset_pack(set, path);
        ful_dataset_info info = {0};
        if (set) ful_dataset_info_get(set, &info);
        ful_dataset_destroy(&set);
        if (status != FUL_OK) return fail(status);
        printf("%s: %lld images %dx%dx%d, %d classes\n", path, (long long)info.count, info.height, info.width, info.channels,
               info.classes);
    }
    return EXIT_OK;
}

static int pack_shards(const ful_data_config *config, const char *out, const ful_pack_options *options)
{
    int splits = 0;
    for (int split = 0; split < 3; split++) {
        bool found = false;
        ful_pack_report r;
        const ful_status status = ful_data_pack(config, (ful_split)split, out, options, &found, &r);
        if (status != FUL_OK) return fail(status);
        if (!found) continue;
        splits++;
        if (common.json) {
            const int printed = print_json_line(json_pack("{s:s, s:I, s:I, s:i, s:i, s:I}", "split", split_names[split],
                                                          "images", (json_int_t)r.images, "skipped", (json_int_t)r.skipped,
                                                          "shards", r.shards, "kept", r.kept, "bytes", (json_int_t)r.bytes));
            if (printed != EXIT_OK) return printed;
            continue;
        }
        printf("%s/%s-*.shard: %lld images in %d shard%s, %.1f MB", out, split_names[split], (long long)r.images, r.shards,
               r.shards == 1 ? "" : "s", (double)r.bytes / 1e6);
        if (r.kept > 0) printf("; %d of the shards were there already", r.kept);
        if (r.skipped > 0) printf("; %lld damaged images left out", (long long)r.skipped);
        printf("\n");
    }
    if (splits > 0) return EXIT_OK;
    fprintf(stderr, "fulcrum: cannot pack '%s' at '%s': it has no split\n", config->name, config->path);
    return EXIT_BAD_INPUT;
}

/* Encoded images stay encoded, in shards; decoded ones, and those brought to a size, make one file a split. */
static int pack(const command *self, const ful_data_config *config, const char *out, const char *format, int shard_mb,
                bool decode)
{
    ful_pack_options options;
    ful_pack_options_defaults(&options);
    options.decode = decode;
    if (shard_mb > 0) options.shard_bytes = (uint64_t)shard_mb << 20;
    bool shards = format && strcmp(format, "shard") == 0;
    if (format && !shards && strcmp(format, "pack") != 0)
        return usage_error(self, "--format %s: must be shard or pack", format);
    if (!format) {
        bool found = false;
        const ful_status status = ful_data_is_encoded(config, FUL_SPLIT_TRAIN, &found, &shards);
        if (status != FUL_OK) return fail(status);
        shards = (shards || !found) && config->size == 0 && !decode;
    }
    return shards ? pack_shards(config, out, &options) : pack_decoded(config, out);
}

/* ---- fetch ---- */

static int fetch(const char *name, const char *out, const char *from)
{
    char *folder = NULL;
    ful_fetch_report r;
    const ful_fetch_options options = {.from = from, .progress = show_fetch, .stop = &stop_requested};
    watch_signals();
    const ful_status status = ful_data_fetch(name, out, &options, &folder, &r);
    progress_end();
    if (status != FUL_OK) return fail(status);
    printf("%s: %d file%s in %s, %.1f MB downloaded", name, r.files, r.files == 1 ? "" : "s", folder, (double)r.bytes / 1e6);
    if (r.kept > 0) printf(", %d there already", r.kept);
    if (r.unverified > 0)
        printf(", %d not verified: no checksum is known\n", r.unverified);
    else
        printf(", checksums right\n");
    if (r.after) printf("left to do: %s\n", r.after);
    ful_free(folder);
    return EXIT_OK;
}

/* ---- the command ---- */

/* What the operand and the options say: a name of a known set, or a path to what --name says, else a folder. */
static ful_status configure(const char *operand, const char *name, int size, const text_list *set, ful_data_config *out)
{
    ful_config config;
    const ful_status status = ful_config_load(NULL, set->items, set->count, &config);
    if (status != FUL_OK) return status;
    *out = config.data;
    if (size > 0) out->size = size;
    bool known = false;
    for (const ful_data_kind *kind = ful_data_kinds(); kind->name; kind++) known = known || strcmp(kind->name, operand) == 0;
    snprintf(out->name, sizeof out->name, "%s", name ? name : known ? operand : "folder");
    if (!known || name) snprintf(out->path, sizeof out->path, "%s", operand);
    return FUL_OK;
}

static int run_data(const command *self, int argc, char **argv)
{
    const char *operands[2] = {NULL}, *out = NULL, *name = NULL, *format = NULL, *from = NULL;
    text_list set = {.count = 0};
    bool decode = false;
    int n_operands, code, size = 0, shard_mb = 0;
    const option_spec options[] = {
        {"name", 0, OPTION_TEXT, &name, "KIND", "what lies at PATH (default: PATH is itself a kind, or folder)"},
        {"set", 's', OPTION_LIST, &set, "KEY=VALUE", "a key of the configuration, e.g. data.labels=coarse; may be repeated"},
        {"size", 0, OPTION_INT, &size, "N", "pack: bring images to N x N (default: the set's own)"},
        {"out", 'o', OPTION_TEXT, &out, "DIR", "pack, fetch: the folder to write to (created)"},
        {"from", 0, OPTION_TEXT, &from, "URL", "fetch: another address of the same files"},
        {"format", 0, OPTION_TEXT, &format, "WORD", "pack: shard or pack (default: see above)"},
        {"shard-size", 0, OPTION_INT, &shard_mb, "MB", "pack: a shard ends with the image that reaches it (default 1024)"},
        {"decode", 0, OPTION_FLAG, &decode, NULL, "pack: decoded pixels, also in shards"},
        {NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
    };
    if ((code = parse(self, options, argc, argv, operands, 2, &n_operands)) >= 0) return code;
    const char *verb = operands[0];
    if (!verb) return usage_error(self, "list, info, pack or fetch is needed");
    if (strcmp(verb, "list") == 0) return list_kinds();
    const bool info = strcmp(verb, "info") == 0, fetching = strcmp(verb, "fetch") == 0;
    if (!info && !fetching && strcmp(verb, "pack") != 0)
        return usage_error(self, "unknown verb '%s': must be list, info, pack or fetch", verb);
    if (!operands[1]) return usage_error(self, "%s needs %sthe name of a set", verb, fetching ? "" : "a path or ");
    if (fetching) return fetch(operands[1], out, from);
    if (!info && !out) return usage_error(self, "pack needs --out DIR");
    if (shard_mb < 0) return usage_error(self, "--shard-size %d: must be at least 1", shard_mb);
    ful_data_config config;
    ful_status status = configure(operands[1], name, size, &set, &config);
    if (status != FUL_OK) return fail(status);
    if (!info) return pack(self, &config, out, format, shard_mb, decode);
    char *text = NULL;
    status = ful_data_describe(&config, common.json, &text);
    const int printed = text ? print_text(text) : EXIT_OK; /* also of a set without images */
    return status == FUL_OK ? printed : fail(status);
}

const command cmd_data = {"data", "list | info PATH_OR_NAME | pack PATH_OR_NAME --out DIR | fetch NAME",
                          "List known data sets, describe one, pack it into mapped files, or download it",
                          "list   the kinds of sets there are readers for, with the paths they are looked for at\n"
                          "info   what lies at a path: splits, classes, sizes, unreadable files\n"
                          "pack   write a set as shards (images as they lie, in files of a size; resumable) or as one pack a "
                          "split (decoded;\n"
                          "       the default with --size, and for sets that come decoded)\n"
                          "fetch  download a public set, resumed and verified\n\n"
                          "  fulcrum data fetch cifar10\n"
                          "  fulcrum data info /data/imagenet --name imagenet\n"
                          "  fulcrum data pack /data/imagenet --name imagenet --out /data/imagenet-shards\n\n"
                          "doc/data.md says what each reader expects.",
                          run_data};
