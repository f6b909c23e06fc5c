# SPDX-License-Identifier: Apache-2.0
"""How a study grows with its runs: 100 arms, half of them mixtures, times 10, 30, 100 seeds, all finished before (made up here, in the documented
formats). Times what `fulcrum study` and `fulcrum report` do with them, with their peak memory; and a study of real, tiny runs. Called by
`make bench-study`.

usage: many_runs.py FULCRUM [--runs 1000,3000,10000] [--children 100,400] [--folder DIR] [--out FILE.json]
"""
import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ARMS, EPOCHS, EXPERTS, CLASSES = 100, 30, 8, 10
MEMORY_LIMIT = 1 << 30


def plan_text(arms, seeds):
    """Arm 0 is dense, and every second one after it a mixture that is compared with it."""
    lines = ["study: many", "about: made-up runs, to see how a study grows",
             "base: {data: {name: clusters}, net: {arch: resnet8, width: 8}, train: {epochs: %d}}" % EPOCHS, "arms:", "  - name: dense"]
    for i in range(1, arms):
        lines.append(f"  - name: arm{i}")
        if i % 2:
            lines.append(f"    set: {{moe: [{{at: stage3, expert: conv, experts: {EXPERTS}, k: 2, hidden: {8 + i}}}]}}")
        else:
            lines.append(f"    set: {{net: {{width: {4 + i}}}}}")
    lines.append(f"seeds: {seeds}")
    lines.append("cells:")
    lines += [f"  - {{arm: arm{i}, against: dense}}" for i in range(1, arms)]
    return "\n".join(lines) + "\n"


def is_moe(arm):
    return arm % 2 == 1


def metrics_lines(rng):
    rows = []
    for e in range(1, EPOCHS + 1):
        acc = 0.9 * (1 - math.exp(-e / 8)) + rng.gauss(0, 0.004)
        rows.append({"epoch": e, "epochs": EPOCHS, "step": 390 * e, "lr": 0.1, "seconds": 12.1, "images_per_s": 4120.5, "data_wait_s": 0.01,
                     "grad_norm": 1.9, "train": {"loss": 2.3 * math.exp(-e / 9), "aux_loss": 0.021, "acc": acc}, "val": None,
                     "test": {"loss": 2.3 * math.exp(-e / 10), "acc": acc - 0.02, "acc_capacity": acc - 0.022}})
    return "".join(json.dumps(r) + "\n" for r in rows)


def health(rng, epoch, split):
    load = [rng.uniform(0.8, 1.2) for _ in range(EXPERTS)]
    total = sum(load)
    load = [x / total for x in load]
    return {"epoch": epoch, "layer": "stage3.moe", "split": split, "experts": EXPERTS, "k": 2, "tokens": 49920, "pairs": 99840, "load": load,
            "kept": load, "importance": load, "drop_rate": 0.04, "all_dropped_rate": 0.001, "entropy": 1.2, "entropy_marginal": 2.05,
            "entropy_marginal_norm": 0.98, "margin": 0.3, "gate_mass": 0.8, "gate_grad_rms": 0.01, "load_cv2": 0.02, "max_over_mean": 1.2,
            "gini": 0.08, "effective_experts": 7.8, "dead": 0, "unused": 0,
            "class_expert": [[rng.randrange(500) for _ in range(EXPERTS)] for _ in range(CLASSES)], "class_mi": 0.4, "class_nmi": 0.3,
            "class_entropy_experts": 2.0, "change_rate": 0.2, "losses": {"switch": 0.0101, "importance": 0, "load": 0, "z": 0, "entropy": 0},
            "macs_executed": 1, "macs_router": 1, "collapse_sign": False, "alarm": False}


def routing_lines(rng):
    return "".join(json.dumps(health(rng, e, split)) + "\n" for e in range(1, EPOCHS + 1) for split in ("train", "test"))


def result_text(rng, arm, seed):
    acc = 0.85 + 0.0005 * arm + 0.01 * math.sin(seed) + rng.gauss(0, 0.004)
    moe = [dict(health(rng, EPOCHS, "test"), train=health(rng, EPOCHS, "train"))] if is_moe(arm) else []
    for layer in moe:
        del layer["class_expert"], layer["train"]["class_expert"]
    return json.dumps({
        "format": "fulcrum-result-1", "version": "0.1.0", "arm": f"arm{arm}", "seed": seed, "epochs": EPOCHS, "steps": 11700, "finished": True,
        "data": {"name": "clusters", "train": 4000, "val": 0, "test": 1000, "classes": CLASSES, "fingerprint_train": "0", "fingerprint_test": "0",
                 "class_names": [f"class{c}" for c in range(CLASSES)]},
        "test": {"acc": acc, "loss": 0.3, "acc_capacity": acc - 0.002}, "val": None, "train": {"acc": acc + 0.05, "loss": 0.1, "aux_loss": 0.02},
        "curve": {"best_test_acc_seen": acc + 0.001, "best_epoch": 28, "note": ""}, "seconds": {"train": 300.0, "eval": 9.0, "total": 312.0},
        "images_per_s": 5000.0 + arm, "infer_images_per_s": 20000.0,
        "macs": {"forward": 2000000 + 1000 * arm, "shared": 1200000, "router": 1000, "routed": 799000, "one_expert": 1, "all_experts": 1,
                 "counted_forward_per_image": 1, "counted_routed_per_image": 1},
        "params": {"total": 50000 + arm, "active": 20000, "experts": 1},
        "rho": {"exec": 0.3 + 0.002 * arm, "exec_measured": 0.29, "site": 0.2, "total": 0.6, "train": 0.3, "params": 0.7},
        "memory": {"work_bytes": 1, "param_bytes": 1, "peak_rss_bytes": 1}, "moe": moe, "init_hash": f"hash{seed}", "threads": 1, "cpu": "none"})


def make_study(folder, seeds):
    """Run folders of their own results; the long files of a run are one of 20 made-up ones, linked, to spare the disk."""
    rng = random.Random(seeds)
    shared = os.path.join(folder, "shared")
    os.makedirs(shared)
    for i in range(20):
        for name, lines in (("metrics", metrics_lines), ("routing", routing_lines)):
            with open(os.path.join(shared, f"{name}{i}"), "w", encoding="ascii") as f:
                f.write(lines(rng))
    plan = os.path.join(folder, "many.yaml")
    with open(plan, "w", encoding="ascii") as f:
        f.write(plan_text(ARMS, seeds))
    study = os.path.join(folder, "study")
    for arm in range(ARMS):
        for seed in range(1, seeds + 1):
            run = os.path.join(study, "runs", f"arm{arm}" if arm else "dense", f"seed{seed}")
            os.makedirs(run)
            with open(os.path.join(run, "result.json"), "w", encoding="ascii") as f:
                f.write(result_text(rng, arm, seed))
            os.link(os.path.join(shared, f"metrics{rng.randrange(20)}"), os.path.join(run, "metrics.jsonl"))
            if is_moe(arm):
                os.link(os.path.join(shared, f"routing{rng.randrange(20)}"), os.path.join(run, "routing.jsonl"))
    return plan, study


def timed(command, out=subprocess.DEVNULL):
    """Seconds and peak bytes of a command that must succeed; `out` is a file for what it prints."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed: {message.decode()[-400:]}")
    return time.monotonic() - begin, 1024 * usage.ru_maxrss


def best_of(n, command):
    results = [timed(command) for _ in range(n)]
    return statistics.median(t for t, _ in results), max(m for _, m in results)


def measure_scale(fulcrum, folder, runs):
    os.makedirs(folder)
    plan, study = make_study(folder, runs // ARMS)
    page = os.path.join(folder, "page.html")
    row = {"runs": runs}
    empty = os.path.join(folder, "empty")
    os.makedirs(empty)
    shutil.copy(plan, os.path.join(empty, "plan.yaml"))
    stages = [("expand", 1, [fulcrum, "study", "--results", "--out", empty, "--quiet"]),
              ("begin", 1, [fulcrum, "study", plan, "--out", study, "--quiet"]), ("resume", 3, [fulcrum, "study", plan, "--out", study, "--quiet"]),
              ("report", 3, [fulcrum, "report", study, "-o", page])]
    for name, repeats, command in stages:
        if name == "expand":
            # all runs are missing: the exit code says so
            command = ["sh", "-c", '"$@" || [ $? = 1 ]', "sh"] + command
        seconds, memory = best_of(repeats, command)
        row[name + "_s"], row[name + "_bytes"] = round(seconds, 4), memory
    row["page_bytes"] = os.path.getsize(page)
    row["study_json_bytes"] = os.path.getsize(os.path.join(study, "study.json"))
    return row


def measure_children(fulcrum, folder, runs):
    """Real processes: two arms of a net that trains in a few milliseconds; the runs' own time is in their results."""
    os.makedirs(folder)
    plan = os.path.join(folder, "tiny.yaml")
    with open(plan, "w", encoding="ascii") as f:
        f.write("study: tiny\nbase: {data: {name: clusters, gen_train: 64, gen_test: 32}, net: {arch: mlp, width: 8}, train: {epochs: 1, batch: 16}}\n"
                f"arms:\n  - name: a\n  - name: b\n    set: {{net: {{width: 16}}}}\nseeds: {runs // 2}\n")
    seconds, memory = timed([fulcrum, "study", plan, "--out", os.path.join(folder, "study"), "--quiet"])
    return {"runs": runs, "seconds": round(seconds, 3), "bytes": memory}


def exponent(rows, key, size="runs"):
    """Slope of log time against log size, first row to last."""
    a, b = rows[0], rows[-1]
    return math.log(b[key] / a[key]) / math.log(b[size] / a[size])


def show(rows, children):
    print(f"{ARMS} arms x seeds, {EPOCHS} epochs, made-up finished runs; ms a run, and the exponent of time in runs")
    print(f"{'runs':>8}{'expand':>10}{'begin':>10}{'resume':>10}{'report':>10}{'peak MB':>10}{'page MB':>10}")
    for r in rows:
        cells = "".join(f"{1e3 * r[k + '_s'] / r['runs']:>10.3f}" for k in ("expand", "begin", "resume", "report"))
        peak = max(r[k + "_bytes"] for k in ("expand", "begin", "resume", "report"))
        print(f"{r['runs']:>8}{cells}{1e-6 * peak:>10.0f}{1e-6 * r['page_bytes']:>10.1f}")
    if len(rows) > 1:
        print(f"{'exponent':>8}" + "".join(f"{exponent(rows, k + '_s'):>10.2f}" for k in ("expand", "begin", "resume", "report")))
    print("\nreal children (an mlp of 64 images): runs, s, ms a run, peak MB of the study's process")
    for c in children:
        print(f"{c['runs']:>8}{c['seconds']:>10.2f}{1e3 * c['seconds'] / c['runs']:>10.1f}{1e-6 * c['bytes']:>10.0f}")
    if len(children) > 1:
        print(f"{'exponent':>8}{exponent(children, 'seconds'):>10.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fulcrum")
    parser.add_argument("--runs", default="1000,3000,10000")
    parser.add_argument("--children", default="100,400")
    parser.add_argument("--folder", help="where the made-up studies go (default: a temporary folder, removed at the end)")
    parser.add_argument("--out")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="fulcrum-many-")
    try:
        rows = [measure_scale(args.fulcrum, os.path.join(folder, f"many{n}"), n) for n in map(int, args.runs.split(","))]
        children = [measure_children(args.fulcrum, os.path.join(folder, f"children{n}"), n) for n in map(int, args.children.split(",")) if n]
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    show(rows, children)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            stages = ("expand", "begin", "resume", "report") if len(rows) > 1 else ()
            json.dump({"arms": ARMS, "epochs": EPOCHS, "rows": rows, "children": children,
                       "exponents": {k: round(exponent(rows, k + "_s"), 3) for k in stages}}, f, indent=1)
    peak = max(r[k] for r in rows for k in r if k.endswith("_bytes") and k.split("_")[0] in ("expand", "begin", "resume", "report"))
    return 1 if peak > MEMORY_LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
