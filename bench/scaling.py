# SPDX-License-Identifier: Apache-2.0
"""How the time of a step grows: with batch, width, depth, tokens, experts, k and threads. Fits t ~ x^a on log-log axes and draws
small multiples. Called by `make bench-scaling`; writes DIR/scaling.json and scaling.svg.

All points of one curve take turns (point 1, point 2, …, point 1, …), so that a disturbance hits them alike; medians count.
"""
import argparse
import json
import math
import os
import statistics
import sys
import time

import chart
import ours
import table

DEPTHS = {"resnet8": 8, "resnet14": 14, "resnet20": 20, "resnet32": 32, "resnet56": 56}
EXPERTS = [2, 4, 8, 16, 32, 64, 128, 256]
TOKENS = [64, 128, 256, 512, 1024, 2048, 4096, 8192]


def fit(points):
    """Exponent a of y ~ x^a by least squares on the logarithms, over all points."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mx, my = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def expert_model(points, peaks, width, hidden, tokens, k):
    """What MoE time would be if more experts cost their router and weight traffic alone: the router's MACs at the peak and the
    weights moved four times (read forward and backward, their gradient read and written), on top of what remains of the best point
    without these."""

    def extra(experts):
        one = 0 if peaks["threads"] == 1 else 1
        router = 3 * 2e-9 * tokens * width * experts / peaks["fma_gflops"][one]
        used = min(experts, k * tokens)
        moved = 4 * 4 * used * (2 * width * hidden + width + hidden)
        return router + 1e-9 * moved / table.bandwidth(peaks, moved / 2, peaks["threads"])[0]

    rest = min(seconds - extra(e) for e, seconds in points)
    return [[e, rest + extra(e)] for e, _ in points]


class Scaling:
    def __init__(self, args):
        self.args = args
        self.env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
        self.side = ours.Ours(args.fulcrum, args.programs, args.threads, self.env)
        self.peaks = self.side.measure_peaks()

    def curve(self, name, xs, seconds_of):
        """[[x, median seconds]], all points in turn."""
        taken = {x: [] for x in xs}
        for turn in range(self.args.repeats):
            print(f"\r{name}: turn {turn + 1} of {self.args.repeats}  ", end="", file=sys.stderr, flush=True)
            for x in xs:
                taken[x].append(statistics.median(seconds_of(x)))
        print(file=sys.stderr)
        return [[x, statistics.median(values)] for x, values in taken.items()]

    def step(self, net, batch, *more, split="train"):
        rounds = max(2, min(20, 256 // batch))
        return self.side.bench(net, batch, rounds, f"--{split}-only", *more)[split]["seconds"]

    def batches(self):
        xs = [2**i for i in range(10)]
        return {"title": "batch", "x": "images a step, resnet20", "series": [
            {"name": "training", "points": self.curve("batch", xs, lambda b: self.step("resnet20", b))},
            {"name": "inference", "points": self.curve("batch, inference", xs, lambda b: self.step("resnet20", b, split="infer"))}]}

    def widths(self):
        xs = [8, 16, 32, 64, 128]
        return {"title": "width", "x": "channels of the first stage, resnet8, batch 32", "series": [
            {"name": "training", "points": self.curve("width", xs, lambda w: self.step("resnet8", 32, "--set", f"net.width={w}"))}]}

    def depths(self):
        nets = {depth: net for net, depth in DEPTHS.items()}
        return {"title": "depth", "x": "layers, resnets of width 16, batch 32", "series": [
            {"name": "training", "points": self.curve("depth", sorted(nets), lambda d: self.step(nets[d], 32))}]}

    def layer_points(self, name, xs, which, **fixed):
        """Curves of the mixture and of the dense layer of equal MACs, from the same processes."""
        shape = {"width": 192, "hidden": 768, "experts": 8, "k": 2, "tokens": 1024, "rounds": 5} | fixed
        taken = {x: ([], []) for x in xs}
        for turn in range(self.args.repeats):
            print(f"\r{name}: turn {turn + 1} of {self.args.repeats}  ", end="", file=sys.stderr, flush=True)
            for x in xs:
                result = self.side.layer(**(shape | {which: x}))
                for side, kind in zip(taken[x], ("moe", "dense")):
                    side.append(statistics.median(result[kind]["seconds"]))
        print(file=sys.stderr)
        return [{"name": kind, "points": [[x, statistics.median(taken[x][i])] for x in xs]}
                for i, kind in enumerate(("mixture", "dense, equal MACs"))]

    def tokens(self):
        return {"title": "tokens", "x": "tokens, MLP layer, top-2 of 8, d 192, h 768", "series": self.layer_points("tokens", TOKENS, "tokens")}

    def experts(self):
        series = self.layer_points("experts", EXPERTS, "experts", tokens=4096)
        model = expert_model(series[0]["points"], self.peaks, 192, 768, 4096, 2)
        series.append({"name": "router + weight traffic alone", "points": model, "model": True})
        return {"title": "experts at fixed k", "x": "experts, k 2, 4096 tokens, d 192, h 768", "series": series}

    def active(self):
        return {"title": "k", "x": "experts a token uses, of 16, 1024 tokens",
                "series": self.layer_points("k", [1, 2, 4, 8, 16], "k", experts=16)}

    def threads(self):
        cores = len(os.sched_getaffinity(0))
        xs = sorted({1, *[2**i for i in range(1, 10) if 2**i <= cores], cores})
        if len(xs) < 2:
            return None

        def seconds(net, n):
            side = ours.Ours(self.args.fulcrum, self.args.programs, n, dict(os.environ, OMP_NUM_THREADS=str(n)))
            return side.bench(net, 128, 3, "--train-only")["train"]["seconds"]

        return {"title": "threads", "x": "threads, batch 128", "series": [
            {"name": net, "points": self.curve(f"threads, {net}", xs, lambda n, net=net: seconds(net, n))}
            for net in ("resnet20", "dwnet")]}

    def run(self):
        before, panels = ours.load(), {}
        for name in self.args.axis:
            panel = getattr(self, name)()
            if panel:
                panels[name] = finish(panel)
        machine = self.side.machine()
        return {"date": time.strftime("%Y-%m-%d"), "cpu": machine["cpu"], "threads": self.args.threads, "version": machine["version"],
                "load": [before, ours.load()], "wait_policy": machine["wait_policy"], "repeats": self.args.repeats,
                "peaks": self.peaks, "panels": panels}


def finish(panel):
    """States the exponents: over all points, and over the upper half, where fixed costs matter less."""
    notes = []
    for s in panel["series"]:
        points = s["points"]
        s["exponent"] = fit(points)
        s["exponent_upper"] = fit(points[len(points) // 2:]) if len(points) >= 4 else s["exponent"]
        if not s.get("model"):
            notes.append(f"{s['name']}: x^{s['exponent']:.2f} ({s['exponent_upper']:.2f} above the middle)")
    panel["note"] = "; ".join(notes)
    panel["y"] = "seconds a step"
    return panel


AXES = ["batches", "widths", "depths", "tokens", "experts", "active", "threads"]


def drawing(doc):
    """The chart; seconds become milliseconds."""
    panels = []
    for p in doc["panels"].values():
        series = [s | {"points": [[x, 1e3 * y] for x, y in s["points"]]} for s in p["series"]]
        notes = "; ".join(f"x^{s['exponent']:.2f}" for s in series if not s.get("model"))
        panels.append(p | {"series": series, "note": f"ms a step ~ {notes}"})
    return chart.multiples("Time of a step against …", panels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("fulcrum", help="the program")
    parser.add_argument("programs", help="the folder of peaks and bench_layer")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--axis", nargs="*", choices=AXES, default=AXES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    doc = Scaling(args).run()
    path = os.path.join(args.out, "scaling.json")
    if os.path.exists(path) and set(args.axis) != set(AXES):  # the other curves stay
        with open(path, encoding="utf-8") as f:
            panels = json.load(f)["panels"] | doc["panels"]
        doc["panels"] = {name: panels[name] for name in AXES if name in panels}
    for name, content in (("scaling.json", json.dumps(doc, indent=1) + "\n"), ("scaling.svg", drawing(doc))):
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
            f.write(content)
    for name, panel in doc["panels"].items():
        print(f"{name}: {panel['note']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
