# SPDX-License-Identifier: Apache-2.0
"""Puts measurements where people read them: copies results into bench/results and rewrites the generated blocks of
doc/performance.md and README.md. Called by `make bench-publish`.

usage: publish.py FOLDER_OF_MEASUREMENTS [--root CHECKOUT]
"""
import argparse
import json
import os
import re
import shutil
import sys

import table

FILES = ["bench.json", "table.txt", "ratios.svg", "scaling.json", "scaling.svg"]
PROFILED = ["train resnet18", "train resnet20", "train dwnet", "train resnet20-moe", "infer1 resnet20", "infer128 resnet18"]
README_CASES = ["train resnet18", "train resnet20", "train dwnet", "train resnet20-moe", "layer 1024", "infer1 resnet20", "infer128 resnet18",
                "memory resnet18"]


def name_of(row):
    """The work, with its case where the row only makes sense below another."""
    return f"{row['case']} {row['work'].strip()}" if row["work"].startswith(" ") else row["work"]


def results_block(doc):
    rows = table.make_rows(doc)
    out = ["- " + line for line in table.header(doc)] + ["", table.as_markdown(rows)]
    missed = [r for r in rows if not r["met"]]
    out.append(f"{len(rows) - len(missed)} of {len(rows)} targets met." + (
        " Missed: " + "; ".join(f"{name_of(r)} at {100 * r['reached']:.0f} % of its target" for r in missed) + "."
        if missed else ""))
    failed = {f"{case}: {variant}: {why}" for case, c in doc["cases"].items() for variant, why in c.get("failed", {}).items()}
    out += [""] + [f"- could not run {f}" for f in sorted(failed)] if failed else []
    out += ["", *(f"- {note}" for note in table.memory_notes(doc))]
    return "\n".join(out)


def profile_block(doc):
    out = []
    for name in PROFILED:
        rows = table.profile_of(doc["cases"].get(name, {}))
        if not rows:
            continue
        out += [f"**{name}**", "", "| operation | pass | kernel | layers | ms a step | share | GFLOP/s |", "|---|---|---|---|---|---|---|"]
        out += [f"| {op} | {which} | {kernel} | {layers} | {1e3 * seconds:.3f} | {100 * share:.1f} % | {f'{gflops:.0f}' if gflops else ''} |"
                for op, which, kernel, layers, seconds, share, gflops in rows if share >= 0.005]
        out.append("")
    return "\n".join(out)


def scaling_block(doc):
    out = [f"{doc['cpu']}, {doc['threads']} threads, medians of {doc['repeats']} turns, load {doc['load'][0]:.1f} before and "
           f"{doc['load'][1]:.1f} after; {doc['date']}.", "", "| against | exponent of the time of a step | above the middle |", "|---|---|---|"]
    for panel in doc["panels"].values():
        for s in panel["series"]:
            if not s.get("model"):
                out.append(f"| {panel['title']}: {s['name']} ({panel['x']}) | {s['exponent']:.2f} | {s['exponent_upper']:.2f} |")
    return "\n".join(out)


def readme_block(doc):
    rows = [r for r in table.make_rows(doc) if r["case"] in README_CASES]
    m = doc["machine"]
    out = [f"{m['cpu']}, {m['threads']} threads, batch {doc['batch']}, 32×32 input, load {m['load'][0]:.1f}, medians of {table.turns_of(doc)} interleaved turns, "
           + ", ".join(f"{k} {v}" for k, v in doc["versions"].items()) + ":", "",
           "| work | Fulcrum | beside | ratio (range) |", "|---|---|---|---|"]
    for r in rows:
        _, mine, theirs, which, ratio, *_ = table.cells_of(r)
        out.append("| " + " | ".join([name_of(r), mine, f"{theirs} ({which})", ratio]) + " |")
    return "\n".join(out)


def replace_block(text, name, content):
    """The text between the two marks of that name; without marks, as it was."""
    pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.S)
    return pattern.sub(lambda m: m.group(1) + content.rstrip("\n") + "\n" + m.group(2), text)


def rewrite(path, blocks):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for name, content in blocks.items():
        text = replace_block(text, name, content)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder")
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    args = parser.parse_args()
    results = os.path.join(args.root, "bench", "results")
    os.makedirs(results, exist_ok=True)
    for name in FILES:
        if os.path.exists(os.path.join(args.folder, name)):
            shutil.copy(os.path.join(args.folder, name), results)
    bench, scaling, blocks, readme = read(results, "bench.json"), read(results, "scaling.json"), {}, {}
    if bench:
        blocks |= {"results": results_block(bench), "profile": profile_block(bench)}
        readme = {"speed": readme_block(bench)}
    if scaling:
        blocks["scaling"] = scaling_block(scaling)
    rewrite(os.path.join(args.root, "doc", "performance.md"), blocks)
    rewrite(os.path.join(args.root, "README.md"), readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
