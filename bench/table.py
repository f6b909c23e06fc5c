# SPDX-License-Identifier: Apache-2.0
"""From measurements (what compare.py wrote) to rows: medians, ratios with their range, targets, share of the peak, floor.

A case has series: a name -> the median of each turn, turn i of one beside turn i of the others. "ours" is Fulcrum; a peer's
variants are "torch/eager contiguous" and so on, of which the best counts.
"""
import statistics
from dataclasses import dataclass


@dataclass
class Row:
    work: str
    case: str
    against: str = ""  # a series, or what the names of a peer's variants begin with; "": the figure itself has a target
    at_least: float = 0  # target of against / ours
    at_most: float = 0  # target of ours / against, or of ours where there is nothing to compare with
    ours: str = "ours"


ROWS = [
    Row("train resnet18 (64-512)", "train resnet18", "torch/", at_least=2.0),
    Row("train resnet20 (16-64)", "train resnet20", "torch/", at_least=1.6),
    Row("train dwnet (mid size)", "train dwnet", "torch/", at_least=2.0),
    Row("train resnet20 + conv MoE stage", "train resnet20-moe", "torch/", at_least=2.0),
    Row("  beside the dense net of equal MACs", "train resnet20-moe", "dense", at_most=1.15),
    *(row for tokens, most in ((8192, 1.10), (1024, 1.10), (256, 1.30)) for row in (
        Row(f"MoE MLP layer, {tokens} tokens", f"layer {tokens}", "torch/", at_least=2.0),
        Row("  beside the dense MLP of equal MACs", f"layer {tokens}", "dense", at_most=most))),
    Row("infer resnet20, batch 1", "infer1 resnet20", "ort/", at_least=1.8),
    Row("infer dwnet, batch 1", "infer1 dwnet", "ort/", at_least=1.8),
    Row("infer resnet18, batch 1", "infer1 resnet18", "ort/", at_least=1.15),
    Row("infer resnet18, batch 128", "infer128 resnet18", "ort/", at_least=2.0),
    Row("infer resnet20, batch 128", "infer128 resnet20", "ort/", at_least=1.3),
    Row("infer dwnet, batch 128", "infer128 dwnet", "ort/", at_least=1.3),
    Row("train vit_tiny (patch 4, depth 6)", "train vit_tiny", "torch/", at_least=1.6),
    Row("infer vit_tiny, batch 128", "infer128 vit_tiny", "ort/", at_least=1.3),
    Row("memory of training resnet20", "memory resnet20", "torch/", at_most=0.6),
    Row("memory of training resnet18", "memory resnet18", "torch/", at_most=0.6),
    Row("start of fulcrum predict, resnet20", "startup", at_most=0.050),
    Row("study of 8 runs, --jobs auto", "jobs", "--jobs ", at_most=1.05, ours="auto"),
]


def best_of(series, prefix):
    """(name, values) of the fastest among the series whose names begin so and that were measured in every turn."""
    turns = max((len(values) for values in series.values()), default=0)
    found = {n: v for n, v in series.items() if n.startswith(prefix) and len(v) == turns}
    if not found:
        return None, []
    name = min(found, key=lambda n: statistics.median(found[n]))
    return name, found[name]


def median(values):
    return statistics.median(values) if values else float("nan")


def bandwidth(peaks, bytes_used, threads):
    """GB/s, the better of reading and updating, of the fastest level that could hold so many bytes."""
    one = 0 if threads == 1 else 1
    caches = peaks["cache_bytes"]
    level = "L2" if bytes_used <= caches["L2"] * threads else "L3" if bytes_used <= caches["L3"] else "DRAM"
    entry = next(b for b in peaks["bandwidth"] if b["level"] == level)
    return max(entry["read_gb_s"][one], entry["update_gb_s"][one]), level


def best_peaks(a, b):
    """Of two measurements of one machine the better figure each: what disturbs a peak can only lower it."""
    if isinstance(a, dict):
        return {key: best_peaks(a[key], b[key]) for key in a}
    if isinstance(a, list):
        return [best_peaks(x, y) for x, y in zip(a, b)]
    return max(a, b) if isinstance(a, float) else a


def floor_of(case, peaks):
    """(seconds, what binds): MACs over the peak, bytes over the bandwidth, the larger."""
    work = case.get("work")
    if not work or not peaks:
        return None, ""
    one = 0 if peaks["threads"] == 1 else 1
    macs = 2e-9 * work["macs"] / peaks["fma_gflops"][one]
    speed, level = bandwidth(peaks, work["held_bytes"], peaks["threads"])
    moved = 1e-9 * work["bytes"] / speed
    return (macs, "MACs") if macs >= moved else (moved, level)


def make_row(row, doc):
    """A row's figures as an object, None where its case was not measured."""
    case = doc["cases"].get(row.case)
    if not case or not case["series"].get(row.ours):
        return None
    series, peaks = case["series"], doc.get("peaks")
    ours = series[row.ours]
    out = {"work": row.work, "case": row.case, "unit": case["unit"], "ours": median(ours), "range": [min(ours), max(ours)]}
    value = out["ours"]
    if row.against:
        name, theirs = best_of({n: v for n, v in series.items() if n != row.ours}, row.against)
        if not name:
            return None
        pairs = [t / o if row.at_least else o / t for o, t in zip(ours, theirs)]
        value = median(theirs) / out["ours"] if row.at_least else out["ours"] / median(theirs)
        out |= {"peer": median(theirs), "variant": name.split("/", 1)[-1], "ratio": value, "ratio_range": [min(pairs), max(pairs)]}
    out |= {"target": row.at_least or row.at_most, "at_least": bool(row.at_least)}
    out["met"] = value >= row.at_least if row.at_least else value <= row.at_most
    out["reached"] = value / row.at_least if row.at_least else row.at_most / value
    seconds, binds = floor_of(case, peaks)
    if seconds:
        one = 0 if peaks["threads"] == 1 else 1
        out |= {"floor": seconds, "binds": binds, "share": 2e-9 * case["work"]["macs"] / out["ours"] / peaks["fma_gflops"][one]}
    return out


def make_rows(doc):
    return [made for row in ROWS if (made := make_row(row, doc))]


# Text ---------------------------------------------------------------------------------------------------------------------


def amount(value, unit):
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    return f"{value:.2f} s" if value >= 2 else f"{1e3 * value:.1f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} us"


def cells_of(r):
    sign = "≥" if r["at_least"] else "≤"
    if "ratio" in r:
        ratio = f"{r['ratio']:.2f} ({r['ratio_range'][0]:.2f}–{r['ratio_range'][1]:.2f})"
        target = f"{sign} {r['target']:g} ×"
    else:
        ratio = f"({amount(r['range'][0], r['unit'])}–{amount(r['range'][1], r['unit'])})"
        target = f"{sign} {amount(r['target'], r['unit'])}"
    return [r["work"], amount(r["ours"], r["unit"]), amount(r["peer"], r["unit"]) if "peer" in r else "", r.get("variant", ""),
            ratio, target, "yes" if r["met"] else "no", f"{100 * r['share']:.0f} %" if "share" in r else "",
            f"{amount(r['floor'], 's')} {r['binds']}" if "floor" in r else ""]


HEAD = ["work", "Fulcrum", "beside", "which", "ratio (range)", "target", "met", "of peak", "floor"]


def as_text(rows):
    lines = [HEAD, *map(cells_of, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines) + "\n"


def as_markdown(rows):
    def line(cells):
        return "| " + " | ".join(cells) + " |\n"

    return line(HEAD) + "|" + "---|" * len(HEAD) + "\n" + "".join(
        line(c.replace("  beside", "… beside") for c in cells_of(r)) for r in rows)


def turns_of(doc):
    """How many turns the cases took, in words; those of earlier runs may have been merged in."""
    counts = [len(case["series"]["ours"]) for case in doc.get("cases", {}).values() if case.get("series", {}).get("ours")]
    few, many = min(counts, default=doc["repeats"]), max(counts, default=doc["repeats"])
    return f"{many}" if few == many else f"{few} to {many}"


def header(doc):
    """What must be known to read the table."""
    m, peaks = doc["machine"], doc.get("peaks")
    lines = [f"{m['cpu']}, {m['cores']} cores; {m['threads']} threads, OpenMP wait policy {m['wait_policy']}, "
             f"load {m['load'][0]:.1f} before and {m['load'][1]:.1f} after; {doc['date']}",
             ", ".join(f"{name} {version}" for name, version in doc["versions"].items()),
             f"medians of {turns_of(doc)} interleaved turns; batch {doc['batch']} unless said, 32x32x3 input, float32"]
    if peaks:
        levels = ", ".join(f"{b['level']} {max(b['read_gb_s'][1], b['update_gb_s'][1]):.0f} GB/s" for b in peaks["bandwidth"])
        lines.append(f"measured peak ({peaks['level']}): {peaks['fma_gflops'][1]:.0f} GFLOP/s float32 on {peaks['threads']} threads, "
                     f"{peaks['fma_gflops'][0]:.0f} on one; int8 {peaks['int8_gops'][1]:.0f} Gop/s; {levels}")
    return lines


def memory_notes(doc):
    """A library's own code counts in its process: what training takes beyond that."""
    out = []
    for name, case in doc["cases"].items():
        if "idle" not in case:
            continue
        idle, (_, theirs) = case["idle"], best_of(case["series"], "torch/")
        ours = median(case["series"]["ours"])
        out.append(f"{name}: before a net is made, PyTorch's process holds {amount(idle['torch'], 'bytes')} and Fulcrum's "
                   f"{amount(idle['ours'], 'bytes')}; beyond that, training takes {(ours - idle['ours']) / (median(theirs) - idle['torch']):.2f} × PyTorch's")
    return out


PEERS = {"torch": "PyTorch", "ort": "ONNX Runtime"}


def shortcut_notes(doc):
    """Fulcrum makes a transformer's last block for what is read of it alone; what a peer takes whose net is written so."""
    out = []
    for name, case in doc["cases"].items():
        for peer, label in PEERS.items():
            variant, theirs = best_of(case.get("series", {}), f"{peer} class token alone/")
            if not variant:
                continue
            ours = case["series"]["ours"]
            pairs = [t / o for o, t in zip(ours, theirs)]
            out.append(f"{name}: where {label}'s net, too, is written to make its last block for the class token alone, without its keys and values, "
                       f"it takes {amount(median(theirs), case['unit'])} ({variant.split('/', 1)[1]}): ratio {median(theirs) / median(ours):.2f} "
                       f"({min(pairs):.2f}–{max(pairs):.2f})")
    return out


def notes(doc):
    """What stands below the table."""
    return memory_notes(doc) + shortcut_notes(doc)


def kernels_of(doc):
    """case -> "kernel pass xN, …" of our convolutions."""
    out = {}
    for name, case in doc["cases"].items():
        parts = [p for p in case.get("work", {}).get("parts", []) if p["kernel"]]
        if parts:
            out[name] = ", ".join(f"{p['kernel']} {p['pass']} ×{p['layers']}" for p in parts)
    return out


def profile_of(case):
    """[(operation, pass, kernel, layers, seconds, share, GFLOP/s or None)], the largest first; [] where nothing was timed."""
    parts = [p for p in case.get("profile", []) if p["seconds"] > 0]
    total = sum(p["seconds"] for p in parts)
    return [(p["op"], p["pass"], p["kernel"], p["layers"], p["seconds"], p["seconds"] / total,
             2e-9 * p["macs"] / p["seconds"] if p["macs"] else None) for p in parts]
