# SPDX-License-Identifier: Apache-2.0
"""Loading and augmenting images beside PyTorch's DataLoader with torchvision: same files, same work, same number of workers,
A B A B …, medians and ranges. Called by `make bench-data`; writes bench/results/data.json and its table in doc/performance.md.

The images: those of imagenet-sample in $FULCRUM_DATA, cut to 4:3, brought to 500 x 375 and stored as JPEG of quality 90 (4:2:0),
and the 64 px training files of tiny-imagenet-mini as they are. Then a short training run of resnet20: what its steps wait for data.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DATA = os.environ.get("FULCRUM_DATA", os.path.join(ROOT, "..", "shared", "data"))
TARGETS = {"500x375": 2.0, "64 px": 2.0}  # times the peer
PACKED_TARGET = 100000  # images/s on one core
WAIT_TARGET = 1.0  # percent of a step
RUN = """
data: {name: clusters, size: 32, gen_train: 3840, gen_test: 128, augment: [crop4, flip]}
net: {arch: resnet20}
train: {epochs: 2, batch: 128, eval_every: 2}
"""
MAKE = """
import sys, tarfile, io, os
from PIL import Image
archive, out = sys.argv[1:]
n = 0
with tarfile.open(archive) as tar:
    for member in tar:
        if not member.isfile() or not member.name.lower().endswith((".jpeg", ".jpg")):
            continue
        image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
        w, h = image.size
        cw, ch = (w, w * 3 // 4) if w * 3 <= h * 4 else (h * 4 // 3, h)
        image = image.resize((500, 375), Image.LANCZOS, box=((w - cw) / 2, (h - ch) / 2, (w + cw) / 2, (h + ch) / 2))
        for copy in range(4):  # so that an epoch is a few batches
            folder = os.path.join(out, "train", "c%d" % (n % 4))
            os.makedirs(folder, exist_ok=True)
            image.save(os.path.join(folder, "%04d.jpg" % n), quality=90)
            n += 1
"""


def make_tiny(archive, out):
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            if member.isfile() and "train" in parts and member.name.endswith(".JPEG"):
                folder = os.path.join(out, "train", parts[parts.index("train") + 1])
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, parts[-1]), "wb") as f:
                    f.write(tar.extractfile(member).read())


class Peer:
    def __init__(self, python):
        self.process = subprocess.Popen([python, os.path.join(HERE, "peers", "data_peer.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ours(program, path, size, workers, seconds):
    run = subprocess.run([program, path, str(size), str(workers), str(seconds)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)["images_per_s"]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else platform.machine()


def wait_share(fulcrum, temp):
    """Percent of the second epoch's steps that waited for a batch (the first makes the net's first choices)."""
    config, out = os.path.join(temp, "run.yaml"), os.path.join(temp, "run")
    with open(config, "w", encoding="utf-8") as f:
        f.write(RUN)
    subprocess.run([fulcrum, "train", config, "--out", out], check=True, capture_output=True)
    with open(os.path.join(out, "metrics.jsonl"), encoding="utf-8") as f:
        last = json.loads(f.readlines()[-1])
    return 100.0 * last["data_wait_s"] / last["seconds"]


def spread(values):
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def table(result):
    """The rows of doc/performance.md, from the result alone."""
    peer = result["peer"]
    rows = [f"{result['cpu']}, {result['cores']} cores; PyTorch {peer['torch']}, torchvision {peer['torchvision']}, Pillow "
            f"{peer['pillow']}; medians (ranges) of {result['turns']} interleaved turns of {result['seconds']} s, batches of 32.", "",
            "| work | Fulcrum, images/s | DataLoader + torchvision, images/s | ratio | target | met |", "|---|---|---|---|---|---|"]
    for name, case in result["cases"].items():
        target = next((t for start, t in TARGETS.items() if name.startswith(start)), None)
        mine = statistics.median(case["ours"])
        goal = f"≥ {target:g} ×" if target else f"≥ {PACKED_TARGET:,} images/s"
        met = case["ratio"] >= target if target else mine >= PACKED_TARGET
        rows.append(f"| {name} | {spread(case['ours'])} | {spread(case['peer'])} | {case['ratio']:.2f} | {goal} | "
                    f"{'yes' if met else 'no'} |")
    wait = result["wait_percent"]
    rows.append(f"| training resnet20, 32 px, crop4 and flip: share of a step that waits for data | {wait:.3f} % |  |  | < "
                f"{WAIT_TARGET:g} % | {'yes' if wait < WAIT_TARGET else 'no'} |")
    return "\n".join(rows)


def publish(result):
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    with open(os.path.join(HERE, "results", "data.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    page = os.path.join(ROOT, "doc", "performance.md")
    with open(page, encoding="utf-8") as f:
        text = f.read()
    begin, end = "<!-- data:begin -->\n", "<!-- data:end -->"
    head, rest = text.split(begin)
    with open(page, "w", encoding="utf-8") as f:
        f.write(head + begin + table(result) + "\n" + end + rest.split(end)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("fulcrum", "program", "python"):
        parser.add_argument(name)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    a = parser.parse_args()
    result = {"cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "unit": "images/s", "turns": a.turns,
              "seconds": a.seconds, "cases": {}}
    with tempfile.TemporaryDirectory() as temp:
        large, small = os.path.join(temp, "large"), os.path.join(temp, "small")
        subprocess.run([a.python, "-c", MAKE, os.path.join(DATA, "imagenet-sample", "imagenet-sample.tar.gz"), large], check=True)
        make_tiny(os.path.join(DATA, "tiny-imagenet-mini", "tiny-imagenet-200.tar.gz"), small)
        peer = Peer(a.python)
        result["peer"] = peer.ask(about=True)
        cases = [("500x375 JPEG to 224 px, rrc and flip, 1 worker", "folder", large, 224, 1),
                 ("500x375 JPEG to 224 px, rrc and flip, 2 workers", "folder", large, 224, 2),
                 ("64 px JPEG, rrc and flip, 1 worker", "folder", small, 64, 1),
                 ("64 px JPEG, rrc and flip, 2 workers", "folder", small, 64, 2),
                 ("32 px packed, crop4 and flip, in the calling thread", "packed", "packed", 32, 0)]
        for _ in range(a.turns):
            for name, kind, path, size, workers in cases:
                case = result["cases"].setdefault(name, {"ours": [], "peer": []})
                case["ours"].append(ours(a.program, path, size, workers, a.seconds))
                where = os.path.join(path, "train") if kind == "folder" else path
                case["peer"].append(peer.ask(kind=kind, path=where, size=size, workers=workers,
                                             seconds=a.seconds)["images_per_s"])
        peer.close()
        result["wait_percent"] = wait_share(a.fulcrum, temp)
    for case in result["cases"].values():
        case["ratio"] = statistics.median(case["ours"]) / statistics.median(case["peer"])
    publish(result)
    print(table(result))


if __name__ == "__main__":
    main()
