# SPDX-License-Identifier: Apache-2.0
"""Puts measurements where people read them: copies results into bench/results/LEVEL, the CPU level whose kernels ran (one
machine a level stands there), and rewrites the generated blocks of doc/performance.md and README.md from all levels that are
there. Called by `make bench-publish`.

usage: publish.py FOLDER_OF_MEASUREMENTS [--root CHECKOUT]
"""
import argparse
import json
import os
import re
import shutil
import sys

import table

FILES = {"bench.json": ["bench.json", "table.txt", "ratios.svg"], "scaling.json": ["scaling.json", "scaling.svg"]}  # document: what belongs to it
PROFILED = ["train resnet18", "train resnet20", "train dwnet", "train resnet20-moe", "infer1 resnet20", "infer128 resnet18"]
README_CASES = ["train resnet18", "train resnet20", "train dwnet", "train resnet20-moe", "train vit_tiny", "layer 1024", "infer1 resnet20",
                "infer1 dwnet", "infer128 resnet18", "infer128 vit_tiny", "memory resnet18"]


def name_of(row):
    """The work, with its case where the row only makes sense below another."""
    return f"{row['case']} {row['work'].strip()}" if row["work"].startswith(" ") else row["work"]


def level_of(doc):
    return doc["peaks"]["level"]


def heading(doc, cpu):
    """What tells the machines apart."""
    return f"### {level_of(doc)}: {cpu}"


def verdict(rows):
    """How many targets are met, and which are not."""
    missed = [r for r in rows if not r["met"]]
    return f"{len(rows) - len(missed)} of {len(rows)} targets met." + (
        " Missed: " + "; ".join(f"{name_of(r)} at {100 * r['reached']:.0f} % of its target" for r in missed) + "." if missed else "")


def results_block(doc):
    rows = table.make_rows(doc)
    out = [heading(doc, doc["machine"]["cpu"]), ""] + ["- " + line for line in table.header(doc)] + ["", table.as_markdown(rows)]
    out.append(verdict(rows))
    failed = {f"{case}: {variant}: {why}" for case, c in doc["cases"].items() for variant, why in c.get("failed", {}).items()}
    out += [""] + [f"- could not run {f}" for f in sorted(failed)] if failed else []
    out += ["", *(f"- {note}" for note in table.notes(doc))]
    out += ["", f"![How much of each target is reached on {level_of(doc)}](../bench/results/{level_of(doc)}/ratios.svg)", ""]
    return "\n".join(out)


def profile_block(doc):
    out = [heading(doc, doc["machine"]["cpu"]), ""]
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
    out = [heading(doc, doc["cpu"]), "", f"{doc['threads']} threads, medians of {doc['repeats']} turns, load {doc['load'][0]:.1f} before and "
           f"{doc['load'][1]:.1f} after; {doc['date']}.", "", "| against | exponent of the time of a step | above the middle |", "|---|---|---|"]
    for panel in doc["panels"].values():
        for s in panel["series"]:
            if not s.get("model"):
                out.append(f"| {panel['title']}: {s['name']} ({panel['x']}) | {s['exponent']:.2f} | {s['exponent_upper']:.2f} |")
    out += ["", f"![Time of a step against batch, width, depth, tokens, experts, k and threads on {level_of(doc)}]"
            f"(../bench/results/{level_of(doc)}/scaling.svg)", ""]
    return "\n".join(out)


def readme_block(docs):
    """A row a work, a column a machine."""
    out = []
    for doc in docs:
        m = doc["machine"]
        out.append(f"- **{level_of(doc)}**: {m['cpu']}, {m['threads']} threads, load {m['load'][0]:.1f}, medians of {table.turns_of(doc)} interleaved turns, "
                   + ", ".join(f"{k} {v}" for k, v in doc["versions"].items()) + f" ({doc['date']}). {verdict(table.make_rows(doc))}")
    made = [{(r["case"], name_of(r)): table.cells_of(r) for r in table.make_rows(doc) if r["case"] in README_CASES} for doc in docs]
    rows = list(dict.fromkeys(row for cells in made for row in cells))
    out += ["", "| work | " + " | ".join(f"{level_of(doc)}: Fulcrum, beside, ratio (range)" for doc in docs) + " |", "|---|" + "---|" * len(docs)]
    for row in rows:
        shown = ["{}, {}, **{}**".format(cells[row][1], cells[row][2], cells[row][4]) if row in cells else "" for cells in made]
        out.append("| " + " | ".join([row[1], *shown]) + " |")
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
    for name, belongings in FILES.items():
        doc = read(args.folder, name)
        if doc:
            os.makedirs(os.path.join(results, level_of(doc)), exist_ok=True)
            for file in filter(os.path.exists, (os.path.join(args.folder, name) for name in belongings)):
                shutil.copy(file, os.path.join(results, level_of(doc)))
    folders = sorted((entry.path for entry in os.scandir(results) if entry.is_dir()), reverse=True)
    benches, curves = ([doc for folder in folders if (doc := read(folder, name))] for name in FILES)
    blocks, readme = {}, {}
    if benches:
        blocks |= {"results": "\n".join(map(results_block, benches)), "profile": "\n".join(map(profile_block, benches))}
        readme = {"speed": readme_block(benches)}
    if curves:
        blocks["scaling"] = "\n".join(map(scaling_block, curves))
    rewrite(os.path.join(args.root, "doc", "performance.md"), blocks)
    rewrite(os.path.join(args.root, "README.md"), readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
