# SPDX-License-Identifier: Apache-2.0
"""Fulcrum beside PyTorch on the same machine in the same run: A B A B ..., medians, ratios. Called by `make bench`.

usage: compare.py FULCRUM PEER_PYTHON [--threads N] [--repeats N] [--out FILE.json]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

CASES = [("resnet20", 5), ("resnet18", 2)]


def run(command, env):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def load():
    with open("/proc/loadavg", encoding="ascii") as f:
        return float(f.read().split()[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fulcrum")
    parser.add_argument("peer_python")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out")
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    rows, peer_name = [], ""
    for arch, rounds in CASES:
        ours, peers = [], []
        for _ in range(args.repeats):
            common = ["--arch", arch, "--batch", str(args.batch), "--rounds", str(rounds), "--threads", str(args.threads)]
            ours.append(run([args.fulcrum, "bench", "--json", *common], env))
            peers.append(run([args.peer_python, os.path.join(here, "peers", "torch_net.py"), *common], env))
        peer_name = peers[0]["peer"]
        for kind in ("train", "infer"):
            key = kind + "_images_per_s"
            a, b = statistics.median(o[key] for o in ours), statistics.median(p[key] for p in peers)
            spread = [min(o[key] / p[key] for o, p in zip(ours, peers)), max(o[key] / p[key] for o, p in zip(ours, peers))]
            rows.append({"work": f"{kind} {arch}", "fulcrum": a, "peer": b, "ratio": a / b, "ratio_range": spread,
                         "peer_variant": peers[0][kind + "_variant"]})
    print(f"images/s, batch {args.batch}, 32x32, {args.threads} threads, load {load():.1f}; medians of {args.repeats} interleaved runs; peer: {peer_name}")
    print(f"{'work':<18}{'fulcrum':>10}{'peer':>10}{'ratio':>8}  ratio range   peer's best variant")
    for r in rows:
        print(f"{r['work']:<18}{r['fulcrum']:>10.0f}{r['peer']:>10.0f}{r['ratio']:>8.2f}  {r['ratio_range'][0]:.2f}-{r['ratio_range'][1]:.2f}"
              f"      {r['peer_variant']}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"batch": args.batch, "threads": args.threads, "peer": peer_name, "rows": rows}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
