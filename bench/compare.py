# SPDX-License-Identifier: Apache-2.0
"""Fulcrum beside its peers on the same machine in the same run: A B A B …, medians and ranges. Called by `make bench`.

Peers stay alive through the run (bench/peers/serve.py), so their compiling and warming up is paid once; our side is a fresh
`fulcrum bench` in every turn, which warms up by itself. Writes DIR/bench.json, table.txt and ratios.svg.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import chart
import ours
import table

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = {"resnet20": 5, "resnet18": 2, "dwnet": 6, "resnet20-moe": 4}  # rounds a turn
INFER = {"resnet20": (300, 10), "dwnet": (300, 12), "resnet18": (40, 3)}  # at batch 1, at the batch
VIT = {"vit_tiny": (2, 4)}  # rounds a turn: training, inference at the batch
LAYER = {8192: 3, 1024: 10, 256: 30}
LAYER_SHAPE = {"width": 192, "hidden": 768, "experts": 8, "k": 2}
GROUPS = ["train", "layer", "infer", "vit", "memory", "startup", "jobs"]


class Peer:
    """A process that answers a line of JSON with one."""

    def __init__(self, python, script, env, log):
        self.name = script
        self.process = subprocess.Popen([python, os.path.join(HERE, "peers", script)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=log, text=True, env=env)

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "it ended; see peers.log"}
        if "error" in reply:
            raise SystemExit(f"{self.name}: {reply['error']}")
        return reply

    def close(self):
        self.process.kill()  # it keeps nothing
        self.process.wait()


class Case:
    """Series of turn medians; every side is called once a turn, in the same order."""

    def __init__(self, unit="s"):
        self.data = {"unit": unit, "series": {}}

    def add(self, name, values):
        self.data["series"].setdefault(name, []).append(statistics.median(values))

    def add_variants(self, peer, reply):
        """peer/variant; "peer contest/variant" where there are several contests."""
        for name, seconds in reply["seconds"].items():
            self.add(f"{peer} {name}" if "/" in name else f"{peer}/{name}", seconds)
        if reply["failed"]:
            self.data["failed"] = reply["failed"]


class Bench:
    def __init__(self, args):
        self.args, self.doc = args, {"cases": {}}
        self.env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
        self.side = ours.Ours(args.fulcrum, args.programs, args.threads, self.env)
        self.peers, self.log = {}, open(os.path.join(args.out, "peers.log"), "w", encoding="utf-8")

    def peer(self, script):
        if script not in self.peers:
            self.peers[script] = None if self.args.no_peers else Peer(self.args.peer_python, script, self.env, self.log)
            if self.peers[script]:
                self.doc["versions"] |= self.peers[script].ask(work="versions")
        return self.peers[script]

    def turns(self, name, case, *sides, most=1000):
        """Each side in turn, so many times."""
        repeats = min(most, self.args.repeats)
        if self.args.only not in name:
            return
        case.data["load"] = ours.load()
        for i in range(repeats):
            print(f"\r{name}: turn {i + 1} of {repeats}  ", end="", file=sys.stderr, flush=True)
            for side in sides:
                side(case)
                time.sleep(0.05)  # threads that spin after their work go to sleep
        print(file=sys.stderr)
        self.doc["cases"][name] = case.data

    # Groups ---------------------------------------------------------------------------------------------------------------

    def train_net(self, net, rounds):
        """A net's training step, beside the dense net of equal MACs where it has a mixture, and PyTorch's."""
        torch, batch = self.peer("torch_peer.py"), self.args.batch
        request = {"work": "train", "net": net, "batch": batch, "rounds": rounds, "threads": self.args.threads}

        def mine(case):
            result = self.side.bench(net, batch, rounds, "--train-only")
            case.add("ours", result["train"]["seconds"])
            case.data["work"] = ours.work_of(result, "train")
            request.update(macs=result["macs"], params=result["params"])

        def dense(case):
            case.add("dense", self.side.bench(net, batch, rounds, "--train-only", "--set", "dense=active")["train"]["seconds"])

        def theirs(case):
            case.add_variants("torch", torch.ask(**request))

        sides = [mine, *([dense] if net.endswith("-moe") else []), *([theirs] if torch else [])]
        self.turns(f"train {net}", Case(), *sides)

    def infer_net(self, net, batch, rounds):
        ort = self.peer("ort_peer.py")
        request = {"work": "infer", "net": net, "batch": batch, "rounds": rounds, "threads": self.args.threads}

        def mine(case):
            result = self.side.bench(net, batch, rounds, "--infer-only")
            case.add("ours", result["infer"]["seconds"])
            case.data["work"] = ours.work_of(result, "infer")
            request.update(macs=result["macs"], params=result["params"])

        def theirs(case):
            case.add_variants("ort", ort.ask(**request))

        self.turns(f"infer{'1' if batch == 1 else '128'} {net}", Case(), mine, *([theirs] if ort else []))

    def train(self):
        for net, rounds in TRAIN.items():
            self.train_net(net, rounds)

    def infer(self):
        for which, batch in ((0, 1), (1, self.args.batch)):
            for net, rounds in INFER.items():
                self.infer_net(net, batch, rounds[which])

    def vit(self):
        for net, (training, inference) in VIT.items():
            self.train_net(net, training)
            self.infer_net(net, self.args.batch, inference)

    def layer(self):
        torch = self.peer("torch_peer.py")
        for tokens, rounds in LAYER.items():
            request = {"tokens": tokens, "rounds": rounds, "threads": self.args.threads, **LAYER_SHAPE}

            def mine(case, request=request):
                result = self.side.layer(**{k: v for k, v in request.items() if k != "threads"})
                case.add("ours", result["moe"]["seconds"])
                case.add("dense", result["dense"]["seconds"])
                case.data["work"] = ours.layer_work(result, **LAYER_SHAPE)

            def theirs(case, request=request):
                case.add_variants("torch", torch.ask(work="layer", **request))
                case.add_variants("torch dense", torch.ask(work="dense layer", **request))

            self.turns(f"layer {tokens}", Case(), mine, *([theirs] if torch else []))

    def torch_memory(self, net, layout="contiguous"):
        return ours.peak_memory([self.args.peer_python, os.path.join(HERE, "peers", "torch_peer.py"), "--memory", net, "--batch",
                                 str(self.args.batch), "--threads", str(self.args.threads), "--format", layout], self.env)

    def memory(self):
        for net in ("resnet20", "resnet18"):

            def mine(case, net=net):
                case.add("ours", [self.side.training_memory(net, self.args.batch)])

            def theirs(case, net=net):
                for layout in ("contiguous", "channels_last"):
                    case.add(f"torch/eager {layout}", [self.torch_memory(net, layout)])
                if "idle" not in case.data:
                    case.data["idle"] = {"torch": self.torch_memory("idle"), "ours": self.side.idle_memory()}

            self.turns(f"memory {net}", Case("bytes"), mine, *([] if self.args.no_peers else [theirs]), most=2)

    def startup(self):
        with tempfile.TemporaryDirectory() as folder:
            self.side.make_model(folder)

            def mine(case):
                case.add("ours", [self.side.first_prediction(folder) for _ in range(self.args.starts)])

            self.turns("startup", Case(), mine)

    def jobs(self):
        def one(jobs):
            def run(case):
                with tempfile.TemporaryDirectory() as folder:
                    case.add("auto" if jobs == "auto" else f"--jobs {jobs}", [self.side.study(folder, jobs)])
            return run

        fixed = sorted({1, self.args.threads})
        self.turns("jobs", Case(), *(one(jobs) for jobs in [*fixed, "auto"]))

    def profiles(self):
        """Where our time goes, of each case that has a net: timed apart, because timing each pass costs a little."""
        for name, case in self.doc["cases"].items():
            kind, net = [*name.split(), ""][:2]
            if kind not in ("train", "infer1", "infer128"):
                continue
            split = "train" if kind == "train" else "infer"
            batch = 1 if kind == "infer1" else self.args.batch
            result = self.side.bench(net, batch, 5, f"--{split}-only", "--profile")
            case["profile"] = result[split]["parts"]

    # ------------------------------------------------------------------------------------------------------------------

    def run(self):
        args, before = self.args, ours.load()
        self.doc |= {"date": time.strftime("%Y-%m-%d"), "batch": args.batch, "repeats": args.repeats}
        self.doc["peaks"] = self.side.measure_peaks()
        machine = self.side.machine()
        self.doc["versions"] = {"Fulcrum": machine["version"], "oneDNN": machine["onednn"]}
        try:
            for group in GROUPS:
                if group in args.group:
                    getattr(self, group)()
            self.profiles()
        except (SystemExit, KeyboardInterrupt) as error:  # what was measured until then stands
            self.doc["stopped"] = str(error) or "interrupted"
        self.doc["peaks"] = table.best_peaks(self.doc["peaks"], self.side.measure_peaks())
        for peer in filter(None, self.peers.values()):
            peer.close()
        self.doc["machine"] = {"cpu": machine["cpu"], "cores": machine["cores"], "threads": args.threads, "kernels": machine["kernels"],
                               "wait_policy": machine["wait_policy"], "load": [before, ours.load()]}
        return self.doc


def write(folder, doc):
    rows = table.make_rows(doc)
    kernels = "".join(f"{case}: {names}\n" for case, names in table.kernels_of(doc).items())
    notes = "".join(f"{note}\n" for note in table.notes(doc))
    text = "\n".join(table.header(doc)) + "\n\n" + table.as_text(rows) + "\n" + notes + "\nour convolutions ran on\n" + kernels
    for name, content in (("bench.json", json.dumps(doc | {"rows": rows}, indent=1) + "\n"), ("table.txt", text),
                          ("ratios.svg", chart.targets(rows))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(content)
    print(text, end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("fulcrum", help="the program")
    parser.add_argument("programs", help="the folder of peaks and bench_layer")
    parser.add_argument("peer_python", help="a Python that has the peers")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--group", nargs="*", choices=GROUPS, default=GROUPS[:-1], help="what to measure (default: all but jobs)")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--starts", type=int, default=20, help="processes a turn of the start-up (default 20)")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))), help="(default 2)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--no-peers", action="store_true", help="our side alone")
    parser.add_argument("--merge", action="store_true", help="keep what DIR/bench.json has of other cases")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    doc = Bench(args).run()
    previous = os.path.join(args.out, "bench.json")
    if args.merge and os.path.exists(previous):
        with open(previous, encoding="utf-8") as f:
            old = json.load(f)
        doc["cases"] = old["cases"] | doc["cases"]
        doc["versions"] = old["versions"] | doc["versions"]
        if old["peaks"]["threads"] == doc["peaks"]["threads"]:
            doc["peaks"] = table.best_peaks(doc["peaks"], old["peaks"])
    write(args.out, doc)
    if "stopped" in doc:
        print(f"compare.py: stopped early: {doc['stopped']}", file=sys.stderr)
    return 1 if "stopped" in doc else 0


if __name__ == "__main__":
    sys.exit(main())
